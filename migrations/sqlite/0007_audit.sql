-- The audit log: a chain of hashes, to which every process appends.

-- The end of the chain. Every append updates this row, and commits only if the row is as the appending
-- process read it, so that two processes never append after the same entry.
CREATE TABLE audit_head (
    one           INTEGER PRIMARY KEY DEFAULT 1 CHECK (one = 1),
    next_sequence INTEGER NOT NULL,
    last_hash     BLOB NOT NULL,
    -- The time of the newest entry. Times never decrease along the chain, also when the clock is set
    -- back.
    last_at       INTEGER NOT NULL
) STRICT;
INSERT INTO audit_head (next_sequence, last_hash, last_at) VALUES (1, zeroblob(32), 0);

CREATE TABLE audit (
    sequence  INTEGER PRIMARY KEY,
    -- The time in the body, so that a period is found without reading the log from its beginning.
    at_us     INTEGER NOT NULL,
    prev_hash BLOB NOT NULL,
    hash      BLOB NOT NULL,
    body      BLOB NOT NULL
) STRICT;
CREATE INDEX audit_by_time ON audit (at_us, sequence);
