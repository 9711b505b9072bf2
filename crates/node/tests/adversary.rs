//! Faults that adversarial tests found. The name of each test states what must hold, and the
//! comment above the test states what happened before the fix.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, dead_code)]

use crate::support;

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use support::{HEARTBEAT, OCTETS, config, create_partition, database, log, octets, publish, start};
use turnpike_mutants::{Check, all_caught};
use turnpike_node::NodeConfig;
use turnpike_proto::node::v1::{NodeRecycleRequest, RecycleKey, SubBatchAnswer, Verdict};
use turnpike_segment::{
    ComponentIndex, LineKind, NewLine, NewRecord, SealContext, Segment, SegmentBuilder,
};
use turnpike_store::memory::MemoryDatabase;
use turnpike_store::{
    AccessRead, AccessStore, AccessVersion, AccessWrite, AppendOutcome, AppendSegment, AuditAppend,
    AuditAppended, AuditHash, AuditHead, AuditRow, AuditSelection, AuditStore, BindOutcome,
    Binding, BindingsMark, CatalogueEntry, CatalogueHead, CatalogueKind, CatalogueStore,
    CatalogueTotals, CheckpointManifest, CheckpointPart, CheckpointStore, Claim, ClaimOutcome,
    Claimed, Consumer, CursorAck, CursorStore, HeartbeatReply, IdentityHistory, IdentityStore,
    LogStore, Member, NodeBeat, Observation, OwnerToken, OwnershipStore, PartitionSpec, PinOutcome,
    Publish, PublishOutcome, RebindOutcome, Rebinding, SegmentRow, SharedDatabase, StoreError,
    StoreIncarnation, StoreResult, TopologyStore,
};
use turnpike_types::{
    AccountNumber, AccountRange, ClaimId, Epoch, NodeName, PartitionId, Priority, SegmentNumber,
    Timestamp, UsageRecord,
};

/// The shared database as one node sees it: slow, damaged, or partly unreachable for that node
/// alone.
struct Bent {
    inner: Arc<dyn SharedDatabase>,
    read_delay_ms: AtomicU64,
    observe_delay_ms: AtomicU64,
    damaged_reads: AtomicBool,
    no_heartbeats: AtomicBool,
    no_logins: AtomicBool,
    /// Appends are kept back to be committed later, and their sender gets no answer.
    late: AtomicBool,
    kept: Mutex<Vec<AppendSegment>>,
    /// The database that checkpoints are read from.
    checkpoints_of: Option<Arc<dyn SharedDatabase>>,
}

impl Bent {
    fn new(inner: &Arc<dyn SharedDatabase>) -> Arc<Self> {
        Self::with(inner, None)
    }

    fn with(
        inner: &Arc<dyn SharedDatabase>,
        checkpoints_of: Option<Arc<dyn SharedDatabase>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            inner: Arc::clone(inner),
            read_delay_ms: AtomicU64::new(0),
            observe_delay_ms: AtomicU64::new(0),
            damaged_reads: AtomicBool::new(false),
            no_heartbeats: AtomicBool::new(false),
            no_logins: AtomicBool::new(false),
            late: AtomicBool::new(false),
            kept: Mutex::default(),
            checkpoints_of,
        })
    }

    fn shared(self: &Arc<Self>) -> Arc<dyn SharedDatabase> {
        Arc::clone(self) as Arc<dyn SharedDatabase>
    }
}

async fn pause(ms: &AtomicU64) {
    let ms = ms.load(Ordering::SeqCst);
    if ms > 0 {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

#[async_trait]
impl TopologyStore for Bent {
    async fn incarnation(&self) -> StoreResult<StoreIncarnation> {
        self.inner.incarnation().await
    }
    async fn create_partitions(&self, partitions: &[PartitionSpec]) -> StoreResult<()> {
        self.inner.create_partitions(partitions).await
    }
    async fn observe(&self) -> StoreResult<Observation> {
        pause(&self.observe_delay_ms).await;
        if self.no_logins.load(Ordering::SeqCst) {
            // SQLSTATE 28xxx, like READONLY of SQLite, is classified as a refusal.
            return Err(StoreError::Refused("observe: authentication failed".to_owned()));
        }
        self.inner.observe().await
    }
    async fn pin(
        &self,
        partition: PartitionId,
        pin: Option<(&NodeName, Duration)>,
    ) -> StoreResult<PinOutcome> {
        self.inner.pin(partition, pin).await
    }
    async fn set_drained(&self, node: &NodeName, drained: bool) -> StoreResult<bool> {
        self.inner.set_drained(node, drained).await
    }
    async fn forget_node(&self, node: &NodeName) -> StoreResult<bool> {
        self.inner.forget_node(node).await
    }
}

#[async_trait]
impl OwnershipStore for Bent {
    async fn heartbeat(&self, beat: &NodeBeat) -> StoreResult<HeartbeatReply> {
        if self.no_heartbeats.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable { doing: "heartbeat", cause: "cut".to_owned() });
        }
        self.inner.heartbeat(beat).await
    }
    async fn claim(&self, claim: &Claim) -> StoreResult<Option<Claimed>> {
        self.inner.claim(claim).await
    }
    async fn claim_many(&self, claims: &[Claim]) -> StoreResult<Vec<ClaimOutcome>> {
        self.inner.claim_many(claims).await
    }
    async fn release(
        &self,
        partition: PartitionId,
        epoch: Epoch,
        claim: ClaimId,
        to: Option<&NodeName>,
    ) -> StoreResult<bool> {
        self.inner.release(partition, epoch, claim, to).await
    }
    async fn barrier(&self, held: &OwnerToken) -> StoreResult<bool> {
        self.inner.barrier(held).await
    }
}

#[async_trait]
impl LogStore for Bent {
    async fn append(&self, append: &AppendSegment) -> StoreResult<AppendOutcome> {
        if self.late.load(Ordering::SeqCst) {
            self.kept.lock().unwrap().push(append.clone());
            return Err(StoreError::Unavailable { doing: "append", cause: "late".to_owned() });
        }
        self.inner.append(append).await
    }
    async fn read_segments(
        &self,
        partition: PartitionId,
        after: SegmentNumber,
        bytes_max: usize,
    ) -> StoreResult<Vec<SegmentRow>> {
        if bytes_max == 1 {
            pause(&self.read_delay_ms).await;
        }
        let mut rows = self.inner.read_segments(partition, after, bytes_max).await?;
        if self.damaged_reads.load(Ordering::SeqCst) {
            for row in &mut rows {
                row.body = Bytes::from_static(b"damaged");
            }
        }
        Ok(rows)
    }
    async fn posting_segments(
        &self,
        partition: PartitionId,
        after: SegmentNumber,
        most: usize,
    ) -> StoreResult<Vec<SegmentRow>> {
        self.inner.posting_segments(partition, after, most).await
    }
}

#[async_trait]
impl CheckpointStore for Bent {
    async fn put_checkpoint_part(
        &self,
        partition: PartitionId,
        part: &CheckpointPart,
    ) -> StoreResult<()> {
        self.inner.put_checkpoint_part(partition, part).await
    }
    async fn publish_checkpoint(
        &self,
        manifest: &CheckpointManifest,
        epoch: Epoch,
        claim: ClaimId,
    ) -> StoreResult<bool> {
        self.inner.publish_checkpoint(manifest, epoch, claim).await
    }
    async fn checkpoints(&self, partition: PartitionId) -> StoreResult<Vec<CheckpointManifest>> {
        let of = self.checkpoints_of.as_ref().unwrap_or(&self.inner);
        of.checkpoints(partition).await
    }
    async fn checkpoint_part(
        &self,
        partition: PartitionId,
        name: &str,
    ) -> StoreResult<Option<Bytes>> {
        let of = self.checkpoints_of.as_ref().unwrap_or(&self.inner);
        of.checkpoint_part(partition, name).await
    }
}

#[async_trait]
impl CatalogueStore for Bent {
    async fn publish(&self, publish: &Publish) -> StoreResult<PublishOutcome> {
        self.inner.publish(publish).await
    }
    async fn catalogue_since(&self, after: u64, most: usize) -> StoreResult<Vec<CatalogueEntry>> {
        self.inner.catalogue_since(after, most).await
    }
    async fn catalogue_heads(
        &self,
        kind: CatalogueKind,
        id: Option<&str>,
        after: u64,
    ) -> StoreResult<Vec<CatalogueHead>> {
        self.inner.catalogue_heads(kind, id, after).await
    }
    async fn catalogue_totals(&self, kind: CatalogueKind) -> StoreResult<CatalogueTotals> {
        self.inner.catalogue_totals(kind).await
    }
}

#[async_trait]
impl IdentityStore for Bent {
    async fn bind_identities(&self, bindings: &[Binding]) -> StoreResult<Vec<BindOutcome>> {
        self.inner.bind_identities(bindings).await
    }
    async fn rebind_identities(&self, changes: &[Rebinding]) -> StoreResult<Vec<RebindOutcome>> {
        self.inner.rebind_identities(changes).await
    }
    async fn guide(&self, identities: &[String]) -> StoreResult<Vec<IdentityHistory>> {
        self.inner.guide(identities).await
    }
    async fn bindings_mark(&self) -> StoreResult<BindingsMark> {
        self.inner.bindings_mark().await
    }
    async fn advance_guided_through(&self) -> StoreResult<bool> {
        self.inner.advance_guided_through().await
    }
    async fn bindings_of(&self, account: AccountNumber, most: usize) -> StoreResult<Vec<Binding>> {
        self.inner.bindings_of(account, most).await
    }
}

#[async_trait]
impl CursorStore for Bent {
    async fn register_consumer(&self, name: &str) -> StoreResult<()> {
        self.inner.register_consumer(name).await
    }
    async fn consumer(&self, name: &str) -> StoreResult<Vec<Consumer>> {
        self.inner.consumer(name).await
    }
    async fn consumers(&self) -> StoreResult<Vec<String>> {
        self.inner.consumers().await
    }
    async fn remove_consumer(&self, name: &str) -> StoreResult<bool> {
        self.inner.remove_consumer(name).await
    }
    async fn acknowledge(&self, from: &Consumer, to: &Consumer) -> StoreResult<CursorAck> {
        self.inner.acknowledge(from, to).await
    }
}

#[async_trait]
impl AccessStore for Bent {
    async fn access(&self, known: Option<AccessVersion>) -> StoreResult<AccessRead> {
        self.inner.access(known).await
    }

    async fn change_access(&self, write: &AccessWrite) -> StoreResult<Option<u64>> {
        self.inner.change_access(write).await
    }
}

#[async_trait]
impl AuditStore for Bent {
    async fn audit_head(&self) -> StoreResult<AuditHead> {
        self.inner.audit_head().await
    }
    async fn append_audit(&self, append: &AuditAppend) -> StoreResult<AuditAppended> {
        self.inner.append_audit(append).await
    }
    async fn read_audit(&self, selection: &AuditSelection) -> StoreResult<Vec<AuditRow>> {
        self.inner.read_audit(selection).await
    }
    async fn trim_audit(&self, through: u64, hash: AuditHash) -> StoreResult<u64> {
        self.inner.trim_audit(through, hash).await
    }
}

const HOUR_US: i64 = 3_600_000_000;

/// A database with a clock that the test sets, and partition 1 with a horizon of one hour.
async fn database_of_one_hour() -> (Arc<dyn SharedDatabase>, Arc<AtomicI64>) {
    let now = Arc::new(AtomicI64::new(1_714_521_600_000_000));
    let clock = Arc::clone(&now);
    let clock = Arc::new(move || Timestamp(clock.load(Ordering::SeqCst)));
    let db: Arc<dyn SharedDatabase> =
        Arc::new(MemoryDatabase::with_clock(clock, StoreIncarnation(1)));
    let member = Member { node: NodeName("a".to_owned()), priority: Priority(20) };
    let spec = PartitionSpec {
        id: PartitionId(1),
        range: AccountRange::new(1, 1000).unwrap(),
        horizon_us: HOUR_US,
        accept_since: None,
        members: vec![member],
    };
    db.create_partitions(&[spec]).await.unwrap();
    publish(db.as_ref(), OCTETS).await;
    (db, now)
}

fn at(start: i64, record_id: &str) -> UsageRecord {
    UsageRecord { start: Timestamp(start), ..octets(7, record_id, 1) }
}

/// Waits until a heartbeat has brought the database's present time to the node.
async fn settle() {
    tokio::time::sleep(HEARTBEAT * 4).await;
}

// P35, I7, and bad input never panics a process. A record of the maximum size is logged, suspended,
// and encoded again when it is recycled. In canonical form, which states a duration of zero, it is
// two bytes larger than the maximum. The owner took that for damage and ended.
#[tokio::test(start_paused = true)]
async fn p35_a_record_of_the_largest_size_that_waits_can_be_recycled() {
    let db = database();
    create_partition(db.as_ref()).await;
    publish(db.as_ref(), OCTETS).await;
    let mut node = start(config("a"), &db).await;
    let mut record = octets(7, "large", 5);
    let size = |record: &UsageRecord| {
        let mut bytes = Vec::new();
        turnpike_proto::record::encode(record, &mut bytes);
        bytes.len()
    };
    record.attributes = [("pad".to_owned(), "x".repeat(16_000))].into();
    let missing = turnpike_types::limits::RECORD_BYTES_MAX - size(&record);
    record.attributes = [("pad".to_owned(), "x".repeat(16_000 + missing))].into();
    assert_eq!(size(&record), turnpike_types::limits::RECORD_BYTES_MAX);
    let answer = node.send(&[record]).await;
    assert_eq!(answer.exceptions[0].reason, "unknown-account");
    node.open_account(7).await;
    let before = db.observe().await.unwrap().partitions[0].epoch;
    let key =
        RecycleKey { account_number: 7, record_id: "large".to_owned(), ..RecycleKey::default() };
    let request = NodeRecycleRequest { partition: 1, keys: vec![key], ..Default::default() };
    let answer = node.client.recycle(request).await.unwrap().into_inner();
    settle().await;
    let after = db.observe().await.unwrap().partitions[0].epoch;
    assert_eq!(before, after, "recycling one record must not end the owner");
    assert_eq!(answer.standing.unwrap().verdict(), Verdict::Done);
    assert!(answer.outcomes[0].rated);
}

// I7, docs/architecture.md section 9 (every queue, cache and message has a limit). Only a
// checkpoint freed keys past the horizon, only new log caused a checkpoint, and only segments
// advanced logged time. A full partition refused every record, and so stayed full for ever.
#[tokio::test(start_paused = true)]
async fn i7_a_partition_that_is_full_of_keys_takes_records_again_once_the_horizon_has_passed() {
    let (db, now) = database_of_one_hour().await;
    let small = NodeConfig { keys_max: 3, ..config("a") };
    let mut node = start(small, &db).await;
    node.open_account(7).await;
    let t0 = now.load(Ordering::SeqCst);
    let answer = node.send(&[at(t0, "r1"), at(t0, "r2"), at(t0, "r3")]).await;
    assert_eq!(answer.accepted, 3);
    let full = node.try_send(&[at(t0, "r4")]).await.unwrap();
    assert_eq!(full.standing.unwrap().verdict(), Verdict::Overloaded);
    // A month later every record is far past the horizon.
    let t1 = t0 + 30 * 24 * HOUR_US;
    now.store(t1, Ordering::SeqCst);
    let mut verdicts = Vec::new();
    for _ in 0..40 {
        settle().await;
        let answer = node.try_send(&[at(t1, "r5")]).await.unwrap();
        verdicts.push(answer.standing.unwrap().verdict());
        if verdicts.last() == Some(&Verdict::Done) {
            return;
        }
    }
    panic!("the partition stays full: {verdicts:?}");
}

// I5, P31: a retry gets the original outcome even when there is no room for new keys, since a
// duplicate needs none.
#[tokio::test(start_paused = true)]
async fn i5_a_retry_is_answered_as_the_first_time_also_when_keys_are_full() {
    let db = database();
    create_partition(db.as_ref()).await;
    publish(db.as_ref(), OCTETS).await;
    let small = NodeConfig { keys_max: 2, ..config("a") };
    let mut node = start(small, &db).await;
    node.open_account(7).await;
    let batch = [octets(7, "r1", 1), octets(7, "r2", 1)];
    assert_eq!(node.send(&batch).await.accepted, 2);
    let again = node.try_send(&batch).await.unwrap();
    assert_eq!(again.standing.unwrap().verdict(), Verdict::Done);
    assert_eq!(again.duplicates, [0, 1]);
}

// P22: there are few runs of keys in a checkpoint. Once keys were forgotten, the runs' counts added
// up to more than the keys in memory, so no run was merged or dropped any more. Manifests, parts
// and load times grew without bound.
#[tokio::test(start_paused = true)]
async fn p22_runs_stay_few_when_keys_are_forgotten() {
    let (db, now) = database_of_one_hour().await;
    let eager = NodeConfig { checkpoint_log_bytes: 1, ..config("a") };
    let mut node = start(eager, &db).await;
    node.open_account(7).await;
    let mut runs = Vec::new();
    for hour in 0..60 {
        let start = now.fetch_add(HOUR_US, Ordering::SeqCst) + HOUR_US;
        settle().await;
        let batch: Vec<UsageRecord> = (0..4).map(|n| at(start, &format!("{hour}-{n}"))).collect();
        assert_eq!(node.send(&batch).await.accepted, 4);
        settle().await;
        let manifests = db.checkpoints(PartitionId(1)).await.unwrap();
        let newest = manifests.first().map_or(&[][..], |manifest| manifest.parts.as_slice());
        runs.push(newest.iter().filter(|name| name.starts_with("keys-")).count());
    }
    let most = runs.iter().max().unwrap();
    assert!(*most <= 10, "too many runs for the keys of three hours: {runs:?}");
}

// I7, P9: for a batch of duplicates with originals in many segments, the owner read those segments
// without a tick. It lost the partition, the next owner received the same batch, and so on.
#[tokio::test(start_paused = true)]
async fn i7_a_batch_of_old_duplicates_does_not_cost_the_owner_its_partition() {
    let db = database();
    create_partition(db.as_ref()).await;
    publish(db.as_ref(), OCTETS).await;
    let (bent_a, bent_b) = (Bent::new(&db), Bent::new(&db));
    let mut a = start(config("a"), &bent_a.shared()).await;
    a.open_account(7).await;
    let records: Vec<UsageRecord> = (0..100).map(|n| octets(7, &format!("r{n}"), 1)).collect();
    for record in &records {
        a.send(std::slice::from_ref(record)).await;
    }
    let _b = start(config("b"), &bent_b.shared()).await;
    settle().await;
    let before = db.observe().await.unwrap().partitions[0].epoch;
    // Reading a segment takes 10 ms, as for some megabytes. In this test an owner is suspect after
    // 100 ms of silence, and an owner task counts as dead 200 ms after its last tick.
    bent_a.read_delay_ms.store(10, Ordering::SeqCst);
    bent_b.read_delay_ms.store(10, Ordering::SeqCst);
    let answer = a.try_send(&records).await.unwrap();
    let after = db.observe().await.unwrap().partitions[0].epoch;
    assert_eq!(before, after, "a batch of duplicates must not cost the owner its partition");
    assert_eq!(answer.duplicates.len(), records.len());
}

// I7: a node that could not read the log (an older program, a bad disk) claimed again at once, for
// ever. Each claim is a sign of life, so no other member ever claimed the partition.
#[tokio::test(start_paused = true)]
async fn i7_a_node_that_can_not_load_a_partition_leaves_it_to_one_that_can() {
    let db = database();
    create_partition(db.as_ref()).await;
    publish(db.as_ref(), OCTETS).await;
    {
        let mut first = start(config("b"), &db).await;
        first.open_account(7).await;
        first.node.shutdown().await;
    }
    let bent = Bent::new(&db);
    bent.damaged_reads.store(true, Ordering::SeqCst);
    let _a = start(config("a"), &bent.shared()).await;
    tokio::time::sleep(HEARTBEAT * 4).await;
    let mut b = start(config("b"), &db).await;
    // 5 s at a heartbeat of 250 ms.
    let deadline = tokio::time::Instant::now() + HEARTBEAT * 20 * 4;
    while tokio::time::Instant::now() < deadline {
        if let Some(answer) = b.try_send(&[octets(7, "r1", 1)]).await
            && answer.standing.unwrap().verdict() == Verdict::Done
        {
            return;
        }
        tokio::time::sleep(HEARTBEAT).await;
    }
    let seen = db.observe().await.unwrap();
    panic!("no node serves the partition; epoch {}", seen.partitions[0].epoch);
}

// P9: heartbeats have a connection of their own, so that nothing delays them. But the next
// heartbeat waited for the observation of its round.
#[tokio::test(start_paused = true)]
async fn p9_a_slow_observation_does_not_hold_heartbeats_back() {
    let db = database();
    create_partition(db.as_ref()).await;
    publish(db.as_ref(), OCTETS).await;
    let bent = Bent::new(&db);
    let mut a = start(config("a"), &bent.shared()).await;
    a.open_account(7).await;
    let _b = start(config("b"), &db).await;
    settle().await;
    let before = db.observe().await.unwrap().partitions[0].epoch;
    bent.observe_delay_ms.store(200, Ordering::SeqCst);
    tokio::time::sleep(HEARTBEAT * 40).await;
    let after = db.observe().await.unwrap().partitions[0].epoch;
    assert_eq!(before, after, "an owner that writes heartbeats must keep its partition");
}

// Regression, I7: every refusal by the database was treated as a second process under the node's
// name. One failed login (SQLSTATE 28xxx: a password being changed, an LDAP server that restarts;
// SQLite: READONLY) permanently stopped each node that read the database at that moment.
#[tokio::test(start_paused = true)]
async fn i7_a_login_that_failed_once_does_not_stop_a_node_for_good() {
    let db = database();
    create_partition(db.as_ref()).await;
    publish(db.as_ref(), OCTETS).await;
    let bent = Bent::new(&db);
    let mut a = start(config("a"), &bent.shared()).await;
    a.open_account(7).await;
    bent.no_logins.store(true, Ordering::SeqCst);
    settle().await;
    bent.no_logins.store(false, Ordering::SeqCst);
    settle().await;
    let stopped = tokio::time::timeout(HEARTBEAT * 20, a.node.stopped()).await;
    assert!(stopped.is_err(), "the node must not stop");
}

// I7, P10: an observer whose reads are half the suspicion time apart (the database is slow, not
// dead) restarted its measure of silence with each read, and never took over from a dead owner.
#[tokio::test(start_paused = true)]
async fn i7_a_standby_with_slow_reads_takes_over_from_a_dead_owner() {
    let db = database();
    create_partition(db.as_ref()).await;
    publish(db.as_ref(), OCTETS).await;
    let (bent_a, bent_b) = (Bent::new(&db), Bent::new(&db));
    let mut a = start(config("a"), &bent_a.shared()).await;
    a.open_account(7).await;
    bent_b.observe_delay_ms.store(60, Ordering::SeqCst);
    let _b = start(config("b"), &bent_b.shared()).await;
    settle().await;
    let before = db.observe().await.unwrap().partitions[0].epoch;
    // The owner can't write heartbeats, and has nothing to append.
    bent_a.no_heartbeats.store(true, Ordering::SeqCst);
    tokio::time::sleep(HEARTBEAT * 20 * 4).await;
    let after = db.observe().await.unwrap().partitions[0].epoch;
    assert!(before < after, "no standby took over from a dead owner within 20 s (at 250 ms)");
}

// P36: an owner whose catalogue may be old does not rate past the start of a version. It learned of
// plans from its heartbeat only. When heartbeats failed and appends did not, it rated by the
// superseded plan, and its commits counted as signs of life.
async fn does_not_rate_by_a_superseded_plan(observes: bool) {
    // Two minutes before midnight, when version 2 starts.
    let (db, now) = database_of_one_hour().await;
    let midnight = now.fetch_sub(120_000_000, Ordering::SeqCst);
    let bent = Bent::new(&db);
    let mut a = start(config("a"), &bent.shared()).await;
    a.open_account(7).await;
    bent.no_heartbeats.store(true, Ordering::SeqCst);
    bent.no_logins.store(!observes, Ordering::SeqCst);
    settle().await;
    let newer = OCTETS
        .replace("version=\"1\"", "version=\"2\"")
        .replace("2020-01-01", "2024-05-01")
        .replace("0.05", "0.07");
    // The version is published in time, one day before it starts. The failed heartbeats kept the
    // owner from learning of it.
    let today = now.fetch_sub(24 * HOUR_US, Ordering::SeqCst);
    publish(db.as_ref(), &newer).await;
    now.store(today, Ordering::SeqCst);
    // The pause is longer than the suspicion, tick and stability times together.
    tokio::time::sleep(HEARTBEAT * 40).await;
    // The record may be taken or refused now. If it is refused, it is sent again once the owner has
    // the newest catalogue.
    let record = [at(midnight, "r1")];
    let first = a.try_send(&record).await;
    let is_done =
        |answer: &SubBatchAnswer| answer.standing.as_ref().unwrap().verdict() == Verdict::Done;
    let was_taken = first.as_ref().is_some_and(is_done);
    bent.no_heartbeats.store(false, Ordering::SeqCst);
    bent.no_logins.store(false, Ordering::SeqCst);
    let again = a.send(&record).await;
    let accepted = first.filter(is_done).map_or(0, |answer| answer.accepted) + again.accepted;
    assert_eq!(accepted, 1, "the record is accepted once; on the first attempt: {was_taken}");
    let mut versions = Vec::new();
    for row in log(db.as_ref()).await {
        let segment = Segment::decode(&row.body).unwrap();
        versions.extend(segment.lines().map(|line| line.component.plan_version));
    }
    assert!(!versions.is_empty(), "no line was rated");
    assert!(versions.iter().all(|&version| version == 2), "rated by version {versions:?}");
}

#[tokio::test(start_paused = true)]
async fn p36_an_owner_that_is_not_fresh_does_not_rate_by_a_superseded_plan() {
    does_not_rate_by_a_superseded_plan(true).await;
}

// The node's observations fail too, so that they do not bring the catalogue: the owner reads it
// before it rates.
#[tokio::test(start_paused = true)]
async fn p36_an_owner_that_observes_nothing_does_not_rate_by_a_superseded_plan() {
    does_not_rate_by_a_superseded_plan(false).await;
}

// docs/architecture.md sections 7 (overflow is an error, never zero) and 8 (control totals): the
// total of two lines whose sum has more than 38 digits was zero.
#[test]
fn control_totals_that_overflow_are_not_shown_as_zero() {
    let mut builder = SegmentBuilder::new();
    let record = octets(7, "r1", 1);
    let view = turnpike_types::UsageView {
        record_id: "r1",
        account: record.account,
        usage_type: "octets",
        start: record.start,
        duration_us: 0,
        quantity: Some(1),
        measures: &[],
        attributes: &[],
    };
    let outcome = turnpike_types::Outcome::Rated;
    builder.push_record(&NewRecord { view, identity: "", outcome }).unwrap();
    let usd = "USD".parse().unwrap();
    let head = turnpike_segment::head::ComponentHead {
        currency: "USD".to_owned(),
        kind: LineKind::Usage.number(),
        ..Default::default()
    };
    let component: ComponentIndex = builder.add_component(head, usd).unwrap();
    let amount = turnpike_types::Money::from_nanos(9 * 10_i128.pow(37)).unwrap();
    let context = SealContext {
        partition: PartitionId(1),
        segment: SegmentNumber(1),
        epoch: Epoch::stored(1),
        prev_hash: Default::default(),
        now: Timestamp(0),
        floor: Timestamp(0),
        catalogue_version: 1,
    };
    let mut sealed = Vec::new();
    for _ in 0..2 {
        builder.push_line(&NewLine {
            component,
            quantity: 1,
            first_unit: 0,
            period: i32::MIN,
            level_before: 0,
            level_after: 0,
            amount,
            of: None,
            posting: turnpike_types::Posting::Account,
            row: None,
        });
        sealed.push(builder.seal(&context));
    }
    let [Ok(one), two] = sealed.as_slice() else { panic!("one line is sealed") };
    assert_eq!(one.totals.amounts[0].1, amount);
    assert!(two.is_err(), "two lines of {amount} make {:?}", two.as_ref().unwrap().totals);
}

/// A record that lasts 7,900 years: 95,000 months.
fn endless(quantity: i64) -> UsageRecord {
    UsageRecord { duration_us: 7_900 * 365 * 24 * HOUR_US, ..octets(7, "endless", quantity) }
}

/// Runs `work`, and returns `None` if it takes longer than `limit`. Then the runtime is abandoned,
/// since an owner in an endless loop can't be stopped.
fn within<T: Send + 'static>(
    limit: Duration,
    work: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let (sender, done) = std::sync::mpsc::channel();
    runtime.spawn(async move {
        let _ = sender.send(work.await);
    });
    let result = done.recv_timeout(limit).ok();
    runtime.shutdown_background();
    result
}

/// An instant in the year 9950, after the end of the longest record here: records that end in the
/// future are rejected at once.
const LATE: Timestamp = Timestamp(251_824_476_960_000_000);

async fn send_one(plan: String, record: UsageRecord) -> Option<Verdict> {
    let clock = Arc::new(|| LATE);
    let db: Arc<dyn SharedDatabase> =
        Arc::new(MemoryDatabase::with_clock(clock, StoreIncarnation(1)));
    create_partition(db.as_ref()).await;
    publish(db.as_ref(), &plan).await;
    let mut node = start(config("a"), &db).await;
    node.open_account(7).await;
    let answer = node.try_send(&[record]).await?;
    assert!(
        answer.exceptions.iter().all(|one| one.reason != "in-the-future"),
        "the record was rejected before it was rated: {:?}",
        answer.exceptions
    );
    Some(answer.standing.unwrap().verdict())
}

/// A plan with forty accumulators in a row. Its charge lines show only the level of the last one.
fn forty_accumulators() -> String {
    let mut chain = String::new();
    let mut input = "data.pass".to_owned();
    for n in 1..40 {
        chain += &format!("<MonthlyAccumulator id=\"v{n}\" in=\"{input}\"/>\n");
        input = format!("v{n}.out");
    }
    chain += &format!("<MonthlyAccumulator id=\"volume\" in=\"{input}\"/>");
    OCTETS.replace("<MonthlyAccumulator id=\"volume\" in=\"data.pass\"/>", &chain)
}

// I7, docs/architecture.md section 9: a record whose changes do not fit the variable table of an
// empty segment (more than 65,535; here 39 variables in 1,800 months) was made to wait for the next
// segment, which is empty too. The owner spun for ever without yielding, and so did each next owner
// that the client sent the record to. With 1,560 months the record fits.
#[test]
fn i7_a_record_with_very_many_changes_does_not_hold_the_owner_up_for_ever() {
    let of_years = |years: i64| UsageRecord {
        duration_us: years * 365 * 24 * HOUR_US,
        ..octets(7, "endless", 10_000_000)
    };
    let verdict = within(Duration::from_secs(60), send_one(forty_accumulators(), of_years(130)));
    assert_eq!(verdict.flatten(), Some(Verdict::Done), "the shorter record is rated");
    let verdict = within(Duration::from_secs(60), send_one(forty_accumulators(), of_years(150)));
    assert!(verdict.flatten().is_some(), "the owner must finish one record within a minute");
}

// I7, docs/architecture.md section 9: the time to rate a record of very many months, whose charge
// lines show each change of a variable, grew with the square of the number of months.
#[test]
fn i7_a_record_of_very_many_months_does_not_hold_the_owner_up_past_suspicion() {
    let record = endless(10_000_000);
    let verdict = within(Duration::from_secs(30), send_one(OCTETS.to_owned(), record));
    assert!(verdict.flatten().is_some(), "the owner must finish the record within half a minute");
}

// docs/architecture.md section 9: a segment is closed at about `segment_bytes_max`. The limit was
// not checked within a sub-batch, so that one segment held all records and lines of a sub-batch.
#[tokio::test(start_paused = true)]
async fn a_segment_is_closed_at_its_limit_also_within_a_sub_batch() {
    let db = database();
    create_partition(db.as_ref()).await;
    publish(db.as_ref(), OCTETS).await;
    let small = NodeConfig { segment_bytes_max: 10_000, ..config("a") };
    let mut node = start(small, &db).await;
    node.open_account(7).await;
    let batch: Vec<UsageRecord> = (0..2000).map(|n| octets(7, &format!("r{n}"), 1)).collect();
    assert_eq!(node.send(&batch).await.accepted, 2000);
    let rows = log(db.as_ref()).await;
    let most = rows.iter().map(|row| Segment::decode(&row.body).unwrap().record_count()).max();
    assert!(most.unwrap() < 500, "a record is more than 40 bytes, a segment has {most:?} of them");
}

// I2, P35: a recycled record is not checked against the horizon, although keys before the horizon
// are forgotten. Suppose a record of an unbound identity is suspended in its home partition, is
// sent again once the identity is bound, and is rated under the account's key. If the suspended
// record was recycled after the horizon, it was rated a second time. The same happened to a record
// that was rated in its new partition, if the request to remove it from its home partition was
// lost, and the record was recycled again after the horizon.
#[tokio::test(start_paused = true)]
async fn i2_a_record_that_was_rated_is_not_rated_again_when_it_is_recycled_past_the_horizon() {
    use turnpike_proto::frame::{SubBatchFrame, SubBatchHead, push_record};
    let (db, now) = database_of_one_hour().await;
    let mut node = start(config("a"), &db).await;
    node.open_account(7).await;
    let t0 = now.load(Ordering::SeqCst);
    let identity = "user:a".to_owned();
    let unbound = UsageRecord { identity, account: AccountNumber(0), ..at(t0, "r1") };
    let bound = UsageRecord { account: AccountNumber(7), ..unbound.clone() };
    assert_eq!(node.send(std::slice::from_ref(&unbound)).await.exceptions.len(), 1);
    assert_eq!(node.send(&[bound]).await.accepted, 1);
    for hour in 1..=5 {
        let t = t0 + hour * HOUR_US;
        now.store(t, Ordering::SeqCst);
        settle().await;
        assert_eq!(node.send(&[at(t, &format!("other{hour}"))]).await.accepted, 1);
    }
    // The frame in which a front moves the record from its home partition (`move_records`).
    let (mut run, mut bytes) = (Vec::new(), Vec::new());
    turnpike_proto::record::encode(&unbound, &mut bytes);
    turnpike_proto::wire::put_number(&mut bytes, 1, 7);
    push_record(&mut run, &bytes);
    let head =
        SubBatchHead { partition: 1, recycled: true, recycled_from: 1, ..SubBatchHead::default() };
    let stream = futures::stream::iter([SubBatchFrame::build(head, &run)]);
    let mut answers = node.client.forward(stream).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    assert_eq!(answer.standing.unwrap().verdict(), Verdict::Done);
    let mut rated = 0;
    for row in log(db.as_ref()).await {
        let segment = Segment::decode(&row.body).unwrap();
        let of_account = |record: &turnpike_segment::RecordRow<'_>| {
            (record.record_id, record.account.0) == ("r1", 7)
        };
        rated += segment.records().filter(|(_, record)| of_account(record)).count();
    }
    assert_eq!(rated, 1, "the account is charged {rated} times; accepted: {}", answer.accepted);
}

// P2, P4: an append of unknown outcome may still commit. Suppose an owner reads its log under the
// old claim and continues. Then the late append takes the segment number of the owner's next
// append. If the owner takes the late append for its own, it acknowledges records that are lost
// (I1).
#[tokio::test(start_paused = true)]
async fn p2_an_append_that_comes_late_is_not_taken_for_the_next_one() {
    let db = database();
    create_partition(db.as_ref()).await;
    publish(db.as_ref(), OCTETS).await;
    let bent = Bent::new(&db);
    let mut node = start(config("a"), &bent.shared()).await;
    node.open_account(7).await;
    bent.late.store(true, Ordering::SeqCst);
    let unheard = node.try_send(&[octets(7, "r1", 1)]).await;
    let is_done = |answer: &SubBatchAnswer| answer.standing.as_ref().unwrap().verdict();
    assert_ne!(unheard.as_ref().map(is_done), Some(Verdict::Done), "the outcome is unknown (P2)");
    bent.late.store(false, Ordering::SeqCst);
    settle().await;
    let kept = bent.kept.lock().unwrap().remove(0);
    let _ = db.append(&kept).await.unwrap();
    assert_eq!(node.send(&[octets(7, "r2", 1)]).await.accepted, 1);
    let rows = log(db.as_ref()).await;
    let segments = rows.iter().map(|row| Segment::decode(&row.body).unwrap());
    let found =
        segments.flat_map(|s| s.records().map(|(_, r)| r.record_id == "r2").collect::<Vec<_>>());
    assert_eq!(found.filter(|is_it| *is_it).count(), 1, "acknowledged, but not in the log (I1)");
}

// P18: a checkpoint of another history is not used, whatever its segment number.
#[tokio::test(start_paused = true)]
async fn p18_a_checkpoint_of_another_history_is_left_alone() {
    let write = async |db: &Arc<dyn SharedDatabase>, id: &str| {
        create_partition(db.as_ref()).await;
        publish(db.as_ref(), OCTETS).await;
        let eager = NodeConfig { checkpoint_log_bytes: 1, ..config("a") };
        let mut node = start(eager, db).await;
        node.open_account(7).await;
        for n in 0..5 {
            node.send(&[octets(7, &format!("{id}{n}"), 1)]).await;
            settle().await;
        }
        node.node.shutdown().await;
        assert!(!db.checkpoints(PartitionId(1)).await.unwrap().is_empty());
    };
    let (db, elsewhere) = (database(), database());
    write(&db, "here").await;
    write(&elsewhere, "there").await;
    let mut node = start(config("b"), &Bent::with(&db, Some(elsewhere)).shared()).await;
    let records = ["here4", "there4", "new"].map(|id| octets(7, id, 1));
    let answer = node.send(&records).await;
    assert_eq!((answer.accepted, answer.duplicates.as_slice()), (2, [0].as_slice()));
}

#[test]
fn mutants_are_caught() {
    all_caught(&[
        (
            Check::CheckpointHistory,
            "p18_a_checkpoint_of_another_history_is_left_alone",
            "did not become the owner",
        ),
        (
            Check::FreshCatalogue,
            "p36_an_owner_that_observes_nothing_does_not_rate_by_a_superseded_plan",
            "rated by version [1",
        ),
        (
            Check::CompleteKeys,
            "i2_a_record_that_was_rated_is_not_rated_again_when_it_is_recycled_past_the_horizon",
            "charged 2 times",
        ),
    ]);
}
