//! Reads of segments: rows and steps. The statements differ between the dialects.

use bytes::Bytes;
use turnpike_types::{Epoch, PartitionId, SegmentNumber};

use super::statement::{SqlSession, SqlStatement};
use super::values::{hash, loaded, stored, stored_limit, stored_partition};
use crate::{POSTING_BYTES_MAX, SegmentRow, StoreResult};

/// Why an append failed: the fence refused it, but the row that was read afterwards would admit it.
pub(crate) const UNEXPLAINED: &str =
    "the fence refused the append, but the partition's row shows no reason";

/// Columns: segment, epoch, prev_hash, hash, body.
type SegmentTuple = (i64, i64, Vec<u8>, Vec<u8>, Vec<u8>);

/// Segments after `after`; `statement` is read_segments.sql.
pub(crate) async fn read_segments(
    session: &mut impl SqlSession,
    statement: &'static str,
    partition: PartitionId,
    after: SegmentNumber,
    bytes_max: usize,
) -> StoreResult<Vec<SegmentRow>> {
    let statement = SqlStatement::new(statement)
        .bind(stored_partition(partition))
        .bind(stored(after.0))
        .bind(stored_limit(bytes_max));
    segments(session, "read segments", statement).await
}

/// Segments with postings after `after`; `statement` is posting_segments.sql.
pub(crate) async fn posting_segments(
    session: &mut impl SqlSession,
    statement: &'static str,
    partition: PartitionId,
    after: SegmentNumber,
    most: usize,
) -> StoreResult<Vec<SegmentRow>> {
    let statement = SqlStatement::new(statement)
        .bind(stored_partition(partition))
        .bind(stored(after.0))
        .bind(stored_limit(most))
        .bind(stored_limit(POSTING_BYTES_MAX));
    segments(session, "read segments with postings", statement).await
}

async fn segments(
    session: &mut impl SqlSession,
    doing: &'static str,
    statement: SqlStatement<'_>,
) -> StoreResult<Vec<SegmentRow>> {
    let rows = session.rows(doing, statement).await?;
    rows.into_iter().map(|row| segment_row(row, doing)).collect()
}

fn segment_row(row: SegmentTuple, doing: &'static str) -> StoreResult<SegmentRow> {
    let (segment, epoch, prev_hash, own_hash, body) = row;
    Ok(SegmentRow {
        segment: SegmentNumber(loaded(segment)),
        epoch: Epoch::stored(loaded(epoch)),
        prev_hash: hash(&prev_hash, doing)?,
        hash: hash(&own_hash, doing)?,
        body: Bytes::from(body),
    })
}
