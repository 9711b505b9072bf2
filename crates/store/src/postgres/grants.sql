-- Grants the rights on the tables to the roles of cluster/postgres/roles.sql that exist. A row names a
-- role, rights and tables. Rights that a role had before and that are not named here are taken away.
-- A table that another release adds is not there yet, and is left out.
DO $$
DECLARE
    given RECORD;
    tab   TEXT;
    role  TEXT;
BEGIN
    FOREACH role IN ARRAY ARRAY['turnpike_node', 'turnpike_front', 'turnpike_feed', 'turnpike_trim']
    LOOP
        IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM %I', current_schema(), role);
            EXECUTE format('REVOKE ALL ON FUNCTION turnpike_append_audit, turnpike_trim_audit FROM %I',
                           role);
        END IF;
    END LOOP;
    FOR given IN
        SELECT * FROM (VALUES
            ('turnpike_node', 'SELECT',
             'schema_versions store partition_specs members partitions segments nodes incarnations '
             'checkpoint_parts checkpoint_manifests catalogue published_with pins drained'),
            ('turnpike_node', 'INSERT',
             'segments nodes incarnations checkpoint_parts checkpoint_manifests'),
            ('turnpike_node', 'UPDATE', 'partitions nodes'),
            ('turnpike_node', 'DELETE', 'checkpoint_parts checkpoint_manifests'),
            -- A node looks up identities itself before it lets a record go to another partition (P35).
            ('turnpike_node', 'SELECT',
             'bindings binding_prefixes withdrawn_bindings access_state access_grants access_keys '
             'access_tokens access_revoked_certificates'),
            ('turnpike_feed', 'SELECT',
             'schema_versions store partition_specs members partitions segments nodes pins drained '
             'catalogue published_with cursors'),
            ('turnpike_feed', 'INSERT', 'cursors'),
            ('turnpike_feed', 'UPDATE', 'cursors'),
            ('turnpike_front', 'SELECT',
             'audit_head audit bindings binding_prefixes withdrawn_bindings access_state access_grants access_keys '
             'access_tokens access_revoked_certificates'),
            ('turnpike_front', 'INSERT',
             'catalogue published_with bindings binding_prefixes withdrawn_bindings pins drained '
             'access_grants access_keys access_tokens access_revoked_certificates'),
            ('turnpike_front', 'UPDATE',
             'store nodes bindings withdrawn_bindings pins access_state access_grants access_keys '
             'access_tokens access_revoked_certificates'),
            ('turnpike_front', 'DELETE',
             'bindings pins drained cursors access_grants access_keys access_tokens '
             'access_revoked_certificates'),
            ('turnpike_trim', 'SELECT', 'schema_versions store audit audit_head')
        ) AS rows (role, rights, tables)
        WHERE EXISTS (SELECT 1 FROM pg_roles WHERE rolname = rows.role)
    LOOP
        FOREACH tab IN ARRAY string_to_array(given.tables, ' ')
        LOOP
            IF to_regclass(tab) IS NOT NULL THEN
                EXECUTE format('GRANT %s ON %I TO %I', given.rights, tab, given.role);
            END IF;
        END LOOP;
    END LOOP;
    -- The audit log is changed by functions alone.
    FOR given IN
        SELECT * FROM (VALUES
            ('turnpike_front', 'turnpike_append_audit'),
            ('turnpike_trim', 'turnpike_append_audit'),
            ('turnpike_trim', 'turnpike_trim_audit')
        ) AS rows (role, callable)
        WHERE EXISTS (SELECT 1 FROM pg_roles WHERE rolname = rows.role)
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %I TO %I', given.callable, given.role);
    END LOOP;
END $$;
