//! How the owners of a node start and end, and which member a partition is released for.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use turnpike_store::{Claim, ClaimOutcome, Observation, Serving};
use turnpike_types::{ClaimId, Epoch, NodeName, PartitionId};

use super::{Followed, QUEUE_REQUESTS, Runner, Running};
use crate::gates::Gate;
use crate::membership::TakeoverCause;
use crate::owner::{Ended, Queued, Request, Ticks};
use crate::standby::Standby;
use crate::takeover::{Candidate, OwnerExit};

impl Runner {
    /// Starts to claim a partition.
    pub(super) fn claim(
        &mut self,
        seen: &Observation,
        partition: PartitionId,
        epoch: Epoch,
        cause: TakeoverCause,
    ) -> Option<(Claim, oneshot::Sender<ClaimOutcome>)> {
        let row = seen.partition(partition)?;
        let claim = Claim {
            partition,
            seen: epoch,
            node: self.shared.config.name.clone(),
            incarnation: self.incarnation,
            claim: ClaimId(self.chance.random()),
            forced: cause.is_forced(),
        };
        let (requests, queue) = mpsc::channel(QUEUE_REQUESTS);
        let (tell, told) = oneshot::channel();
        let ticks = Arc::new(Ticks::new(self.origin));
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
            silent: self.liveness.silence(partition),
            won: None,
        };
        // The epoch that the claim makes if it wins. Until then no other claim has this epoch.
        let epoch = epoch.next().unwrap_or(epoch);
        let ownership = Serving { partition, epoch, claim: claim.claim };
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
        let request = Queued { request: Request::Release { to }, _room: None };
        let (requests, gates) = (owner.requests.clone(), Arc::clone(&self.gates));
        tokio::spawn(async move {
            // The owner still serves while the target catches up.
            gates.notify_watchers();
            tokio::time::sleep(gates.config.last_catch_up()).await;
            if requests.is_closed() {
                // An owner that ended in between has nothing to release.
                return;
            }
            // New requests wait from now on. Those in the queue are finished first.
            gates.set(partition, Gate::Leaving);
            let _ = requests.send(request).await;
        });
    }

    /// Removes owners that ended, and releases or follows their partitions.
    pub(super) async fn reap(&mut self) {
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
            let OwnerExit { ended, standby } =
                exit.unwrap_or(OwnerExit { ended: Ended::Stopped, standby: None });
            self.note_end(partition, &ended, lived);
            if matches!(ended, Ended::Store(_)) {
                self.hand_on(owner.ownership);
            }
            self.keep_warm(partition, ended, standby);
        }
    }

    /// Releases the partition for a member with a warm replica. After an append of unknown outcome
    /// this node's state is discarded (P2), and such a member can serve sooner. If the release
    /// fails, a takeover follows as after a crash.
    fn hand_on(&self, Serving { partition, epoch, claim }: Serving) {
        let Some(to) = self.warm_member(partition) else { return };
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
    fn warm_member(&self, partition: PartitionId) -> Option<NodeName> {
        let seen = self.seen.borrow();
        let seen = seen.as_ref()?;
        let members = seen.partition(partition)?.spec.members.iter().map(|member| &member.node);
        let mut others = members.filter(|node| **node != self.shared.config.name);
        let can_claim = |node: &&NodeName| {
            let mut rows = seen.nodes.iter().filter(|row| row.beat.node == **node);
            self.liveness.is_live(node)
                && !self.liveness.is_out_of_reach(node)
                && rows.any(|row| {
                    let replica = row.beat.replica_of(partition);
                    let near = replica
                        .is_some_and(|replica| self.liveness.is_near(partition, replica.segment));
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
            Ended::Store(_) | Ended::Damaged(_) | Ended::RolledBack | Ended::Stopped
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
    pub(super) async fn leave(mut self) {
        let deadline = Instant::now() + self.shared.config.heartbeat * 40;
        self.served.drain(true);
        self.standbys.clear();
        self.served.follow(Vec::new());
        let seen = self.seen.borrow().clone();
        let partitions: Vec<PartitionId> = self.owners.keys().copied().collect();
        for partition in partitions {
            let to = seen.as_ref().and_then(|seen| self.successor(seen, partition));
            self.release(partition, to);
        }
        while !self.owners.is_empty() && Instant::now() < deadline {
            tokio::time::sleep(self.shared.config.heartbeat / 10).await;
            self.reap().await;
        }
        // One more heartbeat reports that this node is drained, so that no member waits for it.
        tokio::time::sleep(self.shared.config.heartbeat).await;
        self.gates.end_watches();
        self.served.leave();
    }

    /// The live member with the highest priority; members with a warm replica come before all
    /// others.
    fn successor(&self, seen: &Observation, partition: PartitionId) -> Option<NodeName> {
        let row = seen.partition(partition)?;
        let is_warm = |node: &NodeName| {
            let beats = seen.nodes.iter().map(|row| &row.beat);
            beats.filter(|beat| beat.node == *node).any(|beat| beat.replica_of(partition).is_some())
        };
        let others = row.spec.members.iter().map(|member| &member.node);
        let live =
            others.filter(|node| **node != self.shared.config.name && self.liveness.is_live(node));
        // Members are sorted by falling priority, and `max_by_key` returns the last of equal
        // elements.
        live.rev().max_by_key(|node| is_warm(node)).cloned()
    }
}
