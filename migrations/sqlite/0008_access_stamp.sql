-- Access control after a failover or a restored backup, and certificates that were revoked.

-- Random, and new with each change. After a restored backup another change can get the same version;
-- the stamp tells the two apart.
ALTER TABLE access_state ADD COLUMN stamp BLOB NOT NULL DEFAULT X'00000000000000000000000000000000';

-- Certificates that are refused although they have not expired.
CREATE TABLE access_revoked_certificates (
    -- The URI of all certificates of a holder, or the serial number of one certificate.
    name       TEXT PRIMARY KEY,
    revoked_by TEXT NOT NULL,
    revoked_us INTEGER NOT NULL
) STRICT;
