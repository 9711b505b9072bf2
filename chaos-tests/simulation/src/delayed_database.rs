//! The database as a separate process. A statement that has reached the database is carried out
//! even if the sender has stopped waiting, and sometimes much later (P1, P2).

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::runtime::Handle;
use turnpike_store::memory::MemoryDatabase;
use turnpike_store::{
    AccessRead, AccessStore, AccessVersion, AccessWrite, AppendOutcome, AppendSegment, AuditAppend,
    AuditAppended, AuditHash, AuditHead, AuditRow, AuditSelection, AuditStore, BindOutcome,
    Binding, BindingsMark, CatalogueEntry, CatalogueHead, CatalogueKind, CatalogueStore,
    CatalogueTotals, CheckpointManifest, CheckpointPart, CheckpointStore, Claim, ClaimOutcome,
    Claimed, Consumer, CursorAck, CursorStore, HeartbeatReply, IdentityHistory, IdentityStore,
    LogStore, NodeBeat, Observation, OwnerToken, OwnershipStore, PartitionSpec, PinOutcome,
    Publish, PublishOutcome, RebindOutcome, Rebinding, SegmentRow, StoreError, StoreIncarnation,
    StoreResult, TopologyStore,
};
use turnpike_types::{AccountNumber, ClaimId, Epoch, NodeName, PartitionId, SegmentNumber};

/// The time-outs of callers: for heartbeats and observations, for writes, and for parts of
/// checkpoints. A statement continues after the time-out of its caller.
const BEAT: Duration = Duration::from_secs(1);
const WRITE: Duration = Duration::from_secs(4);
const BULK: Duration = Duration::from_secs(30);

/// The share of delayed statements, and the maximum delay before a statement is carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WriteDelay {
    /// Delayed statements per thousand.
    pub ratio: u32,
    /// Maximum delay in milliseconds.
    pub most_ms: u64,
}

/// A database that runs heartbeats, observations and the writes of owners (claims, appends,
/// barriers, releases, checkpoints) as tasks of a separate host. All other calls are executed
/// directly.
#[derive(Clone)]
pub struct DelayedDatabase {
    db: MemoryDatabase,
    host: Handle,
    chance: Arc<Mutex<(StdRng, WriteDelay)>>,
}

impl DelayedDatabase {
    /// Creates a database that applies statements to `db`, in tasks of `host`.
    pub fn new(db: MemoryDatabase, host: Handle, seed: u64) -> Self {
        let chance = (StdRng::seed_from_u64(seed), WriteDelay::default());
        Self { db, host, chance: Arc::new(Mutex::new(chance)) }
    }

    /// Sets the delay of later statements.
    pub fn set(&self, write_delay: WriteDelay) {
        self.chance.lock().unwrap_or_else(PoisonError::into_inner).1 = write_delay;
    }

    fn delay(&self) -> Duration {
        let mut chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner);
        let (rng, WriteDelay { ratio, most_ms }) = &mut *chance;
        let late = rng.random_range(0..1_000) < *ratio;
        Duration::from_millis(if late { rng.random_range(0..=*most_ms) } else { 0 })
    }

    async fn write<T, F>(
        &self,
        limit: Duration,
        statement: impl FnOnce(MemoryDatabase) -> F + Send + 'static,
    ) -> StoreResult<T>
    where
        T: Send + 'static,
        F: Future<Output = StoreResult<T>> + Send + 'static,
    {
        let (db, delay) = (self.db.clone(), self.delay());
        let running = self.host.spawn(async move {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            statement(db).await
        });
        let unknown =
            |cause: &str| StoreError::Unavailable { doing: "simulation", cause: cause.to_owned() };
        match tokio::time::timeout(limit, running).await {
            Ok(Ok(done)) => done,
            Ok(Err(error)) => Err(unknown(&error.to_string())),
            Err(_) => Err(unknown("no answer in time")),
        }
    }
}

/// Calls a method of the database as a task of the host, with copies of the arguments.
macro_rules! statement {
    ($self:ident, $limit:ident, $method:ident, $($argument:ident),*) => {{
        $(let $argument = $argument.to_owned();)*
        $self.write($limit, move |db| async move { db.$method($(&$argument),*).await }).await
    }};
}

#[async_trait]
impl TopologyStore for DelayedDatabase {
    async fn incarnation(&self) -> StoreResult<StoreIncarnation> {
        self.db.incarnation().await
    }

    async fn create_partitions(&self, partitions: &[PartitionSpec]) -> StoreResult<()> {
        self.db.create_partitions(partitions).await
    }

    async fn observe(&self) -> StoreResult<Observation> {
        self.write(BEAT, |db| async move { db.observe().await }).await
    }

    async fn pin(
        &self,
        partition: PartitionId,
        pin: Option<(&NodeName, Duration)>,
    ) -> StoreResult<PinOutcome> {
        self.db.pin(partition, pin).await
    }

    async fn set_drained(&self, node: &NodeName, drained: bool) -> StoreResult<bool> {
        self.db.set_drained(node, drained).await
    }

    async fn forget_node(&self, node: &NodeName) -> StoreResult<bool> {
        self.db.forget_node(node).await
    }
}

#[async_trait]
impl OwnershipStore for DelayedDatabase {
    async fn heartbeat(&self, beat: &NodeBeat) -> StoreResult<HeartbeatReply> {
        statement!(self, BEAT, heartbeat, beat)
    }

    async fn claim(&self, claim: &Claim) -> StoreResult<Option<Claimed>> {
        statement!(self, WRITE, claim, claim)
    }

    async fn claim_many(&self, claims: &[Claim]) -> StoreResult<Vec<ClaimOutcome>> {
        statement!(self, WRITE, claim_many, claims)
    }

    async fn release(
        &self,
        partition: PartitionId,
        epoch: Epoch,
        claim: ClaimId,
        to: Option<&NodeName>,
    ) -> StoreResult<bool> {
        let to = to.cloned();
        self.write(WRITE, move |db| async move {
            db.release(partition, epoch, claim, to.as_ref()).await
        })
        .await
    }

    async fn barrier(&self, held: &OwnerToken) -> StoreResult<bool> {
        statement!(self, WRITE, barrier, held)
    }
}

#[async_trait]
impl LogStore for DelayedDatabase {
    async fn append(&self, append: &AppendSegment) -> StoreResult<AppendOutcome> {
        statement!(self, WRITE, append, append)
    }

    async fn read_segments(
        &self,
        partition: PartitionId,
        after: SegmentNumber,
        bytes_max: usize,
    ) -> StoreResult<Vec<SegmentRow>> {
        self.db.read_segments(partition, after, bytes_max).await
    }

    async fn posting_segments(
        &self,
        partition: PartitionId,
        after: SegmentNumber,
        most: usize,
    ) -> StoreResult<Vec<SegmentRow>> {
        self.db.posting_segments(partition, after, most).await
    }
}

#[async_trait]
impl CheckpointStore for DelayedDatabase {
    async fn put_checkpoint_part(
        &self,
        partition: PartitionId,
        part: &CheckpointPart,
    ) -> StoreResult<()> {
        let part = part.clone();
        self.write(BULK, move |db| async move { db.put_checkpoint_part(partition, &part).await })
            .await
    }

    async fn publish_checkpoint(
        &self,
        manifest: &CheckpointManifest,
        epoch: Epoch,
        claim: ClaimId,
    ) -> StoreResult<bool> {
        let manifest = manifest.clone();
        self.write(
            WRITE,
            move |db| async move { db.publish_checkpoint(&manifest, epoch, claim).await },
        )
        .await
    }

    async fn checkpoints(&self, partition: PartitionId) -> StoreResult<Vec<CheckpointManifest>> {
        self.db.checkpoints(partition).await
    }

    async fn checkpoint_part(
        &self,
        partition: PartitionId,
        name: &str,
    ) -> StoreResult<Option<Bytes>> {
        self.db.checkpoint_part(partition, name).await
    }
}

#[async_trait]
impl CatalogueStore for DelayedDatabase {
    async fn publish(&self, publish: &Publish) -> StoreResult<PublishOutcome> {
        self.db.publish(publish).await
    }

    async fn catalogue_since(&self, after: u64, most: usize) -> StoreResult<Vec<CatalogueEntry>> {
        self.db.catalogue_since(after, most).await
    }

    async fn catalogue_heads(
        &self,
        kind: CatalogueKind,
        id: Option<&str>,
        after: u64,
    ) -> StoreResult<Vec<CatalogueHead>> {
        self.db.catalogue_heads(kind, id, after).await
    }
    async fn catalogue_totals(&self, kind: CatalogueKind) -> StoreResult<CatalogueTotals> {
        self.db.catalogue_totals(kind).await
    }
}

#[async_trait]
impl IdentityStore for DelayedDatabase {
    async fn bind_identities(&self, bindings: &[Binding]) -> StoreResult<Vec<BindOutcome>> {
        self.db.bind_identities(bindings).await
    }

    async fn rebind_identities(&self, changes: &[Rebinding]) -> StoreResult<Vec<RebindOutcome>> {
        self.db.rebind_identities(changes).await
    }

    async fn guide(&self, identities: &[String]) -> StoreResult<Vec<IdentityHistory>> {
        self.db.guide(identities).await
    }

    async fn bindings_mark(&self) -> StoreResult<BindingsMark> {
        self.db.bindings_mark().await
    }

    async fn advance_guided_through(&self) -> StoreResult<bool> {
        self.db.advance_guided_through().await
    }

    async fn bindings_of(&self, account: AccountNumber, most: usize) -> StoreResult<Vec<Binding>> {
        self.db.bindings_of(account, most).await
    }
}

#[async_trait]
impl CursorStore for DelayedDatabase {
    async fn register_consumer(&self, name: &str) -> StoreResult<()> {
        self.db.register_consumer(name).await
    }

    async fn consumer(&self, name: &str) -> StoreResult<Vec<Consumer>> {
        self.db.consumer(name).await
    }

    async fn consumers(&self) -> StoreResult<Vec<String>> {
        self.db.consumers().await
    }
    async fn remove_consumer(&self, name: &str) -> StoreResult<bool> {
        self.db.remove_consumer(name).await
    }
    async fn acknowledge(&self, from: &Consumer, to: &Consumer) -> StoreResult<CursorAck> {
        self.db.acknowledge(from, to).await
    }
}

#[async_trait]
impl AccessStore for DelayedDatabase {
    async fn access(&self, known: Option<AccessVersion>) -> StoreResult<AccessRead> {
        self.db.access(known).await
    }

    async fn change_access(&self, write: &AccessWrite) -> StoreResult<Option<u64>> {
        self.db.change_access(write).await
    }
}

#[async_trait]
impl AuditStore for DelayedDatabase {
    async fn audit_head(&self) -> StoreResult<AuditHead> {
        self.db.audit_head().await
    }

    async fn append_audit(&self, append: &AuditAppend) -> StoreResult<AuditAppended> {
        statement!(self, WRITE, append_audit, append)
    }

    async fn read_audit(&self, selection: &AuditSelection) -> StoreResult<Vec<AuditRow>> {
        self.db.read_audit(selection).await
    }

    async fn trim_audit(&self, through: u64, hash: AuditHash) -> StoreResult<u64> {
        self.db.trim_audit(through, hash).await
    }
}
