//! The integration tests of this crate as one program, which keeps the link time short.
//!
//! Each file in this directory is a module here; `crates/tidy` fails if one is missing.
//! `cargo test -p chaos-tests --test suite frozen::` runs the tests of `frozen.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod failpoints;
mod failpoints_support;
mod frozen;
mod frozen_support;
mod kill;
mod kill_dues;
mod soak;
mod worked_examples;

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// The lock that each test holds while it runs, because cargo runs as many tests in parallel as
/// there are processors.
static RUNNING: RwLock<()> = RwLock::const_new(());

/// Waits until no other test of processes runs, and lets none start while the guard exists: for a
/// test that loads the machine or depends on timing.
async fn alone() -> RwLockWriteGuard<'static, ()> {
    RUNNING.write().await
}

/// Waits until no test runs that has to run alone: for a test that may run in parallel with others.
async fn beside() -> RwLockReadGuard<'static, ()> {
    RUNNING.read().await
}
