//! The options of a run of drills.

use std::path::PathBuf;

use turnpike_types::AccountRange;

use crate::undo::Undo;

/// The options of a run of drills. For an option that is `None`, the scenario has a default.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program under test.
    pub binary: PathBuf,
    /// The seed of all random choices.
    pub seed: u64,
    /// The number of faults in each scenario.
    pub repeat: Option<u32>,
    /// Batches per second and partition.
    pub rate: Option<f64>,
    /// The number of accounts in all partitions together.
    pub accounts: Option<u64>,
    /// The number of partitions.
    pub partitions: Option<u32>,
    /// The directory in which databases and logs are kept.
    pub keep: Option<PathBuf>,
    /// A running cluster to use instead of a new one.
    pub running: Option<RunningCluster>,
    /// The requests in force at the running cluster.
    pub undo: Undo,
}

/// A running cluster. Its database is the one whose address the user gave.
#[derive(Clone, Debug)]
pub struct RunningCluster {
    /// The URL of one front of the running cluster.
    pub front: String,
    /// Accounts that only the drill uses: it opens them if necessary, and sends usage for them.
    pub accounts: AccountRange,
}
