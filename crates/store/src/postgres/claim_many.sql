-- Many claims at once (P20): partitions $1 at epochs $2 for nodes $3, incarnations $4, claims $5,
-- forced $6; counts of flaps halve every $7 microseconds. claim.sql explains the columns that a
-- claim sets.
--
-- Rows are locked in the order of their ids, and a row that another statement holds is skipped. So
-- this statement waits for no row, and two of them cannot deadlock. A locked row is compared in its
-- latest committed version, as in claim.sql. If one of the partitions does not exist, none is
-- claimed.
--
-- A cached generic plan does not know the length of the arrays and assumes few elements. Therefore
-- every join here uses the primary key of partitions, which is a good plan for few and for many.
--
-- Returns, for each claim that won: partition, true, epoch, next segment, last hash; and for each
-- partition that exists: partition, whether it was locked, its epoch in the snapshot, null, null.
WITH asked AS MATERIALIZED (
    SELECT *
      FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[], $5::bytea[], $6::boolean[])
           AS a (id, seen, node, incarnation, claim, forced)
), locked AS MATERIALIZED (
    SELECT a.*
      FROM asked a JOIN partitions p ON p.id = a.id
     WHERE NOT EXISTS (SELECT 1 FROM asked b
                        WHERE NOT EXISTS (SELECT 1 FROM partitions q WHERE q.id = b.id))
     ORDER BY a.id
       FOR UPDATE OF p SKIP LOCKED
), clock AS MATERIALIZED (
    SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now
), won AS (
    UPDATE partitions p
       SET epoch = p.epoch + 1, owner = l.node, owner_incarnation = l.incarnation, claim = l.claim,
           released_to = NULL,
           flaps = CASE WHEN l.forced AND p.owner IS NOT NULL
                        THEN (p.flaps >> LEAST(GREATEST(c.now - p.flapped_at, 0) / $7, 62)::int) + 1
                        ELSE p.flaps END,
           flapped_at = CASE WHEN l.forced AND p.owner IS NOT NULL THEN c.now
                             ELSE p.flapped_at END
      FROM locked l CROSS JOIN clock c
     WHERE p.id = l.id AND p.epoch = l.seen
    RETURNING p.id, p.epoch, p.next_segment, p.last_hash
)
SELECT id, TRUE, epoch, next_segment, last_hash
  FROM won
UNION ALL
SELECT p.id, p.id IN (SELECT id FROM locked), p.epoch, NULL, NULL
  FROM asked a JOIN partitions p ON p.id = a.id
