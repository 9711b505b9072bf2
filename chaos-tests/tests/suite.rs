//! The integration tests of this crate, one program: linking is what a build of tests waits for.
//!
//! Each file in this directory is a module here; `crates/tidy` fails when one is missing.
//! `cargo test -p chaos-tests --test suite frozen::` runs those of `frozen.rs`.

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

/// Held by the tests that run: cargo starts as many at once as there are processors.
static RUNNING: RwLock<()> = RwLock::const_new(());

/// No other test of processes runs beside this one: it loads the machine, or counts on its timing.
async fn alone() -> RwLockWriteGuard<'static, ()> {
    RUNNING.write().await
}

/// Others may run beside this one.
async fn beside() -> RwLockReadGuard<'static, ()> {
    RUNNING.read().await
}
