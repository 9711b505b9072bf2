//! What to claim and what to give up: decisions from what was observed, and nothing else.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;
use turnpike_mutants::{Line, off};
use turnpike_store::{Member, Observation, PartitionRow};
use turnpike_types::{Epoch, Incarnation, NodeName, PartitionId, Priority};

use crate::NodeConfig;
use crate::liveness::Liveness;

/// Flaps past this many do not lengthen the patience with an owner that lives but does not serve. It is
/// over well before an owner that can't load the partition tries again, and leaves room for I7.
const PATIENCE_MAX: u32 = 2;
/// Flaps past this many do not lengthen the wait any more: two minutes at the usual heartbeat.
const FLAPS_MAX: u32 = 6;

/// Why a partition is claimed; for the logs, where one takeover reads as one story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Nobody ever owned it.
    NeverOwned,
    /// It was released for us.
    Released,
    /// It was released, and whoever it was meant for did not come.
    Abandoned,
    /// A newer process of the owner's name is alive: the owner is dead (P11).
    OwnerRestarted,
    /// The owner's process closed its connections, and its host refuses new ones (P15).
    OwnerGone,
    /// The owner lives, and says that it does not serve the partition.
    OwnerStoodDown,
    /// A front complains that it can't reach the owner, and neither can we (P16).
    OwnerUnreachable,
    /// The owner does not know what became of an append, and gave the partition up for our warm copy.
    OwnerInTrouble,
    /// The owner gave no sign for too long.
    OwnerSilent,
    /// We released it, and whoever it was meant for did not come in time (P13).
    TakenBack,
    /// We own it by the row, but stepped down after an append of unknown outcome (P2).
    SteppedDown,
}

impl Cause {
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

    /// Did the last owner not give it up of its own will? Such claims are counted as flaps (P14).
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

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Claim it, if it is still at this epoch.
    Claim { partition: PartitionId, seen: Epoch, cause: Cause },
    /// Give it up for this member (P13).
    Release { partition: PartitionId, to: NodeName },
    /// Keep a warm copy.
    Follow { partition: PartitionId },
}

/// Who we are and what we hold.
#[derive(Debug)]
pub(crate) struct Me<'a> {
    pub(crate) node: &'a NodeName,
    pub(crate) incarnation: Incarnation,
    pub(crate) draining: bool,
    /// Partitions that have an owner task here, or a claim under way.
    pub(crate) busy: &'a HashSet<PartitionId>,
    /// Partitions of which we have a warm copy.
    pub(crate) warm: &'a HashSet<PartitionId>,
}

/// How long each partition has looked free to us; kept between rounds.
#[derive(Debug, Default)]
pub(crate) struct Vacancies {
    /// A release begins the wait anew: before it, the owner may have been found wanting.
    since: HashMap<(PartitionId, Epoch, bool), Instant>,
}

impl Vacancies {
    /// Decides for every partition.
    pub(crate) fn decide(
        &mut self,
        config: &NodeConfig,
        me: &Me<'_>,
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
    me: &'a Me<'a>,
    seen: &'a Observation,
    liveness: &'a Liveness,
}

impl Round<'_> {
    /// Is the partition free, and why?
    fn vacancy(&self, row: &PartitionRow) -> Option<Cause> {
        let Some((owner, incarnation)) = &row.owner else { return Some(Cause::NeverOwned) };
        let is_ours = owner == self.me.node && *incarnation == self.me.incarnation;
        if let Some(to) = &row.released_to {
            return Some(match to == self.me.node {
                true if self.is_from_above(row, owner) => Cause::OwnerInTrouble,
                true => Cause::Released,
                false if is_ours && off(Line::TakesBack) => return None,
                false if is_ours => Cause::TakenBack,
                false => Cause::Abandoned,
            });
        }
        if is_ours {
            return Some(Cause::SteppedDown);
        }
        if owner == self.me.node || self.liveness.is_replaced(owner, *incarnation) {
            return Some(Cause::OwnerRestarted);
        }
        if self.liveness.is_gone(owner, *incarnation) {
            return Some(Cause::OwnerGone);
        }
        if self.liveness.is_disowned(row.spec.id) {
            return Some(Cause::OwnerStoodDown);
        }
        if self.liveness.silence(row.spec.id) >= self.config.suspicion() {
            return Some(Cause::OwnerSilent);
        }
        self.liveness.is_complained_of(row, owner).then_some(Cause::OwnerUnreachable)
    }

    /// Did a member that ranks above us give the partition up for us, though nobody asked it to?
    fn is_from_above(&self, row: &PartitionRow, owner: &NodeName) -> bool {
        let member = |node: &NodeName| row.spec.members.iter().find(|member| member.node == *node);
        let (Some(owner), Some(mine)) = (member(owner), member(self.me.node)) else { return false };
        self.priority(row, owner) > self.priority(row, mine) && !self.is_draining(&owner.node)
    }

    /// How long to leave it to others: rank times delta, and finite (P12). A warm copy comes
    /// before a cold member, whatever their priorities (P11).
    fn wait(&self, row: &PartitionRow, mine: &Member, cause: Cause) -> Duration {
        let is_warm = |node| self.is_warm(row, node) && !off(Line::WarmFirst);
        let am_warm = self.me.warm.contains(&row.spec.id) && !off(Line::WarmFirst);
        // Who is found wanting as the owner is not waited for as a claimant.
        let failed = match cause {
            Cause::OwnerGone
            | Cause::OwnerStoodDown
            | Cause::OwnerUnreachable
            | Cause::OwnerSilent => row.owner.as_ref(),
            _ => None,
        };
        let others = row.spec.members.iter().filter(|member| {
            member.node != mine.node
                && failed.is_none_or(|(owner, _)| *owner != member.node)
                && (self.may_claim(&member.node) || off(Line::DefersToLive))
                // Of ourselves we know better than the heartbeat that we wrote last.
                && (is_warm(&member.node), self.priority(row, member))
                    > (am_warm, self.priority(row, mine))
        });
        let rank = u32::try_from(others.count()).unwrap_or(u32::MAX);
        let delta = self.config.deferral();
        match cause {
            Cause::Released | Cause::OwnerInTrouble => Duration::ZERO,
            // Two intervals are the target's, then it is ours again; then anyone's (P13).
            Cause::TakenBack => delta,
            Cause::Abandoned if off(Line::TargetFirst) => Duration::ZERO,
            Cause::Abandoned => delta.saturating_mul(rank) + delta,
            // Who lost his state and would have to load it leaves it to a warm copy.
            Cause::SteppedDown => delta.saturating_mul(rank.min(1)),
            // Its append may only be slow, as ours would be then: who flaps is given more time each
            // time, and a commit ends the wait (P9).
            Cause::OwnerStoodDown => {
                let patience = self.config.heartbeat * ((1 << row.flaps.min(PATIENCE_MAX)) - 1);
                delta.saturating_mul(rank) + patience
            }
            // Where it flaps, it may be cut off from others than we are.
            Cause::OwnerUnreachable => {
                delta.saturating_mul(rank) + self.config.heartbeat * row.flaps.min(1)
            }
            _ => delta.saturating_mul(rank),
        }
    }

    /// What a member ranks by: an operator's pin is above all priorities (P13).
    fn priority(&self, row: &PartitionRow, member: &Member) -> (bool, Priority) {
        let pin = row.pin.as_ref().filter(|_| !off(Line::PinAbove));
        (pin.is_some_and(|pin| pin.member == member.node), member.priority)
    }

    /// Would this node claim what is free?
    fn may_claim(&self, node: &NodeName) -> bool {
        self.liveness.is_live(node) && !self.is_draining(node)
    }

    fn is_draining(&self, node: &NodeName) -> bool {
        let row = self.seen.nodes.iter().find(|row| &row.beat.node == node);
        row.is_some_and(|row| row.beat.draining || row.drain_asked)
    }

    /// Has the node a copy that needs only the last few segments?
    fn is_warm(&self, row: &PartitionRow, node: &NodeName) -> bool {
        let beat = self.seen.nodes.iter().map(|row| &row.beat).find(|beat| &beat.node == node);
        beat.and_then(|beat| beat.copy_of(row.spec.id)).is_some_and(|copy| {
            match copy.segment.next() == row.next.next {
                // Of this history (P18)?
                true => copy.hash == row.next.last_hash,
                false => self.liveness.is_near(row.spec.id, copy.segment),
            }
        })
    }

    /// Should we keep a warm copy? The next in rank do, and whoever is to get the partition.
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
        // Who is being emptied needs a successor, whatever is configured.
        let leaves = owner.is_some_and(|owner| self.is_draining(owner));
        above.count() < self.config.warm_standbys.max(usize::from(leaves))
    }

    /// Should we give up what we serve: to a member of higher rank that is warm and has been alive
    /// long enough (P14), or to anyone warm while we are being emptied?
    fn release(&self, row: &PartitionRow, mine: &Member) -> Option<Decision> {
        let ours = row.owner.as_ref().is_some_and(|(owner, incarnation)| {
            owner == self.me.node && *incarnation == self.me.incarnation
        });
        if !ours || row.released_to.is_some() {
            return None;
        }
        let is_pinned = |member: &Member| self.priority(row, member).0;
        // Whoever fell again and again must live longer first.
        let stability = self.config.stability() * (1 << row.flaps.min(FLAPS_MAX));
        let candidate = row
            .spec
            .members
            .iter()
            .filter(|member| member.node != mine.node && !self.is_draining(&member.node))
            .filter(|member| {
                self.me.draining || self.priority(row, member) > self.priority(row, mine)
            })
            // Fronts could not reach it: they would complain again.
            .filter(|member| {
                let is_in_reach = !self.liveness.is_cut_off(&member.node);
                self.me.draining || is_pinned(member) || is_in_reach || off(Line::ReturnInReach)
            })
            .filter(|member| {
                let alive_for = self.liveness.alive_for(&member.node);
                // Who was asked for by name, or is needed now, need not prove itself.
                let is_at_once = self.me.draining || is_pinned(member) || off(Line::Stability);
                alive_for.is_some_and(|alive| is_at_once || alive >= stability)
            })
            .filter(|member| self.is_warm(row, &member.node))
            .max_by_key(|member| self.priority(row, member))?;
        Some(Decision::Release { partition: row.spec.id, to: candidate.node.clone() })
    }
}

#[cfg(test)]
mod tests;
