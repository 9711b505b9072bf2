//! What can go wrong with the shared database, and what it means for the caller.

/// A result of the shared database.
pub type StoreResult<T> = Result<T, StoreError>;

/// One variant a cause.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database can't be reached, or does not answer. A write may or may not have happened.
    #[error("the shared database does not answer ({doing}): {cause}")]
    Unavailable {
        /// What was being done.
        doing: &'static str,
        /// What the driver said.
        cause: String,
    },
    /// The disk (or the quota) of the database is full. The write did not happen.
    #[error(
        "the shared database is out of space ({doing}): {cause}; free space there, service resumes by itself"
    )]
    Full {
        /// What was being done.
        doing: &'static str,
        /// What the driver said.
        cause: String,
    },
    /// The database said no, and asking again will not help.
    #[error("refused: {0}")]
    Refused(String),
    /// Another process has taken the node's name (P11): this one must stop.
    #[error("{0}")]
    Superseded(String),
    /// The database answered something that can't be: a bug, or somebody else's hand in it.
    #[error("the shared database holds something unexpected ({doing}): {cause}")]
    Corrupt {
        /// What was being done.
        doing: &'static str,
        /// What is wrong.
        cause: String,
    },
    /// The address can't be used.
    #[error("{url}: {cause}")]
    BadUrl {
        /// The address, without its password.
        url: String,
        /// What is wrong, and what to write instead.
        cause: String,
    },
}

impl StoreError {
    /// May the statement have been carried out all the same? Then discard speculative state,
    /// claim, and only then read (P2).
    pub const fn is_unknown(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// One word for the cause, to count by.
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

    /// Is it worth trying again later, with no hand laid on it?
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Full { .. })
    }
}
