-- Appends entries to the audit log: $1 is the sequence number of the first, $2 the number after the
-- last, $3 the hash of the entry before them, $4 the last hash and $5 the last time; $6 to $10 are the
-- columns. The UPDATE locks the row of the chain's end until the commit, and finds no row if another
-- process has appended since this one read it: then nothing is inserted.
WITH fence AS (
    UPDATE audit_head
       SET next_sequence = $2, last_hash = $4, last_at = $5
     WHERE next_sequence = $1 AND last_hash = $3
    RETURNING 1
)
INSERT INTO audit (sequence, at_us, prev_hash, hash, body)
SELECT s, a, p, h, b
  FROM fence, unnest($6::bigint[], $7::bigint[], $8::bytea[], $9::bytea[], $10::bytea[])
              AS new (s, a, p, h, b)
