//! Cursors: partition, segment and row, with the segment's hash.
//!
//! `row` is the number of lines of the segment that were delivered. Once all lines of a segment
//! were delivered, the segment itself counts as delivered, even if it has no lines.

use turnpike_proto::feed::v1::Cursor;
use turnpike_store::Consumer;
use turnpike_types::{PartitionId, SegmentHash, SegmentNumber};

/// A cursor in its internal form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedPosition {
    /// The partition.
    pub partition: PartitionId,
    /// The segment; zero at the beginning of the log.
    pub segment: SegmentNumber,
    /// The number of lines of the segment that were delivered.
    pub row: u64,
    /// The segment's hash; all zeros at the beginning of the log.
    pub hash: SegmentHash,
}

impl FeedPosition {
    /// Converts the cursor to the wire format.
    pub fn to_wire(self) -> Cursor {
        Cursor {
            partition: self.partition.0,
            segment: self.segment.0,
            row: self.row,
            hash: self.hash.0.to_vec().into(),
        }
    }

    /// Converts the cursor to the form that the database stores.
    pub(crate) fn of(self, consumer: &str) -> Consumer {
        Consumer {
            name: consumer.to_owned(),
            partition: self.partition,
            segment: self.segment,
            row: self.row,
            hash: self.hash,
        }
    }
}

impl From<&Consumer> for FeedPosition {
    fn from(kept: &Consumer) -> Self {
        Self { partition: kept.partition, segment: kept.segment, row: kept.row, hash: kept.hash }
    }
}
