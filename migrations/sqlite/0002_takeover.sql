-- Further inputs of the decisions about takeovers. Tables and columns are those of the PostgreSQL
-- schema, which explains them.

ALTER TABLE partitions ADD COLUMN flaps INTEGER NOT NULL DEFAULT 0;
ALTER TABLE partitions ADD COLUMN flapped_at INTEGER NOT NULL DEFAULT 0;

ALTER TABLE nodes ADD COLUMN following BLOB NOT NULL DEFAULT x'';
ALTER TABLE nodes ADD COLUMN forgotten INTEGER NOT NULL DEFAULT 0;

CREATE TABLE pins (
    partition INTEGER PRIMARY KEY REFERENCES partition_specs (id),
    member    TEXT NOT NULL,
    until_us  INTEGER NOT NULL
) STRICT;

CREATE TABLE drained (
    node TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;
