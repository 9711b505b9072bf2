-- What a takeover is decided by, beyond heartbeats: how often owners were driven out, how far warm
-- copies are, and what operators wish.

-- How often the partition was claimed from an owner who had not given it up (P14), and when last,
-- by this database's clock. The count halves as time goes by; it is stored as of that instant.
ALTER TABLE partitions
    ADD COLUMN flaps      BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN flapped_at BIGINT NOT NULL DEFAULT 0;

ALTER TABLE nodes
    -- Packed: partition (4 bytes), segment (8), its hash (32), big-endian, one after the other.
    ADD COLUMN following BYTEA NOT NULL DEFAULT ''::bytea,
    -- Gone for good, and shown no longer. The row stays and says which incarnation was the newest,
    -- so that those before it stay superseded (P11); a beat of that one, or of a new one, brings
    -- the node back.
    ADD COLUMN forgotten BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE nodes ALTER COLUMN following SET STORAGE EXTERNAL;

-- A wish that this member serve the partition whatever the priorities, until an instant by this
-- database's clock (P13). Not in the partition's own row: a wish must not wait for an append.
CREATE TABLE pins (
    partition BIGINT PRIMARY KEY REFERENCES partition_specs (id),
    member    TEXT COLLATE "C" NOT NULL,
    until_us  BIGINT NOT NULL
);

-- The nodes that somebody asked to be emptied (P13). What a node says of itself stands in nodes.
CREATE TABLE drained (
    node TEXT COLLATE "C" PRIMARY KEY
);
