-- The result of claim_many.sql, under the same lock: for each claim of the list $1, in its order,
-- the partition, whether the claim won, and the fence. A partition that does not exist has no row.
SELECT p.id, p.claim = unhex(a.value ->> 4), p.epoch, p.next_segment, p.last_hash
  FROM json_each($1) AS a JOIN partitions p ON p.id = a.value ->> 0
 ORDER BY a.key
