//! The lists of a heartbeat, each packed into one column: entries of fixed size one after another,
//! numbers big-endian.

use turnpike_types::{ClaimId, Epoch, PartitionId, SegmentHash, SegmentNumber};

use super::errors::corrupt;
use crate::{Following, Serving, StoreResult};

/// Bytes of an entry: partition, epoch, claim.
const SERVING_BYTES: usize = 4 + 8 + 16;
/// Bytes of an entry: partition, segment, hash.
const FOLLOWING_BYTES: usize = 4 + 8 + 32;

pub(crate) fn pack_serving(serving: &[Serving]) -> Vec<u8> {
    let mut packed = Vec::with_capacity(serving.len() * SERVING_BYTES);
    for entry in serving {
        packed.extend_from_slice(&entry.partition.0.to_be_bytes());
        packed.extend_from_slice(&entry.epoch.number().to_be_bytes());
        packed.extend_from_slice(&entry.claim.0);
    }
    packed
}

pub(crate) fn unpack_serving(packed: &[u8], doing: &'static str) -> StoreResult<Vec<Serving>> {
    let unpack = |entry: &[u8; SERVING_BYTES]| Serving {
        partition: PartitionId(u32::from_be_bytes(part(entry, 0))),
        epoch: Epoch::stored(u64::from_be_bytes(part(entry, 4))),
        claim: ClaimId(part(entry, 12)),
    };
    Ok(entries(packed, "serving", doing)?.iter().map(unpack).collect())
}

pub(crate) fn pack_following(following: &[Following]) -> Vec<u8> {
    let mut packed = Vec::with_capacity(following.len() * FOLLOWING_BYTES);
    for entry in following {
        packed.extend_from_slice(&entry.partition.0.to_be_bytes());
        packed.extend_from_slice(&entry.segment.0.to_be_bytes());
        packed.extend_from_slice(&entry.hash.0);
    }
    packed
}

pub(crate) fn unpack_following(packed: &[u8], doing: &'static str) -> StoreResult<Vec<Following>> {
    let unpack = |entry: &[u8; FOLLOWING_BYTES]| Following {
        partition: PartitionId(u32::from_be_bytes(part(entry, 0))),
        segment: SegmentNumber(u64::from_be_bytes(part(entry, 4))),
        hash: SegmentHash(part(entry, 12)),
    };
    Ok(entries(packed, "following", doing)?.iter().map(unpack).collect())
}

fn entries<'a, const N: usize>(
    packed: &'a [u8],
    list: &str,
    doing: &'static str,
) -> StoreResult<&'a [[u8; N]]> {
    match packed.as_chunks::<N>() {
        (entries, []) => Ok(entries),
        _ => Err(corrupt(
            doing,
            format!("a {list} list of {} bytes, not a multiple of {N}", packed.len()),
        )),
    }
}

/// `M` bytes of an entry from `at` on. The caller keeps `at + M` within the entry.
fn part<const N: usize, const M: usize>(entry: &[u8; N], at: usize) -> [u8; M] {
    let mut part = [0; M];
    part.copy_from_slice(&entry[at..at + M]);
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Other releases of the program read and write the same columns.
    #[test]
    fn the_bytes_of_an_entry_do_not_change() {
        let serving =
            Serving { partition: PartitionId(1), epoch: Epoch::stored(2), claim: ClaimId([3; 16]) };
        let bytes = [&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2][..], &[3; 16]].concat();
        assert_eq!(pack_serving(&[serving]), bytes);
        assert_eq!(unpack_serving(&bytes, "test").ok(), Some(vec![serving]));
        let following = Following {
            partition: PartitionId(1),
            segment: SegmentNumber(2),
            hash: SegmentHash([3; 32]),
        };
        let bytes = [&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2][..], &[3; 32]].concat();
        assert_eq!(pack_following(&[following]), bytes);
        assert_eq!(unpack_following(&bytes, "test").ok(), Some(vec![following]));
    }

    #[test]
    fn a_list_with_a_piece_of_an_entry_is_corrupt() {
        assert!(unpack_serving(&[0; SERVING_BYTES + 1], "test").is_err());
        assert!(unpack_following(&[0; FOLLOWING_BYTES - 1], "test").is_err());
        assert_eq!(unpack_following(&[], "test").ok(), Some(Vec::new()));
    }
}
