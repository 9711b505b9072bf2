//! The search for the owner of a partition: which node is tried next, and when. Decisions only; the
//! callers send ([`crate::routing::owners`] one request, [`crate::ingest::partition_sender`] a
//! stream).
//!
//! ```text
//!  route, or a hint --target--> the caller sends --answer--> read --> Owner, or Invalid: the end
//!        ^                           |                         |
//!        |                           | no answer               | Stale (with the owner's address if
//!        |                           v                         v  the node knows it), Overloaded
//!        '------ NextTry ----- unreachable, failed           stale, failed
//! ```
//!
//! A stale route is an outcome and no error: the answer names the present owner of the partition.

use std::time::Duration;

use tonic::Status;
use turnpike_mutants::{Check, off};
use turnpike_proto::node::v1::{Standing, Verdict};
use turnpike_types::{Epoch, PartitionId};

use crate::routing::table::RouteTable;

/// The search for the owner of one partition.
#[derive(Debug)]
pub(crate) struct OwnerSearch {
    partition: PartitionId,
    /// A node whose heartbeat is silent for this long is not tried.
    suspicion: Duration,
    /// The address to try next instead of the route's: from an answer, or of a member that may
    /// relay.
    hint: Option<String>,
    /// The addresses that could not be reached since the last answer; hints to them are ignored.
    /// Bounded by the number of members.
    unreachable: Vec<String>,
    /// The epoch whose owner could not be reached, as a complaint to the next member (P16).
    complaint: Option<u64>,
    /// Consecutive attempts without an answer.
    failures: u32,
    /// The outcome of the last attempt, for messages.
    last: String,
}

/// The node to try next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OwnerTarget {
    pub(crate) address: String,
    /// The epoch of the route.
    pub(crate) epoch: Epoch,
    /// Whether the address is a hint, and not that of the route.
    pub(crate) is_referred: bool,
    /// The epoch whose owner could not be reached, as a complaint to this node (P16).
    pub(crate) complaint: Option<u64>,
}

/// When the next attempt may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NextTry {
    AtOnce,
    /// After the back-off for [`OwnerSearch::failures`].
    AfterPause,
}

/// What the answer of a node means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum OwnerReply {
    /// The owner carried out the request.
    Owner,
    /// The request is invalid, whichever node owns the partition.
    Invalid(String),
    /// The node is not the owner, or is superseded. `fresh` is the owner's address, if the node
    /// knows it.
    Stale { why: String, fresh: Option<String> },
    /// The owner asks to wait at least for `wait`.
    Overloaded { why: String, wait: Duration },
    /// The answer says nothing about the request.
    Unreadable(String),
}

impl OwnerSearch {
    pub(crate) fn new(partition: PartitionId, suspicion: Duration) -> Self {
        Self {
            partition,
            suspicion,
            hint: None,
            unreachable: Vec::new(),
            complaint: None,
            failures: 0,
            last: "not sent yet".to_owned(),
        }
    }

    pub(crate) fn partition(&self) -> PartitionId {
        self.partition
    }

    /// The number of consecutive attempts without an answer.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// The outcome of the last attempt.
    pub(crate) fn last(&self) -> &str {
        &self.last
    }

    /// The node to try next. `None`, which counts as a failed attempt, when no address is known.
    pub(crate) fn target(&mut self, table: &RouteTable) -> Option<OwnerTarget> {
        let Some(route) = table.route(self.partition) else {
            self.failed("the partition is not in the routing table".to_owned());
            return None;
        };
        let is_referred = self.hint.is_some();
        let Some(address) = self.hint.take().or_else(|| route.address.clone()) else {
            self.failed("the partition has no reachable owner".to_owned());
            return None;
        };
        let complaint = self.complaint.take();
        Some(OwnerTarget { address, epoch: route.epoch, is_referred, complaint })
    }

    /// What an answer of the node at `address` means.
    pub(crate) fn read(&self, table: &RouteTable, address: &str, standing: Standing) -> OwnerReply {
        match standing.verdict() {
            Verdict::Done => {
                let epoch = standing.epoch;
                if table.route(self.partition).is_some_and(|route| route.admits(epoch)) {
                    return OwnerReply::Owner;
                }
                metrics::counter!("turnpike_front_answers_dropped_total").increment(1);
                let why = format!("{address} is superseded (epoch {epoch})");
                OwnerReply::Stale { why, fresh: None }
            }
            Verdict::Invalid => OwnerReply::Invalid(standing.message),
            Verdict::Overloaded => OwnerReply::Overloaded {
                why: reason(address, &standing, "is overloaded"),
                wait: Duration::from_millis(u64::from(standing.retry_after_ms)),
            },
            Verdict::NotOwner => OwnerReply::Stale {
                why: reason(address, &standing, "does not own the partition"),
                fresh: Some(standing.owner_address).filter(|fresh| !fresh.is_empty()),
            },
            Verdict::Unspecified => {
                OwnerReply::Unreadable(format!("{address} sent an answer without a verdict"))
            }
        }
    }

    /// Records that the owner answered: failures of before do not matter any more.
    pub(crate) fn answered(&mut self) {
        self.failures = 0;
        self.unreachable.clear();
    }

    /// Records an attempt that failed, without saying where the owner is.
    pub(crate) fn failed(&mut self, why: String) {
        self.last = why;
        self.failures = self.failures.saturating_add(1);
    }

    /// Records why an attempt ended, without counting it as a failure.
    pub(crate) fn ended(&mut self, why: String) {
        self.last = why;
    }

    /// Records that the route to `address` was stale. The first hint is followed at once. Later
    /// hints are not, since two nodes may refer to each other.
    pub(crate) fn stale(&mut self, address: &str, why: String, fresh: Option<String>) -> NextTry {
        self.failed(why);
        let fresh = fresh.filter(|fresh| fresh != address && !self.unreachable.contains(fresh));
        if fresh.is_none() {
            return NextTry::AfterPause;
        }
        self.hint = fresh;
        self.after_hint()
    }

    /// Records that the connection to `address` failed. Chooses another member, which may have
    /// taken over already, may do so soon, or can relay to the owner (P16).
    pub(crate) fn unreachable(
        &mut self,
        table: &RouteTable,
        address: &str,
        status: &Status,
    ) -> NextTry {
        self.failed(format!("{address}: {}", status.message()));
        if !self.unreachable.iter().any(|known| known == address) {
            self.unreachable.push(address.to_owned());
        }
        let stand_in = table.stand_in(self.partition, &self.unreachable, self.suspicion);
        self.hint = stand_in.filter(|_| !off(Check::StandIn));
        self.complaint = table.complaint(self.partition, &self.unreachable);
        if self.hint.is_none() {
            // All members were tried. The next attempt starts with the owner again.
            self.unreachable.clear();
            return NextTry::AfterPause;
        }
        self.after_hint()
    }

    fn after_hint(&self) -> NextTry {
        if self.failures <= 1 { NextTry::AtOnce } else { NextTry::AfterPause }
    }
}

/// Why the node at `address` refused: the node's own message, since only the node knows of a full
/// disk or an unavailable database; without such a message, `otherwise`.
fn reason(address: &str, standing: &Standing, otherwise: &str) -> String {
    if standing.message.is_empty() {
        format!("{address} {otherwise}")
    } else {
        format!("{address}: {}", standing.message)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
