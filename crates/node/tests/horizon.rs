//! Logged time, the horizon, and what is forgotten (P26, P35): each line is switched off below, and has
//! to be missed.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use crate::support;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use support::{HEARTBEAT, OCTETS, Running, config, log, octets, publish, start};
use turnpike_mutants::{Line, all_caught};
use turnpike_proto::frame::{SubBatchFrame, SubBatchHead, push_record};
use turnpike_store::memory::MemoryDatabase;
use turnpike_store::{Member, PartitionSpec, SharedDatabase, StoreIncarnation};
use turnpike_types::{AccountRange, NodeName, PartitionId, Priority, Timestamp, UsageRecord};

const MINUTE_US: i64 = 60_000_000;
const HOUR_US: i64 = 60 * MINUTE_US;

/// A partition with a horizon of an hour, on a clock that the test moves; account 7 is open.
struct Hour {
    db: Arc<dyn SharedDatabase>,
    now: Arc<AtomicI64>,
    began: i64,
    node: Running,
}

impl Hour {
    async fn new() -> Self {
        // The beginning of an hour.
        let began = 1_714_521_600_000_000;
        let now = Arc::new(AtomicI64::new(began));
        let clock = Arc::clone(&now);
        let clock = Arc::new(move || Timestamp(clock.load(Ordering::SeqCst)));
        let db: Arc<dyn SharedDatabase> =
            Arc::new(MemoryDatabase::with_clock(clock, StoreIncarnation(1)));
        let member = Member { node: NodeName("a".to_owned()), priority: Priority(20) };
        let spec = PartitionSpec {
            id: PartitionId(1),
            range: AccountRange::new(1, 1000).unwrap(),
            horizon_us: HOUR_US,
            accept_since: None,
            members: vec![member],
        };
        db.create_partitions(&[spec]).await.unwrap();
        publish(db.as_ref(), OCTETS).await;
        let mut node = start(config("a"), &db).await;
        node.open_account(7).await;
        Self { db, now, began, node }
    }

    /// The clock shows so much since the beginning, and the node knows.
    async fn at(&self, passed_us: i64) {
        self.now.store(self.began + passed_us, Ordering::SeqCst);
        tokio::time::sleep(HEARTBEAT * 4).await;
    }

    /// A record that starts so much after the beginning.
    fn record(&self, account: u64, id: &str, start_us: i64) -> UsageRecord {
        UsageRecord { start: Timestamp(self.began + start_us), ..octets(account, id, 1) }
    }

    /// Five hours go by, with a record in each: keys of the first one are forgotten.
    async fn let_keys_be_forgotten(&mut self) {
        for hour in 1..=5 {
            self.at(hour * HOUR_US).await;
            let record = self.record(7, &format!("later{hour}"), hour * HOUR_US);
            assert_eq!(self.node.send(&[record]).await.accepted, 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p26_a_clock_that_goes_back_does_not_bring_back_what_was_forgotten() {
    let mut hour = Hour::new().await;
    let record = [hour.record(7, "r1", 0)];
    assert_eq!(hour.node.send(&record).await.accepted, 1);
    hour.let_keys_be_forgotten().await;
    hour.at(0).await;
    let again = hour.node.send(&record).await;
    assert_eq!(again.accepted, 0, "it is rated twice (I2)");
    assert_eq!(again.exceptions[0].reason, "too-old");
}

#[tokio::test(start_paused = true)]
async fn p26_a_duplicate_is_a_duplicate_past_the_horizon_too() {
    let mut hour = Hour::new().await;
    let record = [hour.record(7, "r1", -50 * MINUTE_US)];
    assert_eq!(hour.node.send(&record).await.accepted, 1);
    hour.at(30 * MINUTE_US).await;
    let again = hour.node.send(&record).await;
    assert_eq!(again.duplicates, [0], "the first answer (I5): {:?}", again.exceptions);
}

#[tokio::test(start_paused = true)]
async fn p26_a_record_that_ends_in_the_future_has_not_happened() {
    let mut hour = Hour::new().await;
    let lasting = |id: &str, start_us: i64, duration_us: i64| UsageRecord {
        duration_us,
        ..hour.record(7, id, start_us)
    };
    let records = [
        lasting("ten-years", -MINUTE_US, 10 * 365 * 24 * HOUR_US),
        lasting("unsigned", -MINUTE_US, ((1 << 32) - 60) * 1_000_000),
        lasting("end-of-time", -MINUTE_US, i64::MAX - hour.began),
        lasting("just-too-late", -MINUTE_US, 6 * MINUTE_US + 1),
        lasting("starts-ahead", 5 * MINUTE_US + 1, 0),
        lasting("just-in-time", -MINUTE_US, 6 * MINUTE_US),
        lasting("over", -50 * MINUTE_US, 50 * MINUTE_US),
    ];
    let answer = hour.node.send(&records).await;
    let reasons: Vec<_> =
        answer.exceptions.iter().map(|one| (one.index, one.reason.as_str())).collect();
    let expected: Vec<_> = (0..5).map(|index| (index, "in-the-future")).collect();
    assert_eq!(reasons, expected);
    assert_eq!(answer.accepted, 2);
    // Once it is over it is taken: the same record, under the same id.
    hour.at(10 * MINUTE_US).await;
    let again = hour.node.send(&records[3..5]).await;
    assert_eq!(again.accepted, 2, "{:?}", again.exceptions);
}

#[tokio::test(start_paused = true)]
async fn p35_the_key_of_what_waits_is_not_forgotten() {
    let mut hour = Hour::new().await;
    let record = [hour.record(8, "r1", 0)];
    assert_eq!(hour.node.send(&record).await.exceptions[0].reason, "unknown-account");
    hour.let_keys_be_forgotten().await;
    let again = hour.node.send(&record).await;
    assert!(again.exceptions[0].replayed, "the first answer (I5): {:?}", again.exceptions);
    assert_eq!(again.exceptions[0].reason, "unknown-account");
}

#[tokio::test(start_paused = true)]
async fn p35_the_age_of_what_was_recycled_is_not_judged_again() {
    let mut hour = Hour::new().await;
    hour.at(30 * MINUTE_US).await;
    let (mut run, mut bytes) = (Vec::new(), Vec::new());
    turnpike_proto::record::encode(&hour.record(7, "r1", -50 * MINUTE_US), &mut bytes);
    push_record(&mut run, &bytes);
    let head = SubBatchHead { partition: 1, sequence: 0, recycled: true };
    let stream = futures::stream::iter([SubBatchFrame::build(head, &run)]);
    let mut answers = hour.node.client.forward(stream).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    assert_eq!(answer.accepted, 1, "it came in time: {:?}", answer.exceptions);
    assert_eq!(log(hour.db.as_ref()).await.len(), 2);
}

#[test]
fn mutants_are_caught() {
    all_caught(&[
        (
            Line::OneClock,
            "p26_a_clock_that_goes_back_does_not_bring_back_what_was_forgotten",
            "rated twice",
        ),
        (
            Line::DedupFirst,
            "p26_a_duplicate_is_a_duplicate_past_the_horizon_too",
            "the first answer",
        ),
        (Line::WaitingKeys, "p35_the_key_of_what_waits_is_not_forgotten", "the first answer"),
        (
            Line::FirstArrival,
            "p35_the_age_of_what_was_recycled_is_not_judged_again",
            "it came in time",
        ),
    ]);
}
