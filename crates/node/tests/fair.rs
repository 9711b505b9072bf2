//! Clients get turns at an owner: one with many records does not delay one with few.

use crate::support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use support::{
    HEARTBEAT, OCTETS, Running, config, create_partition, database, octets, open, publish, start,
    subscribe,
};
use tokio::sync::Semaphore;
use turnpike_node::NodeConfig;
use turnpike_proto::CLIENT;
use turnpike_proto::frame::{SubBatchFrame, SubBatchHead, push_record};
use turnpike_proto::node::v1::{NodeApplyRequest, NodeShowRequest, Verdict};
use turnpike_proto::record::encode;
use turnpike_store::{
    Call, Interpose, Interposed, Member, PartitionSpec, SharedDatabase, StoreResult,
};
use turnpike_types::{AccountRange, NodeName, PartitionId, Priority, Timestamp};

/// A database in which each append waits for a permit.
struct Gated {
    appends: Semaphore,
}

#[async_trait]
impl Interpose for Gated {
    async fn before(&self, call: Call) -> StoreResult<()> {
        if call == Call::Append {
            self.appends.acquire().await.unwrap().forget();
        }
        Ok(())
    }
    async fn after(&self, _: Call) -> StoreResult<()> {
        Ok(())
    }
}

/// A sub-batch of 20 records of account 7, whose ids begin with `name`.
fn sub_batch(client: u64, name: &str, sequence: u64) -> SubBatchFrame {
    sub_batch_of((1, 7), client, name, sequence)
}

fn sub_batch_of(
    (partition, account): (u32, u64),
    client: u64,
    name: &str,
    sequence: u64,
) -> SubBatchFrame {
    let (mut run, mut bytes) = (Vec::new(), Vec::new());
    for number in 0..20 {
        bytes.clear();
        encode(&octets(account, &format!("{name}-{sequence}-{number}"), 1), &mut bytes);
        push_record(&mut run, &bytes);
    }
    let head = SubBatchHead { partition, sequence, client, ..SubBatchHead::default() };
    SubBatchFrame::build(head, &run)
}

/// The number of answers that a client with 40 sub-batches has when one with a single sub-batch gets
/// its answer. Both send through fronts that name the clients `heavy` and `light`.
async fn answered_before(heavy: u64, light: u64) -> usize {
    let db = database();
    create_partition(db.as_ref()).await;
    publish(db.as_ref(), OCTETS).await;
    let gate = Arc::new(Gated { appends: Semaphore::new(1_000) });
    let gated: Arc<dyn SharedDatabase> =
        Arc::new(Interposed::new(Arc::clone(&db), Arc::clone(&gate)));
    // Two sub-batches fill a segment.
    let small = NodeConfig { segment_bytes_max: 2_000, ..config("a") };
    let mut node = start(small, &gated).await;
    node.open_account(7).await;
    gate.appends.forget_permits(usize::MAX);
    let frames =
        futures::stream::iter((0..40).map(move |sequence| sub_batch(heavy, "many", sequence)));
    let mut many = node.client.forward(frames).await.unwrap().into_inner();
    // The sub-batches arrive, and wait for the first append.
    tokio::time::sleep(support::HEARTBEAT).await;
    let one = futures::stream::iter([sub_batch(light, "one", 0)]);
    let mut one = node.client.forward(one).await.unwrap().into_inner();
    tokio::time::sleep(support::HEARTBEAT).await;
    let mut answered = 0;
    for _ in 0..10_000 {
        tokio::select! {
            biased;
            answer = one.message() => {
                let answer = answer.unwrap().unwrap();
                assert_eq!(answer.standing.unwrap().verdict(), Verdict::Done);
                assert_eq!(answer.accepted, 20);
                return answered;
            }
            answer = many.message(), if answered < 40 => {
                assert_eq!(answer.unwrap().unwrap().accepted, 20);
                answered += 1;
            }
            // An answer that waited for long needs one more commit.
            () = tokio::time::sleep(Duration::from_millis(1)) => gate.appends.add_permits(1),
        }
    }
    panic!("the client with one sub-batch got no answer");
}

#[tokio::test(start_paused = true)]
async fn a_client_with_few_records_passes_those_of_another_one_that_wait() {
    let passed = answered_before(1, 2).await;
    assert!(passed <= 10, "{passed} sub-batches of the other client were answered first");
    // The same client keeps the order in which it sent.
    assert_eq!(answered_before(1, 1).await, 40);
}

/// A database in which the next append hangs, once this is armed, until it is released.
struct OneHangs {
    armed: AtomicBool,
    released: Semaphore,
}

#[async_trait]
impl Interpose for OneHangs {
    async fn before(&self, call: Call) -> StoreResult<()> {
        if call == Call::Append && self.armed.swap(false, Ordering::SeqCst) {
            self.released.acquire().await.unwrap().forget();
        }
        Ok(())
    }
    async fn after(&self, _: Call) -> StoreResult<()> {
        Ok(())
    }
}

/// A node whose queue has room for 40 sub-batches, which serves partition 1 with account 7 and
/// partition 2 with account 1007. The append of partition 1 hangs, and its segment is full.
async fn with_a_hanging_append() -> (Running, Arc<OneHangs>) {
    let db = database();
    create_partition(db.as_ref()).await;
    let spec = PartitionSpec {
        id: PartitionId(2),
        range: AccountRange::new(1001, 2000).unwrap(),
        horizon_us: 1,
        accept_since: Some(Timestamp(0)),
        members: vec![Member { node: NodeName("a".to_owned()), priority: Priority(1) }],
    };
    db.create_partitions(&[spec]).await.unwrap();
    publish(db.as_ref(), OCTETS).await;
    let hangs = Arc::new(OneHangs { armed: AtomicBool::new(false), released: Semaphore::new(0) });
    let hanging: Arc<dyn SharedDatabase> =
        Arc::new(Interposed::new(Arc::clone(&db), Arc::clone(&hangs)));
    let queue_bytes_max = 40 * sub_batch(1, "x", 0).body().len();
    let small = NodeConfig { segment_bytes_max: 2_000, queue_bytes_max, ..config("a") };
    let mut node = start(small, &hanging).await;
    node.open_account(7).await;
    for _ in 0..LOOKS {
        let commands = vec![open(1007), subscribe(1007, "octets")];
        let asked = node.client.apply(NodeApplyRequest { partition: 2, commands });
        if asked.await.unwrap().into_inner().standing.unwrap().verdict() == Verdict::Done {
            break;
        }
        tokio::time::sleep(HEARTBEAT).await;
    }
    hangs.armed.store(true, Ordering::SeqCst);
    (node, hangs)
}

const LOOKS: usize = 100;

/// Sends sub-batches of a client to partition 1 until they wait or are refused.
async fn fill(node: &mut Running, client: u64, count: u64) {
    let frames = (0..count).map(move |sequence| sub_batch(client, "hangs", sequence));
    let answers = node.client.forward(futures::stream::iter(frames)).await.unwrap().into_inner();
    tokio::spawn(async move {
        let mut answers = answers;
        while let Ok(Some(_)) = answers.message().await {}
    });
    // Longer than a sub-batch waits for room.
    tokio::time::sleep(HEARTBEAT * 5).await;
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_does_not_answer_leaves_its_client_room_for_another_one() {
    let (mut node, hangs) = with_a_hanging_append().await;
    fill(&mut node, 1, 60).await;
    let frames = futures::stream::iter([sub_batch_of((2, 1007), 1, "served", 0)]);
    let mut answers = node.client.forward(frames).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    assert_eq!(answer.accepted, 20, "{answer:?}");
    assert!(!hangs.armed.load(Ordering::SeqCst), "no append hangs");
}

fn show(client: u64) -> tonic::Request<NodeShowRequest> {
    let mut request = tonic::Request::new(NodeShowRequest { partition: 1, account_number: 7 });
    request.metadata_mut().insert(CLIENT, client.into());
    request
}

/// Requests for accounts and suspended records count as those of the client that sent them.
#[tokio::test(start_paused = true)]
async fn a_client_with_many_control_requests_does_not_use_up_the_share_of_another_one() {
    let (mut node, hangs) = with_a_hanging_append().await;
    fill(&mut node, 9, 6).await;
    let many: Vec<_> = (0..200)
        .map(|_| {
            let mut client = node.client.clone();
            tokio::spawn(async move { client.show(show(1)).await })
        })
        .collect();
    tokio::time::sleep(HEARTBEAT).await;
    let mut client = node.client.clone();
    let one = tokio::spawn(async move { client.show(show(2)).await });
    tokio::time::sleep(HEARTBEAT * 5).await;
    hangs.released.add_permits(1);
    let mut refused = 0;
    for answer in many {
        let standing = answer.await.unwrap().unwrap().into_inner().standing.unwrap();
        refused += usize::from(standing.verdict() == Verdict::Overloaded);
    }
    assert!((1..200).contains(&refused), "{refused} of the many were refused");
    let answer = one.await.unwrap().unwrap().into_inner();
    assert_eq!(answer.standing.unwrap().verdict(), Verdict::Done);
    assert!(answer.account.is_some());
}
