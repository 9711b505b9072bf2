-- One compare-and-set (P1). It waits for an append in flight, since that holds the row, and then
-- compares again and returns the row as that append left it.
UPDATE partitions
   SET epoch = epoch + 1, owner = $3, owner_incarnation = $4, claim = $5, released_to = NULL
 WHERE id = $1 AND epoch = $2
RETURNING epoch, next_segment, last_hash
