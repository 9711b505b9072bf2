//! Opening: session settings, checks of the server's durability, migrations of the schema.

use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{ConnectOptions, Connection, query, query_as, raw_sql};
use tokio::time::timeout;

use super::identities;
use super::locks::{TOPOLOGY_LOCK, lock};
use super::servers::{NoServer, Servers};
use crate::sql::errors::classify;
use crate::sql::migration::{Migration, migrations, pending};
use crate::{StoreError, StoreResult, redacted};

const DOING: &str = "open";
const MIGRATIONS: &[Migration] = migrations! {
    "postgres":
    1 "0001_init.sql",
    2 "0002_takeover.sql",
    3 "0003_bindings.sql",
    4 "0004_published_with.sql",
    5 "0005_withdrawn_bindings.sql",
    6 "0006_access.sql",
    7 "0007_audit.sql",
    8 "0008_access_stamp.sql",
    9 "0009_audit_functions.sql",
};

const GRANTS: &str = include_str!("grants.sql");
const OPEN_LIMIT: Duration = Duration::from_secs(5);
/// Time limit of the migrations; it includes the wait for another process that migrates.
const MIGRATE_LIMIT: Duration = Duration::from_secs(60);

/// The servers of an address, with the options that all sessions share.
pub(super) fn servers(url: &str) -> StoreResult<Servers> {
    let server_side: [(&str, &str); 8] = [
        // All statements are short, so that compiling one costs far more time than it saves.
        ("jit", "off"),
        // The fence relies on the isolation level read committed. Under a stricter default its
        // statements would fail.
        ("default_transaction_isolation", "read committed"),
        ("idle_in_transaction_session_timeout", "3s"),
        // The server detects a dead client within seconds and releases its locks.
        ("tcp_keepalives_idle", "5"),
        ("tcp_keepalives_interval", "1"),
        ("tcp_keepalives_count", "3"),
        ("tcp_user_timeout", "8s"),
        ("client_min_messages", "warning"),
    ];
    Ok(Servers::parse(url)?.with(|options| {
        options
            .options(server_side)
            .application_name("turnpike")
            .statement_cache_capacity(64)
            .disable_statement_logging()
    }))
}

/// The same servers, with time limits that the server enforces.
pub(super) fn limited(servers: &Servers, statement: Duration, lock: Duration) -> Servers {
    let ms = |limit: Duration| format!("{}ms", limit.as_millis());
    let limits = [("statement_timeout", ms(statement)), ("lock_timeout", ms(lock))];
    servers.with(|options| options.options(limits.clone()))
}

/// Connects, checks that the server's settings lose no commits, and brings the schema up to date if
/// this role may.
pub(super) async fn prepare(url: &str, servers: &Servers) -> StoreResult<()> {
    let servers = limited(servers, MIGRATE_LIMIT, MIGRATE_LIMIT);
    let mut connection =
        servers.connect(OPEN_LIMIT).await.map_err(|error| cannot_connect(url, &error))?;
    check_pooler(&mut connection).await?;
    check_durability(&mut connection).await?;
    bring_up_to_date(&mut connection).await?;
    connection.close().await.map_err(|error| classify(DOING, &error))
}

/// Brings the schema up to date, and grants the rights on the tables to the roles of
/// `cluster/postgres/roles.sql` that exist.
pub(super) async fn migrate_and_grant(url: &str) -> StoreResult<()> {
    let servers = limited(&servers(url)?, MIGRATE_LIMIT, MIGRATE_LIMIT);
    let mut connection =
        servers.connect(OPEN_LIMIT).await.map_err(|error| cannot_connect(url, &error))?;
    check_pooler(&mut connection).await?;
    check_durability(&mut connection).await?;
    bring_up_to_date(&mut connection).await?;
    let granted = raw_sql(GRANTS).execute(&mut connection).await;
    granted.map_err(|error| classify("grant the rights on the tables", &error))?;
    connection.close().await.map_err(|error| classify(DOING, &error))
}

async fn bring_up_to_date(connection: &mut PgConnection) -> StoreResult<()> {
    // After a time-out the connection is dropped, and the server rolls the transaction back.
    timeout(MIGRATE_LIMIT, migrate(connection))
        .await
        .map_err(|_| unavailable("the schema was not brought up to date within 60 s"))??;
    const MAY_BIND: &str = "SELECT has_table_privilege('bindings', 'UPDATE')";
    let (may_bind,): (bool,) =
        query_as(MAY_BIND).fetch_one(&mut *connection).await.map_err(|e| classify(DOING, &e))?;
    if !may_bind {
        // A front does it, with its own role.
        return Ok(());
    }
    // Each call commits some of the rows, because there may be many. So progress survives a
    // time-out.
    while timeout(MIGRATE_LIMIT, identities::read_part(connection))
        .await
        .map_err(|_| unavailable("the bindings of an older release were not read within 60 s"))??
    {
    }
    Ok(())
}

/// The tables and views that no extension and not PostgreSQL itself has created.
pub(super) async fn tables(url: &str) -> StoreResult<Vec<String>> {
    const TABLES: &str = "SELECT namespace.nspname || '.' || class.relname \
         FROM pg_class class JOIN pg_namespace namespace ON namespace.oid = class.relnamespace \
         WHERE class.relkind IN ('r', 'p', 'f', 'v', 'm') \
         AND namespace.nspname <> 'information_schema' AND namespace.nspname !~ '^pg_' \
         AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass \
         AND objid = class.oid AND deptype = 'e') ORDER BY 1";
    let servers = limited(&servers(url)?, OPEN_LIMIT, OPEN_LIMIT);
    let mut connection =
        servers.connect(OPEN_LIMIT).await.map_err(|error| cannot_connect(url, &error))?;
    let rows: Vec<(String,)> =
        query_as(TABLES).fetch_all(&mut connection).await.map_err(|e| classify(DOING, &e))?;
    connection.close().await.map_err(|error| classify(DOING, &error))?;
    Ok(rows.into_iter().map(|(name,)| name).collect())
}

fn unavailable(cause: &str) -> StoreError {
    StoreError::Unavailable { doing: DOING, cause: cause.to_owned() }
}

/// Why a pooler is refused.
const POOLER: &str = "the address leads to a connection pooler, such as PgBouncer, which does not pass \
     the settings of a session on to PostgreSQL: without its time-outs, a process that hangs would \
     hold the lock of a partition's row. Connect to PostgreSQL itself; Turnpike keeps a pool of its own";

fn cannot_connect(url: &str, error: &NoServer) -> StoreError {
    let (NoServer::Silent(error) | NoServer::Refused(error)) = error else {
        return error.classify(DOING);
    };
    let told = error.to_string();
    if told.contains("unsupported startup parameter") {
        return StoreError::Refused(format!("{POOLER} ({told})"));
    }
    if let Some(remedy) = tls_remedy(error, &told) {
        return StoreError::BadUrl { url: redacted(url), cause: format!("{told}; {remedy}") };
    }
    let code = error.as_database_error().and_then(|database| database.code()).unwrap_or_default();
    let remedy = match code.get(..2) {
        Some("28") => "check user and password, and pg_hba.conf on the server",
        Some("3D") => "create the database first: createdb NAME",
        _ if matches!(error, sqlx::Error::Configuration(_)) => {
            "write postgres://USER@HOST:5432/DATABASE"
        }
        _ => return classify(DOING, error),
    };
    StoreError::BadUrl { url: redacted(url), cause: format!("{error}; {remedy}") }
}

/// What to do about a failed TLS handshake; `None` if TLS is not the cause.
fn tls_remedy(error: &sqlx::Error, told: &str) -> Option<&'static str> {
    match error {
        sqlx::Error::Tls(_) if told.contains("does not support TLS") => Some(
            "passwords and records would be readable on the network. Set ssl = on and a certificate \
             on the server; or, if nobody else can reach the network between, write ?sslmode=disable \
             into the address",
        ),
        sqlx::Error::Tls(_) => Some(
            "the server's certificate must be valid for the host in the address: name its CA with \
             ?sslrootcert=FILE, or select another check with ?sslmode=",
        ),
        sqlx::Error::Io(_) if told.contains("certificate") => Some(
            "the server's certificate must be valid for the host in the address: name its CA with \
             ?sslrootcert=FILE, or select another check with ?sslmode=",
        ),
        _ => None,
    }
}

/// Refuses a pooler: the settings of the session must have reached the server, and two statements
/// outside of a transaction must run in the same session.
async fn check_pooler(connection: &mut PgConnection) -> StoreResult<()> {
    let failed = |error: sqlx::Error| classify(DOING, &error);
    const ARRIVED: &str = "SELECT current_setting('idle_in_transaction_session_timeout') = '3s' \
         AND current_setting('default_transaction_isolation') = 'read committed' \
         AND current_setting('jit') = 'off'";
    let (arrived,): (bool,) =
        query_as(ARRIVED).fetch_one(&mut *connection).await.map_err(failed)?;
    if arrived { Ok(()) } else { Err(StoreError::Refused(POOLER.to_owned())) }
}

/// Refuses a server whose settings could lose committed transactions, which would break I1.
async fn check_durability(connection: &mut PgConnection) -> StoreResult<()> {
    const SETTINGS: &str = "SELECT current_setting('fsync'), \
         current_setting('synchronous_commit'), current_setting('full_page_writes')";
    let (fsync, synchronous_commit, full_page_writes): (String, String, String) =
        query_as(SETTINGS).fetch_one(connection).await.map_err(|e| classify(DOING, &e))?;
    let refuse = |what: &str, remedy: &str| {
        Err(StoreError::Refused(format!(
            "the PostgreSQL server has {what}: it may lose records that were acknowledged; {remedy}"
        )))
    };
    if fsync == "off" {
        return refuse("fsync = off", "set fsync = on in postgresql.conf and restart it");
    }
    if full_page_writes == "off" {
        return refuse("full_page_writes = off", "set it to on and reload the server");
    }
    if matches!(synchronous_commit.as_str(), "off" | "local") {
        return refuse(
            &format!("synchronous_commit = {synchronous_commit}"),
            "set synchronous_commit = on for the server, this database and this user",
        );
    }
    Ok(())
}

/// Applies the pending migrations. The advisory lock serializes nodes that start at the same time.
///
/// # Errors
/// `Refused` when migrations are pending and this role may not change the schema.
async fn migrate(connection: &mut PgConnection) -> StoreResult<()> {
    let failed = |error: sqlx::Error| classify(DOING, &error);
    let before = applied(connection).await?;
    if pending(MIGRATIONS, before)?.next().is_none() {
        return Ok(());
    }
    check_may_migrate(connection, before).await?;
    const VERSIONS: &str = "CREATE TABLE IF NOT EXISTS schema_versions \
         (version BIGINT PRIMARY KEY, applied_at TIMESTAMPTZ NOT NULL DEFAULT now())";
    query("BEGIN").execute(&mut *connection).await.map_err(failed)?;
    lock(connection, TOPOLOGY_LOCK, DOING).await?;
    query(VERSIONS).execute(&mut *connection).await.map_err(failed)?;
    // Read again under the lock, because another process may have migrated in between.
    for migration in pending(MIGRATIONS, applied(connection).await?)? {
        raw_sql(migration.sql).execute(&mut *connection).await.map_err(failed)?;
        query("INSERT INTO schema_versions (version) VALUES ($1)")
            .bind(migration.version)
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
    }
    query("COMMIT").execute(&mut *connection).await.map_err(failed)?;
    Ok(())
}

/// The version of the schema; 0 in an empty database.
async fn applied(connection: &mut PgConnection) -> StoreResult<i64> {
    let failed = |error: sqlx::Error| classify(DOING, &error);
    const EXISTS: &str = "SELECT to_regclass('schema_versions') IS NOT NULL";
    let (exists,): (bool,) = query_as(EXISTS).fetch_one(&mut *connection).await.map_err(failed)?;
    if !exists {
        return Ok(0);
    }
    const VERSION: &str = "SELECT coalesce(max(version), 0) FROM schema_versions";
    let (applied,): (i64,) = query_as(VERSION).fetch_one(&mut *connection).await.map_err(failed)?;
    Ok(applied)
}

/// Refuses a role that may not create tables, or that does not own those that are there.
async fn check_may_migrate(connection: &mut PgConnection, before: i64) -> StoreResult<()> {
    const MAY: &str = "SELECT current_user::text, \
         coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) \
         AND NOT EXISTS (SELECT 1 FROM pg_tables WHERE schemaname = current_schema() \
                          AND tablename IN ('store', 'schema_versions') \
                          AND NOT pg_has_role(tableowner, 'USAGE'))";
    let (role, may): (String, bool) =
        query_as(MAY).fetch_one(&mut *connection).await.map_err(|e| classify(DOING, &e))?;
    if may {
        return Ok(());
    }
    let newest = MIGRATIONS.last().map_or(0, |migration| migration.version);
    let has = match before {
        0 => "the database has no tables of Turnpike".to_owned(),
        version => {
            format!("the database has schema version {version}, this program needs {newest}")
        }
    };
    Err(StoreError::Refused(format!(
        "{has}, and the role {role} may not change the schema: run `turnpike database migrate` with \
         the role that owns the tables, such as turnpike_migrate"
    )))
}
