//! The log of a partition, as the database has it.

use anyhow::{Result, ensure};
use turnpike_segment::Segment;
use turnpike_store::{SegmentRow, SharedDatabase};
use turnpike_types::{Epoch, PartitionId, SegmentHash, SegmentNumber};

/// Reads the log of a partition after a segment.
///
/// # Errors
/// The database does not answer.
pub async fn log_behind(
    db: &dyn SharedDatabase,
    partition: PartitionId,
    begin: SegmentNumber,
) -> Result<Vec<SegmentRow>> {
    let mut rows: Vec<SegmentRow> = Vec::new();
    loop {
        let after = rows.last().map_or(begin, |row| row.segment);
        let more = db.read_segments(partition, after, 8 << 20).await?;
        if more.is_empty() {
            return Ok(rows);
        }
        rows.extend(more);
    }
}

/// Checks I3 for the part of a log after the segment with this number and hash: the segments have no
/// gap, the epochs never decrease, and the chain of hashes is unbroken.
///
/// # Errors
/// The first segment that violates I3.
pub fn check_chain_behind(
    begin: SegmentNumber,
    begin_hash: SegmentHash,
    rows: &[SegmentRow],
) -> Result<()> {
    let (mut number, mut epoch, mut hash) = (begin.0, Epoch::UNOWNED, begin_hash);
    for row in rows {
        let segment = row.segment;
        ensure!(segment.0 == number + 1, "segment {segment} follows segment {number}");
        ensure!(row.epoch >= epoch, "the epoch decreases at segment {segment}");
        ensure!(row.prev_hash == hash, "the chain breaks at segment {segment}");
        Segment::decode_checked(&row.body, row.prev_hash, row.hash)?;
        (number, epoch, hash) = (segment.0, row.epoch, row.hash);
    }
    Ok(())
}
