-- The schema of the shared database. Tables and columns are those of the PostgreSQL schema, which
-- explains them; comments here are about the differences.

CREATE TABLE store (
    one               INTEGER PRIMARY KEY CHECK (one = 1),
    incarnation       INTEGER NOT NULL,
    catalogue_version INTEGER NOT NULL DEFAULT 0,
    topology          INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO store (one, incarnation) VALUES (1, random());

CREATE TABLE partition_specs (
    id            INTEGER PRIMARY KEY,
    first_account INTEGER NOT NULL,
    last_account  INTEGER NOT NULL,
    horizon_us    INTEGER NOT NULL,
    accept_since  INTEGER
) STRICT;

CREATE TABLE members (
    partition INTEGER NOT NULL REFERENCES partition_specs (id),
    node      TEXT NOT NULL,
    priority  INTEGER NOT NULL,
    PRIMARY KEY (partition, node),
    UNIQUE (partition, priority)
) STRICT, WITHOUT ROWID;

CREATE TABLE partitions (
    id                 INTEGER PRIMARY KEY REFERENCES partition_specs (id),
    epoch              INTEGER NOT NULL DEFAULT 0,
    owner              TEXT,
    owner_incarnation  INTEGER,
    claim              BLOB NOT NULL,
    next_segment       INTEGER NOT NULL DEFAULT 1,
    last_hash          BLOB NOT NULL,
    released_to        TEXT,
    last_posting       INTEGER NOT NULL DEFAULT 0,
    checkpoint_segment INTEGER NOT NULL DEFAULT -1,
    barriers           INTEGER NOT NULL DEFAULT 0
) STRICT;

-- The table keeps its row ids: in a table WITHOUT ROWID, large bodies would fill the pages of the
-- primary key's index.
CREATE TABLE segments (
    partition INTEGER NOT NULL,
    segment   INTEGER NOT NULL,
    epoch     INTEGER NOT NULL,
    prev_hash BLOB NOT NULL,
    hash      BLOB NOT NULL,
    body      BLOB NOT NULL,
    postings  INTEGER NOT NULL,
    PRIMARY KEY (partition, segment)
) STRICT;
CREATE INDEX segments_with_postings ON segments (partition, segment) WHERE postings = 1;

CREATE TABLE nodes (
    node        TEXT PRIMARY KEY,
    incarnation INTEGER NOT NULL,
    counter     INTEGER NOT NULL,
    address     TEXT NOT NULL,
    draining    INTEGER NOT NULL,
    serving     BLOB NOT NULL,
    beat_at     INTEGER NOT NULL
) STRICT;

CREATE TABLE incarnations (
    node        TEXT NOT NULL,
    incarnation INTEGER NOT NULL,
    PRIMARY KEY (node, incarnation)
) STRICT, WITHOUT ROWID;

CREATE TABLE checkpoint_parts (
    partition INTEGER NOT NULL REFERENCES partition_specs (id),
    name      TEXT NOT NULL,
    segment   INTEGER NOT NULL,
    body      BLOB NOT NULL,
    PRIMARY KEY (partition, name)
) STRICT;

CREATE TABLE checkpoint_manifests (
    partition INTEGER NOT NULL REFERENCES partition_specs (id),
    segment   INTEGER NOT NULL,
    hash      BLOB NOT NULL,
    parts     TEXT NOT NULL,
    summary   BLOB NOT NULL,
    PRIMARY KEY (partition, segment)
) STRICT;

CREATE TABLE catalogue (
    catalogue_version INTEGER PRIMARY KEY,
    kind              TEXT NOT NULL CHECK (kind IN ('plan', 'table')),
    id                TEXT NOT NULL,
    version           INTEGER NOT NULL,
    starts            TEXT NOT NULL,
    content_hash      BLOB NOT NULL,
    form              TEXT NOT NULL,
    row_count         INTEGER NOT NULL,
    bytes             INTEGER NOT NULL,
    published_at      INTEGER NOT NULL,
    -- The body is the last column, so that a listing does not read the pages of the body.
    body              TEXT NOT NULL,
    UNIQUE (kind, id, version)
) STRICT;

CREATE TABLE bindings (
    identity TEXT NOT NULL,
    account  INTEGER NOT NULL,
    from_us  INTEGER NOT NULL,
    until_us INTEGER NOT NULL CHECK (from_us < until_us),
    PRIMARY KEY (identity, from_us)
) STRICT, WITHOUT ROWID;

CREATE TABLE cursors (
    consumer  TEXT NOT NULL,
    partition INTEGER NOT NULL REFERENCES partition_specs (id),
    segment   INTEGER NOT NULL,
    row_count INTEGER NOT NULL,
    hash      BLOB NOT NULL,
    PRIMARY KEY (consumer, partition)
) STRICT, WITHOUT ROWID;
