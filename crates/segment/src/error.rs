//! Why a segment can't be read or written.

/// Why a segment can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// The first bytes are not those of a known format.
    #[error("not a segment of format 1 or 2: a newer program may have written it")]
    Format,
    /// The bytes do not have the hash that the log gives.
    #[error("the segment's bytes do not match its hash: the log was damaged or changed")]
    Hash,
    /// The bytes end too early.
    #[error("the segment ends in the middle of a block")]
    Truncated,
    /// There are bytes after the last block.
    #[error("the segment has bytes after its last block")]
    TooLong,
    /// The length of a block does not fit its length field.
    #[error("a block of more than 4 GiB")]
    TooLarge,
    /// The head can't be decoded.
    #[error("the segment's head can't be decoded: {0}")]
    Head(#[from] prost::DecodeError),
    /// A value of the head is out of range.
    #[error("the segment's head: {0} is out of range")]
    Value(&'static str),
    /// A column is missing or of another type.
    #[error("column {0} is missing or has another type")]
    Column(&'static str),
    /// A row refers to an entry that its table does not have.
    #[error("column {0} points outside of its table")]
    Pointer(&'static str),
    /// A block states a length that its bytes can't have.
    #[error("a block of the segment states a length that it can't have")]
    Claim,
    /// Arrow could not read or write a block.
    #[error("arrow: {0}")]
    Arrow(#[from] arrow_schema::ArrowError),
}
