//! A front with fake nodes: real gRPC through pipes in virtual time, and a ledger instead of
//! rating.
#![allow(dead_code, unreachable_pub)]

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::Stream;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use test_network::Network;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status, Streaming};
use turnpike_access::Guarded;
use turnpike_front::{FrontConfig, FrontServer};
use turnpike_proto::account::v1::account_service_client::AccountServiceClient;
use turnpike_proto::account::v1::{AccountCommand, AccountOutcome, AccountResult, ShowResponse};
use turnpike_proto::cluster::v1::cluster_service_client::ClusterServiceClient;
use turnpike_proto::frame::{BatchFrame, SubBatchFrame, SubBatchHead};
use turnpike_proto::ingest::v1::ingest_service_client::IngestServiceClient;
use turnpike_proto::ingest::v1::{RecordResult, RecordStatus};
use turnpike_proto::node::v1::node_service_server::{NodeService, NodeServiceServer};
use turnpike_proto::node::v1::{
    Confirmation, NodeApplyRequest, NodeApplyResponse, NodeConfirmRequest, NodeConfirmResponse,
    NodeReassignRequest, NodeReassignResponse, NodeRecycleRequest, NodeRecycleResponse,
    NodeShowRequest, NodeShowResponse, NodeSuspenseRequest, NodeSuspenseResponse, ReassignOutcome,
    Reassignment, RecycleKey, RecycleOutcome, Sign, Standing, SubBatchAnswer, Verdict,
    WatchRequest,
};
use turnpike_proto::plan::v1::plan_service_client::PlanServiceClient;
use turnpike_proto::record::{RecordBatch, encode};
use turnpike_proto::suspense::v1::SuspendedRecord;
use turnpike_proto::suspense::v1::suspense_service_client::SuspenseServiceClient;
use turnpike_store::memory::MemoryDatabase;
use turnpike_store::{
    Claim, Member, NodeBeat, OwnershipStore as _, PartitionSpec, SharedDatabase, TopologyStore as _,
};
use turnpike_types::{
    AccountNumber, AccountRange, ClaimId, Incarnation, NodeName, PartitionId, Priority, Timestamp,
    UsageRecord,
};

/// The rates of faults in a node, for each thousand sub-batches.
#[derive(Clone, Copy, Default)]
pub struct Faults {
    pub overloaded: u32,
    pub cut_before: u32,
    pub cut_after: u32,
    pub old_epoch: u32,
    pub invalid: u32,
    /// Only sub-batches of this partition are rejected as invalid; 0: of any partition.
    pub invalid_in: u32,
    /// The node's database fails: the node owns nothing, and reports the reason.
    pub trouble: bool,
    /// The node commits a sub-batch but does not answer.
    pub silent: u32,
    /// The node drops a sub-batch and all later ones of the stream, and does not answer.
    pub deaf: bool,
    /// The answers leave out one record.
    pub short: bool,
    /// The answers carry the sequence number of the next sub-batch.
    pub ahead: bool,
    /// The record with this id is rejected as too old.
    pub too_old: Option<&'static str>,
    /// Commands for this account are refused.
    pub refuses: Option<u64>,
    /// Commands for this account are answered as if they were in effect already.
    pub already: Option<u64>,
    /// The answers to commands leave out the last result.
    pub leaves_out: bool,
    /// Requests to recycle fail.
    pub fails_to_recycle: bool,
    /// Lists begin with the first suspended record, as those of an earlier release.
    pub lists_from_the_first: bool,
    /// A request to decide is answered after this time.
    pub decides_after: Duration,
    /// A request to list or to recycle suspended records is answered after this time.
    pub suspense_after: Duration,
}

/// The most records in one list of suspended records.
pub const LISTED_MAX: usize = 3;

/// The only account that was never opened.
pub const NEVER_OPENED: u64 = 98;

/// The message of a node whose database fails.
pub const TROUBLE: &str = "the shared database is out of space (append): no space left on device";

/// A partition as the fake nodes share it: which node may commit, and what was committed.
#[derive(Default)]
pub struct Ledger {
    pub owner: String,
    pub epoch: u64,
    /// Record ids by account, in the order of their first commit.
    pub rated: BTreeMap<u64, Vec<String>>,
    /// The suspended records of unbound identities.
    pub suspended: Vec<SuspendedRecord>,
    pub recycled: Vec<RecycleKey>,
    /// The account that each record was reassigned to, by first holder and record id.
    pub reassigned: HashMap<(u64, String), u64>,
    /// The ids of records in sub-batches that were marked as recycled.
    pub from_elsewhere: Vec<String>,
    /// The accounts of the received commands.
    pub commanded: Vec<u64>,
}

pub struct Shared {
    pub ledgers: Mutex<HashMap<u32, Ledger>>,
    pub faults: Mutex<Faults>,
    pub rng: Mutex<StdRng>,
    /// The number of sub-batches that arrived out of sequence.
    pub out_of_order: AtomicU64,
    pub streams: AtomicU64,
    /// The number of streams that the front opened because another node referred it, not because of
    /// its routing table.
    pub sent: AtomicU64,
    /// The marks of look-ups that sub-batches carried, in the order of their arrival.
    pub guided_us: Mutex<Vec<u64>>,
    /// The number of requests to decide: all, those under way, and the most that were under way at
    /// the same time.
    pub decisions: AtomicU64,
    pub deciding: AtomicU64,
    pub deciding_most: AtomicU64,
    /// The clients for which requests came, and those that sub-batches name.
    pub clients: Mutex<Vec<u64>>,
    /// Identity, status, measure and quantity of the last record with an identity and an account.
    pub last_extra: Mutex<String>,
}

#[derive(Clone)]
pub struct FakeNode {
    pub address: String,
    pub shared: Arc<Shared>,
}

enum Deed {
    Answer(SubBatchAnswer),
    Last(SubBatchAnswer),
    Cut,
    Silence,
    Deaf,
}

impl FakeNode {
    fn deed(&self, frame: &SubBatchFrame, expected: u64) -> Deed {
        let mut records = RecordBatch::default();
        let mut raw = Vec::new();
        let head = frame
            .walk(|record| {
                records.push(record);
                raw.push(record);
            })
            .unwrap();
        if head.sequence != expected {
            self.shared.out_of_order.fetch_add(1, Ordering::SeqCst);
        }
        self.shared.guided_us.lock().unwrap().push(head.guided_us);
        self.shared.clients.lock().unwrap().push(head.client);
        let faults = *self.shared.faults.lock().unwrap();
        let dice: u32 = self.shared.rng.lock().unwrap().random_range(0..1000);
        let mut ledgers = self.shared.ledgers.lock().unwrap();
        let ledger = ledgers.get_mut(&head.partition).unwrap();
        let mut answer = SubBatchAnswer { sequence: head.sequence, ..SubBatchAnswer::default() };
        let mut standing =
            Standing { verdict: Verdict::Done.into(), epoch: ledger.epoch, ..Standing::default() };
        if faults.deaf {
            return Deed::Deaf;
        }
        let mut edge = faults.overloaded;
        if faults.trouble || ledger.owner != self.address {
            if faults.trouble {
                standing.message = TROUBLE.to_owned();
            }
            standing.verdict = Verdict::NotOwner.into();
            standing.owner_address.clone_from(&ledger.owner);
            answer.standing = Some(standing);
            return Deed::Last(answer);
        }
        if dice < edge {
            standing.verdict = Verdict::Overloaded.into();
            standing.retry_after_ms = 3;
            answer.standing = Some(standing);
            return Deed::Last(answer);
        }
        edge += faults.cut_before;
        if dice < edge {
            return Deed::Cut;
        }
        if [0, head.partition].contains(&faults.invalid_in) {
            edge += faults.invalid;
        }
        if dice < edge {
            standing.verdict = Verdict::Invalid.into();
            standing.message = "not for me".to_owned();
            answer.standing = Some(standing);
            return Deed::Last(answer);
        }
        commit(ledger, head, &records, &raw, faults.too_old, &mut answer);
        for record in records.records().iter().flatten() {
            let view = records.view(record);
            let identity = record.fixed.identity;
            if let (false, Some(up)) = (identity.is_empty(), view.measure("up")) {
                let status = view.attribute("status").unwrap_or_default();
                let quantity = view.quantity.unwrap_or_default();
                *self.shared.last_extra.lock().unwrap() =
                    format!("{identity} {status} {up} {quantity}");
            }
        }
        edge += faults.cut_after;
        if dice < edge {
            return Deed::Cut;
        }
        edge += faults.silent;
        if dice < edge {
            return Deed::Silence;
        }
        edge += faults.old_epoch;
        if dice < edge {
            standing.epoch = standing.epoch.saturating_sub(1);
        }
        if faults.short && answer.duplicates.pop().is_none() {
            answer.accepted -= 1;
        }
        answer.sequence += u64::from(faults.ahead);
        answer.standing = Some(standing);
        Deed::Answer(answer)
    }

    fn standing(&self, partition: u32) -> Standing {
        let ledgers = self.shared.ledgers.lock().unwrap();
        let ledger = ledgers.get(&partition).unwrap();
        let trouble = self.shared.faults.lock().unwrap().trouble;
        let is_owner = ledger.owner == self.address && !trouble;
        let verdict = if is_owner { Verdict::Done } else { Verdict::NotOwner };
        Standing {
            verdict: verdict.into(),
            epoch: ledger.epoch,
            owner_address: ledger.owner.clone(),
            message: if trouble { TROUBLE.to_owned() } else { String::new() },
            ..Standing::default()
        }
    }
}

fn commit(
    ledger: &mut Ledger,
    head: SubBatchHead,
    records: &RecordBatch<'_>,
    raw: &[&[u8]],
    too_old: Option<&str>,
    answer: &mut SubBatchAnswer,
) {
    for (index, record) in records.records().iter().enumerate() {
        let fixed = record.unwrap().fixed;
        let raw = raw[index].to_vec();
        let index = u32::try_from(index).unwrap();
        if head.recycled {
            ledger.from_elsewhere.push(fixed.record_id.to_owned());
        }
        if too_old == Some(fixed.record_id) {
            answer.exceptions.push(RecordResult {
                index,
                status: RecordStatus::Rejected.into(),
                reason: "too-old".to_owned(),
                ..Default::default()
            });
            continue;
        }
        if fixed.account.0 == 0 {
            let waits = ledger.suspended.iter().any(|r| r.record_id == fixed.record_id);
            if !waits {
                ledger.suspended.push(SuspendedRecord {
                    partition: head.partition,
                    record_id: fixed.record_id.to_owned(),
                    identity: fixed.identity.to_owned(),
                    start_us: fixed.start.0,
                    reason: "unbound-identity".to_owned(),
                    record: raw.into(),
                    ..SuspendedRecord::default()
                });
            }
            answer.exceptions.push(RecordResult {
                index,
                status: RecordStatus::Suspended.into(),
                reason: "unbound-identity".to_owned(),
                ..Default::default()
            });
            continue;
        }
        let waits = |r: &&SuspendedRecord| {
            (r.account_number, r.record_id.as_str()) == (fixed.account.0, fixed.record_id)
        };
        if ledger.suspended.iter().any(|r| waits(&r)) {
            answer.exceptions.push(RecordResult {
                index,
                status: RecordStatus::Suspended.into(),
                reason: "unbound-identity".to_owned(),
                replayed: true,
                present: "unbound-identity".to_owned(),
                ..Default::default()
            });
            continue;
        }
        let rated = ledger.rated.entry(fixed.account.0).or_default();
        if rated.iter().any(|id| id == fixed.record_id) {
            answer.duplicates.push(index);
        } else {
            rated.push(fixed.record_id.to_owned());
            answer.accepted += 1;
        }
    }
}

/// The decision of a fake partition, by the rules of a node.
fn decide(ledger: &mut Ledger, asked: &Reassignment) -> ReassignOutcome {
    let mut batch = RecordBatch::default();
    batch.push(&asked.record);
    let fixed = batch.records()[0].as_ref().unwrap().fixed;
    let (account, id) = (fixed.account.0, fixed.record_id.to_owned());
    let suspended = RecordResult {
        status: RecordStatus::Suspended.into(),
        reason: "unbound-identity".to_owned(),
        ..RecordResult::default()
    };
    if ledger.rated.get(&account).is_some_and(|ids| ids.contains(&id)) {
        return ReassignOutcome { duplicate: true, ..ReassignOutcome::default() };
    }
    let waits =
        |record: &SuspendedRecord| (record.account_number, &record.record_id) == (account, &id);
    let known = ledger.reassigned.get(&(account, id.clone())).copied();
    if known.is_none() && asked.to_account == account {
        return ReassignOutcome { to_account: account, ..ReassignOutcome::default() };
    }
    if known.is_none() {
        ledger.suspended.push(SuspendedRecord {
            account_number: account,
            record_id: id.clone(),
            identity: fixed.identity.to_owned(),
            start_us: fixed.start.0,
            reason: "unbound-identity".to_owned(),
            record: asked.record.clone(),
            ..SuspendedRecord::default()
        });
    }
    let to_account = known.filter(|to| *to != 0).unwrap_or(asked.to_account);
    ledger.reassigned.insert((account, id.clone()), to_account);
    if to_account == 0 {
        return ReassignOutcome { result: Some(suspended), ..ReassignOutcome::default() };
    }
    let waits = ledger.suspended.iter().any(waits);
    ReassignOutcome { to_account, waits, ..ReassignOutcome::default() }
}

#[tonic::async_trait]
impl NodeService for FakeNode {
    type ForwardStream = Pin<Box<dyn Stream<Item = Result<SubBatchAnswer, Status>> + Send>>;
    type WatchStream = futures::stream::Pending<Result<Sign, Status>>;

    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Ok(Response::new(futures::stream::pending()))
    }

    async fn forward(
        &self,
        request: Request<Streaming<SubBatchFrame>>,
    ) -> Result<Response<Self::ForwardStream>, Status> {
        self.shared.streams.fetch_add(1, Ordering::SeqCst);
        let sent = request.metadata().contains_key(turnpike_proto::REFERRED);
        self.shared.sent.fetch_add(u64::from(sent), Ordering::SeqCst);
        let mut requests = request.into_inner();
        let node = self.clone();
        let (answers, stream) = mpsc::channel(4);
        tokio::spawn(async move {
            let mut expected = 0;
            while let Ok(Some(frame)) = requests.message().await {
                match node.deed(&frame, expected) {
                    Deed::Answer(answer) => {
                        let _ = answers.send(Ok(answer)).await;
                    }
                    Deed::Last(answer) => {
                        let _ = answers.send(Ok(answer)).await;
                        return;
                    }
                    Deed::Cut => {
                        let _ = answers.send(Err(Status::unavailable("cut"))).await;
                        return;
                    }
                    Deed::Silence => {}
                    Deed::Deaf => {
                        while let Ok(Some(_)) = requests.message().await {}
                        return;
                    }
                }
                expected += 1;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn apply(
        &self,
        request: Request<NodeApplyRequest>,
    ) -> Result<Response<NodeApplyResponse>, Status> {
        let request = request.into_inner();
        let standing = self.standing(request.partition);
        if standing.verdict() == Verdict::Done
            && let Some(ledger) = self.shared.ledgers.lock().unwrap().get_mut(&request.partition)
        {
            ledger.commanded.extend(request.commands.iter().map(|command| command.account_number));
        }
        let faults = *self.shared.faults.lock().unwrap();
        let result = |command: &AccountCommand| {
            let is_refused = faults.refuses == Some(command.account_number);
            let outcome = match faults.already {
                Some(account) if account == command.account_number => AccountOutcome::Already,
                _ if is_refused => AccountOutcome::Refused,
                _ => AccountOutcome::Applied,
            };
            AccountResult { outcome: outcome.into(), message: String::new() }
        };
        let mut results: Vec<AccountResult> = request.commands.iter().map(result).collect();
        if faults.leaves_out {
            results.pop();
        }
        Ok(Response::new(NodeApplyResponse { standing: Some(standing), results }))
    }

    async fn show(
        &self,
        request: Request<NodeShowRequest>,
    ) -> Result<Response<NodeShowResponse>, Status> {
        let NodeShowRequest { partition, account_number } = request.into_inner();
        let standing = self.standing(partition);
        let account = ShowResponse { account_number, partition, ..ShowResponse::default() };
        let account = Some(account).filter(|_| account_number != NEVER_OPENED);
        Ok(Response::new(NodeShowResponse { standing: Some(standing), account }))
    }

    async fn list_suspense(
        &self,
        request: Request<NodeSuspenseRequest>,
    ) -> Result<Response<NodeSuspenseResponse>, Status> {
        let NodeSuspenseRequest { partition, filter } = request.into_inner();
        let suspense_after = self.shared.faults.lock().unwrap().suspense_after;
        tokio::time::sleep(suspense_after).await;
        let (most, after) = filter.map_or((0, None), |filter| (filter.records_max, filter.after));
        let standing = self.standing(partition);
        let ledgers = self.shared.ledgers.lock().unwrap();
        let mut records = ledgers[&partition].suspended.clone();
        let key = |record: &SuspendedRecord| {
            let identity = if record.account_number == 0 { record.identity.as_str() } else { "" };
            (record.account_number, identity.to_owned(), record.record_id.clone())
        };
        records.sort_by_key(key);
        let after = after.map(|after| (after.account_number, after.identity, after.record_id));
        let after = after.filter(|_| !self.shared.faults.lock().unwrap().lists_from_the_first);
        records.retain(|record| after.as_ref().is_none_or(|after| key(record) > *after));
        // Small pages, so that tests need several.
        let page = LISTED_MAX.min(most.max(1) as usize);
        let more = records.len() > page;
        records.truncate(page);
        Ok(Response::new(NodeSuspenseResponse { standing: Some(standing), records, more }))
    }

    async fn confirm(
        &self,
        request: Request<NodeConfirmRequest>,
    ) -> Result<Response<NodeConfirmResponse>, Status> {
        let NodeConfirmRequest { partition, records } = request.into_inner();
        let standing = Some(self.standing(partition));
        let known = Confirmation { waits: true, taken: true };
        let confirmations = vec![known; records.len()];
        Ok(Response::new(NodeConfirmResponse { standing, confirmations }))
    }

    async fn reassign(
        &self,
        request: Request<NodeReassignRequest>,
    ) -> Result<Response<NodeReassignResponse>, Status> {
        let NodeReassignRequest { partition, records, .. } = request.into_inner();
        self.shared.decisions.fetch_add(1, Ordering::SeqCst);
        let under_way = 1 + self.shared.deciding.fetch_add(1, Ordering::SeqCst);
        self.shared.deciding_most.fetch_max(under_way, Ordering::SeqCst);
        let decides_after = self.shared.faults.lock().unwrap().decides_after;
        tokio::time::sleep(decides_after).await;
        self.shared.deciding.fetch_sub(1, Ordering::SeqCst);
        let standing = self.standing(partition);
        if standing.verdict() != Verdict::Done {
            let outcomes = Vec::new();
            return Ok(Response::new(NodeReassignResponse { standing: Some(standing), outcomes }));
        }
        let mut ledgers = self.shared.ledgers.lock().unwrap();
        let ledger = ledgers.get_mut(&partition).unwrap();
        let outcomes = records.iter().map(|asked| decide(ledger, asked)).collect();
        Ok(Response::new(NodeReassignResponse { standing: Some(standing), outcomes }))
    }

    async fn recycle(
        &self,
        request: Request<NodeRecycleRequest>,
    ) -> Result<Response<NodeRecycleResponse>, Status> {
        let NodeRecycleRequest { partition, keys, refusals } = request.into_inner();
        let suspense_after = self.shared.faults.lock().unwrap().suspense_after;
        tokio::time::sleep(suspense_after).await;
        if self.shared.faults.lock().unwrap().fails_to_recycle {
            return Err(Status::invalid_argument("the test says so"));
        }
        let standing = self.standing(partition);
        let mut ledgers = self.shared.ledgers.lock().unwrap();
        let ledger = ledgers.get_mut(&partition).unwrap();
        let outcomes = keys
            .iter()
            .map(|key| {
                let left = key.moved_to_account != 0;
                if left {
                    ledger.suspended.retain(|record| {
                        (record.account_number, &record.record_id)
                            != (key.account_number, &key.record_id)
                    });
                }
                let reason = if left { "" } else { "unbound-identity" };
                RecycleOutcome {
                    rated: left,
                    reason: reason.to_owned(),
                    ..RecycleOutcome::default()
                }
            })
            .collect();
        for refusal in refusals {
            let of = |record: &&mut SuspendedRecord| {
                (record.account_number, &record.record_id, record.revision)
                    == (refusal.account_number, &refusal.record_id, refusal.revision)
            };
            let waiting = ledger.suspended.iter_mut().find(of).unwrap();
            waiting.detail = format!("{} refuses it: {}", refusal.refused_by, refusal.reason);
        }
        ledger.recycled.extend(keys);
        Ok(Response::new(NodeRecycleResponse { standing: Some(standing), outcomes }))
    }
}

/// A front, two fake nodes, and an in-memory database.
pub struct World {
    pub db: Arc<MemoryDatabase>,
    pub front: FrontServer,
    pub shared: Arc<Shared>,
    pub nodes: Vec<FakeNode>,
    pub network: Network,
    pub channel: Channel,
}

pub fn config() -> FrontConfig {
    // The deadlines are long, except in tests about deadlines.
    let heartbeat = Duration::from_millis(20);
    let guarded = Guarded::No;
    FrontConfig { heartbeat, answer_deadline_beats: 3_000, guarded, ..FrontConfig::default() }
}

impl World {
    pub async fn new(config: FrontConfig, seed: u64) -> Self {
        Self::over(MemoryDatabase::new(), config, seed).await
    }

    pub async fn over(db: MemoryDatabase, config: FrontConfig, seed: u64) -> Self {
        Self::through(db.clone(), Arc::new(db), config, seed).await
    }

    /// As [`Self::over`], but the front reaches the database through `line`.
    pub async fn through(
        db: MemoryDatabase,
        line: Arc<dyn SharedDatabase>,
        config: FrontConfig,
        seed: u64,
    ) -> Self {
        let shared = Arc::new(Shared {
            ledgers: Mutex::default(),
            faults: Mutex::default(),
            rng: Mutex::new(StdRng::seed_from_u64(seed)),
            out_of_order: AtomicU64::new(0),
            streams: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            guided_us: Mutex::default(),
            decisions: AtomicU64::new(0),
            deciding: AtomicU64::new(0),
            deciding_most: AtomicU64::new(0),
            clients: Mutex::default(),
            last_extra: Mutex::default(),
        });
        let db = Arc::new(db);
        let network = Network::default();
        let mut nodes = Vec::new();
        for name in ["a", "b"] {
            let address = format!("{name}:1");
            let node = FakeNode { address: address.clone(), shared: Arc::clone(&shared) };
            let noting = Arc::clone(&shared);
            let server =
                NodeServiceServer::with_interceptor(node.clone(), move |call: Request<()>| {
                    let client = call.metadata().get(turnpike_proto::CLIENT);
                    let client =
                        client.map(|client| client.to_str().unwrap().parse::<u64>().unwrap());
                    noting.clients.lock().unwrap().extend(client);
                    Ok(call)
                });
            let incoming = network.listen(&address);
            tokio::spawn(Server::builder().add_service(server).serve_with_incoming(incoming));
            let beat = NodeBeat {
                node: NodeName(name.to_owned()),
                incarnation: Incarnation(1),
                counter: 1,
                address,
                draining: false,
                serving: Vec::new(),
                following: Vec::new(),
            };
            db.heartbeat(&beat).await.unwrap();
            nodes.push(node);
        }
        let front = FrontServer::start(config, line, network.dial()).unwrap();
        let server = Server::builder()
            .add_service(front.ingest())
            .add_service(front.accounts())
            .add_service(front.plans())
            .add_service(front.cluster())
            .add_service(front.suspense())
            .serve_with_incoming(network.listen("front:1"));
        tokio::spawn(server);
        let channel = network.channel("front:1").unwrap();
        Self { db, front, shared, nodes, network, channel }
    }

    pub async fn partition(&self, id: u32, first: u64, last: u64) {
        let spec = PartitionSpec {
            id: PartitionId(id),
            range: AccountRange::new(first, last).unwrap(),
            horizon_us: 1,
            accept_since: None,
            members: [("a", 2), ("b", 1)].map(member).into(),
        };
        self.db.create_partitions(&[spec]).await.unwrap();
        self.shared.ledgers.lock().unwrap().insert(id, Ledger::default());
    }

    /// Makes the node with this index the owner of the partition.
    pub async fn give(&self, partition: u32, node: usize) {
        give(&self.db, &self.shared, &self.nodes, partition, node).await;
    }

    /// Waits until the front has read the present routes.
    pub async fn routed(&self) {
        let want = self.db.observe().await.unwrap().partitions;
        let mut cluster = ClusterServiceClient::new(self.channel.clone());
        loop {
            let seen = cluster.status(turnpike_proto::cluster::v1::StatusRequest {}).await;
            // Until the front has read routes, it has no status.
            let seen = seen.into_iter().flat_map(|seen| seen.into_inner().partitions);
            let seen: Vec<_> = seen.collect();
            let same = |row: &turnpike_store::PartitionRow| {
                let id = row.spec.id.0;
                seen.iter().any(|p| p.id == id && p.epoch == row.epoch.number())
            };
            if want.iter().all(same) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub fn set_faults(&self, faults: Faults) {
        *self.shared.faults.lock().unwrap() = faults;
    }

    pub fn ingest(&self) -> IngestServiceClient<Channel> {
        IngestServiceClient::new(self.channel.clone())
    }

    pub fn accounts(&self) -> AccountServiceClient<Channel> {
        AccountServiceClient::new(self.channel.clone())
    }

    pub fn plans(&self) -> PlanServiceClient<Channel> {
        PlanServiceClient::new(self.channel.clone())
    }

    pub fn suspense(&self) -> SuspenseServiceClient<Channel> {
        SuspenseServiceClient::new(self.channel.clone())
    }

    pub fn rated(&self) -> BTreeMap<u64, Vec<String>> {
        let ledgers = self.shared.ledgers.lock().unwrap();
        ledgers.values().flat_map(|ledger| ledger.rated.clone()).collect()
    }
}

fn member((node, priority): (&str, u32)) -> Member {
    Member { node: NodeName(node.to_owned()), priority: Priority(priority) }
}

pub async fn give(
    db: &MemoryDatabase,
    shared: &Shared,
    nodes: &[FakeNode],
    partition: u32,
    node: usize,
) {
    let seen = db.observe().await.unwrap();
    let row = seen.partitions.iter().find(|row| row.spec.id.0 == partition).unwrap();
    let claim = Claim {
        partition: row.spec.id,
        seen: row.epoch,
        node: NodeName(["a", "b"][node].to_owned()),
        incarnation: Incarnation(1),
        claim: ClaimId(row.epoch.number().to_le_bytes().repeat(2).try_into().unwrap()),
        forced: false,
    };
    let claimed = db.claim(&claim).await.unwrap().unwrap();
    let mut ledgers = shared.ledgers.lock().unwrap();
    let ledger = ledgers.get_mut(&partition).unwrap();
    ledger.owner.clone_from(&nodes[node].address);
    ledger.epoch = claimed.epoch.number();
}

pub fn record(account: u64, identity: &str, id: &str) -> UsageRecord {
    UsageRecord {
        record_id: id.to_owned(),
        account: AccountNumber(account),
        identity: identity.to_owned(),
        usage_type: "octets".to_owned(),
        start: Timestamp(50),
        ..UsageRecord::default()
    }
}

pub fn batch(number: u64, records: &[UsageRecord]) -> BatchFrame {
    let encoded: Vec<Vec<u8>> = records
        .iter()
        .map(|record| {
            let mut bytes = Vec::new();
            encode(record, &mut bytes);
            bytes
        })
        .collect();
    BatchFrame::build("test", number, encoded.iter().map(Vec::as_slice))
}
