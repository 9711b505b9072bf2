-- A claim as one compare-and-set (P1): partition $1 at epoch $2 for node $3, incarnation $4, claim
-- $5. The statement waits for an append in flight, which holds the row; then it compares again and
-- returns the row as the append left it.
--
-- A forced claim ($6) of a partition that has an owner counts as a flap (P14): the stored count
-- decays, halving every $7 microseconds, and grows by one.
UPDATE partitions
   SET epoch = epoch + 1, owner = $3, owner_incarnation = $4, claim = $5, released_to = NULL,
       flaps = CASE WHEN $6 AND owner IS NOT NULL
                    THEN (flaps >> LEAST(GREATEST(clock.now - flapped_at, 0) / $7, 62)::int) + 1
                    ELSE flaps END,
       flapped_at = CASE WHEN $6 AND owner IS NOT NULL THEN clock.now ELSE flapped_at END
  FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now) AS clock
 WHERE id = $1 AND epoch = $2
RETURNING epoch, next_segment, last_hash
