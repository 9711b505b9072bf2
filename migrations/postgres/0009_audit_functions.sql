-- The only ways to change the audit log for a role that does not own the tables. A role with rights on
-- the tables could move the end of the chain, and so stop every change of the cluster, or delete
-- entries that nobody has exported.

-- Appends entries after the newest one. Returns how many were appended: all, or none if the chain ends
-- elsewhere. `after_hash` is the hash that the chain must end with.
CREATE FUNCTION turnpike_append_audit(
    after_hash BYTEA, sequences BIGINT[], times BIGINT[], prev BYTEA[], hashes BYTEA[], bodies BYTEA[]
) RETURNS BIGINT LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    -- The time of an entry is that of the database's clock, or the newest entry's if the clock was set
    -- back. The minute is for a clock that is set back between its reading and the append.
    clock_us CONSTANT BIGINT := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint + 60000000;
    number   CONSTANT INT := coalesce(cardinality(sequences), 0);
    newest   audit_head%ROWTYPE;
BEGIN
    IF number NOT BETWEEN 1 AND 128
       OR (cardinality(times), cardinality(prev), cardinality(hashes), cardinality(bodies))
          IS DISTINCT FROM (number, number, number, number)
       OR prev[1] IS DISTINCT FROM after_hash
       OR EXISTS (SELECT 1 FROM generate_series(1, number) AS place (i)
                   WHERE sequences[i] IS DISTINCT FROM sequences[1] + i - 1
                      OR (i > 1 AND prev[i] IS DISTINCT FROM hashes[i - 1])
                      OR (i > 1 AND times[i] < times[i - 1])
                      OR octet_length(hashes[i]) IS DISTINCT FROM 32
                      OR coalesce(octet_length(bodies[i]), 65537) > 65536
                      OR times[i] IS NULL)
    THEN
        RAISE EXCEPTION 'permission denied: the entries are no piece of a chain'
              USING ERRCODE = 'insufficient_privilege';
    END IF;
    -- Locks the row until the commit.
    SELECT * INTO STRICT newest FROM audit_head FOR UPDATE;
    IF newest.next_sequence <> sequences[1] OR newest.last_hash <> after_hash
       OR times[1] < newest.last_at OR times[number] > greatest(newest.last_at, clock_us)
    THEN
        -- The caller reads the end and the clock again.
        RETURN 0;
    END IF;
    UPDATE audit_head
       SET next_sequence = sequences[number] + 1, last_hash = hashes[number], last_at = times[number];
    INSERT INTO audit (sequence, at_us, prev_hash, hash, body)
    SELECT * FROM unnest(sequences, times, prev, hashes, bodies);
    RETURN number;
END $$;

-- Deletes the entries up to `through` and returns how many: none unless the entry `through` has the
-- hash and is not the newest one.
CREATE FUNCTION turnpike_trim_audit(through BIGINT, through_hash BYTEA)
RETURNS BIGINT LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    deleted BIGINT;
BEGIN
    DELETE FROM audit
     WHERE sequence <= through
       AND EXISTS (SELECT 1 FROM audit a WHERE a.sequence = through AND a.hash = through_hash)
       AND EXISTS (SELECT 1 FROM audit_head h WHERE h.next_sequence > through + 1);
    GET DIAGNOSTICS deleted = ROW_COUNT;
    RETURN deleted;
END $$;

-- The functions find these tables, also when the caller has temporary tables of the same names.
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION turnpike_append_audit SET search_path = %I, pg_temp', current_schema());
    EXECUTE format('ALTER FUNCTION turnpike_trim_audit SET search_path = %I, pg_temp', current_schema());
END $$;
REVOKE ALL ON FUNCTION turnpike_append_audit, turnpike_trim_audit FROM PUBLIC;
