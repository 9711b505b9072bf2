//! The one connection of this process that writes (P7).
//!
//! A task owns it and drives every transaction to its end, whether or not its caller still waits;
//! so nobody's cancellation leaves a transaction open. Jobs come through two bounded queues, and
//! heartbeats go first. Transactions begin with BEGIN IMMEDIATE: the lock is had before anything
//! is read, which makes the fence of an append as good as a locked row.
//!
//! Other processes write to the same file. SQLite has no queue for its write lock, only waiting
//! and asking again; so this asks often (each millisecond), which is what gets a heartbeat in
//! between the commits of another process that appends without pause.

use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, query};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

use crate::sql::errors::{classify, is_busy};
use crate::{StoreError, StoreResult};

/// Jobs that may wait in each queue.
const QUEUE_MAX: usize = 256;
/// How long a job may wait for other processes to let go of the lock.
const BUSY_LIMIT: Duration = Duration::from_secs(4);
/// How soon the lock is asked for again.
const ASK_AGAIN: Duration = Duration::from_millis(1);

/// How soon a job must be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    /// Before everything else that waits.
    Heartbeat,
    /// In turn.
    Normal,
}

type Job = Box<dyn for<'c> FnOnce(&'c mut Connection) -> BoxFuture<'c, ()> + Send>;

/// Hands jobs to the task that writes.
#[derive(Clone)]
pub(super) struct Writer {
    urgent: mpsc::Sender<Job>,
    normal: mpsc::Sender<Job>,
}

impl Writer {
    /// Starts the task, on a connection that is open already.
    pub(super) fn start(connection: SqliteConnection, options: SqliteConnectOptions) -> Self {
        let (urgent, urgent_jobs) = mpsc::channel(QUEUE_MAX);
        let (normal, normal_jobs) = mpsc::channel(QUEUE_MAX);
        let connection = Connection { options, open: Some(connection) };
        tokio::spawn(run(connection, urgent_jobs, normal_jobs));
        Self { urgent, normal }
    }

    /// Runs `work` in a transaction of its own. An error of `work` rolls it back.
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
        let gone = |_| StoreError::Unavailable {
            doing,
            cause: "the task that writes has ended".to_owned(),
        };
        let (reply, outcome) = oneshot::channel();
        let deadline = Instant::now() + BUSY_LIMIT;
        let job: Job = Box::new(move |connection| {
            Box::pin(async move {
                // Nobody waits any more, and nothing was begun.
                if reply.is_closed() {
                    return;
                }
                // A caller that has gone meanwhile does not learn the outcome (P2).
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

/// The connection, opened again after an error that may have broken it.
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
            // `execute`, which sees an error of the commit itself (P7).
            Ok(done) => {
                query("COMMIT").execute(&mut connection).await.map(|_| done).map_err(failed)
            }
            Err(error) => Err(error),
        };
        // After most errors SQLite is still within the transaction; after some (a full disk) it
        // has rolled back by itself, and says that there is nothing to roll back.
        if outcome.is_err() {
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

/// Takes the write lock, asking again until `deadline`, at least once.
async fn begin(connection: &mut SqliteConnection, deadline: Instant) -> Result<(), sqlx::Error> {
    loop {
        match query("BEGIN IMMEDIATE").execute(&mut *connection).await {
            Err(error) if is_busy(&error) && Instant::now() < deadline => sleep(ASK_AGAIN).await,
            outcome => return outcome.map(|_| ()),
        }
    }
}
