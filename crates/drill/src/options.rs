//! What a run of drills is told.

use std::ops::Range;
use std::path::PathBuf;

/// What a run of drills is told; what is left open is the scenario's to choose.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program that is drilled.
    pub binary: PathBuf,
    /// Another seed, another run.
    pub seed: u64,
    /// Faults a scenario.
    pub repeat: Option<u32>,
    /// Batches a second and partition.
    pub rate: Option<f64>,
    /// Accounts in all.
    pub accounts: Option<u64>,
    /// Partitions.
    pub partitions: Option<u32>,
    /// Where databases and logs stay.
    pub keep: Option<PathBuf>,
    /// A cluster that runs already, in place of one of our own.
    pub running: Option<Running>,
}

/// A cluster that runs already; its database is the given one.
#[derive(Clone, Debug)]
pub struct Running {
    /// One of its fronts.
    pub front: String,
    /// Accounts that are the drill's alone: they are opened when they are not, and charged.
    pub accounts: Range<u64>,
}
