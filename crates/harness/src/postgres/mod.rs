//! A real PostgreSQL server for drills, tests and benchmarks. It runs in a new directory and is
//! stopped when it is dropped.
//!
//! ```text
//!  PostgresServer::start() -> initdb, postgres ... -> url("name") -> postgres:///name?host=...
//!
//!  server.rs   starts, stops and restarts it         binaries.rs   finds PostgreSQL's programs
//!  shared.rs   for tests: one server for all tests of a process, with a database for each test
//! ```
//!
//! The server listens on a unix socket within its directory, and on 127.0.0.1 if a port is
//! requested. Its commits are durable (`fsync` and `synchronous_commit` are on) unless
//! [`PostgresSettings`] change that. PostgreSQL refuses to run as root; a process that runs
//! as root starts it as the user `postgres`.
//!
//! When the process that started it is killed, the kernel kills the server too (`setpriv --pdeathsig`, where
//! it is available).
//!
//! Not guaranteed: that the server's directory is removed when that process is killed.

mod binaries;
mod server;
#[cfg(feature = "tests")]
mod shared;

pub use server::{PostgresServer, PostgresSettings, StartCancel};
