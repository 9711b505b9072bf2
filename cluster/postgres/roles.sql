-- The roles of a Turnpike database, each with the rights that its processes need. An administrator of
-- the server runs this once, in the database, and gives each role a password:
--
--     turnpike database roles | psql "postgres://postgres@db/turnpike?sslmode=verify-full"
--     psql ... -c '\password turnpike_node'
--
-- Then `turnpike database migrate` with the role turnpike_migrate creates the tables and grants the
-- rights on them; it does so again after each upgrade.
--
--     turnpike_migrate   owns the tables; creates partitions
--     turnpike_node      rating nodes: appends segments, and can neither change nor delete them
--     turnpike_front     fronts: accounts' identities, the catalogue, operators' requests, the audit log
--     turnpike_feed      reads the log and moves cursors; fronts have its rights, because they serve the feed
--     turnpike_trim      deletes exported entries of the audit log, through a function
--
-- Running it again changes nothing.
DO $$
DECLARE
    role TEXT;
BEGIN
    FOREACH role IN ARRAY ARRAY['turnpike_migrate', 'turnpike_node', 'turnpike_front',
                                'turnpike_feed', 'turnpike_trim']
    LOOP
        IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', role);
        END IF;
        EXECUTE format('GRANT USAGE ON SCHEMA public TO %I', role);
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), role);
    END LOOP;
END $$;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT CREATE ON SCHEMA public TO turnpike_migrate;
GRANT turnpike_feed TO turnpike_front;
