-- Access control after a failover or a restored backup, and certificates that were revoked.

-- Random, and new with each change. After a failover to a replica that lacks the last changes, another
-- change can get the same version; the stamp tells the two apart.
ALTER TABLE access_state
    ADD COLUMN stamp BYTEA NOT NULL DEFAULT decode(repeat('00', 16), 'hex');

-- Certificates that are refused although they have not expired.
CREATE TABLE access_revoked_certificates (
    -- The URI of all certificates of a holder, or the serial number of one certificate.
    name       TEXT COLLATE "C" PRIMARY KEY,
    revoked_by TEXT NOT NULL,
    revoked_us BIGINT NOT NULL
);
