//! The shared database on PostgreSQL (sqlx), or on a server with its wire protocol, its locks and
//! its durability.
//!
//! ```text
//!  open.rs         opens the database
//!  session.rs      session settings, durability checks, migrations
//!  servers.rs      connects to the server that accepts writes
//!  warnings.rs     detects the server's warnings: commits that may not be replicated
//!  connections.rs  connection pools by purpose: beats | observer | claims | log | changes | bulk
//!  locks.rs        advisory locks
//!  database.rs     the handle, and the time limits of calls
//!  blockers.rs     which backends block a claim for too long
//!  topology.rs  ownership.rs  log.rs  checkpoints.rs  catalogue.rs  identities.rs  cursors.rs
//!  access.rs
//!  audit.rs
//!                  the calls of each area; sql/ has what SQLite does alike
//!  *.sql           the longer statements
//! ```
//!
//! Each call is one autocommit statement, or several that are correct in any interleaving with
//! other calls. The transactions (creating partitions, binding identities,
//! changing access control) write no row that an
//! append needs.
//!
//! A cancelled wait for synchronous replication (for instance by `pg_cancel_backend`) is reported
//! as an unknown outcome (P2, P19), although PostgreSQL only warns. So is the end of a backend.

mod access;
mod audit;
mod blockers;
mod catalogue;
mod checkpoints;
mod connections;
mod cursors;
mod database;
mod identities;
mod locks;
mod log;
mod open;
mod ownership;
mod servers;
mod session;
mod topology;
mod warnings;

pub use self::database::PostgresDatabase;
pub use self::open::migrate;
