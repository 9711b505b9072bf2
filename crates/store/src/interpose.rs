//! A hook around the calls of a database: for tests, simulation and metrics.
//!
//! A test injects here the faults between a process and its database: a call that never arrives, a
//! slow call, a call that was carried out and whose answer is lost (P2). Each process has its own
//! hook.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;
use turnpike_types::{AccountNumber, ClaimId, Epoch, NodeName, PartitionId, SegmentNumber};

use crate::{
    AppendOutcome, AppendSegment, BindOutcome, Binding, BindingsMark, CatalogueEntry,
    CatalogueHead, CatalogueKind, CheckpointManifest, CheckpointPart, Claim, ClaimOutcome, Claimed,
    Consumer, CursorAck, HeartbeatReply, IdentityHistory, NodeBeat, Observation, OwnerToken,
    PartitionSpec, PinOutcome, Publish, PublishOutcome, RebindOutcome, Rebinding, SegmentRow,
    SharedDatabase, StoreError, StoreIncarnation, StoreResult,
};

macro_rules! calls {
    ($($variant:ident = $word:literal,)+) => {
        /// A method of the trait [`SharedDatabase`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs)]
        pub enum Call { $($variant,)+ }

        impl Call {
            /// The method's name.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }
    };
}

calls! {
    Incarnation = "incarnation",
    CreatePartitions = "create_partitions",
    Heartbeat = "heartbeat",
    Observe = "observe",
    Claim = "claim",
    ClaimMany = "claim_many",
    Release = "release",
    Barrier = "barrier",
    Pin = "pin",
    SetDrained = "set_drained",
    ForgetNode = "forget_node",
    Append = "append",
    ReadSegments = "read_segments",
    PostingSegments = "posting_segments",
    PutCheckpointPart = "put_checkpoint_part",
    PublishCheckpoint = "publish_checkpoint",
    Checkpoints = "checkpoints",
    CheckpointPart = "checkpoint_part",
    Publish = "publish",
    CatalogueSince = "catalogue_since",
    CatalogueHeads = "catalogue_heads",
    BindIdentities = "bind_identities",
    RebindIdentities = "rebind_identities",
    Guide = "guide",
    BindingsMark = "bindings_mark",
    AdvanceGuidedThrough = "advance_guided_through",
    BindingsOf = "bindings_of",
    RegisterConsumer = "register_consumer",
    Consumer = "consumer",
    Acknowledge = "acknowledge",
}

/// A hook that runs before and after each call.
#[async_trait]
pub trait Interpose: Send + Sync + 'static {
    /// Runs before the call. An error is returned to the caller, and the database does not see the
    /// call.
    async fn before(&self, call: Call) -> StoreResult<()>;

    /// Runs after the call was carried out. An error is returned to the caller instead of the
    /// result.
    async fn after(&self, call: Call) -> StoreResult<()>;

    /// Receives the call's duration and its error, if it failed. It runs before `after`.
    fn answered(&self, _call: Call, _took: Duration, _error: Option<&StoreError>) {}
}

/// A database whose calls pass through a hook.
pub struct Interposed<H> {
    inner: Arc<dyn SharedDatabase>,
    hook: Arc<H>,
}

impl<H: Interpose> Interposed<H> {
    /// Wraps `inner` so that its calls pass through `hook`.
    pub fn new(inner: Arc<dyn SharedDatabase>, hook: Arc<H>) -> Self {
        Self { inner, hook }
    }
}

macro_rules! through {
    ($self:ident, $call:ident, $inner:expr) => {{
        $self.hook.before(Call::$call).await?;
        let began = Instant::now();
        let done = $inner.await;
        $self.hook.answered(Call::$call, began.elapsed(), done.as_ref().err());
        $self.hook.after(Call::$call).await?;
        done
    }};
}

#[async_trait]
impl<H: Interpose> SharedDatabase for Interposed<H> {
    async fn incarnation(&self) -> StoreResult<StoreIncarnation> {
        through!(self, Incarnation, self.inner.incarnation())
    }

    async fn create_partitions(&self, partitions: &[PartitionSpec]) -> StoreResult<()> {
        through!(self, CreatePartitions, self.inner.create_partitions(partitions))
    }

    async fn heartbeat(&self, beat: &NodeBeat) -> StoreResult<HeartbeatReply> {
        through!(self, Heartbeat, self.inner.heartbeat(beat))
    }

    async fn observe(&self) -> StoreResult<Observation> {
        through!(self, Observe, self.inner.observe())
    }

    async fn claim(&self, claim: &Claim) -> StoreResult<Option<Claimed>> {
        through!(self, Claim, self.inner.claim(claim))
    }

    async fn claim_many(&self, claims: &[Claim]) -> StoreResult<Vec<ClaimOutcome>> {
        through!(self, ClaimMany, self.inner.claim_many(claims))
    }

    async fn release(
        &self,
        partition: PartitionId,
        epoch: Epoch,
        claim: ClaimId,
        to: Option<&NodeName>,
    ) -> StoreResult<bool> {
        through!(self, Release, self.inner.release(partition, epoch, claim, to))
    }

    async fn barrier(&self, held: &OwnerToken) -> StoreResult<bool> {
        through!(self, Barrier, self.inner.barrier(held))
    }

    async fn pin(
        &self,
        partition: PartitionId,
        pin: Option<(&NodeName, Duration)>,
    ) -> StoreResult<PinOutcome> {
        through!(self, Pin, self.inner.pin(partition, pin))
    }

    async fn set_drained(&self, node: &NodeName, drained: bool) -> StoreResult<bool> {
        through!(self, SetDrained, self.inner.set_drained(node, drained))
    }

    async fn forget_node(&self, node: &NodeName) -> StoreResult<bool> {
        through!(self, ForgetNode, self.inner.forget_node(node))
    }

    async fn append(&self, append: &AppendSegment) -> StoreResult<AppendOutcome> {
        through!(self, Append, self.inner.append(append))
    }

    async fn read_segments(
        &self,
        partition: PartitionId,
        after: SegmentNumber,
        bytes_max: usize,
    ) -> StoreResult<Vec<SegmentRow>> {
        through!(self, ReadSegments, self.inner.read_segments(partition, after, bytes_max))
    }

    async fn posting_segments(
        &self,
        partition: PartitionId,
        after: SegmentNumber,
        most: usize,
    ) -> StoreResult<Vec<SegmentRow>> {
        through!(self, PostingSegments, self.inner.posting_segments(partition, after, most))
    }

    async fn put_checkpoint_part(
        &self,
        partition: PartitionId,
        part: &CheckpointPart,
    ) -> StoreResult<()> {
        through!(self, PutCheckpointPart, self.inner.put_checkpoint_part(partition, part))
    }

    async fn publish_checkpoint(
        &self,
        manifest: &CheckpointManifest,
        epoch: Epoch,
        claim: ClaimId,
    ) -> StoreResult<bool> {
        through!(self, PublishCheckpoint, self.inner.publish_checkpoint(manifest, epoch, claim))
    }

    async fn checkpoints(&self, partition: PartitionId) -> StoreResult<Vec<CheckpointManifest>> {
        through!(self, Checkpoints, self.inner.checkpoints(partition))
    }

    async fn checkpoint_part(
        &self,
        partition: PartitionId,
        name: &str,
    ) -> StoreResult<Option<Bytes>> {
        through!(self, CheckpointPart, self.inner.checkpoint_part(partition, name))
    }

    async fn publish(&self, publish: &Publish) -> StoreResult<PublishOutcome> {
        through!(self, Publish, self.inner.publish(publish))
    }

    async fn catalogue_since(&self, after: u64, most: usize) -> StoreResult<Vec<CatalogueEntry>> {
        through!(self, CatalogueSince, self.inner.catalogue_since(after, most))
    }

    async fn catalogue_heads(
        &self,
        kind: CatalogueKind,
        id: Option<&str>,
        after: u64,
    ) -> StoreResult<Vec<CatalogueHead>> {
        through!(self, CatalogueHeads, self.inner.catalogue_heads(kind, id, after))
    }

    async fn bind_identities(&self, bindings: &[Binding]) -> StoreResult<Vec<BindOutcome>> {
        through!(self, BindIdentities, self.inner.bind_identities(bindings))
    }

    async fn guide(&self, identities: &[String]) -> StoreResult<Vec<IdentityHistory>> {
        through!(self, Guide, self.inner.guide(identities))
    }

    async fn rebind_identities(&self, changes: &[Rebinding]) -> StoreResult<Vec<RebindOutcome>> {
        through!(self, RebindIdentities, self.inner.rebind_identities(changes))
    }

    async fn bindings_mark(&self) -> StoreResult<BindingsMark> {
        through!(self, BindingsMark, self.inner.bindings_mark())
    }

    async fn advance_guided_through(&self) -> StoreResult<bool> {
        through!(self, AdvanceGuidedThrough, self.inner.advance_guided_through())
    }

    async fn bindings_of(&self, account: AccountNumber, most: usize) -> StoreResult<Vec<Binding>> {
        through!(self, BindingsOf, self.inner.bindings_of(account, most))
    }

    async fn register_consumer(&self, name: &str) -> StoreResult<()> {
        through!(self, RegisterConsumer, self.inner.register_consumer(name))
    }

    async fn consumer(&self, name: &str) -> StoreResult<Vec<Consumer>> {
        through!(self, Consumer, self.inner.consumer(name))
    }

    async fn acknowledge(&self, from: &Consumer, to: &Consumer) -> StoreResult<CursorAck> {
        through!(self, Acknowledge, self.inner.acknowledge(from, to))
    }
}
