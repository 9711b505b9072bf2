//! Who is alive, by our own clock (P10).
//!
//! An observer never compares clocks: it adds up how long a counter has stood still, and counts
//! only time between its own successful reads, of which each counts for two intervals at most. So
//! a database that stood still does not look like a dead cluster, and a slow one does not hide a
//! dead owner.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;
use turnpike_store::{NodeRow, Observation, PartitionRow};
use turnpike_types::{ClaimId, Epoch, Incarnation, NodeName, PartitionId, SegmentNumber};

use crate::NodeConfig;

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
}

/// What we saw of a partition's owner.
#[derive(Debug)]
struct Held {
    epoch: Epoch,
    claim: ClaimId,
    next: SegmentNumber,
    silent: Duration,
}

/// What an observer knows of the others' signs of life.
#[derive(Debug)]
pub(crate) struct Liveness {
    suspicion: Duration,
    counted_max: Duration,
    nodes: HashMap<NodeName, Seen>,
    partitions: HashMap<PartitionId, Held>,
    last_read: Option<Instant>,
}

impl Liveness {
    pub(crate) fn new(config: &NodeConfig) -> Self {
        Self {
            suspicion: config.suspicion(),
            counted_max: config.heartbeat * 2,
            nodes: HashMap::new(),
            partitions: HashMap::new(),
            last_read: None,
        }
    }

    /// Takes in a successful read.
    pub(crate) fn observe(&mut self, seen: &Observation, now: Instant) {
        let since = self.last_read.map_or(Duration::ZERO, |last| now - last);
        let counted = since.min(self.counted_max);
        self.last_read = Some(now);
        for node in &seen.nodes {
            self.observe_node(node, counted);
        }
        for partition in &seen.partitions {
            self.observe_partition(seen, partition, counted);
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
        let fresh = Held {
            epoch: row.epoch,
            claim: row.claim,
            next: row.next.next,
            silent: Duration::ZERO,
        };
        match self.partitions.get_mut(&row.spec.id) {
            Some(held)
                if !named
                    && (held.epoch, held.claim, held.next)
                        == (row.epoch, row.claim, row.next.next) =>
            {
                held.silent += counted;
            }
            _ => {
                self.partitions.insert(row.spec.id, fresh);
            }
        }
    }

    /// Does the owner, in a new beat, say that it serves the partition under this very claim?
    fn names(&self, seen: &Observation, row: &PartitionRow) -> bool {
        let Some((owner, incarnation)) = &row.owner else { return false };
        let beat = seen.nodes.iter().map(|node| &node.beat).find(|beat| &beat.node == owner);
        beat.is_some_and(|beat| {
            beat.incarnation == *incarnation
                && self.nodes.get(owner).is_some_and(|node| node.moved)
                && beat.serving.iter().any(|serving| {
                    serving.partition == row.spec.id
                        && serving.epoch == row.epoch
                        && serving.claim == row.claim
                })
        })
    }

    /// Has the node moved its counter lately?
    pub(crate) fn is_live(&self, node: &NodeName) -> bool {
        self.nodes.get(node).is_some_and(|seen| seen.silent < self.suspicion)
    }

    /// How long the node has lived without a pause; `None` when it does not live.
    pub(crate) fn alive_for(&self, node: &NodeName) -> Option<Duration> {
        let seen = self.nodes.get(node)?;
        (seen.silent < self.suspicion).then_some(seen.alive)
    }

    /// Is another, newer process known under the owner's name (P11)?
    pub(crate) fn is_replaced(&self, owner: &NodeName, incarnation: Incarnation) -> bool {
        self.nodes.get(owner).is_some_and(|seen| seen.incarnation != incarnation)
    }

    /// How long the partition's owner has given no sign.
    pub(crate) fn silence(&self, partition: PartitionId) -> Duration {
        self.partitions.get(&partition).map_or(Duration::ZERO, |held| held.silent)
    }
}
