-- What the claims of claim_many.sql ($1) left, under the same lock: in the order asked, whether
-- it is ours, and the fence; a partition that is not there has no row.
SELECT p.id, p.claim = unhex(a.value ->> 4), p.epoch, p.next_segment, p.last_hash
  FROM json_each($1) AS a JOIN partitions p ON p.id = a.value ->> 0
 ORDER BY a.key
