//! Appends to the log and reads of its segments.

use async_trait::async_trait;
use sqlx::query;
use sqlx::sqlite::SqliteConnection;
use turnpike_types::{PartitionId, SegmentNumber};

use super::database::SqliteDatabase;
use super::writer::Urgency;
use crate::sql::errors::classify;
use crate::sql::log::{self, UNEXPLAINED};
use crate::sql::ownership::fence_of;
use crate::sql::values::{stored, stored_partition};
use crate::{AppendOutcome, AppendSegment, LogStore, SegmentRow, StoreError, StoreResult};

const FENCE: &str = include_str!("append.sql");
const READ_SEGMENTS: &str = include_str!("read_segments.sql");
const POSTING_SEGMENTS: &str = include_str!("posting_segments.sql");
const INSERT_SEGMENT: &str = "INSERT INTO segments (partition, segment, epoch, prev_hash, hash, body, postings) \
     VALUES ($1, $2, $3, $4, $5, $6, $7)";

const APPEND: &str = "append";

#[async_trait]
impl LogStore for SqliteDatabase {
    async fn append(&self, append: &AppendSegment) -> StoreResult<AppendOutcome> {
        // Cloning shares the body and does not copy it.
        let append = append.clone();
        self.writer
            .write(Urgency::Normal, APPEND, move |c| Box::pin(write_segment(c, append)))
            .await
    }

    async fn read_segments(
        &self,
        partition: PartitionId,
        after: SegmentNumber,
        bytes_max: usize,
    ) -> StoreResult<Vec<SegmentRow>> {
        let mut reading = self.reading();
        log::read_segments(&mut reading, READ_SEGMENTS, partition, after, bytes_max).await
    }

    async fn posting_segments(
        &self,
        partition: PartitionId,
        after: SegmentNumber,
        most: usize,
    ) -> StoreResult<Vec<SegmentRow>> {
        let mut reading = self.reading();
        log::posting_segments(&mut reading, POSTING_SEGMENTS, partition, after, most).await
    }
}

async fn write_segment(
    connection: &mut SqliteConnection,
    append: AppendSegment,
) -> StoreResult<AppendOutcome> {
    let failed = |error: sqlx::Error| classify(APPEND, &error);
    let (partition, epoch) = (stored_partition(append.partition), stored(append.epoch.number()));
    let passed = query(FENCE)
        .bind(partition)
        .bind(epoch)
        .bind(stored(append.segment.0))
        .bind(&append.claim.0[..])
        .bind(&append.prev_hash.0[..])
        .bind(&append.hash.0[..])
        .bind(append.has_postings)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    if passed.rows_affected() != 1 {
        let (fence, _) = fence_of(connection, append.partition, APPEND).await?;
        return fence
            .judge(&append)
            .ok_or_else(|| StoreError::Corrupt { doing: APPEND, cause: UNEXPLAINED.to_owned() });
    }
    query(INSERT_SEGMENT)
        .bind(partition)
        .bind(stored(append.segment.0))
        .bind(epoch)
        .bind(&append.prev_hash.0[..])
        .bind(&append.hash.0[..])
        .bind(&append.body[..])
        .bind(append.has_postings)
        .execute(connection)
        .await
        .map_err(failed)?;
    Ok(AppendOutcome::Committed)
}
