-- Identities are found by their one spelling, addresses also by the prefixes that hold them, and
-- bindings can end.

ALTER TABLE bindings
    -- The one spelling of the identity (turnpike_types::Identity); the text itself where it is no
    -- identity by today's rules. NULL: a process of an older release wrote the row, and no process
    -- of this one has read it yet. `identity` stays as it was written, for older processes.
    ADD COLUMN canonical TEXT COLLATE "C";
CREATE INDEX bindings_by_canonical ON bindings (canonical, from_us);
CREATE INDEX bindings_unread ON bindings (identity) WHERE canonical IS NULL;
CREATE INDEX bindings_by_account ON bindings (account, identity, from_us);

-- The lengths that prefixes were ever bound with: by these an address is looked up. At most 160 rows.
CREATE TABLE binding_prefixes (
    is_v4  BOOLEAN NOT NULL,
    length BIGINT NOT NULL,
    PRIMARY KEY (is_v4, length)
);

-- Grows with each change by which an answer of before may be wrong; fronts compare it with the
-- one that they looked up under.
ALTER TABLE store ADD COLUMN bindings_version BIGINT NOT NULL DEFAULT 0;
