use std::time::Duration;

use turnpike_mutants::{Check, all_caught};
use turnpike_store::{
    Following, Member, NodeBeat, NodeRow, PartitionSpec, Pin, SegmentPosition, Serving,
};
use turnpike_types::{AccountRange, ClaimId, Priority, SegmentHash, SegmentNumber, Timestamp};

use super::*;
use crate::membership::liveness::Complaint;

const P: PartitionId = PartitionId(1);
const CLAIM: ClaimId = ClaimId([1; 16]);

fn name(node: &str) -> NodeName {
    NodeName(node.to_owned())
}

/// One observer, `me`, in a cluster of `a` (priority 30), `b` (20) and `c` (10).
struct World {
    config: NodeConfig,
    me: NodeName,
    busy: HashSet<PartitionId>,
    /// Nodes whose heartbeats report a warm replica.
    warm: HashSet<&'static str>,
    gone: HashMap<NodeName, Incarnation>,
    /// The node that an operator asked to drain.
    emptied: Option<&'static str>,
    draining: bool,
    beats: Vec<NodeBeat>,
    row: PartitionRow,
    liveness: Liveness,
    vacancies: Vacancies,
    now: Instant,
    /// The last observation led to a decision to keep a warm replica.
    follows: bool,
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
            warm: HashSet::new(),
            gone: HashMap::new(),
            emptied: None,
            draining: false,
            beats: Vec::new(),
            row,
            liveness,
            vacancies: Vacancies::default(),
            now: Instant::now(),
            follows: false,
        }
    }

    /// One heartbeat interval, in which the nodes of `alive` write a heartbeat. The owner's
    /// heartbeat names the served partitions.
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
        let counter = self.beats.iter().find(|beat| beat.node.0 == node).map_or(0, |b| b.counter);
        self.beats.retain(|beat| beat.node.0 != node);
        let last = SegmentNumber(self.row.next.next.0 - 1);
        let copy = Following { partition: P, segment: last, hash: self.row.next.last_hash };
        self.beats.push(NodeBeat {
            node: name(node),
            incarnation,
            counter: counter + 1,
            address: String::new(),
            draining: false,
            serving: if owns { vec![serving] } else { Vec::new() },
            following: self.warm.get(node).map(|_| copy).into_iter().collect(),
        });
    }

    fn observe(&mut self) -> Vec<Decision> {
        let rows = self.beats.iter().map(|beat| NodeRow {
            beat: beat.clone(),
            // In the distant past: the timestamp is shown to people, and decides nothing (P10).
            beat_at: Timestamp(0),
            drain_asked: self.emptied == Some(beat.node.0.as_str()),
        });
        let seen = Observation {
            nodes: rows.collect(),
            partitions: vec![self.row.clone()],
            catalogue_version: 0,
            now: Timestamp(0),
        };
        self.liveness.observe(&seen, self.now);
        self.liveness.suspect(&self.gone, self.now);
        let is_warm = self.warm.contains(self.me.0.as_str());
        let warm = is_warm.then_some(P).into_iter().collect();
        let me = ThisNode {
            node: &self.me,
            incarnation: Incarnation(1),
            draining: self.draining,
            busy: &self.busy,
            warm: &warm,
        };
        let decisions = self.vacancies.decide(&self.config, &me, &seen, &self.liveness, self.now);
        let (follow, decisions) =
            decisions.into_iter().partition(|decision| matches!(decision, Decision::Follow { .. }));
        self.follows = !Vec::is_empty(&follow);
        decisions
    }

    /// The first decision within `rounds`, and its round.
    fn first(&mut self, alive: &[&str], rounds: u32) -> Option<(u32, Decision)> {
        (1..=rounds).find_map(|round| Some((round, self.round(alive).pop()?)))
    }
}

fn claims(cause: TakeoverCause, seen: u64) -> Decision {
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
    assert_eq!(world.first(&["b"], 10), Some((4, claims(TakeoverCause::OwnerSilent, 1))));
}

/// An observation one millisecond too early must not delay the suspicion by a whole interval.
#[test]
fn p21_the_next_look_is_when_the_owner_becomes_suspect() {
    let mut world = World::new("b", Some("a"));
    world.first(&["a", "b"], 10);
    let heartbeat = world.config.heartbeat;
    assert_eq!(world.liveness.next_suspicion(heartbeat), None);
    for _ in 0..4 {
        world.now += heartbeat - Duration::from_millis(1);
        assert_eq!(world.observe(), []);
    }
    assert_eq!(world.liveness.next_suspicion(heartbeat), Some(Duration::from_millis(4)));
    world.now += Duration::from_millis(4);
    assert_eq!(world.observe(), [claims(TakeoverCause::OwnerSilent, 1)]);
    assert_eq!(world.liveness.next_suspicion(heartbeat), None);
}

#[test]
fn p12_a_member_waits_for_a_live_one_of_higher_priority_but_not_for_ever() {
    let mut world = World::new("c", Some("a"));
    world.first(&["a", "b", "c"], 10);
    let (round, decision) = world.first(&["b", "c"], 20).unwrap();
    assert_eq!(
        (round, decision),
        (6, claims(TakeoverCause::OwnerSilent, 1)),
        "4 and one rank of 2"
    );
    let mut alone = World::new("c", Some("a"));
    alone.first(&["a", "b", "c"], 10);
    assert_eq!(alone.first(&["c"], 20).unwrap().0, 4, "a dead higher member is not waited for");
}

#[test]
fn p9_an_owner_that_beats_twice_without_naming_the_partition_loses_it() {
    let mut world = World::new("b", Some("a"));
    world.first(&["a", "b"], 10);
    let mut disown = |decided: &[Decision]| {
        world.now += world.config.heartbeat;
        world.beat("a", Incarnation(1), false);
        world.beat("b", Incarnation(1), true);
        assert_eq!(world.observe(), decided);
    };
    // The first heartbeat without the partition may have been in flight when the claim was made.
    disown(&[]);
    disown(&[claims(TakeoverCause::OwnerStoodDown, 1)]);
}

#[test]
fn p9_each_flap_of_a_member_gives_the_owner_more_time() {
    let rounds = |flaps| {
        let mut world = World::new("b", Some("a"));
        world.row.flaps = flaps;
        world.first(&["a", "b"], 10);
        let disowned = (1..=40).find(|_| {
            world.now += world.config.heartbeat;
            world.beat("a", Incarnation(1), false);
            world.beat("b", Incarnation(1), true);
            !world.observe().is_empty()
        });
        disowned.unwrap()
    };
    assert_eq!([0, 1, 2].map(rounds), [2, 3, 5]);
    assert_eq!(rounds(100), 5, "and not for ever");
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
fn p10_a_database_that_was_frozen_is_not_taken_for_a_dead_cluster() {
    let mut world = World::new("b", Some("a"));
    world.first(&["a", "b"], 10);
    world.now += Duration::from_secs(60);
    assert_eq!(world.observe(), [], "no node could write or read heartbeats");
    assert_eq!(world.first(&["a", "b"], 10), None);
}

#[test]
fn p11_a_new_process_proves_the_old_one_dead() {
    let mut world = World::new("b", Some("a"));
    world.first(&["a", "b"], 10);
    world.now += world.config.heartbeat;
    world.beat("a", Incarnation(2), true);
    world.beat("b", Incarnation(1), true);
    // The new process of `a` ranks above `b`, and has two intervals to claim before `b` does.
    assert_eq!(world.observe(), []);
    let mut restarted = World::new("a", Some("a"));
    restarted.row.owner = Some((name("a"), Incarnation(77)));
    assert_eq!(restarted.round(&["a"]), [claims(TakeoverCause::OwnerRestarted, 1)]);
}

#[test]
fn p11_a_replaced_process_is_known_to_be_dead_before_the_time_of_a_silent_one() {
    let mut world = World::new("b", Some("a"));
    world.first(&["a", "b"], 10);
    // A new process continues the heartbeats of the name `a`, without the partition. It ranks above
    // `b`, and has two intervals to claim before `b` does.
    let replaced = (1..=10).find_map(|round| {
        world.now += world.config.heartbeat;
        world.beat("a", Incarnation(2), true);
        world.beat("b", Incarnation(1), true);
        Some((round, world.observe().pop()?))
    });
    assert_eq!(
        replaced,
        Some((3, claims(TakeoverCause::OwnerRestarted, 1))),
        "the old process is known to be dead"
    );
}

#[test]
fn p2_after_a_step_down_the_owner_claims_before_it_reads() {
    let mut world = World::new("a", Some("a"));
    assert_eq!(world.round(&["a"]), [claims(TakeoverCause::SteppedDown, 1)]);
}

#[test]
fn p13_a_released_partition_is_its_targets_first_and_then_anyones() {
    let released = |me| {
        let mut world = World::new(me, Some("c"));
        world.first(&["a", "b", "c"], 10);
        world.row.released_to = Some(name("a"));
        world
    };
    assert_eq!(released("a").round(&["a", "b", "c"]), [claims(TakeoverCause::Released, 1)]);
    let (round, decision) = released("b").first(&["a", "b", "c"], 20).unwrap();
    assert_eq!(
        (round, decision),
        (5, claims(TakeoverCause::Abandoned, 1)),
        "two intervals, and two more for one rank"
    );
}

#[test]
fn p13_the_releasing_owner_takes_the_partition_back_when_no_target_claims() {
    let mut world = World::new("c", Some("c"));
    world.busy.insert(P);
    world.first(&["a", "b", "c"], 10);
    world.row.released_to = Some(name("a"));
    world.busy.remove(&P);
    let (round, decision) = world.first(&["a", "b", "c"], 20).unwrap();
    assert_eq!(
        (round, decision),
        (3, claims(TakeoverCause::TakenBack, 1)),
        "`a` alone may claim for two intervals"
    );
}

/// If such a handover did not count as a flap, an owner that reset its connection each minute would
/// get control back two seconds later each time.
#[test]
fn p14_a_handover_by_a_member_of_higher_priority_counts_as_a_flap_unless_it_was_requested() {
    let given = |change: &dyn Fn(&mut World)| {
        let mut world = World::new("b", Some("a"));
        world.first(&["a", "b"], 10);
        world.row.released_to = Some(name("b"));
        change(&mut world);
        world.round(&["a", "b"])
    };
    assert_eq!(
        given(&|_| ()),
        [claims(TakeoverCause::OwnerInTrouble, 1)],
        "the target claims at once"
    );
    assert!(TakeoverCause::OwnerInTrouble.is_forced());
    let pin = Some(Pin { member: name("b"), until: Timestamp(1) });
    assert_eq!(
        given(&|world| world.row.pin.clone_from(&pin)),
        [claims(TakeoverCause::Released, 1)]
    );
    assert_eq!(given(&|world| world.emptied = Some("a")), [claims(TakeoverCause::Released, 1)]);
}

#[test]
fn p13_a_pin_is_above_all_priorities() {
    let mut world = World::new("a", Some("a"));
    world.busy.insert(P);
    world.warm.insert("c");
    assert_eq!(world.first(&["a", "b", "c"], 20), None);
    world.row.pin = Some(Pin { member: name("c"), until: Timestamp(1) });
    let (round, decision) = world.first(&["a", "b", "c"], 20).unwrap();
    assert_eq!((round, decision), (1, Decision::Release { partition: P, to: name("c") }));
    // The member with the highest priority does not get the partition back while the pin holds.
    let mut holder = World::new("c", Some("c"));
    holder.busy.insert(P);
    holder.warm.insert("a");
    holder.row.pin.clone_from(&world.row.pin);
    assert_eq!(holder.first(&["a", "b", "c"], 30), None);
}

#[test]
fn p14_a_member_of_higher_priority_gets_the_partition_back_once_warm_and_stable() {
    let mut world = World::new("c", Some("c"));
    world.busy.insert(P);
    assert_eq!(world.first(&["c"], 20), None);
    world.warm.insert("b");
    let (round, decision) = world.first(&["b", "c"], 20).unwrap();
    assert_eq!(decision, Decision::Release { partition: P, to: name("b") });
    assert_eq!(round, 9, "eight intervals of uninterrupted heartbeats");
    let mut cold = World::new("c", Some("c"));
    cold.busy.insert(P);
    assert_eq!(cold.first(&["b", "c"], 40), None, "clients would wait while a cold member loads");
}

/// If the lag were counted in segments alone, no replica of a fast log would be warm enough for a
/// release.
#[test]
fn p14_a_replica_that_follows_a_fast_log_is_warm_and_a_stuck_one_is_not() {
    let mut world = World::new("c", Some("c"));
    world.busy.insert(P);
    world.warm.insert("b");
    let mut quick = |beating: &[&str]| {
        // The log grows between the heartbeats and their observation.
        for node in beating {
            world.beat(node, Incarnation(1), true);
        }
        world.now += world.config.heartbeat;
        world.row.next.next.0 += 1_000;
        world.observe().pop()
    };
    let release = Decision::Release { partition: P, to: name("b") };
    assert_eq!((0..20).find_map(|_| quick(&["b", "c"])), Some(release.clone()));
    let lagging = world.beats.iter().find(|beat| beat.node.0 == "b").unwrap().clone();
    // The standby's heartbeats continue, but its replica does not advance.
    let mut still = || {
        world.round(&["c"]);
        world.beats.retain(|beat| beat.node.0 != "b");
        let counter = world.beats.iter().map(|beat| beat.counter).max().unwrap() + 1;
        world.beats.push(NodeBeat { counter, ..lagging.clone() });
        world.row.next.next.0 += 1_000;
        world.observe().pop()
    };
    let rounds = (0..10).take_while(|_| still().is_some()).count();
    assert!((1..=4).contains(&rounds), "cold after {rounds} intervals");
}

#[test]
fn p14_each_flap_doubles_the_time_that_a_returning_member_must_live() {
    let after = |flaps| {
        let mut world = World::new("c", Some("c"));
        world.busy.insert(P);
        world.warm.insert("b");
        world.row.flaps = flaps;
        world.first(&["b", "c"], 2_000).unwrap().0
    };
    assert_eq!([after(1), after(2), after(3)], [17, 33, 65]);
    assert_eq!(after(7), after(100), "and not for ever");
}

#[test]
fn p11_a_warm_member_comes_before_a_cold_one_of_higher_priority() {
    let silent = |me, warm| {
        let mut world = World::new(me, Some("a"));
        world.warm.insert(warm);
        world.first(&["a", "b", "c"], 10);
        world.first(&["b", "c"], 20).unwrap()
    };
    assert_eq!(silent("c", "c"), (4, claims(TakeoverCause::OwnerSilent, 1)));
    assert_eq!(
        silent("b", "c"),
        (6, claims(TakeoverCause::OwnerSilent, 1)),
        "but not for ever (P12)"
    );
    let mut cold = World::new("a", Some("a"));
    cold.warm.insert("b");
    cold.busy.insert(P);
    cold.first(&["a", "b", "c"], 3);
    // The owner discards its state after an append of unknown outcome. `b` lacks only the last
    // segment.
    cold.busy.remove(&P);
    let (round, decision) = cold.first(&["a", "b", "c"], 20).unwrap();
    assert_eq!((round, decision), (3, claims(TakeoverCause::SteppedDown, 1)));
}

#[test]
fn p15_a_closed_and_refused_connection_counts_as_a_dead_owner_until_disproved() {
    let mut world = World::new("b", Some("a"));
    world.warm.insert("b");
    world.first(&["a", "b"], 10);
    world.gone.insert(name("a"), Incarnation(1));
    assert_eq!(world.round(&["b"]), [claims(TakeoverCause::OwnerGone, 1)]);
    // The process still writes heartbeats: the alarm was false, and is ignored for a while.
    let mut heard = 0;
    for _ in 0..12 {
        heard += usize::from(!world.round(&["a", "b"]).is_empty());
    }
    assert_eq!(heard, 3, "heartbeats that may have been in flight when the process exited");
    // An alarm about another process of that name does not count.
    let mut other = World::new("b", Some("a"));
    other.first(&["a", "b"], 10);
    other.gone.insert(name("a"), Incarnation(9));
    assert_eq!(other.first(&["a", "b"], 10), None);
}

fn complaint(epoch: u64) -> Complaint {
    Complaint { epoch, insists: false }
}

#[test]
fn p16_an_owner_out_of_reach_is_replaced_when_a_front_complains_of_it_too() {
    let cut = |complaint: Option<Complaint>, met: Option<bool>| {
        let mut world = World::new("b", Some("a"));
        world.warm.insert("b");
        world.first(&["a", "b"], 10);
        let unreachable = met.map(|met| (name("a"), met)).into_iter().collect();
        let complaints = complaint.map(|complaint| (P, complaint)).into_iter().collect();
        world.liveness.complain(unreachable, complaints);
        world.first(&["a", "b"], 10)
    };
    let claimed = Some((1, claims(TakeoverCause::OwnerUnreachable, 1)));
    assert_eq!(cut(Some(complaint(1)), Some(true)), claimed);
    assert_eq!(cut(None, Some(true)), None, "the observer's own connection may be the broken one");
    assert_eq!(cut(Some(complaint(1)), None), None, "the observer relays for the front");
    assert_eq!(cut(Some(complaint(0)), Some(true)), None, "a complaint about an earlier owner");
    let (once, insists) = (complaint(1), Complaint { insists: true, ..complaint(1) });
    assert_eq!(
        cut(Some(once), Some(false)),
        None,
        "the observer never reached the owner, and is no witness"
    );
    assert_eq!(cut(Some(insists), Some(false)), claimed);
}

#[test]
fn p16_a_slow_owner_is_not_taken_for_one_that_is_cut_off() {
    let mut world = World::new("b", Some("a"));
    world.warm.insert("b");
    world.row.flaps = 9;
    world.first(&["a", "b"], 10);
    // The owner misses heartbeats, and answers no connection.
    assert_eq!(world.first(&["b"], 2), None);
    world.liveness.complain([(name("a"), true)].into(), [(P, complaint(1))].into());
    assert_eq!(
        world.first(&["b"], 10),
        Some((2, claims(TakeoverCause::OwnerSilent, 1))),
        "after four"
    );
}

#[test]
fn p16_control_does_not_go_back_to_a_member_that_is_out_of_reach() {
    let mut world = World::new("c", Some("c"));
    world.busy.insert(P);
    world.warm.insert("b");
    let cut = HashMap::from([(name("b"), true)]);
    world.liveness.complain(cut.clone(), HashMap::new());
    world.liveness.note_cut_off(name("b"));
    assert_eq!(world.first(&["b", "c"], 40), None);
    // This node reaches `b` again, so `b` is no longer cut off. That this node then fails to reach
    // `b`, without a complaint of a front, is no reason to keep control.
    world.liveness.complain(HashMap::new(), HashMap::new());
    world.liveness.complain(cut, HashMap::new());
    let (_, decision) = world.first(&["b", "c"], 40).unwrap();
    assert_eq!(decision, Decision::Release { partition: P, to: name("b") });
}

#[test]
fn the_next_in_rank_and_the_intended_owner_keep_warm_replicas() {
    let follows = |me, owner, change: &dyn Fn(&mut World)| {
        let mut world = World::new(me, Some(owner));
        change(&mut world);
        world.first(&["a", "b", "c"], 3);
        world.follows
    };
    assert!(follows("b", "a", &|_| ()));
    assert!(!follows("c", "a", &|_| ()), "one warm standby is enough");
    assert!(follows("c", "a", &|world| world.config.warm_standbys = 2));
    assert!(!follows("b", "a", &|world| world.config.warm_standbys = 0));
    assert!(follows("a", "c", &|world| world.config.warm_standbys = 0), "it is to return");
    let pin = Some(Pin { member: name("c"), until: Timestamp(1) });
    assert!(follows("c", "a", &|world| world.row.pin.clone_from(&pin)));
    assert!(!follows("b", "a", &|world| world.draining = true));
}

#[test]
fn a_drained_node_releases_its_partitions_and_claims_nothing() {
    let mut world = World::new("a", Some("a"));
    world.draining = true;
    assert_eq!(world.first(&["a"], 20), None, "it does not claim");
    world.busy.insert(P);
    assert_eq!(world.first(&["a", "c"], 20), None, "no member is warm yet");
    world.warm.insert("c");
    let (_, decision) = world.first(&["a", "c"], 20).unwrap();
    assert_eq!(decision, Decision::Release { partition: P, to: name("c") });
}

#[test]
fn mutants_are_caught() {
    let mutants = [
        (
            Check::NamedClaim,
            "p9_an_owner_that_beats_twice_without_naming_the_partition_loses_it",
            "OwnerStoodDown",
        ),
        (Check::CommitIsSign, "p9_a_commit_is_a_sign_of_life", "OwnerSilent"),
        (
            Check::ReadGaps,
            "p10_a_database_that_was_frozen_is_not_taken_for_a_dead_cluster",
            "no node could write or read",
        ),
        (
            Check::NewProcess,
            "p11_a_replaced_process_is_known_to_be_dead_before_the_time_of_a_silent_one",
            "known to be dead",
        ),
        (
            Check::WarmFirst,
            "p11_a_warm_member_comes_before_a_cold_one_of_higher_priority",
            "OwnerSilent",
        ),
        (
            Check::DefersToLive,
            "p12_a_member_waits_for_a_live_one_of_higher_priority_but_not_for_ever",
            "not waited for",
        ),
        (
            Check::TargetFirst,
            "p13_a_released_partition_is_its_targets_first_and_then_anyones",
            "two intervals",
        ),
        (Check::PinAbove, "p13_a_pin_is_above_all_priorities", "None"),
        (
            Check::Stability,
            "p14_a_member_of_higher_priority_gets_the_partition_back_once_warm_and_stable",
            "eight intervals",
        ),
        (
            Check::Distrust,
            "p15_a_closed_and_refused_connection_counts_as_a_dead_owner_until_disproved",
            "in flight",
        ),
        (
            Check::SecondWitness,
            "p16_an_owner_out_of_reach_is_replaced_when_a_front_complains_of_it_too",
            "the observer relays for the front",
        ),
        (
            Check::ReturnInReach,
            "p16_control_does_not_go_back_to_a_member_that_is_out_of_reach",
            "Release",
        ),
    ];
    for (line, test, how) in mutants {
        all_caught(&[(line, &format!("membership::decisions::tests::{test}"), how)]);
    }
}
