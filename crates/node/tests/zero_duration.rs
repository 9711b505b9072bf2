//! A record that waits because its client left a duration of zero out, and that is sent again with
//! the zero (P27, P35).

use crate::support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use support::world::World;
use support::{HEARTBEAT, Running, config, log, publish, start};
use turnpike_proto::ingest::v1::RecordResult;
use turnpike_proto::node::v1::{
    NodeReassignRequest, NodeRecycleRequest, NodeSuspenseRequest, Reassignment, RecycleKey,
};
use turnpike_proto::record::encode;
use turnpike_proto::suspense::v1::SuspendedRecord;
use turnpike_segment::Segment;
use turnpike_store::{Call, Interpose, Interposed, SharedDatabase, StoreError, StoreResult};
use turnpike_types::{AccountNumber, Outcome, Timestamp, UsageRecord};

const START: i64 = 1_714_521_600_000_000;
const HOUR_US: i64 = 3_600_000_000;
/// The account of the calls.
const ACCOUNT: u64 = 7;

/// Prices the duration of calls. Calls of type `roaming` are priced by a measure as well.
const CALLS: &str = r#"<plan xmlns="urn:turnpike:plan:1" id="octets" version="1" starts="2020-01-01" currency="USD" round="9 half-even">
  <graph>
    <UsageTypeSelector id="calls" in="record.duration" types="call roaming"/>
    <StepRater id="talk" in="calls.pass"><step id="talk" price="0.60" per="1 h"/></StepRater>
    <UsageTypeSelector id="abroad" in="record.legs" types="roaming"/>
    <StepRater id="legs" in="abroad.pass"><step id="leg" price="0.10" per="1"/></StepRater>
    <AccountFinalizer id="post" in="talk.charge legs.charge"/>
  </graph>
</plan>"#;

async fn world() -> (World, Running) {
    let world = World::at(START, HOUR_US).await;
    publish(world.db.as_ref(), CALLS).await;
    let mut node = world.node("a").await;
    node.open_account(ACCOUNT).await;
    (world, node)
}

/// A call as a client of an earlier release sends it, without its duration.
fn without(id: &str) -> UsageRecord {
    UsageRecord {
        record_id: id.to_owned(),
        account: AccountNumber(ACCOUNT),
        usage_type: "call".to_owned(),
        start: Timestamp(START),
        ..UsageRecord::default()
    }
}

/// The same call with its duration of zero.
fn with_zero(id: &str) -> UsageRecord {
    zero_stated(without(id))
}

fn zero_stated(mut record: UsageRecord) -> UsageRecord {
    record.state_duration(Some(0));
    record
}

async fn one(node: &mut Running, record: &UsageRecord) -> RecordResult {
    node.send(std::slice::from_ref(record)).await.exceptions.remove(0)
}

/// The first reason, and the present state: empty when the record came for the first time.
async fn told(node: &mut Running, record: &UsageRecord) -> (String, String) {
    let RecordResult { reason, present, replayed, .. } = one(node, record).await;
    assert_eq!(replayed, !present.is_empty());
    (reason, present)
}

fn missing(present: &str) -> (String, String) {
    ("missing-input".to_owned(), present.to_owned())
}

async fn listed(node: &mut Running) -> Vec<SuspendedRecord> {
    let request = NodeSuspenseRequest { partition: 1, filter: None };
    node.client.list_suspense(request).await.unwrap().into_inner().records
}

async fn recycle(node: &mut Running, id: &str, revision: u32) -> (bool, String) {
    let key = RecycleKey {
        account_number: ACCOUNT,
        record_id: id.to_owned(),
        revision,
        ..RecycleKey::default()
    };
    let request = NodeRecycleRequest { partition: 1, keys: vec![key], ..Default::default() };
    let outcome = node.client.recycle(request).await.unwrap().into_inner().outcomes.remove(0);
    (outcome.rated, outcome.reason)
}

/// How often the record was rated.
async fn rated(world: &World, id: &str) -> usize {
    let mut rated = 0;
    for row in log(world.db.as_ref()).await {
        let segment = Segment::decode(&row.body).unwrap();
        let is_rated = |row: &turnpike_segment::RecordRow<'_>| {
            row.record_id == id && matches!(row.outcome, Outcome::Rated | Outcome::RatedLate)
        };
        rated += segment.records().filter(|(_, row)| is_rated(row)).count();
    }
    rated
}

#[tokio::test(start_paused = true)]
async fn p35_a_record_without_its_duration_is_rated_once_when_it_comes_again_with_the_zero() {
    let (world, mut node) = world().await;
    assert_eq!(told(&mut node, &without("r0")).await, missing(""));
    assert_eq!(told(&mut node, &without("r0")).await, missing("missing-input"), "as before");
    assert_eq!(recycle(&mut node, "r0", 0).await, (false, "missing-input".to_owned()));
    assert_eq!(told(&mut node, &with_zero("r0")).await, missing("rated"), "with the zero");
    assert_eq!(listed(&mut node).await, []);
    for again in [with_zero("r0"), without("r0")] {
        assert_eq!(told(&mut node, &again).await, missing("rated"));
    }
    for revision in [0, 1, 2] {
        assert_eq!(recycle(&mut node, "r0", revision).await, (false, String::new()));
    }
    assert_eq!(rated(&world, "r0").await, 1);
    world.assert_checkpoints_match_the_log().await;
    node.node.shutdown().await;
    let mut next = world.node("b").await;
    for again in [with_zero("r0"), without("r0")] {
        assert_eq!(told(&mut next, &again).await, missing("rated"), "the next owner");
    }
    assert_eq!((rated(&world, "r0").await, listed(&mut next).await), (1, Vec::new()));
}

/// Both forms are in one batch, so that the first one is not committed when the second one comes.
#[tokio::test(start_paused = true)]
async fn p5_p35_both_forms_in_one_batch_are_one_record() {
    let (world, mut node) = world().await;
    let answer = node.send(&[without("r0"), with_zero("r0"), without("r0"), with_zero("r0")]).await;
    let states: Vec<&str> = answer.exceptions.iter().map(|one| &*one.present).collect();
    assert_eq!((answer.accepted, states), (0, vec!["", "rated", "rated", "rated"]));
    assert_eq!(rated(&world, "r0").await, 1);
    world.assert_checkpoints_match_the_log().await;
}

/// The next owner loads the suspended record from the log.
#[tokio::test(start_paused = true)]
async fn p35_the_next_owner_rates_a_record_that_comes_again_with_the_zero() {
    let (world, mut node) = world().await;
    assert_eq!(told(&mut node, &without("r0")).await, missing(""));
    node.node.shutdown().await;
    let mut next = world.node("b").await;
    assert_eq!(told(&mut next, &with_zero("r0")).await, missing("rated"));
    assert_eq!(rated(&world, "r0").await, 1);
    world.assert_checkpoints_match_the_log().await;
}

#[tokio::test(start_paused = true)]
async fn p35_only_the_missing_zero_resolves_a_record_and_it_waits_while_it_can_not_be_rated() {
    let (world, mut node) = world().await;
    // Another content under the same key.
    assert_eq!(told(&mut node, &without("r0")).await, missing(""));
    for other in [
        UsageRecord { duration_us: 5, ..without("r0") },
        UsageRecord { quantity: Some(1), ..with_zero("r0") },
        UsageRecord { usage_type: "roaming".to_owned(), ..with_zero("r0") },
    ] {
        assert_eq!(one(&mut node, &other).await.reason, "conflict", "{other:?}");
    }
    // With the zero, another measure is still missing.
    let roaming = |id: &str| UsageRecord { usage_type: "roaming".to_owned(), ..without(id) };
    let lacks_legs = zero_stated(roaming("r1"));
    assert_eq!(told(&mut node, &roaming("r1")).await, missing(""));
    assert_eq!(told(&mut node, &lacks_legs).await, missing("missing-input"));
    // The first form was complete: nothing is added by the second one.
    assert_eq!(told(&mut node, &zero_stated(roaming("r2"))).await, missing(""));
    assert_eq!(told(&mut node, &zero_stated(roaming("r2"))).await, missing("missing-input"));
    // A record that waits for its account.
    let unknown = |record: UsageRecord| UsageRecord { account: AccountNumber(8), ..record };
    assert_eq!(one(&mut node, &unknown(without("r3"))).await.reason, "unknown-account");
    assert_eq!(one(&mut node, &unknown(with_zero("r3"))).await.present, "unknown-account");
    let waiting: Vec<(String, u32)> =
        listed(&mut node).await.into_iter().map(|one| (one.record_id, one.revision)).collect();
    let expected = ["r0", "r1", "r2", "r3"].map(|id| (id.to_owned(), 0));
    assert_eq!(waiting, expected);
    for (id, _) in expected {
        assert_eq!(rated(&world, &id).await, 0, "{id}");
    }
    world.assert_checkpoints_match_the_log().await;
}

/// The first holder is charged: the record waited for a reason of its own when the identity moved.
#[tokio::test(start_paused = true)]
async fn p28_p35_a_record_of_the_first_holder_is_resolved_for_that_account() {
    let (world, mut node) = world().await;
    let of_identity = |record| UsageRecord { identity: "user:a".to_owned(), ..record };
    assert_eq!(told(&mut node, &of_identity(without("r0"))).await, missing(""));
    let mut bytes = Vec::new();
    encode(&of_identity(with_zero("r0")), &mut bytes);
    let asked = Reassignment { record: bytes.into(), to_account: 8 };
    let request = NodeReassignRequest {
        partition: 1,
        records: vec![asked],
        recycled: false,
        recycled_from: 0,
    };
    for _ in 0..2 {
        let answer = node.client.reassign(request.clone()).await.unwrap().into_inner();
        let result = answer.outcomes[0].result.clone().unwrap();
        assert_eq!((&*result.reason, &*result.present), ("missing-input", "rated"));
    }
    assert_eq!((rated(&world, "r0").await, listed(&mut node).await), (1, Vec::new()));
}

/// Lets appends fail, before or after they are committed.
#[derive(Default)]
struct FailingAppends {
    before: AtomicU32,
    after: AtomicU32,
}

fn fail(left: &AtomicU32) -> StoreResult<()> {
    match left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) {
        Ok(_) => {
            Err(StoreError::Unavailable { doing: "append", cause: "the test says so".to_owned() })
        }
        Err(_) => Ok(()),
    }
}

#[async_trait::async_trait]
impl Interpose for FailingAppends {
    async fn before(&self, call: Call) -> StoreResult<()> {
        if call == Call::Append { fail(&self.before) } else { Ok(()) }
    }

    async fn after(&self, call: Call) -> StoreResult<()> {
        if call == Call::Append { fail(&self.after) } else { Ok(()) }
    }
}

/// The record leaves suspense and is rated in one segment: after a failure both hold or neither.
#[tokio::test(start_paused = true)]
async fn i2_p35_an_append_that_fails_leaves_the_record_waiting_or_rated_and_never_both() {
    for is_committed in [false, true] {
        let world = World::at(START, HOUR_US).await;
        publish(world.db.as_ref(), CALLS).await;
        let hook = Arc::new(FailingAppends::default());
        let line = Interposed::new(Arc::clone(&world.db), Arc::clone(&hook));
        let db: Arc<dyn SharedDatabase> = Arc::new(line);
        let mut node = start(config("a"), &db).await;
        node.open_account(ACCOUNT).await;
        assert_eq!(told(&mut node, &without("r0")).await, missing(""));
        let failing = if is_committed { &hook.after } else { &hook.before };
        failing.store(1, Ordering::SeqCst);
        // The client gets no answer, and sends the record again.
        let lost = node.try_send(&[with_zero("r0")]).await;
        assert!(lost.is_none_or(|answer| answer.exceptions.is_empty()), "{is_committed}");
        assert_eq!(failing.load(Ordering::SeqCst), 0, "the append failed");
        tokio::time::sleep(4 * HEARTBEAT).await;
        let before = rated(&world, "r0").await;
        assert_eq!(before, usize::from(is_committed), "before the client sends it again");
        assert_eq!(told(&mut node, &with_zero("r0")).await, missing("rated"), "{is_committed}");
        assert_eq!((rated(&world, "r0").await, listed(&mut node).await), (1, Vec::new()));
    }
}

/// Lets heartbeats and observations fail, so that the node learns of no newer catalogue.
#[derive(Default)]
struct Unobserving(AtomicBool);

#[async_trait::async_trait]
impl Interpose for Unobserving {
    async fn before(&self, call: Call) -> StoreResult<()> {
        match call {
            Call::Heartbeat | Call::Observe if self.0.load(Ordering::SeqCst) => {
                Err(StoreError::Refused("the test says so".to_owned()))
            }
            _ => Ok(()),
        }
    }

    async fn after(&self, _: Call) -> StoreResult<()> {
        Ok(())
    }
}

/// The owner of the first holder rates such a record when it decides it: not by a catalogue that may
/// be old.
#[tokio::test(start_paused = true)]
async fn p36_a_record_of_the_first_holder_is_not_resolved_by_a_superseded_plan() {
    // The first call of a month is charged, also one of no duration.
    let fee = r#"<MonthlyRecurringCharge id="fee" amount="5.00" due="first-use"
      trigger="calls.pass"/>
    <AccountFinalizer id="post" in="fee.charge "#;
    let calls = CALLS.replace("<AccountFinalizer id=\"post\" in=\"", fee);
    // Two minutes before midnight, when version 2 starts.
    let now = START - HOUR_US / 30;
    let world = World::at(now, HOUR_US).await;
    publish(world.db.as_ref(), &calls).await;
    let hook = Arc::new(Unobserving::default());
    let db: Arc<dyn SharedDatabase> =
        Arc::new(Interposed::new(Arc::clone(&world.db), Arc::clone(&hook)));
    let mut node = start(config("a"), &db).await;
    node.open_account(ACCOUNT).await;
    let of_identity = |record| UsageRecord { identity: "user:a".to_owned(), ..record };
    assert_eq!(told(&mut node, &of_identity(without("r0"))).await, missing(""));
    hook.0.store(true, Ordering::SeqCst);
    tokio::time::sleep(HEARTBEAT * 8).await;
    // The version is published in time, one day before it starts.
    world.set(now - 24 * HOUR_US);
    let newer = calls
        .replace("version=\"1\"", "version=\"2\"")
        .replace("2020-01-01", "2024-05-01")
        .replace("5.00", "7.00");
    publish(world.db.as_ref(), &newer).await;
    world.set(now);
    tokio::time::sleep(HEARTBEAT * 40).await;
    let mut bytes = Vec::new();
    encode(&of_identity(with_zero("r0")), &mut bytes);
    let asked = Reassignment { record: bytes.into(), to_account: 8 };
    let request = NodeReassignRequest {
        partition: 1,
        records: vec![asked],
        recycled: false,
        recycled_from: 0,
    };
    let _ = node.client.reassign(request.clone()).await;
    hook.0.store(false, Ordering::SeqCst);
    assert_eq!(told(&mut node, &of_identity(with_zero("r0"))).await, missing("rated"));
    let mut versions = Vec::new();
    for row in log(world.db.as_ref()).await {
        let segment = Segment::decode(&row.body).unwrap();
        versions.extend(segment.lines().map(|line| line.component.plan_version));
    }
    assert!(!versions.is_empty() && versions.iter().all(|&one| one == 2), "{versions:?}");
}
