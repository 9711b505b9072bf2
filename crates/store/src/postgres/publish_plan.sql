-- Publishes a plan version as catalogue version $1 + 1, if the catalogue still stands at $1, which
-- is what the publisher's judgement was based on. The store's row stays locked until the commit:
-- no later version can be seen before this one (P36).
WITH head AS (
    UPDATE store SET catalogue_version = catalogue_version + 1
     WHERE catalogue_version = $1
    RETURNING catalogue_version
)
INSERT INTO catalogue (catalogue_version, plan_id, version, starts, content_hash, xml, published_at)
SELECT catalogue_version, $2, $3, $4, $5, $6,
       (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
  FROM head
