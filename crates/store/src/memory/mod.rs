//! The shared database in the memory of one process, for tests and for the simulated cluster.
//!
//! ```text
//!  database.rs  the handle: clock, locks of the rows, appends that a test pauses
//!  state.rs     the tables
//!  topology.rs  ownership.rs  log.rs  checkpoints.rs  catalogue.rs  identities.rs  cursors.rs
//!  access.rs  audit.rs (its table: audit_table.rs)
//!               the calls of each area
//! ```
//!
//! It is deterministic: time comes from a [`Clock`], the caller passes the store incarnation, and
//! nothing depends on the order of a hash table. Each partition's row has a lock, as in PostgreSQL:
//! an append holds it from the check of the fence to the commit, and a claim waits for it (P1).
//! [`MemoryDatabase::pause_appends`] stops appends between check and commit, so that tests can run
//! other calls at this point.

mod access;
mod audit;
mod audit_table;
mod catalogue;
mod checkpoints;
mod cursors;
mod database;
mod identities;
mod log;
mod ownership;
mod state;
mod topology;

pub use self::database::{MemoryDatabase, PausedAppends};
pub use crate::clock::{Clock, system_clock};
