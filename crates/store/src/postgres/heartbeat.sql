-- A heartbeat (P9): node $1, incarnation $2, counter $3, address $4, draining $5, serving $6,
-- following $7.
--
-- A new incarnation takes the node's name over. A known incarnation that is not the newest changes
-- nothing (P11), and neither does a heartbeat that arrives after a later one.
--
-- Returns whether the row was written, its former incarnation, the clock, the catalogue's version.
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
