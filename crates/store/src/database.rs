//! The trait.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use turnpike_types::{AccountNumber, ClaimId, Epoch, NodeName, PartitionId, SegmentNumber};

use crate::{
    AppendOutcome, AppendSegment, BindOutcome, Binding, CatalogueEntry, CatalogueHead,
    CatalogueKind, CheckpointManifest, CheckpointPart, Claim, ClaimOutcome, Claimed, Consumer,
    CursorAck, Guided, HeartbeatReply, Held, NodeBeat, Observation, PartitionSpec, PinOutcome,
    Publish, PublishOutcome, RebindOutcome, Rebinding, SegmentRow, StoreIncarnation, StoreResult,
};

/// The shared database. Every call is cancel-safe for the database's consistency; a call that is
/// dropped half way has an unknown outcome (P2).
#[async_trait]
pub trait SharedDatabase: Send + Sync + 'static {
    /// Which history this database holds (P18).
    async fn incarnation(&self) -> StoreResult<StoreIncarnation>;

    // -- topology ---------------------------------------------------------------------------

    /// Creates partitions, all or none. Creating one again with the same range and members is no
    /// error; a differing or overlapping one is [`StoreError::Refused`](crate::StoreError).
    async fn create_partitions(&self, partitions: &[PartitionSpec]) -> StoreResult<()>;

    // -- ownership --------------------------------------------------------------------------

    /// Writes the node's heartbeat on a connection of its own (P9). A beat of an incarnation that
    /// was superseded under the same name is [`StoreError::Superseded`](crate::StoreError): another
    /// process has taken the name.
    async fn heartbeat(&self, beat: &NodeBeat) -> StoreResult<HeartbeatReply>;

    /// Reads what decisions are made by.
    async fn observe(&self) -> StoreResult<Observation>;

    /// One compare-and-set: `None` when the epoch has moved on. It may block behind an append in
    /// flight; it ends what blocks it for too long (P3).
    async fn claim(&self, claim: &Claim) -> StoreResult<Option<Claimed>>;

    /// As many claims at once (P20), outcomes in the order asked. It waits for nobody: a row that
    /// somebody holds is [`Busy`](crate::ClaimOutcome::Busy), and is left to [`claim`](Self::claim).
    /// On SQLite, where there is one lock for everything, it waits for that, and nothing is busy.
    ///
    /// More than [`CLAIMS_MAX`](crate::CLAIMS_MAX) of them, a partition that is named twice or is
    /// not there: [`StoreError::Refused`](crate::StoreError), and nothing is claimed.
    async fn claim_many(&self, claims: &[Claim]) -> StoreResult<Vec<ClaimOutcome>>;

    /// Gives the partition up for `to` (P13); `false` when epoch or claim are no longer ours.
    async fn release(
        &self,
        partition: PartitionId,
        epoch: Epoch,
        claim: ClaimId,
        to: Option<&NodeName>,
    ) -> StoreResult<bool>;

    /// A shared write barrier (P17): commits a write that succeeds only while epoch and claim are
    /// ours and the log ends where we know it to. `true`: whatever was read from our state before
    /// the call began was not superseded, and is of this history (P18).
    async fn barrier(&self, held: &Held) -> StoreResult<bool>;

    // -- what operators wish (P13) ------------------------------------------------------------

    /// Wishes that this member serve the partition for so long from now on, by the database's
    /// clock, whatever the priorities; a wish that stood before is replaced. `None`: no such wish
    /// any more.
    async fn pin(
        &self,
        partition: PartitionId,
        wish: Option<(&NodeName, Duration)>,
    ) -> StoreResult<PinOutcome>;

    /// Wishes that the node be emptied, or no longer; `false` when no such node ever beat.
    async fn set_drained(&self, node: &NodeName, drained: bool) -> StoreResult<bool>;

    /// Forgets a node that has gone for good, and the wish to empty it: observations show it no
    /// longer. `false` when there is none, or it beat within the last
    /// minute by the database's clock. Its incarnations stay remembered: a superseded one stays
    /// superseded (P11). Should it live after all, its next beat brings it back.
    async fn forget_node(&self, node: &NodeName) -> StoreResult<bool>;

    // -- the log ----------------------------------------------------------------------------

    /// The fenced append (P1): one autocommit statement that locks the partition row first.
    async fn append(&self, append: &AppendSegment) -> StoreResult<AppendOutcome>;

    /// Committed segments after `after`, in order, at most `bytes_max` of bodies but at least one
    /// if there is one.
    async fn read_segments(
        &self,
        partition: PartitionId,
        after: SegmentNumber,
        bytes_max: usize,
    ) -> StoreResult<Vec<SegmentRow>>;

    /// Committed segments after `after` that were appended with postings (P33), in order, at most
    /// `most` of them and [`POSTING_BYTES_MAX`](crate::POSTING_BYTES_MAX) of bodies, but at least
    /// one if there is one and `most` is not zero.
    async fn posting_segments(
        &self,
        partition: PartitionId,
        after: SegmentNumber,
        most: usize,
    ) -> StoreResult<Vec<SegmentRow>>;

    // -- checkpoints ------------------------------------------------------------------------

    /// Writes a part; insert-only, harmless until a manifest names it (P22). Writing the same
    /// name again with the same bytes is no error.
    async fn put_checkpoint_part(
        &self,
        partition: PartitionId,
        part: &CheckpointPart,
    ) -> StoreResult<()>;

    /// Publishes a checkpoint by one fenced, monotone statement (P22): `false` when epoch or claim
    /// are no longer ours, or a checkpoint of this or a later segment is there. Then forgets all
    /// manifests but the two newest, and the parts that none of them names.
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

    /// Publishes a version of a plan or a table. What it comes to is judged by the database's
    /// clock, and by the catalogue as it stands at the commit.
    async fn publish(&self, publish: &Publish) -> StoreResult<PublishOutcome>;

    /// What was published after catalogue version `after`, in order and without gaps, at most
    /// `most` entries and [`CATALOGUE_BYTES_MAX`](crate::CATALOGUE_BYTES_MAX) of bodies, but at
    /// least one if there is one and `most` is not zero. A reader asks again from the last one's
    /// catalogue version until nothing comes.
    async fn catalogue_since(&self, after: u64, most: usize) -> StoreResult<Vec<CatalogueEntry>>;

    /// The heads of one kind, of this id if one is named, published after catalogue version
    /// `after`, in order, at most [`CATALOGUE_HEADS_MAX`](crate::CATALOGUE_HEADS_MAX). No body is
    /// read.
    async fn catalogue_heads(
        &self,
        kind: CatalogueKind,
        id: Option<&str>,
        after: u64,
    ) -> StoreResult<Vec<CatalogueHead>>;

    // -- identities (P28) -------------------------------------------------------------------

    /// Adds bindings to the history, each by itself; outcomes in the order asked. Two spellings of
    /// one identity are one identity ([`turnpike_types::Identity`]).
    async fn bind_identities(&self, bindings: &[Binding]) -> StoreResult<Vec<BindOutcome>>;

    /// Changes which accounts hold identities, each by itself and all of it or nothing, in order; outcomes
    /// in the order asked.
    async fn rebind_identities(&self, changes: &[Rebinding]) -> StoreResult<Vec<RebindOutcome>>;

    /// What is known of `identities`, in the order asked: their histories, and those of the
    /// prefixes that hold an address. At most one look-up for each length that a bound prefix has.
    async fn guide(&self, identities: &[String]) -> StoreResult<Vec<Guided>>;

    /// A number that differs after each change by which an account that [`guide`](Self::guide) led
    /// to before may be wrong: a binding that ended, a prefix, an address inside of a prefix.
    async fn bindings_version(&self) -> StoreResult<u64>;

    /// The bindings of an account, sorted by identity and start, at most `most`.
    async fn bindings_of(&self, account: AccountNumber, most: usize) -> StoreResult<Vec<Binding>>;

    // -- consumers (P38) --------------------------------------------------------------------

    /// Registers a consumer with every partition that there is, at the beginning; registering
    /// again changes nothing, and adds partitions that came since.
    async fn register_consumer(&self, name: &str) -> StoreResult<()>;

    /// A consumer's cursors, sorted by partition; empty when it is not registered.
    async fn consumer(&self, name: &str) -> StoreResult<Vec<Consumer>>;

    /// Moves a cursor from exactly `from` to `to` (P38).
    async fn acknowledge(&self, from: &Consumer, to: &Consumer) -> StoreResult<CursorAck>;
}
