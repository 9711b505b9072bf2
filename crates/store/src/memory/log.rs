//! Appends and reads of segments in memory.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use turnpike_types::{PartitionId, SegmentNumber, capped};

use super::database::MemoryDatabase;
use super::state::{Partition, State, within};
use crate::{
    AppendOutcome, AppendSegment, LogStore, POSTING_BYTES_MAX, SegmentPosition, SegmentRow,
    StoreResult,
};

#[async_trait]
impl LogStore for MemoryDatabase {
    async fn append(&self, append: &AppendSegment) -> StoreResult<AppendOutcome> {
        let _row = self.row_lock(append.partition).await?;
        if let Some(outcome) = self.state().partition(append.partition)?.fence().judge(append) {
            return Ok(outcome);
        }
        let _in_flight = InFlight::new(&self.at_gate);
        let _open = self.gate.read().await;
        self.state().append(append)
    }

    async fn read_segments(
        &self,
        partition: PartitionId,
        after: SegmentNumber,
        bytes_max: usize,
    ) -> StoreResult<Vec<SegmentRow>> {
        let state = self.state();
        let known = state.partitions.get(&partition);
        // As in a table, a partition that does not exist has no segments.
        Ok(known.map(|p| p.read_segments(after, bytes_max)).unwrap_or_default())
    }

    async fn posting_segments(
        &self,
        partition: PartitionId,
        after: SegmentNumber,
        most: usize,
    ) -> StoreResult<Vec<SegmentRow>> {
        let state = self.state();
        let known = state.partitions.get(&partition);
        Ok(known.map(|p| p.posting_segments(after, most)).unwrap_or_default())
    }
}

/// A guard that counts an append in flight until it is dropped.
struct InFlight<'a>(&'a AtomicUsize);

impl<'a> InFlight<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Partition {
    fn read_segments(&self, after: SegmentNumber, bytes_max: usize) -> Vec<SegmentRow> {
        let skip = capped(after.0);
        let bytes = |row: &SegmentRow| row.body.len();
        within(bytes_max, bytes, self.segments.iter().skip(skip))
    }

    fn posting_segments(&self, after: SegmentNumber, most: usize) -> Vec<SegmentRow> {
        let skip = self.postings.partition_point(|segment| *segment <= after);
        let rows = self.postings.iter().skip(skip).filter_map(|segment| self.segment(*segment));
        within(POSTING_BYTES_MAX, |row| row.body.len(), rows.take(most))
    }
}

impl State {
    fn append(&mut self, append: &AppendSegment) -> StoreResult<AppendOutcome> {
        let partition = self.partition_mut(append.partition)?;
        if let Some(outcome) = partition.fence().judge(append) {
            return Ok(outcome);
        }
        partition.segments.push(SegmentRow {
            segment: append.segment,
            epoch: append.epoch,
            prev_hash: append.prev_hash,
            hash: append.hash,
            body: append.body.clone(),
        });
        if append.has_postings {
            partition.postings.push(append.segment);
            partition.row.last_posting = append.segment;
        }
        partition.row.next =
            SegmentPosition { next: append.segment.next(), last_hash: append.hash };
        Ok(AppendOutcome::Committed)
    }
}
