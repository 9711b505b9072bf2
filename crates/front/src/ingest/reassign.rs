//! Records whose identity has moved to another account. The first holder is the account that
//! look-ups of the identity returned first. The first holder's partition decides which account
//! pays, so that a record that was rated before the change is not rated again (P28).
//!
//! ```text
//!  record --Reassign--> partition of the first holder --known--> the earlier answer
//!                                |
//!                                `--to be rated for X--> ingested under X --durable--> then
//!                                              removed from the first holder's suspense; if X
//!                                              refuses it, this is noted there
//! ```
//!
//! A step that fails is repeated when the record is sent or recycled again. Each step is
//! idempotent: the decision is durable before the record is rated, and a record that was rated is
//! recognized by its key.
//!
//! Partitions decide side by side, each its records in order, a chunk at a time. A chunk has the
//! answer deadline for all its steps, from its own start on. With one deadline for all chunks, a
//! batch that needs more time would be answered RETRY again and again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures::{Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use turnpike_access::client;
use turnpike_mutants::{Check, off};
use turnpike_proto::frame::BatchFrame;
use turnpike_proto::ingest::v1::{BatchAck, BatchStatus, RecordResult, RecordStatus};
use turnpike_proto::node::v1::{
    NodeReassignRequest, NodeRecycleRequest, NotedRefusal, ReassignOutcome, Reassignment,
    RecycleKey,
};
use turnpike_proto::record::{RecordBatch, is_identity, peek};
use turnpike_proto::wire::put_number;
use turnpike_types::{AccountNumber, Must, PartitionId, SuspenseReason, limits};

use crate::FrontError;
use crate::core::Core;
use crate::ingest::batch::{Unanswered, retry_ack};
use crate::ingest::decided::Decided;
use crate::ingest::dispatch::Dispatch;
use crate::ingest::split::{Splitter, head_of};
use crate::ingest::sub_batch::Arrival;
use crate::routing::guiding::{HistoryBySpelling, IdentityKey, bound_at, first_holder_at};

/// The number of records in one request. A batch of this many records of the largest size fits the
/// size limit.
const CHUNK: usize = 200;
const _: () = assert!(CHUNK <= limits::DECIDED_MAX);
/// The number of partitions that decide records of one batch at the same time.
const PARTITIONS_AT_ONCE: usize = 16;

/// Records that a first holder decided, and that wait in the partition `from`: later changes of
/// bindings do not matter to them.
const fn decided_in(from: PartitionId) -> Arrival {
    Arrival::Recycled { mark: None, from }
}

/// A record whose identity changed hands.
pub(crate) struct MovedRecord {
    /// The encoded record. It names no account, or the first holder.
    pub(crate) record: Vec<u8>,
    /// The first holder, whose partition decides.
    pub(crate) first: AccountNumber,
    /// The account that holds the identity now.
    pub(crate) to: Option<AccountNumber>,
}

/// Appends `account` to the encoded record as another account field. It replaces the former
/// account, because decoders use the last value of a repeated scalar field.
pub(crate) fn owned_by(record: &[u8], account: AccountNumber) -> Vec<u8> {
    let mut out = record.to_vec();
    put_number(&mut out, 1, account.0);
    out
}

/// The records of a batch whose identity changed hands, by index.
pub(crate) fn candidates(
    frame: &BatchFrame,
    histories: &HistoryBySpelling,
) -> Vec<(u32, MovedRecord)> {
    let mut found = Vec::new();
    let mut index = 0u32;
    // The split has reported a malformed batch.
    let _ = frame.walk(|record| {
        if let Some(candidate) = candidate(record, histories) {
            found.push((index, candidate));
        }
        index += 1;
    });
    found
}

fn candidate(record: &[u8], histories: &HistoryBySpelling) -> Option<MovedRecord> {
    let found = peek(record).ok()?;
    let is_guided = found.account.0 == 0
        && is_identity(found.identity)
        && found.identity.len() <= limits::IDENTITY_BYTES_MAX;
    let history = histories.get(&*IdentityKey::of(found.identity).text).filter(|_| is_guided)?;
    let first = first_holder_at(history, found.start).filter(|_| !off(Check::FirstDecides))?;
    Some(MovedRecord { record: record.to_vec(), first, to: bound_at(history, found.start) })
}

/// Decides each of `candidates`, and rates each record for the account of its decision. `waits_in`:
/// the partition in whose suspense the records wait since their age was checked (P35). Returns the outcomes in the
/// order of `candidates`.
pub(crate) async fn reassign(
    core: &Arc<Core>,
    candidates: &[MovedRecord],
    waits_in: Option<PartitionId>,
) -> Vec<Decided> {
    let mut outcomes = uncovered(candidates);
    let mut deciding = decide_by_partition(core, candidates, waits_in);
    while let Some(decided) = deciding.next().await {
        set(&mut outcomes, decided);
    }
    outcomes
}

/// Like [`reassign`], but abandons the remaining records once a record has no durable answer.
///
/// # Errors
/// Why a record has no durable answer.
pub(crate) async fn reassign_all(
    core: &Arc<Core>,
    candidates: &[MovedRecord],
    waits_in: Option<PartitionId>,
) -> Result<Vec<Decided>, String> {
    let mut outcomes = uncovered(candidates);
    let mut deciding = decide_by_partition(core, candidates, waits_in);
    while let Some(decided) = deciding.next().await {
        if let Some(message) = retry_of(decided.iter().map(|(_, outcome)| outcome)) {
            return Err(message.to_owned());
        }
        set(&mut outcomes, decided);
    }
    match retry_of(outcomes.iter()) {
        Some(message) => Err(message.to_owned()),
        None => Ok(outcomes),
    }
}

/// The outcomes of records that no partition covers.
fn uncovered(candidates: &[MovedRecord]) -> Vec<Decided> {
    vec![Decided::Retry("no partition covers it".to_owned()); candidates.len()]
}

fn set(outcomes: &mut [Decided], decided: Vec<(usize, Decided)>) {
    for (n, outcome) in decided {
        if let Some(slot) = outcomes.get_mut(n) {
            *slot = outcome;
        }
    }
}

/// Why the first record without a durable answer has none.
fn retry_of<'a>(mut outcomes: impl Iterator<Item = &'a Decided>) -> Option<&'a str> {
    outcomes.find_map(|outcome| match outcome {
        Decided::Retry(message) => Some(message.as_str()),
        _ => None,
    })
}

/// One item for each partition, in the order in which the partitions finish: the outcomes of its
/// records, each with the record's index.
fn decide_by_partition<'a>(
    core: &'a Arc<Core>,
    candidates: &'a [MovedRecord],
    waits_in: Option<PartitionId>,
) -> impl Stream<Item = Vec<(usize, Decided)>> + Unpin + 'a {
    metrics::counter!("turnpike_front_reassigned_total").increment(candidates.len() as u64);
    let table = core.routes.table();
    let mut by_partition: BTreeMap<PartitionId, Vec<(usize, &MovedRecord)>> = BTreeMap::new();
    for (n, candidate) in candidates.iter().enumerate() {
        let first = candidate.first;
        let slot = table.slot_of(first).or_else(|| table.home_of_account(first));
        if let Some(route) = slot.and_then(|slot| table.at(slot)) {
            by_partition.entry(route.partition).or_default().push((n, candidate));
        }
    }
    let deciding: Vec<_> = by_partition
        .into_iter()
        .map(|(partition, moved)| decide_in(core, partition, moved, waits_in))
        .collect();
    futures::stream::iter(deciding).buffer_unordered(PARTITIONS_AT_ONCE)
}

/// Lets one partition decide records, chunk after chunk. Once a record has no durable answer, the
/// later chunks are not tried.
async fn decide_in(
    core: &Arc<Core>,
    partition: PartitionId,
    moved: Vec<(usize, &MovedRecord)>,
    waits_in: Option<PartitionId>,
) -> Vec<(usize, Decided)> {
    let mut decided: Vec<(usize, Decided)> = Vec::with_capacity(moved.len());
    let mut failed: Option<String> = None;
    for chunk in moved.chunks(CHUNK) {
        let records: Vec<&MovedRecord> = chunk.iter().map(|(_, candidate)| *candidate).collect();
        let outcomes = match &failed {
            Some(message) => vec![Decided::Retry(message.clone()); chunk.len()],
            None => {
                let deadline = Instant::now() + core.config.answer_deadline();
                Chunk { core, partition, waits_in, records, deadline }.decide().await
            }
        };
        if failed.is_none() {
            failed = retry_of(outcomes.iter()).map(str::to_owned);
        }
        decided.extend(chunk.iter().map(|(n, _)| *n).zip(outcomes));
    }
    decided
}

/// Candidates that one partition decides.
struct Chunk<'a> {
    core: &'a Arc<Core>,
    partition: PartitionId,
    waits_in: Option<PartitionId>,
    records: Vec<&'a MovedRecord>,
    /// The deadline for all steps together.
    deadline: Instant,
}

/// A decision: rate the record for `account`.
struct RateFor {
    /// The index in the chunk.
    index: usize,
    account: AccountNumber,
    /// The revision of the record in the first holder's suspense, if it waits there.
    waits: Option<u32>,
}

impl Chunk<'_> {
    async fn decide(self) -> Vec<Decided> {
        let records = self.records.iter().map(|candidate| Reassignment {
            record: owned_by(&candidate.record, candidate.first).into(),
            to_account: candidate.to.map_or(0, |account| account.0),
        });
        let request = NodeReassignRequest {
            partition: self.partition.0,
            records: records.collect(),
            recycled: self.waits_in.is_some(),
            recycled_from: self.waits_in.map_or(0, |partition| partition.0),
        };
        let asking =
            self.core.owners.ask(self.partition, request, |mut node, request| async move {
                node.reassign(request).await
            });
        let answer = self.in_time(asking).await;
        let outcomes = match answer {
            Ok(answer) => answer.outcomes,
            Err(error) => return vec![Decided::Retry(error.to_string()); self.records.len()],
        };
        let undecided = format!(
            "partition {} did not decide the record: it does not cover the account, or it holds \
             the maximum number of deduplication keys",
            self.partition
        );
        let mut decided = vec![Decided::Retry(undecided); self.records.len()];
        let mut elsewhere = Vec::new();
        let mut here = Vec::new();
        for ((index, slot), outcome) in decided.iter_mut().enumerate().zip(outcomes) {
            match judge(index, outcome) {
                Ok(rate_for) => {
                    let first = self.records.get(index).map(|candidate| candidate.first);
                    let is_first = first == Some(rate_for.account);
                    if is_first { here.push(rate_for) } else { elsewhere.push(rate_for) }
                }
                Err(answered) => *slot = *answered,
            }
        }
        let (waiting, new): (Vec<_>, Vec<_>) =
            here.into_iter().partition(|rate_for| rate_for.waits.is_some());
        let arrival = self.waits_in.map_or(Arrival::First, decided_in);
        self.rate(&new, arrival, &mut decided).await;
        self.rate_in_place(&waiting, &mut decided).await;
        // These wait in this partition, under the key of the first holder.
        self.rate(&elsewhere, decided_in(self.partition), &mut decided).await;
        self.let_go(&elsewhere, &decided).await;
        decided
    }

    /// Waits for the owner's answer until the deadline of the chunk.
    async fn in_time<T>(
        &self,
        asking: impl Future<Output = Result<T, FrontError>>,
    ) -> Result<T, FrontError> {
        let answer = timeout_at(self.deadline, asking).await;
        answer.unwrap_or_else(|_| {
            Err(FrontError::NoAnswer {
                partition: self.partition,
                within: self.core.config.answer_deadline(),
                last: "the steps of the decision took too long".to_owned(),
            })
        })
    }

    /// Ingests records under the accounts of their decisions.
    async fn rate(&self, decisions: &[RateFor], arrival: Arrival, decided: &mut [Decided]) {
        let bodies: Vec<Vec<u8>> = decisions
            .iter()
            .filter_map(|one| {
                // The owner of the last account asks for the record under each of its accounts.
                let candidate = self.records.get(one.index)?;
                let waiting = owned_by(&candidate.record, candidate.first);
                Some(owned_by(&waiting, one.account))
            })
            .collect();
        if bodies.is_empty() {
            return;
        }
        let frame = BatchFrame::build("reassigning", 0, bodies.iter().map(Vec::as_slice));
        let ack = ingest_decided(self.core, &frame, arrival, self.deadline).await;
        let is_done = ack.status() == BatchStatus::Done;
        let BatchAck { duplicates, exceptions, message, .. } = ack;
        let mut exceptions: HashMap<u32, RecordResult> =
            exceptions.into_iter().map(|result| (result.index, result)).collect();
        for (one, index) in decisions.iter().zip(0u32..) {
            let outcome = if !is_done {
                Decided::Retry(message.clone())
            } else if let Some(result) = exceptions.remove(&index) {
                if result.status() == RecordStatus::Rejected && one.waits.is_some() {
                    let answer = waits_with_first(one.account, &result);
                    Decided::Waits { result: answer, refusal: result.reason }
                } else {
                    Decided::Result(result)
                }
            } else if duplicates.contains(&index) {
                Decided::Duplicate
            } else {
                Decided::Accepted
            };
            if let Some(slot) = decided.get_mut(one.index) {
                *slot = outcome;
            }
        }
    }

    /// Rates records that wait in the first holder's suspense, and whose decision names the first
    /// holder.
    async fn rate_in_place(&self, waiting: &[RateFor], decided: &mut [Decided]) {
        if waiting.is_empty() {
            return;
        }
        let keys: Vec<RecycleKey> = waiting.iter().filter_map(|one| self.key(one, 0)).collect();
        let request = NodeRecycleRequest { partition: self.partition.0, keys, refusals: vec![] };
        let asking =
            self.core.owners.ask(self.partition, request, |mut node, request| async move {
                node.recycle(request).await
            });
        let answer = self.in_time(asking).await;
        let outcomes = answer.map(|answer| answer.outcomes).map_err(|error| error.to_string());
        for (n, one) in waiting.iter().enumerate() {
            let outcome = match &outcomes {
                Err(message) => Decided::Retry(message.clone()),
                Ok(outcomes) => match outcomes.get(n) {
                    Some(outcome) if outcome.rated => Decided::Accepted,
                    Some(outcome) if !outcome.reason.is_empty() => Decided::Result(RecordResult {
                        status: RecordStatus::Suspended.into(),
                        reason: outcome.reason.clone(),
                        detail: outcome.detail.clone(),
                        ..RecordResult::default()
                    }),
                    // Another request recycled the record in the meantime.
                    _ => Decided::Retry("the record is being recycled".to_owned()),
                },
            };
            if let Some(slot) = decided.get_mut(one.index) {
                *slot = outcome;
            }
        }
    }

    /// Removes records that are durable elsewhere from the first holder's suspense, and notes there
    /// which ones were refused. If this fails, the next recycling repeats it.
    async fn let_go(&self, decisions: &[RateFor], decided: &[Decided]) {
        let is_durable = |one: &&RateFor| match decided.get(one.index) {
            Some(Decided::Accepted | Decided::Duplicate | Decided::Result(_)) => true,
            Some(Decided::Waits { .. } | Decided::Retry(_)) | None => false,
        };
        let moved = decisions.iter().filter(|one| one.waits.is_some()).filter(is_durable);
        let keys: Vec<RecycleKey> = moved.filter_map(|one| self.key(one, one.account.0)).collect();
        let refusals: Vec<NotedRefusal> = decisions
            .iter()
            .filter_map(|one| match decided.get(one.index)? {
                Decided::Waits { refusal, .. } => self.noted(one, refusal),
                _ => None,
            })
            .collect();
        if keys.is_empty() && refusals.is_empty() {
            return;
        }
        let request = NodeRecycleRequest { partition: self.partition.0, keys, refusals };
        let asking =
            self.core.owners.ask(self.partition, request, |mut node, request| async move {
                node.recycle(request).await
            });
        let answer = self.in_time(asking).await;
        if let Err(error) = answer {
            tracing::warn!(partition = %self.partition, %error,
                "records that were reassigned stay in suspense until they are recycled");
        }
    }

    /// What the first holder's partition notes of a refusal.
    fn noted(&self, one: &RateFor, refusal: &str) -> Option<NotedRefusal> {
        let RecycleKey { account_number, record_id, revision, .. } = self.key(one, 0)?;
        Some(NotedRefusal {
            account_number,
            record_id,
            revision,
            refused_by: one.account.0,
            reason: refusal.to_owned(),
        })
    }

    /// The key of a record in the first holder's suspense; `None` for a malformed record, which the
    /// partition has rejected.
    fn key(&self, one: &RateFor, moved_to_account: u64) -> Option<RecycleKey> {
        let candidate = self.records.get(one.index)?;
        let mut batch = RecordBatch::default();
        batch.push(&candidate.record);
        let record = batch.records().first()?.as_ref().ok()?;
        Some(RecycleKey {
            account_number: candidate.first.0,
            record_id: record.fixed.record_id.to_owned(),
            identity: record.fixed.identity.to_owned(),
            revision: one.waits?,
            moved_to_account,
        })
    }
}

/// Ingests records whose account is decided. The batch from which they were taken holds the
/// admission room, and its answer counts them.
async fn ingest_decided(
    core: &Arc<Core>,
    frame: &BatchFrame,
    arrival: Arrival,
    deadline: Instant,
) -> BatchAck {
    let (acks, mut answers) = mpsc::unbounded_channel();
    let mut dispatch = Dispatch::new(core, client::current(), arrival, acks);
    let unanswered = Unanswered::of_another();
    let taken = match Splitter::default().split(frame, &core.routes.table(), None) {
        Ok((head, split)) => dispatch.push(head, split, None, deadline, unanswered),
        Err(stop) => dispatch.refuse(head_of(frame), stop.into(), unanswered),
    };
    taken.must("the list of refused batches of a new stream has room");
    // The senders end once everything is answered.
    drop(dispatch);
    let answer = answers.recv().await.and_then(Result::ok);
    answer.map_or_else(
        || retry_ack(0, core.config.retry_hint(), FrontError::ShuttingDown.to_string()),
        |delivery| delivery.ack,
    )
}

fn judge(index: usize, outcome: ReassignOutcome) -> Result<RateFor, Box<Decided>> {
    let ReassignOutcome { to_account, waits, revision, duplicate, result } = outcome;
    match (to_account, duplicate, result) {
        (0, true, None) => Err(Box::new(Decided::Duplicate)),
        (0, false, Some(result)) => Err(Box::new(Decided::Result(result))),
        (account, false, None) if account != 0 => {
            let account = AccountNumber(account);
            Ok(RateFor { index, account, waits: waits.then_some(revision) })
        }
        _ => {
            let why = "the node's answer has no valid decision on the record";
            Err(Box::new(Decided::Retry(why.to_owned())))
        }
    }
}

/// The result for a record that the account of its decision rejected.
fn waits_with_first(account: AccountNumber, refused: &RecordResult) -> RecordResult {
    RecordResult {
        status: RecordStatus::Suspended.into(),
        reason: SuspenseReason::UnboundIdentity.word().to_owned(),
        detail: format!("account {account} refuses it: {}", refused.reason),
        ..RecordResult::default()
    }
}
