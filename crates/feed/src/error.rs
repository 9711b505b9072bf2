//! What can go wrong in the feed: one variant a cause, each with its gRPC code.

use tonic::{Code, Status};
use turnpike_segment::SegmentError;
use turnpike_store::StoreError;
use turnpike_types::{PartitionId, SegmentNumber};

use crate::cursor::Place;

/// Why the feed could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// A consumer's name that can't be.
    #[error("consumer {0:?}: a name has 1 to 128 letters, digits, '-', '_' or '.'")]
    BadName(String),
    /// A consumer that nobody registered.
    #[error("no consumer {0:?} is registered: call Register first")]
    UnknownConsumer(String),
    /// There is nothing to register for.
    #[error("no partitions: run turnpike partition init")]
    NoPartitions,
    /// The consumer has no cursor there.
    #[error(
        "consumer {consumer:?} has no cursor in partition {partition}: call Register again if the partition is new"
    )]
    NoCursor {
        /// The consumer.
        consumer: String,
        /// The partition.
        partition: PartitionId,
    },
    /// The request itself is wrong.
    #[error("{0}")]
    Invalid(String),
    /// A cursor past the last line of its segment.
    #[error("partition {partition}, segment {segment} has {lines} lines: there is no row {row}")]
    NoSuchRow {
        /// The partition.
        partition: PartitionId,
        /// The segment.
        segment: SegmentNumber,
        /// The row asked for.
        row: u64,
        /// How many lines it has.
        lines: u64,
    },
    /// The log is not the one that the cursor was made from (P18).
    #[error(
        "history diverged: partition {partition}, segment {segment}: {why}; discard what was pulled after the last segment that both histories share, and pull again from there"
    )]
    Diverged {
        /// The partition.
        partition: PartitionId,
        /// The segment.
        segment: SegmentNumber,
        /// What does not fit.
        why: &'static str,
    },
    /// A segment is not in the log any more (P23).
    #[error(
        "partition {partition}: segment {segment} is not retained any more; start over from the beginning of what is"
    )]
    Gap {
        /// The partition.
        partition: PartitionId,
        /// The segment.
        segment: SegmentNumber,
    },
    /// Somebody moved the cursor in between (P38).
    #[error("the cursor of {consumer:?} in partition {} stands at segment {}, row {}: somebody moved it", .stands.partition, .stands.segment, .stands.row)]
    Moved {
        /// The consumer.
        consumer: String,
        /// Where it stands.
        stands: Place,
    },
    /// A segment can't be decoded.
    #[error("partition {partition}, segment {segment}: {cause}")]
    Segment {
        /// The partition.
        partition: PartitionId,
        /// The segment.
        segment: SegmentNumber,
        /// What the decoder says.
        cause: SegmentError,
    },
    /// A line that can't be shown.
    #[error("partition {partition}, segment {segment}, line {row} can't be shown: {what}")]
    Line {
        /// The partition.
        partition: PartitionId,
        /// The segment.
        segment: SegmentNumber,
        /// The line.
        row: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The shared database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl FeedError {
    /// The gRPC code that tells a consumer what to do.
    pub fn code(&self) -> Code {
        match self {
            Self::BadName(_) | Self::Invalid(_) | Self::NoSuchRow { .. } => Code::InvalidArgument,
            Self::UnknownConsumer(_) | Self::NoCursor { .. } => Code::NotFound,
            Self::NoPartitions => Code::FailedPrecondition,
            Self::Diverged { .. } | Self::Gap { .. } | Self::Segment { .. } | Self::Line { .. } => {
                Code::DataLoss
            }
            Self::Moved { .. } => Code::Aborted,
            Self::Store(error) => match error {
                StoreError::Unavailable { .. } => Code::Unavailable,
                StoreError::Full { .. } => Code::ResourceExhausted,
                StoreError::Refused(_) | StoreError::Superseded(_) => Code::FailedPrecondition,
                StoreError::Corrupt { .. } => Code::DataLoss,
                StoreError::BadUrl { .. } => Code::Internal,
            },
        }
    }
}

impl From<FeedError> for Status {
    fn from(error: FeedError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}
