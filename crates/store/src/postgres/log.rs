//! Appends to the log and reads of its segments.

use sqlx::{query, query_as};
use turnpike_types::{PartitionId, SegmentNumber};

use super::connections::Statement;
use super::{APPEND_LIMIT, BULK_LIMIT, NO_PARTITION, PostgresDatabase};
use crate::rules::POSTING_BYTES_MAX;
use crate::sql::rows::{SegmentTuple, segment_row, stored, stored_partition};
use crate::{AppendOutcome, AppendSegment, SegmentRow, StoreError, StoreResult};

const APPEND: &str = include_str!("append.sql");
const READ_SEGMENTS: &str = include_str!("read_segments.sql");
const POSTING_SEGMENTS: &str = include_str!("posting_segments.sql");

/// An append to a partition that does not exist. Running it on a new connection prepares the
/// statement.
pub(super) fn to_nothing() -> Vec<Statement<'static>> {
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

impl PostgresDatabase {
    pub(super) async fn append_one(&self, append: &AppendSegment) -> StoreResult<AppendOutcome> {
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
        fence.judge(append).ok_or_else(|| StoreError::Unavailable {
            doing: DOING,
            cause: "the fence refused the append, but the partition's row shows no reason"
                .to_owned(),
        })
    }

    pub(super) async fn read_tail(
        &self,
        partition: PartitionId,
        after: SegmentNumber,
        bytes_max: usize,
    ) -> StoreResult<Vec<SegmentRow>> {
        const DOING: &str = "read segments";
        let statement = query_as::<_, SegmentTuple>(READ_SEGMENTS)
            .bind(stored_partition(partition))
            .bind(stored(after.0))
            .bind(i64::try_from(bytes_max).unwrap_or(i64::MAX));
        let lease = self.bulk.lease(DOING, BULK_LIMIT).await?;
        let rows = lease.fetch_all(statement).await?;
        rows.into_iter().map(|row| segment_row(row, DOING)).collect()
    }

    pub(super) async fn read_postings(
        &self,
        partition: PartitionId,
        after: SegmentNumber,
        most: usize,
    ) -> StoreResult<Vec<SegmentRow>> {
        const DOING: &str = "read segments with postings";
        let statement = query_as::<_, SegmentTuple>(POSTING_SEGMENTS)
            .bind(stored_partition(partition))
            .bind(stored(after.0))
            .bind(i64::try_from(most).unwrap_or(i64::MAX))
            .bind(i64::try_from(POSTING_BYTES_MAX).unwrap_or(i64::MAX));
        let lease = self.bulk.lease(DOING, BULK_LIMIT).await?;
        let rows = lease.fetch_all(statement).await?;
        rows.into_iter().map(|row| segment_row(row, DOING)).collect()
    }
}
