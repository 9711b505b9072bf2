-- Ends what keeps the backend $1 waiting (P3): a statement that was half sent, or a transaction
-- left open, which no timeout of the server ends. Only whoever waits for nobody himself: other
-- claimants stand in the same queue, and they are not the cause. One that ended by itself meanwhile
-- would be warned of, and warnings mean P19: none, until the statement's end.
WITH RECURSIVE quiet (yes) AS MATERIALIZED (
    SELECT set_config('client_min_messages', 'error', true)
), chain (pid) AS (
    SELECT unnest(pg_blocking_pids($1)) FROM quiet
    UNION
    SELECT unnest(pg_blocking_pids(chain.pid)) FROM chain
)
SELECT pid, pg_terminate_backend(pid)
  FROM chain
 WHERE pid <> $1 AND pid <> pg_backend_pid() AND cardinality(pg_blocking_pids(pid)) = 0
