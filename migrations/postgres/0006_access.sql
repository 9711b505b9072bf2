-- Who may do what: grants of roles, the public keys of tokens, and the tokens that were issued.

-- One row. The version grows with each change of the tables below; fronts read the tables again when
-- it has changed, and a change is a compare-and-set on it.
CREATE TABLE access_state (
    one         BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (one),
    version     BIGINT NOT NULL DEFAULT 0,
    -- When the first grant was made. From then on access control is on, for good: to revoke every
    -- grant does not open the cluster.
    enabled_us  BIGINT
);
INSERT INTO access_state (version) VALUES (0);

CREATE TABLE access_grants (
    id            BIGINT PRIMARY KEY,
    -- A principal, such as token:billing, or all principals below a path: spiffe://CLUSTER/client/*.
    principal     TEXT COLLATE "C" NOT NULL,
    role          TEXT COLLATE "C" NOT NULL,
    -- NULL: all accounts.
    first_account BIGINT,
    last_account  BIGINT,
    -- The sources of records, one a line; empty: all sources.
    sources       TEXT NOT NULL,
    -- For the role consumer: the consumer whose cursors it moves. Else NULL.
    consumer      TEXT COLLATE "C",
    until_us      BIGINT,
    granted_by    TEXT NOT NULL,
    granted_us    BIGINT NOT NULL
);

CREATE TABLE access_keys (
    -- The first eight bytes of the hash of the public key.
    id         BIGINT PRIMARY KEY,
    public_key BYTEA NOT NULL,
    added_by   TEXT NOT NULL,
    added_us   BIGINT NOT NULL,
    -- NULL: the key is valid.
    retired_us BIGINT
);

-- A token is valid only while its row is here. The row is not secret: it has neither the token nor
-- its signature.
CREATE TABLE access_tokens (
    id            TEXT COLLATE "C" PRIMARY KEY,
    key_id        BIGINT NOT NULL,
    subject       TEXT COLLATE "C" NOT NULL,
    not_before_us BIGINT NOT NULL,
    expires_us    BIGINT NOT NULL,
    issued_by     TEXT NOT NULL,
    issued_us     BIGINT NOT NULL,
    -- NULL: the token was not revoked.
    revoked_us    BIGINT
);
