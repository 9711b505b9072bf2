//! Opens the database: brings the schema up to date, and divides the connections among their
//! purposes.

use tokio::sync::Semaphore;
use turnpike_types::capped;

use super::connections::{Broken, DedicatedPool};
use super::database::{APPEND_LIMIT, BEAT_LIMIT, BULK_LIMIT, LOCK_LIMIT, PostgresDatabase};
use super::session;
use crate::sql::spec_cache::SpecCache;
use crate::{OpenOptions, StoreResult};

/// The most connections of a process, by default. Connections are opened on demand.
const CONNECTIONS_DEFAULT: usize = 16;
/// The fewest connections of a process: one for each purpose but claims, which have two. One of the two
/// runs the claim; the other one finds and ends the backends that block it.
const CONNECTIONS_MIN: usize = 7;

/// Brings the schema of the database at `url` up to date, and grants the rights on its tables to the
/// roles of `cluster/postgres/roles.sql` that exist.
///
/// # Errors
/// As [`crate::open`], and `Refused` when the role may not change the schema.
pub async fn migrate(url: &str) -> StoreResult<()> {
    session::migrate_and_grant(url).await
}

impl PostgresDatabase {
    /// The tables and views in the database at `url` that are not PostgreSQL's own, as
    /// `schema.name`. Changes nothing, unlike [`Self::open`].
    ///
    /// # Errors
    /// The database does not answer, or the address is wrong.
    pub async fn tables(url: &str) -> StoreResult<Vec<String>> {
        session::tables(url).await
    }

    /// Opens the database at `url` and brings its schema up to date.
    ///
    /// # Errors
    /// As [`crate::open`].
    pub async fn open(url: &str, options: &OpenOptions) -> StoreResult<Self> {
        let servers = session::servers(url)?;
        session::prepare(url, &servers).await?;
        let connections = match capped(options.connections_max) {
            0 => CONNECTIONS_DEFAULT,
            some => some.max(CONNECTIONS_MIN),
        };
        let claims = if connections < 12 { 2 } else { 4 };
        let bulk = (connections / 4).max(2) - 1;
        let log = connections - 3 - claims - bulk;
        let broken = Broken::default();
        let pool = |statement, lock, connections_max| {
            let servers = session::limited(&servers, statement, lock);
            DedicatedPool::new(servers, connections_max, broken.clone())
        };
        Ok(Self {
            beats: pool(BEAT_LIMIT, LOCK_LIMIT, 1),
            observer: pool(BEAT_LIMIT, LOCK_LIMIT, 1),
            claims: pool(LOCK_LIMIT, LOCK_LIMIT, claims),
            claim_turns: Semaphore::new(claims / 2),
            log: pool(APPEND_LIMIT, LOCK_LIMIT, log),
            changes: pool(APPEND_LIMIT, LOCK_LIMIT, 1),
            bulk: pool(BULK_LIMIT, LOCK_LIMIT, bulk),
            specs: SpecCache::default(),
        })
    }
}
