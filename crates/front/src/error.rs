//! What can go wrong in a front: one variant a cause, each with its gRPC code.

use std::time::Duration;

use tonic::{Code, Status};
use turnpike_store::StoreError;
use turnpike_types::PartitionId;

/// Why a front could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum FrontError {
    /// A setting can't work.
    #[error("configuration: {field} {remedy}")]
    Config {
        /// Which one.
        field: &'static str,
        /// What to write instead.
        remedy: String,
    },
    /// The request itself is wrong.
    #[error("{0}")]
    Invalid(String),
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// It stands in the way of what is there.
    #[error("{0}")]
    Conflict(String),
    /// Another version holds the place.
    #[error("{0}")]
    Occupied(String),
    /// Nobody made partitions yet.
    #[error("no partitions: run turnpike partition init")]
    NoPartitions,
    /// The shared database was not read since this front started.
    #[error("the shared database has not answered this front yet; ask again")]
    NoRoutes,
    /// The owner of the partition gave no answer that counts.
    #[error(
        "partition {partition}: {last} (no answer from its owner within {within:?}); ask again"
    )]
    NoAnswer {
        /// The partition.
        partition: PartitionId,
        /// How long was waited.
        within: Duration,
        /// What the last try came to.
        last: String,
    },
    /// The owner says that the request is wrong.
    #[error("partition {partition}: {message}")]
    Refused {
        /// The partition.
        partition: PartitionId,
        /// The owner's words.
        message: String,
    },
    /// The shared database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The front is going down.
    #[error("this front is shutting down; ask another one")]
    ShuttingDown,
}

impl FrontError {
    /// The gRPC code that tells a client what to do: `UNAVAILABLE` means "ask again".
    pub fn code(&self) -> Code {
        match self {
            Self::Config { .. } | Self::Invalid(_) | Self::Refused { .. } => Code::InvalidArgument,
            Self::NotFound(_) => Code::NotFound,
            Self::Conflict(_) | Self::NoPartitions => Code::FailedPrecondition,
            Self::Occupied(_) => Code::AlreadyExists,
            Self::NoRoutes | Self::NoAnswer { .. } | Self::ShuttingDown => Code::Unavailable,
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

impl From<FrontError> for Status {
    fn from(error: FrontError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}
