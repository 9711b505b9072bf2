-- Forgets node $1, and the wish to empty it, unless it beat within the last $2 microseconds. A beat
-- that comes at the same time holds the row, and then the comparison is made again.
--
-- -> was it forgotten by this
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
