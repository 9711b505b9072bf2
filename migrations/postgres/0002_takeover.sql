-- Further inputs of the decisions about takeovers: counts of flaps, positions of warm replicas,
-- pins and drains of operators.

-- The number of claims from an owner that had not released the partition (P14), and the time of the
-- last such claim by this database's clock. The count halves as time passes; it is stored as of
-- that time.
ALTER TABLE partitions
    ADD COLUMN flaps      BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN flapped_at BIGINT NOT NULL DEFAULT 0;

ALTER TABLE nodes
    -- Packed entries: partition (4 bytes), segment (8), its hash (32), big-endian, one after
    -- another.
    ADD COLUMN following BYTEA NOT NULL DEFAULT ''::bytea,
    -- The node was removed for good, and observations omit it. The row stays and keeps the newest
    -- incarnation, so that older ones stay superseded (P11). A heartbeat of the newest incarnation,
    -- or of a new one, restores the node.
    ADD COLUMN forgotten BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE nodes ALTER COLUMN following SET STORAGE EXTERNAL;

-- An operator's pin: this member serves the partition, above priorities, until an instant by this
-- database's clock (P13). It is not in the partition's row, so that setting it waits for no append.
CREATE TABLE pins (
    partition BIGINT PRIMARY KEY REFERENCES partition_specs (id),
    member    TEXT COLLATE "C" NOT NULL,
    until_us  BIGINT NOT NULL
);

-- The nodes that an operator asked to drain (P13). nodes.draining is the state that a node reports.
CREATE TABLE drained (
    node TEXT COLLATE "C" PRIMARY KEY
);
