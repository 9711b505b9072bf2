//! Logged time, the horizon, and forgotten keys (P26, P35). At the end, each check is switched off,
//! and its test must fail.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use crate::support;

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use support::{HEARTBEAT, OCTETS, Running, config, log, octets, publish, start};
use turnpike_account::PartitionState;
use turnpike_mutants::{Check, all_caught};
use turnpike_node::NodeConfig;
use turnpike_proto::frame::{SubBatchFrame, SubBatchHead, push_record};
use turnpike_store::memory::MemoryDatabase;
use turnpike_store::{
    Call, Interpose, Interposed, Member, PartitionSpec, SharedDatabase, StoreError,
    StoreIncarnation, StoreResult,
};
use turnpike_types::{AccountRange, NodeName, PartitionId, Priority, Timestamp, UsageRecord};

const MINUTE_US: i64 = 60_000_000;
const HOUR_US: i64 = 60 * MINUTE_US;

/// A partition with a horizon of one hour, a clock that the test sets, and account 7.
struct Hour {
    db: Arc<dyn SharedDatabase>,
    now: Arc<AtomicI64>,
    began: i64,
    node: Running,
}

impl Hour {
    async fn new() -> Self {
        Self::with(config("a")).await
    }

    /// Like [`Hour::new`], but on a node with this configuration.
    async fn with(config: NodeConfig) -> Self {
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
        let mut node = start(config, &db).await;
        node.open_account(7).await;
        Self { db, now, began, node }
    }

    /// Sets the clock to `passed_us` after the beginning, and waits until the node has read it.
    async fn at(&self, passed_us: i64) {
        self.now.store(self.began + passed_us, Ordering::SeqCst);
        tokio::time::sleep(HEARTBEAT * 4).await;
    }

    /// A record that starts `start_us` after the beginning.
    fn record(&self, account: u64, id: &str, start_us: i64) -> UsageRecord {
        UsageRecord { start: Timestamp(self.began + start_us), ..octets(account, id, 1) }
    }

    /// Advances by five hours with one record in each, so that the keys of the first hour are
    /// forgotten.
    async fn let_keys_be_forgotten(&mut self) {
        for hour in 1..=5 {
            self.at(hour * HOUR_US).await;
            let record = self.record(7, &format!("later{hour}"), hour * HOUR_US);
            assert_eq!(self.node.send(&[record]).await.accepted, 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p26_a_clock_that_goes_back_does_not_restore_forgotten_keys() {
    let mut hour = Hour::new().await;
    let record = [hour.record(7, "r1", 0)];
    assert_eq!(hour.node.send(&record).await.accepted, 1);
    hour.let_keys_be_forgotten().await;
    hour.at(0).await;
    let again = hour.node.send(&record).await;
    assert_eq!(again.accepted, 0, "the record is rated twice (I2)");
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
async fn p26_a_record_that_ends_in_the_future_is_rejected() {
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
    // Once its usage is over, the same record under the same id is accepted.
    hour.at(10 * MINUTE_US).await;
    let again = hour.node.send(&records[3..5]).await;
    assert_eq!(again.accepted, 2, "{:?}", again.exceptions);
}

#[tokio::test(start_paused = true)]
async fn p35_the_key_of_a_suspended_record_is_not_forgotten() {
    let mut hour = Hour::new().await;
    let record = [hour.record(8, "r1", 0)];
    assert_eq!(hour.node.send(&record).await.exceptions[0].reason, "unknown-account");
    hour.let_keys_be_forgotten().await;
    let again = hour.node.send(&record).await;
    assert!(again.exceptions[0].replayed, "the first answer (I5): {:?}", again.exceptions);
    assert_eq!(again.exceptions[0].reason, "unknown-account");
}

#[tokio::test(start_paused = true)]
async fn p35_the_age_of_a_recycled_record_is_not_judged_again() {
    let mut hour = Hour::new().await;
    let unbound =
        UsageRecord { identity: "user:a".to_owned(), ..hour.record(0, "r1", -50 * MINUTE_US) };
    let waits = hour.node.send(std::slice::from_ref(&unbound)).await;
    assert_eq!(waits.exceptions[0].reason, "unbound-identity");
    hour.at(30 * MINUTE_US).await;
    let (mut run, mut bytes) = (Vec::new(), Vec::new());
    turnpike_proto::record::encode(&unbound, &mut bytes);
    turnpike_proto::wire::put_number(&mut bytes, 1, 7);
    push_record(&mut run, &bytes);
    let head =
        SubBatchHead { partition: 1, recycled: true, recycled_from: 1, ..SubBatchHead::default() };
    let stream = futures::stream::iter([SubBatchFrame::build(head, &run)]);
    let mut answers = hour.node.client.forward(stream).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    assert_eq!(answer.accepted, 1, "the record first arrived in time: {:?}", answer.exceptions);
    assert_eq!(log(hour.db.as_ref()).await.len(), 3);
}

/// A node that writes a checkpoint after each segment, and seals a run (a group of keys in
/// checkpoints) at four keys.
fn eager(name: &str) -> NodeConfig {
    NodeConfig { checkpoint_log_bytes: 1, run_keys: 4, ..config(name) }
}

impl Hour {
    /// Four records that start `minutes` after the beginning.
    fn four(&self, minutes: i64) -> Vec<UsageRecord> {
        let of = |n| self.record(7, &format!("{minutes}-{n}"), minutes * MINUTE_US);
        (0..4).map(of).collect()
    }

    /// Waits until a checkpoint covers the whole log.
    async fn checkpointed(&self) -> PartitionState {
        for _ in 0..400 {
            let last = log(self.db.as_ref()).await.last().map(|row| row.segment);
            let states = support::checkpoints(self.db.as_ref()).await;
            if let Some(state) = states.into_iter().find(|state| Some(state.last().0) == last) {
                return state;
            }
            tokio::time::sleep(HEARTBEAT).await;
        }
        panic!("no checkpoint covers the whole log");
    }

    /// Replaces the process by a new one, which loads its state from the database.
    async fn restart(self, config: NodeConfig) -> Self {
        let Self { db, now, began, node } = self;
        node.node.shutdown().await;
        let node = start(config, &db).await;
        Self { db, now, began, node }
    }

    /// I4: each checkpoint and the log behind it give the state of the whole log.
    async fn assert_checkpoints_match_the_log(&self) {
        let rows = log(self.db.as_ref()).await;
        let told = support::replay(PartitionState::default(), &rows);
        let checkpoints = support::checkpoints(self.db.as_ref()).await;
        assert!(!checkpoints.is_empty(), "there is no checkpoint to compare");
        for state in checkpoints {
            let at = state.last().0;
            assert_eq!(support::replay(state, &rows).encode(), told.encode(), "I4, from {at}");
        }
    }
}

/// I2, P22: no key inside the horizon is forgotten, whichever sealed run holds it, also across a
/// checkpoint and a reload.
#[tokio::test(start_paused = true)]
async fn i2_p22_after_a_reload_keys_inside_the_horizon_are_known_though_older_ones_were_forgotten()
{
    let mut hour = Hour::with(eager("a")).await;
    let minutes: Vec<i64> = (0..18).map(|turn| turn * 20).collect();
    for &at in &minutes {
        hour.at(at * MINUTE_US).await;
        assert_eq!(hour.node.send(&hour.four(at)).await.accepted, 4);
        hour.checkpointed().await;
    }
    let state = hour.checkpointed().await;
    let forgotten = state.keys().forgotten_through();
    assert!(forgotten.0 > 4, "the runs of the first hours must be forgotten: {forgotten}");
    let manifest = hour.db.checkpoints(PartitionId(1)).await.unwrap().remove(0);
    let runs = manifest.parts.iter().filter(|name| name.starts_with("keys-")).count();
    assert!(runs >= 3, "several runs must be inside the horizon: {:?}", manifest.parts);
    hour.assert_checkpoints_match_the_log().await;
    let mut hour = hour.restart(eager("a")).await;
    // Records of the last hour are inside the horizon.
    let inside: Vec<i64> = minutes.iter().copied().filter(|at| at + 60 > 17 * 20).collect();
    assert_eq!(inside.len(), 3);
    for at in inside {
        let again = hour.node.send(&hour.four(at)).await;
        assert_eq!(again.accepted, 0, "records of minute {at} are rated twice");
        assert_eq!(again.duplicates, [0, 1, 2, 3], "records of minute {at}");
    }
    let new = hour.four(17 * 20 + 1);
    assert_eq!(hour.node.send(&new).await.accepted, 4);
    hour.checkpointed().await;
    hour.assert_checkpoints_match_the_log().await;
}

/// Faults between an owner and its checkpoints.
#[derive(Default)]
struct CheckpointFaults {
    /// Calls of this kind fail.
    failing: Mutex<Option<Call>>,
    failed: AtomicU64,
    /// From the second one on, answers that list the retained checkpoints are withheld. The first
    /// one loads the partition.
    withheld: AtomicBool,
    listed: AtomicU64,
}

#[async_trait::async_trait]
impl Interpose for CheckpointFaults {
    async fn before(&self, call: Call) -> StoreResult<()> {
        if *self.failing.lock().unwrap() == Some(call) {
            self.failed.fetch_add(1, Ordering::SeqCst);
            let cause = "injected by the test".to_owned();
            return Err(StoreError::Unavailable { doing: call.word(), cause });
        }
        Ok(())
    }

    async fn after(&self, call: Call) -> StoreResult<()> {
        if call == Call::Checkpoints && self.listed.fetch_add(1, Ordering::SeqCst) >= 1 {
            while self.withheld.load(Ordering::SeqCst) {
                tokio::time::sleep(HEARTBEAT / 5).await;
            }
        }
        Ok(())
    }
}

impl Hour {
    /// Restarts the node with these faults on its connection to the database. The test's own
    /// connection has no faults.
    async fn with_checkpoint_faults(self, withheld: bool) -> (Self, Arc<CheckpointFaults>) {
        let Self { db, now, began, node } = self;
        node.node.shutdown().await;
        let hook =
            Arc::new(CheckpointFaults { withheld: withheld.into(), ..CheckpointFaults::default() });
        let faulty: Arc<dyn SharedDatabase> =
            Arc::new(Interposed::new(Arc::clone(&db), Arc::clone(&hook)));
        // The node keeps no warm replica, which would load at another time.
        let node = start(NodeConfig { warm_standbys: 0, ..eager("a") }, &faulty).await;
        (Self { db, now, began, node }, hook)
    }

    /// After another restart, all records of these minutes are duplicates.
    async fn expect_known_after_a_restart(self, minutes: std::ops::Range<i64>) {
        self.assert_checkpoints_match_the_log().await;
        let mut hour = self.restart(eager("a")).await;
        for at in minutes {
            let again = hour.node.send(&hour.four(at)).await;
            assert_eq!(again.duplicates, [0, 1, 2, 3], "records of minute {at} are rated twice");
        }
    }
}

/// I2, P22: a checkpoint that could not be written leaves no gap in later ones. Its keys are
/// written with the next one, whether writing its parts or publishing its manifest failed.
#[tokio::test(start_paused = true)]
async fn i2_p22_keys_of_a_checkpoint_that_failed_are_in_the_next_one() {
    for failing in [Call::PutCheckpointPart, Call::PublishCheckpoint] {
        let (mut hour, hook) = Hour::with(eager("a")).await.with_checkpoint_faults(false).await;
        assert_eq!(hour.node.send(&hour.four(1)).await.accepted, 4);
        hour.checkpointed().await;
        *hook.failing.lock().unwrap() = Some(failing);
        assert_eq!(hour.node.send(&hour.four(2)).await.accepted, 4);
        while hook.failed.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(HEARTBEAT).await;
        }
        *hook.failing.lock().unwrap() = None;
        for at in 3..6 {
            assert_eq!(hour.node.send(&hour.four(at)).await.accepted, 4);
            hour.checkpointed().await;
        }
        hour.expect_known_after_a_restart(1..6).await;
    }
}

/// I2, P22: when the list of retained checkpoints is late, the owner does not forget the runs that
/// it has written since, because it writes none before it has the list.
#[tokio::test(start_paused = true)]
async fn i2_p22_a_late_list_of_checkpoints_loses_no_key() {
    let (mut hour, hook) = {
        let mut hour = Hour::with(eager("a")).await;
        hour.at(10 * MINUTE_US).await;
        for at in 1..4 {
            assert_eq!(hour.node.send(&hour.four(at)).await.accepted, 4);
            hour.checkpointed().await;
        }
        hour.with_checkpoint_faults(true).await
    };
    for at in 4..7 {
        assert_eq!(hour.node.send(&hour.four(at)).await.accepted, 4);
        // Time in which a checkpoint would be written.
        tokio::time::sleep(HEARTBEAT * 4).await;
    }
    assert!(hook.listed.load(Ordering::SeqCst) >= 2, "the list for the owner must be withheld");
    hook.withheld.store(false, Ordering::SeqCst);
    for at in 7..9 {
        assert_eq!(hour.node.send(&hour.four(at)).await.accepted, 4);
        hour.checkpointed().await;
    }
    hour.expect_known_after_a_restart(1..9).await;
}

#[test]
fn mutants_are_caught() {
    all_caught(&[
        (
            Check::WaitingKeys,
            "p35_the_key_of_a_suspended_record_is_not_forgotten",
            "the first answer",
        ),
        (
            Check::FirstArrival,
            "p35_the_age_of_a_recycled_record_is_not_judged_again",
            "first arrived in time",
        ),
        (
            Check::RunPublished,
            "i2_p22_keys_of_a_checkpoint_that_failed_are_in_the_next_one",
            "no checkpoint covers the whole log",
        ),
        (Check::ListedFirst, "i2_p22_a_late_list_of_checkpoints_loses_no_key", "I4"),
    ]);
}
