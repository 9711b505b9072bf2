//! The options of a run of drills.

use std::ops::Range;
use std::path::PathBuf;

/// The options of a run of drills. For an option that is `None`, the scenario has a default.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program under test.
    pub binary: PathBuf,
    /// The seed of all random choices.
    pub seed: u64,
    /// Faults per scenario.
    pub repeat: Option<u32>,
    /// Batches per second and partition.
    pub rate: Option<f64>,
    /// Accounts in all.
    pub accounts: Option<u64>,
    /// Partitions.
    pub partitions: Option<u32>,
    /// The directory in which databases and logs are kept.
    pub keep: Option<PathBuf>,
    /// A running cluster to use instead of a new one.
    pub running: Option<RunningCluster>,
}

/// A running cluster; its database is the given one.
#[derive(Clone, Debug)]
pub struct RunningCluster {
    /// One of its fronts.
    pub front: String,
    /// Accounts that only the drill uses: it opens them if necessary, and sends usage for them.
    pub accounts: Range<u64>,
}
