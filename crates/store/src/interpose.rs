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
    AccessRead, AccessStore, AccessVersion, AccessWrite, AppendOutcome, AppendSegment, AuditAppend,
    AuditAppended, AuditHash, AuditHead, AuditRow, AuditSelection, AuditStore, BindOutcome,
    Binding, BindingsMark, CatalogueEntry, CatalogueHead, CatalogueKind, CatalogueStore,
    CatalogueTotals, CheckpointManifest, CheckpointPart, CheckpointStore, Claim, ClaimOutcome,
    Claimed, Consumer, CursorAck, CursorStore, HeartbeatReply, IdentityHistory, IdentityStore,
    LogStore, NodeBeat, Observation, OwnerToken, OwnershipStore, PartitionSpec, PinOutcome,
    Publish, PublishOutcome, RebindOutcome, Rebinding, SegmentRow, SharedDatabase, StoreError,
    StoreIncarnation, StoreResult, TopologyStore,
};

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

/// Implements the traits of all areas for [`Interposed`], and makes the list of their methods. Each
/// line names a method's entry in the list, and repeats the method's signature.
macro_rules! interposed {
    ($(
        $area:ident {
            $($call:ident = $method:ident($($name:ident: $given:ty),*) -> $answer:ty,)+
        }
    )+) => {
        /// A method of the shared database.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs)]
        pub enum Call { $($($call,)+)+ }

        impl Call {
            /// The method's name.
            pub const fn word(self) -> &'static str {
                match self { $($(Self::$call => stringify!($method),)+)+ }
            }
        }

        $(
            #[async_trait]
            impl<H: Interpose> $area for Interposed<H> {
                $(
                    async fn $method(&self, $($name: $given),*) -> StoreResult<$answer> {
                        self.hook.before(Call::$call).await?;
                        let began = Instant::now();
                        let done = self.inner.$method($($name),*).await;
                        self.hook.answered(Call::$call, began.elapsed(), done.as_ref().err());
                        self.hook.after(Call::$call).await?;
                        done
                    }
                )+
            }
        )+
    };
}

interposed! {
    TopologyStore {
        Incarnation = incarnation() -> StoreIncarnation,
        CreatePartitions = create_partitions(partitions: &[PartitionSpec]) -> (),
        Observe = observe() -> Observation,
        Pin = pin(partition: PartitionId, pin: Option<(&NodeName, Duration)>) -> PinOutcome,
        SetDrained = set_drained(node: &NodeName, drained: bool) -> bool,
        ForgetNode = forget_node(node: &NodeName) -> bool,
    }
    OwnershipStore {
        Heartbeat = heartbeat(beat: &NodeBeat) -> HeartbeatReply,
        Claim = claim(claim: &Claim) -> Option<Claimed>,
        ClaimMany = claim_many(claims: &[Claim]) -> Vec<ClaimOutcome>,
        Release = release(
            partition: PartitionId,
            epoch: Epoch,
            claim: ClaimId,
            to: Option<&NodeName>
        ) -> bool,
        Barrier = barrier(held: &OwnerToken) -> bool,
    }
    LogStore {
        Append = append(append: &AppendSegment) -> AppendOutcome,
        ReadSegments = read_segments(
            partition: PartitionId,
            after: SegmentNumber,
            bytes_max: usize
        ) -> Vec<SegmentRow>,
        PostingSegments = posting_segments(
            partition: PartitionId,
            after: SegmentNumber,
            most: usize
        ) -> Vec<SegmentRow>,
    }
    CheckpointStore {
        PutCheckpointPart = put_checkpoint_part(
            partition: PartitionId,
            part: &CheckpointPart
        ) -> (),
        PublishCheckpoint = publish_checkpoint(
            manifest: &CheckpointManifest,
            epoch: Epoch,
            claim: ClaimId
        ) -> bool,
        Checkpoints = checkpoints(partition: PartitionId) -> Vec<CheckpointManifest>,
        CheckpointPart = checkpoint_part(partition: PartitionId, name: &str) -> Option<Bytes>,
    }
    CatalogueStore {
        Publish = publish(publish: &Publish) -> PublishOutcome,
        CatalogueSince = catalogue_since(after: u64, most: usize) -> Vec<CatalogueEntry>,
        CatalogueHeads = catalogue_heads(
            kind: CatalogueKind,
            id: Option<&str>,
            after: u64
        ) -> Vec<CatalogueHead>,
        CatalogueTotals = catalogue_totals(kind: CatalogueKind) -> CatalogueTotals,
    }
    IdentityStore {
        BindIdentities = bind_identities(bindings: &[Binding]) -> Vec<BindOutcome>,
        RebindIdentities = rebind_identities(changes: &[Rebinding]) -> Vec<RebindOutcome>,
        Guide = guide(identities: &[String]) -> Vec<IdentityHistory>,
        BindingsMark = bindings_mark() -> BindingsMark,
        AdvanceGuidedThrough = advance_guided_through() -> bool,
        BindingsOf = bindings_of(account: AccountNumber, most: usize) -> Vec<Binding>,
    }
    CursorStore {
        RegisterConsumer = register_consumer(name: &str) -> (),
        Consumer = consumer(name: &str) -> Vec<Consumer>,
        Consumers = consumers() -> Vec<String>,
        RemoveConsumer = remove_consumer(name: &str) -> bool,
        Acknowledge = acknowledge(from: &Consumer, to: &Consumer) -> CursorAck,
    }
    AccessStore {
        Access = access(known: Option<AccessVersion>) -> AccessRead,
        ChangeAccess = change_access(write: &AccessWrite) -> Option<u64>,
    }
    AuditStore {
        AuditHead = audit_head() -> AuditHead,
        AppendAudit = append_audit(append: &AuditAppend) -> AuditAppended,
        ReadAudit = read_audit(selection: &AuditSelection) -> Vec<AuditRow>,
        TrimAudit = trim_audit(through: u64, hash: AuditHash) -> u64,
    }
}
