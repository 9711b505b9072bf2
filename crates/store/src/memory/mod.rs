//! The shared database in the memory of one process, for tests and for the simulated cluster.
//!
//! It is deterministic: time comes from a [`Clock`], the caller passes the store incarnation, and
//! nothing depends on the order of a hash table. Each partition's row has a lock, as in PostgreSQL:
//! an append holds it from the check of the fence to the commit, and a claim waits for it (P1).
//! [`MemoryDatabase::pause_appends`] stops appends between check and commit, so that tests can run
//! other calls at this point.

mod ownership;
mod state;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{OwnedMutexGuard, OwnedRwLockWriteGuard, RwLock};
use turnpike_mutants::{Check, off};
use turnpike_types::{
    AccountNumber, ClaimId, Epoch, NodeName, PartitionId, SegmentNumber, Timestamp,
};

use self::state::State;
use crate::rules;
use crate::{
    AppendOutcome, AppendSegment, BindOutcome, Binding, BindingsMark, CatalogueEntry,
    CatalogueHead, CatalogueKind, CheckpointManifest, CheckpointPart, Claim, ClaimOutcome, Claimed,
    Consumer, CursorAck, HeartbeatReply, IdentityHistory, NodeBeat, Observation, OwnerToken,
    PartitionSpec, PinOutcome, Publish, PublishOutcome, RebindOutcome, Rebinding, SegmentRow,
    SharedDatabase, StoreIncarnation, StoreResult,
};

/// A source of the present time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The clock of this machine.
#[expect(clippy::disallowed_methods, reason = "the only place that reads the system's clock")]
pub fn system_clock() -> Clock {
    Arc::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    })
}

/// The shared database in memory. Clones share the same database.
#[derive(Clone)]
pub struct MemoryDatabase {
    clock: Clock,
    state: Arc<Mutex<State>>,
    gate: Arc<RwLock<()>>,
    at_gate: Arc<AtomicUsize>,
}

/// A guard: until it is dropped, appends stop between the check of their fence and their commit.
pub struct PausedAppends {
    _gate: OwnedRwLockWriteGuard<()>,
}

impl Default for MemoryDatabase {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryDatabase {
    /// An empty database on the system's clock.
    pub fn new() -> Self {
        let clock = system_clock();
        let incarnation = clock().micros().unsigned_abs();
        Self::with_clock(clock, StoreIncarnation(incarnation))
    }

    /// An empty database with a clock and an incarnation of the caller's choice.
    pub fn with_clock(clock: Clock, incarnation: StoreIncarnation) -> Self {
        Self {
            clock,
            state: Arc::new(Mutex::new(State::new(incarnation))),
            gate: Arc::default(),
            at_gate: Arc::default(),
        }
    }

    /// Stops appends between check and commit until the guard is dropped. It first waits for
    /// appends that are committing.
    pub async fn pause_appends(&self) -> PausedAppends {
        PausedAppends { _gate: Arc::clone(&self.gate).write_owned().await }
    }

    /// The number of appends that hold their partition's row at present.
    pub fn appends_in_flight(&self) -> usize {
        self.at_gate.load(Ordering::SeqCst)
    }

    /// The lock may be poisoned only if code panics while it holds the lock. The state would still
    /// be consistent, because each operation makes all checks before its first change.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn row_lock(&self, partition: PartitionId) -> StoreResult<OwnedMutexGuard<()>> {
        let lock = Arc::clone(&self.state().partition(partition)?.lock);
        Ok(lock.lock_owned().await)
    }
}

/// A guard that counts an append in flight until it is dropped.
struct InFlight<'a>(&'a AtomicUsize);

impl<'a> InFlight<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl SharedDatabase for MemoryDatabase {
    async fn incarnation(&self) -> StoreResult<StoreIncarnation> {
        Ok(self.state().incarnation)
    }

    async fn create_partitions(&self, partitions: &[PartitionSpec]) -> StoreResult<()> {
        self.state().create_partitions(partitions)
    }

    async fn heartbeat(&self, beat: &NodeBeat) -> StoreResult<HeartbeatReply> {
        let now = (self.clock)();
        self.state().heartbeat(beat, now)
    }

    async fn observe(&self) -> StoreResult<Observation> {
        let now = (self.clock)();
        Ok(self.state().observe(now))
    }

    async fn claim(&self, claim: &Claim) -> StoreResult<Option<Claimed>> {
        let _row = self.row_lock(claim.partition).await?;
        let now = (self.clock)();
        self.state().claim(claim, now)
    }

    async fn claim_many(&self, claims: &[Claim]) -> StoreResult<Vec<ClaimOutcome>> {
        rules::check_claims(claims)?;
        let now = (self.clock)();
        let mut state = self.state();
        for claim in claims {
            state.partition(claim.partition)?;
        }
        // No call waits for a row while it holds the lock of the state, so the order of claims can
        // cause no deadlock.
        let mut claim_one = |claim: &Claim| {
            let partition = state.partition(claim.partition)?;
            if !partition.is_at(claim.seen) {
                return Ok(ClaimOutcome::Lost);
            }
            let lock = Arc::clone(&partition.lock);
            let row = lock.try_lock();
            if row.is_err() && !off(Check::BusyRow) {
                return Ok(ClaimOutcome::Busy);
            }
            Ok(state.claim(claim, now)?.map_or(ClaimOutcome::Lost, ClaimOutcome::Won))
        };
        claims.iter().map(&mut claim_one).collect()
    }

    async fn release(
        &self,
        partition: PartitionId,
        epoch: Epoch,
        claim: ClaimId,
        to: Option<&NodeName>,
    ) -> StoreResult<bool> {
        let Ok(_row) = self.row_lock(partition).await else {
            return Ok(false);
        };
        self.state().release(partition, epoch, claim, to)
    }

    async fn barrier(&self, held: &OwnerToken) -> StoreResult<bool> {
        let Ok(_row) = self.row_lock(held.partition).await else {
            return Ok(false);
        };
        let state = self.state();
        Ok(state.partition(held.partition)?.is_held(held))
    }

    async fn pin(
        &self,
        partition: PartitionId,
        pin: Option<(&NodeName, Duration)>,
    ) -> StoreResult<PinOutcome> {
        let now = (self.clock)();
        Ok(self.state().pin(partition, pin, now))
    }

    async fn set_drained(&self, node: &NodeName, drained: bool) -> StoreResult<bool> {
        Ok(self.state().set_drained(node, drained))
    }

    async fn forget_node(&self, node: &NodeName) -> StoreResult<bool> {
        let now = (self.clock)();
        Ok(self.state().forget_node(node, now))
    }

    async fn append(&self, append: &AppendSegment) -> StoreResult<AppendOutcome> {
        let _row = match off(Check::RowLock) {
            true => None,
            false => Some(self.row_lock(append.partition).await?),
        };
        if let Some(outcome) = self.state().partition(append.partition)?.fence().judge(append) {
            return Ok(outcome);
        }
        let _in_flight = InFlight::new(&self.at_gate);
        if off(Check::ReadCommitted) {
            let outcome = self.state().append(append);
            let _open = self.gate.read().await;
            return outcome;
        }
        let _open = self.gate.read().await;
        self.state().append(append)
    }

    async fn read_segments(
        &self,
        partition: PartitionId,
        after: SegmentNumber,
        bytes_max: usize,
    ) -> StoreResult<Vec<SegmentRow>> {
        let state = self.state();
        Ok(state.partition(partition).map_or(Vec::new(), |p| p.read_segments(after, bytes_max)))
    }

    async fn posting_segments(
        &self,
        partition: PartitionId,
        after: SegmentNumber,
        most: usize,
    ) -> StoreResult<Vec<SegmentRow>> {
        let state = self.state();
        Ok(state.partition(partition).map_or(Vec::new(), |p| p.posting_segments(after, most)))
    }

    async fn put_checkpoint_part(
        &self,
        partition: PartitionId,
        part: &CheckpointPart,
    ) -> StoreResult<()> {
        self.state().put_checkpoint_part(partition, part)
    }

    async fn publish_checkpoint(
        &self,
        manifest: &CheckpointManifest,
        epoch: Epoch,
        claim: ClaimId,
    ) -> StoreResult<bool> {
        let _row = self.row_lock(manifest.partition).await?;
        self.state().publish_checkpoint(manifest, epoch, claim)
    }

    async fn checkpoints(&self, partition: PartitionId) -> StoreResult<Vec<CheckpointManifest>> {
        let state = self.state();
        Ok(state.partition(partition).map_or(Vec::new(), |p| p.manifests.clone()))
    }

    async fn checkpoint_part(
        &self,
        partition: PartitionId,
        name: &str,
    ) -> StoreResult<Option<Bytes>> {
        let state = self.state();
        let part = state.partition(partition).ok().and_then(|p| p.parts.get(name));
        Ok(part.map(|part| part.body.clone()))
    }

    async fn publish(&self, publish: &Publish) -> StoreResult<PublishOutcome> {
        let now = (self.clock)();
        self.state().publish(publish, now)
    }

    async fn catalogue_since(&self, after: u64, most: usize) -> StoreResult<Vec<CatalogueEntry>> {
        Ok(self.state().catalogue_since(after, most))
    }

    async fn catalogue_heads(
        &self,
        kind: CatalogueKind,
        id: Option<&str>,
        after: u64,
    ) -> StoreResult<Vec<CatalogueHead>> {
        Ok(self.state().catalogue_heads(kind, id, after))
    }

    async fn bind_identities(&self, bindings: &[Binding]) -> StoreResult<Vec<BindOutcome>> {
        let now = (self.clock)();
        self.state().bind_identities(bindings, now)
    }

    async fn rebind_identities(&self, changes: &[Rebinding]) -> StoreResult<Vec<RebindOutcome>> {
        let now = (self.clock)();
        self.state().rebind_identities(changes, now)
    }

    async fn guide(&self, identities: &[String]) -> StoreResult<Vec<IdentityHistory>> {
        Ok(self.state().guide(identities))
    }

    async fn bindings_mark(&self) -> StoreResult<BindingsMark> {
        Ok(self.state().bindings_mark())
    }

    async fn advance_guided_through(&self) -> StoreResult<bool> {
        let now = (self.clock)();
        Ok(self.state().advance_guided_through(now))
    }

    async fn bindings_of(&self, account: AccountNumber, most: usize) -> StoreResult<Vec<Binding>> {
        Ok(self.state().bindings_of(account, most))
    }

    async fn register_consumer(&self, name: &str) -> StoreResult<()> {
        self.state().register_consumer(name)
    }

    async fn consumer(&self, name: &str) -> StoreResult<Vec<Consumer>> {
        Ok(self.state().consumer(name))
    }

    async fn acknowledge(&self, from: &Consumer, to: &Consumer) -> StoreResult<CursorAck> {
        self.state().acknowledge(from, to)
    }
}
