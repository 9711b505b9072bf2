-- What may have changed since the last look, in one statement, so that it is one round trip and one
-- snapshot: the store's row, those of the nodes, and the short ones of the partitions, each kind
-- with columns of its own under the names of the store's. Specs and members come from elsewhere,
-- and only when the topology differs from the one before. The store's incarnation is mixed into
-- it, since in another history the same number may stand for other partitions (P18).
--
-- What decays or expires comes as it is stored, with the clock to judge it by. Whoever runs this
-- puts a `clock` with a column `now` before it.
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
