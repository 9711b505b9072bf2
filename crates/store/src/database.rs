//! The trait [`SharedDatabase`].

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use turnpike_types::{AccountNumber, ClaimId, Epoch, NodeName, PartitionId, SegmentNumber};

use crate::{
    AppendOutcome, AppendSegment, BindOutcome, Binding, BindingsMark, CatalogueEntry,
    CatalogueHead, CatalogueKind, CheckpointManifest, CheckpointPart, Claim, ClaimOutcome, Claimed,
    Consumer, CursorAck, HeartbeatReply, IdentityHistory, NodeBeat, Observation, OwnerToken,
    PartitionSpec, PinOutcome, Publish, PublishOutcome, RebindOutcome, Rebinding, SegmentRow,
    StoreIncarnation, StoreResult,
};

/// The shared database. Dropping the future of a call never leaves the database inconsistent, but
/// the outcome of a dropped write is unknown (P2).
#[async_trait]
pub trait SharedDatabase: Send + Sync + 'static {
    /// The id of the history that this database holds (P18).
    async fn incarnation(&self) -> StoreResult<StoreIncarnation>;

    // -- topology ---------------------------------------------------------------------------

    /// Creates all of these partitions or none. A partition that already exists with the same
    /// settings and members is no error; one that differs or overlaps is
    /// [`StoreError::Refused`](crate::StoreError).
    async fn create_partitions(&self, partitions: &[PartitionSpec]) -> StoreResult<()>;

    // -- ownership --------------------------------------------------------------------------

    /// Writes the node's heartbeat on a dedicated connection (P9). It fails with
    /// [`StoreError::Superseded`](crate::StoreError) when a newer incarnation has taken the node's
    /// name.
    async fn heartbeat(&self, beat: &NodeBeat) -> StoreResult<HeartbeatReply>;

    /// Reads one snapshot of nodes, partitions, the catalogue's version and the clock.
    async fn observe(&self) -> StoreResult<Observation>;

    /// Claims one partition by a compare-and-set on the epoch; `None` when the present epoch is not
    /// the one that the claim names. The call may wait for an append in flight; on PostgreSQL it
    /// ends a backend that blocks it for longer than a limit (P3).
    async fn claim(&self, claim: &Claim) -> StoreResult<Option<Claimed>>;

    /// Makes many claims in one call (P20); outcomes in the order of `claims`. The call waits for
    /// no row: a partition whose row another statement holds is
    /// [`Busy`](crate::ClaimOutcome::Busy), and the caller claims it with [`claim`](Self::claim).
    /// SQLite has one write lock for the whole file; there the call waits for that lock, and no
    /// partition is busy.
    ///
    /// The call fails with [`StoreError::Refused`](crate::StoreError), and claims nothing, when
    /// there are more than [`CLAIMS_MAX`](crate::CLAIMS_MAX) claims, when two claims name the same
    /// partition, or when a partition does not exist.
    async fn claim_many(&self, claims: &[Claim]) -> StoreResult<Vec<ClaimOutcome>>;

    /// Releases the partition for the member `to` (P13); `false` when epoch or claim are not the
    /// present ones. Without `to`, the partition has no owner afterwards.
    async fn release(
        &self,
        partition: PartitionId,
        epoch: Epoch,
        claim: ClaimId,
        to: Option<&NodeName>,
    ) -> StoreResult<bool>;

    /// Commits a write barrier (P17): a write that succeeds only while epoch, claim and the end of
    /// the log are as `held` says. After `true`, answers from state that the caller read before the
    /// call are valid: the state was not superseded, and it is of this history (P18).
    async fn barrier(&self, held: &OwnerToken) -> StoreResult<bool>;

    // -- pins and drains of operators (P13) ---------------------------------------------------

    /// Pins the partition to a member, above priorities, for a duration from now on by the
    /// database's clock. It replaces a previous pin. `None` clears the pin.
    async fn pin(
        &self,
        partition: PartitionId,
        pin: Option<(&NodeName, Duration)>,
    ) -> StoreResult<PinOutcome>;

    /// Stores or removes an operator's request to drain the node; `false` when no node of this name
    /// has written a heartbeat.
    async fn set_drained(&self, node: &NodeName, drained: bool) -> StoreResult<bool>;

    /// Forgets a node that was removed for good, and the request to drain it; observations no
    /// longer show it. `false` when there is no such node, or when its last heartbeat is less than
    /// a minute old by the database's clock. Its incarnations are kept: a superseded one stays
    /// superseded (P11). A later heartbeat of its newest incarnation, or of a new one, restores the
    /// node.
    async fn forget_node(&self, node: &NodeName) -> StoreResult<bool>;

    // -- the log ----------------------------------------------------------------------------

    /// Appends a segment under the fence (P1): the check and the write are atomic, under the lock
    /// of the partition's row.
    async fn append(&self, append: &AppendSegment) -> StoreResult<AppendOutcome>;

    /// Committed segments after `after`, in order: at most `bytes_max` bytes of bodies, but at
    /// least one segment if there is one.
    async fn read_segments(
        &self,
        partition: PartitionId,
        after: SegmentNumber,
        bytes_max: usize,
    ) -> StoreResult<Vec<SegmentRow>>;

    /// Committed segments after `after` that were appended with postings (P33), in order: at most
    /// `most` segments and [`POSTING_BYTES_MAX`](crate::POSTING_BYTES_MAX) bytes of bodies, but at
    /// least one segment if there is one and `most` is not zero.
    async fn posting_segments(
        &self,
        partition: PartitionId,
        after: SegmentNumber,
        most: usize,
    ) -> StoreResult<Vec<SegmentRow>>;

    // -- checkpoints ------------------------------------------------------------------------

    /// Inserts a part of a checkpoint. It has no effect until a manifest names it (P22). Writing
    /// the same part again is no error; other bytes under the same name are
    /// [`StoreError::Refused`](crate::StoreError).
    async fn put_checkpoint_part(
        &self,
        partition: PartitionId,
        part: &CheckpointPart,
    ) -> StoreResult<()>;

    /// Publishes a checkpoint under the fence (P22): `false` when epoch or claim are not the
    /// present ones, or when a checkpoint of this or a later segment was published. Afterwards it
    /// deletes all manifests but the two newest, and the parts that neither of these names.
    async fn publish_checkpoint(
        &self,
        manifest: &CheckpointManifest,
        epoch: Epoch,
        claim: ClaimId,
    ) -> StoreResult<bool>;

    /// The retained checkpoints, newest first.
    async fn checkpoints(&self, partition: PartitionId) -> StoreResult<Vec<CheckpointManifest>>;

    /// A part's bytes; `None` when there is no such part.
    async fn checkpoint_part(
        &self,
        partition: PartitionId,
        name: &str,
    ) -> StoreResult<Option<Bytes>>;

    // -- the catalogue (P36) ----------------------------------------------------------------

    /// Publishes a version of a plan or a table. The outcome depends on the database's clock and on
    /// the catalogue at the commit.
    async fn publish(&self, publish: &Publish) -> StoreResult<PublishOutcome>;

    /// The entries published after catalogue version `after`, in order and without gaps: at most
    /// `most` entries and [`CATALOGUE_BYTES_MAX`](crate::CATALOGUE_BYTES_MAX) bytes of bodies, but
    /// at least one entry if there is one and `most` is not zero. To read on, a caller passes the
    /// catalogue version of the last entry, until the answer is empty.
    async fn catalogue_since(&self, after: u64, most: usize) -> StoreResult<Vec<CatalogueEntry>>;

    /// The heads (versions without bodies) of one kind, or of one `id` of that kind, published
    /// after catalogue version `after`, in order, at most
    /// [`CATALOGUE_HEADS_MAX`](crate::CATALOGUE_HEADS_MAX). The call reads no body.
    async fn catalogue_heads(
        &self,
        kind: CatalogueKind,
        id: Option<&str>,
        after: u64,
    ) -> StoreResult<Vec<CatalogueHead>>;

    // -- identities (P28) -------------------------------------------------------------------

    /// Adds bindings to the history; each succeeds or fails by itself, and outcomes are in the
    /// order of `bindings`. Two spellings of an identity denote the same one
    /// ([`turnpike_types::Identity`]).
    async fn bind_identities(&self, bindings: &[Binding]) -> StoreResult<Vec<BindOutcome>>;

    /// Changes which accounts hold identities, in order. Each change succeeds or fails as a whole
    /// and independently of the others; outcomes are in the order of `changes`.
    async fn rebind_identities(&self, changes: &[Rebinding]) -> StoreResult<Vec<RebindOutcome>>;

    /// The histories of `identities`, in that order, and the histories of the prefixes that contain
    /// an address. The cost is at most one look-up per identity and per bound prefix length.
    async fn guide(&self, identities: &[String]) -> StoreResult<Vec<IdentityHistory>>;

    /// The version of the bindings and [`BindingsMark::guided_through`], read together. The version
    /// differs after each change that may invalidate an account found earlier by
    /// [`guide`](Self::guide): a binding that ends, a bound prefix, a bound address within a
    /// prefix.
    async fn bindings_mark(&self) -> StoreResult<BindingsMark>;

    /// Moves [`BindingsMark::guided_through`] forward to the database's clock, never back. Returns
    /// whether it was moved. If a change of bindings is in flight, the call waits for the change,
    /// or moves nothing.
    async fn advance_guided_through(&self) -> StoreResult<bool>;

    /// The bindings of an account, sorted by identity and start, at most `most`.
    async fn bindings_of(&self, account: AccountNumber, most: usize) -> StoreResult<Vec<Binding>>;

    // -- consumers (P38) --------------------------------------------------------------------

    /// Registers a consumer with a cursor at the beginning of every partition. Registering again
    /// keeps existing cursors and adds the partitions created since.
    async fn register_consumer(&self, name: &str) -> StoreResult<()>;

    /// A consumer's cursors, sorted by partition; empty if the consumer is not registered.
    async fn consumer(&self, name: &str) -> StoreResult<Vec<Consumer>>;

    /// Moves a cursor to `to` if it is exactly at `from` (P38).
    async fn acknowledge(&self, from: &Consumer, to: &Consumer) -> StoreResult<CursorAck>;
}
