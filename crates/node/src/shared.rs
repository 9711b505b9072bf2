//! State that all owners of a process share.

use std::sync::{Arc, Mutex, PoisonError};

use moka::sync::Cache;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use turnpike_segment::Segment;
use turnpike_store::SharedDatabase;
use turnpike_tariff::{Catalogue, CodeCache};
use turnpike_types::{AccountRange, ClaimId, PartitionId, SegmentNumber, Timestamp};

use crate::NodeConfig;

/// Each partition that has postings, and its newest segment with postings, as last observed.
pub(crate) type Outboxes = Vec<(PartitionId, SegmentNumber)>;

/// State that all owners of a process share.
pub(crate) struct Shared {
    pub(crate) config: NodeConfig,
    pub(crate) db: Arc<dyn SharedDatabase>,
    pub(crate) codes: CodeCache,
    pub(crate) catalogue: watch::Receiver<Arc<Catalogue>>,
    pub(crate) ranges: watch::Receiver<Arc<Vec<AccountRange>>>,
    /// Partitions whose logs hold postings (P33).
    pub(crate) outboxes: watch::Receiver<Arc<Outboxes>>,
    pub(crate) segments: Cache<(ClaimId, SegmentNumber), Arc<Segment>>,
    pub(crate) clock: DatabaseClock,
    /// When a heartbeat last showed that this node's catalogue is the newest (P36).
    pub(crate) fresh_at: Mutex<Instant>,
    /// The last error of the database. Answers that the partition is not served here carry it.
    pub(crate) database_error: LastDatabaseError,
    /// Limits how many checkpoints load at once: each takes twice its size in memory while it is
    /// decoded.
    pub(crate) loads: Semaphore,
}

/// The database's time, extrapolated by the local monotonic clock between heartbeats (P26).
#[derive(Debug, Default)]
pub(crate) struct DatabaseClock {
    seen: Mutex<Option<(Timestamp, Instant)>>,
}

impl DatabaseClock {
    pub(crate) fn set(&self, now: Timestamp) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        *seen = Some((now, Instant::now()));
    }

    pub(crate) fn now(&self) -> Timestamp {
        let seen = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.map_or(Timestamp::MIN, |(at, since)| {
            let elapsed = i64::try_from(since.elapsed().as_micros()).unwrap_or(i64::MAX);
            at.saturating_add(elapsed)
        })
    }
}

/// The last error of the database, as text.
#[derive(Debug, Default)]
pub(crate) struct LastDatabaseError {
    last: Mutex<Option<String>>,
}

impl LastDatabaseError {
    pub(crate) fn set(&self, what: Option<String>) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = what;
    }

    pub(crate) fn get(&self) -> Option<String> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
