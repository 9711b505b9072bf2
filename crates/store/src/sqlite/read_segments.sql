-- Segments of partition $1 after $2, in order: up to $3 bytes of bodies, but at least one segment.
-- The inner query sums the sizes of at most a thousand rows; length() of a blob does not read the
-- blob.
SELECT s.segment, s.epoch, s.prev_hash, s.hash, s.body
  FROM (SELECT segment, bytes, sum(bytes) OVER (ORDER BY segment) AS up_to
          FROM (SELECT segment, length(body) AS bytes
                  FROM segments
                 WHERE partition = $1 AND segment > $2
                 ORDER BY segment
                 LIMIT 1000)) AS sized
  JOIN segments s ON s.partition = $1 AND s.segment = sized.segment
 WHERE sized.up_to <= $3 OR sized.up_to = sized.bytes
 ORDER BY s.segment
