//! Cursors: partition, segment and row, with the segment's hash.
//!
//! `row` is the number of lines of the segment that were delivered. Once all lines of a segment
//! were delivered, the segment itself counts as delivered, even if it has no lines.

use turnpike_proto::feed::v1::Cursor;
use turnpike_store::Consumer;
use turnpike_types::{PartitionId, SegmentHash, SegmentNumber};

use crate::FeedError;

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
    /// Converts a cursor from the wire format.
    ///
    /// # Errors
    /// [`FeedError::Invalid`] when it is not a valid cursor.
    pub fn from_wire(cursor: &Cursor) -> Result<Self, FeedError> {
        let partition = PartitionId(cursor.partition);
        let fault =
            |why: &str| FeedError::Invalid(format!("cursor of partition {partition}: {why}"));
        let hash = match <[u8; 32]>::try_from(cursor.hash.as_ref()) {
            Ok(hash) => SegmentHash(hash),
            Err(_) if cursor.hash.is_empty() && cursor.segment == 0 => SegmentHash::default(),
            Err(_) => {
                return Err(fault("the hash must have 32 bytes; send cursors back unchanged"));
            }
        };
        if cursor.segment == 0 && (cursor.row != 0 || hash != SegmentHash::default()) {
            return Err(fault("a cursor of segment 0 must have row 0 and no hash"));
        }
        Ok(Self { partition, segment: SegmentNumber(cursor.segment), row: cursor.row, hash })
    }

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

/// Refuses an invalid name of a consumer.
///
/// # Errors
/// [`FeedError::BadName`].
pub(crate) fn check_name(name: &str) -> Result<(), FeedError> {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if (1..=128).contains(&name.len()) && name.bytes().all(is_fine) {
        Ok(())
    } else {
        Err(FeedError::BadName(name.chars().take(128).collect()))
    }
}
