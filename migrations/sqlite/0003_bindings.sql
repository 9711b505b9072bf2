-- Identities are found by their canonical spelling, addresses also by the prefixes that contain
-- them, and bindings can end. Tables and columns are those of the PostgreSQL schema, which explains
-- them.

ALTER TABLE bindings ADD COLUMN canonical TEXT;
CREATE INDEX bindings_by_canonical ON bindings (canonical, from_us);
CREATE INDEX bindings_unread ON bindings (identity) WHERE canonical IS NULL;
CREATE INDEX bindings_by_account ON bindings (account, identity, from_us);

CREATE TABLE binding_prefixes (
    is_v4  INTEGER NOT NULL,
    length INTEGER NOT NULL,
    PRIMARY KEY (is_v4, length)
) STRICT, WITHOUT ROWID;

ALTER TABLE store ADD COLUMN bindings_version INTEGER NOT NULL DEFAULT 0;
