-- What may have changed since the last look: the short rows of all partitions, with the store's
-- columns on each, so that one statement is one snapshot. Specs and members come from elsewhere,
-- and only when the topology column differs from the one before. The store's incarnation is mixed
-- into it, since in another history the same number may stand for other partitions (P18).
SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
       s.catalogue_version,
       (s.incarnation & 4611686018427387903) + s.topology,
       p.id, p.epoch, p.owner, p.owner_incarnation, p.claim, p.next_segment, p.last_hash,
       p.released_to, p.last_posting
  FROM store s LEFT JOIN partitions p ON TRUE
 ORDER BY p.id
