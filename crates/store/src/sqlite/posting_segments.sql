-- Segments of partition $1 after $2 that have postings, in order: at most $3 segments and up to $4
-- bytes of bodies, but at least one segment (P33). The partial index finds them among segments
-- without postings. The sum over sizes reads no body.
SELECT s.segment, s.epoch, s.prev_hash, s.hash, s.body
  FROM (SELECT segment, bytes, sum(bytes) OVER (ORDER BY segment) AS up_to
          FROM (SELECT segment, length(body) AS bytes
                  FROM segments
                 WHERE partition = $1 AND segment > $2 AND postings = 1
                 ORDER BY segment
                 LIMIT $3)) AS sized
  JOIN segments s ON s.partition = $1 AND s.segment = sized.segment
 WHERE sized.up_to <= $4 OR sized.up_to = sized.bytes
 ORDER BY s.segment
