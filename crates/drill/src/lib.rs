//! Drills: faults done to a real cluster under load, and what its clients saw of them.
//!
//! ```text
//!  scenario/*.rs  what is done           run.rs       from an empty database to a report
//!        |                                 |
//!        v                                 v
//!  world.rs --> cluster.rs, process.rs   nodes and fronts, real processes; edges through fault-proxy
//!        |      database.rs              PostgreSQL of our own, SQLite, or a given one
//!        |      setup.rs                 partitions, a plan, accounts
//!        +----> load.rs, lane.rs         clients by the clock: batches of usage.rs, nothing given up
//!        +----> watch.rs                 who owns what, when
//!                    |
//!                    v
//!  pause.rs   what clients saw of each fault      audit.rs    sent against rated, record by record
//!  oracle.rs  the feed, the log (I3, I4)          report.rs   table, JSON      page/  HTML
//! ```
//!
//! Invariants: the load does not wait for the cluster, so a pause shows in full; what was sent is
//! known from its number, so the audit needs nobody's word; whatever a drill started ends with it.
//!
//! Not promised: errors that programs could tell apart. They are read by people, as in the binary.
//! The same seed draws the same victims, but real processes do not repeat themselves.

// Real processes take real time.
#![allow(clippy::disallowed_methods)]

mod audit;
mod clock;
mod cluster;
mod database;
mod lane;
mod load;
mod options;
pub mod oracle;
mod page;
mod pause;
mod process;
mod report;
mod run;
mod scenario;
mod setup;
mod usage;
mod watch;
mod world;

pub use audit::Counts;
pub use database::Database;
pub use options::{Options, Running};
pub use page::page;
pub use pause::Quantiles;
pub use report::{FaultReport, Report, TargetReport, Timeline, Verdict, show_ms, table};
pub use run::{Tell, run};
pub use scenario::{Needs, Promise, Quantile, SCENARIOS, Scenario, Size, Target, named};
