//! The topology: partitions with their members, and the requests of operators. An observation reads
//! it together with the nodes and the owners.

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use turnpike_types::{
    AccountRange, ClaimId, Epoch, Incarnation, NodeName, PartitionId, Priority, SegmentNumber,
    Timestamp, capped, text,
};

use crate::{NodeBeat, SegmentPosition, StoreError, StoreResult};

/// A node whose last heartbeat is younger than this, in microseconds, is not forgotten.
pub(crate) const FORGET_AFTER_US: i64 = 60 * 1_000_000;

/// Partitions, observations of the cluster, and the requests of operators (P13).
#[async_trait]
pub trait TopologyStore: Send + Sync + 'static {
    /// The id of the history that this database holds (P18).
    async fn incarnation(&self) -> StoreResult<StoreIncarnation>;

    /// Creates all of these partitions or none. A partition that already exists with the same
    /// settings and members is no error; one that differs or overlaps is
    /// [`StoreError::Refused`](crate::StoreError).
    async fn create_partitions(&self, partitions: &[PartitionSpec]) -> StoreResult<()>;

    /// Reads one snapshot of nodes, partitions, the catalogue's version and the clock.
    async fn observe(&self) -> StoreResult<Observation>;

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
}

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

/// The partitions of `asked` that do not exist yet, members sorted by descending priority.
///
/// # Errors
/// `Refused`, naming both, when a partition differs from an existing one of its number or overlaps
/// one; `Refused` when it is malformed (P12).
pub(crate) fn new_partitions(
    existing: &[PartitionSpec],
    asked: &[PartitionSpec],
) -> StoreResult<Vec<PartitionSpec>> {
    let mut all = existing.to_vec();
    let mut new = Vec::new();
    for spec in asked {
        let mut spec = spec.clone();
        spec.members.sort_by_key(|member| std::cmp::Reverse(member.priority));
        check_members(&spec)?;
        match all.iter().find(|other| other.id == spec.id || other.range.overlaps(spec.range)) {
            Some(other) if *other == spec => {}
            Some(other) if other.id == spec.id => {
                return Err(StoreError::Refused(format!(
                    "partition {} already exists, with accounts {} and other settings or members; \
                     a partition does not change once it is created",
                    spec.id, other.range
                )));
            }
            Some(other) => {
                return Err(StoreError::Refused(format!(
                    "partition {} (accounts {}) overlaps partition {} (accounts {})",
                    spec.id, spec.range, other.id, other.range
                )));
            }
            None => {
                all.push(spec.clone());
                new.push(spec);
            }
        }
    }
    Ok(new)
}

fn check_members(spec: &PartitionSpec) -> StoreResult<()> {
    let refuse = |why: String| Err(StoreError::Refused(format!("partition {}: {why}", spec.id)));
    if spec.horizon_us < 0 {
        return refuse(format!("a horizon of {} us is negative", spec.horizon_us));
    }
    let mut names = HashSet::new();
    for member in &spec.members {
        if let Err(why) = text::NODE.check(&member.node.0) {
            return refuse(why.to_string());
        }
        if !names.insert(&member.node) {
            return refuse(format!("{} is named twice as its member", member.node));
        }
    }
    for pair in spec.members.windows(2) {
        if let [a, b] = pair
            && a.priority == b.priority
        {
            return refuse(format!(
                "{} and {} both have priority {}; priorities are unique within a partition",
                a.node, b.node, a.priority
            ));
        }
    }
    Ok(())
}

/// The pin, if it is in force at `now`.
pub(crate) fn pin_in_force(pin: Option<Pin>, now: Timestamp) -> Option<Pin> {
    pin.filter(|pin| now < pin.until)
}

/// The outcome of setting or clearing a pin when the statement changed no row. `partitions` counts
/// the partitions of that number, zero or one. Clearing a pin that does not exist succeeds.
pub(crate) const fn not_pinned(partitions: i64, names_a_member: bool) -> PinOutcome {
    match (partitions, names_a_member) {
        (0, _) => PinOutcome::NoSuchPartition,
        (_, true) => PinOutcome::NotAMember,
        (_, false) => PinOutcome::Pinned,
    }
}

/// A duration in microseconds, capped so that adding it to a present-day instant does not overflow.
pub(crate) fn duration_us(duration: Duration) -> i64 {
    capped::<i64>(duration.as_micros()).min(i64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_in_force_to_just_before_its_end() {
        let pin = || Some(Pin { member: NodeName("a".to_owned()), until: Timestamp(5) });
        assert_eq!(pin_in_force(pin(), Timestamp(4)), pin());
        assert_eq!(pin_in_force(pin(), Timestamp(5)), None);
    }
}
