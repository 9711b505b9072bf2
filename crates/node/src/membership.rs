//! What to claim and what to give up: decisions from what was observed, and nothing else.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;
use turnpike_store::{Member, Observation, PartitionRow};
use turnpike_types::{Epoch, Incarnation, NodeName, PartitionId, Priority};

use crate::NodeConfig;
use crate::liveness::Liveness;

/// Segments that a warm copy may lack: what is appended between two looks at the log.
pub(crate) const LAG_MAX: u64 = 64;
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
    since: HashMap<(PartitionId, Epoch), Instant>,
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
            let key = (partition, row.epoch);
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
                true => Cause::Released,
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
        let silent = self.liveness.silence(row.spec.id) >= self.config.suspicion();
        silent.then_some(Cause::OwnerSilent)
    }

    /// How long to leave it to others: rank times delta, and finite (P12). A warm copy comes
    /// before a cold member, whatever their priorities (P11).
    fn wait(&self, row: &PartitionRow, mine: &Member, cause: Cause) -> Duration {
        let am_warm = self.me.warm.contains(&row.spec.id);
        // Who is found wanting as the owner is not waited for as a claimant.
        let failed = match cause {
            Cause::OwnerGone | Cause::OwnerStoodDown | Cause::OwnerSilent => row.owner.as_ref(),
            _ => None,
        };
        let others = row.spec.members.iter().filter(|member| {
            member.node != mine.node
                && failed.is_none_or(|(owner, _)| *owner != member.node)
                && self.may_claim(&member.node)
                // Of ourselves we know better than the heartbeat that we wrote last.
                && (self.is_warm(row, &member.node), self.priority(row, member))
                    > (am_warm, self.priority(row, mine))
        });
        let rank = u32::try_from(others.count()).unwrap_or(u32::MAX);
        let delta = self.config.deferral();
        match cause {
            Cause::Released => Duration::ZERO,
            // Two intervals are the target's, then it is ours again; then anyone's (P13).
            Cause::TakenBack => delta,
            Cause::Abandoned => delta.saturating_mul(rank) + delta,
            // Who lost his state and would have to load it leaves it to a warm copy.
            Cause::SteppedDown => delta.saturating_mul(rank.min(1)),
            _ => delta.saturating_mul(rank),
        }
    }

    /// What a member ranks by: an operator's pin is above all priorities (P13).
    fn priority(&self, row: &PartitionRow, member: &Member) -> (bool, Priority) {
        (row.pin.as_ref().is_some_and(|pin| pin.member == member.node), member.priority)
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
        beat.and_then(|beat| beat.following.iter().find(|copy| copy.partition == row.spec.id))
            .is_some_and(|copy| copy.segment.0 + LAG_MAX + 1 >= row.next.next.0)
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
            .filter(|member| {
                let alive_for = self.liveness.alive_for(&member.node);
                // Who was asked for by name, or is needed now, need not prove itself.
                let is_at_once = self.me.draining || is_pinned(member);
                alive_for.is_some_and(|alive| is_at_once || alive >= stability)
            })
            .filter(|member| self.is_warm(row, &member.node))
            .max_by_key(|member| self.priority(row, member))?;
        Some(Decision::Release { partition: row.spec.id, to: candidate.node.clone() })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use turnpike_store::{Member, NodeBeat, NodeRow, PartitionSpec, SegmentPosition, Serving};
    use turnpike_types::{AccountRange, ClaimId, Priority, SegmentHash, SegmentNumber, Timestamp};

    use super::*;

    const P: PartitionId = PartitionId(1);
    const CLAIM: ClaimId = ClaimId([1; 16]);

    fn name(node: &str) -> NodeName {
        NodeName(node.to_owned())
    }

    /// One observer, `me`, of a cluster of `a` (priority 30), `b` (20) and `c` (10).
    struct World {
        config: NodeConfig,
        me: NodeName,
        busy: HashSet<PartitionId>,
        draining: bool,
        beats: Vec<NodeBeat>,
        row: PartitionRow,
        liveness: Liveness,
        vacancies: Vacancies,
        now: Instant,
    }

    impl World {
        fn new(me: &str, owner: Option<&str>) -> Self {
            let config = NodeConfig::default();
            let members = [("a", 30), ("b", 20), ("c", 10)];
            let members = members
                .map(|(node, priority)| Member { node: name(node), priority: Priority(priority) });
            let spec = PartitionSpec {
                id: P,
                range: AccountRange::new(1, 9).unwrap(),
                horizon_us: 0,
                accept_since: None,
                members: members.into(),
            };
            let row = PartitionRow {
                spec,
                epoch: Epoch::stored(u64::from(owner.is_some())),
                owner: owner.map(|owner| (name(owner), Incarnation(1))),
                claim: CLAIM,
                next: SegmentPosition { next: SegmentNumber(1), last_hash: SegmentHash::default() },
                released_to: None,
                last_posting: SegmentNumber(0),
            };
            let liveness = Liveness::new(&config);
            Self {
                config,
                me: name(me),
                busy: HashSet::new(),
                draining: false,
                beats: Vec::new(),
                row,
                liveness,
                vacancies: Vacancies::default(),
                now: Instant::now(),
            }
        }

        /// One heartbeat interval in which these nodes beat; the owner names what it serves.
        fn round(&mut self, alive: &[&str]) -> Vec<Decision> {
            self.now += self.config.heartbeat;
            for node in alive {
                self.beat(node, Incarnation(1), true);
            }
            self.observe()
        }

        fn beat(&mut self, node: &str, incarnation: Incarnation, serves: bool) {
            let owns = self.row.owner == Some((name(node), incarnation)) && serves;
            let serving = Serving { partition: P, epoch: self.row.epoch, claim: self.row.claim };
            let counter =
                self.beats.iter().find(|beat| beat.node.0 == node).map_or(0, |b| b.counter);
            self.beats.retain(|beat| beat.node.0 != node);
            self.beats.push(NodeBeat {
                node: name(node),
                incarnation,
                counter: counter + 1,
                address: String::new(),
                draining: false,
                serving: if owns { vec![serving] } else { Vec::new() },
            });
        }

        fn observe(&mut self) -> Vec<Decision> {
            let rows = self.beats.iter().map(|beat| NodeRow {
                beat: beat.clone(),
                // Far in the past: the timestamp is for people (P10).
                beat_at: Timestamp(0),
            });
            let seen = Observation {
                nodes: rows.collect(),
                partitions: vec![self.row.clone()],
                catalogue_version: 0,
                now: Timestamp(0),
            };
            self.liveness.observe(&seen, self.now);
            let me = Me {
                node: &self.me,
                incarnation: Incarnation(1),
                draining: self.draining,
                busy: &self.busy,
            };
            self.vacancies.decide(&self.config, &me, &seen, &self.liveness, self.now)
        }

        /// In which round of these the first decision falls, and which it is.
        fn first(&mut self, alive: &[&str], rounds: u32) -> Option<(u32, Decision)> {
            (1..=rounds).find_map(|round| Some((round, self.round(alive).pop()?)))
        }
    }

    fn claims(cause: Cause, seen: u64) -> Decision {
        Decision::Claim { partition: P, seen: Epoch::stored(seen), cause }
    }

    #[test]
    fn p10_an_owner_that_beats_is_left_alone_for_ever() {
        let mut world = World::new("b", Some("a"));
        assert_eq!(world.first(&["a", "b"], 100), None);
    }

    #[test]
    fn p21_a_silent_owner_is_suspect_after_four_intervals() {
        let mut world = World::new("b", Some("a"));
        world.first(&["a", "b"], 10);
        assert_eq!(world.first(&["b"], 10), Some((4, claims(Cause::OwnerSilent, 1))));
    }

    #[test]
    fn p12_a_lower_member_leaves_it_to_a_live_higher_one_but_not_for_ever() {
        let mut world = World::new("c", Some("a"));
        world.first(&["a", "b", "c"], 10);
        let (round, decision) = world.first(&["b", "c"], 20).unwrap();
        assert_eq!((round, decision), (6, claims(Cause::OwnerSilent, 1)), "4 and one rank of 2");
        let mut alone = World::new("c", Some("a"));
        alone.first(&["a", "b", "c"], 10);
        assert_eq!(alone.first(&["c"], 20).unwrap().0, 4, "a dead higher member is not waited for");
    }

    #[test]
    fn p9_an_owner_that_beats_without_naming_the_partition_loses_it() {
        let mut world = World::new("b", Some("a"));
        world.first(&["a", "b"], 10);
        for round in 1..10 {
            world.now += world.config.heartbeat;
            world.beat("a", Incarnation(1), false);
            world.beat("b", Incarnation(1), true);
            let decisions = world.observe();
            assert_eq!(decisions.is_empty(), round < 6, "a is alive and above: round {round}");
        }
    }

    #[test]
    fn p9_a_commit_is_a_sign_of_life() {
        let mut world = World::new("b", Some("a"));
        world.first(&["a", "b"], 10);
        for _ in 0..20 {
            world.row.next.next = world.row.next.next.next();
            assert_eq!(world.round(&["b"]), []);
        }
    }

    #[test]
    fn p10_a_database_that_stood_still_does_not_look_like_a_dead_cluster() {
        let mut world = World::new("b", Some("a"));
        world.first(&["a", "b"], 10);
        world.now += Duration::from_secs(60);
        assert_eq!(world.observe(), [], "nobody could beat, and we could not read");
        assert_eq!(world.first(&["a", "b"], 10), None);
    }

    #[test]
    fn p11_a_new_process_proves_the_old_one_dead() {
        let mut world = World::new("b", Some("a"));
        world.first(&["a", "b"], 10);
        world.now += world.config.heartbeat;
        world.beat("a", Incarnation(2), true);
        world.beat("b", Incarnation(1), true);
        // The new process of a is above b, and has two intervals to claim.
        assert_eq!(world.observe(), []);
        let mut restarted = World::new("a", Some("a"));
        restarted.row.owner = Some((name("a"), Incarnation(77)));
        assert_eq!(restarted.round(&["a"]), [claims(Cause::OwnerRestarted, 1)]);
    }

    #[test]
    fn p2_after_a_step_down_the_owner_claims_before_it_reads() {
        let mut world = World::new("a", Some("a"));
        assert_eq!(world.round(&["a"]), [claims(Cause::SteppedDown, 1)]);
    }

    #[test]
    fn p13_a_released_partition_is_its_targets_first_and_then_anyones() {
        let released = |me| {
            let mut world = World::new(me, Some("c"));
            world.first(&["a", "b", "c"], 10);
            world.row.released_to = Some(name("a"));
            world
        };
        assert_eq!(released("a").round(&["a", "b", "c"]), [claims(Cause::Released, 1)]);
        let (round, decision) = released("b").first(&["a", "b", "c"], 20).unwrap();
        assert_eq!((round, decision), (5, claims(Cause::Abandoned, 1)), "two intervals and a rank");
    }

    #[test]
    fn p14_a_higher_member_gets_it_back_once_it_has_lived_a_while() {
        let mut world = World::new("c", Some("c"));
        world.busy.insert(P);
        assert_eq!(world.first(&["c"], 20), None);
        let (round, decision) = world.first(&["b", "c"], 20).unwrap();
        assert_eq!(decision, Decision::Release { partition: P, to: name("b") });
        assert_eq!(round, 9, "eight intervals of life");
    }

    #[test]
    fn a_node_that_is_emptied_gives_up_and_claims_nothing() {
        let mut world = World::new("a", Some("a"));
        world.draining = true;
        assert_eq!(world.first(&["a"], 20), None, "it does not claim");
        world.busy.insert(P);
        let (_, decision) = world.first(&["a", "c"], 20).unwrap();
        assert_eq!(decision, Decision::Release { partition: P, to: name("c") });
    }
}
