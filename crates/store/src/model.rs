//! Arguments and results of the shared database's calls.

use bytes::Bytes;
use turnpike_types::{
    AccountNumber, AccountRange, ClaimId, Epoch, Incarnation, NodeName, PartitionId, Priority,
    SegmentHash, SegmentNumber, Timestamp,
};

/// Identifies the history that this database holds. After a restore from a backup, a new number has
/// to be drawn (P18).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StoreIncarnation(pub u64);

/// The settings with which a partition is created; they do not change afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionSpec {
    /// The partition's number.
    pub id: PartitionId,
    /// The accounts of the partition; ranges of different partitions do not overlap.
    pub range: AccountRange,
    /// The greatest age of a record's start, in microseconds of logged time (P26).
    pub horizon_us: i64,
    /// Declares a backfill: records that start at or after this instant are accepted whatever the
    /// horizon, and all deduplication keys since then are kept (P26).
    pub accept_since: Option<Timestamp>,
    /// The nodes that may serve the partition; their priorities are unique (P12).
    pub members: Vec<Member>,
}

/// A node that may serve a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The node.
    pub node: NodeName,
    /// The node's priority; the larger one wins.
    pub priority: Priority,
}

/// The present state of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionRow {
    /// The settings from its creation; members are sorted by descending priority.
    pub spec: PartitionSpec,
    /// The current epoch; [`Epoch::UNOWNED`] before the first claim.
    pub epoch: Epoch,
    /// The node and the process start that made the last claim; `None` before the first claim and
    /// after a release without a target.
    pub owner: Option<(NodeName, Incarnation)>,
    /// The id of the last claim.
    pub claim: ClaimId,
    /// The end of the log: the number of the next segment, and the hash of the last one.
    pub next: SegmentPosition,
    /// The member for which the owner released the partition (P13); any claim clears it.
    pub released_to: Option<NodeName>,
    /// The newest segment with postings to accounts of other partitions (P33); zero when no segment
    /// had any. A receiver whose cursor is at this segment has nothing to fetch.
    pub last_posting: SegmentNumber,
    /// The number of claims from an owner that had not released the partition, halved every ten
    /// minutes since (P14), as of the observation's `now`.
    pub flaps: u32,
    /// The operator's pin, which ranks above priorities (P13), if it is in force at the
    /// observation's `now`.
    pub pin: Option<Pin>,
}

/// An operator's instruction that a member serve a partition; it ranks above priorities (P13).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// The member.
    pub member: NodeName,
    /// The end of the pin, exclusive, by the database's clock.
    pub until: Timestamp,
}

/// The outcome of setting or clearing a pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinOutcome {
    /// The pin was set or cleared as asked.
    Pinned,
    /// The node is no member of the partition; the previous pin is unchanged.
    NotAMember,
    /// The partition does not exist.
    NoSuchPartition,
}

/// The end of a log: the number of the next segment and the hash of the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentPosition {
    /// The next segment's number.
    pub next: SegmentNumber,
    /// The hash of the last segment; zeros while the log is empty.
    pub last_hash: SegmentHash,
}

/// A node's attempt to become the owner of a partition.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The partition.
    pub partition: PartitionId,
    /// The epoch that the claimant has read; the claim loses when the present epoch differs.
    pub seen: Epoch,
    /// The claimant.
    pub node: NodeName,
    /// The claimant's process start.
    pub incarnation: Incarnation,
    /// A random id, drawn anew for each claim.
    pub claim: ClaimId,
    /// The owner did not release the partition, so that the claim counts as a flap (P14).
    pub forced: bool,
}

/// The result of a claim that won.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The new epoch.
    pub epoch: Epoch,
    /// The end of the log. The new owner reads the log up to here before it serves (P1).
    pub position: SegmentPosition,
}

/// The outcome of one claim in a call of many (P20).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimOutcome {
    /// The claimant owns the partition.
    Won(Claimed),
    /// The present epoch is not the one that the claim names.
    Lost,
    /// Another statement holds the partition's row, most likely an append in flight. A claim of
    /// this partition alone waits for that statement, and ends its backend after a limit (P3).
    Busy,
}

/// An owner's fencing token and the end of the log as the owner knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnerToken {
    /// The partition.
    pub partition: PartitionId,
    /// The owner's epoch.
    pub epoch: Epoch,
    /// The id of the owner's claim.
    pub claim: ClaimId,
    /// The end of the log; the next append goes here.
    pub position: SegmentPosition,
}

/// A segment to append, and the fence under which it may be appended.
#[derive(Clone, Debug)]
pub struct AppendSegment {
    /// The partition.
    pub partition: PartitionId,
    /// The owner's epoch.
    pub epoch: Epoch,
    /// The id of the owner's claim.
    pub claim: ClaimId,
    /// This segment's number.
    pub segment: SegmentNumber,
    /// The hash of the preceding segment.
    pub prev_hash: SegmentHash,
    /// This segment's hash.
    pub hash: SegmentHash,
    /// Whether the segment holds postings to accounts of other partitions (P33). The log is the
    /// outbox: receivers read only segments with this flag.
    pub has_postings: bool,
    /// This segment's bytes.
    pub body: Bytes,
}

/// The outcome of an append, as the fence classifies it (P4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOutcome {
    /// The segment is durable.
    Committed,
    /// Another claim owns the partition. The caller stops and sends no answers.
    Fenced,
    /// The claim is the present one, but the log ends earlier than the owner knows, or with another
    /// hash: the database's history was rolled back (P18).
    RolledBack,
    /// The claim is the present one, but the log ends later than the owner knows: an earlier append
    /// of unknown outcome has committed (P2).
    Ahead,
}

/// A committed segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentRow {
    /// The segment's number.
    pub segment: SegmentNumber,
    /// The epoch under which it was appended.
    pub epoch: Epoch,
    /// The hash of the preceding segment.
    pub prev_hash: SegmentHash,
    /// The segment's hash.
    pub hash: SegmentHash,
    /// The segment's bytes.
    pub body: Bytes,
}

/// A heartbeat: the state that a node reports once per heartbeat interval (P9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeBeat {
    /// The node.
    pub node: NodeName,
    /// The node's process start.
    pub incarnation: Incarnation,
    /// Grows with each heartbeat.
    pub counter: u64,
    /// The address at which fronts reach the node: `host:port`.
    pub address: String,
    /// The node is draining and claims no partition (P13).
    pub draining: bool,
    /// Exactly the partitions that the node serves and whose owner task has run lately. A heartbeat
    /// that was read from the database lists them by ascending partition.
    pub serving: Vec<Serving>,
    /// The position of each warm replica on the node (P14). A heartbeat that was read from the
    /// database lists them by ascending partition.
    pub following: Vec<Following>,
}

impl NodeBeat {
    /// The counter of the last heartbeat that a process writes when it shuts down. No later
    /// heartbeat of the same incarnation has a larger counter. A reader of an older release treats
    /// it as an ordinary heartbeat. It fits into 63 bits, so that the databases, which compare
    /// signed numbers, order it last.
    pub const GOODBYE: u64 = i64::MAX.cast_unsigned();

    /// Whether the process has shut down (P11); it writes no later heartbeat.
    pub const fn is_goodbye(&self) -> bool {
        self.counter == Self::GOODBYE
    }

    /// The claim under which the node serves `partition`. The heartbeat must have been read from
    /// the database: the search needs the sorted list.
    pub fn serves(&self, partition: PartitionId) -> Option<&Serving> {
        let place = self.serving.binary_search_by_key(&partition, |one| one.partition).ok()?;
        self.serving.get(place)
    }

    /// The position of the node's warm replica of `partition`. The heartbeat must have been read
    /// from the database: the search needs the sorted list.
    pub fn replica_of(&self, partition: PartitionId) -> Option<&Following> {
        let place = self.following.binary_search_by_key(&partition, |one| one.partition).ok()?;
        self.following.get(place)
    }

    pub(crate) fn sorted(mut self) -> Self {
        self.serving.sort_unstable_by_key(|one| one.partition);
        self.following.sort_unstable_by_key(|one| one.partition);
        self
    }
}

/// A partition that a node reports to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serving {
    /// The partition.
    pub partition: PartitionId,
    /// The epoch under which the node serves it.
    pub epoch: Epoch,
    /// The claim under which the node serves it.
    pub claim: ClaimId,
}

/// The position of a node's warm replica of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Following {
    /// The partition.
    pub partition: PartitionId,
    /// The last segment that the replica has applied; zero before the first.
    pub segment: SegmentNumber,
    /// That segment's hash. A replica of another history is not warm, whatever its segment (P18).
    pub hash: SegmentHash,
}

/// The database's answer to a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatReply {
    /// The database's clock.
    pub now: Timestamp,
    /// The catalogue's version (P36).
    pub catalogue_version: u64,
}

/// A node as the database holds it: the newest incarnation that wrote a heartbeat under this name.
#[derive(Clone, Debug)]
pub struct NodeRow {
    /// The node's last heartbeat.
    pub beat: NodeBeat,
    /// The database's time of the heartbeat. It is for display; no decision uses it (P10).
    pub beat_at: Timestamp,
    /// Whether an operator asked to drain the node (P13). The heartbeat says whether it is
    /// draining.
    pub drain_asked: bool,
}

/// The input of a node's and a front's decisions, read as one snapshot.
#[derive(Clone, Debug)]
pub struct Observation {
    /// Every node that has written a heartbeat and was not forgotten since.
    pub nodes: Vec<NodeRow>,
    /// Every partition, sorted by id.
    pub partitions: Vec<PartitionRow>,
    /// The catalogue's version.
    pub catalogue_version: u64,
    /// The database's clock.
    pub now: Timestamp,
}

impl Observation {
    /// The row of a partition.
    pub fn partition(&self, id: PartitionId) -> Option<&PartitionRow> {
        let place = self.partitions.binary_search_by_key(&id, |row| row.spec.id).ok()?;
        self.partitions.get(place)
    }
}

/// Part of a checkpoint: opaque bytes under a name. A part is written once and never changed; one
/// manifest or more refer to it (P22).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointPart {
    /// Unique within the partition; holds the segment number and the claim that wrote it.
    pub name: String,
    /// The last segment that the content covers. Pruning keeps a part that is newer than the older
    /// retained checkpoint, because the manifest of that part may not be published yet.
    pub segment: SegmentNumber,
    /// The part's bytes.
    pub body: Bytes,
}

/// A checkpoint: the state derived from the log up to a segment (P22).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointManifest {
    /// The partition.
    pub partition: PartitionId,
    /// The last segment that the state covers.
    pub segment: SegmentNumber,
    /// That segment's hash. A checkpoint of another history is not used (P18).
    pub hash: SegmentHash,
    /// The names of the checkpoint's parts, in order.
    pub parts: Vec<String>,
    /// Opaque bytes that the writer needs when it loads the parts again.
    pub summary: Bytes,
}

/// A binding of an identity to an account for an interval (P28).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// `ip:…`, `user:…`, `tel:…`. Rows of older releases keep the spelling that was typed.
    pub identity: String,
    /// The account that holds the identity.
    pub account: AccountNumber,
    /// The start of the interval, inclusive.
    pub from: Timestamp,
    /// The end of the interval, exclusive; [`Timestamp::MAX`] while no end is known.
    pub until: Timestamp,
}

/// The outcome of adding a binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BindOutcome {
    /// The binding was added to the history.
    Bound,
    /// The account already holds the identity for the whole interval.
    Already,
    /// This binding already holds the identity for part of the interval.
    Taken(Binding),
    /// The identity has the maximum number of bindings, those that were taken away included.
    Full,
}

/// A change of the account that holds an identity for an interval (P28).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rebinding {
    /// Binds the identity to the account if no other account holds it for part of the interval.
    Bind(Binding),
    /// Binds the identity to the account; existing bindings lose their part of the interval.
    Move {
        /// The account, the identity and the interval.
        binding: Binding,
        /// Before this instant the history is final: a change of it is refused.
        final_before: Timestamp,
    },
    /// Takes the identity from the account for the interval.
    Release {
        /// The account, the identity and the interval.
        binding: Binding,
        /// Before this instant the history is final: a change of it is refused.
        final_before: Timestamp,
    },
}

impl Rebinding {
    /// The account, the identity and the interval.
    pub const fn binding(&self) -> &Binding {
        match self {
            Self::Bind(binding) | Self::Move { binding, .. } | Self::Release { binding, .. } => {
                binding
            }
        }
    }
}

/// The outcome of a [`Rebinding`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RebindOutcome {
    /// The change was made. It removed these parts of bindings, all within the interval asked for.
    Changed(Vec<Binding>),
    /// The history already has the requested state.
    Already,
    /// This binding already holds the identity for part of the interval.
    Taken(Binding),
    /// The account does not hold the identity in the interval. Names the binding of the account
    /// that does, if any.
    NotHeld(Option<Binding>),
    /// The change would take a final instant from this binding.
    Final(Binding),
    /// The identity has the maximum number of bindings, those that were taken away included.
    Full,
}

/// The state of the bindings that a front compares before it uses an earlier look-up (P28).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BindingsMark {
    /// Differs after each change that may invalidate an account that a look-up returned.
    pub version: u64,
    /// An instant of the database's clock, which never goes back. Look-ups that are made after this
    /// value was read are valid for records that start up to a fixed time after this instant. Every
    /// change that `version` does not include is recorded at this instant or later.
    pub guided_through: Timestamp,
}

/// An identity's whole history, sorted by `from`; empty if the identity was never bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentityHistory {
    /// The identity's own bindings. Their intervals do not overlap.
    pub bindings: Vec<Binding>,
    /// For an address or a prefix: the histories of the bound prefixes that contain it, longest
    /// prefix first.
    pub prefixes: Vec<Vec<Binding>>,
    /// The intervals for which look-ups once found one account, and later another account or none;
    /// each with the account that was found first. A record that starts in such an interval may
    /// have been rated for that account. The intervals are sorted and do not overlap.
    pub first_holders: Vec<Binding>,
}

/// A consumer's cursor in a partition's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumer {
    /// The consumer.
    pub name: String,
    /// The partition.
    pub partition: PartitionId,
    /// The segment of the last acknowledged row; zero before the first acknowledgement.
    pub segment: SegmentNumber,
    /// The number of that segment's rows that are acknowledged.
    pub row: u64,
    /// The hash of that segment; it differs in another history (P18).
    pub hash: SegmentHash,
}

/// The outcome of an acknowledgement (P38).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CursorAck {
    /// The cursor was moved.
    Moved,
    /// The cursor was not at `from`. This is its present position.
    Elsewhere(Consumer),
    /// The consumer is not registered for the partition.
    Unknown,
}
