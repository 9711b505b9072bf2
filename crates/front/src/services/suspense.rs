//! The suspense service: lists suspended records from their owners, and recycles them in place or
//! in the partition where they belong now.
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
use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use turnpike_mutants::{Check, off};
use turnpike_proto::frame::BatchFrame;
use turnpike_proto::ingest::v1::{BatchStatus, RecordStatus};
use turnpike_proto::node::v1::{NodeRecycleRequest, NodeSuspenseRequest, RecycleKey};
use turnpike_proto::record::is_identity;
use turnpike_proto::suspense::v1::suspense_service_server::SuspenseService;
use turnpike_proto::suspense::v1::{
    ListRequest, RecycleRequest, RecycleResponse, SuspendedRecord, SuspensePosition,
};
use turnpike_types::limits::{self, POSTING_USAGE_TYPE};
use turnpike_types::{AccountNumber, PartitionId, SuspenseReason, Timestamp};

use crate::FrontError;
use crate::core::Core;
use crate::ingest::partition_sender::Arrival;
use crate::ingest::reassign::{Decided, MovedRecord, owned_by, reassign};
use crate::ingest::stream::once;
use crate::routing::ask::ask;
use crate::routing::guiding::{IdentityKey, bound_at, first_holder_at};
use crate::routing::routes::RouteTable;

/// The number of records listed when the request gives none, and the maximum.
const RECORDS_DEFAULT: u32 = 10_000;
const RECORDS_MAX: u32 = 100_000;
/// The number of records recycled in one request to a node. A batch of this many records of the
/// largest size fits the size limit.
const CHUNK: usize = 200;
const _: () = assert!(CHUNK <= limits::DECIDED_MAX);

/// The gRPC service `SuspenseService`.
pub struct SuspenseApi {
    core: Arc<Core>,
}

impl SuspenseApi {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    async fn table(&self) -> Result<Arc<RouteTable>, FrontError> {
        self.core.enter()?;
        let wait = Instant::now() + self.core.config.suspicion();
        let table = self.core.routes.first(wait).await.ok_or(FrontError::NoRoutes)?;
        if table.len() == 0 { Err(FrontError::NoPartitions) } else { Ok(table) }
    }
}

impl SuspenseApi {
    /// The routes, once look-ups of identities with them are valid for records that start now
    /// (P28).
    async fn table_for_look_ups(&self) -> Result<Arc<RouteTable>, FrontError> {
        self.table().await?;
        let wait = Instant::now() + self.core.config.attempt();
        self.core.routes.for_look_ups(wait).await.ok_or(FrontError::NoRoutes)
    }
}

#[tonic::async_trait]
impl SuspenseService for SuspenseApi {
    type ListStream = Pin<Box<dyn Stream<Item = Result<SuspendedRecord, Status>> + Send>>;

    async fn list(
        &self,
        request: Request<ListRequest>,
    ) -> Result<Response<Self::ListStream>, Status> {
        let filter = checked(request.into_inner())?;
        let table = self.table().await?;
        let (sender, records) = mpsc::channel(256);
        let core = Arc::clone(&self.core);
        self.core.tasks.spawn(async move {
            if let Err(error) = list_into(&core, &table, filter, &sender).await {
                let _ = sender.send(Err(error.into())).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(records))))
    }

    async fn recycle(
        &self,
        request: Request<RecycleRequest>,
    ) -> Result<Response<RecycleResponse>, Status> {
        let RecycleRequest { reason, account_number, records_max, after } = request.into_inner();
        let mut filter = checked(ListRequest { reason, account_number, records_max, after })?;
        let table = self.table_for_look_ups().await?;
        let mut tally = RecycleResponse::default();
        for partition in partitions(&table, &filter) {
            while filter.records_max > 0 {
                let (records, more) = match list_one(&self.core, partition, &filter).await {
                    Ok(listed) => listed,
                    Err(error) => {
                        tracing::warn!(%partition, %error, "suspended records can't be listed");
                        tally.retry += 1;
                        break;
                    }
                };
                note_listed(&mut filter, partition, &records);
                for chunk in records.chunks(CHUNK) {
                    recycle_chunk(&self.core, &table, partition, chunk, &mut tally).await;
                }
                if filter.records_max == 0 {
                    // The client continues after this position: later partitions may hold more
                    // records, even if this one does not.
                    tally.last = filter.after.clone();
                }
                if !more {
                    break;
                }
            }
        }
        Ok(Response::new(tally))
    }
}

/// Changes `filter` so that it no longer selects the records that were listed.
fn note_listed(filter: &mut ListRequest, partition: PartitionId, listed: &[SuspendedRecord]) {
    let count = u32::try_from(listed.len()).unwrap_or(u32::MAX);
    filter.records_max = filter.records_max.saturating_sub(count);
    if let Some(last) = listed.last() {
        filter.after = Some(position(partition, last));
    }
}

fn position(partition: PartitionId, record: &SuspendedRecord) -> SuspensePosition {
    let identity = if record.account_number == 0 { record.identity.clone() } else { String::new() };
    SuspensePosition {
        partition: partition.0,
        account_number: record.account_number,
        identity,
        record_id: record.record_id.clone(),
    }
}

/// The order of a list within a partition.
fn order(position: &SuspensePosition) -> (u64, &str, &str) {
    (position.account_number, &position.identity, &position.record_id)
}

fn checked(mut filter: ListRequest) -> Result<ListRequest, FrontError> {
    if filter.records_max == 0 {
        filter.records_max = RECORDS_DEFAULT;
    }
    if filter.records_max > RECORDS_MAX {
        return Err(FrontError::Invalid(format!("records_max is at most {RECORDS_MAX}")));
    }
    let is_reason = SuspenseReason::ALL.iter().any(|reason| reason.word() == filter.reason);
    if !filter.reason.is_empty() && !is_reason {
        let words: Vec<&str> = SuspenseReason::ALL.iter().map(|reason| reason.word()).collect();
        let (reason, words) = (&filter.reason, words.join(", "));
        return Err(FrontError::Invalid(format!("unknown reason {reason:?}; use one of {words}")));
    }
    Ok(filter)
}

/// The partitions that may hold the records that `filter` selects, sorted.
fn partitions(table: &RouteTable, filter: &ListRequest) -> Vec<PartitionId> {
    let behind = filter.after.as_ref().map_or(0, |after| after.partition);
    if filter.account_number == 0 {
        let all = table.routes().iter().map(|route| route.partition);
        return all.filter(|partition| partition.0 >= behind).collect();
    }
    // A partition that covers the account may have been created after the record arrived. The
    // record then waits in its home partition.
    let account = AccountNumber(filter.account_number);
    let mut slots: Vec<usize> =
        table.slot_of(account).into_iter().chain(table.home_of_account(account)).collect();
    slots.sort_unstable();
    slots.dedup();
    let found = slots.into_iter().filter_map(|slot| table.at(slot)).map(|route| route.partition);
    found.filter(|partition| partition.0 >= behind).collect()
}

/// The first records of a partition that `filter` selects, and whether more match behind them.
async fn list_one(
    core: &Arc<Core>,
    partition: PartitionId,
    filter: &ListRequest,
) -> Result<(Vec<SuspendedRecord>, bool), FrontError> {
    let mut filter = filter.clone();
    filter.after = filter.after.filter(|after| after.partition == partition.0);
    let after = filter.after.clone();
    let most = filter.records_max as usize;
    let request = NodeSuspenseRequest { partition: partition.0, filter: Some(filter) };
    let answer = ask(core, partition, request, |mut node, request| async move {
        node.list_suspense(request).await
    })
    .await?;
    let (mut records, more) = (answer.records, answer.more);
    if let Some(after) = after
        && records.iter().any(|record| order(&position(partition, record)) <= order(&after))
    {
        let message =
            "a node of an earlier release lists suspended records from the first one on: \
                       upgrade the node"
                .to_owned();
        return Err(FrontError::Refused { partition, message });
    }
    let is_cut = records.len() > most;
    records.truncate(most);
    Ok((records, more || is_cut))
}

async fn list_into(
    core: &Arc<Core>,
    table: &RouteTable,
    mut filter: ListRequest,
    sender: &mpsc::Sender<Result<SuspendedRecord, Status>>,
) -> Result<(), FrontError> {
    for partition in partitions(table, &filter) {
        let mut more = true;
        while more && filter.records_max > 0 {
            let records;
            (records, more) = list_one(core, partition, &filter).await?;
            note_listed(&mut filter, partition, &records);
            for record in records {
                if sender.send(Ok(record)).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// Recycles one chunk of a partition's suspense and counts the outcomes.
async fn recycle_chunk(
    core: &Arc<Core>,
    table: &RouteTable,
    partition: PartitionId,
    records: &[SuspendedRecord],
    tally: &mut RecycleResponse,
) {
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
        move_records(core, partition, &moving, mark, tally).await;
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
    core: &Arc<Core>,
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
    core: &Arc<Core>,
    partition: PartitionId,
    keys: Vec<RecycleKey>,
    tally: &mut RecycleResponse,
    counted: Counted,
) {
    let count = keys.len() as u64;
    let request = NodeRecycleRequest { partition: partition.0, keys, refusals: vec![] };
    let answer =
        ask(
            core,
            partition,
            request,
            |mut node, request| async move { node.recycle(request).await },
        )
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
    core: &Arc<Core>,
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
    let ack = match once(core, frame, Arrival::Recycled { mark }).await {
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
        recycle_keys(core, home, keys, tally, Counted::Already).await;
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
    let outcomes = reassign(core, &candidates, true).await;
    let mut keys = Vec::new();
    for ((record, first, _), outcome) in undecided.iter().zip(outcomes) {
        match outcome {
            Decided::Accepted | Decided::Duplicate => tally.rated += 1,
            Decided::Result(result) if result.status() != RecordStatus::Suspended => {
                // The first holder's partition rejected the record: it stays where it is.
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// P35: suspense of an account is searched both in its home partition, where records wait that
    /// arrived when no partition covered it, and in the partition that covers it now.
    #[test]
    fn p35_suspense_of_an_account_is_looked_for_in_its_home_and_in_its_partition() {
        let table =
            crate::ingest::split::tests::table(&[(1, 1, 100), (2, 101, 200), (3, 201, 300)]);
        let found = |account_number| {
            partitions(&table, &ListRequest { account_number, ..ListRequest::default() })
        };
        let mut homes = BTreeMap::new();
        for account in 1001..1200 {
            // No partition covers the account: its records wait in its home partition.
            let home = table.home_of_account(AccountNumber(account)).and_then(|at| table.at(at));
            assert_eq!(found(account), [home.unwrap().partition]);
            *homes.entry(home.unwrap().partition).or_insert(0) += 1;
        }
        assert_eq!(homes.len(), 3, "{homes:?}");
        let mut elsewhere = BTreeSet::new();
        for account in 1..=300 {
            let covers = PartitionId(u32::try_from((account - 1) / 100 + 1).unwrap_or(0));
            let home = table.home_of_account(AccountNumber(account)).and_then(|at| table.at(at));
            let home = home.map(|route| route.partition);
            let found = found(account);
            assert!(found.contains(&covers) && home.is_some_and(|home| found.contains(&home)));
            assert!(found.is_sorted() && found.len() <= 2, "{found:?}");
            elsewhere.extend(home.filter(|home| *home != covers).map(|_| account));
        }
        assert!(elsewhere.len() > 50, "homes of their own: {elsewhere:?}");
        assert_eq!(found(0), [1, 2, 3].map(PartitionId));
    }
}
