-- Finds the backends that block the backend $1 and themselves wait for no lock, and ends those of
-- them that have blocked it for CLAIM_LOCK_LIMIT (P3): the caller passes their pids in $2 and the
-- begin of their transactions in $3 (microseconds since 1970; 0 where this role may not read it).
--
-- A backend that blocks for so long runs a statement that was sent in part, or a transaction that
-- was left open; no time-out of the server ends either soon enough. A claim of another node waits
-- in the same queue for the row. Once its own blocker has ended, that claim waits for no lock while
-- it commits, and one run of this statement cannot tell it from a backend that is stuck. So a
-- backend is ended only if earlier runs have found it in the same transaction.
--
-- pg_terminate_backend warns of a backend that has ended meanwhile, and any warning makes the
-- outcome of a statement unknown (P19). Therefore warnings are off until the end of this statement.
--
-- Returns pid, begin of its transaction, whether it was ended.
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
