//! Recycles suspended records, in place or in the partition where they belong now.
//!
//! ```text
//!  List of each partition --+-- stays in its partition --> NodeService.Recycle
//!                           |
//!                           `-- its identity is bound now, or a partition covers its account:
//!                               the record, which the list returns as received, is ingested
//!                               there under its own id; once that is durable, the home
//!                               partition marks it as moved (P28, P35). If the identity changed
//!                               hands, the first holder's partition decides where
//!                               ([`crate::ingest::reassign`])
//! ```
//!
//! A step that fails half way is repeated by the next recycling. The record is then a duplicate in
//! its new partition and is removed from its home partition.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::Instant;
use turnpike_access::{Permit, client};
use turnpike_mutants::{Check, off};
use turnpike_proto::frame::BatchFrame;
use turnpike_proto::ingest::v1::{BatchStatus, RecordStatus};
use turnpike_proto::node::v1::{NodeRecycleRequest, RecycleKey};
use turnpike_proto::record::is_identity;
use turnpike_proto::suspense::v1::{RecycleResponse, SuspendedRecord};
use turnpike_types::limits::{self, POSTING_USAGE_TYPE};
use turnpike_types::{AccountNumber, PartitionId, SuspenseReason, Timestamp};

use crate::FrontError;
use crate::core::Core;
use crate::ingest::decided::Decided;
use crate::ingest::reassign::{MovedRecord, owned_by, reassign};
use crate::ingest::service::Ingest;
use crate::ingest::sub_batch::Arrival;
use crate::routing::guiding::{IdentityKey, bound_at, first_holder_at};
use crate::routing::table::RouteTable;

/// The number of records recycled in one request to a node. A batch of this many records of the
/// largest size fits the size limit.
pub(crate) const CHUNK: usize = 200;
const _: () = assert!(CHUNK <= limits::DECIDED_MAX);

/// Recycles one chunk of a partition's suspense and counts the outcomes.
pub(crate) async fn recycle_chunk(
    ingest: &Ingest,
    table: &RouteTable,
    partition: PartitionId,
    records: &[SuspendedRecord],
    tally: &mut RecycleResponse,
) {
    let core = &ingest.core;
    // The mark (an instant before the look-up) is read first, as for records that clients send
    // (P28).
    let wait = Instant::now() + core.config.attempt();
    let Some(covered) = core.routes.for_look_ups(wait).await else {
        tracing::warn!(%partition, "recycling: identities can't be looked up now");
        tally.retry += records.len() as u64;
        return;
    };
    let mark = covered.guided_through();
    let targets = match targets(core, table, partition, records).await {
        Ok(targets) => targets,
        Err(error) => {
            tracing::warn!(%partition, %error, "recycling: identities can't be looked up");
            tally.retry += records.len() as u64;
            return;
        }
    };
    let mut staying = Vec::new();
    let mut moving = Vec::new();
    let mut posted = Vec::new();
    let mut undecided = Vec::new();
    for (record, target) in records.iter().zip(targets) {
        match target {
            Target::Account(account)
                if record.usage_type == POSTING_USAGE_TYPE && !off(Check::PostingStays) =>
            {
                posted.push(key(record, account));
            }
            Target::Account(account) => moving.push((record, account)),
            Target::DecidedBy { first, to } => undecided.push((record, first, to)),
            Target::Here => staying.push(record),
        }
    }
    if !posted.is_empty() {
        // The partition that covers the account now has fetched the posting itself (P33).
        recycle_keys(core, partition, posted, tally, Counted::Outcome).await;
    }
    if !staying.is_empty() {
        let keys = staying.iter().map(|record| key(record, AccountNumber(0))).collect();
        recycle_keys(core, partition, keys, tally, Counted::Outcome).await;
    }
    if !moving.is_empty() {
        move_records(ingest, partition, &moving, mark, tally).await;
    }
    if !undecided.is_empty() {
        decide_records(core, partition, &undecided, tally).await;
    }
}

/// Where a suspended record belongs now.
enum Target {
    /// In the partition where it waits.
    Here,
    /// With this account: in another partition, or in the same one under another key.
    Account(AccountNumber),
    /// The record's identity changed hands: the partition of `first` decides. `to` is the account
    /// that holds the identity now.
    DecidedBy { first: AccountNumber, to: Option<AccountNumber> },
}

/// Where each record belongs now.
async fn targets(
    core: &Core,
    table: &RouteTable,
    partition: PartitionId,
    records: &[SuspendedRecord],
) -> Result<Vec<Target>, FrontError> {
    let mut asked: HashMap<String, Vec<Timestamp>> = HashMap::new();
    for record in records.iter().filter(|record| is_unguided(record) || is_reassigned(record)) {
        let key = IdentityKey::of(&record.identity).text.into_owned();
        asked.entry(key).or_default().push(Timestamp(record.start_us));
    }
    let histories = core.guide.histories(asked).await?;
    let covered_elsewhere = |account: AccountNumber| {
        let route = table.slot_of(account).and_then(|slot| table.at(slot));
        route.is_some_and(|route| route.partition != partition)
    };
    let target = |record: &SuspendedRecord| {
        let start = Timestamp(record.start_us);
        let account = AccountNumber(record.account_number);
        let history = || histories.get(&*IdentityKey::of(&record.identity).text);
        if is_reassigned(record) {
            let to = history().and_then(|history| bound_at(history, start));
            return Target::DecidedBy { first: account, to };
        }
        if !is_unguided(record) {
            let is_elsewhere = covered_elsewhere(account);
            return if is_elsewhere { Target::Account(account) } else { Target::Here };
        }
        let Some(history) = history() else { return Target::Here };
        match (bound_at(history, start), first_holder_at(history, start)) {
            (Some(account), _) if table.slot_of(account).is_none() => Target::Here,
            (Some(account), Some(first)) if !off(Check::FirstDecides) => {
                Target::DecidedBy { first, to: Some(account) }
            }
            (Some(account), _) => Target::Account(account),
            (None, _) => Target::Here,
        }
    };
    Ok(records.iter().map(target).collect())
}

fn is_unguided(record: &SuspendedRecord) -> bool {
    record.account_number == 0 && is_identity(&record.identity)
}

/// Whether the record waits in the first holder's partition for the account that holds its identity
/// now.
fn is_reassigned(record: &SuspendedRecord) -> bool {
    record.account_number != 0 && record.reason == SuspenseReason::UnboundIdentity.word()
}

fn key(record: &SuspendedRecord, moved_to: AccountNumber) -> RecycleKey {
    RecycleKey {
        account_number: record.account_number,
        record_id: record.record_id.clone(),
        identity: record.identity.clone(),
        revision: record.revision,
        moved_to_account: moved_to.0,
    }
}

/// How the outcomes of a recycling request are counted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Counted {
    /// As the node reports them.
    Outcome,
    /// Not at all: the partition that the records moved to has counted them.
    Already,
}

async fn recycle_keys(
    core: &Core,
    partition: PartitionId,
    keys: Vec<RecycleKey>,
    tally: &mut RecycleResponse,
    counted: Counted,
) {
    let count = keys.len() as u64;
    let request = NodeRecycleRequest { partition: partition.0, keys, refusals: vec![] };
    let answer = core
        .owners
        .ask(partition, request, |mut node, request| async move { node.recycle(request).await })
        .await;
    match answer {
        Ok(answer) if counted == Counted::Outcome => {
            tally.retry += count.saturating_sub(answer.outcomes.len() as u64);
            for outcome in answer.outcomes {
                if outcome.rated {
                    tally.rated += 1;
                } else if !outcome.reason.is_empty() {
                    stays(tally, outcome.reason);
                }
                // Neither rated nor suspended: another request recycled the record in the meantime
                // and counted it.
            }
        }
        Ok(_) => {}
        Err(error) => {
            tracing::warn!(%partition, %error, "recycling: no answer from the owner");
            tally.retry += count;
        }
    }
}

fn stays(tally: &mut RecycleResponse, reason: String) {
    tally.still_suspended += 1;
    *tally.reasons.entry(reason).or_default() += 1;
}

/// Ingests records in the partitions where they belong now, then marks them as moved in their home
/// partition.
async fn move_records(
    ingest: &Ingest,
    home: PartitionId,
    moving: &[(&SuspendedRecord, AccountNumber)],
    mark: Timestamp,
    tally: &mut RecycleResponse,
) {
    let mut found = Vec::new();
    let mut bodies = Vec::new();
    for &(record, account) in moving {
        if record.record.is_empty() {
            tracing::warn!(partition = %home, id = record.record_id,
                "recycling: the node lists a record without its content: upgrade the node");
            tally.retry += 1;
            continue;
        }
        found.push((record, account));
        bodies.push(owned_by(&record.record, account));
    }
    if found.is_empty() {
        return;
    }
    let frame = BatchFrame::build("recycling", 0, bodies.iter().map(Vec::as_slice));
    let arrival = Arrival::Recycled { mark: Some(mark), from: home };
    let ack = match ingest.once(frame, client::current(), arrival, Permit::internal()).await {
        Ok(ack) if ack.status() == BatchStatus::Done || off(Check::MovedWhenDurable) => ack,
        Ok(ack) => {
            tracing::warn!(why = ack.message, "recycling: the batch of moved records was refused");
            tally.retry += found.len() as u64;
            return;
        }
        Err(_) => {
            tally.retry += found.len() as u64;
            return;
        }
    };
    let exceptions: HashMap<u32, _> =
        ack.exceptions.iter().map(|result| (result.index, result)).collect();
    let mut keys = Vec::new();
    for ((record, account), index) in found.into_iter().zip(0u32..) {
        match exceptions.get(&index) {
            // Refused in its new partition: it stays in its home partition, and the reason is
            // reported.
            Some(result) if result.status() != RecordStatus::Suspended => {
                stays(tally, result.reason.clone());
                if !off(Check::RefusedStays) {
                    continue;
                }
            }
            // A record that is suspended in its new partition is durable there. It waits under its
            // own account from now on.
            Some(result) if result.present != "rated" => {
                let present =
                    if result.present.is_empty() { &result.reason } else { &result.present };
                stays(tally, present.clone());
            }
            _ => tally.rated += 1,
        }
        keys.push(key(record, account));
    }
    if !keys.is_empty() {
        recycle_keys(&ingest.core, home, keys, tally, Counted::Already).await;
    }
}

/// Lets the first holder's partition decide records whose identity changed hands, then marks them
/// as moved in their home partition.
async fn decide_records(
    core: &Arc<Core>,
    home: PartitionId,
    undecided: &[(&SuspendedRecord, AccountNumber, Option<AccountNumber>)],
    tally: &mut RecycleResponse,
) {
    let candidate = |&(record, first, to): &(&SuspendedRecord, _, _)| MovedRecord {
        record: record.record.to_vec(),
        first,
        to,
    };
    let candidates: Vec<MovedRecord> = undecided.iter().map(candidate).collect();
    let outcomes = reassign(core, &candidates, Some(home)).await;
    let mut keys = Vec::new();
    for ((record, first, _), outcome) in undecided.iter().zip(outcomes) {
        match outcome {
            Decided::Accepted | Decided::Duplicate => tally.rated += 1,
            Decided::Result(result) if result.status() != RecordStatus::Suspended => {
                // The partition of the first holder (P28) rejected the record: the record stays in
                // suspense, in the partition that holds it now.
                stays(tally, result.reason);
                continue;
            }
            Decided::Result(result) | Decided::Waits { result, .. } => {
                if result.present == "rated" {
                    tally.rated += 1;
                } else if result.present.is_empty() {
                    stays(tally, result.reason);
                } else {
                    stays(tally, result.present);
                }
            }
            Decided::Retry(why) => {
                tracing::warn!(partition = %home, why, "recycling: a record could not be decided and stays suspended");
                tally.retry += 1;
                continue;
            }
        }
        // Only records without an account are marked: `reassign` has removed the others from the
        // first holder's suspense, or they stay there.
        if record.account_number == 0 {
            keys.push(key(record, *first));
        }
    }
    if !keys.is_empty() {
        recycle_keys(core, home, keys, tally, Counted::Already).await;
    }
}
