//! The attacks as one program, which keeps the link time short.
//!
//! `cargo test -p attacks --test suite -- --nocapture` prints a line for each attack;
//! `ATTACKS=long` runs the long form.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod decoding;
mod health;
mod members;
mod messages;
mod readers;
mod shares;
mod strangers;
mod tables;
mod values;

use tokio::sync::{Mutex, MutexGuard};

/// Waits until no other test runs: each loads the machine.
async fn alone() -> MutexGuard<'static, ()> {
    static RUNNING: Mutex<()> = Mutex::const_new(());
    RUNNING.lock().await
}
