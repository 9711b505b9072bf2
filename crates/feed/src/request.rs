//! Checks what consumers send: cursors and names.

use turnpike_proto::feed::v1::Cursor;
use turnpike_types::{PartitionId, SegmentHash, SegmentNumber};

use crate::error::FeedError;
use crate::position::FeedPosition;

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
