//! An owner under faults of its own: a broken invariant, a record that fits no segment, a
//! checkpoint that becomes due while clients wait.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use crate::support;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use support::{
    HEARTBEAT, OCTETS, Running, config, create_partition, database, octets, publish, start,
    subscribe,
};
use turnpike_node::NodeConfig;
use turnpike_proto::node::v1::{
    NodeApplyRequest, NodeRecycleRequest, NodeShowRequest, RecycleKey, Verdict,
};
use turnpike_store::{Call, Interpose, Interposed, SharedDatabase, StoreResult};

/// A database that panics in the caller at the next read of segments, once it is armed.
#[derive(Default)]
struct Panicking {
    is_armed: AtomicBool,
}

#[async_trait]
impl Interpose for Panicking {
    async fn before(&self, call: Call) -> StoreResult<()> {
        if call == Call::ReadSegments && self.is_armed.swap(false, Ordering::SeqCst) {
            panic!("an invariant of the owner did not hold");
        }
        Ok(())
    }
    async fn after(&self, _: Call) -> StoreResult<()> {
        Ok(())
    }
}

/// I6, P2: the state of an owner that panicked is dropped. The reason is in the answers meanwhile,
/// and the partition is served again from the log.
#[tokio::test(start_paused = true)]
async fn an_owner_that_panics_ends_with_its_reason_and_the_log_is_served_again() {
    let db = database();
    create_partition(db.as_ref()).await;
    publish(db.as_ref(), OCTETS).await;
    let fault = Arc::new(Panicking::default());
    let faulty: Arc<dyn SharedDatabase> =
        Arc::new(Interposed::new(Arc::clone(&db), Arc::clone(&fault)));
    let mut node = start(config("a"), &faulty).await;
    node.open_account(7).await;
    assert_eq!(node.send(&[octets(7, "r1", 1)]).await.accepted, 1);
    let epoch = async || db.observe().await.unwrap().partitions[0].epoch;
    let before = epoch().await;
    // Other content is compared with the logged record, whose segment the owner reads.
    fault.is_armed.store(true, Ordering::SeqCst);
    let refused = node.try_send(&[octets(7, "r1", 2)]).await.unwrap().standing.unwrap();
    assert!(!fault.is_armed.load(Ordering::SeqCst), "the owner did not read the segment");
    assert_eq!(refused.verdict(), Verdict::NotOwner);
    assert!(refused.message.contains("an invariant of the owner did not hold"), "{refused:?}");
    let again = node.send(&[octets(7, "r1", 1), octets(7, "r2", 1)]).await;
    assert_eq!((again.duplicates, again.accepted), (vec![0], 1));
    assert!(epoch().await > before, "another ownership serves");
}

/// The two charges fit a segment each, and their sum does not fit 38 digits.
const HUGE: &str = r#"<plan xmlns="urn:turnpike:plan:1" id="huge" version="1" starts="2020-01-01" currency="USD">
  <graph>
    <UsageTypeSelector id="data" in="record.quantity" types="octets"/>
    <StepRater id="one" in="data.pass" mode="graduated">
      <step id="all" price="900000000000000000000000000" per="1 B"/>
    </StepRater>
    <StepRater id="two" in="data.pass" mode="graduated">
      <step id="all" price="900000000000000000000000000" per="1 B"/>
    </StepRater>
    <AccountFinalizer id="post-one" in="one.charge"/>
    <AccountFinalizer id="post-two" in="two.charge"/>
  </graph>
</plan>"#;

async fn recycle(node: &mut Running, record_id: &str, revision: u32) -> (bool, String) {
    let key = RecycleKey {
        account_number: 7,
        record_id: record_id.to_owned(),
        revision,
        ..RecycleKey::default()
    };
    let request = NodeRecycleRequest { partition: 1, keys: vec![key], ..Default::default() };
    let answer = node.client.recycle(request).await.unwrap().into_inner();
    (answer.outcomes[0].rated, answer.outcomes[0].reason.clone())
}

/// P35, I7: a suspended record that fits no segment waits as `overflow` when it is recycled. The
/// entry by which it would leave suspense must not make the empty segment look like a full one.
#[tokio::test(start_paused = true)]
async fn p35_a_record_that_fits_no_segment_stays_suspended_when_it_is_recycled() {
    let db = database();
    create_partition(db.as_ref()).await;
    publish(db.as_ref(), HUGE).await;
    let mut node = start(config("a"), &db).await;
    let answer = node.send(&[octets(7, "r1", 100)]).await;
    assert_eq!(answer.exceptions[0].reason, "unknown-account");
    let commands = vec![support::open(7), subscribe(7, "huge")];
    let applied = node.client.apply(NodeApplyRequest { partition: 1, commands }).await.unwrap();
    assert_eq!(applied.into_inner().results.len(), 2);
    assert_eq!(recycle(&mut node, "r1", 0).await, (false, "overflow".to_owned()));
    assert_eq!(recycle(&mut node, "r1", 1).await, (false, "overflow".to_owned()), "again");
    let answer = node.send(&[octets(7, "r2", 100)]).await;
    assert_eq!(answer.exceptions[0].reason, "overflow", "as for a record that arrives");
}

/// Holds calls, and notes the order in which parts of checkpoints and barriers reach the database.
#[derive(Default)]
struct Line {
    held: Mutex<HashSet<Call>>,
    waiting: AtomicUsize,
    parts: AtomicUsize,
}

#[async_trait]
impl Interpose for Line {
    async fn before(&self, call: Call) -> StoreResult<()> {
        if call == Call::PutCheckpointPart {
            self.parts.fetch_add(1, Ordering::SeqCst);
        }
        let is_held = || self.held.lock().unwrap().contains(&call);
        if is_held() {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            while is_held() {
                tokio::time::sleep(HEARTBEAT / 10).await;
            }
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }
        Ok(())
    }
    async fn after(&self, _: Call) -> StoreResult<()> {
        Ok(())
    }
}

impl Line {
    fn hold(&self, call: Call) {
        self.held.lock().unwrap().insert(call);
    }

    fn let_go(&self, call: Call) {
        self.held.lock().unwrap().remove(&call);
    }

    async fn until(&self, holds: usize) {
        for _ in 0..400 {
            if self.waiting.load(Ordering::SeqCst) == holds {
                return;
            }
            tokio::time::sleep(HEARTBEAT / 4).await;
        }
        panic!("{holds} calls were not held");
    }
}

/// P17, P22: the snapshot of a checkpoint takes a while. Answers that wait for a write barrier are
/// sent first.
#[tokio::test(start_paused = true)]
async fn p22_no_checkpoint_starts_while_answers_wait_for_a_barrier() {
    let db = database();
    create_partition(db.as_ref()).await;
    publish(db.as_ref(), OCTETS).await;
    let line = Arc::new(Line::default());
    let held: Arc<dyn SharedDatabase> =
        Arc::new(Interposed::new(Arc::clone(&db), Arc::clone(&line)));
    let eager = NodeConfig { checkpoint_log_bytes: 1, ..config("a") };
    let mut node = start(eager, &held).await;
    node.open_account(7).await;
    // The checkpoint after the account's segment is written.
    tokio::time::sleep(HEARTBEAT * 4).await;
    let before = line.parts.load(Ordering::SeqCst);
    assert!(before > 0, "no checkpoint was written");

    // A list is requested while an append is in flight, so its answer waits for a barrier.
    line.hold(Call::Append);
    line.hold(Call::Barrier);
    let mut sender = node.client.clone();
    let sending = tokio::spawn(async move {
        let stream = futures::stream::iter([support::sub_batch(&[octets(7, "r1", 1)])]);
        sender.forward(stream).await.unwrap().into_inner().message().await.unwrap().unwrap()
    });
    line.until(1).await;
    let mut asking = node.client.clone();
    let shown = tokio::spawn(async move {
        asking.show(NodeShowRequest { partition: 1, account_number: 7 }).await.unwrap()
    });
    tokio::time::sleep(HEARTBEAT / 4).await;
    line.let_go(Call::Append);
    assert_eq!(sending.await.unwrap().accepted, 1);
    line.until(1).await;
    tokio::time::sleep(HEARTBEAT * 2).await;
    assert_eq!(line.parts.load(Ordering::SeqCst), before, "a checkpoint passed the barrier");
    assert!(!shown.is_finished(), "answered before the barrier");
    line.let_go(Call::Barrier);
    assert!(shown.await.unwrap().into_inner().account.is_some());
    tokio::time::sleep(HEARTBEAT * 4).await;
    assert!(line.parts.load(Ordering::SeqCst) > before, "the checkpoint follows");
}
