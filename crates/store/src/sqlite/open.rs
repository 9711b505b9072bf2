//! Opens the file: settings, migrations of the schema, connections.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, ConnectOptions, query, query_as, raw_sql};
use tokio::time::{Instant, sleep};

use super::database::SqliteDatabase;
use super::identities;
use super::writer::Writer;
use crate::clock::system_clock;
use crate::sql::errors::{classify, is_busy, is_not_opened};
use crate::sql::migration::{Migration, migrations, pending};
use crate::sql::spec_cache::SpecCache;
use crate::{StoreError, StoreResult};

const DOING: &str = "open";
const MIGRATIONS: &[Migration] = migrations! {
    "sqlite":
    1 "0001_init.sql",
    2 "0002_takeover.sql",
    3 "0003_bindings.sql",
    4 "0004_published_with.sql",
    5 "0005_withdrawn_bindings.sql",
    6 "0006_access.sql",
    7 "0007_audit.sql",
    8 "0008_access_stamp.sql",
};

/// Time limit for opening. Several processes may open a new file at the same time, and SQLite
/// reports some of these conflicts as busy at once, so that the open is retried.
const OPEN_LIMIT: Duration = Duration::from_secs(10);
/// Time limit for a read to wait for a lock, which happens only while the file recovers from a
/// crash.
const READ_BUSY_LIMIT: Duration = Duration::from_secs(4);
/// Time limit for SQLite itself to wait for the write lock. It is short, because the writer retries
/// by itself, more often than SQLite does.
const WRITE_BUSY_LIMIT: Duration = Duration::from_millis(3);
const READERS_DEFAULT: u32 = 4;
/// The number of pages in the write-ahead log after which SQLite copies them to the database: 32
/// MB.
const CHECKPOINT_PAGES: &str = "8000";

/// Options for opening a file.
#[derive(Clone, Debug, Default)]
pub struct SqliteOptions {
    /// The most connections for reading; zero selects the default.
    pub readers_max: u32,
    /// The quota: the most pages of 4,096 bytes that the file may have. A write beyond it fails
    /// with [`StoreError::Full`].
    pub pages_max: Option<u32>,
}

/// The path of `sqlite:PATH`, and the quota of `sqlite:PATH?pages-max=N`.
pub(crate) fn place_of(url: &str) -> StoreResult<(PathBuf, Option<u32>)> {
    let bad = |cause: &str| StoreError::BadUrl { url: url.to_owned(), cause: cause.to_owned() };
    let path = url.strip_prefix("sqlite:").unwrap_or(url);
    let path = path.strip_prefix("//").unwrap_or(path);
    let (path, pages_max) = match path.split_once('?') {
        None => (path, None),
        Some((path, option)) => {
            let pages = option.strip_prefix("pages-max=").and_then(|pages| pages.parse().ok());
            (path, Some(pages.ok_or_else(|| bad("the only option is ?pages-max=N"))?))
        }
    };
    if path.is_empty() || path == ":memory:" {
        return Err(bad("write sqlite:PATH; a database in memory is memory:"));
    }
    let path = PathBuf::from(path);
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() && !parent.is_dir() => {
            Err(bad(&format!("create the directory {} first", parent.display())))
        }
        _ => Ok((path, pages_max)),
    }
}

impl SqliteDatabase {
    /// Opens the file at `path`, creates it when it is missing, and brings its schema up to date.
    ///
    /// # Errors
    /// `Unavailable` when other processes keep the file locked, `Corrupt` when it is no database,
    /// `BadUrl` when it can't be opened, `Refused` when its schema is newer than this program.
    pub async fn open(path: &Path, options: &SqliteOptions) -> StoreResult<Self> {
        let deadline = Instant::now() + OPEN_LIMIT;
        let writing = write_options(path, options);
        // Other processes may be creating the file at the same time.
        let connection = loop {
            match prepare(&writing).await {
                Ok(connection) => break connection,
                Err(Unready::Busy(_)) if Instant::now() < deadline => {
                    sleep(Duration::from_millis(5)).await;
                }
                Err(Unready::Busy(error)) => return Err(classify(DOING, &error)),
                Err(Unready::NotOpened(error)) => return Err(not_opened(path, &error)),
                Err(Unready::Failed(error)) => return Err(error),
            }
        };
        Ok(Self {
            readers: readers(path, options),
            writer: Writer::start(connection, writing),
            clock: system_clock(),
            specs: SpecCache::default(),
        })
    }
}

/// The options of the writing connection. In WAL mode readers and the writer do not wait for each
/// other; with `synchronous = FULL` a commit is on the disk before it is reported (P7).
fn write_options(path: &Path, options: &SqliteOptions) -> SqliteConnectOptions {
    let mut writing = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(WRITE_BUSY_LIMIT)
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
        .disable_statement_logging();
    if let Some(pages) = options.pages_max {
        writing = writing.pragma("max_page_count", pages.to_string());
    }
    writing
}

fn readers(path: &Path, options: &SqliteOptions) -> SqlitePool {
    let reading = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .busy_timeout(READ_BUSY_LIMIT)
        .pragma("query_only", "ON")
        .disable_statement_logging();
    let readers_max = if options.readers_max == 0 { READERS_DEFAULT } else { options.readers_max };
    SqlitePoolOptions::new()
        .max_connections(readers_max)
        .acquire_timeout(READ_BUSY_LIMIT)
        .test_before_acquire(false)
        .connect_lazy_with(reading)
}

/// The reason why the file could not be opened.
enum Unready {
    /// Another process holds the lock; the open may be retried.
    Busy(sqlx::Error),
    /// The file does not exist and can't be created, or access is denied.
    NotOpened(sqlx::Error),
    Failed(StoreError),
}

/// The error for a file that can't be opened. A retry would not help.
fn not_opened(path: &Path, error: &sqlx::Error) -> StoreError {
    let cause = format!(
        "{error}; the directory must exist, and this user must have write access to it and the file"
    );
    StoreError::BadUrl { url: format!("sqlite:{}", path.display()), cause }
}

impl From<sqlx::Error> for Unready {
    fn from(error: sqlx::Error) -> Self {
        if is_busy(&error) {
            Self::Busy(error)
        } else if is_not_opened(&error) {
            Self::NotOpened(error)
        } else {
            Self::Failed(classify(DOING, &error))
        }
    }
}

async fn prepare(options: &SqliteConnectOptions) -> Result<SqliteConnection, Unready> {
    let mut connection = options.connect().await?;
    migrate(&mut connection).await?;
    while identities::has_unread(&mut connection).await? {
        query("BEGIN IMMEDIATE").execute(&mut connection).await?;
        let now = system_clock()();
        identities::read_some(&mut connection, now).await.map_err(Unready::Failed)?;
        query("COMMIT").execute(&mut connection).await?;
    }
    Ok(connection)
}

async fn migrate(connection: &mut SqliteConnection) -> Result<(), Unready> {
    // Without pending migrations, which is the usual case, no write lock is needed.
    if pending(MIGRATIONS, version(connection).await?).map_err(Unready::Failed)?.count() == 0 {
        return Ok(());
    }
    query("BEGIN IMMEDIATE").execute(&mut *connection).await?;
    // Read again under the lock, because another process may have migrated in between.
    let applied = version(connection).await?;
    for migration in pending(MIGRATIONS, applied).map_err(Unready::Failed)? {
        raw_sql(migration.sql).execute(&mut *connection).await?;
        // A pragma takes no bound parameter.
        let set = format!("PRAGMA user_version = {}", migration.version);
        query(AssertSqlSafe(set)).execute(&mut *connection).await?;
    }
    query("COMMIT").execute(connection).await?;
    Ok(())
}

async fn version(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    let (version,): (i64,) = query_as("PRAGMA user_version").fetch_one(connection).await?;
    Ok(version)
}
