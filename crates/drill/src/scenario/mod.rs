//! The scenarios: a table of small files.

mod cold;
mod crash;
mod cut;
mod database;
mod flapping;
mod freeze;
mod handover;
mod kills;
mod lost_answer;
mod many;
mod rolling;

use anyhow::Result;
use futures::future::BoxFuture;

use crate::cluster::Shape;
use crate::world::World;

/// A scenario: what is done to a cluster under load, and what must hold.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What it does, in a sentence.
    pub help: &'static str,
    /// What must hold beside what must always hold.
    pub holds: &'static str,
    /// What it shows to be true, by the numbers of design and protocol.
    pub proves: &'static str,
    /// What it can't do without.
    pub needs: Needs,
    /// Nothing fails by it: it may be done to a cluster that others use.
    pub harmless: bool,
    /// What clients are promised.
    pub promise: Promise,
    /// The longest pauses that are fine.
    pub targets: &'static [Target],
    /// What is chosen when the options leave it open.
    pub size: Size,
    /// The cluster that it wants.
    pub shape: fn() -> Shape,
    /// Does it.
    pub run: for<'a> fn(&'a mut World) -> BoxFuture<'a, Result<()>>,
}

/// What a scenario can't do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Any database.
    Anything,
    /// A database whose connections can be put behind proxies, or that does not stand still with a
    /// process that is frozen: PostgreSQL.
    Connections,
    /// A database server that is ours to restart.
    OurServer,
}

/// What clients are promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// Nothing is lost or doubled.
    Exactly,
    /// Moreover no record is refused: suspended or rejected.
    NothingRefused,
    /// Moreover no client sees an error: no broken stream, no batch that it must send again.
    NoErrorSeen,
}

/// A limit on pauses.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Which pause.
    pub of: Quantile,
    /// No longer than that.
    pub millis: f64,
}

/// Which of all pauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantile {
    /// Half of them are no longer.
    P50,
    /// 99 % of them are no longer.
    P99,
    /// The longest.
    Max,
}

impl Quantile {
    /// As reports call it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::Max => "max",
        }
    }
}

/// What is chosen when the options leave it open.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Faults.
    pub repeat: u32,
    /// Partitions.
    pub partitions: u32,
    /// Accounts in all.
    pub accounts: u64,
    /// Batches a second and partition.
    pub rate: f64,
    /// Records a batch.
    pub batch_records: u32,
}

/// Four partitions, 50 batches a second each, of 20 records.
const USUAL: Size =
    Size { repeat: 10, partitions: 4, accounts: 400, rate: 50.0, batch_records: 20 };

/// All of them, in the order in which `--all` runs them.
pub const SCENARIOS: &[Scenario] = &[
    crash::CRASH,
    freeze::FREEZE,
    handover::HANDOVER,
    handover::DRAIN,
    cut::NODE_DATABASE,
    cut::FRONT_NODE,
    cut::FRONT_DATABASE,
    cut::CLIENT_FRONT,
    rolling::ROLLING_RESTART,
    database::DATABASE_RESTART,
    lost_answer::LOST_ANSWER,
    flapping::FLAPPING,
    many::MANY_PARTITIONS,
    cold::COLD,
    kills::KILLS,
];

/// The scenario of that name.
pub fn named(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_words_that_differ() {
        let names: HashSet<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), SCENARIOS.len());
        let is_plain = |name: &&str| name.chars().all(|c| c.is_ascii_lowercase() || c == '-');
        assert!(names.iter().all(is_plain));
    }

    #[test]
    fn each_is_on_the_page_about_drills() {
        let page = include_str!("../../../../docs/drills.md");
        for scenario in SCENARIOS {
            let name = format!("`{}`", scenario.name);
            assert!(page.contains(&name), "{name} is not on the page");
        }
    }
}
