//! A real PostgreSQL server for tests and benchmarks: started in a directory of its own, stopped
//! when it is dropped.
//!
//! ```text
//!  TestPostgres::shared() -> initdb, postgres ... -> create_database() -> postgres:///test_1?host=...
//!  one server for all tests that run                 one database per test
//! ```
//!
//! The server listens on a unix socket within its directory, and on 127.0.0.1 when a port is asked
//! for. It keeps its promises (`fsync` and `synchronous_commit` are on) unless [`Settings`] say
//! otherwise. PostgreSQL refuses to run as root, so root drops to the `postgres` user.
//!
//! When the test process is killed, the kernel ends the server too (`setpriv --pdeathsig`, where
//! there is one); its directory stays behind then.

// Real processes take real time.
#![allow(clippy::disallowed_methods)]

mod binaries;
mod server;

pub use server::{Settings, TestPostgres};
