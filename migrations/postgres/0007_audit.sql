-- The audit log: a chain of hashes, to which every process appends.

-- The end of the chain. Every append updates this row, and commits only if the row is as the appending
-- process read it, so that two processes never append after the same entry.
CREATE TABLE audit_head (
    one           BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (one),
    next_sequence BIGINT NOT NULL,
    last_hash     BYTEA NOT NULL,
    -- The time of the newest entry. Times never decrease along the chain, also when the clock is set
    -- back.
    last_at       BIGINT NOT NULL
) WITH (fillfactor = 20);
INSERT INTO audit_head (next_sequence, last_hash, last_at)
VALUES (1, decode(repeat('00', 32), 'hex'), 0);

CREATE TABLE audit (
    sequence  BIGINT PRIMARY KEY,
    -- The time in the body, so that a period is found without reading the log from its beginning.
    at_us     BIGINT NOT NULL,
    prev_hash BYTEA NOT NULL,
    hash      BYTEA NOT NULL,
    body      BYTEA NOT NULL
);
CREATE INDEX audit_by_time ON audit (at_us, sequence);
