-- The time at which a binding was recorded, and the parts of bindings that moves and releases took
-- away. If the account of a record was looked up in a binding that was withdrawn later, the
-- partition of the account that was found first decides the record.

-- The instant at which the binding was recorded, in microseconds; NULL: by a process of an older
-- release.
ALTER TABLE bindings ADD COLUMN recorded_us BIGINT;

-- The parts of bindings that were taken from their accounts. They are kept as long as bindings.
CREATE TABLE withdrawn_bindings (
    canonical    TEXT COLLATE "C" NOT NULL,
    from_us      BIGINT NOT NULL,
    withdrawn_us BIGINT NOT NULL,
    identity     TEXT COLLATE "C" NOT NULL,
    until_us     BIGINT NOT NULL,
    account      BIGINT NOT NULL,
    -- NULL: the binding was recorded by a process of an older release.
    recorded_us  BIGINT,
    PRIMARY KEY (canonical, from_us, withdrawn_us, identity)
);

-- The instant of the last recorded change of bindings. The next change is recorded later, also when
-- the clock was set back.
ALTER TABLE store ADD COLUMN bindings_recorded_us BIGINT NOT NULL DEFAULT 0;

-- The mark of P28: an instant that follows the database's clock and never goes back. Fronts state it
-- with the records that they assign to accounts by identity. A change of bindings is recorded at
-- this instant or later.
ALTER TABLE store ADD COLUMN guided_through_us BIGINT NOT NULL DEFAULT 0;
