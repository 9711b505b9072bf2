//! What the core is told: the partition that it serves, and the surroundings of the moment.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Instant;

use turnpike_tariff::Catalogue;
use turnpike_types::{AccountNumber, AccountRange, Epoch, PartitionId, Timestamp};

/// The partition that is served, and its horizon (P26).
#[derive(Clone, Debug)]
pub(crate) struct Partition {
    pub(crate) id: PartitionId,
    pub(crate) range: AccountRange,
    pub(crate) epoch: Epoch,
    pub(crate) horizon_us: i64,
    pub(crate) accept_since: Option<Timestamp>,
}

/// What the node knows at the start of a request or a pass, and after each wait. The shell renews
/// it.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    /// The database's time (P26).
    pub(crate) clock: Timestamp,
    /// The local clock when these surroundings were sampled.
    pub(crate) now: Instant,
    /// The newest catalogue that the node has read.
    pub(crate) catalogue: Arc<Catalogue>,
    /// When a heartbeat last showed that this catalogue is the newest (P36).
    pub(crate) confirmed_at: Instant,
    /// The accounts of all partitions.
    pub(crate) ranges: Arc<Vec<AccountRange>>,
}

impl Surroundings {
    /// Whether any partition covers the account.
    pub(crate) fn is_covered(&self, account: AccountNumber) -> bool {
        self.ranges.iter().any(|range| range.contains(account))
    }
}

/// The owner task's sign of life, and the local clock, for work that takes a while.
pub(crate) trait Pulse: Debug + Send + Sync {
    /// The task is at work (P9).
    fn alive(&self);
    /// The local clock at this moment.
    fn now(&self) -> Instant;
}
