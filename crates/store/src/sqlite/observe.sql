-- The short rows of all partitions, with the store's columns on each, and $1 for the clock; the
-- reasons are those of PostgreSQL's.
SELECT $1,
       s.catalogue_version,
       (s.incarnation & 4611686018427387903) + s.topology,
       p.id, p.epoch, p.owner, p.owner_incarnation, p.claim, p.next_segment, p.last_hash,
       p.released_to, p.last_posting
  FROM store s LEFT JOIN partitions p ON TRUE
 ORDER BY p.id
