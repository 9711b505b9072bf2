-- Who may do what: grants of roles, the public keys of tokens, and the tokens that were issued.
-- Tables and columns are those of the PostgreSQL schema, which explains them.

CREATE TABLE access_state (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    version    INTEGER NOT NULL DEFAULT 0,
    enabled_us INTEGER
) STRICT;
INSERT INTO access_state (one) VALUES (1);

CREATE TABLE access_grants (
    id            INTEGER PRIMARY KEY,
    principal     TEXT NOT NULL,
    role          TEXT NOT NULL,
    first_account INTEGER,
    last_account  INTEGER,
    sources       TEXT NOT NULL,
    consumer      TEXT,
    until_us      INTEGER,
    granted_by    TEXT NOT NULL,
    granted_us    INTEGER NOT NULL
) STRICT;

CREATE TABLE access_keys (
    id         INTEGER PRIMARY KEY,
    public_key BLOB NOT NULL,
    added_by   TEXT NOT NULL,
    added_us   INTEGER NOT NULL,
    retired_us INTEGER
) STRICT;

CREATE TABLE access_tokens (
    id            TEXT PRIMARY KEY,
    key_id        INTEGER NOT NULL,
    subject       TEXT NOT NULL,
    not_before_us INTEGER NOT NULL,
    expires_us    INTEGER NOT NULL,
    issued_by     TEXT NOT NULL,
    issued_us     INTEGER NOT NULL,
    revoked_us    INTEGER
) STRICT, WITHOUT ROWID;
