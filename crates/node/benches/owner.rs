//! The cost of a record in a node: from the sub-batch of a front to the answer after the commit,
//! with the store in memory.
//!
//!     cargo bench -p turnpike-node --bench owner
//!
//! Each time is for one record of a sub-batch of 1,000. `fresh` sends new records; `retries` sends
//! records that were rated before, all in one segment; `shuffled` sends records of many segments, in
//! another order than the first time. One thread does all the work, so that instruction counts are
//! stable (docs/benchmarks.md).

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, dead_code)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::time::Duration;

use divan::Bencher;
use divan::counter::ItemsCount;
use support::{
    OCTETS, Running, config, create_partition, database, octets, publish, start, sub_batch,
};
use tokio::runtime::Runtime;
use turnpike_node::NodeConfig;
use turnpike_proto::frame::SubBatchFrame;
use turnpike_types::UsageRecord;

const RECORDS: usize = 1_000;
const ACCOUNTS: usize = 100;
/// The segments whose records are shuffled, each of one sub-batch.
const SEGMENTS: usize = 100;

fn main() {
    divan::main();
}

/// A node that owns a partition with accounts.
struct Rig {
    runtime: Runtime,
    node: Running,
    sent: usize,
}

impl Rig {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let node = runtime.block_on(async {
            let db = database();
            create_partition(db.as_ref()).await;
            publish(db.as_ref(), OCTETS).await;
            // A rare heartbeat, so that its work does not count.
            let rare = NodeConfig {
                heartbeat: Duration::from_secs(60),
                segment_cache_bytes: 0,
                ..config("a")
            };
            let mut node = start(rare, &Arc::clone(&db)).await;
            for account in 1..=ACCOUNTS as u64 {
                node.open_account(account).await;
            }
            node
        });
        Self { runtime, node, sent: 0 }
    }

    fn fresh(&mut self) -> SubBatchFrame {
        let records: Vec<_> = (self.sent..self.sent + RECORDS).map(record).collect();
        self.sent += RECORDS;
        sub_batch(&records)
    }

    fn send(&mut self, frame: &SubBatchFrame) -> (u32, usize) {
        let client = &mut self.node.client;
        self.runtime.block_on(async {
            let stream = futures::stream::iter([frame.clone()]);
            let mut answers = client.forward(stream).await.unwrap().into_inner();
            let answer = answers.message().await.unwrap().unwrap();
            (answer.accepted, answer.duplicates.len())
        })
    }
}

fn record(number: usize) -> UsageRecord {
    octets((number % ACCOUNTS + 1) as u64, &format!("r{number}"), 10)
}

#[divan::bench]
fn fresh(bencher: Bencher<'_, '_>) {
    let mut rig = Rig::new();
    bencher.counter(ItemsCount::new(RECORDS)).bench_local(|| {
        let frame = rig.fresh();
        assert_eq!(rig.send(&frame), (RECORDS as u32, 0));
    });
}

#[divan::bench]
fn retries(bencher: Bencher<'_, '_>) {
    let mut rig = Rig::new();
    let frame = rig.fresh();
    assert_eq!(rig.send(&frame), (RECORDS as u32, 0));
    bencher.counter(ItemsCount::new(RECORDS)).bench_local(|| {
        assert_eq!(rig.send(&frame), (0, RECORDS));
    });
}

/// Each record of a sub-batch was in another segment, of which the cache holds none.
#[divan::bench]
fn shuffled(bencher: Bencher<'_, '_>) {
    let mut rig = Rig::new();
    for _ in 0..SEGMENTS {
        let frame = rig.fresh();
        assert_eq!(rig.send(&frame), (RECORDS as u32, 0));
    }
    let frames: Vec<SubBatchFrame> = (0..SEGMENTS)
        .map(|first| {
            let numbers = (0..RECORDS).map(|index| (first + index * SEGMENTS) % rig.sent);
            sub_batch(&numbers.map(record).collect::<Vec<_>>())
        })
        .collect();
    let mut next = 0;
    bencher.counter(ItemsCount::new(RECORDS)).bench_local(|| {
        next = (next + 1) % frames.len();
        assert_eq!(rig.send(&frames[next]), (0, RECORDS));
    });
}
