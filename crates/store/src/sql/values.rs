//! Columns, and their conversion to the types of the model.

use turnpike_types::{PartitionId, SegmentHash, SegmentNumber, capped};

use super::errors::corrupt;
use crate::{SegmentPosition, StoreResult};

/// The stored form of an unsigned number: the signed number with the same 64 bits.
pub(crate) const fn stored(number: u64) -> i64 {
    number.cast_signed()
}

/// The unsigned number of a stored one; the inverse of [`stored`].
pub(crate) const fn loaded(number: i64) -> u64 {
    number.cast_unsigned()
}

pub(crate) fn stored_partition(partition: PartitionId) -> i64 {
    i64::from(partition.0)
}

pub(crate) fn partition_id(number: i64, doing: &'static str) -> StoreResult<PartitionId> {
    u32::try_from(number)
        .map(PartitionId)
        .map_err(|_| corrupt(doing, format!("partition number {number}")))
}

pub(crate) fn fixed<const N: usize>(bytes: &[u8], doing: &'static str) -> StoreResult<[u8; N]> {
    bytes
        .try_into()
        .map_err(|_| corrupt(doing, format!("a value of {} bytes instead of {N}", bytes.len())))
}

pub(crate) fn hash(bytes: &[u8], doing: &'static str) -> StoreResult<SegmentHash> {
    fixed(bytes, doing).map(SegmentHash)
}

pub(crate) fn position(
    next: i64,
    last_hash: &[u8],
    doing: &'static str,
) -> StoreResult<SegmentPosition> {
    Ok(SegmentPosition { next: SegmentNumber(loaded(next)), last_hash: hash(last_hash, doing)? })
}

/// The number of a limit, for a LIMIT clause or a sum of bytes.
pub(crate) fn stored_limit(most: usize) -> i64 {
    capped(most)
}
