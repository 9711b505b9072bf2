//! Decides which partitions to claim, release and follow, from the last observation alone.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;
use turnpike_mutants::{Check, off};
use turnpike_store::{Member, Observation, PartitionRow};
use turnpike_types::{Epoch, Incarnation, NodeName, PartitionId, Priority};

use super::liveness::Liveness;
use crate::NodeConfig;

/// Flaps beyond this many do not lengthen the wait for an owner that is live but does not serve.
/// The wait ends well before an owner that can't load the partition tries again, and leaves time
/// for the bound of I7.
const PATIENCE_MAX: u32 = 2;
/// Flaps beyond this many do not lengthen any further the time that a member must be alive before
/// the partition moves back to it: two minutes at the default heartbeat.
const FLAPS_MAX: u32 = 6;

/// Why a partition is claimed. The log lines of a takeover name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TakeoverCause {
    /// The partition never had an owner.
    NeverOwned,
    /// The owner released it for this node.
    Released,
    /// It was released for another member, which did not claim it.
    Abandoned,
    /// A newer process runs under the owner's name, so the owner is dead (P11).
    OwnerRestarted,
    /// The owner's process closed its connections, and its host refuses new ones (P15).
    OwnerGone,
    /// The owner is live, but its heartbeats do not name the partition.
    OwnerStoodDown,
    /// A front complains that it can't reach the owner, and this node can't reach it either (P16).
    OwnerUnreachable,
    /// The owner had an append of unknown outcome, and released the partition for this node's
    /// replica.
    OwnerInTrouble,
    /// The owner was silent for the suspicion time.
    OwnerSilent,
    /// This node released it, and the target did not claim it in time (P13).
    TakenBack,
    /// The row names this node as the owner, but this node stepped down after an append of unknown
    /// outcome (P2).
    SteppedDown,
}

impl TakeoverCause {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::NeverOwned => "never-owned",
            Self::Released => "released",
            Self::Abandoned => "abandoned",
            Self::OwnerRestarted => "owner-restarted",
            Self::OwnerGone => "owner-gone",
            Self::OwnerStoodDown => "owner-stood-down",
            Self::OwnerUnreachable => "owner-unreachable",
            Self::OwnerInTrouble => "owner-in-trouble",
            Self::OwnerSilent => "owner-silent",
            Self::TakenBack => "taken-back",
            Self::SteppedDown => "stepped-down",
        }
    }

    /// Whether the last owner did not agree to the claim. Such claims count as flaps (P14).
    pub(crate) const fn is_forced(self) -> bool {
        match self {
            Self::NeverOwned | Self::Released | Self::Abandoned | Self::TakenBack => false,
            Self::OwnerRestarted
            | Self::OwnerGone
            | Self::OwnerStoodDown
            | Self::OwnerUnreachable
            | Self::OwnerInTrouble
            | Self::OwnerSilent
            | Self::SteppedDown => true,
        }
    }
}

/// A decision about one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Claim the partition if its epoch is still `seen`.
    Claim { partition: PartitionId, seen: Epoch, cause: TakeoverCause },
    /// Release the partition for this member (P13).
    Release { partition: PartitionId, to: NodeName },
    /// Keep a warm replica.
    Follow { partition: PartitionId },
}

/// This node, and the partitions that it holds.
#[derive(Debug)]
pub(crate) struct ThisNode<'a> {
    pub(crate) node: &'a NodeName,
    pub(crate) incarnation: Incarnation,
    pub(crate) draining: bool,
    /// Partitions with an owner task on this node, or a claim in progress.
    pub(crate) busy: &'a HashSet<PartitionId>,
    /// Partitions of which this node has a warm replica.
    pub(crate) warm: &'a HashSet<PartitionId>,
}

/// Since when each partition has been free to claim; kept between rounds.
#[derive(Debug, Default)]
pub(crate) struct Vacancies {
    /// By partition, epoch, and whether it is released: a release starts the wait anew, since the
    /// owner may have been suspect before it.
    since: HashMap<(PartitionId, Epoch, bool), Instant>,
}

impl Vacancies {
    /// Decides for each partition of which this node is a member.
    pub(crate) fn decide(
        &mut self,
        config: &NodeConfig,
        me: &ThisNode<'_>,
        seen: &Observation,
        liveness: &Liveness,
        now: Instant,
    ) -> Vec<Decision> {
        let round = Round { config, me, seen, liveness };
        let mut still_vacant = HashMap::new();
        let mut decisions = Vec::new();
        for row in &seen.partitions {
            let Some(mine) = row.spec.members.iter().find(|member| &member.node == me.node) else {
                continue;
            };
            let partition = row.spec.id;
            if me.busy.contains(&partition) {
                decisions.extend(round.release(row, mine));
                continue;
            }
            if round.follows(row, mine) {
                decisions.push(Decision::Follow { partition });
            }
            let Some(cause) = round.vacancy(row).filter(|_| !me.draining) else { continue };
            let key = (partition, row.epoch, row.released_to.is_some());
            let since = self.since.get(&key).copied().unwrap_or(now);
            still_vacant.insert(key, since);
            if now - since >= round.wait(row, mine, cause) {
                decisions.push(Decision::Claim { partition, seen: row.epoch, cause });
            }
        }
        self.since = still_vacant;
        decisions
    }
}

struct Round<'a> {
    config: &'a NodeConfig,
    me: &'a ThisNode<'a>,
    seen: &'a Observation,
    liveness: &'a Liveness,
}

impl Round<'_> {
    /// Whether the partition is free to claim, and why.
    fn vacancy(&self, row: &PartitionRow) -> Option<TakeoverCause> {
        let Some((owner, incarnation)) = &row.owner else { return Some(TakeoverCause::NeverOwned) };
        let is_ours = owner == self.me.node && *incarnation == self.me.incarnation;
        if let Some(to) = &row.released_to {
            return Some(match to == self.me.node {
                true if self.is_from_above(row, owner) => TakeoverCause::OwnerInTrouble,
                true => TakeoverCause::Released,
                false if is_ours => TakeoverCause::TakenBack,
                false => TakeoverCause::Abandoned,
            });
        }
        if is_ours {
            return Some(TakeoverCause::SteppedDown);
        }
        if owner == self.me.node || self.liveness.is_replaced(owner, *incarnation) {
            return Some(TakeoverCause::OwnerRestarted);
        }
        if self.liveness.is_gone(owner, *incarnation) {
            return Some(TakeoverCause::OwnerGone);
        }
        if self.liveness.is_disowned(row.spec.id) {
            return Some(TakeoverCause::OwnerStoodDown);
        }
        if self.liveness.silence(row.spec.id) >= self.config.suspicion() {
            return Some(TakeoverCause::OwnerSilent);
        }
        self.liveness.is_complained_of(row, owner).then_some(TakeoverCause::OwnerUnreachable)
    }

    /// Whether a member of higher rank, which is not being drained, released the partition for this
    /// node.
    fn is_from_above(&self, row: &PartitionRow, owner: &NodeName) -> bool {
        let member = |node: &NodeName| row.spec.members.iter().find(|member| member.node == *node);
        let (Some(owner), Some(mine)) = (member(owner), member(self.me.node)) else { return false };
        self.priority(row, owner) > self.priority(row, mine) && !self.is_draining(&owner.node)
    }

    /// How long to leave the claim to other members: two heartbeat intervals for each live member
    /// of higher rank, so the wait is always bounded (P12). A warm replica ranks above a cold
    /// member, whatever their priorities (P11).
    fn wait(&self, row: &PartitionRow, mine: &Member, cause: TakeoverCause) -> Duration {
        let is_warm = |node| self.is_warm(row, node) && !off(Check::WarmFirst);
        let am_warm = self.me.warm.contains(&row.spec.id) && !off(Check::WarmFirst);
        // The failed owner itself does not count as another claimant.
        let failed = match cause {
            TakeoverCause::OwnerGone
            | TakeoverCause::OwnerStoodDown
            | TakeoverCause::OwnerUnreachable
            | TakeoverCause::OwnerSilent => row.owner.as_ref(),
            _ => None,
        };
        let others = row.spec.members.iter().filter(|member| {
            member.node != mine.node
                && failed.is_none_or(|(owner, _)| *owner != member.node)
                && (self.may_claim(&member.node) || off(Check::DefersToLive))
                // `am_warm` comes from this node's own state, which is newer than its last
                // heartbeat.
                && (is_warm(&member.node), self.priority(row, member))
                    > (am_warm, self.priority(row, mine))
        });
        let rank = u32::try_from(others.count()).unwrap_or(u32::MAX);
        let delta = self.config.deferral();
        match cause {
            TakeoverCause::Released | TakeoverCause::OwnerInTrouble => Duration::ZERO,
            // For two heartbeat intervals only the target of the release claims. Then this node
            // takes the partition back; then any member may claim it (P13).
            TakeoverCause::TakenBack => delta,
            TakeoverCause::Abandoned if !off(Check::TargetFirst) => {
                delta.saturating_mul(rank) + delta
            }
            // This node discarded its state and would have to load it: a member with a warm replica
            // goes first.
            TakeoverCause::SteppedDown => delta.saturating_mul(rank.min(1)),
            // The owner's append may only be slow, and an append of this node would be as slow.
            // Each flap lengthens the wait, and a commit of the owner ends it (P9).
            TakeoverCause::OwnerStoodDown => {
                let patience = self.config.heartbeat * ((1 << row.flaps.min(PATIENCE_MAX)) - 1);
                delta.saturating_mul(rank) + patience
            }
            // After a flap, possibly some fronts can't reach the owner, and others can't reach this
            // node: wait for one more interval, so that the partition does not move back and forth.
            TakeoverCause::OwnerUnreachable => {
                delta.saturating_mul(rank) + self.config.heartbeat * row.flaps.min(1)
            }
            _ => delta.saturating_mul(rank),
        }
    }

    /// The rank of a member: an operator's pin is above all priorities (P13).
    fn priority(&self, row: &PartitionRow, member: &Member) -> (bool, Priority) {
        let pin = row.pin.as_ref().filter(|_| !off(Check::PinAbove));
        (pin.is_some_and(|pin| pin.member == member.node), member.priority)
    }

    /// Whether `node` may claim a free partition.
    fn may_claim(&self, node: &NodeName) -> bool {
        self.liveness.is_live(node) && !self.is_draining(node)
    }

    fn is_draining(&self, node: &NodeName) -> bool {
        let row = self.seen.nodes.iter().find(|row| &row.beat.node == node);
        row.is_some_and(|row| row.beat.draining || row.drain_asked)
    }

    /// Whether the node has a replica that lacks only the last few segments.
    fn is_warm(&self, row: &PartitionRow, node: &NodeName) -> bool {
        let beat = self.seen.nodes.iter().map(|row| &row.beat).find(|beat| &beat.node == node);
        beat.and_then(|beat| beat.replica_of(row.spec.id)).is_some_and(|copy| {
            match copy.segment.next() == row.next.next {
                // Whether the replica is of this history (P18).
                true => copy.hash == row.next.last_hash,
                false => self.liveness.is_near(row.spec.id, copy.segment),
            }
        })
    }

    /// Whether to keep a warm replica. The next members by rank keep one, and so do the member for
    /// which the partition was released and members that rank above the owner.
    fn follows(&self, row: &PartitionRow, mine: &Member) -> bool {
        if self.me.draining {
            return false;
        }
        let owner = row.owner.as_ref().map(|(owner, _)| owner);
        let owners = row.spec.members.iter().find(|member| Some(&member.node) == owner);
        let returns =
            owners.is_some_and(|owners| self.priority(row, mine) > self.priority(row, owners));
        if returns || row.released_to.as_ref() == Some(self.me.node) {
            return true;
        }
        let above = row.spec.members.iter().filter(|member| {
            Some(&member.node) != owner
                && self.may_claim(&member.node)
                && self.priority(row, member) > self.priority(row, mine)
        });
        // A node that is being drained needs a successor, whatever is configured.
        let leaves = owner.is_some_and(|owner| self.is_draining(owner));
        above.count() < self.config.warm_standbys.max(usize::from(leaves))
    }

    /// Whether to release a served partition: to a warm member of higher rank that has lived long
    /// enough (P14), or to any warm member while this node is being drained.
    fn release(&self, row: &PartitionRow, mine: &Member) -> Option<Decision> {
        let ours = row.owner.as_ref().is_some_and(|(owner, incarnation)| {
            owner == self.me.node && *incarnation == self.me.incarnation
        });
        if !ours || row.released_to.is_some() {
            return None;
        }
        let is_pinned = |member: &Member| self.priority(row, member).0;
        // Each flap doubles the time that a member must live first.
        let stability = self.config.stability() * (1 << row.flaps.min(FLAPS_MAX));
        let candidate = row
            .spec
            .members
            .iter()
            .filter(|member| member.node != mine.node && !self.is_draining(&member.node))
            .filter(|member| {
                self.me.draining || self.priority(row, member) > self.priority(row, mine)
            })
            // Control does not return to a node that fronts could not reach: they would complain
            // again.
            .filter(|member| {
                let is_in_reach = !self.liveness.is_cut_off(&member.node);
                self.me.draining || is_pinned(member) || is_in_reach || off(Check::ReturnInReach)
            })
            .filter(|member| {
                let alive_for = self.liveness.alive_for(&member.node);
                // A pinned target, or one that a drained node needs now, need not have lived for
                // the stability time.
                let is_at_once = self.me.draining || is_pinned(member) || off(Check::Stability);
                alive_for.is_some_and(|alive| is_at_once || alive >= stability)
            })
            .filter(|member| self.is_warm(row, &member.node))
            .max_by_key(|member| self.priority(row, member))?;
        Some(Decision::Release { partition: row.spec.id, to: candidate.node.clone() })
    }
}

#[cfg(test)]
mod tests;
