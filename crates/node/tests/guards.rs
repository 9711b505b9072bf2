//! Tests of protective checks that no other test covers. At the end, each check is switched off,
//! and its test must fail.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use crate::support;

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use support::{
    HEARTBEAT, OCTETS, Running, config, create_partition, database, log, octets, publish, start,
    start_with, sub_batch,
};
use test_network::Network;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::transport::Server;
use turnpike_mutants::{Check, all_caught};
use turnpike_proto::REFERRED;
use turnpike_proto::dial::Dial;
use turnpike_proto::node::v1::node_service_server::NodeServiceServer;
use turnpike_proto::node::v1::{SubBatchAnswer, Verdict};
use turnpike_segment::Segment;
use turnpike_store::{
    Call, Interpose, Interposed, Member, PartitionSpec, SharedDatabase, StoreResult,
};
use turnpike_types::{AccountRange, NodeName, PartitionId, Priority};

/// A node with account 7, beside partition 2 with accounts 1001 to 2000.
async fn beside_another_partition() -> (Arc<dyn SharedDatabase>, Running) {
    let db = database();
    create_partition(db.as_ref()).await;
    let members = vec![Member { node: NodeName("z".to_owned()), priority: Priority(1) }];
    let range = AccountRange::new(1001, 2000).unwrap();
    let other =
        PartitionSpec { id: PartitionId(2), range, horizon_us: 1, accept_since: None, members };
    db.create_partitions(&[other]).await.unwrap();
    publish(db.as_ref(), OCTETS).await;
    let mut node = start(config("a"), &db).await;
    node.open_account(7).await;
    (db, node)
}

#[tokio::test(start_paused = true)]
async fn p32_an_account_of_another_partition_is_refused() {
    let (db, mut node) = beside_another_partition().await;
    let before = log(db.as_ref()).await.len();
    let answer = node.try_send(&[octets(7, "ours", 1), octets(1500, "theirs", 1)]).await.unwrap();
    assert_eq!(answer.standing.unwrap().verdict(), Verdict::NotOwner, "the route was stale");
    assert_eq!(log(db.as_ref()).await.len(), before, "no record of the sub-batch is taken");
}

/// The owner of partition 1.
async fn owner_of(db: &dyn SharedDatabase) -> String {
    let row = db.observe().await.unwrap().partitions[0].clone();
    row.owner.map(|(node, _)| node.0).unwrap_or_default()
}

/// Whether `node` owns the partition within some forty suspicion times.
async fn until_owner_is(db: &dyn SharedDatabase, node: &str) -> bool {
    for _ in 0..160 {
        if owner_of(db).await == node {
            return true;
        }
        tokio::time::sleep(HEARTBEAT).await;
    }
    false
}

/// `a` owns the partition with account 7, and `b` follows it.
async fn pair(
    db_of_a: &Arc<dyn SharedDatabase>,
    db: &Arc<dyn SharedDatabase>,
    dial: Dial,
) -> (Running, Running) {
    create_partition(db.as_ref()).await;
    publish(db.as_ref(), OCTETS).await;
    let mut a = start(config("a"), db_of_a).await;
    a.open_account(7).await;
    let b = start_with(config("b"), db, dial).await;
    for _ in 0..400 {
        let seen = db.observe().await.unwrap();
        if seen.nodes.iter().any(|row| !row.beat.following.is_empty()) {
            return (a, b);
        }
        tokio::time::sleep(HEARTBEAT).await;
    }
    panic!("b did not follow the log");
}

async fn rated(db: &dyn SharedDatabase) -> Vec<String> {
    let rows = log(db).await;
    let segments = rows.iter().map(|row| Segment::decode(&row.body).unwrap());
    let ids = |segment: Segment| {
        segment.records().map(|(_, record)| record.record_id.to_owned()).collect::<Vec<_>>()
    };
    segments.flat_map(ids).collect()
}

#[tokio::test(start_paused = true)]
async fn p30_nothing_on_a_stream_passes_a_refused_sub_batch() {
    let db = database();
    let (a, mut b) = pair(&db, &db, support::no_network()).await;
    let (frames, outgoing) = mpsc::channel(4);
    let mut answers = b.client.forward(ReceiverStream::new(outgoing)).await.unwrap().into_inner();
    frames.send(sub_batch(&[octets(7, "first", 1)])).await.unwrap();
    let refused = answers.message().await.unwrap().unwrap();
    assert_eq!(refused.standing.unwrap().verdict(), Verdict::NotOwner);
    a.node.shutdown().await;
    assert_eq!(b.send(&[octets(7, "between", 1)]).await.accepted, 1);
    // A front may send this sub-batch before it receives the refusal.
    let _ = frames.send(sub_batch(&[octets(7, "second", 1)])).await;
    tokio::time::sleep(HEARTBEAT * 4).await;
    assert_eq!(rated(db.as_ref()).await, ["between"], "the second sub-batch passed the first");
}

#[tokio::test(start_paused = true)]
async fn p30_nothing_on_a_stream_passes_a_sub_batch_that_its_owner_refused() {
    let (db, mut node) = beside_another_partition().await;
    let stale = [octets(7, "first", 1), octets(1500, "theirs", 1)];
    // Both are sent before the first one is refused.
    let frames = [sub_batch(&stale), sub_batch(&[octets(7, "second", 1)])];
    let mut answers =
        node.client.forward(futures::stream::iter(frames)).await.unwrap().into_inner();
    let refused = answers.message().await.unwrap().unwrap();
    assert_eq!(refused.standing.unwrap().verdict(), Verdict::NotOwner);
    assert!(answers.message().await.unwrap().is_none(), "the stream ends");
    assert_eq!(node.send(&[octets(7, "third", 1)]).await.accepted, 1);
    assert_eq!(rated(db.as_ref()).await, ["third"], "the second sub-batch passed the first");
}

/// Holds calls of a node before they reach the database.
#[derive(Default)]
struct Hold {
    calls: Mutex<HashSet<Call>>,
    /// The number of calls that were held.
    held: AtomicUsize,
}

#[async_trait]
impl Interpose for Hold {
    async fn before(&self, call: Call) -> StoreResult<()> {
        let is_held = || self.calls.lock().unwrap().contains(&call);
        if is_held() {
            self.held.fetch_add(1, Ordering::SeqCst);
            while is_held() {
                tokio::time::sleep(HEARTBEAT / 10).await;
            }
        }
        Ok(())
    }
    async fn after(&self, _: Call) -> StoreResult<()> {
        Ok(())
    }
}

impl Hold {
    fn of(db: &Arc<dyn SharedDatabase>) -> (Arc<Self>, Arc<dyn SharedDatabase>) {
        let hold = Arc::new(Self::default());
        (Arc::clone(&hold), Arc::new(Interposed::new(Arc::clone(db), hold)))
    }

    fn hold(&self, call: Call) {
        self.calls.lock().unwrap().insert(call);
    }

    fn let_go(&self) {
        self.calls.lock().unwrap().clear();
    }

    async fn holds_one(&self) -> bool {
        for _ in 0..160 {
            if self.held.load(Ordering::SeqCst) > 0 {
                return true;
            }
            tokio::time::sleep(HEARTBEAT).await;
        }
        false
    }
}

#[tokio::test(start_paused = true)]
async fn p9_an_owner_whose_append_hangs_loses_the_partition_although_its_node_is_live() {
    let db = database();
    let (line_of_a, through_a) = Hold::of(&db);
    let (mut a, mut b) = pair(&through_a, &db, support::no_network()).await;
    line_of_a.hold(Call::Append);
    let waiting = tokio::spawn(async move { a.try_send(&[octets(7, "r1", 1)]).await });
    assert!(
        until_owner_is(db.as_ref(), "b").await,
        "an owner task that hangs must lose the partition"
    );
    assert_eq!(b.send(&[octets(7, "r1", 1)]).await.accepted, 1);
    waiting.abort();
}

#[tokio::test(start_paused = true)]
async fn p6_an_answer_waits_for_the_commit_of_its_record() {
    let db = database();
    let (line_of_a, through_a) = Hold::of(&db);
    create_partition(db.as_ref()).await;
    publish(db.as_ref(), OCTETS).await;
    let mut a = start(config("a"), &through_a).await;
    a.open_account(7).await;
    line_of_a.hold(Call::Append);
    let sending = tokio::spawn(async move { a.try_send(&[octets(7, "r1", 1)]).await });
    assert!(line_of_a.holds_one().await);
    tokio::time::sleep(HEARTBEAT).await;
    assert!(!sending.is_finished(), "answered before the commit");
    line_of_a.let_go();
    assert_eq!(sending.await.unwrap().unwrap().accepted, 1);
    assert_eq!(rated(db.as_ref()).await, ["r1"]);
}

#[tokio::test(start_paused = true)]
async fn p2_an_append_that_commits_before_a_claim_is_known_to_the_claimant() {
    let db = database();
    let (line_of_a, through_a) = Hold::of(&db);
    let (line_of_b, through_b) = Hold::of(&db);
    let (mut a, mut b) = pair(&through_a, &through_b, support::no_network()).await;
    line_of_b.hold(Call::Claim);
    line_of_a.hold(Call::Append);
    let sending = tokio::spawn(async move { a.try_send(&[octets(7, "r1", 1)]).await });
    // `b` is about to claim from the owner that seems to hang. The append commits before the claim.
    assert!(line_of_b.holds_one().await);
    tokio::time::sleep(HEARTBEAT * 4).await;
    line_of_a.let_go();
    let answer = sending.await.unwrap().unwrap();
    assert_eq!(answer.accepted, 1);
    line_of_b.let_go();
    let again = b.send(&[octets(7, "r1", 1)]).await;
    assert_eq!(again.duplicates, [0], "the record is rated twice (I2)");
}

#[tokio::test(start_paused = true)]
async fn p13_an_owner_finishes_the_accepted_requests_before_it_releases() {
    let db = database();
    let (line_of_a, through_a) = Hold::of(&db);
    let (mut a, _b) = pair(&through_a, &db, support::no_network()).await;
    line_of_a.hold(Call::Append);
    let sending = tokio::spawn(async move { (a.try_send(&[octets(7, "r1", 1)]).await, a) });
    assert!(line_of_a.holds_one().await);
    let b = NodeName("b".to_owned());
    db.pin(PartitionId(1), Some((&b, HEARTBEAT * 2400))).await.unwrap();
    tokio::time::sleep(HEARTBEAT * 4).await;
    line_of_a.let_go();
    let (answer, _a) = sending.await.unwrap();
    let verdict = answer.unwrap().standing.unwrap().verdict();
    assert_eq!(verdict, Verdict::Done, "a handover must not refuse the record");
    assert!(until_owner_is(db.as_ref(), "b").await);
    assert_eq!(rated(db.as_ref()).await, ["r1"]);
}

/// A network on which every address reaches `server`.
fn network(server: NodeServiceServer<turnpike_node::Service>) -> Dial {
    let network = Network::default();
    let incoming = network.listen("node");
    tokio::spawn(Server::builder().add_service(server).serve_with_incoming(incoming));
    Dial::new(move |_| network.channel("node"))
}

#[tokio::test(start_paused = true)]
async fn p16_a_member_relays_requests_that_a_front_cannot_send_to_the_owner() {
    let db = database();
    let late: Arc<std::sync::OnceLock<Dial>> = Arc::default();
    let dial = Arc::clone(&late);
    let dial = Dial::new(move |address| match dial.get() {
        Some(dial) => dial.channel(address),
        None => support::no_network().channel(address),
    });
    let (a, mut b) = pair(&db, &db, dial).await;
    assert!(late.set(network(a.node.service())).is_ok());
    let mut passed = None;
    for _ in 0..20 {
        let mut call =
            tonic::Request::new(futures::stream::iter([sub_batch(&[octets(7, "r1", 1)])]));
        call.metadata_mut().insert(REFERRED, MetadataValue::from_static("1"));
        let mut answers = b.client.forward(call).await.unwrap().into_inner();
        let answer: SubBatchAnswer = answers.message().await.unwrap().unwrap();
        if answer.standing.as_ref().unwrap().verdict() == Verdict::Done {
            passed = Some(answer.accepted);
            break;
        }
        tokio::time::sleep(HEARTBEAT).await;
    }
    assert_eq!(passed, Some(1), "the record did not reach the owner");
    assert_eq!(owner_of(db.as_ref()).await, "a", "no takeover happened");
}

#[test]
fn mutants_are_caught() {
    all_caught(&[
        (Check::Range, "p32_an_account_of_another_partition_is_refused", "the route was stale"),
        (
            Check::StreamStops,
            "p30_nothing_on_a_stream_passes_a_refused_sub_batch",
            "passed the first",
        ),
        (
            Check::OwnerEndsStream,
            "p30_nothing_on_a_stream_passes_a_sub_batch_that_its_owner_refused",
            "passed the first",
        ),
        (
            Check::Tick,
            "p9_an_owner_whose_append_hangs_loses_the_partition_although_its_node_is_live",
            "task that hangs must lose",
        ),
        (
            Check::OverdueAppend,
            "p9_an_owner_whose_append_hangs_loses_the_partition_although_its_node_is_live",
            "task that hangs must lose",
        ),
        (
            Check::ReleaseDrains,
            "p13_an_owner_finishes_the_accepted_requests_before_it_releases",
            "must not refuse the record",
        ),
        (
            Check::Relay,
            "p16_a_member_relays_requests_that_a_front_cannot_send_to_the_owner",
            "did not reach the owner",
        ),
    ]);
}
