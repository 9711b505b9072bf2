-- Publishes $2 (plan or table) $3 version $4, which starts on $5, as catalogue version $1 + 1. Two
-- conditions: the catalogue's version is still $1, for which the caller made its decision; and the
-- clock is before $11: the instant at which the start date begins, or for the first version of $3
-- the latest possible instant. The store's row stays locked until the commit, so that no reader
-- sees a later version before this one (P36). $12 is the version of the publisher's time-zone
-- database, or null.
WITH head AS (
    UPDATE store SET catalogue_version = catalogue_version + 1
     WHERE catalogue_version = $1
       AND (extract(epoch FROM clock_timestamp()) * 1000000)::bigint < $11
    RETURNING catalogue_version
), published AS (
    INSERT INTO published_with (catalogue_version, tz_database)
    SELECT catalogue_version, $12::text FROM head WHERE $12::text IS NOT NULL
)
INSERT INTO catalogue (catalogue_version, kind, id, version, starts, content_hash, form, row_count,
                       bytes, body, published_at)
SELECT catalogue_version, $2, $3, $4, $5, $6, $7, $8, $9, $10,
       (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
  FROM head
