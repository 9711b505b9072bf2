//! A real PostgreSQL server for tests and benchmarks. It runs in a new directory and is stopped
//! when it is dropped.
//!
//! ```text
//!  TestPostgres::shared() -> initdb, postgres ... -> create_database() -> postgres:///test_1?host=...
//!  one server for all tests of a process             one database per test
//!
//!  server.rs   starts, stops and restarts it         binaries.rs   finds PostgreSQL's programs
//! ```
//!
//! The server listens on a unix socket within its directory, and on 127.0.0.1 if a port is
//! requested. Its commits are durable (`fsync` and `synchronous_commit` are on) unless
//! [`ServerSettings`] change that. PostgreSQL refuses to run as root; a test that runs as root
//! starts it as the user `postgres`.
//!
//! When the test process is killed, the kernel kills the server too (`setpriv --pdeathsig`, where
//! it is available).
//!
//! Not guaranteed: that the server's directory is removed when the test process is killed.

// The crate waits for real processes, so it needs the real clock.
#![allow(clippy::disallowed_methods)]

mod binaries;
mod server;

pub use server::{ServerSettings, TestPostgres};
