-- Segments of partition $1 after $2, in order: up to $3 bytes of bodies, but at least one segment.
--
-- The inner query sums sizes; octet_length of an uncompressed body does not read the body. It
-- covers at most a thousand rows, so that a reader far behind does not sum the sizes of the whole
-- log in each call.
SELECT s.segment, s.epoch, s.prev_hash, s.hash, s.body
  FROM (SELECT segment, bytes, sum(bytes) OVER (ORDER BY segment) AS up_to
          FROM (SELECT segment, octet_length(body)::bigint AS bytes
                  FROM segments
                 WHERE partition = $1 AND segment > $2
                 ORDER BY segment
                 LIMIT 1000) AS next) AS sized
  JOIN segments s ON s.partition = $1 AND s.segment = sized.segment
 WHERE sized.up_to <= $3 OR sized.up_to = sized.bytes
 ORDER BY s.segment
