-- Many claims at once (P20): partitions $1 at epochs $2 for nodes $3, incarnations $4, claims $5,
-- forced $6; counts of flaps halve each $7 microseconds. What a claim sets is said in claim.sql.
--
-- Rows are locked in the order of their ids, and those that somebody holds are passed over, so that
-- this waits for nobody and nobody can wait for it in a ring. A locked row is compared as its last
-- writer left it, as by itself. When one of the partitions is not there, none is claimed.
--
-- -> in the order asked: partition, the epoch in the snapshot (null: no such partition), is the row
--    locked; where it was won: epoch, next segment, last hash
WITH asked AS (
    SELECT *
      FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[], $5::bytea[], $6::boolean[])
           WITH ORDINALITY AS a (id, seen, node, incarnation, claim, forced, place)
), locked AS MATERIALIZED (
    SELECT id
      FROM partitions
     WHERE id = ANY($1)
       AND (SELECT count(*) FROM partitions WHERE id = ANY($1)) = cardinality($1)
     ORDER BY id
       FOR UPDATE SKIP LOCKED
), clock AS MATERIALIZED (
    SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now
), won AS (
    UPDATE partitions p
       SET epoch = p.epoch + 1, owner = a.node, owner_incarnation = a.incarnation, claim = a.claim,
           released_to = NULL,
           flaps = CASE WHEN a.forced AND p.owner IS NOT NULL
                        THEN (p.flaps >> LEAST(GREATEST(c.now - p.flapped_at, 0) / $7, 62)::int) + 1
                        ELSE p.flaps END,
           flapped_at = CASE WHEN a.forced AND p.owner IS NOT NULL THEN c.now
                             ELSE p.flapped_at END
      FROM asked a CROSS JOIN clock c
     WHERE p.id = a.id AND p.epoch = a.seen AND p.id IN (SELECT id FROM locked)
    RETURNING p.id, p.epoch, p.next_segment, p.last_hash
)
SELECT a.id, p.epoch, a.id IN (SELECT id FROM locked), w.epoch, w.next_segment, w.last_hash
  FROM asked a LEFT JOIN partitions p ON p.id = a.id LEFT JOIN won w ON w.id = a.id
 ORDER BY a.place
