-- When a binding was recorded, and what moves and releases took away. A record that was guided by a
-- binding that is withdrawn now is decided by the account that it was guided to first.

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
