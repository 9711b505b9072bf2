//! Positions in a partition's log.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The number of a segment. The first is 1, and there is no gap (I3). Zero means "before the first
/// segment".
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct SegmentNumber(pub u64);

impl SegmentNumber {
    /// The segment after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for SegmentNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The BLAKE3 hash that chains a segment to the one before it; all zeros before the first segment.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SegmentHash(pub [u8; 32]);

impl fmt::Display for SegmentHash {
    /// The first eight bytes in hexadecimal, which suffice for a comparison by eye.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(8).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SegmentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
