//! What a scenario consists of.

use anyhow::Result;
use futures::future::BoxFuture;

use crate::cluster::ClusterLayout;
use crate::world::World;

/// A scenario: faults in a cluster under load, and the conditions that must hold.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// The name on the command line.
    pub name: &'static str,
    /// The faults, in a sentence.
    pub help: &'static str,
    /// The condition that must hold, in addition to the conditions of all scenarios.
    pub holds: &'static str,
    /// The tested invariants and rules, by their numbers in docs/protocol.md.
    pub proves: &'static str,
    /// The required kind of database.
    pub needs: Needs,
    /// Whether the scenario causes no failure, so that it may run on a cluster with other users.
    pub harmless: bool,
    /// The guarantee for clients.
    pub guarantee: Guarantee,
    /// The limits on pauses.
    pub targets: &'static [Target],
    /// The defaults for the options that the user did not set.
    pub size: Size,
    /// The nodes, fronts and proxies that the scenario requires.
    pub layout: fn() -> ClusterLayout,
    /// Injects the faults.
    pub run: for<'a> fn(&'a mut World) -> BoxFuture<'a, Result<()>>,
}

/// The requirement of a scenario on the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Any database.
    Anything,
    /// A database whose connections can go through proxies, and that is not blocked by a frozen
    /// process: PostgreSQL.
    Connections,
    /// A database server that the drill started and can restart.
    OurServer,
}

/// The guarantee for clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarantee {
    /// No record is lost or doubled.
    Exactly,
    /// No record is lost or doubled, and none is refused (suspended or rejected).
    NothingRefused,
    /// No record is lost, doubled or refused, and no client sees an error: no broken stream, no
    /// batch answered RETRY.
    NoErrorSeen,
}

/// A limit on pauses.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The statistic.
    pub of: Quantile,
    /// The limit in milliseconds.
    pub millis: f64,
}

/// A statistic of all pauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantile {
    /// The median.
    P50,
    /// The 99th percentile.
    P99,
    /// The longest.
    Max,
}

impl Quantile {
    /// The name in reports.
    pub const fn word(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::Max => "max",
        }
    }
}

/// The defaults of a scenario for the options that the user did not set.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// The number of faults.
    pub repeat: u32,
    /// The number of partitions.
    pub partitions: u32,
    /// The number of accounts in all partitions together.
    pub accounts: u64,
    /// Batches per second and partition.
    pub rate: f64,
    /// Records per batch.
    pub batch_records: u32,
}

/// The usual size: four partitions; for each, 50 batches of 20 records per second.
pub(super) const USUAL: Size =
    Size { repeat: 10, partitions: 4, accounts: 400, rate: 50.0, batch_records: 20 };
