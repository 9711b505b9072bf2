//! The surroundings of a real cluster, for drills and tests: a PostgreSQL server, and network faults.
//!
//! ```text
//!                       postgres/  a PostgreSQL server in a new directory
//!                           ^
//!  processes of a cluster --+
//!                           |
//!                       proxy/     a TCP proxy that delays, drops and cuts connections
//! ```
//!
//! Invariant: everything ends with the process that started it, however that process ends.
//!
//! Errors are messages for people, without types, as in `crates/turnpike`.
//!
//! The feature `tests` adds what only tests use.

pub mod postgres;
pub mod proxy;
