//! The only connection of this process that writes (P7).
//!
//! A task owns the connection and runs every transaction to its end, whether or not the caller
//! still waits, so that a cancelled call leaves no transaction open. Jobs come through two bounded
//! queues; heartbeats have priority. Transactions begin with BEGIN IMMEDIATE, which takes the write
//! lock before the first read. So the fence of an append is as safe as under a row lock.
//!
//! Other processes write to the same file. SQLite's write lock has no queue: a writer that finds it
//! held has to retry. This task retries every millisecond, so that a heartbeat gets the lock
//! between two commits of another process that appends without pause.

use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, query};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

use crate::sql::errors::{classify, is_busy};
use crate::{StoreError, StoreResult};

/// The most jobs that wait in each queue.
const QUEUE_MAX: usize = 256;
/// Time limit, from the call on, for a job to get the write lock, which other processes may hold.
const BUSY_LIMIT: Duration = Duration::from_secs(4);
/// The interval between two attempts to take the write lock.
const ASK_AGAIN: Duration = Duration::from_millis(1);

/// The priority of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    /// Before all waiting jobs of normal priority.
    Heartbeat,
    /// In the order of arrival.
    Normal,
}

type Job = Box<dyn for<'c> FnOnce(&'c mut Connection) -> BoxFuture<'c, ()> + Send>;

/// Sends jobs to the writing task.
#[derive(Clone)]
pub(super) struct Writer {
    urgent: mpsc::Sender<Job>,
    normal: mpsc::Sender<Job>,
}

impl Writer {
    /// Starts the writing task on an open connection.
    pub(super) fn start(connection: SqliteConnection, options: SqliteConnectOptions) -> Self {
        let (urgent, urgent_jobs) = mpsc::channel(QUEUE_MAX);
        let (normal, normal_jobs) = mpsc::channel(QUEUE_MAX);
        let connection = Connection { options, open: Some(connection) };
        tokio::spawn(run(connection, urgent_jobs, normal_jobs));
        Self { urgent, normal }
    }

    /// Runs `work` in a transaction. An error of `work` rolls the transaction back.
    pub(super) async fn write<T, F>(
        &self,
        urgency: Urgency,
        doing: &'static str,
        work: F,
    ) -> StoreResult<T>
    where
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, StoreResult<T>>,
        F: Send + 'static,
        T: Send + 'static,
    {
        let gone =
            |_| StoreError::Unavailable { doing, cause: "the writing task has ended".to_owned() };
        let (reply, outcome) = oneshot::channel();
        let deadline = Instant::now() + BUSY_LIMIT;
        let job: Job = Box::new(move |connection| {
            Box::pin(async move {
                // The caller was cancelled before the transaction began: the job is skipped.
                if reply.is_closed() {
                    return;
                }
                // If the caller was cancelled meanwhile, it does not learn the outcome (P2).
                let _ = reply.send(connection.transaction(doing, deadline, work).await);
            })
        });
        let queue = match urgency {
            Urgency::Heartbeat => &self.urgent,
            Urgency::Normal => &self.normal,
        };
        queue.send(job).await.map_err(|_| gone(()))?;
        outcome.await.map_err(|_| gone(()))?
    }
}

async fn run(
    mut connection: Connection,
    mut urgent: mpsc::Receiver<Job>,
    mut normal: mpsc::Receiver<Job>,
) {
    loop {
        let job = tokio::select! {
            biased;
            Some(job) = urgent.recv() => job,
            Some(job) = normal.recv() => job,
            else => return,
        };
        job(&mut connection).await;
    }
}

/// The writing connection. It is closed after an error that may have broken it, and opened again
/// for the next job.
struct Connection {
    options: SqliteConnectOptions,
    open: Option<SqliteConnection>,
}

impl Connection {
    async fn transaction<T, F>(
        &mut self,
        doing: &'static str,
        deadline: Instant,
        work: F,
    ) -> StoreResult<T>
    where
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, StoreResult<T>>,
    {
        let failed = |error: sqlx::Error| classify(doing, &error);
        let mut connection = match self.open.take() {
            Some(connection) => connection,
            None => self.options.connect().await.map_err(failed)?,
        };
        if let Err(error) = begin(&mut connection, deadline).await {
            if is_busy(&error) {
                self.open = Some(connection);
            }
            return Err(failed(error));
        }
        let outcome = match work(&mut connection).await {
            // An error of COMMIT itself is returned, so that a failed commit is never reported as
            // done (P7).
            Ok(done) => {
                query("COMMIT").execute(&mut connection).await.map(|_| done).map_err(failed)
            }
            Err(error) => Err(error),
        };
        // After most errors the transaction is still open. After some, such as a full disk, SQLite
        // has rolled back already and ROLLBACK itself fails, which does not matter.
        if outcome.is_err() {
            // Its error adds nothing to that of the work.
            let _ = query("ROLLBACK").execute(&mut connection).await;
            if !matches!(
                outcome,
                Err(StoreError::Refused(_) | StoreError::Superseded(_) | StoreError::Full { .. })
            ) {
                return outcome;
            }
        }
        self.open = Some(connection);
        outcome
    }
}

/// Takes the write lock; tries at least once, and retries until `deadline` while the lock is held.
async fn begin(connection: &mut SqliteConnection, deadline: Instant) -> Result<(), sqlx::Error> {
    loop {
        match query("BEGIN IMMEDIATE").execute(&mut *connection).await {
            Err(error) if is_busy(&error) && Instant::now() < deadline => sleep(ASK_AGAIN).await,
            outcome => return outcome.map(|_| ()),
        }
    }
}
