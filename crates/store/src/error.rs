//! Errors of the shared database, by the reaction that they need from the caller.

use tonic::Code;
use turnpike_types::PartitionId;

/// A result of the shared database.
pub type StoreResult<T> = Result<T, StoreError>;

/// An error of the shared database. Each cause has one variant.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database can't be reached, or does not answer. The outcome of a write is unknown.
    #[error("the shared database does not answer ({doing}): {cause}")]
    Unavailable {
        /// The operation that failed.
        doing: &'static str,
        /// The driver's error text.
        cause: String,
    },
    /// The disk or the quota of the database is full. The write was not carried out.
    #[error(
        "the shared database is out of space ({doing}): {cause}; free space there, service resumes by itself"
    )]
    Full {
        /// The operation that failed.
        doing: &'static str,
        /// The driver's error text.
        cause: String,
    },
    /// The database refused the call. A retry of the same call will fail too.
    #[error("refused: {0}")]
    Refused(String),
    /// Another process has taken the node's name (P11); this process must stop.
    #[error("{0}")]
    Superseded(String),
    /// The database returned data that violates an invariant: a bug, or a change made by hand.
    #[error("the shared database returned invalid data ({doing}): {cause}")]
    Corrupt {
        /// The operation that failed.
        doing: &'static str,
        /// The violated expectation.
        cause: String,
    },
    /// The address can't be used.
    #[error("{url}: {cause}")]
    BadUrl {
        /// The address, without its password.
        url: String,
        /// The reason, and the form that is expected.
        cause: String,
    },
}

impl StoreError {
    /// Whether the statement may have been carried out although the call failed. The owner of a
    /// partition then discards the state that it has not seen committed, claims the partition
    /// again, and reads the log only after the claim (P2).
    pub const fn is_unknown(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// The gRPC code that tells a client how to react.
    pub const fn code(&self) -> Code {
        match self {
            Self::Unavailable { .. } => Code::Unavailable,
            Self::Full { .. } => Code::ResourceExhausted,
            Self::Refused(_) | Self::Superseded(_) => Code::FailedPrecondition,
            Self::Corrupt { .. } => Code::DataLoss,
            Self::BadUrl { .. } => Code::Internal,
        }
    }

    /// The cause in one word, as a metric label.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "unavailable",
            Self::Full { .. } => "full",
            Self::Refused(_) => "refused",
            Self::Superseded(_) => "superseded",
            Self::Corrupt { .. } => "corrupt",
            Self::BadUrl { .. } => "bad-url",
        }
    }

    /// The error for a partition that does not exist.
    pub(crate) fn no_partition(partition: PartitionId) -> Self {
        Self::Refused(format!("there is no partition {partition}: create it first"))
    }

    /// Whether a later retry may succeed without an operator's change to Turnpike or to the call.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Full { .. })
    }
}
