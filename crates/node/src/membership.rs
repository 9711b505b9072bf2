//! What to claim and what to give up: decisions from what was observed, and nothing else.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;
use turnpike_store::{Observation, PartitionRow};
use turnpike_types::{Epoch, Incarnation, NodeName, PartitionId};

use crate::NodeConfig;
use crate::liveness::Liveness;

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
    /// The owner gave no sign for too long.
    OwnerSilent,
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
            Self::OwnerSilent => "owner-silent",
            Self::SteppedDown => "stepped-down",
        }
    }

    /// Is it taken from another process that had not given it up (P14)?
    pub(crate) const fn is_forced(self) -> bool {
        match self {
            Self::OwnerRestarted | Self::OwnerSilent => true,
            Self::NeverOwned | Self::Released | Self::Abandoned | Self::SteppedDown => false,
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
}

/// Who we are and what we hold.
#[derive(Debug)]
pub(crate) struct Me<'a> {
    pub(crate) node: &'a NodeName,
    pub(crate) incarnation: Incarnation,
    pub(crate) draining: bool,
    /// Partitions that have an owner task here, or a claim under way.
    pub(crate) busy: &'a HashSet<PartitionId>,
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
            if !row.spec.members.iter().any(|member| &member.node == me.node) {
                continue;
            }
            if me.busy.contains(&row.spec.id) {
                decisions.extend(round.release(row));
                continue;
            }
            let Some(cause) = round.vacancy(row).filter(|_| !me.draining) else { continue };
            let key = (row.spec.id, row.epoch);
            let since = self.since.get(&key).copied().unwrap_or(now);
            still_vacant.insert(key, since);
            if now - since >= round.wait(row, cause) {
                let (partition, seen) = key;
                decisions.push(Decision::Claim { partition, seen, cause });
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
        if let Some(to) = &row.released_to {
            return Some(if to == self.me.node { Cause::Released } else { Cause::Abandoned });
        }
        if owner == self.me.node && *incarnation == self.me.incarnation {
            return Some(Cause::SteppedDown);
        }
        if owner == self.me.node || self.liveness.is_replaced(owner, *incarnation) {
            return Some(Cause::OwnerRestarted);
        }
        let silent = self.liveness.silence(row.spec.id) >= self.config.suspicion();
        silent.then_some(Cause::OwnerSilent)
    }

    /// How long to leave it to higher members: rank times delta, and finite (P12).
    fn wait(&self, row: &PartitionRow, cause: Cause) -> Duration {
        if matches!(cause, Cause::Released | Cause::SteppedDown) {
            return Duration::ZERO;
        }
        let Some(mine) = row.spec.members.iter().find(|member| &member.node == self.me.node) else {
            return Duration::MAX;
        };
        let above = row
            .spec
            .members
            .iter()
            .filter(|member| member.priority > mine.priority && self.may_claim(&member.node));
        let rank = u32::try_from(above.count()).unwrap_or(u32::MAX);
        // A released partition belongs to its target first, for two intervals (P13).
        let target_first =
            if cause == Cause::Abandoned { self.config.deferral() } else { Duration::ZERO };
        self.config.deferral().saturating_mul(rank) + target_first
    }

    /// Would this node claim what is free?
    fn may_claim(&self, node: &NodeName) -> bool {
        self.liveness.is_live(node) && !self.is_draining(node)
    }

    fn is_draining(&self, node: &NodeName) -> bool {
        self.seen.nodes.iter().any(|row| &row.beat.node == node && row.beat.draining)
    }

    /// Should we give up what we serve: to a higher member that has been alive long enough (P14),
    /// or to anyone who lives while we are being emptied?
    fn release(&self, row: &PartitionRow) -> Option<Decision> {
        let ours = row.owner.as_ref().is_some_and(|(owner, incarnation)| {
            owner == self.me.node && *incarnation == self.me.incarnation
        });
        if !ours || row.released_to.is_some() {
            return None;
        }
        let mine = row.spec.members.iter().find(|member| &member.node == self.me.node)?;
        let stable = |node: &NodeName| {
            let alive_for = self.liveness.alive_for(node);
            alive_for.is_some_and(|alive| alive >= self.config.stability())
                && !self.is_draining(node)
        };
        // Members stand by falling priority.
        let candidate = row.spec.members.iter().find(|member| {
            &member.node != self.me.node
                && stable(&member.node)
                && (self.me.draining || member.priority > mine.priority)
        })?;
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
                flaps: 0,
                pin: None,
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
                following: Vec::new(),
            });
        }

        fn observe(&mut self) -> Vec<Decision> {
            let rows = self.beats.iter().map(|beat| NodeRow {
                beat: beat.clone(),
                // Far in the past: the timestamp is for people (P10).
                beat_at: Timestamp(0),
                drain_asked: false,
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
