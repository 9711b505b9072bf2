//! The guarantees of a rating node to a front.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use crate::support;

use support::{
    HEARTBEAT, OCTETS, checkpoints, config, create_partition, database, log, octets, publish,
    replay, start,
};
use turnpike_account::PartitionState;
use turnpike_mutants::{Check, all_caught};
use turnpike_node::NodeConfig;
use turnpike_proto::account::v1::{AccountOutcome, AccountResult};
use turnpike_proto::ingest::v1::RecordStatus;
use turnpike_proto::node::v1::{
    NodeApplyRequest, NodeRecycleRequest, NodeShowRequest, NodeSuspenseRequest, RecycleKey,
};
use turnpike_segment::Segment;
use turnpike_types::UsageRecord;

#[tokio::test(start_paused = true)]
async fn i1_an_acknowledged_record_is_in_the_log_with_its_lines() {
    let db = database();
    create_partition(db.as_ref()).await;
    publish(db.as_ref(), OCTETS).await;
    let mut node = start(config("a"), &db).await;
    node.open_account(7).await;
    let answer = node.send(&[octets(7, "r1", 1500), octets(7, "r2", 10)]).await;
    assert_eq!(answer.accepted, 2);
    let rows = log(db.as_ref()).await;
    let segments: Vec<Segment> =
        rows.iter().map(|row| Segment::decode(&row.body).unwrap()).collect();
    let lines: Vec<_> = segments
        .iter()
        .flat_map(|segment| {
            segment.lines().map(|line| {
                let record = segment.record(line.record).unwrap();
                (
                    record.record_id.to_owned(),
                    line.component.component.clone(),
                    line.quantity,
                    line.amount.to_string(),
                    (line.level_before, line.level_after),
                )
            })
        })
        .collect();
    let line = |id: &str, step: &str, units, amount: &str, levels| {
        (id.to_owned(), step.to_owned(), units, amount.to_owned(), levels)
    };
    assert_eq!(
        lines,
        [
            line("r1", "included", 1000, "0.000000000", (0, 1000)),
            line("r1", "beyond", 500, "0.025000000", (1000, 1500)),
            line("r2", "beyond", 10, "0.000500000", (1500, 1510)),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn i2_i5_a_retry_is_answered_as_the_first_time_and_rated_once() {
    let db = database();
    create_partition(db.as_ref()).await;
    publish(db.as_ref(), OCTETS).await;
    let mut node = start(config("a"), &db).await;
    node.open_account(7).await;
    let twice_in_one_batch = [octets(7, "r1", 5), octets(7, "r1", 5), octets(8, "r1", 5)];
    let first = node.send(&twice_in_one_batch).await;
    assert_eq!((first.accepted, first.duplicates.as_slice()), (1, [1].as_slice()));
    assert_eq!(first.exceptions[0].reason, "unknown-account");
    let again = node.send(&twice_in_one_batch).await;
    assert_eq!((again.accepted, again.duplicates.as_slice()), (0, [0, 1].as_slice()));
    assert!(again.exceptions[0].replayed);
    assert_eq!(again.exceptions[0].present, "unknown-account");
    let changed = node.send(&[octets(7, "r1", 6)]).await;
    assert_eq!(changed.exceptions[0].status(), RecordStatus::Rejected);
    assert_eq!(changed.exceptions[0].reason, "conflict");
    let records: usize = log(db.as_ref())
        .await
        .iter()
        .map(|row| Segment::decode(&row.body).unwrap().record_count())
        .sum();
    assert_eq!(records, 2);
}

#[tokio::test(start_paused = true)]
async fn i2_a_retry_to_the_next_owner_is_answered_as_the_first_time() {
    let db = database();
    create_partition(db.as_ref()).await;
    publish(db.as_ref(), OCTETS).await;
    let mut first = start(config("a"), &db).await;
    first.open_account(7).await;
    first.send(&[octets(7, "r1", 5)]).await;
    first.node.shutdown().await;
    let mut second = start(config("b"), &db).await;
    let answer = second.send(&[octets(7, "r1", 5), octets(7, "r2", 1)]).await;
    assert_eq!((answer.accepted, answer.duplicates.as_slice()), (1, [0].as_slice()));
    let epochs: Vec<u64> = log(db.as_ref()).await.iter().map(|row| row.epoch.number()).collect();
    assert!(epochs.is_sorted() && epochs.first() < epochs.last(), "I3: {epochs:?}");
}

#[tokio::test(start_paused = true)]
async fn i4_the_live_state_and_a_replay_of_the_log_are_the_same_bytes() {
    let db = database();
    create_partition(db.as_ref()).await;
    publish(db.as_ref(), OCTETS).await;
    // A checkpoint is written after each segment, from the live state, with deduplication keys in
    // groups (runs) of 60.
    let eager = NodeConfig { checkpoint_log_bytes: 1, run_keys: 60, ..config("a") };
    let mut node = start(eager, &db).await;
    for account in 1..=20 {
        node.open_account(account).await;
    }
    let mut compared = 0;
    for round in 0..30 {
        let batch: Vec<UsageRecord> = (1..=25)
            .map(|account| octets(account, &format!("r{}", round / 2), round * 100 + 1))
            .collect();
        node.send(&batch).await;
        let rows = log(db.as_ref()).await;
        let told = replay(PartitionState::default(), &rows);
        for state in checkpoints(db.as_ref()).await {
            assert_eq!(replay(state, &rows).encode(), told.encode(), "I4");
            compared += 1;
        }
    }
    assert!(compared > 10, "only {compared} checkpoints to compare");
    let newest = db.checkpoints(turnpike_types::PartitionId(1)).await.unwrap().remove(0);
    let runs = newest.parts.iter().filter(|name| name.starts_with("keys-")).count();
    assert!(runs > 2, "{:?}", newest.parts);
    // A node that starts from the newest checkpoint knows each key.
    node.node.shutdown().await;
    let mut again = start(config("b"), &db).await;
    let batch: Vec<UsageRecord> =
        (1..=25).map(|account| octets(account, "r3", 6 * 100 + 1)).collect();
    let answer = again.send(&batch).await;
    assert_eq!(answer.accepted, 0, "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn p35_a_suspended_record_is_rated_once_after_its_cause_is_removed() {
    let db = database();
    create_partition(db.as_ref()).await;
    publish(db.as_ref(), OCTETS).await;
    let mut node = start(config("a"), &db).await;
    node.send(&[octets(7, "r1", 2000)]).await;
    let listed = node
        .client
        .list_suspense(NodeSuspenseRequest { partition: 1, filter: None })
        .await
        .unwrap()
        .into_inner()
        .records;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].reason, "unknown-account");
    let mut recycle = async |revision| {
        let key = RecycleKey {
            account_number: 7,
            record_id: "r1".to_owned(),
            revision,
            ..RecycleKey::default()
        };
        let request = NodeRecycleRequest { partition: 1, keys: vec![key], ..Default::default() };
        node.client.recycle(request).await.unwrap().into_inner().outcomes.remove(0)
    };
    let in_vain = recycle(0).await;
    assert_eq!((in_vain.rated, in_vain.reason.as_str()), (false, "unknown-account"));
    let stale = recycle(0).await;
    assert_eq!((stale.rated, stale.reason.as_str()), (false, ""), "the revision has moved on");
    node.open_account(7).await;
    let mut recycle = async |revision| {
        let key = RecycleKey {
            account_number: 7,
            record_id: "r1".to_owned(),
            revision,
            ..RecycleKey::default()
        };
        let request = NodeRecycleRequest { partition: 1, keys: vec![key], ..Default::default() };
        node.client.recycle(request).await.unwrap().into_inner().outcomes.remove(0)
    };
    assert!(recycle(1).await.rated);
    assert!(!recycle(1).await.rated, "the record has left suspense");
    let retried = node.send(&[octets(7, "r1", 2000)]).await;
    assert!(retried.exceptions[0].replayed);
    assert_eq!(retried.exceptions[0].present, "rated");
    let shown = node
        .client
        .show(NodeShowRequest { partition: 1, account_number: 7 })
        .await
        .unwrap()
        .into_inner()
        .account
        .unwrap();
    assert_eq!(shown.variables[0].value, "2000");
    assert_eq!(shown.variables[0].name, "octets/volume");
    assert_eq!(shown.suspended, 0);
    let told = replay(PartitionState::default(), &log(db.as_ref()).await);
    assert!(told.suspense().is_empty());
}

#[tokio::test(start_paused = true)]
async fn p14_the_member_of_higher_priority_gets_control_back() {
    let db = database();
    create_partition(db.as_ref()).await;
    publish(db.as_ref(), OCTETS).await;
    let mut low = start(config("b"), &db).await;
    low.open_account(7).await;
    low.send(&[octets(7, "r1", 1)]).await;
    let mut high = start(config("a"), &db).await;
    let answer = high.send(&[octets(7, "r1", 1), octets(7, "r2", 1)]).await;
    assert_eq!((answer.accepted, answer.duplicates.len()), (1, 1));
    let seen = db.observe().await.unwrap();
    assert_eq!(seen.partitions[0].owner.as_ref().unwrap().0.0, "a");
}

#[tokio::test(start_paused = true)]
async fn p26_a_record_before_the_horizon_or_ahead_of_time_is_rejected_visibly() {
    let db = database();
    create_partition(db.as_ref()).await;
    publish(db.as_ref(), OCTETS).await;
    let mut node = start(config("a"), &db).await;
    node.open_account(7).await;
    let mut early = octets(7, "early", 1);
    early.start.0 = -1;
    let mut ahead = octets(7, "ahead", 1);
    ahead.start.0 = 32_503_680_000_000_000;
    let answer = node.send(&[early, ahead, octets(7, "fine", 1)]).await;
    let reasons: Vec<&str> = answer.exceptions.iter().map(|e| e.reason.as_str()).collect();
    assert_eq!(reasons, ["too-old", "in-the-future"]);
    assert_eq!(answer.accepted, 1);
}

#[tokio::test(start_paused = true)]
async fn p36_a_plan_that_was_just_published_rates_records_sent_after_it() {
    let db = database();
    create_partition(db.as_ref()).await;
    // The next heartbeat, which would bring the catalogue, is seconds away.
    let slow = NodeConfig { heartbeat: std::time::Duration::from_secs(5), ..config("a") };
    let mut node = start(slow, &db).await;
    publish(db.as_ref(), OCTETS).await;
    // The commands are sent again if the owner answers RETRY, because it has just read the
    // catalogue. An old catalogue never refuses a plan.
    let commands = vec![support::open(7), support::subscribe(7, "octets")];
    let mut outcome = AccountOutcome::Retry;
    for _ in 0..400 {
        let request = NodeApplyRequest { partition: 1, commands: commands.clone() };
        let answer = node.client.apply(request).await.unwrap().into_inner();
        outcome = answer.results.last().map_or(AccountOutcome::Retry, AccountResult::outcome);
        if outcome != AccountOutcome::Retry {
            break;
        }
        tokio::time::sleep(HEARTBEAT).await;
    }
    assert_eq!(outcome, AccountOutcome::Applied);
    assert_eq!(node.send(&[octets(7, "r1", 1)]).await.accepted, 1);
}

#[test]
fn mutants_are_caught() {
    all_caught(&[
        (
            Check::Content,
            "i2_i5_a_retry_is_answered_as_the_first_time_and_rated_once",
            "index out of bounds",
        ),
        (
            Check::ProvenContent,
            "i2_i5_a_retry_is_answered_as_the_first_time_and_rated_once",
            "index out of bounds",
        ),
        (
            Check::RecycledEntry,
            "p35_a_suspended_record_is_rated_once_after_its_cause_is_removed",
            "told.suspense().is_empty()",
        ),
        (
            Check::Revision,
            "p35_a_suspended_record_is_rated_once_after_its_cause_is_removed",
            "the revision has moved on",
        ),
    ]);
}
