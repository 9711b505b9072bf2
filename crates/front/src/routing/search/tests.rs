use std::collections::BTreeMap;

use turnpike_store::{
    Following, Member, NodeBeat, NodeRow, Observation, PartitionRow, PartitionSpec, SegmentPosition,
};
use turnpike_types::{
    AccountRange, ClaimId, Incarnation, NodeName, Priority, SegmentHash, SegmentNumber, Timestamp,
};

use super::*;

const PARTITION: PartitionId = PartitionId(1);
const SUSPICION: Duration = Duration::from_secs(1);
/// The epoch of the owner, `a`.
const EPOCH: u64 = 7;

fn node(name: &str) -> NodeRow {
    let (segment, hash) = (SegmentNumber(1), SegmentHash::default());
    let beat = NodeBeat {
        node: NodeName(name.to_owned()),
        incarnation: Incarnation(1),
        counter: 1,
        address: format!("{name}:1"),
        draining: false,
        serving: Vec::new(),
        following: vec![Following { partition: PARTITION, segment, hash }],
    };
    NodeRow { beat, beat_at: Timestamp(0), drain_asked: false }
}

/// A table in which `owner` owns the partition; `a`, `b` and `c` are its members, with warm
/// replicas, and `b` has the highest priority.
fn table(owner: Option<&str>) -> RouteTable {
    let member = |(name, priority): (&str, u32)| Member {
        node: NodeName(name.to_owned()),
        priority: Priority(priority),
    };
    let partition = PartitionRow {
        spec: PartitionSpec {
            id: PARTITION,
            range: AccountRange::new(1, 9).unwrap(),
            horizon_us: 0,
            accept_since: None,
            members: [("a", 10), ("b", 30), ("c", 20)].map(member).to_vec(),
        },
        epoch: Epoch::stored(EPOCH),
        owner: owner.map(|owner| (NodeName(owner.to_owned()), Incarnation(1))),
        claim: ClaimId::default(),
        next: SegmentPosition { next: SegmentNumber(2), last_hash: SegmentHash::default() },
        released_to: None,
        last_posting: SegmentNumber(0),
        flaps: 0,
        pin: None,
    };
    let observation = Observation {
        nodes: ["a", "b", "c"].map(node).to_vec(),
        partitions: vec![partition],
        catalogue_version: 0,
        now: Timestamp(0),
    };
    RouteTable::new(1, observation, vec![Duration::ZERO; 3], &mut BTreeMap::new())
}

fn search() -> OwnerSearch {
    OwnerSearch::new(PARTITION, SUSPICION)
}

/// The address, whether it is a hint, and the complaint.
fn next(search: &mut OwnerSearch, table: &RouteTable) -> (String, bool, Option<u64>) {
    let target = search.target(table).unwrap();
    (target.address, target.is_referred, target.complaint)
}

fn at(name: &str, is_referred: bool, complaint: Option<u64>) -> (String, bool, Option<u64>) {
    (format!("{name}:1"), is_referred, complaint)
}

fn fresh(name: &str) -> Option<String> {
    Some(format!("{name}:1"))
}

#[test]
fn the_first_hint_is_followed_at_once_and_later_ones_after_a_pause() {
    let table = table(Some("a"));
    let mut search = search();
    assert_eq!(next(&mut search, &table), at("a", false, None));
    assert_eq!(search.stale("a:1", "moved".to_owned(), fresh("b")), NextTry::AtOnce);
    assert_eq!(next(&mut search, &table), at("b", true, None));
    assert_eq!(search.stale("b:1", "moved back".to_owned(), fresh("a")), NextTry::AfterPause);
    assert_eq!((search.failures(), search.last()), (2, "moved back"));
    assert_eq!(next(&mut search, &table), at("a", true, None));
    // A hint serves one attempt.
    search.failed("silent".to_owned());
    assert_eq!(next(&mut search, &table), at("a", false, None));
    // After an answer, a hint is the first one again.
    search.answered();
    assert_eq!(search.stale("a:1", "moved".to_owned(), fresh("b")), NextTry::AtOnce);
}

#[test]
fn a_stale_route_without_another_address_is_tried_again_after_a_pause() {
    let table = table(Some("a"));
    for (case, fresh) in [("no address", None), ("its own address", fresh("a"))] {
        let mut search = search();
        assert_eq!(search.stale("a:1", case.to_owned(), fresh), NextTry::AfterPause, "{case}");
        assert_eq!(next(&mut search, &table), at("a", false, None), "{case}");
    }
}

/// P16: the next member is told whose owner is out of reach; when no member is left, the search
/// begins with the owner again.
#[test]
fn p16_members_that_may_take_over_are_tried_one_after_the_other() {
    let table = table(Some("a"));
    let down = Status::unavailable("down");
    let mut search = search();
    assert_eq!(next(&mut search, &table), at("a", false, None));
    assert_eq!(search.unreachable(&table, "a:1", &down), NextTry::AtOnce);
    assert_eq!(search.last(), "a:1: down");
    assert_eq!(next(&mut search, &table), at("b", true, Some(EPOCH)));
    assert_eq!(search.unreachable(&table, "b:1", &down), NextTry::AfterPause);
    assert_eq!(next(&mut search, &table), at("c", true, Some(EPOCH)));
    assert_eq!(search.unreachable(&table, "c:1", &down), NextTry::AfterPause);
    let (address, is_referred, _) = next(&mut search, &table);
    assert_eq!((address.as_str(), is_referred), ("a:1", false));
    assert_eq!(search.failures(), 3);
    // The round begins anew: `b` counts as reachable again.
    assert_eq!(search.unreachable(&table, "a:1", &down), NextTry::AfterPause);
    assert_eq!(next(&mut search, &table), at("b", true, Some(EPOCH)));
}

/// P16: a member that can't reach the owner either refers back to it. The front has just found out
/// that it does not reach the owner.
#[test]
fn p16_a_hint_to_a_node_out_of_reach_is_ignored_until_an_answer() {
    let table = table(Some("a"));
    let down = Status::unavailable("down");
    let mut search = search();
    search.unreachable(&table, "a:1", &down);
    assert_eq!(next(&mut search, &table), at("b", true, Some(EPOCH)));
    search.stale("b:1", "not me".to_owned(), fresh("a"));
    assert!(!next(&mut search, &table).1, "the hint was followed");
    search.answered();
    assert_eq!(search.stale("b:1", "not me".to_owned(), fresh("a")), NextTry::AtOnce);
    assert_eq!(next(&mut search, &table), at("a", true, None));
}

#[test]
fn without_an_address_the_attempt_has_failed_and_a_hint_is_kept() {
    let mut search = search();
    assert_eq!(search.last(), "not sent yet");
    assert_eq!(search.target(&table(None)), None);
    assert_eq!((search.failures(), search.last()), (1, "the partition has no reachable owner"));
    let elsewhere = OwnerSearch::new(PartitionId(2), SUSPICION).target(&table(Some("a")));
    assert_eq!(elsewhere, None);
    let mut other = OwnerSearch::new(PartitionId(2), SUSPICION);
    other.stale("a:1", "moved".to_owned(), fresh("b"));
    assert_eq!(other.target(&table(Some("a"))), None);
    assert_eq!((other.failures(), other.last()), (2, "the partition is not in the routing table"));
    search.stale("a:1", "moved".to_owned(), fresh("b"));
    assert_eq!(next(&mut search, &table(None)), at("b", true, None), "only a hint is known");
}

fn standing(verdict: Verdict, message: &str) -> Standing {
    let message = message.to_owned();
    Standing { verdict: verdict.into(), epoch: EPOCH, message, ..Standing::default() }
}

#[test]
fn each_verdict_means_one_thing_in_the_words_of_the_node_or_of_the_front() {
    let stale = |why: &str, fresh| OwnerReply::Stale { why: why.to_owned(), fresh };
    let overloaded = |why: &str, ms| OwnerReply::Overloaded {
        why: why.to_owned(),
        wait: Duration::from_millis(ms),
    };
    let plain = |verdict| standing(verdict, "");
    let cases = [
        (plain(Verdict::Done), OwnerReply::Owner),
        (standing(Verdict::Invalid, "no records"), OwnerReply::Invalid("no records".to_owned())),
        (plain(Verdict::NotOwner), stale("a:1 does not own the partition", None)),
        (standing(Verdict::NotOwner, "the disk is full"), stale("a:1: the disk is full", None)),
        (
            Standing { owner_address: "b:1".to_owned(), ..plain(Verdict::NotOwner) },
            stale("a:1 does not own the partition", fresh("b")),
        ),
        (plain(Verdict::Overloaded), overloaded("a:1 is overloaded", 0)),
        (
            Standing { retry_after_ms: 40, ..standing(Verdict::Overloaded, "wait") },
            overloaded("a:1: wait", 40),
        ),
        (
            plain(Verdict::Unspecified),
            OwnerReply::Unreadable("a:1 sent an answer without a verdict".to_owned()),
        ),
    ];
    let table = table(Some("a"));
    for (standing, expected) in cases {
        assert_eq!(search().read(&table, "a:1", standing), expected);
    }
}

/// P17: of the epochs that answers carry, the highest counts.
#[test]
fn p17_an_answer_under_an_older_epoch_is_a_stale_route() {
    let table = table(Some("a"));
    let read = |epoch| {
        let answer = Standing { epoch, ..standing(Verdict::Done, "") };
        search().read(&table, "a:1", answer)
    };
    assert_eq!(read(EPOCH + 2), OwnerReply::Owner);
    let why = format!("a:1 is superseded (epoch {})", EPOCH + 1);
    assert_eq!(read(EPOCH + 1), OwnerReply::Stale { why, fresh: None });
}
