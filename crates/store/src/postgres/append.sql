-- The fenced append (P1): segment $3 of partition $1 under epoch $2 and claim $4, after the segment
-- with hash $5; $6 is the segment's own hash and $7 its body. $8 says whether it has postings; if
-- so, last_posting is set to its number (P33).
--
-- The UPDATE locks the partition's row until the commit. A claim either waits for this append, and
-- its claimed position includes the segment, or it has committed before, and the UPDATE finds no
-- row. A plain INSERT ... WHERE epoch = ... is no fence: it could commit after the new owner has
-- read the tail of the log.
WITH fence AS (
    UPDATE partitions
       SET next_segment = $3 + 1, last_hash = $6,
           last_posting = CASE WHEN $8 THEN $3 ELSE last_posting END
     WHERE id = $1 AND epoch = $2 AND claim = $4 AND next_segment = $3 AND last_hash = $5
    RETURNING 1
)
INSERT INTO segments (partition, segment, epoch, prev_hash, hash, body, postings)
SELECT $1, $3, $2, $5, $6, $7, $8 FROM fence
