-- Entries of the audit log after $1, from the time $2 on and before $3, in order: at most $4 entries
-- and $5 bytes of bodies, but at least one entry. length() of a blob does not read the blob.
SELECT a.sequence, a.at_us, a.prev_hash, a.hash, a.body
  FROM (SELECT sequence, bytes, sum(bytes) OVER (ORDER BY sequence) AS up_to
          FROM (SELECT sequence, length(body) AS bytes
                  FROM audit
                 WHERE sequence > $1 AND at_us >= $2 AND at_us < $3
                 ORDER BY sequence
                 LIMIT $4) AS page) AS sized
  JOIN audit a ON a.sequence = sized.sequence
 WHERE sized.up_to <= $5 OR sized.up_to = sized.bytes
 ORDER BY a.sequence
