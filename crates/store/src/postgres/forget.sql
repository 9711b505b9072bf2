-- Forgets node $1, and the request to drain it, unless its last heartbeat is younger than $2
-- microseconds. A concurrent heartbeat holds the row; after its commit the comparison is repeated.
--
-- Returns whether this statement forgot the node.
WITH gone AS (
    UPDATE nodes
       SET forgotten = TRUE, serving = ''::bytea, following = ''::bytea
     WHERE node = $1 AND NOT forgotten
       AND beat_at < (extract(epoch FROM clock_timestamp()) * 1000000)::bigint - $2
    RETURNING node
), undrained AS (
    DELETE FROM drained WHERE node IN (SELECT node FROM gone)
)
SELECT EXISTS (SELECT 1 FROM gone)
