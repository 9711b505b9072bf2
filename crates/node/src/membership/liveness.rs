//! Which nodes and owners are live, measured on the local clock (P10).
//!
//! An observer never compares clocks. It adds up how long a counter has not changed. The time
//! between two of its own successful reads counts for two intervals at most. So a stall of
//! the database makes no owner suspect, and a slow database does not hide a failed owner.
//!
//! A process that closed its connection and refuses the next one is suspected at once (P15). If it
//! writes a heartbeat nevertheless, the alarm was false. Such alarms are then ignored for a while,
//! which doubles with each false alarm.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;
use turnpike_mutants::{Check, off};
use turnpike_store::{NodeBeat, NodeRow, Observation, PartitionRow};
use turnpike_types::{ClaimId, Epoch, Incarnation, NodeName, PartitionId, SegmentNumber};

use crate::NodeConfig;

/// The maximum number of heartbeats that a process may have written since its counter was last
/// read, or had in flight when it exited.
const BEATS_ON_THE_WAY: u64 = 3;
/// The time for which alarms are ignored stops doubling after this many false alarms, at some
/// minutes.
const FALSE_ALARMS_MAX: u32 = 7;

/// A front's complaint that it can't reach the owner (P16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Complaint {
    /// The epoch of the owner that the front can't reach.
    pub(crate) epoch: u64,
    /// Whether the front has complained for the suspicion time or longer.
    pub(crate) insists: bool,
}

/// A replica that lacks at most this many segments always counts as warm.
const LAG_MAX: u64 = 64;
/// The maximum number of observed ends of a partition's log that are kept, since observations may
/// follow each other closely.
const ENDS_MAX: usize = 256;

/// The heartbeats of one node, as this node has observed them.
#[derive(Debug)]
struct Seen {
    incarnation: Incarnation,
    counter: u64,
    /// How long the counter has not advanced.
    silent: Duration,
    /// How long the counter has advanced without a suspect pause.
    alive: Duration,
    /// The counter advanced in the last read.
    moved: bool,
    /// The counter at the time when the node's connection was found closed and the next one
    /// refused.
    gone_at: Option<u64>,
    /// The number of false alarms about this node, and the time until which further ones are
    /// ignored.
    false_alarms: u32,
    distrusted_until: Option<Instant>,
}

impl Seen {
    /// The process stopped in order, or closed its connection and refused the next one.
    fn is_gone(&self, now: Option<Instant>) -> bool {
        if self.counter == NodeBeat::GOODBYE {
            return true;
        }
        let is_distrusted =
            self.distrusted_until.is_some_and(|until| now.is_some_and(|now| now < until));
        self.gone_at.is_some() && (!is_distrusted || off(Check::Distrust))
    }
}

/// The commits and heartbeats of the owner of one partition, as this node has observed them.
#[derive(Debug)]
struct ObservedOwner {
    epoch: Epoch,
    claim: ClaimId,
    next: SegmentNumber,
    silent: Duration,
    /// Heartbeats of the owner, since the claim was observed, that did not name the partition.
    disowned: u32,
}

/// The recently observed ends of a partition's log, oldest first.
#[derive(Debug, Default)]
struct Ends(VecDeque<(Instant, SegmentNumber)>);

impl Ends {
    /// Adds the present end. Of the ends that are at least `since` old, only the newest is kept.
    fn note(&mut self, now: Instant, since: Duration, next: SegmentNumber) {
        if self.0.back().is_some_and(|(_, last)| *last > next) {
            // The history was rolled back (P18).
            self.0.clear();
        }
        self.0.push_back((now, next));
        let is_old = |at: &(Instant, SegmentNumber)| now - at.0 >= since;
        while self.0.len() > ENDS_MAX || self.0.get(1).is_some_and(is_old) {
            self.0.pop_front();
        }
    }
}

/// The knowledge of an observer about the other nodes' heartbeats and commits.
#[derive(Debug)]
pub(crate) struct Liveness {
    suspicion: Duration,
    stability: Duration,
    counted_max: Duration,
    nodes: HashMap<NodeName, Seen>,
    partitions: HashMap<PartitionId, ObservedOwner>,
    ends: HashMap<PartitionId, Ends>,
    /// Nodes that are unreachable from here, and whether they were ever reached.
    unreachable: HashMap<NodeName, bool>,
    /// The complaints of fronts, by the partition whose owner they can't reach.
    complaints: HashMap<PartitionId, Complaint>,
    /// Nodes whose partitions were taken over because fronts could not reach them.
    cut_off: HashSet<NodeName>,
    last_read: Option<Instant>,
}

impl Liveness {
    pub(crate) fn new(config: &NodeConfig) -> Self {
        Self {
            suspicion: config.suspicion(),
            stability: config.stability(),
            counted_max: config.heartbeat * 2,
            nodes: HashMap::new(),
            partitions: HashMap::new(),
            ends: HashMap::new(),
            unreachable: HashMap::new(),
            complaints: HashMap::new(),
            cut_off: HashSet::new(),
            last_read: None,
        }
    }

    /// Records the processes that closed their connection and refused the next one (P15).
    pub(crate) fn suspect(&mut self, gone: &HashMap<NodeName, Incarnation>, now: Instant) {
        for (node, seen) in &mut self.nodes {
            if gone.get(node) != Some(&seen.incarnation) || seen.counter == NodeBeat::GOODBYE {
                seen.gone_at = None;
                continue;
            }
            let is_distrusted = seen.distrusted_until.is_some_and(|until| now < until);
            let at = *seen.gone_at.get_or_insert(seen.counter);
            // A heartbeat may have been in flight, or not been read yet, when the process exited.
            if seen.counter > at + BEATS_ON_THE_WAY && !is_distrusted {
                seen.false_alarms = (seen.false_alarms + 1).min(FALSE_ALARMS_MAX);
                seen.distrusted_until = Some(now + self.stability * (1 << seen.false_alarms));
            }
        }
    }

    /// Records the nodes that are unreachable from here, and the complaints of fronts that can't
    /// reach an owner (P16).
    pub(crate) fn complain(
        &mut self,
        unreachable: HashMap<NodeName, bool>,
        complaints: HashMap<PartitionId, Complaint>,
    ) {
        self.cut_off.retain(|node| unreachable.contains_key(node));
        self.unreachable = unreachable;
        self.complaints = complaints;
    }

    /// Records that a partition of `node` is taken over because fronts can't reach `node`.
    pub(crate) fn note_cut_off(&mut self, node: NodeName) {
        self.cut_off.insert(node);
    }

    /// Whether a partition of the node was taken over because fronts could not reach it, and the
    /// node is still unreachable from here.
    pub(crate) fn is_cut_off(&self, node: &NodeName) -> bool {
        self.cut_off.contains(node)
    }

    /// Whether neither fronts nor this node reach `owner` although it writes heartbeats. The front
    /// or this node may itself be cut off, so both must fail to reach the owner. An owner that
    /// misses heartbeats is slow rather than cut off, and only the length of its silence counts. If
    /// this node never had a connection to the owner, its failure proves little, and the front must
    /// have complained for the suspicion time.
    pub(crate) fn is_complained_of(&self, row: &PartitionRow, owner: &NodeName) -> bool {
        let Some(complaint) = self.complaints.get(&row.spec.id) else { return false };
        let is_meant = complaint.epoch == row.epoch.number() && !off(Check::Complaint);
        let is_witnessed = self.unreachable.get(owner).is_some_and(|met| *met || complaint.insists);
        is_meant && (is_witnessed || off(Check::SecondWitness)) && !self.is_quiet(owner)
    }

    /// Whether the node is unreachable from here.
    pub(crate) fn is_out_of_reach(&self, node: &NodeName) -> bool {
        self.unreachable.contains_key(node)
    }

    /// Updates the knowledge about nodes and partitions from a successful read of the database.
    pub(crate) fn observe(&mut self, seen: &Observation, now: Instant) {
        let since = self.last_read.map_or(Duration::ZERO, |last| now - last);
        let counted = if !off(Check::ReadGaps) { since.min(self.counted_max) } else { since };
        self.last_read = Some(now);
        for node in &seen.nodes {
            self.observe_node(node, counted);
        }
        for partition in &seen.partitions {
            self.observe_partition(seen, partition, counted);
            let ends = self.ends.entry(partition.spec.id).or_default();
            ends.note(now, self.suspicion, partition.next.next);
        }
    }

    fn observe_node(&mut self, node: &NodeRow, counted: Duration) {
        let beat = &node.beat;
        let fresh = Seen {
            incarnation: beat.incarnation,
            counter: beat.counter,
            silent: Duration::ZERO,
            alive: Duration::ZERO,
            moved: true,
            gone_at: None,
            false_alarms: 0,
            distrusted_until: None,
        };
        let seen = match self.nodes.get_mut(&beat.node) {
            Some(seen) if seen.incarnation == beat.incarnation => seen,
            _ => {
                self.nodes.insert(beat.node.clone(), fresh);
                return;
            }
        };
        seen.moved = seen.counter != beat.counter;
        if seen.moved {
            let paused = seen.silent >= self.suspicion;
            seen.alive = if paused { Duration::ZERO } else { seen.alive + counted };
            seen.counter = beat.counter;
            seen.silent = Duration::ZERO;
        } else {
            seen.alive += counted;
            seen.silent += counted;
        }
    }

    /// The owner is alive if a new heartbeat names the partition, or the log has grown (P9).
    fn observe_partition(&mut self, seen: &Observation, row: &PartitionRow, counted: Duration) {
        let named = self.names(seen, row);
        let (epoch, claim, next) = (row.epoch, row.claim, row.next.next);
        let is_unchanged = |held: &ObservedOwner| {
            (held.epoch, held.claim) == (epoch, claim)
                && (held.next == next || off(Check::CommitIsSign))
        };
        match self.partitions.get_mut(&row.spec.id) {
            Some(held) if is_unchanged(held) => match named {
                Some(true) => (held.silent, held.disowned) = (Duration::ZERO, 0),
                Some(false) => {
                    held.silent += counted;
                    held.disowned += 1;
                }
                None => held.silent += counted,
            },
            _ => {
                let fresh =
                    ObservedOwner { epoch, claim, next, silent: Duration::ZERO, disowned: 0 };
                self.partitions.insert(row.spec.id, fresh);
            }
        }
    }

    /// Whether a new heartbeat of the owner names the partition with this epoch and claim. `None`:
    /// there is no new heartbeat.
    fn names(&self, seen: &Observation, row: &PartitionRow) -> Option<bool> {
        let (owner, incarnation) = row.owner.as_ref()?;
        let beat = seen.nodes.iter().map(|node| &node.beat).find(|beat| &beat.node == owner)?;
        let is_new = beat.incarnation == *incarnation
            && self.nodes.get(owner).is_some_and(|node| node.moved);
        is_new.then(|| {
            let named = beat.serves(row.spec.id);
            off(Check::NamedClaim)
                || named.is_some_and(|named| (named.epoch, named.claim) == (row.epoch, row.claim))
        })
    }

    /// Whether the node's counter has advanced lately, and its process is not known to have exited.
    pub(crate) fn is_live(&self, node: &NodeName) -> bool {
        self.nodes.get(node).is_some_and(|seen| self.lives(seen))
    }

    fn lives(&self, seen: &Seen) -> bool {
        seen.silent < self.suspicion && !seen.is_gone(self.last_read)
    }

    /// Whether the node has missed a heartbeat. It is not suspect yet, but fronts are not referred
    /// to it.
    pub(crate) fn is_quiet(&self, node: &NodeName) -> bool {
        self.nodes.get(node).is_none_or(|seen| !self.lives(seen) || seen.silent >= self.counted_max)
    }

    /// How long the node has lived without a suspect pause; `None` when it is not live.
    pub(crate) fn alive_for(&self, node: &NodeName) -> Option<Duration> {
        let seen = self.nodes.get(node)?;
        self.lives(seen).then_some(seen.alive)
    }

    /// Whether this process stopped in order, or closed its connection and refused the next one
    /// (P15).
    pub(crate) fn is_gone(&self, owner: &NodeName, incarnation: Incarnation) -> bool {
        let seen = self.nodes.get(owner).filter(|seen| seen.incarnation == incarnation);
        seen.is_some_and(|seen| seen.is_gone(self.last_read))
    }

    /// Whether the owner is live and its heartbeats do not name the partition. A claimant's
    /// heartbeats name the partition before it claims, so at the latest the second heartbeat after
    /// the claim was observed names it.
    pub(crate) fn is_disowned(&self, partition: PartitionId) -> bool {
        self.partitions.get(&partition).is_some_and(|held| held.disowned >= 2)
    }

    /// Whether a newer process runs under the owner's name (P11).
    pub(crate) fn is_replaced(&self, owner: &NodeName, incarnation: Incarnation) -> bool {
        !off(Check::NewProcess)
            && self.nodes.get(owner).is_some_and(|seen| seen.incarnation != incarnation)
    }

    /// Whether a replica that ends at `segment` lacks only the last few segments, or only those
    /// appended within the suspicion time. The reported position of a replica is as old as its
    /// heartbeat: by the number of segments alone, a replica that keeps up with a fast log would
    /// not count as warm.
    pub(crate) fn is_near(&self, partition: PartitionId, segment: SegmentNumber) -> bool {
        let Some(Ends(ends)) = self.ends.get(&partition) else { return false };
        let (Some((_, before)), Some((_, now))) = (ends.front(), ends.back()) else { return false };
        segment.next() >= (*before).min(SegmentNumber(now.0.saturating_sub(LAG_MAX)))
    }

    /// The time until some owner becomes suspect if it stays silent; `None` if that is not within
    /// the next interval. Observations at fixed intervals would notice it up to one interval late.
    pub(crate) fn next_suspicion(&self, heartbeat: Duration) -> Option<Duration> {
        let left = self.partitions.values().map(|held| self.suspicion.saturating_sub(held.silent));
        left.filter(|left| !left.is_zero() && *left < heartbeat).min()
    }

    /// How long the partition's owner has been silent.
    pub(crate) fn silence(&self, partition: PartitionId) -> Duration {
        self.partitions.get(&partition).map_or(Duration::ZERO, |held| held.silent)
    }
}
