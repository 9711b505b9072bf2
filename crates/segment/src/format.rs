//! What the writer and the reader of a segment share: its first bytes and its hash.

use turnpike_types::SegmentHash;

/// The first bytes of a segment without a block of marks, the additional data of a few lines.
pub(crate) const MAGIC: [u8; 8] = *b"TPSEG\0\0\x01";
/// The first bytes of a segment with a block of marks. A program that knows only the older format
/// refuses such a segment with an error instead of ignoring its marks.
pub(crate) const MAGIC_MARKED: [u8; 8] = *b"TPSEG\0\0\x02";

/// The hash of `body`, chained to the hash `prev` of the preceding segment.
pub fn hash_of(prev: SegmentHash, body: &[u8]) -> SegmentHash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&prev.0);
    hasher.update(body);
    SegmentHash(*hasher.finalize().as_bytes())
}
