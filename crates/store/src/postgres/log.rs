//! Appends to the log and reads of its segments.

use async_trait::async_trait;
use sqlx::query;
use turnpike_types::{PartitionId, SegmentNumber};

use super::connections::Statement;
use super::database::{APPEND_LIMIT, BULK_LIMIT, NO_PARTITION, PostgresDatabase};
use crate::sql::log::{self, UNEXPLAINED};
use crate::sql::values::{stored, stored_partition};
use crate::{AppendOutcome, AppendSegment, LogStore, SegmentRow, StoreError, StoreResult};

const APPEND: &str = include_str!("append.sql");
const READ_SEGMENTS: &str = include_str!("read_segments.sql");
const POSTING_SEGMENTS: &str = include_str!("posting_segments.sql");

/// An append to a partition that does not exist. Running it on a new connection prepares the
/// statement.
pub(super) fn append_to_no_partition() -> Vec<Statement<'static>> {
    const NOTHING: &[u8] = &[];
    let append = query(APPEND)
        .bind(NO_PARTITION)
        .bind(0_i64)
        .bind(0_i64)
        .bind(NOTHING)
        .bind(NOTHING)
        .bind(NOTHING)
        .bind(NOTHING)
        .bind(false);
    vec![append]
}

#[async_trait]
impl LogStore for PostgresDatabase {
    async fn append(&self, append: &AppendSegment) -> StoreResult<AppendOutcome> {
        const DOING: &str = "append";
        let statement = query(APPEND)
            .bind(stored_partition(append.partition))
            .bind(stored(append.epoch.number()))
            .bind(stored(append.segment.0))
            .bind(&append.claim.0[..])
            .bind(&append.prev_hash.0[..])
            .bind(&append.hash.0[..])
            .bind(&append.body[..])
            .bind(append.has_postings);
        let lease = self.log.lease(DOING, APPEND_LIMIT).await?;
        if lease.execute(statement).await? == 1 {
            return Ok(AppendOutcome::Committed);
        }
        let (fence, _) = self.fence_of(append.partition, DOING).await?;
        // The fence refused the append, but the row that was read afterwards would admit it. So the
        // row was set back in between.
        fence
            .judge(append)
            .ok_or_else(|| StoreError::Unavailable { doing: DOING, cause: UNEXPLAINED.to_owned() })
    }

    async fn read_segments(
        &self,
        partition: PartitionId,
        after: SegmentNumber,
        bytes_max: usize,
    ) -> StoreResult<Vec<SegmentRow>> {
        let mut bulk = self.bulk.autocommit(BULK_LIMIT);
        log::read_segments(&mut bulk, READ_SEGMENTS, partition, after, bytes_max).await
    }

    async fn posting_segments(
        &self,
        partition: PartitionId,
        after: SegmentNumber,
        most: usize,
    ) -> StoreResult<Vec<SegmentRow>> {
        let mut bulk = self.bulk.autocommit(BULK_LIMIT);
        log::posting_segments(&mut bulk, POSTING_SEGMENTS, partition, after, most).await
    }
}
