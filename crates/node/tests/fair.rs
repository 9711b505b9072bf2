//! Clients get turns at an owner: one with many records does not delay one with few.

use crate::support;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use support::{OCTETS, config, create_partition, database, octets, publish, start};
use tokio::sync::Semaphore;
use turnpike_node::NodeConfig;
use turnpike_proto::frame::{SubBatchFrame, SubBatchHead, push_record};
use turnpike_proto::node::v1::Verdict;
use turnpike_proto::record::encode;
use turnpike_store::{Call, Interpose, Interposed, SharedDatabase, StoreResult};

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
    let (mut run, mut bytes) = (Vec::new(), Vec::new());
    for number in 0..20 {
        bytes.clear();
        encode(&octets(7, &format!("{name}-{sequence}-{number}"), 1), &mut bytes);
        push_record(&mut run, &bytes);
    }
    let head = SubBatchHead { partition: 1, sequence, client, ..SubBatchHead::default() };
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
