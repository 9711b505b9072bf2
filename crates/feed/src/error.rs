//! The errors of the feed: one variant for each cause, each with its gRPC code.

use tonic::{Code, Status};
use turnpike_segment::SegmentError;
use turnpike_store::StoreError;
use turnpike_types::{PartitionId, SegmentNumber};

use crate::position::FeedPosition;

/// Why the feed could not carry out a request.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The name of a consumer is not valid.
    #[error("consumer {0:?}: a name has 1 to 128 letters, digits, '-', '_' or '.'")]
    BadName(String),
    /// The consumer was never registered.
    #[error("no consumer {0:?} is registered: call Register first")]
    UnknownConsumer(String),
    /// There is no consumer of this name to remove.
    #[error("no consumer {0:?} is registered: turnpike consumer list shows all")]
    NoConsumer(String),
    /// The cluster has no partitions.
    #[error("the cluster has no partitions: run turnpike partition init")]
    NoPartitions,
    /// The consumer has no cursor in this partition.
    #[error(
        "consumer {consumer:?} has no cursor in partition {partition}: call Register again if the partition is new"
    )]
    NoCursor {
        /// The consumer.
        consumer: String,
        /// The partition.
        partition: PartitionId,
    },
    /// The request is invalid.
    #[error("{0}")]
    Invalid(String),
    /// The cursor is past the last line of its segment.
    #[error("partition {partition}, segment {segment} has {lines} lines: row {row} does not exist")]
    NoSuchRow {
        /// The partition.
        partition: PartitionId,
        /// The segment.
        segment: SegmentNumber,
        /// The requested row.
        row: u64,
        /// The number of lines of the segment.
        lines: u64,
    },
    /// The log is not the one that the cursor refers to (P18).
    #[error(
        "history diverged: partition {partition}, segment {segment}: {why}; discard what was pulled after the last segment that both histories share, and pull again from there"
    )]
    Diverged {
        /// The partition.
        partition: PartitionId,
        /// The segment.
        segment: SegmentNumber,
        /// The reason, as text.
        why: &'static str,
    },
    /// The segment is no longer in the log (P23).
    #[error(
        "partition {partition}: segment {segment} is no longer retained; pull again from the oldest retained segment"
    )]
    Gap {
        /// The partition.
        partition: PartitionId,
        /// The segment.
        segment: SegmentNumber,
    },
    /// Another puller moved the cursor in the meantime (P38).
    #[error("the cursor of {consumer:?} in partition {} is at segment {}, row {}: another puller moved it", .stands.partition, .stands.segment, .stands.row)]
    Moved {
        /// The consumer.
        consumer: String,
        /// The present cursor.
        stands: FeedPosition,
    },
    /// A segment can't be decoded.
    #[error("partition {partition}, segment {segment}: {cause}")]
    Segment {
        /// The partition.
        partition: PartitionId,
        /// The segment.
        segment: SegmentNumber,
        /// The decoder's error.
        cause: SegmentError,
    },
    /// A line can't be converted for the feed.
    #[error("partition {partition}, segment {segment}, line {row} can't be shown: {what}")]
    Line {
        /// The partition.
        partition: PartitionId,
        /// The segment.
        segment: SegmentNumber,
        /// The row of the line.
        row: u64,
        /// The name of the invalid part of the line.
        what: &'static str,
    },
    /// Too many pulls are in progress.
    #[error("{present} pulls {of} are in progress, the maximum: end one of them")]
    TooManyPulls {
        /// The maximum.
        present: usize,
        /// Whose pulls: `of this consumer`, or `of this front`.
        of: &'static str,
    },
    /// The budget has no room for a page.
    #[error("no memory is free for a page: other answers are being read")]
    NoRoom,
    /// The shared database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl FeedError {
    /// The gRPC code that tells a consumer how to react.
    pub fn code(&self) -> Code {
        match self {
            Self::BadName(_) | Self::Invalid(_) | Self::NoSuchRow { .. } => Code::InvalidArgument,
            Self::UnknownConsumer(_) | Self::NoConsumer(_) | Self::NoCursor { .. } => {
                Code::NotFound
            }
            Self::NoPartitions => Code::FailedPrecondition,
            Self::Diverged { .. } | Self::Gap { .. } | Self::Segment { .. } | Self::Line { .. } => {
                Code::DataLoss
            }
            Self::Moved { .. } => Code::Aborted,
            Self::TooManyPulls { .. } | Self::NoRoom => Code::ResourceExhausted,
            Self::Store(error) => error.code(),
        }
    }
}

impl From<FeedError> for Status {
    fn from(error: FeedError) -> Self {
        match error.code() {
            Code::ResourceExhausted => turnpike_listen::exhausted(&error.to_string()),
            code => Self::new(code, error.to_string()),
        }
    }
}
