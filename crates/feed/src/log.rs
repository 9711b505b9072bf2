//! Committed segments in decoded form, shared by all consumers.

use std::sync::Arc;

use moka::sync::Cache;
use turnpike_segment::Segment;
use turnpike_store::{LogStore, SegmentRow};
use turnpike_types::{PartitionId, SegmentHash, SegmentNumber, capped};

use crate::position::FeedPosition;
use crate::{FeedConfig, FeedError};

/// A committed segment.
#[derive(Clone, Debug)]
pub(crate) struct Committed {
    pub(crate) number: SegmentNumber,
    pub(crate) prev_hash: SegmentHash,
    pub(crate) hash: SegmentHash,
    pub(crate) segment: Arc<Segment>,
}

/// Access to the logs of all partitions.
///
/// The hash is part of the cache key, so that a segment decoded from a superseded history is never
/// served for another one (P18).
#[derive(Clone)]
pub(crate) struct Log {
    db: Arc<dyn LogStore>,
    decoded: Cache<(PartitionId, SegmentNumber, SegmentHash), Arc<Segment>>,
    read_bytes: usize,
}

impl Log {
    pub(crate) fn new(db: Arc<dyn LogStore>, config: &FeedConfig) -> Self {
        let decoded = Cache::builder()
            .max_capacity(config.cache_bytes)
            .weigher(|_, segment: &Arc<Segment>| capped(segment.bytes()))
            .build();
        Self { db, decoded, read_bytes: config.read_bytes }
    }

    /// Some of the rows that follow segment `after`, in order and without a gap.
    pub(crate) async fn rows(
        &self,
        partition: PartitionId,
        after: SegmentNumber,
    ) -> Result<Vec<SegmentRow>, FeedError> {
        let rows = self.db.read_segments(partition, after, self.read_bytes).await?;
        let mut next = after.next();
        for row in &rows {
            if row.segment != next {
                return Err(FeedError::Gap { partition, segment: next });
            }
            next = next.next();
        }
        Ok(rows)
    }

    /// Decodes a row, or returns its decoded segment from the cache.
    pub(crate) fn decode(
        &self,
        partition: PartitionId,
        row: &SegmentRow,
    ) -> Result<Committed, FeedError> {
        let key = (partition, row.segment, row.hash);
        let segment = match self.decoded.get(&key) {
            Some(segment) => {
                metrics::counter!("turnpike_feed_cache_hits_total").increment(1);
                segment
            }
            None => {
                metrics::counter!("turnpike_feed_cache_misses_total").increment(1);
                let segment = Segment::decode_checked(&row.body, row.prev_hash, row.hash).map_err(
                    |cause| FeedError::Segment { partition, segment: row.segment, cause },
                )?;
                let segment = Arc::new(segment);
                self.decoded.insert(key, Arc::clone(&segment));
                segment
            }
        };
        let (number, prev_hash, hash) = (row.segment, row.prev_hash, row.hash);
        Ok(Committed { number, prev_hash, hash, segment })
    }

    /// Checks that `position` exists in this history. Returns its segment; `None` at the beginning.
    ///
    /// # Errors
    /// [`FeedError::Diverged`] when the log has another segment there, or none; [`FeedError::Gap`]
    /// when the segment is no longer retained; [`FeedError::NoSuchRow`].
    pub(crate) async fn check(
        &self,
        position: &FeedPosition,
    ) -> Result<Option<Committed>, FeedError> {
        let Some(before) = position.segment.0.checked_sub(1) else { return Ok(None) };
        let (partition, segment) = (position.partition, position.segment);
        let rows = self.db.read_segments(partition, SegmentNumber(before), 1).await?;
        let Some(row) = rows.first() else {
            let why = "the log ends before it";
            return Err(FeedError::Diverged { partition, segment, why });
        };
        if row.segment != segment {
            return Err(FeedError::Gap { partition, segment });
        }
        if row.hash != position.hash {
            let why = "the log has another segment under this number";
            return Err(FeedError::Diverged { partition, segment, why });
        }
        let found = self.decode(partition, row)?;
        let lines = found.segment.line_count() as u64;
        if position.row > lines {
            return Err(FeedError::NoSuchRow { partition, segment, row: position.row, lines });
        }
        Ok(Some(found))
    }
}
