//! Who is alive, by our own clock (P10).
//!
//! An observer never compares clocks: it times how long a counter has stood still, and counts
//! only time between its own successful reads.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;
use turnpike_store::{NodeRow, Observation, PartitionRow};
use turnpike_types::{ClaimId, Epoch, Incarnation, NodeName, PartitionId, SegmentNumber};

/// What we saw of a node.
#[derive(Debug)]
struct Seen {
    incarnation: Incarnation,
    counter: u64,
    moved_at: Instant,
    /// Since when it has moved without a pause.
    alive_since: Instant,
}

/// What we saw of a partition's owner.
#[derive(Debug)]
struct Held {
    epoch: Epoch,
    claim: ClaimId,
    next: SegmentNumber,
    signed_at: Instant,
}

/// What an observer knows of the others' signs of life.
#[derive(Debug)]
pub(crate) struct Liveness {
    suspicion: Duration,
    nodes: HashMap<NodeName, Seen>,
    partitions: HashMap<PartitionId, Held>,
    last_read: Option<Instant>,
}

impl Liveness {
    pub(crate) fn new(suspicion: Duration) -> Self {
        Self { suspicion, nodes: HashMap::new(), partitions: HashMap::new(), last_read: None }
    }

    /// Takes in a successful read.
    pub(crate) fn observe(&mut self, seen: &Observation, now: Instant) {
        // After a gap in our own reading every clock starts anew: a database that stood still must
        // not look like a dead cluster.
        let gap = self.last_read.is_none_or(|last| now - last >= self.suspicion / 2);
        self.last_read = Some(now);
        if gap {
            self.nodes.values_mut().for_each(|node| node.moved_at = now);
            self.partitions.values_mut().for_each(|held| held.signed_at = now);
        }
        for node in &seen.nodes {
            self.observe_node(node, now);
        }
        for partition in &seen.partitions {
            self.observe_partition(seen, partition, now);
        }
    }

    fn observe_node(&mut self, node: &NodeRow, now: Instant) {
        let beat = &node.beat;
        let fresh = Seen {
            incarnation: beat.incarnation,
            counter: beat.counter,
            moved_at: now,
            alive_since: now,
        };
        let seen = self.nodes.entry(beat.node.clone()).or_insert(fresh);
        if seen.incarnation != beat.incarnation {
            *seen = Seen {
                incarnation: beat.incarnation,
                counter: beat.counter,
                moved_at: now,
                alive_since: now,
            };
        } else if seen.counter != beat.counter {
            if now - seen.moved_at >= self.suspicion {
                seen.alive_since = now;
            }
            seen.counter = beat.counter;
            seen.moved_at = now;
        }
    }

    /// A partition's owner gives a sign by naming it in its beat, or by a commit (P9).
    fn observe_partition(&mut self, seen: &Observation, row: &PartitionRow, now: Instant) {
        let named = self.names(seen, row);
        let held = self.partitions.entry(row.spec.id).or_insert(Held {
            epoch: row.epoch,
            claim: row.claim,
            next: row.next.next,
            signed_at: now,
        });
        let moved = (held.epoch, held.claim, held.next) != (row.epoch, row.claim, row.next.next);
        if moved || named {
            *held =
                Held { epoch: row.epoch, claim: row.claim, next: row.next.next, signed_at: now };
        }
    }

    /// Does the owner, in a new beat, say that it serves the partition under this very claim?
    fn names(&self, seen: &Observation, row: &PartitionRow) -> bool {
        let Some((owner, incarnation)) = &row.owner else { return false };
        let beat = seen.nodes.iter().map(|node| &node.beat).find(|beat| &beat.node == owner);
        beat.is_some_and(|beat| {
            beat.incarnation == *incarnation
                // A beat is a sign once: when its counter has moved.
                && self.nodes.get(owner).map(|node| node.moved_at) == self.last_read
                && beat.serving.iter().any(|serving| {
                    serving.partition == row.spec.id
                        && serving.epoch == row.epoch
                        && serving.claim == row.claim
                })
        })
    }

    /// Has the node moved its counter lately?
    pub(crate) fn is_live(&self, node: &NodeName, now: Instant) -> bool {
        self.nodes.get(node).is_some_and(|seen| now - seen.moved_at < self.suspicion)
    }

    /// How long the node has lived without a pause; `None` when it does not live.
    pub(crate) fn alive_for(&self, node: &NodeName, now: Instant) -> Option<Duration> {
        let seen = self.nodes.get(node)?;
        (now - seen.moved_at < self.suspicion).then(|| now - seen.alive_since)
    }

    /// Is another, newer process known under the owner's name (P11)?
    pub(crate) fn is_replaced(&self, owner: &NodeName, incarnation: Incarnation) -> bool {
        self.nodes.get(owner).is_some_and(|seen| seen.incarnation != incarnation)
    }

    /// How long the partition's owner has given no sign.
    pub(crate) fn silence(&self, partition: PartitionId, now: Instant) -> Duration {
        self.partitions.get(&partition).map_or(Duration::ZERO, |held| now - held.signed_at)
    }
}
