//! Why an owner ended.

use turnpike_store::StoreError;
use turnpike_types::NodeName;

use crate::replica::{Replica, ReplicaError};

/// Why an owner ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// Another node claimed the partition after this owner did.
    #[error("fenced: another node claimed the partition")]
    Fenced,
    /// The claim failed, because another node claimed the partition before.
    #[error("another node claimed the partition first")]
    Lost,
    /// The partition was released for another member. `replica` is the state, equal to the log.
    #[error("released")]
    Released { replica: Box<Replica>, to: Option<NodeName> },
    /// The log ends before the last segment that this owner knows (P18).
    #[error("the database's history was rolled back")]
    RolledBack,
    /// The outcome of an append is unknown (P2), or the database does not answer.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The log or a checkpoint can't be read.
    #[error("{0}")]
    Damaged(String),
    /// An invariant of the owner did not hold. Another owner reads the log.
    #[error("the owner panicked: {0}")]
    Panicked(String),
    /// The node stops.
    #[error("the node stops")]
    Stopped,
}

impl Ended {
    /// The reason as one word, for counters and log fields.
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::Fenced => "fenced",
            Self::Lost => "lost",
            Self::Released { .. } => "released",
            Self::RolledBack => "rolled-back",
            Self::Store(_) => "database",
            Self::Damaged(_) => "damaged",
            Self::Panicked(_) => "panicked",
            Self::Stopped => "stopped",
        }
    }
}

impl From<ReplicaError> for Ended {
    fn from(error: ReplicaError) -> Self {
        match error {
            ReplicaError::Store(error) => Self::Store(error),
            ReplicaError::Damaged(what) => Self::Damaged(what),
            ReplicaError::RolledBack => Self::RolledBack,
        }
    }
}
