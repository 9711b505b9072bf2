-- The fenced append (P1): segment $3 of partition $1 under epoch $2 and claim $4, on top of hash $5.
-- $8 says whether it has postings; then the row shows where the newest ones are (P33).
--
-- The UPDATE comes first and locks the partition's row until the commit, so that a claim either
-- waits for this append and then sees it in the claimed position, or was there before and lets
-- nothing through. A plain INSERT ... WHERE epoch = ... would be no fence: it could commit after
-- the new owner has read the tail.
WITH fence AS (
    UPDATE partitions
       SET next_segment = $3 + 1, last_hash = $6,
           last_posting = CASE WHEN $8 THEN $3 ELSE last_posting END
     WHERE id = $1 AND epoch = $2 AND claim = $4 AND next_segment = $3 AND last_hash = $5
    RETURNING 1
)
INSERT INTO segments (partition, segment, epoch, prev_hash, hash, body, postings)
SELECT $1, $3, $2, $5, $6, $7, $8 FROM fence
