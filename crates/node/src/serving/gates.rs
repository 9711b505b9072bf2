//! The gates of partitions: whether this node takes requests for a partition, and otherwise the
//! node to which it refers them.
//!
//! A partition's gate is open while its owner serves. While a claim is in progress, or while the
//! owner finishes its last requests before a handover, new requests wait for a bounded time. So a
//! handover delays requests and refuses none (P13).

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};
use turnpike_proto::dial::Dial;
use turnpike_shares::queue::FairSender;
use turnpike_shares::{ClientKey, Shares};
use turnpike_store::Observation;
use turnpike_types::{AccountRange, Incarnation, NodeName, PartitionId};

use crate::NodeConfig;
use crate::membership::{Complaint, Reach};
use crate::owner::Queued;
use crate::shared::Shared;

/// The sender of an owner's queue of requests.
pub(crate) type OwnerQueue = FairSender<Queued>;

/// The state of a partition on this node, as requests find it.
#[derive(Clone, Debug, Default)]
pub(crate) enum Gate {
    /// This node neither serves the partition nor follows its log.
    #[default]
    Shut,
    /// This node does not serve the partition, but has a warm replica that follows the log.
    Warm,
    /// A claim is in progress, or the state is being loaded.
    Opening,
    /// This node serves the partition.
    Open(OwnerQueue),
    /// The owner finishes the requests that it took, and then releases the partition.
    Leaving,
    /// This node has released the partition, for this member if one is named.
    Left(Option<NodeName>),
}

impl Gate {
    /// From `Open` or `Opening`, which the owner has not left, to `Leaving`. Returns whether it has
    /// changed.
    fn begin_to_leave(&mut self) -> bool {
        let serves = matches!(self, Self::Open(_) | Self::Opening);
        if serves {
            *self = Self::Leaving;
        }
        serves
    }
}

/// The path by which a request reached this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestOrigin {
    /// The front sent the request here by its routing table.
    ByRoute,
    /// The last owner referred the front to this node.
    Referred,
    /// The front can't reach the owner of this epoch (P16).
    Complaining(u64),
    /// Another node relayed the request.
    Relayed,
}

/// The asker: the path by which the request came, and the client that is responsible for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    pub(crate) origin: RequestOrigin,
    pub(crate) client: ClientKey,
}

/// The parts of the node that the gRPC service needs.
pub(crate) struct Gates {
    pub(crate) config: NodeConfig,
    pub(crate) incarnation: Incarnation,
    /// The bytes of requests that may wait for owners, divided among clients.
    pub(crate) room: Arc<Shares>,
    pub(crate) shared: Arc<Shared>,
    /// Dials other nodes.
    pub(crate) dial: Dial,
    by_partition: Mutex<HashMap<PartitionId, watch::Sender<Gate>>>,
    seen: watch::Receiver<Option<Arc<Observation>>>,
    /// Counts the changes that watching nodes are notified of; `None` once the node stops.
    changes: watch::Sender<Option<u64>>,
    /// Nodes whose connection is broken or refused.
    reach: Reach,
    /// Complaints of fronts that can't reach the owner: its epoch, the first and the last
    /// complaint.
    complaints: Mutex<HashMap<PartitionId, (u64, Instant, Instant)>>,
    /// Nodes that have missed a heartbeat: fronts are not referred to them.
    quiet: Mutex<HashSet<NodeName>>,
    /// Makes the node observe the database at once.
    pub(crate) wake: Arc<Notify>,
}

impl Gates {
    pub(crate) fn new(
        shared: Arc<Shared>,
        incarnation: Incarnation,
        seen: watch::Receiver<Option<Arc<Observation>>>,
        wake: Arc<Notify>,
        dial: Dial,
        reach: Reach,
    ) -> Self {
        let config = shared.config.clone();
        Self {
            room: Shares::new(config.queue_bytes_max),
            config,
            incarnation,
            shared,
            dial,
            reach,
            complaints: Mutex::default(),
            by_partition: Mutex::default(),
            quiet: Mutex::default(),
            seen,
            changes: watch::channel(Some(0)).0,
            wake,
        }
    }

    /// The queue of the owner of `partition` in this process; `None` if it is not served here.
    /// While a claim or a handover is in progress, waits for the end of it for a bounded time.
    ///
    /// A front that the last owner referred here, or that can't reach the owner, may have newer
    /// information than this node. For such a front, the call also waits if this node has a warm
    /// replica.
    pub(crate) async fn owner_queue(
        &self,
        partition: PartitionId,
        origin: RequestOrigin,
    ) -> Option<OwnerQueue> {
        let mut gate = self.by_partition().get(&partition)?.subscribe();
        let began = Instant::now();
        loop {
            // A clone, so that the borrow is not held while other state is read.
            let now = gate.borrow_and_update().clone();
            let until = match now {
                Gate::Open(queue) => return Some(queue),
                Gate::Opening | Gate::Leaving => began + self.config.admission(),
                Gate::Warm if matches!(origin, RequestOrigin::Complaining(_)) => {
                    let RequestOrigin::Complaining(epoch) = origin else { return None };
                    if !self.complain(partition, epoch) {
                        return None;
                    }
                    began + self.config.admission()
                }
                Gate::Warm if origin == RequestOrigin::Referred => {
                    self.wake.notify_one();
                    // If the owner has missed heartbeats too, a takeover is likely: wait longer.
                    let is_known = !self.owner_address(partition).is_empty();
                    began + if is_known { self.config.heartbeat } else { self.config.admission() }
                }
                Gate::Shut | Gate::Warm | Gate::Left(_) => return None,
            };
            // Time-out, or the node has stopped: the partition is not served here.
            timeout_at(until, gate.changed()).await.ok()?.ok()?;
        }
    }

    /// Records a complaint. Returns `false` if this node reaches the owner: then no takeover
    /// follows, and the request need not wait for one.
    pub(crate) fn complain(&self, partition: PartitionId, epoch: u64) -> bool {
        let owner = self.seen.borrow().as_ref().and_then(|seen| {
            let row = seen.partition(partition)?;
            row.owner.as_ref().map(|(owner, _)| owner.clone())
        });
        let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match complaints.get_mut(&partition) {
            Some((known, _, last)) if *known == epoch => *last = now,
            // A complaint about an older epoch says nothing about the newer owner.
            Some((known, ..)) if *known > epoch => {}
            _ => drop(complaints.insert(partition, (epoch, now, now))),
        }
        drop(complaints);
        self.wake.notify_one();
        owner.is_none_or(|owner| self.is_quiet(&owner) || self.reach.is_unreachable(&owner))
    }

    /// The recent complaints of fronts, by partition.
    pub(crate) fn complaints(&self, now: Instant) -> HashMap<PartitionId, Complaint> {
        let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        // A complaint expires, since a front that is still without an answer complains again.
        let valid = self.config.suspicion() * 2;
        complaints.retain(|_, (_, _, last)| now.saturating_duration_since(*last) < valid);
        let insists = self.config.suspicion();
        let complaint = |&(epoch, first, last): &(u64, Instant, Instant)| Complaint {
            epoch,
            insists: last.saturating_duration_since(first) >= insists,
        };
        complaints.iter().map(|(&partition, said)| (partition, complaint(said))).collect()
    }

    /// The address of the partition's owner as last observed. Empty if it is unknown, or if the
    /// owner has missed a heartbeat.
    pub(crate) fn owner_address(&self, partition: PartitionId) -> String {
        let seen = self.seen.borrow();
        let address = seen.as_ref().and_then(|seen| {
            let row = seen.partition(partition)?;
            let owner = row.released_to.as_ref().or(row.owner.as_ref().map(|(owner, _)| owner))?;
            let owner =
                if *owner == self.config.name { self.left_to(partition)? } else { owner.clone() };
            let node = seen.nodes.iter().find(|node| node.beat.node == owner)?;
            let is_there = owner != self.config.name && !self.is_quiet(&owner);
            is_there.then(|| node.beat.address.clone())
        });
        address.unwrap_or_default()
    }

    /// The accounts of each partition, as last observed.
    pub(super) fn ranges(&self) -> Vec<(PartitionId, AccountRange)> {
        let seen = self.seen.borrow();
        let rows = seen.iter().flat_map(|seen| &seen.partitions);
        rows.map(|row| (row.spec.id, row.spec.range)).collect()
    }

    /// From now on fronts are not referred to these nodes.
    pub(crate) fn set_quiet<'a>(&self, nodes: impl Iterator<Item = &'a NodeName>) {
        let quiet = nodes.cloned().collect();
        *self.quiet.lock().unwrap_or_else(PoisonError::into_inner) = quiet;
    }

    fn is_quiet(&self, node: &NodeName) -> bool {
        self.quiet.lock().unwrap_or_else(PoisonError::into_inner).contains(node)
    }

    /// The member for which this node has just released the partition.
    fn left_to(&self, partition: PartitionId) -> Option<NodeName> {
        match &*self.by_partition().get(&partition)?.borrow() {
            Gate::Left(to) => to.clone(),
            _ => None,
        }
    }

    pub(crate) fn set(&self, partition: PartitionId, gate: Gate) {
        self.by_partition().entry(partition).or_default().send_replace(gate);
    }

    /// Lets new requests wait until the owner has released the partition. Returns `false` if the
    /// owner ended in between and has shut the gate: requests would wait for a release that never
    /// comes.
    pub(crate) fn begin_to_leave(&self, partition: PartitionId) -> bool {
        self.by_partition().entry(partition).or_default().send_if_modified(Gate::begin_to_leave)
    }

    /// Records that the partition was released for `to`. If a claim has started on this node since,
    /// the gate stays unchanged.
    pub(crate) fn leave(&self, partition: PartitionId, to: NodeName) {
        self.by_partition().entry(partition).or_default().send_if_modified(|gate| {
            let left = matches!(gate, Gate::Shut | Gate::Warm);
            if left {
                *gate = Gate::Left(Some(to));
            }
            left
        });
    }

    /// Whether the partition is served here.
    pub(crate) fn is_open(&self, partition: PartitionId) -> bool {
        let gates = self.by_partition();
        gates.get(&partition).is_some_and(|gate| matches!(*gate.borrow(), Gate::Open(_)))
    }

    /// Records whether a warm replica follows the partition. An owner's gate stays unchanged. After
    /// a release the gate stays `Left` until `moved_on`, that is, until another member has claimed
    /// the partition.
    pub(crate) fn set_warm(&self, partition: PartitionId, warm: bool, moved_on: bool) {
        self.by_partition().entry(partition).or_default().send_if_modified(|gate| {
            match (&gate, warm) {
                (Gate::Left(_), true) if !moved_on => false,
                (Gate::Shut | Gate::Left(_), true) => {
                    *gate = Gate::Warm;
                    true
                }
                (Gate::Warm, false) => {
                    *gate = Gate::Shut;
                    true
                }
                _ => false,
            }
        });
    }

    /// Notifies the nodes that watch this one of a change.
    pub(crate) fn notify_watchers(&self) {
        self.changes.send_modify(|count| *count = count.map(|count| count.wrapping_add(1)));
    }

    /// Notifies the nodes that watch this one that it stops.
    pub(crate) fn end_watches(&self) {
        self.changes.send_replace(None);
    }

    /// A receiver that is notified of each later change. Its value is `None` once the node stops.
    pub(crate) fn changes(&self) -> watch::Receiver<Option<u64>> {
        self.changes.subscribe()
    }

    fn by_partition(&self) -> MutexGuard<'_, HashMap<PartitionId, watch::Sender<Gate>>> {
        // No code panics while it holds this lock.
        self.by_partition.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An owner that ended has shut its gate. Behind a gate that stayed `Leaving`, requests would
    /// wait for a release that never comes.
    #[test]
    fn only_a_gate_that_its_owner_has_not_shut_begins_to_leave() {
        let (queue, _owner) = turnpike_shares::queue::fair_queue(1);
        for mut gate in [Gate::Open(queue), Gate::Opening] {
            assert!(gate.begin_to_leave() && matches!(gate, Gate::Leaving));
        }
        assert!(!Gate::Shut.begin_to_leave() && !Gate::Warm.begin_to_leave());
        let mut left = Gate::Left(None);
        assert!(!left.begin_to_leave() && matches!(left, Gate::Left(None)));
    }
}
