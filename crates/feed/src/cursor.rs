//! Cursors: (partition, segment, row), with the segment's hash.
//!
//! `row` lines of the segment are behind the cursor. A segment all of whose lines are behind is
//! itself behind, one without lines included.

use turnpike_proto::feed::v1::Cursor;
use turnpike_store::Consumer;
use turnpike_types::{PartitionId, SegmentHash, SegmentNumber};

use crate::FeedError;

/// A cursor as it is worked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The partition.
    pub partition: PartitionId,
    /// The segment; zero at the beginning.
    pub segment: SegmentNumber,
    /// How many of its lines are behind.
    pub row: u64,
    /// Its hash; zeros at the beginning.
    pub hash: SegmentHash,
}

impl Place {
    /// A cursor as it was sent.
    ///
    /// # Errors
    /// [`FeedError::Invalid`] when it can be no cursor.
    pub fn from_wire(cursor: &Cursor) -> Result<Self, FeedError> {
        let partition = PartitionId(cursor.partition);
        let fault =
            |why: &str| FeedError::Invalid(format!("cursor of partition {partition}: {why}"));
        let hash = match <[u8; 32]>::try_from(cursor.hash.as_ref()) {
            Ok(hash) => SegmentHash(hash),
            Err(_) if cursor.hash.is_empty() && cursor.segment == 0 => SegmentHash::default(),
            Err(_) => return Err(fault("the hash has 32 bytes; send cursors as they came")),
        };
        if cursor.segment == 0 && (cursor.row != 0 || hash != SegmentHash::default()) {
            return Err(fault("before the first segment there is neither row nor hash"));
        }
        Ok(Self { partition, segment: SegmentNumber(cursor.segment), row: cursor.row, hash })
    }

    /// The cursor as it is sent.
    pub fn to_wire(self) -> Cursor {
        Cursor {
            partition: self.partition.0,
            segment: self.segment.0,
            row: self.row,
            hash: self.hash.0.to_vec().into(),
        }
    }

    /// The cursor as the database keeps it.
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

impl From<&Consumer> for Place {
    fn from(kept: &Consumer) -> Self {
        Self { partition: kept.partition, segment: kept.segment, row: kept.row, hash: kept.hash }
    }
}

/// Refuses a name that can't be a consumer's.
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
