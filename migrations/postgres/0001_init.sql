-- The schema of the shared database.
--
-- Numbers of 64 bits without a sign are kept in BIGINT bit by bit; instants are microseconds since
-- 1970 (UTC). Names of nodes and identities compare byte by byte (COLLATE "C").

-- One row: what is true of the whole database.
CREATE TABLE store (
    one               BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (one),
    -- Which history this is (P18): drawn here, once; a restore draws another.
    incarnation       BIGINT NOT NULL,
    -- Grows by one with each publication, under this row's lock, so that no reader sees a version
    -- before the one below it (P36).
    catalogue_version BIGINT NOT NULL DEFAULT 0,
    -- Grows whenever partitions are created: readers keep specs and members until it changes.
    topology          BIGINT NOT NULL DEFAULT 0
);
INSERT INTO store (incarnation)
SELECT ('x' || substr(md5(gen_random_uuid()::text), 1, 16))::bit(64)::bigint;

-- What does not change once a partition is created.
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
    -- P12
    UNIQUE (partition, priority)
);

-- What every append changes: the fence (P1). Rows are short, and most of each page is left free,
-- so that an update stays on its page and touches no index.
CREATE TABLE partitions (
    id                 BIGINT PRIMARY KEY REFERENCES partition_specs (id),
    epoch              BIGINT NOT NULL DEFAULT 0,
    owner              TEXT COLLATE "C",
    owner_incarnation  BIGINT,
    claim              BYTEA NOT NULL,
    next_segment       BIGINT NOT NULL DEFAULT 1,
    last_hash          BYTEA NOT NULL,
    released_to        TEXT COLLATE "C",
    -- The newest segment with postings to other partitions (P33), for receivers to compare their
    -- cursors with; zero when there never was one.
    last_posting       BIGINT NOT NULL DEFAULT 0,
    -- The newest published checkpoint, so that publication is monotone under this row's lock (P22).
    checkpoint_segment BIGINT NOT NULL DEFAULT -1,
    -- Counts write barriers (P17): something for a barrier to change.
    barriers           BIGINT NOT NULL DEFAULT 0
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

-- The log. No foreign key: only the fence inserts here, and it holds the partition's row.
CREATE TABLE segments (
    partition BIGINT NOT NULL,
    segment   BIGINT NOT NULL,
    epoch     BIGINT NOT NULL,
    prev_hash BYTEA NOT NULL,
    hash      BYTEA NOT NULL,
    body      BYTEA NOT NULL,
    -- It holds postings to accounts of other partitions (P33): the log is the outbox.
    postings  BOOLEAN NOT NULL,
    PRIMARY KEY (partition, segment)
);
-- Most segments have none, and an append of one that has none does not touch this.
CREATE INDEX segments_with_postings ON segments (partition, segment) WHERE postings;
-- Bodies come compressed; another try would only cost.
ALTER TABLE segments ALTER COLUMN body SET STORAGE EXTERNAL;

-- One row per node name: the newest incarnation that beat (P9, P11).
CREATE TABLE nodes (
    node        TEXT COLLATE "C" PRIMARY KEY,
    incarnation BIGINT NOT NULL,
    counter     BIGINT NOT NULL,
    address     TEXT NOT NULL,
    draining    BOOLEAN NOT NULL,
    -- Packed: partition (4 bytes), epoch (8), claim (16), big-endian, one after the other.
    serving     BYTEA NOT NULL,
    beat_at     BIGINT NOT NULL
) WITH (fillfactor = 20);
ALTER TABLE nodes ALTER COLUMN serving SET STORAGE EXTERNAL;

-- Every process start that ever beat: one that is here and no longer in nodes is superseded.
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
    -- Names of parts, in order, one a line.
    parts     TEXT NOT NULL,
    summary   BYTEA NOT NULL,
    PRIMARY KEY (partition, segment)
);

-- Plans and tables, one line of versions over both (P36).
CREATE TABLE catalogue (
    catalogue_version BIGINT PRIMARY KEY,
    kind              TEXT COLLATE "C" NOT NULL CHECK (kind IN ('plan', 'table')),
    id                TEXT COLLATE "C" NOT NULL,
    version           BIGINT NOT NULL,
    starts            TEXT COLLATE "C" NOT NULL,
    content_hash      BYTEA NOT NULL,
    -- What a listing shows, so that it reads no body: a plan's currency, a table's kind of key.
    form              TEXT COLLATE "C" NOT NULL,
    row_count         BIGINT NOT NULL,
    -- How many bytes the body has, so that pages are cut without reading it.
    bytes             BIGINT NOT NULL,
    body              TEXT NOT NULL,
    published_at      BIGINT NOT NULL,
    UNIQUE (kind, id, version)
);
-- A large table must not hold the store's row for the time that compressing it takes.
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
