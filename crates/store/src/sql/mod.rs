//! Code that the SQLite and PostgreSQL implementations share: the statements that are the same in
//! both dialects, the decoding of rows, and the steps of the calls.
//!
//! ```text
//!  topology.rs  ownership.rs  log.rs  checkpoints.rs  catalogue.rs  identities.rs  cursors.rs
//!  access.rs
//!  audit.rs
//!                 statements, rows and steps of each area
//!  observed.rs    converts the rows of an observation (observe.sql) to an Observation
//!  spec_cache.rs  specs and members, cached until the topology changes
//!  packed.rs      the lists of a heartbeat, each packed into one column
//!  values.rs      columns, and their conversion to the types of the model
//!  statement.rs   a statement with its parameters, and where it runs
//!  errors.rs      converts errors of sqlx to StoreError
//!  migration.rs   which migrations of the schema are pending
//! ```
//!
//! A step takes a [`SqlSession`](statement::SqlSession). On SQLite this is a transaction, or the
//! pool of reading connections. On PostgreSQL it is often a pool: then each statement commits by
//! itself, so that steps of several statements are correct in any interleaving with other calls.

pub(crate) mod access;
pub(crate) mod audit;
pub(crate) mod catalogue;
pub(crate) mod checkpoints;
pub(crate) mod cursors;
pub(crate) mod errors;
pub(crate) mod identities;
pub(crate) mod log;
pub(crate) mod migration;
pub(crate) mod observed;
pub(crate) mod ownership;
pub(crate) mod packed;
pub(crate) mod spec_cache;
pub(crate) mod statement;
pub(crate) mod topology;
pub(crate) mod values;
