use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;
use turnpike_store::SharedDatabase;
use turnpike_store::memory::MemoryDatabase;
use turnpike_tariff::{Catalogue, CodeCache, Tell};
use turnpike_types::{SegmentHash, SegmentNumber};

use super::*;
use crate::NodeConfig;
use crate::shared::{DatabaseClock, LastDatabaseError};

fn shared() -> Arc<Shared> {
    let db: Arc<dyn SharedDatabase> = Arc::new(MemoryDatabase::new());
    Arc::new(Shared {
        config: NodeConfig::default(),
        db,
        codes: CodeCache::new(1, Tell::new(|_| ())),
        catalogue: watch::channel(Arc::new(Catalogue::default())).1,
        ranges: watch::channel(Arc::default()).1,
        outboxes: watch::channel(Arc::default()).1,
        segments: moka::sync::Cache::new(1),
        clock: DatabaseClock::default(),
        fresh_at: Mutex::new(Instant::now()),
        database_error: LastDatabaseError::default(),
        loads: Semaphore::new(1),
    })
}

/// The end of a log whose next segment is `next`.
fn end(next: u64) -> SegmentPosition {
    SegmentPosition { next: SegmentNumber(next), last_hash: SegmentHash::default() }
}

async fn ends(standby: Standby) -> bool {
    let task = standby.task.abort_handle();
    drop(standby);
    tokio::time::sleep(Duration::from_millis(50)).await;
    task.is_finished()
}

/// A dropped standby must free its replica, instead of keeping it for the life of the node.
#[tokio::test]
async fn a_dropped_standby_frees_its_replica() {
    let standby = Standby::start(&shared(), PartitionId(1), end(1), Some(Replica::default()));
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(standby.reached().map(|reached| reached.segment), Some(SegmentNumber(0)));
    assert!(ends(standby).await, "the standby waits at the end of the log");
}

/// A dropped standby must not poll its closed channel in a loop that blocks the thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_is_dropped_in_the_middle_of_its_work_ends() {
    // The announced end lies behind the real one, so there is always work left.
    let standby = Standby::start(&shared(), PartitionId(1), end(9), Some(Replica::default()));
    assert!(ends(standby).await, "the standby works, or waits to try again");
}
