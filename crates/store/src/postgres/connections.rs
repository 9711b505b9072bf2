//! Connection pools, one for each purpose, so that a heartbeat never waits behind a bulk read.
//!
//! A dedicated pool has one rule: **a connection returns to the pool only after its
//! statement was answered in full**. A lease that is dropped before (its caller was cancelled or
//! reached its time limit) closes the connection. So no borrower sees an open transaction or a late
//! answer of another one, dropping a call is always safe, and returning a connection never waits
//! for the network. The server may still carry out the statement of a closed connection: this is
//! the unknown outcome of P2.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::error::DatabaseError;
use sqlx::postgres::{PgArguments, PgConnection, PgRow, Postgres};
use sqlx::query::{Query, QueryAs};
use sqlx::{Connection, FromRow, query, query_as};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::servers::Servers;
use super::warnings::heeding;
use crate::sql::errors::{classify, corrupt};
use crate::sql::statement::{SqlRow, SqlSession, SqlStatement, bound, run_statements};
use crate::{StoreError, StoreResult};

/// Time limit for opening a connection, and for waiting for one of a busy pool.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// A connection that was idle for longer is checked with a ping before its use, so that a restart
/// of the server causes no unknown outcome.
const IDLE_TRUSTED: Duration = Duration::from_millis(500);

/// The time at which a connection of any pool was last found broken. Connections that have been
/// idle since an earlier time are probably broken too, and are checked with a ping before their
/// use.
#[derive(Clone, Default)]
pub(super) struct Broken(Arc<Mutex<Option<Instant>>>);

impl Broken {
    fn now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn is_since(&self, idle: Instant) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|broken| broken >= idle)
    }
}

/// A pool of connections for one purpose.
pub(super) struct DedicatedPool {
    broken: Broken,
    servers: Servers,
    connections_max: usize,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<(PgConnection, Instant)>>,
    /// Whether a connection is being opened ahead of its use.
    opening: AtomicBool,
}

impl DedicatedPool {
    /// A pool of at most `connections_max` connections, opened when they are needed.
    pub(super) fn new(servers: Servers, connections_max: usize, broken: Broken) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(connections_max));
        let opening = AtomicBool::new(false);
        Arc::new(Self {
            broken,
            servers,
            connections_max,
            permits,
            idle: Mutex::default(),
            opening,
        })
    }

    /// Opens one more connection in the background, unless `wanted` are open, and runs the
    /// statements of `first` on it. So a takeover finds connections that are open, with warm caches
    /// on the server.
    pub(super) fn warm(self: &Arc<Self>, wanted: usize, first: fn() -> Vec<Statement<'static>>) {
        let leased = self.connections_max - self.permits.available_permits();
        let wanted = wanted.min(self.connections_max);
        if self.idle().len() + leased >= wanted || self.opening.swap(true, Ordering::AcqRel) {
            return;
        }
        let pool = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(error) = pool.open_one(first).await {
                tracing::debug!(%error, "a connection could not be opened in advance");
            }
            pool.opening.store(false, Ordering::Release);
        });
    }

    async fn open_one(self: &Arc<Self>, first: fn() -> Vec<Statement<'static>>) -> StoreResult<()> {
        const DOING: &str = "open a connection";
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else { return Ok(()) };
        let connected = self.servers.connect(CONNECT_LIMIT).await;
        let mut connection = connected.map_err(|error| error.classify(DOING))?;
        for statement in first() {
            let done = timeout(CONNECT_LIMIT, statement.execute(&mut connection)).await;
            let done = done.map_err(|_| Failure::NoAnswer.classify(DOING))?;
            done.map_err(|error| classify(DOING, &error))?;
        }
        self.idle().push((connection, Instant::now()));
        drop(permit);
        Ok(())
    }

    /// A connection for one statement or transaction, which may take `limit` in total.
    pub(super) async fn lease(
        self: &Arc<Self>,
        doing: &'static str,
        limit: Duration,
    ) -> StoreResult<Lease> {
        let unavailable = |cause: &str| StoreError::Unavailable { doing, cause: cause.to_owned() };
        let permit = timeout(CONNECT_LIMIT, Arc::clone(&self.permits).acquire_owned())
            .await
            .map_err(|_| unavailable("all connections are busy"))?
            .map_err(|_| unavailable("the database is being closed"))?;
        let connection = match self.pop_live().await {
            Some(connection) => connection,
            None => {
                self.servers.connect(CONNECT_LIMIT).await.map_err(|error| error.classify(doing))?
            }
        };
        let pool = Arc::clone(self);
        Ok(Lease { pool, connection, _permit: permit, doing, limit })
    }

    /// A session in which each statement runs on a connection of its own, and commits by itself.
    pub(super) fn autocommit(self: &Arc<Self>, limit: Duration) -> Autocommit<'_> {
        Autocommit { pool: self, limit }
    }

    async fn pop_live(&self) -> Option<PgConnection> {
        loop {
            let (mut connection, since) = self.idle().pop()?;
            if since.elapsed() < IDLE_TRUSTED && !self.broken.is_since(since) {
                return Some(connection);
            }
            if let Ok(Ok(())) = timeout(CONNECT_LIMIT, connection.ping()).await {
                return Some(connection);
            }
            self.broken.now();
            // Connections that were idle for longer are dropped unchecked: on a dead host each
            // check would wait for its time-out.
            self.idle().retain(|(_, other)| *other > since);
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(PgConnection, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A leased connection, for one statement or one transaction within `limit`.
pub(super) struct Lease {
    pool: Arc<DedicatedPool>,
    connection: PgConnection,
    _permit: OwnedSemaphorePermit,
    doing: &'static str,
    limit: Duration,
}

/// A statement with its arguments.
pub(super) type Statement<'q> = Query<'q, Postgres, PgArguments>;
/// A statement with its arguments, and the tuple to which its rows are decoded.
pub(super) type StatementAs<'q, T> = QueryAs<'q, Postgres, T, PgArguments>;

/// Why a statement has no result.
pub(super) enum Failure {
    /// The server did not answer within the time limit.
    NoAnswer,
    /// The statement was carried out and the server warned: it may not be replicated (P19).
    Warned,
    /// An error of sqlx.
    Sqlx(sqlx::Error),
}

impl Failure {
    /// The error for the caller.
    pub(super) fn classify(&self, doing: &'static str) -> StoreError {
        match self {
            Self::NoAnswer => {
                StoreError::Unavailable { doing, cause: "no answer in time".to_owned() }
            }
            Self::Warned => StoreError::Unavailable {
                doing,
                cause: "the server warned: the commit may not be replicated".to_owned(),
            },
            Self::Sqlx(error) => classify(doing, error),
        }
    }
}

impl Lease {
    /// Runs a statement. Returns the number of rows that it changed.
    pub(super) async fn execute(mut self, statement: Statement<'_>) -> StoreResult<u64> {
        let answer = heeding(timeout(self.limit, statement.execute(&mut self.connection))).await;
        let doing = self.doing;
        let done = self.settle(answer).map_err(|failure| failure.classify(doing))?;
        Ok(done.rows_affected())
    }

    /// Runs a statement. Returns all its rows.
    pub(super) async fn fetch_all<T: Tuple>(
        mut self,
        statement: StatementAs<'_, T>,
    ) -> StoreResult<Vec<T>> {
        let doing = self.doing;
        let answer = heeding(timeout(self.limit, statement.fetch_all(&mut self.connection))).await;
        self.settle(answer).map_err(|failure| failure.classify(doing))
    }

    /// Runs a statement that returns at most one row. It reads the whole answer, because an error
    /// of the commit comes after the row.
    pub(super) async fn fetch_optional<T: Tuple>(
        self,
        statement: StatementAs<'_, T>,
    ) -> StoreResult<Option<T>> {
        Ok(self.fetch_all(statement).await?.pop())
    }

    /// Runs a statement that returns one row.
    pub(super) async fn fetch_one<T: Tuple>(self, statement: StatementAs<'_, T>) -> StoreResult<T> {
        let doing = self.doing;
        let row = self.fetch_optional(statement).await?;
        row.ok_or_else(|| corrupt(doing, "a row is missing"))
    }

    /// The process id of the server's backend for this connection.
    pub(super) async fn backend_pid(&mut self) -> StoreResult<i32> {
        let statement = query_as::<_, (i32,)>("SELECT pg_backend_pid()");
        match timeout(self.limit, statement.fetch_one(&mut self.connection)).await {
            Ok(Ok((pid,))) => Ok(pid),
            Ok(Err(error)) => Err(Failure::Sqlx(error).classify(self.doing)),
            Err(_) => Err(Failure::NoAnswer.classify(self.doing)),
        }
    }

    /// Runs `work` between BEGIN and COMMIT. Any error, and cancellation too, closes the
    /// connection, and the server rolls back.
    pub(super) async fn transaction<T, F>(mut self, work: F) -> StoreResult<T>
    where
        F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, StoreResult<T>>,
    {
        let doing = self.doing;
        let failed = |error: sqlx::Error| classify(doing, &error);
        let connection = &mut self.connection;
        let all = async {
            query("BEGIN").execute(&mut *connection).await.map_err(failed)?;
            let done = work(&mut *connection).await?;
            query("COMMIT").execute(&mut *connection).await.map_err(failed)?;
            Ok(done)
        };
        let (done, warned) = heeding(timeout(self.limit, all)).await;
        let done = done.map_err(|_| Failure::NoAnswer.classify(doing))??;
        self.give_back();
        if warned { Err(Failure::Warned.classify(doing)) } else { Ok(done) }
    }

    fn settle<T>(
        self,
        (answer, warned): (Result<Result<T, sqlx::Error>, tokio::time::error::Elapsed>, bool),
    ) -> Result<T, Failure> {
        match answer {
            Ok(Ok(value)) => {
                self.give_back();
                if warned { Err(Failure::Warned) } else { Ok(value) }
            }
            Ok(Err(error)) => {
                if leaves_connection_in_order(&error) {
                    self.give_back();
                } else {
                    self.pool.broken.now();
                }
                Err(Failure::Sqlx(error))
            }
            Err(_) => Err(Failure::NoAnswer),
        }
    }

    fn give_back(self) {
        self.pool.idle().push((self.connection, Instant::now()));
    }
}

/// Runs each statement on a connection of its own, which the pool leases for `limit`.
pub(super) struct Autocommit<'a> {
    pool: &'a Arc<DedicatedPool>,
    limit: Duration,
}

impl SqlSession for Autocommit<'_> {
    async fn execute(
        &mut self,
        doing: &'static str,
        statement: SqlStatement<'_>,
    ) -> StoreResult<u64> {
        let lease = self.pool.lease(doing, self.limit).await?;
        lease.execute(bound!(query(statement.text), statement.parameters)).await
    }

    async fn rows<T: SqlRow>(
        &mut self,
        doing: &'static str,
        statement: SqlStatement<'_>,
    ) -> StoreResult<Vec<T>> {
        let lease = self.pool.lease(doing, self.limit).await?;
        lease.fetch_all(bound!(query_as(statement.text), statement.parameters)).await
    }
}

// The statements of an open transaction.
run_statements!(PgConnection, connection => connection);

/// A tuple to which rows are decoded.
pub(super) trait Tuple: for<'r> FromRow<'r, PgRow> + Send + Unpin {}
impl<T: for<'r> FromRow<'r, PgRow> + Send + Unpin> Tuple for T {}

/// Whether the connection can be used again after this error of a statement. It cannot after a
/// connection error, after the server has ended the backend, and on a server that accepts no
/// writes, because then another server is the primary.
fn leaves_connection_in_order(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(DatabaseError::code);
    code.is_some_and(|code| {
        code == "57014" || !(code == "25006" || code.starts_with("57") || code.starts_with("08"))
    })
}
