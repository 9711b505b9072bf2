-- Identities are found by their canonical spelling, addresses also by the prefixes that contain
-- them, and bindings can end.

ALTER TABLE bindings
    -- The key of the row: the canonical spelling of the identity (turnpike_types::Identity), or the
    -- text itself if the present rules do not accept it as an identity. NULL: a process of an older
    -- release wrote the row, and no process of this release has set the key yet. The column
    -- identity keeps the text that was written, for older processes.
    ADD COLUMN canonical TEXT COLLATE "C";
CREATE INDEX bindings_by_canonical ON bindings (canonical, from_us);
CREATE INDEX bindings_unread ON bindings (identity) WHERE canonical IS NULL;
CREATE INDEX bindings_by_account ON bindings (account, identity, from_us);

-- The lengths of all prefixes that were ever bound. A look-up of an address tries these lengths. At
-- most 160 rows.
CREATE TABLE binding_prefixes (
    is_v4  BOOLEAN NOT NULL,
    length BIGINT NOT NULL,
    PRIMARY KEY (is_v4, length)
);

-- Grows with each change that may invalidate the result of an earlier look-up. Fronts compare it
-- with the version under which they looked up.
ALTER TABLE store ADD COLUMN bindings_version BIGINT NOT NULL DEFAULT 0;
