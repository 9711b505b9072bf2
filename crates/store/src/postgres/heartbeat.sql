-- A heartbeat (P9): node $1, incarnation $2, counter $3, address $4, draining $5, serving $6,
-- following $7.
--
-- An incarnation that was never seen takes the name over; one that was seen and is no longer the
-- newest changes nothing (P11). Nor does a beat that was overtaken by a later one.
--
-- -> is it in the row now; the incarnation in the row before; the clock; the catalogue's version
WITH fresh AS (
    INSERT INTO incarnations (node, incarnation) VALUES ($1, $2)
    ON CONFLICT DO NOTHING
    RETURNING 1
), beat AS (
    INSERT INTO nodes (node, incarnation, counter, address, draining, serving, following, beat_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7,
            (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
    ON CONFLICT (node) DO UPDATE
       SET incarnation = excluded.incarnation, counter = excluded.counter,
           address = excluded.address, draining = excluded.draining,
           serving = excluded.serving, following = excluded.following,
           beat_at = excluded.beat_at, forgotten = FALSE
     WHERE (nodes.incarnation = excluded.incarnation AND nodes.counter < excluded.counter)
        OR EXISTS (SELECT 1 FROM fresh)
    RETURNING 1
)
SELECT EXISTS (SELECT 1 FROM beat),
       (SELECT incarnation FROM nodes WHERE node = $1),
       (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
       catalogue_version
  FROM store
