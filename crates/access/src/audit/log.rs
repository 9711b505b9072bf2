//! Writes the audit log. One task of the process appends the entries of all its requests: those that
//! arrive during an append go into the next one together.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use turnpike_proto::audit::v1::{AuditOutcome, Entry};
use turnpike_store::{
    AUDIT_BATCH_MAX, AuditAppend, AuditAppended, AuditHead, AuditRow, AuditSelection,
    SharedDatabase, StoreError, StoreResult,
};
use turnpike_types::Timestamp;

use super::chain::hash_of;
use super::entry::{Action, Intent, intent, outcome, parts};
use super::room::ChangeRoom;
use crate::{Actor, request_id};

/// The most entries that wait for the next append.
const QUEUE_MAX: usize = 1_024;
/// Time limit for appending an entry, with all attempts.
const APPEND_LIMIT: Duration = Duration::from_secs(8);
/// The pause before an attempt after the database failed.
const AGAIN: Duration = Duration::from_millis(100);
/// The longest pause before the second attempt after another process has appended first; it doubles
/// with each attempt, up to [`AGAIN`].
const OVERTAKEN: Duration = Duration::from_millis(5);

/// The audit log of a process. Clones share the writing task, which ends with the last clone.
#[derive(Clone)]
pub struct AuditLog {
    queue: mpsc::Sender<Submission>,
    random: Arc<Mutex<StdRng>>,
    /// The tasks of changes and of outcomes, which shutdown waits for.
    pub(super) tasks: TaskTracker,
    pub(super) room: ChangeRoom,
}

struct Submission {
    entry: Entry,
    deadline: Instant,
    reply: oneshot::Sender<StoreResult<()>>,
}

/// An audited change whose intent is durable. Its end is recorded by [`Operation::end`]; an operation
/// that is dropped before has the outcome *unknown*. Services use [`AuditLog::change`], which drops none.
#[must_use = "the outcome of the operation is to be recorded"]
pub struct Operation {
    log: AuditLog,
    /// The intent, until the outcome is recorded.
    intent: Option<Entry>,
}

impl AuditLog {
    /// Starts the writing task inside the current tokio runtime. `seed` determines the ids of
    /// operations: a process draws a new one at each start.
    pub fn start(db: Arc<dyn SharedDatabase>, seed: u64) -> Self {
        let (queue, submissions) = mpsc::channel(QUEUE_MAX);
        let mut random = StdRng::seed_from_u64(seed);
        tokio::spawn(write(db, submissions, StdRng::from_rng(&mut random)));
        let random = Arc::new(Mutex::new(random));
        Self { queue, random, tasks: TaskTracker::new(), room: ChangeRoom::default() }
    }

    /// Records that `actor` is about to make a change. When this returns an operation, the intent is
    /// durable, and the change may be made.
    ///
    /// # Errors
    /// The intent may not be durable: the change must not be made.
    pub async fn begin(
        &self,
        actor: &Actor,
        action: Action,
        change: &Intent,
    ) -> Result<Operation, StoreError> {
        let id = self.random.lock().unwrap_or_else(PoisonError::into_inner).random();
        let entry = intent(actor, action, id, change);
        self.append_parts(&entry, &change.accounts).await.map_err(|error| match error {
            StoreError::Unavailable { doing, cause } => StoreError::Unavailable {
                doing,
                cause: format!("{cause}; nothing was changed, because a change needs its entry"),
            },
            other => other,
        })?;
        Ok(Operation { log: self.clone(), intent: Some(entry) })
    }

    /// Appends the entries of an operation, in order.
    async fn append_parts(&self, entry: &Entry, accounts: &[(u64, String)]) -> StoreResult<()> {
        for part in parts(entry, accounts) {
            self.append(part).await?;
        }
        Ok(())
    }

    /// Appends an entry. Its time is set here.
    ///
    /// # Errors
    /// The entry may not be durable.
    pub(crate) async fn append(&self, entry: Entry) -> StoreResult<()> {
        let (reply, done) = oneshot::channel();
        let deadline = Instant::now() + APPEND_LIMIT;
        let submission = Submission { entry, deadline, reply };
        self.queue.send(submission).await.map_err(|_| ended())?;
        done.await.map_err(|_| ended())?
    }
}

fn ended() -> StoreError {
    StoreError::Unavailable {
        doing: "append to the audit log",
        cause: "the process is shutting down".to_owned(),
    }
}

impl Operation {
    /// Records the outcome, also if this future is dropped. `done` has the accounts of the operation,
    /// each with what was done. A failure is logged and counted: the change is made, and its answer has
    /// to be true.
    pub async fn end(mut self, result: AuditOutcome, detail: &str, done: &[(u64, String)]) {
        let Some(intent) = self.intent.take() else { return };
        let entry = outcome(intent, result, detail);
        let recorded = record(self.log.clone(), entry, done.to_vec());
        // The task fails only when the process ends: then `verify` finds the intent without an outcome.
        let _ = self.log.tasks.spawn(request_id::carried(recorded)).await;
    }
}

/// Appends an outcome, or counts it as missing.
async fn record(log: AuditLog, entry: Entry, done: Vec<(u64, String)>) {
    if let Err(error) = log.append_parts(&entry, &done).await {
        metrics::counter!("turnpike_front_audit_outcomes_missing_total").increment(1);
        let Entry { action, request_id, .. } = entry;
        tracing::error!(
            %error, action, request_id,
            "the outcome of a change is not in the audit log; its intent is"
        );
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        let Some(intent) = self.intent.take() else { return };
        let why = "the request was cancelled before its answer";
        let entry = outcome(intent, AuditOutcome::Unknown, why);
        let (reply, _) = oneshot::channel();
        let deadline = Instant::now() + APPEND_LIMIT;
        if self.log.queue.try_send(Submission { entry, deadline, reply }).is_err() {
            metrics::counter!("turnpike_front_audit_outcomes_missing_total").increment(1);
            tracing::warn!("the outcome of a cancelled change is not in the audit log");
        }
    }
}

/// Appends what arrives until the last [`AuditLog`] is dropped.
async fn write(
    db: Arc<dyn SharedDatabase>,
    mut submissions: mpsc::Receiver<Submission>,
    mut random: StdRng,
) {
    let mut batch = Vec::new();
    while submissions.recv_many(&mut batch, AUDIT_BATCH_MAX).await > 0 {
        let (entries, replies): (Vec<Entry>, Vec<_>) =
            batch.drain(..).map(|one| (one.entry, (one.reply, one.deadline))).unzip();
        // The earliest deadline holds for the whole batch, whose entries arrived together.
        let deadline = replies.iter().map(|(_, deadline)| *deadline).min();
        let deadline = deadline.unwrap_or_else(Instant::now).max(Instant::now() + AGAIN);
        let done = append_batch(&*db, &entries, deadline, &mut random).await;
        for (reply, _) in replies {
            // A caller that was cancelled needs no answer.
            let _ = reply.send(match &done {
                Ok(()) => Ok(()),
                Err(error) => Err(again(error)),
            });
        }
    }
}

/// The same error for each entry of a batch.
fn again(error: &StoreError) -> StoreError {
    let doing = "append to the audit log";
    match error {
        StoreError::Unavailable { cause, .. } => {
            StoreError::Unavailable { doing, cause: cause.clone() }
        }
        StoreError::Full { cause, .. } => StoreError::Full { doing, cause: cause.clone() },
        StoreError::Corrupt { cause, .. } => StoreError::Corrupt { doing, cause: cause.clone() },
        StoreError::Refused(why) => StoreError::Refused(why.clone()),
        other => StoreError::Refused(other.to_string()),
    }
}

/// Appends entries together, after the newest entry. Returns when they are durable.
async fn append_batch(
    db: &dyn SharedDatabase,
    entries: &[Entry],
    deadline: Instant,
    random: &mut StdRng,
) -> StoreResult<()> {
    // The rows of an attempt whose outcome is not known.
    let mut unknown: Option<Vec<AuditRow>> = None;
    let mut pause = OVERTAKEN;
    loop {
        let error = match attempt(db, entries, &mut unknown).await {
            Ok(AuditAppended::Appended) => return Ok(()),
            Ok(AuditAppended::Overtaken) => {
                metrics::counter!("turnpike_front_audit_overtaken_total").increment(1);
                if Instant::now() < deadline {
                    // Else the process with the longest way to the database would lose each time.
                    tokio::time::sleep(pause.mul_f64(random.random())).await;
                    pause = (pause * 2).min(AGAIN);
                    continue;
                }
                let cause = "each attempt was overtaken by another process".to_owned();
                return Err(StoreError::Unavailable { doing: "append to the audit log", cause });
            }
            Err(error) => error,
        };
        if !error.is_transient() || Instant::now() + AGAIN >= deadline {
            return Err(error);
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// One attempt. If an earlier attempt has an unknown outcome, its outcome is read first: an entry is
/// never appended twice by one process.
async fn attempt(
    db: &dyn SharedDatabase,
    entries: &[Entry],
    unknown: &mut Option<Vec<AuditRow>>,
) -> StoreResult<AuditAppended> {
    let head = db.audit_head().await?;
    let mut is_resent = false;
    let rows = match unknown.take() {
        Some(rows) if rows.first().is_some_and(|first| first.sequence == head.next) => {
            // Nothing was appended since. The same rows again: of both attempts, one commits.
            is_resent = true;
            rows
        }
        Some(rows) => {
            let is_ours = match is_in_log(db, &rows).await {
                Ok(is_ours) => is_ours,
                Err(error) => {
                    *unknown = Some(rows);
                    return Err(error);
                }
            };
            if is_ours {
                return Ok(AuditAppended::Appended);
            }
            rows_after(&head, entries)
        }
        None => rows_after(&head, entries),
    };
    let first = rows.first().map(|first| first.prev_hash);
    let append = AuditAppend { after: first.unwrap_or_default(), rows };
    match db.append_audit(&append).await {
        Ok(AuditAppended::Overtaken) => {
            // The attempt before may have committed in between.
            *unknown = is_resent.then_some(append.rows);
            Ok(AuditAppended::Overtaken)
        }
        Err(error) if error.is_unknown() => {
            *unknown = Some(append.rows);
            Err(error)
        }
        other => other,
    }
}

/// Whether these rows are in the log.
async fn is_in_log(db: &dyn SharedDatabase, rows: &[AuditRow]) -> StoreResult<bool> {
    let Some(first) = rows.first() else { return Ok(true) };
    let found = db.read_audit(&AuditSelection::after(first.sequence.saturating_sub(1))).await?;
    Ok(found.first().is_some_and(|row| row.sequence == first.sequence && row.hash == first.hash))
}

fn rows_after(head: &AuditHead, entries: &[Entry]) -> Vec<AuditRow> {
    let at = head.now.max(head.last_at);
    let mut prev_hash = head.last_hash;
    let row = |(entry, sequence): (&Entry, u64)| {
        let body = Bytes::from(Entry { at_us: at.micros(), ..entry.clone() }.encode_to_vec());
        let hash = hash_of(&prev_hash, sequence, &body);
        let prev_hash = std::mem::replace(&mut prev_hash, hash);
        AuditRow { sequence, at: Timestamp(at.micros()), prev_hash, hash, body }
    };
    entries.iter().zip(head.next..).map(row).collect()
}

#[cfg(test)]
mod tests;
