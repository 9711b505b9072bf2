-- Looks which backends hold up the backend $1 and themselves wait for no lock, and ends those of them
-- that an earlier look saw long enough ago (P3): pids $2, each in the transaction that began at $3
-- (microseconds since 1970; 0 where this role may not see it).
--
-- Such a backend is a statement that was half sent, or a transaction that was left open: no timeout
-- of the server ends it. A claim of another node waits in the same queue for the row. When what it
-- waited for has ended, it is a backend that waits for no lock, for as long as its commit takes. A
-- single look cannot tell the two apart: the chain of blockers is read, then that claim gets the row.
-- So a backend is ended only when it was found so before, in the same transaction.
--
-- A backend that ended by itself meanwhile would be warned of, and a warning means P19: none, until
-- the statement's end.
--
-- -> pid, begin of its transaction, was it ended
WITH RECURSIVE quiet (yes) AS MATERIALIZED (
    SELECT set_config('client_min_messages', 'error', true)
), chain (pid) AS (
    SELECT unnest(pg_blocking_pids($1)) FROM quiet
    UNION
    SELECT unnest(pg_blocking_pids(chain.pid)) FROM chain
), holders (pid, began) AS MATERIALIZED (
    SELECT chain.pid,
           coalesce((SELECT (extract(epoch FROM a.xact_start) * 1000000)::bigint
                       FROM pg_stat_activity a
                      WHERE a.pid = chain.pid), 0)
      FROM chain
     WHERE chain.pid <> $1 AND chain.pid <> pg_backend_pid()
       AND cardinality(pg_blocking_pids(chain.pid)) = 0
)
SELECT pid, began,
       CASE WHEN (pid, began) IN (SELECT * FROM unnest($2::int[], $3::bigint[]))
            THEN pg_terminate_backend(pid)
            ELSE false END
  FROM holders
