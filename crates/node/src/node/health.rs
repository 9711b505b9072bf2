//! Whether the node is ready: it reaches the database, and serves or follows partitions.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use turnpike_store::Observation;
use turnpike_types::{NodeName, PartitionId};

use super::Runner;

/// The node's state at its last successful observation of the database.
#[derive(Clone, Copy, Debug)]
pub(super) struct ObservedState {
    /// The time of the observation; `None` before the first one.
    at: Option<Instant>,
    draining: bool,
    stopped: bool,
    /// Partitions that name this node as a member.
    member_of: usize,
    serves: usize,
    /// Partitions that are being claimed or loaded here.
    opening: usize,
    /// Warm replicas, and replicas that still lack segments.
    warm: usize,
    behind: usize,
}

impl ObservedState {
    pub(super) const BEFORE: Self = Self {
        at: None,
        draining: false,
        stopped: false,
        member_of: 0,
        serves: 0,
        opening: 0,
        warm: 0,
        behind: 0,
    };
}

/// Reports whether a node is ready. Clones report on the same node, also after it has ended.
#[derive(Clone, Debug)]
pub struct NodeHealth {
    pub(super) node: NodeName,
    pub(super) state: watch::Receiver<ObservedState>,
    /// If the last observation is older than this, the database counts as not answering.
    pub(super) stale_after: Duration,
}

impl NodeHealth {
    /// A sentence that describes the work of the node.
    ///
    /// # Errors
    /// A sentence with the reason why the node is not ready: the database has not answered lately,
    /// no partition names the node, the node is being drained, it has stopped, or it is still
    /// loading.
    pub fn ready(&self) -> Result<String, String> {
        let node = &self.node;
        // The sender is dropped when the node's loop ends.
        let has_ended = self.state.has_changed().is_err();
        let now = *self.state.borrow();
        if now.stopped || has_ended {
            return Err(format!("node {node} has stopped"));
        }
        let Some(at) = now.at else {
            return Err(format!("node {node} has not read the shared database yet"));
        };
        let age = at.elapsed();
        if age > self.stale_after {
            return Err(format!(
                "the shared database has not answered node {node} for {} ms",
                age.as_millis()
            ));
        }
        if now.draining {
            return Err(format!(
                "node {node} is being drained; it still serves {} partitions",
                now.serves
            ));
        }
        if now.member_of == 0 {
            return Err(format!("no partition names node {node} as a member"));
        }
        if now.opening > 0 || now.behind > 0 {
            return Err(format!(
                "node {node} loads {} partitions and {} warm replicas; it serves {} and keeps {} \
                 warm replicas",
                now.opening, now.behind, now.serves, now.warm
            ));
        }
        Ok(format!(
            "node {node} serves {} partitions and keeps {} warm replicas, as a member of {}",
            now.serves, now.warm, now.member_of
        ))
    }
}

impl Runner {
    /// Records the state of the node after this round's observation.
    pub(super) fn note_health(&self, seen: &Observation, now: Instant) {
        let name = &self.shared.config.name;
        let is_member =
            |members: &[turnpike_store::Member]| members.iter().any(|member| member.node == *name);
        let is_opening =
            |id: &PartitionId| !self.gates.is_open(*id) && !self.releasing.contains(id);
        let opening = self.owners.keys().filter(|id| is_opening(id)).count();
        let is_warm = |id: &PartitionId| {
            let followed = self.standbys.get(id);
            let reached = followed.and_then(|followed| followed.standby.reached());
            reached.is_some_and(|copy| self.liveness.is_near(*id, copy.segment))
        };
        let warm = self.standbys.keys().filter(|id| is_warm(id)).count();
        let mine = seen.nodes.iter().find(|row| row.beat.node == *name);
        self.health.send_replace(ObservedState {
            at: Some(now),
            draining: mine.is_some_and(|row| row.drain_asked),
            stopped: false,
            member_of: seen.partitions.iter().filter(|row| is_member(&row.spec.members)).count(),
            serves: self.owners.keys().filter(|id| self.gates.is_open(**id)).count(),
            opening,
            warm,
            behind: self.standbys.len() - warm,
        });
    }

    /// From now on the node is not ready: it is stopping, or another process has its name.
    pub(super) fn note_stopped(&self) {
        self.health.send_modify(|state| state.stopped = true);
    }
}
