//! Bounds of texts and dates at the node, where an owner takes what a front sends.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use crate::support;

use std::sync::Arc;

use support::{OCTETS, Running, config, create_partition, database, octets, publish, start};
use turnpike_node::NodeConfig;
use turnpike_proto::account::v1::account_command::Command;
use turnpike_proto::account::v1::{
    AccountCommand, AccountOutcome, AccountResult, AmendSettings, Cancel, ChangeSettings, Settings,
    Subscribe,
};
use turnpike_proto::ingest::v1::RecordStatus;
use turnpike_proto::node::v1::{
    NodeApplyRequest, NodeRecycleRequest, NotedRefusal, RecycleKey, Verdict,
};
use turnpike_store::SharedDatabase;
use turnpike_types::dates::{CHANGE_AHEAD_MAX_US, DATE_END, DATE_MIN};
use turnpike_types::{Timestamp, UsageRecord};

const ACCOUNT: u64 = 7;

async fn running() -> (Arc<dyn SharedDatabase>, Running) {
    let db = database();
    create_partition(db.as_ref()).await;
    publish(db.as_ref(), OCTETS).await;
    let mut node = start(config("a"), &db).await;
    node.open_account(ACCOUNT).await;
    (db, node)
}

async fn apply(node: &mut Running, command: Command) -> AccountResult {
    let command =
        AccountCommand { account_number: ACCOUNT, command: Some(command), ..Default::default() };
    let request = NodeApplyRequest { partition: 1, commands: vec![command] };
    node.client.apply(request).await.unwrap().into_inner().results.remove(0)
}

fn with_attribute(record_id: &str, name: &str, value: &str) -> UsageRecord {
    let attributes = [(name.to_owned(), value.to_owned())].into();
    UsageRecord { attributes, ..octets(ACCOUNT, record_id, 5) }
}

#[tokio::test(start_paused = true)]
async fn a_record_with_an_illegal_text_is_rejected_by_itself() {
    let (_db, mut node) = running().await;
    let records = [
        octets(ACCOUNT, "good", 5),
        octets(ACCOUNT, "a\0b", 5),
        UsageRecord { usage_type: "octets\n".to_owned(), ..octets(ACCOUNT, "type", 5) },
        UsageRecord { identity: "user:a\0b".to_owned(), ..octets(ACCOUNT, "who", 5) },
        with_attribute("name", "x\ty", "z"),
        with_attribute("value", "x", "y\u{7f}z"),
        with_attribute("long", &"x".repeat(257), "z"),
        UsageRecord { measures: [("m\r".to_owned(), 1)].into(), ..octets(ACCOUNT, "measure", 5) },
        with_attribute("fine", "naïve 名", "€ 🦀"),
    ];
    let answer = node.send(&records).await;
    assert_eq!(answer.accepted, 2, "the good ones are taken: {answer:?}");
    let refused: Vec<(u32, &str)> =
        answer.exceptions.iter().map(|one| (one.index, one.reason.as_str())).collect();
    assert_eq!(refused, (1..8).map(|index| (index, "bad-text")).collect::<Vec<_>>());
    assert!(answer.exceptions.iter().all(|one| one.status() == RecordStatus::Rejected));
    let again = node.send(&records).await;
    assert_eq!(again.duplicates, [0, 8]);
    assert_eq!(again.exceptions, answer.exceptions, "a retry gets the same answer");
}

fn settings(cycle_day: u32) -> Option<Settings> {
    let (zone, currency) = ("UTC".to_owned(), "USD".to_owned());
    Some(Settings { zone, cycle_day, currency, ..Settings::default() })
}

fn change(from_us: i64) -> Command {
    Command::ChangeSettings(ChangeSettings { settings: settings(15), from_us })
}

fn amend(from_us: i64) -> Command {
    Command::AmendSettings(AmendSettings {
        from_us,
        cycle_day: Some(15),
        ..AmendSettings::default()
    })
}

fn subscribe(plan_id: &str, from_us: i64) -> Command {
    let plan_id = plan_id.to_owned();
    Command::Subscribe(Subscribe { plan_id, from_us, ..Subscribe::default() })
}

/// `ChangeSettings(from_us=i64::MAX)` was applied, and no later change was possible.
#[tokio::test(start_paused = true)]
async fn a_change_beyond_the_range_of_dates_is_refused_and_a_later_one_applies() {
    let (db, mut node) = running().await;
    let now = db.observe().await.unwrap().now;
    let ahead = now.saturating_add(CHANGE_AHEAD_MAX_US + 86_400_000_000).0;
    for from_us in [i64::MAX, DATE_END.0, ahead, DATE_MIN.0 - 1, i64::MIN + 1] {
        let cancel = Command::Cancel(Cancel { plan_id: "octets".to_owned(), at_us: from_us });
        for command in [change(from_us), amend(from_us), subscribe("octets", from_us), cancel] {
            let told = apply(&mut node, command.clone()).await;
            assert_eq!(told.outcome(), AccountOutcome::Refused, "{command:?}: {}", told.message);
        }
    }
    let told = apply(&mut node, change(i64::MAX)).await.message;
    assert!(told.contains("9223372036854775807") && told.contains("before 2200-01-01"), "{told}");
    let told = apply(&mut node, change(ahead)).await.message;
    assert!(told.contains("more than ten years ahead"), "{told}");
    let told = apply(&mut node, change(now.0)).await;
    assert_eq!(told.outcome(), AccountOutcome::Applied, "{}", told.message);
    let last = Timestamp(ahead).saturating_add(-3 * 86_400_000_000).0;
    assert_eq!(apply(&mut node, change(last)).await.outcome(), AccountOutcome::Applied);
}

#[tokio::test(start_paused = true)]
async fn a_text_of_megabytes_is_refused_with_a_short_message() {
    let (_db, mut node) = running().await;
    for plan in ["x".repeat(50_000_000), "x".repeat(129), "a\0b".to_owned()] {
        let told = apply(&mut node, subscribe(&plan, 0)).await;
        assert_eq!(told.outcome(), AccountOutcome::Refused);
        assert!(told.message.contains("a plan's id") && told.message.len() < 300, "{told:?}");
    }
    let attributes = [("note".to_owned(), "two\nlines".to_owned())].into();
    let noted = AmendSettings { from_us: 0, attributes, ..AmendSettings::default() };
    let told = apply(&mut node, Command::AmendSettings(noted)).await;
    assert!(told.message.contains("U+000A"), "{told:?}");
}

/// Keys of 60 MB made both partitions change their owner.
#[tokio::test(start_paused = true)]
async fn a_key_that_no_record_can_have_is_refused_before_it_is_queued() {
    let (_db, mut node) = running().await;
    let long = "x".repeat(300);
    let id = RecycleKey { record_id: long.clone(), ..RecycleKey::default() };
    let identity = RecycleKey { identity: long.clone(), ..RecycleKey::default() };
    for keys in [vec![id], vec![RecycleKey::default(), identity]] {
        let request = NodeRecycleRequest { partition: 1, keys, refusals: Vec::new() };
        let refused = node.client.recycle(request).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument);
        assert!(refused.message().contains("300 bytes"), "{refused}");
    }
    let refusals = vec![NotedRefusal { reason: long, ..NotedRefusal::default() }];
    let request = NodeRecycleRequest { partition: 1, keys: Vec::new(), refusals };
    let refused = node.client.recycle(request).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
}

/// Suspended records took memory of the owner without bound. A record is refused before it is taken,
/// so that its client keeps it.
#[tokio::test(start_paused = true)]
async fn a_record_for_which_suspense_has_no_room_is_refused_and_taken_later() {
    let (db, node) = running().await;
    node.node.shutdown().await;
    let small = NodeConfig { suspended_max: 2, ..config("b") };
    let mut node = start(small, &db).await;
    let unknown = |id: &str| octets(8, id, 5);
    let two = [unknown("r1"), unknown("r2")];
    assert_eq!(node.send(&two).await.exceptions.len(), 2);
    let full = node.try_send(&[unknown("r3")]).await.unwrap().standing.unwrap();
    assert_eq!(full.verdict(), Verdict::Overloaded);
    assert!(full.message.contains("2 suspended records"), "{}", full.message);
    let again = node.send(&two).await;
    assert!(again.exceptions.iter().all(|one| one.replayed), "a retry is answered: {again:?}");
    assert_eq!(node.send(&[octets(ACCOUNT, "good", 5)]).await.accepted, 1);
    let keys = ["r1", "r2"].map(|id| RecycleKey {
        account_number: 8,
        record_id: id.to_owned(),
        ..RecycleKey::default()
    });
    node.open_account(8).await;
    let request = NodeRecycleRequest { partition: 1, keys: keys.into(), refusals: Vec::new() };
    let outcomes = node.client.recycle(request).await.unwrap().into_inner().outcomes;
    assert!(outcomes.iter().all(|one| one.rated), "{outcomes:?}");
    assert_eq!(node.send(&[octets(9, "r3", 5)]).await.exceptions[0].reason, "unknown-account");
}
