//! Batches with records whose identity has moved to another account, when partitions have no owner
//! or are slow, or the client leaves (P28).
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use crate::world;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use tokio::time::{Instant, sleep};
use turnpike_front::FrontConfig;
use turnpike_proto::ingest::v1::{BatchAck, BatchStatus};
use turnpike_proto::suspense::v1::RecycleRequest;
use turnpike_store::{Binding, IdentityStore as _, Rebinding};
use turnpike_types::{AccountNumber, Timestamp, UsageRecord, limits};
use world::{Faults, World, batch, config, record};

/// The answer deadline of these fronts.
const DEADLINE: Duration = Duration::from_secs(1);

fn short() -> FrontConfig {
    let config = FrontConfig { answer_deadline_beats: 50, ..config() };
    assert_eq!(config.heartbeat * config.answer_deadline_beats, DEADLINE);
    config
}

/// The first account of a partition.
const fn account_of(partition: u32) -> u64 {
    partition as u64 * 100
}

fn identity_of(partition: u32) -> String {
    format!("user:{partition}")
}

/// The account that holds all identities in the end, and its partition.
const HOLDER: u64 = account_of(HOLDERS);
const HOLDERS: u32 = 90;

/// Partitions `1..=count` and that of [`HOLDER`]. An account of each partition held an identity,
/// which moved to [`HOLDER`]. Only the partitions in `served` have an owner.
async fn world(config: FrontConfig, count: u32, served: &[u32]) -> World {
    let world = World::new(config, 1).await;
    for partition in (1..=count).chain([HOLDERS]) {
        let first = account_of(partition);
        world.partition(partition, first, first + 99).await;
    }
    for partition in served {
        world.give(*partition, 0).await;
    }
    let binding = |partition, account, from| Binding {
        identity: identity_of(partition),
        account: AccountNumber(account),
        from: Timestamp(from),
        until: Timestamp::MAX,
    };
    let first = |partition| binding(partition, account_of(partition), 0);
    let bindings: Vec<Binding> = (1..=count).map(first).collect();
    world.db.bind_identities(&bindings).await.unwrap();
    let r#move = |partition| Rebinding::Move {
        binding: binding(partition, HOLDER, 40),
        final_before: Timestamp(0),
    };
    let moves: Vec<Rebinding> = (1..=count).map(r#move).collect();
    world.db.rebind_identities(&moves).await.unwrap();
    world.routed().await;
    world
}

/// Records whose identity has moved to another account: this partition decides them.
fn moved(partition: u32, count: u32) -> Vec<UsageRecord> {
    let identity = identity_of(partition);
    (0..count).map(|n| record(0, &identity, &format!("moved-{partition}-{n}"))).collect()
}

async fn send(world: &World, records: &[UsageRecord]) -> BatchAck {
    world.ingest().ingest_once(batch(1, records)).await.unwrap().into_inner()
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_unserved_partitions_is_answered_retry_within_one_answer_deadline() {
    let world = world(short(), 4, &[4, HOLDERS]).await;
    for unserved in [&[1][..], &[1, 2, 3], &[4, 2]] {
        let records: Vec<UsageRecord> =
            unserved.iter().flat_map(|partition| moved(*partition, 1_000)).collect();
        let began = Instant::now();
        let ack = send(&world, &records).await;
        assert_eq!(ack.status(), BatchStatus::Retry, "{unserved:?}");
        let names_one = unserved
            .iter()
            .filter(|partition| **partition != 4)
            .any(|partition| ack.message.starts_with(&format!("partition {partition}: ")));
        assert!(names_one && ack.message.contains("no reachable owner"), "{}", ack.message);
        let took = began.elapsed();
        assert!(took > DEADLINE / 2 && took < DEADLINE * 3 / 2, "{unserved:?}: {took:?}");
    }
}

/// The partition of the account that holds the identity now has no owner.
#[tokio::test(start_paused = true)]
async fn a_batch_that_cannot_be_rated_as_decided_is_answered_retry_within_one_answer_deadline() {
    let world = world(short(), 1, &[1]).await;
    let began = Instant::now();
    let ack = send(&world, &moved(1, 1_000)).await;
    assert_eq!(ack.status(), BatchStatus::Retry);
    assert!(ack.message.starts_with("partition 90: "), "{}", ack.message);
    let took = began.elapsed();
    assert!(took > DEADLINE / 2 && took < DEADLINE * 3 / 2, "{took:?}");
    world.give(HOLDERS, 0).await;
    world.routed().await;
    let ack = send(&world, &moved(1, 1_000)).await;
    assert_eq!((ack.status(), ack.accepted), (BatchStatus::Done, 1_000), "{}", ack.message);
}

#[tokio::test(start_paused = true)]
async fn a_record_of_an_unserved_partition_does_not_keep_others_from_being_recycled() {
    let world = world(short(), 3, &[3, HOLDERS]).await;
    let waiting = |partition: u32| {
        let identity = identity_of(partition);
        let mut bytes = Vec::new();
        turnpike_proto::record::encode(&record(0, &identity, "r"), &mut bytes);
        turnpike_proto::suspense::v1::SuspendedRecord {
            partition: HOLDERS,
            record_id: "r".to_owned(),
            identity,
            start_us: 50,
            reason: "unbound-identity".to_owned(),
            record: bytes.into(),
            ..Default::default()
        }
    };
    let suspended = (1..=3).map(waiting).collect();
    world.shared.ledgers.lock().unwrap().get_mut(&HOLDERS).unwrap().suspended = suspended;
    let began = Instant::now();
    let tally = world.suspense().recycle(RecycleRequest::default()).await.unwrap().into_inner();
    // The lists of two partitions fail, one after the other, and two of the three records are not
    // decided.
    assert_eq!((tally.rated, tally.still_suspended, tally.retry), (1, 0, 4), "{tally:?}");
    assert!(began.elapsed() < DEADLINE * 7 / 2, "{:?}", began.elapsed());
    assert_eq!(world.rated()[&HOLDER], ["r"]);
}

#[tokio::test(start_paused = true)]
async fn partitions_decide_side_by_side_and_at_most_sixteen_at_the_same_time() {
    let served: Vec<u32> = (1..=40).chain([HOLDERS]).collect();
    let world = world(config(), 40, &served).await;
    let slow = Duration::from_millis(200);
    world.set_faults(Faults { decides_after: slow, ..Faults::default() });
    let records: Vec<UsageRecord> = (1..=40).flat_map(|partition| moved(partition, 1)).collect();
    let began = Instant::now();
    let ack = send(&world, &records).await;
    assert_eq!((ack.status(), ack.accepted), (BatchStatus::Done, 40), "{}", ack.message);
    assert_eq!(world.shared.deciding_most.load(Ordering::SeqCst), 16);
    assert!(began.elapsed() < slow * 4, "{:?}", began.elapsed());
}

/// A request has at most 200 records, and the requests of a partition are sent in order.
#[tokio::test(start_paused = true)]
async fn the_records_of_one_partition_are_decided_in_their_order() {
    let world = world(config(), 1, &[1, HOLDERS]).await;
    let records = moved(1, 1_000);
    assert_eq!(send(&world, &records).await.accepted, 1_000);
    assert_eq!(world.shared.decisions.load(Ordering::SeqCst), 5);
    assert_eq!(world.shared.deciding_most.load(Ordering::SeqCst), 1);
    let ids: Vec<String> = records.into_iter().map(|record| record.record_id).collect();
    assert_eq!(world.rated(), BTreeMap::from([(HOLDER, ids)]));
}

/// Each request to decide is answered in time, but all together take longer than the deadline.
#[tokio::test(start_paused = true)]
async fn a_batch_whose_decisions_take_longer_than_the_answer_deadline_is_accepted() {
    let world = world(short(), 1, &[1, HOLDERS]).await;
    let decides_after = DEADLINE / 5;
    world.set_faults(Faults { decides_after, ..Faults::default() });
    let mut records = moved(1, 1_600);
    let others = [account_of(1), HOLDER].map(|account| record(account, "", "its own"));
    records.extend(others);
    let began = Instant::now();
    let ack = send(&world, &records).await;
    assert!(began.elapsed() > DEADLINE * 3 / 2, "{:?}", began.elapsed());
    assert_eq!(ack.status(), BatchStatus::Done, "{}", ack.message);
    assert_eq!((ack.accepted, ack.duplicates.len(), ack.exceptions.len()), (1_602, 0, 0));
    let again = send(&world, &records).await;
    assert_eq!((again.accepted, again.duplicates.len()), (0, 1_602), "{}", again.message);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_ends_the_decisions_on_its_records() {
    let world = world(config(), 1, &[1, HOLDERS]).await;
    world.set_faults(Faults { trouble: true, ..Faults::default() });
    let (batches, receiver) = tokio::sync::mpsc::channel(1);
    let request = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let acks = world.ingest().ingest(request).await.unwrap();
    batches.send(batch(1, &moved(1, 10))).await.unwrap();
    let asked = || world.shared.decisions.load(Ordering::SeqCst);
    let before = asked();
    sleep(Duration::from_secs(1)).await;
    let meanwhile = asked();
    assert!(meanwhile > before + 5, "it is asked again and again");
    drop((batches, acks));
    sleep(Duration::from_millis(100)).await;
    let after = asked();
    sleep(Duration::from_secs(5)).await;
    assert_eq!(asked(), after, "the client has left");
}

/// The batch takes more than half of the front's admission budget.
#[tokio::test(start_paused = true)]
async fn a_batch_that_is_decided_takes_its_admission_room_once() {
    let admitted_bytes_max = limits::BATCH_BYTES_MAX;
    let config = FrontConfig { admitted_bytes_max, ..short() };
    let world = world(config, 1, &[1, HOLDERS]).await;
    let large = |record: UsageRecord| {
        let text = "x".repeat(12 * 1024);
        UsageRecord { attributes: [("text".to_owned(), text)].into(), ..record }
    };
    let records: Vec<UsageRecord> = moved(1, 200).into_iter().map(large).collect();
    assert!(batch(1, &records).body().len() > admitted_bytes_max / 2);
    let ack = send(&world, &records).await;
    assert_eq!((ack.status(), ack.accepted), (BatchStatus::Done, 200), "{}", ack.message);
}

/// Keeps the values of counters and gauges by name and labels.
#[derive(Default)]
struct Values(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Values {
    fn value(&self, key: &Key) -> Arc<AtomicU64> {
        let labels = key.labels().map(|label| format!(" {}={}", label.key(), label.value()));
        let name = key.name().to_owned() + &labels.collect::<String>();
        Arc::clone(self.0.lock().unwrap().entry(name).or_default())
    }

    /// The values of the counters whose names begin with `name`.
    fn of(&self, name: &str) -> BTreeMap<String, u64> {
        let values = self.0.lock().unwrap();
        let of = values.iter().filter(|(full, _)| full.starts_with(name));
        of.map(|(full, value)| (full.clone(), value.load(Ordering::SeqCst))).collect()
    }
}

impl Recorder for Values {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.value(key))
    }
    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }
    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_decided_is_counted_once() {
    let values = Values::default();
    let _recording = metrics::set_default_local_recorder(&values);
    let world = world(config(), 2, &[1, 2, HOLDERS]).await;
    let mut records = moved(1, 3);
    records.extend(moved(2, 2));
    records.push(record(HOLDER, "", "its own"));
    assert_eq!(send(&world, &records).await.accepted, 6);
    assert_eq!(send(&world, &records).await.duplicates.len(), 6);
    let expected = [("outcome=accepted", 6), ("outcome=duplicate", 6)];
    let expected =
        expected.map(|(labels, n)| (format!("turnpike_front_records_total {labels}"), n));
    assert_eq!(values.of("turnpike_front_records_total"), BTreeMap::from(expected));
    let batches = values.of("turnpike_front_batches_total");
    let expected = [("turnpike_front_batches_total status=done".to_owned(), 2)];
    assert_eq!(batches, BTreeMap::from(expected));
    assert_eq!(values.of("turnpike_front_reassigned_total").into_values().sum::<u64>(), 10);
}
