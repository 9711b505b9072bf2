//! Whether the node is ready: it reaches the database, and serves or follows partitions.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use turnpike_store::{Member, Observation};
use turnpike_types::NodeName;

use super::ownerships::PartitionNumbers;

/// The node's state at its last successful observation of the database.
#[derive(Clone, Copy, Debug)]
pub(super) struct ObservedState {
    /// The time of the observation; `None` before the first one.
    at: Option<Instant>,
    draining: bool,
    stopped: bool,
    /// Partitions that name this node as a member.
    member_of: usize,
    numbers: PartitionNumbers,
}

impl ObservedState {
    pub(super) const BEFORE: Self = Self {
        at: None,
        draining: false,
        stopped: false,
        member_of: 0,
        numbers: PartitionNumbers { serves: 0, opening: 0, warm: 0, behind: 0 },
    };

    /// The state of the node after an observation.
    pub(super) fn of(
        name: &NodeName,
        seen: &Observation,
        numbers: PartitionNumbers,
        at: Instant,
    ) -> Self {
        let is_member = |members: &[Member]| members.iter().any(|member| member.node == *name);
        let mine = seen.nodes.iter().find(|row| row.beat.node == *name);
        Self {
            at: Some(at),
            draining: mine.is_some_and(|row| row.drain_asked),
            stopped: false,
            member_of: seen.partitions.iter().filter(|row| is_member(&row.spec.members)).count(),
            numbers,
        }
    }

    /// From now on the node is not ready.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
    }
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
        let PartitionNumbers { serves, opening, warm, behind } = now.numbers;
        if now.draining {
            return Err(format!(
                "node {node} is being drained; it still serves {serves} partitions"
            ));
        }
        if now.member_of == 0 {
            return Err(format!("no partition names node {node} as a member"));
        }
        if opening > 0 || behind > 0 {
            return Err(format!(
                "node {node} loads {opening} partitions and {behind} warm replicas; it serves \
                 {serves} and keeps {warm} warm replicas"
            ));
        }
        Ok(format!(
            "node {node} serves {serves} partitions and keeps {warm} warm replicas, as a member of \
             {}",
            now.member_of
        ))
    }
}
