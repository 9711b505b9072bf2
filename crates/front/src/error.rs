//! The errors of a front: one variant for each cause, each with its gRPC code.

use std::time::Duration;

use tonic::{Code, Status};
use turnpike_store::StoreError;
use turnpike_types::PartitionId;

/// Why a front could not carry out a request.
#[derive(Debug, thiserror::Error)]
pub enum FrontError {
    /// A setting can't work.
    #[error("configuration: {field} {remedy}")]
    Config {
        /// The field of the configuration.
        field: &'static str,
        /// What its value must be.
        remedy: String,
    },
    /// The request itself is wrong.
    #[error("{0}")]
    Invalid(String),
    /// The requested object does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The request conflicts with existing data.
    #[error("{0}")]
    Conflict(String),
    /// Another version has the same start.
    #[error("{0}")]
    Occupied(String),
    /// The cluster has no partitions yet.
    #[error("the cluster has no partitions: run turnpike partition init")]
    NoPartitions,
    /// This front has not read the shared database since it started.
    #[error("this front has not yet read the shared database; try again")]
    NoRoutes,
    /// The owner of the partition gave no valid answer before the deadline.
    #[error(
        "partition {partition}: {last} (no answer from its owner within {within:?}); try again"
    )]
    NoAnswer {
        /// The partition.
        partition: PartitionId,
        /// The deadline.
        within: Duration,
        /// The outcome of the last attempt.
        last: String,
    },
    /// The owner rejected the request as invalid.
    #[error("partition {partition}: {message}")]
    Refused {
        /// The partition.
        partition: PartitionId,
        /// The owner's message.
        message: String,
    },
    /// The shared database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The front is shutting down.
    #[error("this front is shutting down; use another front")]
    ShuttingDown,
}

impl FrontError {
    /// The gRPC code of the error. `UNAVAILABLE` means that the client should retry.
    pub fn code(&self) -> Code {
        match self {
            Self::Config { .. } | Self::Invalid(_) | Self::Refused { .. } => Code::InvalidArgument,
            Self::NotFound(_) => Code::NotFound,
            Self::Conflict(_) | Self::NoPartitions => Code::FailedPrecondition,
            Self::Occupied(_) => Code::AlreadyExists,
            Self::NoRoutes | Self::NoAnswer { .. } | Self::ShuttingDown => Code::Unavailable,
            Self::Store(error) => error.code(),
        }
    }
}

impl From<FrontError> for Status {
    fn from(error: FrontError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}
