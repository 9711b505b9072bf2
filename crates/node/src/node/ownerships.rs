//! The owners and warm replicas of this process: how owners start and end, and which member a
//! partition is released for.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use turnpike_shares::queue::{FairSender, fair_queue};
use turnpike_store::{Claim, ClaimOutcome, Following, Observation, PartitionRow, Serving};
use turnpike_types::{ClaimId, Epoch, Incarnation, NodeName, PartitionId};

use crate::membership::{Liveness, Served, TakeoverCause};
use crate::owner::{Ended, Queued, Request, Ticks};
use crate::replica::Standby;
use crate::serving::{Gate, Gates};
use crate::shared::Shared;
use crate::takeover::{Candidate, OwnerExit};

/// The most requests in one owner's queue.
const QUEUE_REQUESTS: usize = 1024;

/// An owner task, and the sender of its queue.
pub(super) struct Running {
    pub(super) ownership: Serving,
    ticks: Arc<Ticks>,
    pub(super) requests: FairSender<Queued>,
    began: Instant,
    task: JoinHandle<OwnerExit>,
}

/// A warm replica, and when a decision last asked for it.
struct Followed {
    standby: Standby,
    wanted: Instant,
}

/// The owners that run in this process, and its warm replicas.
pub(super) struct Ownerships {
    pub(super) shared: Arc<Shared>,
    pub(super) gates: Arc<Gates>,
    served: Arc<Served>,
    incarnation: Incarnation,
    origin: Instant,
    chance: StdRng,
    owners: HashMap<PartitionId, Running>,
    standbys: HashMap<PartitionId, Followed>,
    /// Partitions whose owner was requested to release them.
    releasing: HashSet<PartitionId>,
    /// Partitions whose owners ended with errors: how many owners in a row, and when to claim
    /// again.
    troubled: HashMap<PartitionId, (u32, Instant)>,
}

/// How many partitions this process serves and follows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PartitionNumbers {
    pub(super) serves: usize,
    /// Partitions that are being claimed or loaded here.
    pub(super) opening: usize,
    /// Warm replicas, and replicas that still lack segments.
    pub(super) warm: usize,
    pub(super) behind: usize,
}

impl Ownerships {
    /// No owner, no replica. `chance` gives the ids of claims.
    pub(super) fn new(
        shared: &Arc<Shared>,
        gates: &Arc<Gates>,
        served: &Arc<Served>,
        incarnation: Incarnation,
        chance: StdRng,
    ) -> Self {
        Self {
            shared: Arc::clone(shared),
            gates: Arc::clone(gates),
            served: Arc::clone(served),
            incarnation,
            origin: Instant::now(),
            chance,
            owners: HashMap::new(),
            standbys: HashMap::new(),
            releasing: HashSet::new(),
            troubled: HashMap::new(),
        }
    }

    /// The partitions with an owner task in this process.
    pub(super) fn partitions(&self) -> impl Iterator<Item = PartitionId> {
        self.owners.keys().copied()
    }

    /// The owner of this partition, if it runs here under the observed claim.
    pub(super) fn owner(&self, row: &PartitionRow) -> Option<&Running> {
        self.owners.get(&row.spec.id).filter(|owner| owner.ownership.claim == row.claim)
    }

    /// All owners in this process.
    pub(super) fn owners(&self) -> impl ExactSizeIterator<Item = &Running> {
        self.owners.values()
    }

    /// The number of replicas, warm or not.
    pub(super) fn followed_count(&self) -> usize {
        self.standbys.len()
    }

    /// The replica of the partition: how far it got, `None` while it loads. The outer `None`: there
    /// is no replica.
    pub(super) fn replica(&self, partition: PartitionId) -> Option<Option<Following>> {
        self.standbys.get(&partition).map(|followed| followed.standby.reached())
    }

    /// Whether this process has a replica that is near the end of the log.
    pub(super) fn is_warm(&self, partition: PartitionId, liveness: &Liveness) -> bool {
        let reached = self.replica(partition).flatten();
        reached.is_some_and(|copy| liveness.is_near(partition, copy.segment))
    }

    /// How many partitions this process serves and follows.
    pub(super) fn numbers(&self, liveness: &Liveness) -> PartitionNumbers {
        let is_opening =
            |id: &PartitionId| !self.gates.is_open(*id) && !self.releasing.contains(id);
        let warm = self.standbys.keys().filter(|id| self.is_warm(**id, liveness)).count();
        PartitionNumbers {
            serves: self.owners.keys().filter(|id| self.gates.is_open(**id)).count(),
            opening: self.owners.keys().filter(|id| is_opening(id)).count(),
            warm,
            behind: self.standbys.len() - warm,
        }
    }

    /// Whether the partition is not claimed now, because its owners here ended with errors.
    pub(super) fn waits_to_claim(&self, partition: PartitionId, now: Instant) -> bool {
        self.troubled.get(&partition).is_some_and(|(_, until)| now < *until)
    }

    /// Starts to claim a partition whose observed epoch is `epoch`. `silent`: how long its owner was
    /// silent.
    pub(super) fn claim(
        &mut self,
        seen: &Observation,
        (partition, epoch): (PartitionId, Epoch),
        cause: TakeoverCause,
        silent: Duration,
    ) -> Option<(Claim, oneshot::Sender<ClaimOutcome>)> {
        let row = seen.partition(partition)?;
        // The epoch that the claim makes if it wins. Until then no other claim has this epoch. After
        // the last epoch no claim can win.
        let won = epoch.next()?;
        let claim = Claim {
            partition,
            seen: epoch,
            node: self.shared.config.name.clone(),
            incarnation: self.incarnation,
            claim: ClaimId(self.chance.random()),
            forced: cause.is_forced(),
        };
        let (requests, queue) = fair_queue(QUEUE_REQUESTS);
        let (tell, told) = oneshot::channel();
        let ticks = Arc::new(Ticks::new(self.origin, self.shared.config.tick_max()));
        self.gates.set(partition, Gate::Opening);
        let candidate = Candidate {
            shared: Arc::clone(&self.shared),
            gates: Arc::clone(&self.gates),
            ticks: Arc::clone(&ticks),
            requests: requests.clone(),
            spec: row.spec.clone(),
            cause,
            claim: claim.clone(),
            standby: self.standbys.remove(&partition).map(|followed| followed.standby),
            began: Instant::now(),
            owner_before: row.owner.as_ref().map(|(owner, _)| owner.clone()),
            silent,
            won: None,
        };
        let ownership = Serving { partition, epoch: won, claim: claim.claim };
        let task = tokio::spawn(candidate.run(told, queue));
        let running = Running { ownership, ticks, requests, began: Instant::now(), task };
        self.served.add(ownership, Arc::clone(&running.ticks));
        self.owners.insert(partition, running);
        Some((claim, tell))
    }

    /// Makes the owner finish the requests that it took, and then release the partition.
    pub(super) fn release(&mut self, partition: PartitionId, to: Option<NodeName>) {
        let Some(owner) = self.owners.get(&partition) else { return };
        if !self.releasing.insert(partition) {
            return;
        }
        tracing::info!(
            node = %self.shared.config.name,
            partition = partition.0,
            epoch = owner.ownership.epoch.number(),
            to = to.as_ref().map(|to| to.0.as_str()),
            "releases the partition once its requests are finished"
        );
        let request = Queued::of_cluster(Request::Release { to });
        let (requests, gates) = (owner.requests.clone(), Arc::clone(&self.gates));
        tokio::spawn(async move {
            // The owner still serves while the target catches up.
            gates.notify_watchers();
            tokio::time::sleep(gates.config.last_catch_up()).await;
            // New requests wait from now on. Those in the queue are finished first.
            if requests.is_closed() || !gates.begin_to_leave(partition) {
                // An owner that ended in between has nothing to release.
                return;
            }
            // An owner that ended in between has nothing to release.
            let _ = requests.send_last(request);
        });
    }

    /// Removes owners that ended, and releases or follows their partitions.
    pub(super) async fn reap(&mut self, seen: Option<&Observation>, liveness: &Liveness) {
        let ended: Vec<PartitionId> = self
            .owners
            .iter()
            .filter(|(_, owner)| owner.task.is_finished())
            .map(|(&partition, _)| partition)
            .collect();
        for partition in ended {
            self.releasing.remove(&partition);
            self.served.remove(partition);
            let Some(owner) = self.owners.remove(&partition) else { continue };
            let lived = owner.began.elapsed();
            let exit = owner.task.await;
            let OwnerExit { ended, standby } = match exit {
                Ok(exit) => exit,
                // The task was aborted: the node stops.
                Err(_) => OwnerExit { ended: Ended::Stopped, standby: None },
            };
            self.note_end(partition, &ended, lived);
            if matches!(ended, Ended::Store(_)) {
                self.hand_on(owner.ownership, seen, liveness);
            }
            self.keep_warm(partition, ended, standby);
        }
    }

    /// Releases the partition for a member with a warm replica. After an append of unknown outcome
    /// this node's state is discarded (P2), and such a member can serve sooner. If the release
    /// fails, a takeover follows as after a crash.
    fn hand_on(
        &self,
        Serving { partition, epoch, claim }: Serving,
        seen: Option<&Observation>,
        liveness: &Liveness,
    ) {
        let to = seen.and_then(|seen| self.warm_member(partition, seen, liveness));
        let Some(to) = to else { return };
        let (shared, gates) = (Arc::clone(&self.shared), Arc::clone(&self.gates));
        tokio::spawn(async move {
            if let Ok(true) = shared.db.release(partition, epoch, claim, Some(&to)).await {
                let (node, epoch) = (&shared.config.name.0, epoch.number());
                tracing::info!(
                    node,
                    partition = partition.0,
                    epoch,
                    to = to.0,
                    "released the partition for a warm member"
                );
                gates.leave(partition, to);
                gates.notify_watchers();
            }
        });
    }

    /// Another member that can take over the partition at once.
    fn warm_member(
        &self,
        partition: PartitionId,
        seen: &Observation,
        liveness: &Liveness,
    ) -> Option<NodeName> {
        let members = seen.partition(partition)?.spec.members.iter().map(|member| &member.node);
        let mut others = members.filter(|node| **node != self.shared.config.name);
        let can_claim = |node: &&NodeName| {
            let mut rows = seen.nodes.iter().filter(|row| row.beat.node == **node);
            liveness.is_live(node)
                && !liveness.is_out_of_reach(node)
                && rows.any(|row| {
                    let replica = row.beat.replica_of(partition);
                    let near =
                        replica.is_some_and(|replica| liveness.is_near(partition, replica.segment));
                    near && !row.beat.draining && !row.drain_asked
                })
        };
        others.find(can_claim).cloned()
    }

    /// Keeps following the log with the replica that an ended owner returns, or with the one that a
    /// claim did not use.
    fn keep_warm(&mut self, partition: PartitionId, ended: Ended, standby: Option<Standby>) {
        let standby = match ended {
            Ended::Released { replica, .. } => {
                let end = replica.position();
                Some(Standby::start(&self.shared, partition, end, Some(*replica)))
            }
            _ => standby,
        };
        if let Some(standby) = standby {
            self.standbys.insert(partition, Followed { standby, wanted: Instant::now() });
        }
    }

    /// After an error the next claim is tried at once. After repeated errors it is tried with
    /// growing delays, up to a bound that lets service resume soon after the errors end (I7).
    fn note_end(&mut self, partition: PartitionId, ended: &Ended, lived: Duration) {
        let is_trouble = matches!(
            ended,
            Ended::Store(_)
                | Ended::Damaged(_)
                | Ended::RolledBack
                | Ended::Panicked(_)
                | Ended::Stopped
        );
        if !is_trouble {
            self.troubled.remove(&partition);
            return;
        }
        let before = self.troubled.get(&partition).map_or(0, |(times, _)| *times);
        let times = if lived > self.shared.config.heartbeat { 0 } else { before };
        let wait = self.shared.config.heartbeat * ((1 << times.min(4)) - 1);
        self.troubled.insert(partition, (times.saturating_add(1), Instant::now() + wait));
    }

    /// Closes the gate of each partition, finishes its requests, and releases it for a successor.
    pub(super) async fn leave(mut self, seen: Option<&Observation>, liveness: &Liveness) {
        let deadline = Instant::now() + self.shared.config.heartbeat * 40;
        self.served.drain(true);
        self.standbys.clear();
        self.served.follow(Vec::new());
        let partitions: Vec<PartitionId> = self.partitions().collect();
        for partition in partitions {
            let to = seen.and_then(|seen| self.successor(seen, partition, liveness));
            self.release(partition, to);
        }
        while !self.owners.is_empty() && Instant::now() < deadline {
            tokio::time::sleep(self.shared.config.heartbeat / 10).await;
            self.reap(seen, liveness).await;
        }
        // One more heartbeat reports that this node is drained, so that no member waits for it.
        tokio::time::sleep(self.shared.config.heartbeat).await;
        self.gates.end_watches();
        self.served.leave();
    }

    /// The live member with the highest priority; members with a warm replica come before all
    /// others.
    fn successor(
        &self,
        seen: &Observation,
        partition: PartitionId,
        liveness: &Liveness,
    ) -> Option<NodeName> {
        let row = seen.partition(partition)?;
        let is_warm = |node: &NodeName| {
            let beats = seen.nodes.iter().map(|row| &row.beat);
            beats.filter(|beat| beat.node == *node).any(|beat| beat.replica_of(partition).is_some())
        };
        let others = row.spec.members.iter().map(|member| &member.node);
        let live =
            others.filter(|node| **node != self.shared.config.name && liveness.is_live(node));
        // Members are sorted by falling priority, and `max_by_key` returns the last of equal
        // elements.
        live.rev().max_by_key(|node| is_warm(node)).cloned()
    }

    /// Ends owners of partitions that other nodes have claimed. The fence never refuses an owner
    /// with nothing to append, and such an owner would keep this node from following the partition.
    pub(super) fn end_superseded(&self, seen: &Observation) {
        for row in &seen.partitions {
            let Some(owner) = self.owners.get(&row.spec.id) else { continue };
            let Serving { epoch, claim, .. } = owner.ownership;
            // While this node's claim is in progress, the observed epoch is still the one before
            // it.
            if row.epoch > epoch || (row.epoch == epoch && row.claim != claim) {
                let request = Queued::of_cluster(Request::Superseded);
                // An owner that ended in between is superseded no more.
                let _ = owner.requests.send_urgent(request);
            }
        }
    }

    /// Keeps a warm replica of the partition, up to the observed end of its log.
    pub(super) fn follow(&mut self, seen: &Observation, partition: PartitionId, now: Instant) {
        let Some(row) = seen.partition(partition) else { return };
        // A claim of this round has taken the replica over.
        if self.owners.contains_key(&partition) {
            return;
        }
        let followed = self.standbys.entry(partition).or_insert_with(|| Followed {
            standby: Standby::start(&self.shared, partition, row.next, None),
            wanted: now,
        });
        followed.wanted = now;
        followed.standby.follow(row.next);
        let ours = row.owner.as_ref().is_some_and(|(_, process)| *process == self.incarnation);
        self.gates.set_warm(partition, true, !ours);
    }

    /// Drops replicas that no decision has asked for within the stability time. Without the delay,
    /// a member that fails and returns repeatedly would make others load again and again.
    pub(super) fn forget_unwanted(&mut self, now: Instant) {
        let kept = self.shared.config.stability();
        let gates = &self.gates;
        self.standbys.retain(|&partition, followed| {
            let stays = now - followed.wanted < kept;
            if !stays {
                gates.set_warm(partition, false, true);
            }
            stays
        });
        let reached = self.standbys.values().filter_map(|followed| followed.standby.reached());
        self.served.follow(reached.collect());
    }

    /// Ends all owners at once, since another process has taken over this node's name.
    pub(super) fn abandon(&mut self) {
        for (&partition, owner) in &self.owners {
            self.gates.set(partition, Gate::Shut);
            self.served.remove(partition);
            owner.task.abort();
        }
        self.gates.end_watches();
    }
}
