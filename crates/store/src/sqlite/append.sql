-- The fence of an append (P1). The transaction holds the file's write lock, so that the conditions
-- hold until the commit. Segment $3 of partition $1 under epoch $2 and claim $4, after the segment
-- with hash $5; $6 is the segment's own hash, and $7 says whether it has postings (P33).
UPDATE partitions
   SET next_segment = $3 + 1, last_hash = $6,
       last_posting = CASE WHEN $7 THEN $3 ELSE last_posting END
 WHERE id = $1 AND epoch = $2 AND claim = $4 AND next_segment = $3 AND last_hash = $5
