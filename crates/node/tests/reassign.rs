//! Records whose identity has moved to another account (P28). The owner of the partition of the
//! first holder, which is the account that look-ups returned first, decides which account they are
//! rated for. At the end, the check is switched off, and its test must fail.

use crate::support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use support::world::World;
use support::{HEARTBEAT, OCTETS, Running, config, log, octets, publish, start};
use turnpike_mutants::{Check, all_caught};
use turnpike_node::NodeConfig;
use turnpike_proto::frame::{SubBatchFrame, SubBatchHead, push_record};
use turnpike_proto::node::v1::{
    NodeReassignRequest, NodeRecycleRequest, NodeSuspenseRequest, NotedRefusal, ReassignOutcome,
    Reassignment, RecycleKey, RecycleOutcome, Verdict,
};
use turnpike_proto::record::encode;
use turnpike_segment::Segment;
use turnpike_store::{Call, Interpose, Interposed, SharedDatabase, StoreResult};
use turnpike_types::{AccountNumber, Outcome, Timestamp, UsageRecord, limits};

/// When the records of `octets` start.
const START: i64 = 1_714_521_600_000_000;
const HOUR_US: i64 = 3_600_000_000;
/// The account that held the identity first.
const FIRST: u64 = 7;

async fn world() -> (World, Running) {
    let world = World::at(START, HOUR_US).await;
    publish(world.db.as_ref(), OCTETS).await;
    let mut node = world.node("a").await;
    node.open_account(FIRST).await;
    (world, node)
}

fn record(id: &str) -> UsageRecord {
    UsageRecord { identity: "user:a".to_owned(), ..octets(FIRST, id, 100) }
}

/// The owner's decision on the record, whose identity now belongs to account `to` (0: to none).
async fn reassign(node: &mut Running, record: &UsageRecord, to: u64) -> ReassignOutcome {
    let mut bytes = Vec::new();
    encode(record, &mut bytes);
    let asked = Reassignment { record: bytes.into(), to_account: to };
    let request = NodeReassignRequest {
        partition: 1,
        records: vec![asked],
        recycled: false,
        recycled_from: 0,
    };
    for _ in 0..400 {
        let answer = node.client.reassign(request.clone()).await.unwrap().into_inner();
        if answer.standing.unwrap().verdict() == Verdict::Done {
            return answer.outcomes.into_iter().next().expect("a decision");
        }
        tokio::time::sleep(HEARTBEAT).await;
    }
    panic!("the node did not become the owner of the partition");
}

/// Recycles the record at this revision: rates it here (`moved_to` is 0), or removes it because it
/// was rated for the account `moved_to`.
async fn recycle(node: &mut Running, id: &str, revision: u32, moved_to: u64) -> RecycleOutcome {
    let key = RecycleKey {
        account_number: FIRST,
        record_id: id.to_owned(),
        identity: "user:a".to_owned(),
        revision,
        moved_to_account: moved_to,
    };
    let request = NodeRecycleRequest { partition: 1, keys: vec![key], ..Default::default() };
    node.client.recycle(request).await.unwrap().into_inner().outcomes.remove(0)
}

/// Sends the record under the account of its decision, as a front does before it removes the record.
async fn take(node: &mut Running, record: &UsageRecord, account: u64) {
    let record = UsageRecord { account: AccountNumber(account), ..record.clone() };
    let answer = node.send(&[record]).await;
    let is_taken = answer.accepted == 1 || !answer.duplicates.is_empty();
    assert!(is_taken || answer.exceptions[0].reason == "unknown-account", "{answer:?}");
}

fn rate_for(account: u64, revision: Option<u32>) -> ReassignOutcome {
    ReassignOutcome {
        to_account: account,
        waits: revision.is_some(),
        revision: revision.unwrap_or(0),
        ..ReassignOutcome::default()
    }
}

/// The account of the decision refused the record.
async fn note_refusal(node: &mut Running, id: &str, revision: u32, by: u64, reason: &str) {
    let refusal = NotedRefusal {
        account_number: FIRST,
        record_id: id.to_owned(),
        revision,
        refused_by: by,
        reason: reason.to_owned(),
    };
    let request =
        NodeRecycleRequest { partition: 1, refusals: vec![refusal], ..Default::default() };
    let answer = node.client.recycle(request).await.unwrap().into_inner();
    assert_eq!(answer.outcomes, []);
    assert_eq!(answer.standing.unwrap().verdict(), Verdict::Done);
}

/// The detail and the revision of the only suspended record.
async fn listed(node: &mut Running) -> (String, u32) {
    let request = NodeSuspenseRequest { partition: 1, filter: None };
    let listed = node.client.list_suspense(request).await.unwrap().into_inner().records;
    assert_eq!(listed.len(), 1);
    (listed[0].detail.clone(), listed[0].revision)
}

/// How often the record was rated here.
async fn rated(world: &World, id: &str) -> usize {
    let mut rated = 0;
    for row in log(world.db.as_ref()).await {
        let segment = Segment::decode(&row.body).unwrap();
        rated += segment
            .records()
            .filter(|(_, row)| {
                row.record_id == id && matches!(row.outcome, Outcome::Rated | Outcome::RatedLate)
            })
            .count();
    }
    rated
}

#[tokio::test(start_paused = true)]
async fn p28_a_decision_stays_when_the_identity_changes_hands_again() {
    let (world, mut node) = world().await;
    assert_eq!(reassign(&mut node, &record("r0"), 8).await, rate_for(8, Some(0)));
    assert_eq!(reassign(&mut node, &record("r0"), 9).await, rate_for(8, Some(0)), "the same again");
    // The decision stays when the identity belongs to the first holder again, and when it belongs
    // to no account.
    for to in [FIRST, 0] {
        assert_eq!(reassign(&mut node, &record("r0"), to).await, rate_for(8, Some(0)));
    }
    // Recycling does not rate the record here, and only the account of the decision can take the
    // record.
    assert!(!recycle(&mut node, "r0", 0, 0).await.rated);
    assert!(!recycle(&mut node, "r0", 0, 9).await.rated);
    assert!(!recycle(&mut node, "r0", 0, 8).await.rated, "account 8 does not have it yet");
    take(&mut node, &record("r0"), 8).await;
    assert!(recycle(&mut node, "r0", 0, 8).await.rated, "it left suspense");
    assert_eq!(reassign(&mut node, &record("r0"), 9).await, rate_for(8, None));
    assert_eq!(rated(&world, "r0").await, 0);
    world.assert_checkpoints_match_the_log().await;
}

#[tokio::test(start_paused = true)]
async fn p28_a_refusal_by_the_account_of_the_decision_is_listed_and_the_decision_stays() {
    let (world, mut node) = world().await;
    assert_eq!(reassign(&mut node, &record("r0"), 8).await, rate_for(8, Some(0)));
    assert_eq!(listed(&mut node).await, ("reassigned to account 8".to_owned(), 0));
    // Another account, another revision, another record: nothing is noted.
    note_refusal(&mut node, "r0", 0, 9, "too-old").await;
    note_refusal(&mut node, "r0", 1, 8, "too-old").await;
    note_refusal(&mut node, "r1", 0, 8, "too-old").await;
    assert_eq!(listed(&mut node).await, ("reassigned to account 8".to_owned(), 0));
    note_refusal(&mut node, "r0", 0, 8, "too-old").await;
    let noted = "reassigned to account 8, which refuses it: too-old".to_owned();
    assert_eq!(listed(&mut node).await, (noted.clone(), 1));
    let length = log(world.db.as_ref()).await.len();
    note_refusal(&mut node, "r0", 1, 8, "too-old").await;
    assert_eq!(listed(&mut node).await, (noted.clone(), 1), "it is noted already");
    assert_eq!(log(world.db.as_ref()).await.len(), length);
    // The decision stays, also for the next owner, whoever holds the identity now.
    world.assert_checkpoints_match_the_log().await;
    node.node.shutdown().await;
    let mut next = world.node("b").await;
    for to in [9, FIRST, 0] {
        assert_eq!(reassign(&mut next, &record("r0"), to).await, rate_for(8, Some(1)));
    }
    assert_eq!(listed(&mut next).await, (noted, 1));
    assert!(!recycle(&mut next, "r0", 1, 0).await.rated);
    assert!(!recycle(&mut next, "r0", 1, 9).await.rated);
    note_refusal(&mut next, "r0", 1, 8, "conflict").await;
    let noted = "reassigned to account 8, which refuses it: conflict".to_owned();
    assert_eq!(listed(&mut next).await, (noted, 2));
    take(&mut next, &record("r0"), 8).await;
    assert!(recycle(&mut next, "r0", 2, 8).await.rated, "it left suspense");
    assert_eq!(rated(&world, "r0").await, 0);
}

/// A record that waits for a reason of the first holder's has no decision.
#[tokio::test(start_paused = true)]
async fn p28_a_refusal_is_noted_only_of_a_record_that_was_reassigned() {
    let (_world, mut node) = world().await;
    let unpriced = UsageRecord { usage_type: "call".to_owned(), ..record("r0") };
    node.send(&[unpriced]).await;
    let before = listed(&mut node).await;
    note_refusal(&mut node, "r0", 0, 8, "too-old").await;
    assert_eq!(listed(&mut node).await, before);
}

/// Bounded by number, as other requests for many records are.
#[tokio::test(start_paused = true)]
async fn a_request_with_too_many_records_to_decide_or_to_recycle_is_refused_by_name() {
    let (world, mut node) = world().await;
    let mut bytes = Vec::new();
    encode(&record("r0"), &mut bytes);
    let one = Reassignment { record: bytes.into(), to_account: 8 };
    let mut request = NodeReassignRequest { partition: 1, ..Default::default() };
    request.records = vec![one.clone(); limits::DECIDED_MAX + 1];
    let length = log(world.db.as_ref()).await.len();
    let refused = node.client.reassign(request.clone()).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    let named = "1001 records to decide in one request: send at most 1000";
    assert_eq!(refused.message(), named);
    assert_eq!(log(world.db.as_ref()).await.len(), length, "nothing was decided");
    request.records.pop();
    let answer = node.client.reassign(request).await.unwrap().into_inner();
    assert_eq!(answer.outcomes, vec![rate_for(8, Some(0)); limits::DECIDED_MAX]);
    let keys = vec![RecycleKey::default(); limits::DECIDED_MAX];
    let mut request = NodeRecycleRequest { partition: 1, keys, ..Default::default() };
    let answer = node.client.recycle(request.clone()).await.unwrap().into_inner();
    assert_eq!(answer.outcomes.len(), limits::DECIDED_MAX);
    request.refusals.push(NotedRefusal::default());
    let refused = node.client.recycle(request).await.unwrap_err();
    assert_eq!(refused.message(), "1001 keys and refusals in one request: send at most 1000");
}

#[tokio::test(start_paused = true)]
async fn p28_the_next_owner_knows_the_decisions() {
    let (world, mut node) = world().await;
    reassign(&mut node, &record("r0"), 8).await;
    reassign(&mut node, &record("r1"), 8).await;
    take(&mut node, &record("r1"), 8).await;
    assert!(recycle(&mut node, "r1", 0, 8).await.rated);
    node.node.shutdown().await;
    let mut next = world.node("b").await;
    assert_eq!(reassign(&mut next, &record("r0"), 9).await, rate_for(8, Some(0)));
    assert_eq!(reassign(&mut next, &record("r1"), 9).await, rate_for(8, None));
}

#[tokio::test(start_paused = true)]
async fn p28_i2_a_record_that_was_taken_for_the_first_holder_keeps_its_answer() {
    let (world, mut node) = world().await;
    assert_eq!(node.send(&[record("rated")]).await.accepted, 1);
    let outcome = reassign(&mut node, &record("rated"), 8).await;
    assert!(outcome.duplicate && outcome.to_account == 0, "{outcome:?}");
    // A record with other content under the same key is a conflict.
    let other = UsageRecord { quantity: Some(1), ..record("rated") };
    let conflict = reassign(&mut node, &other, 8).await.result.unwrap();
    assert_eq!(conflict.reason, "conflict");
    // A record that was suspended because the first holder's plans can't rate it stays suspended in
    // this partition.
    let unpriced = UsageRecord { usage_type: "call".to_owned(), ..record("unpriced") };
    let first = node.send(std::slice::from_ref(&unpriced)).await.exceptions.remove(0);
    let again = reassign(&mut node, &unpriced, 8).await.result.unwrap();
    assert_eq!((again.reason, again.replayed), (first.reason, true));
    assert_eq!(rated(&world, "rated").await, 1);
}

/// A front that does not know of the change yet sends the record for the first holder.
#[tokio::test(start_paused = true)]
async fn p28_i2_a_record_that_was_reassigned_is_not_rated_when_it_comes_as_before() {
    let (world, mut node) = world().await;
    reassign(&mut node, &record("r0"), 8).await;
    for present in ["unbound-identity", "rated"] {
        let answer = node.send(&[record("r0")]).await;
        let told = &answer.exceptions[0];
        assert_eq!((answer.accepted, told.replayed, &*told.present), (0, true, present));
        take(&mut node, &record("r0"), 8).await;
        recycle(&mut node, "r0", 0, 8).await;
    }
    assert_eq!(rated(&world, "r0").await, 0);
}

#[tokio::test(start_paused = true)]
async fn p28_a_record_of_a_released_identity_waits_undecided() {
    let (world, mut node) = world().await;
    for replayed in [false, true] {
        let waits = reassign(&mut node, &record("r0"), 0).await.result.unwrap();
        assert_eq!((&*waits.reason, waits.replayed), ("unbound-identity", replayed));
    }
    assert!(!recycle(&mut node, "r0", 0, 0).await.rated, "the first holder lost the identity");
    assert_eq!(reassign(&mut node, &record("r0"), 8).await, rate_for(8, Some(1)));
    assert_eq!(reassign(&mut node, &record("r0"), 9).await, rate_for(8, Some(1)));
    // Record `r1` is undecided at first. Then the identity belongs to the first holder again, so
    // the record is rated in this partition, once.
    reassign(&mut node, &record("r1"), 0).await;
    assert_eq!(reassign(&mut node, &record("r1"), FIRST).await, rate_for(FIRST, Some(1)));
    assert!(recycle(&mut node, "r1", 1, 0).await.rated);
    let known = reassign(&mut node, &record("r1"), 9).await;
    assert_eq!(known.to_account, 0, "{known:?}");
    assert_eq!((rated(&world, "r0").await, rated(&world, "r1").await), (0, 1));
    world.assert_checkpoints_match_the_log().await;
}

/// A front finds the present holder by the identity of the listed record.
#[tokio::test(start_paused = true)]
async fn p28_a_record_that_waits_with_its_first_holder_is_listed_with_its_identity() {
    let (_world, mut node) = world().await;
    reassign(&mut node, &record("r0"), 0).await;
    let request = NodeSuspenseRequest { partition: 1, filter: None };
    let listed = node.client.list_suspense(request).await.unwrap().into_inner().records;
    let told = (listed[0].account_number, &*listed[0].identity, &*listed[0].reason);
    assert_eq!(told, (FIRST, "user:a", "unbound-identity"));
}

#[tokio::test(start_paused = true)]
async fn p28_a_record_of_the_first_holder_itself_is_not_suspended() {
    let (world, mut node) = world().await;
    assert_eq!(reassign(&mut node, &record("r0"), FIRST).await, rate_for(FIRST, None));
    assert_eq!(node.send(&[record("r0")]).await.accepted, 1);
    assert_eq!(rated(&world, "r0").await, 1);
}

/// The keys of records before the horizon may be forgotten, so that a record that is too old can't
/// be decided.
#[tokio::test(start_paused = true)]
async fn p28_p26_a_record_that_is_too_old_or_ahead_is_rejected_and_not_decided() {
    let (world, mut node) = world().await;
    world.set(START + 3 * HOUR_US);
    tokio::time::sleep(4 * HEARTBEAT).await;
    assert_eq!(reassign(&mut node, &record("old"), 8).await.result.unwrap().reason, "too-old");
    let ahead = UsageRecord { start: Timestamp(START + 4 * HOUR_US), ..record("ahead") };
    assert_eq!(reassign(&mut node, &ahead, 8).await.result.unwrap().reason, "in-the-future");
}

/// The mark is an instant before the look-up of a record's identity. If the mark is old, the
/// identity may have moved to another account since. A record that starts far in the future is
/// rejected by itself, since otherwise its batch would be refused for ever.
#[tokio::test(start_paused = true)]
async fn p28_a_record_that_starts_long_after_the_mark_of_its_look_up_is_refused() {
    let (world, mut node) = world().await;
    let minute = 60_000_000;
    world.set(START + 30 * minute);
    tokio::time::sleep(4 * HEARTBEAT).await;
    let mut send = async |id: &str, guided: i64, start: i64| {
        // A negative mark is sent as a number that is no instant.
        let guided_us = guided.cast_unsigned();
        let (mut run, mut bytes) = (Vec::new(), Vec::new());
        encode(&UsageRecord { start: Timestamp(start), ..record(id) }, &mut bytes);
        push_record(&mut run, &bytes);
        let head = SubBatchHead { partition: 1, guided_us, ..SubBatchHead::default() };
        let stream = futures::stream::iter([SubBatchFrame::build(head, &run)]);
        let mut answers = node.client.forward(stream).await.unwrap().into_inner();
        let answer = answers.message().await.unwrap().unwrap();
        (answer.standing.unwrap().verdict(), answer.accepted, answer.exceptions.len())
    };
    let (now, old) = (START + 30 * minute, START + 15 * minute);
    assert_eq!(send("r0", old, now).await, (Verdict::Overloaded, 0, 0), "long after");
    assert_eq!(send("r0", -1, now).await, (Verdict::Overloaded, 0, 0), "the mark is no instant");
    assert_eq!(send("r0", START + 20 * minute, now).await, (Verdict::Done, 1, 0));
    assert_eq!(send("r1", old, START + 25 * minute).await, (Verdict::Done, 1, 0), "covered");
    assert_eq!(send("r2", old, now + 60 * minute).await, (Verdict::Done, 0, 1), "in the future");
    assert_eq!(rated(&world, "r0").await, 1);
}

/// Sets the clock ahead when the node appends, once it is armed.
struct ClockAtAppend {
    world: Arc<World>,
    now: i64,
    is_armed: AtomicBool,
}

#[async_trait::async_trait]
impl Interpose for ClockAtAppend {
    async fn before(&self, call: Call) -> StoreResult<()> {
        if call == Call::Append && self.is_armed.load(Ordering::SeqCst) {
            self.world.set(self.now);
            // The node learns of it by a heartbeat.
            tokio::time::sleep(2 * HEARTBEAT).await;
        }
        Ok(())
    }

    async fn after(&self, _: Call) -> StoreResult<()> {
        Ok(())
    }
}

/// When the sub-batch is admitted, its last record starts in the future. Logged time advances
/// within the sub-batch, so that the record would be accepted if only its start were checked.
#[tokio::test(start_paused = true)]
async fn p28_a_record_that_its_look_up_does_not_cover_is_rejected_after_logged_time_moved_on() {
    let minute = 60_000_000;
    let now = START + 30 * minute;
    let world = Arc::new(World::at(now, HOUR_US).await);
    publish(world.db.as_ref(), OCTETS).await;
    let (later, is_armed) = (now + 2 * minute, AtomicBool::new(false));
    let clock = Arc::new(ClockAtAppend { world: Arc::clone(&world), now: later, is_armed });
    let through = Interposed::new(Arc::clone(&world.db), Arc::clone(&clock));
    let db: Arc<dyn SharedDatabase> = Arc::new(through);
    let small = NodeConfig { segment_bytes_max: 2_000, ..config("a") };
    let mut node = start(small, &db).await;
    node.open_account(FIRST).await;
    clock.is_armed.store(true, Ordering::SeqCst);
    let (mut run, mut bytes) = (Vec::new(), Vec::new());
    let mut push = |id: &str, start: i64| {
        bytes.clear();
        encode(&UsageRecord { start: Timestamp(start), ..record(id) }, &mut bytes);
        push_record(&mut run, &bytes);
    };
    (0..200).for_each(|n| push(&format!("r{n}"), now - minute));
    push("last", now + 5 * minute + minute / 2);
    let guided_us = u64::try_from(now - 5 * minute).unwrap();
    let head = SubBatchHead { partition: 1, guided_us, ..SubBatchHead::default() };
    let stream = futures::stream::iter([SubBatchFrame::build(head, &run)]);
    let mut answers = node.client.forward(stream).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    assert_eq!(answer.accepted, 200, "{answer:?}");
    assert_eq!(answer.exceptions[0].reason, "in-the-future");
    assert_eq!(world.db.observe().await.unwrap().now, Timestamp(later), "the clock was moved");
}

#[test]
fn mutants_are_caught() {
    all_caught(&[
        (
            Check::DecisionStays,
            "p28_a_decision_stays_when_the_identity_changes_hands_again",
            "the same again",
        ),
        (
            Check::GuidedRecently,
            "p28_a_record_that_starts_long_after_the_mark_of_its_look_up_is_refused",
            "long after",
        ),
    ]);
}
