//! Takeovers and handovers, seen from a front: a warm standby loads little, and no record is lost.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, dead_code)]

use crate::support;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use support::{
    HEARTBEAT, OCTETS, Running, config, create_partition, database, log, octets, publish, start,
};
use turnpike_account::PartitionState;
use turnpike_node::NodeConfig;
use turnpike_proto::dial::Dial;
use turnpike_proto::node::v1::Verdict;
use turnpike_store::{
    Call, Following, Interpose, Interposed, SharedDatabase, StoreError, StoreResult,
};
use turnpike_types::{NodeName, PartitionId, SegmentNumber};

/// Counts a node's calls of the database, and can cut its connection.
#[derive(Default)]
struct DatabaseLink {
    calls: Mutex<HashMap<Call, u64>>,
    is_cut: std::sync::atomic::AtomicBool,
}

#[async_trait]
impl Interpose for DatabaseLink {
    async fn before(&self, call: Call) -> StoreResult<()> {
        *self.calls.lock().unwrap().entry(call).or_default() += 1;
        if self.is_cut.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(StoreError::Unavailable { doing: "test", cause: "cut".to_owned() });
        }
        Ok(())
    }
    async fn after(&self, _: Call) -> StoreResult<()> {
        Ok(())
    }
}

impl DatabaseLink {
    fn of(db: &Arc<dyn SharedDatabase>) -> (Arc<Self>, Arc<dyn SharedDatabase>) {
        let line = Arc::new(Self::default());
        (Arc::clone(&line), Arc::new(Interposed::new(Arc::clone(db), line)))
    }
    fn count(&self, call: Call) -> u64 {
        self.calls.lock().unwrap().get(&call).copied().unwrap_or_default()
    }
    fn cut(&self, cut: bool) {
        self.is_cut.store(cut, std::sync::atomic::Ordering::SeqCst);
    }
}

/// The position of the node's warm replica, by its heartbeat.
async fn replica_of(db: &dyn SharedDatabase, node: &str) -> Option<Following> {
    let seen = db.observe().await.unwrap();
    let row = seen.nodes.iter().find(|row| row.beat.node.0 == node)?;
    row.beat.following.first().copied()
}

/// Waits until the standby's replica holds the whole log.
async fn until_warm(db: &dyn SharedDatabase, node: &str) {
    for _ in 0..1200 {
        let next = db.observe().await.unwrap().partitions[0].next;
        let copy = replica_of(db, node).await;
        if copy.is_some_and(|copy| copy.segment.next() == next.next) {
            assert_eq!(copy.unwrap().hash, next.last_hash);
            return;
        }
        tokio::time::sleep(HEARTBEAT).await;
    }
    panic!("{node} did not follow the log");
}

async fn owner_of(db: &dyn SharedDatabase) -> String {
    let seen = db.observe().await.unwrap();
    seen.partitions[0].owner.as_ref().map(|(node, _)| node.0.clone()).unwrap_or_default()
}

async fn until_owned_by(db: &dyn SharedDatabase, node: &str) {
    for _ in 0..1200 {
        if owner_of(db).await == node {
            return;
        }
        tokio::time::sleep(HEARTBEAT).await;
    }
    panic!("{node} did not become the owner of the partition");
}

#[tokio::test(start_paused = true)]
async fn i4_a_warm_standby_takes_over_without_loading_and_goes_on_where_the_log_ends() {
    let db = database();
    create_partition(db.as_ref()).await;
    publish(db.as_ref(), OCTETS).await;
    let (line_of_a, through_a) = DatabaseLink::of(&db);
    let mut a = start(config("a"), &through_a).await;
    a.open_account(7).await;
    let (line_of_b, through_b) = DatabaseLink::of(&db);
    let mut b = start(config("b"), &through_b).await;
    for round in 0..20 {
        a.send(&[octets(7, &format!("r{round}"), 100)]).await;
    }
    until_warm(db.as_ref(), "b").await;
    let loaded = line_of_b.count(Call::CheckpointPart);
    let read = line_of_b.count(Call::ReadSegments);
    line_of_a.cut(true);
    let answer = b.send(&[octets(7, "r19", 100), octets(7, "new", 1)]).await;
    assert_eq!((answer.accepted, answer.duplicates.as_slice()), (1, [0].as_slice()), "I2, I5");
    assert_eq!(line_of_b.count(Call::CheckpointPart), loaded, "no checkpoint is loaded");
    let more = line_of_b.count(Call::ReadSegments) - read;
    assert!(more <= 1, "only the retry's segment is read, but {more} reads");
    let rows = log(db.as_ref()).await;
    let epochs: Vec<u64> = rows.iter().map(|row| row.epoch.number()).collect();
    assert!(epochs.is_sorted() && epochs.first() < epochs.last(), "I3: {epochs:?}");
    support::replay(PartitionState::default(), &rows);
}

#[tokio::test(start_paused = true)]
async fn i6_an_owner_that_was_cut_off_answers_nothing_and_follows_when_it_is_back() {
    let db = database();
    create_partition(db.as_ref()).await;
    publish(db.as_ref(), OCTETS).await;
    let (line_of_a, through_a) = DatabaseLink::of(&db);
    let slow = NodeConfig { warm_standbys: 1, ..config("a") };
    let mut a = start(slow, &through_a).await;
    a.open_account(7).await;
    let mut b = start(config("b"), &db).await;
    until_warm(db.as_ref(), "b").await;
    line_of_a.cut(true);
    b.send(&[octets(7, "r1", 1)]).await;
    let answer = a.try_send(&[octets(7, "r2", 1)]).await;
    let done = answer.is_some_and(|answer| answer.standing.unwrap().verdict() == Verdict::Done);
    assert!(!done, "I6");
    line_of_a.cut(false);
    // The returned node follows the log again, and discards what it had not appended.
    until_warm(db.as_ref(), "a").await;
    until_owned_by(db.as_ref(), "a").await;
    let answer = a.send(&[octets(7, "r1", 1), octets(7, "r2", 1)]).await;
    assert_eq!((answer.accepted, answer.duplicates.as_slice()), (1, [0].as_slice()));
}

#[tokio::test(start_paused = true)]
async fn an_owner_with_nothing_to_append_learns_that_it_was_superseded_and_follows() {
    let db = database();
    create_partition(db.as_ref()).await;
    publish(db.as_ref(), OCTETS).await;
    let (line_of_a, through_a) = DatabaseLink::of(&db);
    let mut a = start(config("a"), &through_a).await;
    a.open_account(7).await;
    let mut b = start(config("b"), &db).await;
    until_warm(db.as_ref(), "b").await;
    line_of_a.cut(true);
    b.send(&[octets(7, "r1", 1)]).await;
    // `a` is connected again, but receives no request, so there is no append that the fence could
    // refuse.
    line_of_a.cut(false);
    until_warm(db.as_ref(), "a").await;
}

/// Sends one record after the other to the node that accepts it, until `stop`. Returns the numbers
/// of records sent and accepted.
async fn keep_sending(nodes: [Running; 2], stop: Arc<std::sync::atomic::AtomicBool>) -> (u64, u64) {
    let [mut a, mut b] = nodes;
    let (mut sent, mut accepted) = (0, 0);
    while !stop.load(std::sync::atomic::Ordering::SeqCst) {
        let record = [octets(7, &format!("s{sent}"), 1)];
        sent += 1;
        'one: loop {
            for node in [&mut a, &mut b] {
                let Some(answer) = node.try_send(&record).await else { continue };
                if answer.standing.as_ref().unwrap().verdict() == Verdict::Done {
                    accepted += u64::from(answer.accepted);
                    assert_eq!(answer.accepted as usize + answer.duplicates.len(), 1);
                    break 'one;
                }
            }
        }
    }
    (sent, accepted)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p13_handovers_back_and_forth_lose_and_double_nothing() {
    let db = database();
    create_partition(db.as_ref()).await;
    publish(db.as_ref(), OCTETS).await;
    let mut a = start(config("a"), &db).await;
    a.open_account(7).await;
    let b = start(config("b"), &db).await;
    until_warm(db.as_ref(), "b").await;
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let sending = tokio::spawn(keep_sending([a, b], Arc::clone(&stop)));
    for round in 0..10 {
        let to = NodeName(if round % 2 == 0 { "b" } else { "a" }.to_owned());
        until_warm_member(db.as_ref(), &to.0).await;
        db.pin(PartitionId(1), Some((&to, Duration::from_secs(60)))).await.unwrap();
        until_owned_by(db.as_ref(), &to.0).await;
    }
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    let (sent, accepted) = sending.await.unwrap();
    assert!(sent >= 10, "at least one record per handover: {sent}");
    assert_eq!(sent, accepted, "each record is accepted once, and no handover refuses one");
    let state = support::replay(PartitionState::default(), &log(db.as_ref()).await);
    assert_eq!(state.keys().len() as u64, sent, "I1, I2");
}

/// Waits until the member has a warm replica at any position: the log grows meanwhile.
async fn until_warm_member(db: &dyn SharedDatabase, node: &str) {
    for _ in 0..1200 {
        if replica_of(db, node).await.is_some_and(|copy| copy.segment > SegmentNumber(0)) {
            return;
        }
        tokio::time::sleep(HEARTBEAT).await;
    }
    panic!("{node} did not follow the log");
}

#[tokio::test(start_paused = true)]
async fn p13_a_drained_node_releases_its_partitions_and_claims_none() {
    let db = database();
    create_partition(db.as_ref()).await;
    publish(db.as_ref(), OCTETS).await;
    let mut a = start(config("a"), &db).await;
    a.open_account(7).await;
    let mut b = start(config("b"), &db).await;
    assert!(db.set_drained(&NodeName("a".to_owned()), true).await.unwrap());
    until_owned_by(db.as_ref(), "b").await;
    b.send(&[octets(7, "r1", 1)]).await;
    b.node.shutdown().await;
    tokio::time::sleep(HEARTBEAT * 30).await;
    assert_eq!(owner_of(db.as_ref()).await, "b", "the drained node does not claim");
    assert!(db.set_drained(&NodeName("a".to_owned()), false).await.unwrap());
    let answer = a.send(&[octets(7, "r1", 1)]).await;
    assert_eq!(answer.duplicates, [0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p15_an_ended_process_is_suspected_long_before_it_is_silent() {
    let db = database();
    create_partition(db.as_ref()).await;
    publish(db.as_ref(), OCTETS).await;
    // The owner is suspect after four heartbeat intervals (two minutes) of silence.
    let beat = Duration::from_secs(30);
    let slow =
        move |name: &str, address: String| NodeConfig { heartbeat: beat, address, ..config(name) };
    // The process of node `a`: all of its tasks and sockets end together.
    let process = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let shared = Arc::clone(&db);
    let running = process.spawn(async move {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = slow("a", listener.local_addr().unwrap().to_string());
        let node = turnpike_node::Node::start(config, shared, Dial::default()).await.unwrap();
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        let service = node.service();
        tokio::spawn(
            tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming),
        );
        node
    });
    let _a = running.await.unwrap();
    until_owned_by(db.as_ref(), "a").await;
    let config = slow("b", "127.0.0.1:1".to_owned());
    let _b = turnpike_node::Node::start(config, Arc::clone(&db), Dial::default()).await.unwrap();
    // Time for the connection to `a`.
    tokio::time::sleep(Duration::from_millis(500)).await;
    process.shutdown_background();
    // The takeover takes at most ten seconds, which is a third of the heartbeat interval.
    until_owned_by(db.as_ref(), "b").await;
}
