-- A heartbeat (P9): node $1, incarnation $2, counter $3, address $4, draining $5, serving $6,
-- following $7, present time $8. $9 says whether the incarnation is new; a new one takes the node's
-- name over. A known incarnation that is not the newest changes nothing (P11), and neither does a
-- heartbeat that arrives after a later one.
INSERT INTO nodes (node, incarnation, counter, address, draining, serving, following, beat_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (node) DO UPDATE
   SET incarnation = excluded.incarnation, counter = excluded.counter, address = excluded.address,
       draining = excluded.draining, serving = excluded.serving, following = excluded.following,
       beat_at = excluded.beat_at, forgotten = 0
 WHERE (nodes.incarnation = excluded.incarnation AND nodes.counter < excluded.counter) OR $9
