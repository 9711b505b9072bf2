-- Segments of partition $1 after $2, in order, up to $3 bytes of bodies but at least one.
--
-- Sizes are added up first: octet_length of an uncompressed body does not read it. No more than a
-- thousand rows are looked at, so that a reader far behind does not add up the whole log each
-- time.
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
