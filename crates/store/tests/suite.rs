//! The integration tests of this crate, in one program, because linking takes most of a test build.
//!
//! Each file in this directory is a module here; `crates/tidy` fails when one is missing.
//! `cargo test -p turnpike-store --test suite memory::` runs those of `memory.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod memory;
mod postgres;
mod postgres_failover;
mod postgres_roles;
mod sqlite;
