//! Who is alive, by our own clock (P10).
//!
//! An observer never compares clocks: it adds up how long a counter has stood still, and counts
//! only time between its own successful reads, of which each counts for two intervals at most. So
//! a database that stood still does not look like a dead cluster, and a slow one does not hide a
//! dead owner.
//!
//! A process that closed its connection and refuses the next one is believed dead at once (P15),
//! until it beats again: then it is not believed for a while, each time twice as long.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;
use turnpike_mutants::{Line, off};
use turnpike_store::{NodeBeat, NodeRow, Observation, PartitionRow};
use turnpike_types::{ClaimId, Epoch, Incarnation, NodeName, PartitionId, SegmentNumber};

use crate::NodeConfig;

/// Beats that a process may have written since its counter was last read, or have had on their way
/// when it ended.
const BEATS_ON_THE_WAY: u64 = 3;
/// After so many false alarms distrust grows no longer: some minutes.
const FALSE_ALARMS_MAX: u32 = 7;

/// What a front says of an owner that it can't reach (P16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Complaint {
    /// Whose owner it is.
    pub(crate) epoch: u64,
    /// It has been said for as long as a silence is suspect.
    pub(crate) insists: bool,
}

/// Segments that a copy may always lack, and is warm.
const LAG_MAX: u64 = 64;
/// Ends of a partition's log that are remembered at the most: looks may follow each other closely.
const ENDS_MAX: usize = 256;

/// What we saw of a node.
#[derive(Debug)]
struct Seen {
    incarnation: Incarnation,
    counter: u64,
    /// How long the counter has stood still.
    silent: Duration,
    /// How long it has moved without a pause.
    alive: Duration,
    /// It moved in the last read.
    moved: bool,
    /// The counter when its connection was found closed and refused.
    gone_at: Option<u64>,
    /// Alarms of that sort that were false, and until when none is believed.
    false_alarms: u32,
    distrusted_until: Option<Instant>,
}

impl Seen {
    /// It ended in order, or closed its connection and refused the next one.
    fn is_gone(&self, now: Option<Instant>) -> bool {
        if self.counter == NodeBeat::GOODBYE {
            return true;
        }
        let is_distrusted =
            self.distrusted_until.is_some_and(|until| now.is_some_and(|now| now < until));
        self.gone_at.is_some() && (!is_distrusted || off(Line::Distrust))
    }
}

/// What we saw of a partition's owner.
#[derive(Debug)]
struct Held {
    epoch: Epoch,
    claim: ClaimId,
    next: SegmentNumber,
    silent: Duration,
    /// Beats of the owner, since the claim was seen, that did not name the partition.
    disowned: u32,
}

/// Where a partition's log was seen to end lately, oldest first.
#[derive(Debug, Default)]
struct Ends(VecDeque<(Instant, SegmentNumber)>);

impl Ends {
    /// Takes in where it ends now; what is older than the newest look before `since` is forgotten.
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

/// What an observer knows of the others' signs of life.
#[derive(Debug)]
pub(crate) struct Liveness {
    suspicion: Duration,
    stability: Duration,
    counted_max: Duration,
    nodes: HashMap<NodeName, Seen>,
    partitions: HashMap<PartitionId, Held>,
    ends: HashMap<PartitionId, Ends>,
    /// Who can't be reached from here, and whether it could be before.
    unreachable: HashMap<NodeName, bool>,
    /// Of which owners fronts complain.
    complaints: HashMap<PartitionId, Complaint>,
    /// Whose partitions were taken over since fronts could not reach it.
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

    /// Takes in which processes closed their connection and refused the next one (P15).
    pub(crate) fn suspect(&mut self, gone: &HashMap<NodeName, Incarnation>, now: Instant) {
        for (node, seen) in &mut self.nodes {
            if gone.get(node) != Some(&seen.incarnation) || seen.counter == NodeBeat::GOODBYE {
                seen.gone_at = None;
                continue;
            }
            let is_distrusted = seen.distrusted_until.is_some_and(|until| now < until);
            let at = *seen.gone_at.get_or_insert(seen.counter);
            // A beat may have been on its way, or not been read yet, when the process ended.
            if seen.counter > at + BEATS_ON_THE_WAY && !is_distrusted {
                seen.false_alarms = (seen.false_alarms + 1).min(FALSE_ALARMS_MAX);
                seen.distrusted_until = Some(now + self.stability * (1 << seen.false_alarms));
            }
        }
    }

    /// Takes in whom we can't reach, and of which epochs' owners fronts complain that they can't
    /// either (P16).
    pub(crate) fn complain(
        &mut self,
        unreachable: HashMap<NodeName, bool>,
        complaints: HashMap<PartitionId, Complaint>,
    ) {
        self.cut_off.retain(|node| unreachable.contains_key(node));
        self.unreachable = unreachable;
        self.complaints = complaints;
    }

    /// A partition of this node is taken over since it is cut off from fronts.
    pub(crate) fn note_cut_off(&mut self, node: NodeName) {
        self.cut_off.insert(node);
    }

    /// Was a partition of the node taken over since fronts could not reach it, and is it still out of
    /// our reach?
    pub(crate) fn is_cut_off(&self, node: &NodeName) -> bool {
        self.cut_off.contains(node)
    }

    /// Is `owner` one that neither fronts nor we reach, each of whom may be cut off itself, though it
    /// beats? One that misses beats is not cut off but slow, and its silence is the measure. Where nodes
    /// never reach each other, we are no witness, and a front has to insist.
    pub(crate) fn is_complained_of(&self, row: &PartitionRow, owner: &NodeName) -> bool {
        let Some(complaint) = self.complaints.get(&row.spec.id) else { return false };
        let is_meant = complaint.epoch == row.epoch.number() && !off(Line::Complaint);
        let is_witnessed = match self.unreachable.get(owner) {
            Some(met) => *met || complaint.insists,
            None => off(Line::SecondWitness),
        };
        is_meant && is_witnessed && !self.is_quiet(owner)
    }

    /// Can't we reach the node?
    pub(crate) fn is_out_of_reach(&self, node: &NodeName) -> bool {
        self.unreachable.contains_key(node)
    }

    /// Takes in a successful read.
    pub(crate) fn observe(&mut self, seen: &Observation, now: Instant) {
        let since = self.last_read.map_or(Duration::ZERO, |last| now - last);
        let counted = if off(Line::ReadGaps) { since } else { since.min(self.counted_max) };
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

    /// A partition's owner gives a sign by naming it in a new beat, or by a commit (P9).
    fn observe_partition(&mut self, seen: &Observation, row: &PartitionRow, counted: Duration) {
        let named = self.names(seen, row);
        let next = if off(Line::CommitIsSign) { SegmentNumber(0) } else { row.next.next };
        let place = (row.epoch, row.claim, next);
        match self.partitions.get_mut(&row.spec.id) {
            Some(held) if (held.epoch, held.claim, held.next) == place => match named {
                Some(true) => (held.silent, held.disowned) = (Duration::ZERO, 0),
                Some(false) => {
                    held.silent += counted;
                    held.disowned += 1;
                }
                None => held.silent += counted,
            },
            _ => {
                let (epoch, claim, next) = place;
                let fresh = Held { epoch, claim, next, silent: Duration::ZERO, disowned: 0 };
                self.partitions.insert(row.spec.id, fresh);
            }
        }
    }

    /// Does the owner, in a new beat, say that it serves the partition under this very claim?
    /// `None`: there is no new beat.
    fn names(&self, seen: &Observation, row: &PartitionRow) -> Option<bool> {
        let (owner, incarnation) = row.owner.as_ref()?;
        let beat = seen.nodes.iter().map(|node| &node.beat).find(|beat| &beat.node == owner)?;
        let is_new = beat.incarnation == *incarnation
            && self.nodes.get(owner).is_some_and(|node| node.moved);
        is_new.then(|| {
            let named = beat.serves(row.spec.id);
            off(Line::NamedClaim)
                || named.is_some_and(|named| (named.epoch, named.claim) == (row.epoch, row.claim))
        })
    }

    /// Has the node moved its counter lately, and is its process not known to be gone?
    pub(crate) fn is_live(&self, node: &NodeName) -> bool {
        self.nodes.get(node).is_some_and(|seen| self.lives(seen))
    }

    fn lives(&self, seen: &Seen) -> bool {
        seen.silent < self.suspicion && !seen.is_gone(self.last_read)
    }

    /// Has the node missed a beat or more? Too little to suspect it, enough not to send anybody there.
    pub(crate) fn is_quiet(&self, node: &NodeName) -> bool {
        self.nodes.get(node).is_none_or(|seen| !self.lives(seen) || seen.silent >= self.counted_max)
    }

    /// How long the node has lived without a pause; `None` when it does not live.
    pub(crate) fn alive_for(&self, node: &NodeName) -> Option<Duration> {
        let seen = self.nodes.get(node)?;
        self.lives(seen).then_some(seen.alive)
    }

    /// Did this very process say goodbye, or close its connection and refuse the next one (P15)?
    pub(crate) fn is_gone(&self, owner: &NodeName, incarnation: Incarnation) -> bool {
        let seen = self.nodes.get(owner).filter(|seen| seen.incarnation == incarnation);
        seen.is_some_and(|seen| seen.is_gone(self.last_read))
    }

    /// Does the owner live, and say that it does not serve the partition? A claim makes its name
    /// known before it is made; so at the latest its second beat after the claim was seen names it.
    pub(crate) fn is_disowned(&self, partition: PartitionId) -> bool {
        let beats = if off(Line::TwoBeats) { 1 } else { 2 };
        self.partitions.get(&partition).is_some_and(|held| held.disowned >= beats)
    }

    /// Is another, newer process known under the owner's name (P11)?
    pub(crate) fn is_replaced(&self, owner: &NodeName, incarnation: Incarnation) -> bool {
        !off(Line::NewProcess)
            && self.nodes.get(owner).is_some_and(|seen| seen.incarnation != incarnation)
    }

    /// Does a copy up to `segment` need only the last few segments, or what was appended of late? By
    /// segments alone, a copy that keeps up with a quick log would look cold: what it says of itself
    /// is as old as its heartbeat.
    pub(crate) fn is_near(&self, partition: PartitionId, segment: SegmentNumber) -> bool {
        let Some(Ends(ends)) = self.ends.get(&partition) else { return false };
        let (Some((_, before)), Some((_, now))) = (ends.front(), ends.back()) else { return false };
        segment.next() >= (*before).min(SegmentNumber(now.0.saturating_sub(LAG_MAX)))
    }

    /// In how long some owner becomes suspect if it gives no sign until then; `None`: not within the
    /// next interval. By looks an interval apart it would be found out up to one too late.
    pub(crate) fn next_suspicion(&self, heartbeat: Duration) -> Option<Duration> {
        let left = self.partitions.values().map(|held| self.suspicion.saturating_sub(held.silent));
        left.filter(|left| !left.is_zero() && *left < heartbeat).min()
    }

    /// How long the partition's owner has given no sign.
    pub(crate) fn silence(&self, partition: PartitionId) -> Duration {
        self.partitions.get(&partition).map_or(Duration::ZERO, |held| held.silent)
    }
}
