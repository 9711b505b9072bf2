//! What goes into the shared database and comes out of it.

use bytes::Bytes;
use turnpike_types::{
    AccountNumber, AccountRange, ClaimId, Epoch, Incarnation, NodeName, PartitionId, Priority,
    SegmentHash, SegmentNumber, Timestamp,
};

/// Which history this database holds. A restore writes a new one (P18).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StoreIncarnation(pub u64);

/// A partition as it is created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionSpec {
    /// Its number.
    pub id: PartitionId,
    /// Its accounts; no other partition may overlap.
    pub range: AccountRange,
    /// How far back a record may start, in microseconds of logged time (P26).
    pub horizon_us: i64,
    /// A backfill's declaration: records are taken since this instant, whatever the horizon, and
    /// keys are complete since then (P26).
    pub accept_since: Option<Timestamp>,
    /// Who may serve it; priorities are unique (P12).
    pub members: Vec<Member>,
}

/// A node's place in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The node.
    pub node: NodeName,
    /// Its rank; larger wins.
    pub priority: Priority,
}

/// A partition as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionRow {
    /// As it was created; members sorted by falling priority.
    pub spec: PartitionSpec,
    /// The current epoch; [`Epoch::UNOWNED`] before the first claim.
    pub epoch: Epoch,
    /// Who claimed it last.
    pub owner: Option<(NodeName, Incarnation)>,
    /// The last claim.
    pub claim: ClaimId,
    /// Where the next append goes: segment number, and the hash it builds on.
    pub next: SegmentPosition,
    /// The owner gave it up for this member (P13); any claim clears it.
    pub released_to: Option<NodeName>,
    /// The newest segment with postings to other partitions' accounts (P33); zero when there never
    /// was one. A receiver whose cursor stands there has nothing to fetch.
    pub last_posting: SegmentNumber,
    /// How often it was claimed from an owner who had not given it up, halved every ten minutes
    /// since (P14), as of the observation's `now`.
    pub flaps: u32,
    /// Who should serve it whatever the priorities (P13), if that is in force at the observation's
    /// `now`.
    pub pin: Option<Pin>,
}

/// A wish that a member serve a partition whatever the priorities (P13).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// The member.
    pub member: NodeName,
    /// To just before this instant, by the database's clock.
    pub until: Timestamp,
}

/// What became of a wish to pin a partition, or to pin it no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinOutcome {
    /// It stands as it was asked.
    Pinned,
    /// That node is no member of the partition; what stood before stands.
    NotAMember,
    /// There is no such partition.
    NoSuchPartition,
}

/// The next segment's number and the hash of the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentPosition {
    /// The next segment's number.
    pub next: SegmentNumber,
    /// The hash of the last segment; zeros when there is none.
    pub last_hash: SegmentHash,
}

/// One try to become the owner.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The partition.
    pub partition: PartitionId,
    /// The epoch that the claimant saw; the claim fails when it has moved on.
    pub seen: Epoch,
    /// The claimant.
    pub node: NodeName,
    /// Its process start.
    pub incarnation: Incarnation,
    /// Random and new for each claim.
    pub claim: ClaimId,
    /// The owner did not give it up: the partition flaps (P14).
    pub forced: bool,
}

/// A claim that won.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The new epoch.
    pub epoch: Epoch,
    /// Where the log ends; the tail must be read up to here before serving (P1).
    pub position: SegmentPosition,
}

/// What became of one of many claims (P20).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimOutcome {
    /// The partition is ours.
    Won(Claimed),
    /// The epoch has moved on.
    Lost,
    /// Somebody holds the row at the moment, an append in flight most likely. A claim by itself
    /// waits for it, and ends it if it lasts too long (P3).
    Busy,
}

/// What an owner holds: the right, and the end of the log as it knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The partition.
    pub partition: PartitionId,
    /// Its epoch.
    pub epoch: Epoch,
    /// Its claim.
    pub claim: ClaimId,
    /// Where the next append would go.
    pub position: SegmentPosition,
}

/// One durable append.
#[derive(Clone, Debug)]
pub struct AppendSegment {
    /// The partition.
    pub partition: PartitionId,
    /// The owner's epoch.
    pub epoch: Epoch,
    /// The owner's claim.
    pub claim: ClaimId,
    /// This segment's number.
    pub segment: SegmentNumber,
    /// The hash that it builds on.
    pub prev_hash: SegmentHash,
    /// Its own hash.
    pub hash: SegmentHash,
    /// It holds postings to accounts of other partitions (P33): the log is the outbox, and this
    /// says where in it to look.
    pub has_postings: bool,
    /// Its bytes.
    pub body: Bytes,
}

/// What the fence said (P4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOutcome {
    /// Durable.
    Committed,
    /// Somebody else owns the partition now: stop, answer nothing.
    Fenced,
    /// The claim is ours, but the log ends earlier than we know: history was rolled back (P18).
    RolledBack,
    /// The claim is ours, but the log is ahead of us: an append whose outcome we never learned
    /// did commit (P2).
    Ahead,
}

/// One segment as it was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentRow {
    /// Its number.
    pub segment: SegmentNumber,
    /// The epoch under which it was appended.
    pub epoch: Epoch,
    /// The hash that it builds on.
    pub prev_hash: SegmentHash,
    /// Its own hash.
    pub hash: SegmentHash,
    /// Its bytes.
    pub body: Bytes,
}

/// What a node says of itself, each interval (P9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeBeat {
    /// The node.
    pub node: NodeName,
    /// Its process start.
    pub incarnation: Incarnation,
    /// Grows with each beat.
    pub counter: u64,
    /// Where fronts reach it: `host:port`.
    pub address: String,
    /// It is being emptied: it claims nothing (P13).
    pub draining: bool,
    /// What it serves, exactly, and whose owner tasks have ticked lately. What is read is sorted by
    /// partition.
    pub serving: Vec<Serving>,
    /// How far its warm copies of partitions are (P14). What is read is sorted by partition.
    pub following: Vec<Following>,
}

impl NodeBeat {
    /// The counter of a process's last beat: no later beat of its incarnation can pass it. To a
    /// reader that does not know this number it is one more beat. It fits into 63 bits, so that
    /// databases compare it as the largest.
    pub const GOODBYE: u64 = i64::MAX.cast_unsigned();

    /// Has the process ended in order (P11)? It writes no later beat.
    pub const fn is_goodbye(&self) -> bool {
        self.counter == Self::GOODBYE
    }

    /// Under which claim it says that it serves a partition, of a beat that was read.
    pub fn serves(&self, partition: PartitionId) -> Option<&Serving> {
        let place = self.serving.binary_search_by_key(&partition, |one| one.partition).ok()?;
        self.serving.get(place)
    }

    /// How far its warm copy of a partition is, of a beat that was read.
    pub fn copy_of(&self, partition: PartitionId) -> Option<&Following> {
        let place = self.following.binary_search_by_key(&partition, |one| one.partition).ok()?;
        self.following.get(place)
    }

    pub(crate) fn sorted(mut self) -> Self {
        self.serving.sort_unstable_by_key(|one| one.partition);
        self.following.sort_unstable_by_key(|one| one.partition);
        self
    }
}

/// A partition that a node says it serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serving {
    /// The partition.
    pub partition: PartitionId,
    /// Under this epoch.
    pub epoch: Epoch,
    /// Under this claim.
    pub claim: ClaimId,
}

/// How far a node's warm copy of a partition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Following {
    /// The partition.
    pub partition: PartitionId,
    /// The last segment that was applied; zero before the first.
    pub segment: SegmentNumber,
    /// Its hash: a copy of another history is not warm, however far it is (P18).
    pub hash: SegmentHash,
}

/// What a heartbeat comes back with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatReply {
    /// The database's clock.
    pub now: Timestamp,
    /// The catalogue's version (P36).
    pub catalogue_version: u64,
}

/// A node as the database shows it: the newest incarnation that beat under this name.
#[derive(Clone, Debug)]
pub struct NodeRow {
    /// What it said last.
    pub beat: NodeBeat,
    /// The database's time of the beat; for people only, never for a decision.
    pub beat_at: Timestamp,
    /// Somebody asked that it be emptied (P13); what it says itself is in its beat.
    pub drain_asked: bool,
}

/// Everything that a node or front decides by, read in one go.
#[derive(Clone, Debug)]
pub struct Observation {
    /// Every node that ever beat and was not forgotten.
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

/// Part of a checkpoint: an opaque blob with a name, written once, never changed, referred to by
/// one manifest or more (P22).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointPart {
    /// Unique within the partition; holds the segment number and the claim that wrote it.
    pub name: String,
    /// The segment that its content is as of. Pruning spares a part that is newer than the older
    /// retained checkpoint: its own manifest may not be published yet.
    pub segment: SegmentNumber,
    /// Its bytes.
    pub body: Bytes,
}

/// A checkpoint: derived state as of a segment (P22).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointManifest {
    /// The partition.
    pub partition: PartitionId,
    /// State as after this segment.
    pub segment: SegmentNumber,
    /// That segment's hash: a checkpoint of another history is not used (P18).
    pub hash: SegmentHash,
    /// Names of its parts, in order.
    pub parts: Vec<String>,
    /// What the writer wants to find again when it loads the parts: opaque.
    pub summary: Bytes,
}

/// An identity bound to an account for an interval (P28).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// `ip:…`, `user:…`, `tel:…`. Rows of older releases are spelled as they were typed then.
    pub identity: String,
    /// Whose it is.
    pub account: AccountNumber,
    /// From this instant.
    pub from: Timestamp,
    /// To just before this one; [`Timestamp::MAX`] while it stands.
    pub until: Timestamp,
}

/// What became of a binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BindOutcome {
    /// In the history.
    Bound,
    /// The account held the identity for the whole interval already.
    Already,
    /// This binding holds the identity for part of the interval.
    Taken(Binding),
}

/// A change of the account that holds an identity for an interval (P28).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rebinding {
    /// The account gets it, if no other holds it for part of the interval.
    Bind(Binding),
    /// The account gets it; whatever held it for part of the interval loses that part.
    Move {
        /// The account, the identity and the interval.
        binding: Binding,
        /// The history before this instant does not change any more.
        final_before: Timestamp,
    },
    /// The account no longer holds it in the interval.
    Release {
        /// The account, the identity and the interval.
        binding: Binding,
        /// The history before this instant does not change any more.
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

/// What became of a [`Rebinding`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RebindOutcome {
    /// Done. These parts of bindings are no longer held; their intervals lie in the one asked for.
    Changed(Vec<Binding>),
    /// It stands so already.
    Already,
    /// This binding holds the identity for part of the interval.
    Taken(Binding),
    /// The account does not hold the identity in the interval; this binding does, if any.
    NotHeld(Option<Binding>),
    /// This binding would lose an instant that is final.
    Final(Binding),
}

/// An identity's whole history, sorted by `from`; empty when it was never bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guided {
    /// Its own bindings. Intervals do not overlap.
    pub bindings: Vec<Binding>,
    /// Of an address or a prefix: the histories of the prefixes that hold it and were ever bound,
    /// longest first.
    pub prefixes: Vec<Vec<Binding>>,
}

/// A consumer's place in a partition's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumer {
    /// The consumer.
    pub name: String,
    /// The partition.
    pub partition: PartitionId,
    /// The segment of the last acknowledged row; zero before the first acknowledgement.
    pub segment: SegmentNumber,
    /// How many of that segment's rows are acknowledged.
    pub row: u64,
    /// The hash of that segment: another history is told apart by it (P18).
    pub hash: SegmentHash,
}

/// What became of an acknowledgement (P38).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CursorAck {
    /// The consumer's cursor stands there now.
    Moved,
    /// Somebody moved it in between; it stands here.
    Elsewhere(Consumer),
    /// No such consumer.
    Unknown,
}
