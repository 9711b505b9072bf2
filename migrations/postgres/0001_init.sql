-- The schema of the shared database.
--
-- An unsigned number of 64 bits is stored as the BIGINT with the same bits. Instants are
-- microseconds since 1970 (UTC). Names of nodes and identities compare byte by byte (COLLATE "C").

-- One row with the state of the whole database.
CREATE TABLE store (
    one               BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (one),
    -- The id of this history (P18), drawn once, here. A restore has to draw a new one.
    incarnation       BIGINT NOT NULL,
    -- Grows by one with each publication, under this row's lock, so that no reader sees a version
    -- before its predecessor (P36).
    catalogue_version BIGINT NOT NULL DEFAULT 0,
    -- Grows when partitions are created. Readers cache specs and members until it changes.
    topology          BIGINT NOT NULL DEFAULT 0
);
INSERT INTO store (incarnation)
SELECT ('x' || substr(md5(gen_random_uuid()::text), 1, 16))::bit(64)::bigint;

-- The settings of a partition, which do not change after its creation.
CREATE TABLE partition_specs (
    id            BIGINT PRIMARY KEY,
    first_account BIGINT NOT NULL,
    last_account  BIGINT NOT NULL,
    horizon_us    BIGINT NOT NULL,
    accept_since  BIGINT
);

CREATE TABLE members (
    partition BIGINT NOT NULL REFERENCES partition_specs (id),
    node      TEXT COLLATE "C" NOT NULL,
    priority  BIGINT NOT NULL,
    PRIMARY KEY (partition, node),
    -- Two candidates of a partition never have the same priority (P12).
    UNIQUE (partition, priority)
);

-- The fence of each partition (P1), which every append updates. Rows are short and most of each
-- page is left free, so that an update stays on its page and changes no index.
CREATE TABLE partitions (
    id                 BIGINT PRIMARY KEY REFERENCES partition_specs (id),
    epoch              BIGINT NOT NULL DEFAULT 0,
    owner              TEXT COLLATE "C",
    owner_incarnation  BIGINT,
    claim              BYTEA NOT NULL,
    next_segment       BIGINT NOT NULL DEFAULT 1,
    last_hash          BYTEA NOT NULL,
    released_to        TEXT COLLATE "C",
    -- The newest segment with postings to other partitions (P33); receivers compare their cursors
    -- with it. Zero when no segment had any.
    last_posting       BIGINT NOT NULL DEFAULT 0,
    -- The segment of the newest checkpoint; checkpoints only move forward (P22), checked under this
    -- row's lock.
    checkpoint_segment BIGINT NOT NULL DEFAULT -1,
    -- The count of write barriers (P17); a barrier has to write something.
    barriers           BIGINT NOT NULL DEFAULT 0
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

-- The log. It needs no foreign key: only the fenced append inserts here, and it locks the
-- partition's row.
CREATE TABLE segments (
    partition BIGINT NOT NULL,
    segment   BIGINT NOT NULL,
    epoch     BIGINT NOT NULL,
    prev_hash BYTEA NOT NULL,
    hash      BYTEA NOT NULL,
    body      BYTEA NOT NULL,
    -- Whether the segment holds postings to accounts of other partitions (P33); the log is the
    -- outbox.
    postings  BOOLEAN NOT NULL,
    PRIMARY KEY (partition, segment)
);
-- A partial index: most segments have no postings, and their appends do not write to this index.
CREATE INDEX segments_with_postings ON segments (partition, segment) WHERE postings;
-- Bodies are already compressed; compressing them again would only cost time.
ALTER TABLE segments ALTER COLUMN body SET STORAGE EXTERNAL;

-- One row per node name: the last heartbeat of the newest incarnation (P9, P11).
CREATE TABLE nodes (
    node        TEXT COLLATE "C" PRIMARY KEY,
    incarnation BIGINT NOT NULL,
    counter     BIGINT NOT NULL,
    address     TEXT NOT NULL,
    draining    BOOLEAN NOT NULL,
    -- Packed entries: partition (4 bytes), epoch (8), claim (16), big-endian, one after another.
    serving     BYTEA NOT NULL,
    beat_at     BIGINT NOT NULL
) WITH (fillfactor = 20);
ALTER TABLE nodes ALTER COLUMN serving SET STORAGE EXTERNAL;

-- Every process start that has written a heartbeat. An incarnation in this table that is not the
-- newest of its node (in the table nodes) is superseded.
CREATE TABLE incarnations (
    node        TEXT COLLATE "C" NOT NULL,
    incarnation BIGINT NOT NULL,
    PRIMARY KEY (node, incarnation)
);

CREATE TABLE checkpoint_parts (
    partition BIGINT NOT NULL REFERENCES partition_specs (id),
    name      TEXT COLLATE "C" NOT NULL,
    segment   BIGINT NOT NULL,
    body      BYTEA NOT NULL,
    PRIMARY KEY (partition, name)
);
ALTER TABLE checkpoint_parts ALTER COLUMN body SET STORAGE EXTERNAL;

CREATE TABLE checkpoint_manifests (
    partition BIGINT NOT NULL REFERENCES partition_specs (id),
    segment   BIGINT NOT NULL,
    hash      BYTEA NOT NULL,
    -- The names of the parts, in order, one a line.
    parts     TEXT NOT NULL,
    summary   BYTEA NOT NULL,
    PRIMARY KEY (partition, segment)
);

-- Published plans and tables, with one sequence of catalogue versions for both (P36).
CREATE TABLE catalogue (
    catalogue_version BIGINT PRIMARY KEY,
    kind              TEXT COLLATE "C" NOT NULL CHECK (kind IN ('plan', 'table')),
    id                TEXT COLLATE "C" NOT NULL,
    version           BIGINT NOT NULL,
    starts            TEXT COLLATE "C" NOT NULL,
    content_hash      BYTEA NOT NULL,
    -- A plan's currency, or a table's kind of key. It has a column of its own, so that a listing
    -- need not read the body.
    form              TEXT COLLATE "C" NOT NULL,
    row_count         BIGINT NOT NULL,
    -- The size of the body, so that a page of results is bounded without reading bodies.
    bytes             BIGINT NOT NULL,
    body              TEXT NOT NULL,
    published_at      BIGINT NOT NULL,
    UNIQUE (kind, id, version)
);
-- The body is stored uncompressed: a publication holds the lock of the store's row, and compressing
-- a large table would take long.
ALTER TABLE catalogue ALTER COLUMN body SET STORAGE EXTERNAL;

CREATE TABLE bindings (
    identity   TEXT COLLATE "C" NOT NULL,
    account    BIGINT NOT NULL,
    from_us    BIGINT NOT NULL,
    until_us   BIGINT NOT NULL CHECK (from_us < until_us),
    PRIMARY KEY (identity, from_us)
);

CREATE TABLE cursors (
    consumer  TEXT COLLATE "C" NOT NULL,
    partition BIGINT NOT NULL REFERENCES partition_specs (id),
    segment   BIGINT NOT NULL,
    row_count BIGINT NOT NULL,
    hash      BYTEA NOT NULL,
    PRIMARY KEY (consumer, partition)
);
