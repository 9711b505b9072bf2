-- The time at which a binding was recorded, and the parts of bindings that moves and releases took
-- away. Tables and columns are those of the PostgreSQL schema, which explains them.
ALTER TABLE bindings ADD COLUMN recorded_us INTEGER;

CREATE TABLE withdrawn_bindings (
    canonical    TEXT NOT NULL,
    from_us      INTEGER NOT NULL,
    withdrawn_us INTEGER NOT NULL,
    identity     TEXT NOT NULL,
    until_us     INTEGER NOT NULL,
    account      INTEGER NOT NULL,
    recorded_us  INTEGER,
    PRIMARY KEY (canonical, from_us, withdrawn_us, identity)
) STRICT, WITHOUT ROWID;

ALTER TABLE store ADD COLUMN bindings_recorded_us INTEGER NOT NULL DEFAULT 0;

ALTER TABLE store ADD COLUMN guided_through_us INTEGER NOT NULL DEFAULT 0;
