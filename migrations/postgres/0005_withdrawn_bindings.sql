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

-- Look-ups of identities are covered through this instant of the clock; it never goes back. A change
-- of bindings is recorded at this instant or later, so that records that were guided before the
-- change start at most a fixed time after its recording.
ALTER TABLE store ADD COLUMN guided_through_us BIGINT NOT NULL DEFAULT 0;
