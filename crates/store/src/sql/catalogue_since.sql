-- The entries published after catalogue version $1, in order: at most $2 entries and up to $3 bytes
-- of bodies, but at least one entry. The column bytes holds the size of the body, so that the sum
-- reads no body.
SELECT c.catalogue_version, c.kind, c.id, c.version, c.starts, c.content_hash, c.form,
       c.row_count, c.bytes, c.published_at, t.tz_database, c.body
  FROM (SELECT catalogue_version, bytes, sum(bytes) OVER (ORDER BY catalogue_version) AS up_to
          FROM (SELECT catalogue_version, bytes
                  FROM catalogue
                 WHERE catalogue_version > $1
                 ORDER BY catalogue_version
                 LIMIT $2) AS next) AS sized
  JOIN catalogue c ON c.catalogue_version = sized.catalogue_version
  LEFT JOIN published_with t ON t.catalogue_version = c.catalogue_version
 WHERE sized.up_to <= $3 OR sized.up_to = sized.bytes
 ORDER BY c.catalogue_version
