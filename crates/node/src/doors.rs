//! How requests reach owners, and where they are sent when the owner is elsewhere.
//!
//! A partition's gate is open while its owner serves. While it is about to open (a claim is under
//! way) or about to shut (the last requests before a handover), requests wait for a bounded time:
//! then a handover delays them, and refuses none (P13).

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::time::{Instant, timeout_at};
use turnpike_proto::dial::Dial;
use turnpike_store::Observation;
use turnpike_types::{Incarnation, NodeName, PartitionId};

use crate::NodeConfig;
use crate::liveness::Complaint;
use crate::owner::{Queued, Shared};
use crate::peers::Reach;

/// How requests reach an owner.
pub(crate) type Door = mpsc::Sender<Queued>;

/// What a partition's requests meet here.
#[derive(Clone, Debug, Default)]
pub(crate) enum Gate {
    /// Not served here.
    #[default]
    Shut,
    /// Not served here, but followed.
    Warm,
    /// A claim is under way, or the state is being loaded.
    Opening,
    /// Served here.
    Open(Door),
    /// The owner finishes what it took, and gives the partition up.
    Leaving,
    /// Given up, for this member.
    Left(Option<NodeName>),
}

/// How a request comes here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// By a front's routes.
    ByRoute,
    /// The last owner sent it.
    Sent,
    /// The front can't reach the owner of this epoch (P16).
    Complaining(u64),
    /// Through another node.
    Relayed,
}

/// What the service needs of the node.
pub(crate) struct Doors {
    pub(crate) config: NodeConfig,
    pub(crate) incarnation: Incarnation,
    /// Bytes that may wait for owners.
    pub(crate) room: Arc<Semaphore>,
    pub(crate) shared: Arc<Shared>,
    /// How other nodes are reached.
    pub(crate) dial: Dial,
    gates: Mutex<HashMap<PartitionId, watch::Sender<Gate>>>,
    seen: watch::Receiver<Option<Arc<Observation>>>,
    /// Counts signs to those who watch; `None` when there will be no more.
    signs: watch::Sender<Option<u64>>,
    /// Which connections to other nodes are in trouble.
    reach: Reach,
    /// Fronts that can't reach the owner of an epoch: when they said so first, and last.
    complaints: Mutex<HashMap<PartitionId, (u64, Instant, Instant)>>,
    /// Nodes that have missed a beat: nobody is sent there.
    quiet: Mutex<HashSet<NodeName>>,
    /// Makes the node look at the database now.
    pub(crate) wake: Arc<Notify>,
}

impl Doors {
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
            room: Arc::new(Semaphore::new(config.queue_bytes_max)),
            config,
            incarnation,
            shared,
            dial,
            reach,
            complaints: Mutex::default(),
            gates: Mutex::default(),
            quiet: Mutex::default(),
            seen,
            signs: watch::channel(Some(0)).0,
            wake,
        }
    }

    /// The owner of `partition` in this process. Waits, for a bounded time, while that is about to
    /// change; `None`: it is not served here.
    ///
    /// Who was sent here by the last owner, or can't reach it, may know more than we do: then a warm copy
    /// is a reason to wait too.
    pub(crate) async fn door(&self, partition: PartitionId, came: Came) -> Option<Door> {
        let mut gate = self.gates().get(&partition)?.subscribe();
        let began = Instant::now();
        loop {
            // A copy: nothing is held while others are asked.
            let now = gate.borrow_and_update().clone();
            let until = match now {
                Gate::Open(door) => return Some(door),
                Gate::Opening | Gate::Leaving => began + self.config.admission(),
                Gate::Warm if matches!(came, Came::Complaining(_)) => {
                    let Came::Complaining(epoch) = came else { return None };
                    if !self.complain(partition, epoch) {
                        return None;
                    }
                    began + self.config.admission()
                }
                Gate::Warm if came == Came::Sent => {
                    self.wake.notify_one();
                    // Where the owner is quiet too, it will most likely be taken over.
                    let is_known = !self.owner_address(partition).is_empty();
                    began + if is_known { self.config.heartbeat } else { self.config.admission() }
                }
                Gate::Shut | Gate::Warm | Gate::Left(_) => return None,
            };
            // Runs out of time, or the node is gone: then it is not served here.
            timeout_at(until, gate.changed()).await.ok()?.ok()?;
        }
    }

    /// Takes a complaint in; `false`: it is not worth waiting for what comes of it, since we reach the
    /// owner.
    pub(crate) fn complain(&self, partition: PartitionId, epoch: u64) -> bool {
        let owner = self.seen.borrow().as_ref().and_then(|seen| {
            let row = seen.partition(partition)?;
            row.owner.as_ref().map(|(owner, _)| owner.clone())
        });
        let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match complaints.get_mut(&partition) {
            Some((known, _, last)) if *known == epoch => *last = now,
            // One that does not know of a newer owner says nothing of that one.
            Some((known, ..)) if *known > epoch => {}
            _ => drop(complaints.insert(partition, (epoch, now, now))),
        }
        drop(complaints);
        self.wake.notify_one();
        owner.is_none_or(|owner| self.is_quiet(&owner) || self.reach.is_unreachable(&owner))
    }

    /// Of which epochs' owners fronts complained of late.
    pub(crate) fn complaints(&self, now: Instant) -> HashMap<PartitionId, Complaint> {
        let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        // A front that is not answered comes again.
        let valid = self.config.suspicion() * 2;
        complaints.retain(|_, (_, _, last)| now.saturating_duration_since(*last) < valid);
        let insists = self.config.suspicion();
        let complaint = |&(epoch, first, last): &(u64, Instant, Instant)| Complaint {
            epoch,
            insists: last.saturating_duration_since(first) >= insists,
        };
        complaints.iter().map(|(&partition, said)| (partition, complaint(said))).collect()
    }

    /// Where the owner of `partition` is, as far as is known; empty when it is not, and when the owner
    /// is quiet.
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

    /// From now on nobody is sent to these.
    pub(crate) fn set_quiet<'a>(&self, nodes: impl Iterator<Item = &'a NodeName>) {
        let quiet = nodes.cloned().collect();
        *self.quiet.lock().unwrap_or_else(PoisonError::into_inner) = quiet;
    }

    fn is_quiet(&self, node: &NodeName) -> bool {
        self.quiet.lock().unwrap_or_else(PoisonError::into_inner).contains(node)
    }

    /// Whom we gave the partition up for, a moment ago.
    fn left_to(&self, partition: PartitionId) -> Option<NodeName> {
        match &*self.gates().get(&partition)?.borrow() {
            Gate::Left(to) => to.clone(),
            _ => None,
        }
    }

    /// From now on requests for the partition meet this.
    pub(crate) fn set(&self, partition: PartitionId, gate: Gate) {
        self.gates().entry(partition).or_default().send_replace(gate);
    }

    /// The partition was given up for `to`; a claim that was begun here since stays as it is.
    pub(crate) fn leave(&self, partition: PartitionId, to: NodeName) {
        self.gates().entry(partition).or_default().send_if_modified(|gate| {
            let left = matches!(gate, Gate::Shut | Gate::Warm);
            if left {
                *gate = Gate::Left(Some(to));
            }
            left
        });
    }

    /// Is the partition served here?
    pub(crate) fn is_open(&self, partition: PartitionId) -> bool {
        let gates = self.gates();
        gates.get(&partition).is_some_and(|gate| matches!(*gate.borrow(), Gate::Open(_)))
    }

    /// A warm copy is followed, or no longer; an owner's gate stays as it is, and so does that of one
    /// who left until `moved_on`: somebody claimed the partition since.
    pub(crate) fn set_warm(&self, partition: PartitionId, warm: bool, moved_on: bool) {
        self.gates().entry(partition).or_default().send_if_modified(|gate| match (&gate, warm) {
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
        });
    }

    /// Tells those who watch that something happened here.
    pub(crate) fn sign(&self) {
        self.signs.send_modify(|count| *count = count.map(|count| count.wrapping_add(1)));
    }

    /// Tells those who watch that nothing more will happen here.
    pub(crate) fn end_signs(&self) {
        self.signs.send_replace(None);
    }

    /// The signs from now on.
    pub(crate) fn signs(&self) -> watch::Receiver<Option<u64>> {
        self.signs.subscribe()
    }

    fn gates(&self) -> MutexGuard<'_, HashMap<PartitionId, watch::Sender<Gate>>> {
        // Nothing panics under this lock.
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
