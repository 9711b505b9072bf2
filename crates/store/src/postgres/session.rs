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
};

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

/// Connects, checks that the server's settings lose no commits, and brings the schema up to date.
pub(super) async fn prepare(url: &str, servers: &Servers) -> StoreResult<()> {
    let servers = limited(servers, MIGRATE_LIMIT, MIGRATE_LIMIT);
    let mut connection =
        servers.connect(OPEN_LIMIT).await.map_err(|error| cannot_connect(url, &error))?;
    check_durability(&mut connection).await?;
    // After a time-out the connection is dropped, and the server rolls the transaction back.
    timeout(MIGRATE_LIMIT, migrate(&mut connection))
        .await
        .map_err(|_| unavailable("the schema was not brought up to date within 60 s"))??;
    // Each call commits some of the rows, because there may be many. So progress survives a
    // time-out.
    while timeout(MIGRATE_LIMIT, identities::read_part(&mut connection))
        .await
        .map_err(|_| unavailable("the bindings of an older release were not read within 60 s"))??
    {
    }
    connection.close().await.map_err(|error| classify(DOING, &error))
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

fn cannot_connect(url: &str, error: &NoServer) -> StoreError {
    let (NoServer::Silent(error) | NoServer::Refused(error)) = error else {
        return error.classify(DOING);
    };
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
async fn migrate(connection: &mut PgConnection) -> StoreResult<()> {
    let failed = |error: sqlx::Error| classify(DOING, &error);
    const VERSIONS: &str = "CREATE TABLE IF NOT EXISTS schema_versions \
         (version BIGINT PRIMARY KEY, applied_at TIMESTAMPTZ NOT NULL DEFAULT now())";
    query("BEGIN").execute(&mut *connection).await.map_err(failed)?;
    lock(connection, TOPOLOGY_LOCK, DOING).await?;
    query(VERSIONS).execute(&mut *connection).await.map_err(failed)?;
    let (applied,): (i64,) = query_as("SELECT coalesce(max(version), 0) FROM schema_versions")
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    for migration in pending(MIGRATIONS, applied)? {
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
