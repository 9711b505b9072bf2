//! Records that are sent again in another order than the first time (I5).
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use crate::support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use support::{OCTETS, Running, config, create_partition, database, log, octets, publish, start};
use turnpike_node::NodeConfig;
use turnpike_store::{Call, Interpose, Interposed, SharedDatabase, StoreResult};
use turnpike_types::UsageRecord;

const ACCOUNTS: u64 = 10;
const SEGMENTS: usize = 40;
/// Records in one sub-batch, which is a segment of its own here.
const RECORDS: usize = 50;

/// Counts the reads of segments.
#[derive(Default)]
struct SegmentReads(AtomicUsize);

#[async_trait]
impl Interpose for SegmentReads {
    async fn before(&self, call: Call) -> StoreResult<()> {
        if call == Call::ReadSegments {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn after(&self, _: Call) -> StoreResult<()> {
        Ok(())
    }
}

impl SegmentReads {
    fn take(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}

/// A node that keeps no segment in memory.
async fn node(name: &str, db: &Arc<dyn SharedDatabase>) -> Running {
    let without_cache = NodeConfig {
        segment_cache_bytes: 0,
        checkpoint_log_bytes: 1,
        warm_standbys: 0,
        ..config(name)
    };
    start(without_cache, db).await
}

fn day() -> Vec<Vec<UsageRecord>> {
    let record = |segment: usize, number: usize| {
        let account = 1 + (number as u64) % ACCOUNTS;
        octets(account, &format!("r{segment}-{number}"), 1 + number as i64)
    };
    let sub_batch = |segment| (0..RECORDS).map(|number| record(segment, number)).collect();
    (0..SEGMENTS).map(sub_batch).collect()
}

/// Sends all records again in an order of their own, and returns how many were duplicates.
async fn again(node: &mut Running, day: &[Vec<UsageRecord>], seed: u64) -> usize {
    let mut all: Vec<UsageRecord> = day.iter().flatten().cloned().collect();
    all.shuffle(&mut StdRng::seed_from_u64(seed));
    let mut duplicates = 0;
    for records in all.chunks(RECORDS) {
        let answer = node.send(records).await;
        assert_eq!((answer.accepted, answer.exceptions.len()), (0, 0), "{answer:?}");
        duplicates += answer.duplicates.len();
    }
    duplicates
}

/// Each duplicate made its owner read and decode a segment: a day that was sent again in another order
/// took hours, during which the front gave up and sent it again.
#[tokio::test(start_paused = true)]
async fn i5_duplicates_in_any_order_need_each_segment_once_at_most() {
    let reads = Arc::new(SegmentReads::default());
    let memory = database();
    let db: Arc<dyn SharedDatabase> =
        Arc::new(Interposed::new(Arc::clone(&memory), Arc::clone(&reads)));
    create_partition(db.as_ref()).await;
    publish(db.as_ref(), OCTETS).await;
    let mut first = node("a", &db).await;
    for account in 1..=ACCOUNTS {
        first.open_account(account).await;
    }
    let day = day();
    for records in &day {
        assert_eq!(first.send(records).await.accepted as usize, RECORDS);
    }
    assert!(log(memory.as_ref()).await.len() >= SEGMENTS);
    reads.take();
    let all = SEGMENTS * RECORDS;
    assert_eq!(again(&mut first, &day, 1).await, all);
    assert_eq!(reads.take(), 0, "the owner that rated the records knows them");

    // An owner that has its keys from a checkpoint reads each segment once.
    first.node.shutdown().await;
    let mut second = node("b", &db).await;
    let segments = log(memory.as_ref()).await.len();
    reads.take();
    assert_eq!(again(&mut second, &day, 2).await, all);
    let read = reads.take();
    assert!((1..=segments).contains(&read), "{read} reads of {segments} segments");
    assert_eq!(again(&mut second, &day, 3).await, all);
    assert_eq!(reads.take(), 0);

    // Other content is a conflict, after a look into the log.
    let mut other = day[SEGMENTS / 2][0].clone();
    other.quantity = Some(7_777);
    let answer = second.send(&[other]).await;
    assert_eq!(answer.exceptions[0].reason, "conflict");
    assert_eq!(reads.take(), 1);
}
