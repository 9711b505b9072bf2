//! The shared database in one SQLite file (sqlx), which the processes of one machine share.
//!
//! ```text
//!  open.rs         the file's settings, migrations, connections
//!  writer.rs       the writing connection; heartbeats have priority
//!  database.rs     the handle, and how statements run
//!  topology.rs  ownership.rs  log.rs  checkpoints.rs  catalogue.rs  identities.rs  cursors.rs
//!  access.rs
//!  audit.rs
//!                  the calls of each area; sql/ has what PostgreSQL does alike
//!  *.sql           the longer statements
//! ```
//!
//! Every write is a transaction under the file's single write lock (P7). Not guaranteed: that other
//! processes can write while a process is frozen inside a write. Network file systems are not
//! supported.

mod access;
mod audit;
mod catalogue;
mod checkpoints;
mod cursors;
mod database;
mod identities;
mod log;
mod open;
mod ownership;
mod topology;
mod writer;

pub use self::database::SqliteDatabase;
pub use self::open::SqliteOptions;
pub(crate) use self::open::place_of;
