-- An observation: the rows that may have changed since the last one, in one statement, so that they
-- need one round trip and are one snapshot. Kind 0 is the row of the store, 1 a node, 2 a
-- partition; the kinds share the columns. Specs and members are read by other statements, and only
-- when the topology number (n3 of kind 0) has changed. It includes the store's incarnation, because
-- in another history the same number may belong to other partitions (P18).
--
-- Flaps and pins are returned as stored, and the reader applies decay and expiry by the clock that
-- is returned with them. The caller prepends a common table expression `clock` with a column `now`.
SELECT CAST(0 AS BIGINT) AS kind,
       CAST(NULL AS TEXT) AS name, CAST(NULL AS TEXT) AS place, CAST(NULL AS TEXT) AS pinned,
       c.now AS n1, s.catalogue_version AS n2,
       (s.incarnation & 4611686018427387903) + s.topology AS n3,
       CAST(NULL AS BIGINT) AS n4, CAST(NULL AS BIGINT) AS n5, CAST(NULL AS BIGINT) AS n6,
       CAST(NULL AS BIGINT) AS n7, CAST(NULL AS BIGINT) AS n8,
       CAST(NULL AS BYTEA) AS b1, CAST(NULL AS BYTEA) AS b2
  FROM store s CROSS JOIN clock c
UNION ALL
SELECT 1, n.node, n.address, NULL,
       n.incarnation, n.counter, n.beat_at, CAST(n.draining AS INTEGER),
       CAST(EXISTS (SELECT 1 FROM drained d WHERE d.node = n.node) AS INTEGER), NULL, NULL, NULL,
       n.serving, n.following
  FROM nodes n
 WHERE NOT n.forgotten
UNION ALL
SELECT 2, p.owner, p.released_to, w.member,
       p.id, p.epoch, p.owner_incarnation, p.next_segment, p.last_posting, p.flaps, p.flapped_at,
       w.until_us,
       p.claim, p.last_hash
  FROM partitions p LEFT JOIN pins w ON w.partition = p.id
