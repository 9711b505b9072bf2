//! Drills: inject faults into a real cluster under load, and measure the effect on its clients.
//!
//! ```text
//!  scenario/*.rs  the faults             run.rs       from an empty database to a report
//!        |                                 |
//!        v                                 v
//!  world.rs --> cluster.rs               nodes and fronts, real processes; proxies between them
//!        |      database.rs              a PostgreSQL of the drill, SQLite, or a given database
//!        |      setup.rs                 partitions, a plan, accounts
//!        +----> load.rs, load_stream.rs  clients that send usage.rs on a schedule;
//!        |                               observations.rs  what they see
//!        +----> watch.rs                 the owner of each partition over time
//!                    |
//!                    v
//!  pause.rs   how long each fault delays clients  audit.rs    compares sent and rated records
//!  clock.rs   microseconds since the start        report.rs   table, JSON      page/  HTML
//!  running.rs may the drill use a running cluster? undo.rs   what an interrupted drill undoes there
//!                                                 options.rs  the user's options
//! ```
//!
//! Invariants:
//! - The load does not wait for the cluster, so the whole length of a pause is measured.
//! - Every sent record can be computed again from its number, so the audit does not depend on the
//!   cluster.
//! - All processes that a drill started end with it, and their files are removed. A drill whose
//!   future is dropped waits for this.
//! - A process that ends without the drill's doing ends the scenario without a verdict.
//!
//! Not guaranteed: a repeatable run. The same seed gives the same random choices, but the timing of
//! real processes differs between runs.
//!
//! Errors are messages for people, without types, as in `crates/turnpike`.

mod audit;
mod clock;
mod cluster;
mod database;
mod load;
mod load_stream;
mod observations;
mod options;
mod page;
mod pause;
mod report;
mod run;
mod running;
mod scenario;
mod setup;
mod undo;
mod usage;
mod watch;
mod world;

pub use audit::Counts;
pub use database::Database;
pub use options::{Options, RunningCluster};
pub use page::page;
pub use pause::Quantiles;
pub use report::{FaultReport, Report, TargetReport, Timeline, Verdict, show_ms, table};
pub use run::{OnProgress, impossible, run};
pub use running::refusal;
pub use scenario::{Guarantee, Needs, Quantile, SCENARIOS, Scenario, Size, Target, named};
pub use undo::Undo;
