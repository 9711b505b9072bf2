//! The conformance suite, which every implementation of [`SharedDatabase`] must pass.
//!
//! ```text
//!  tests/memory.rs  tests/sqlite.rs  tests/postgres.rs      a Subject each, and conformance!(...)
//!         \              |               /
//!   fence.rs        appends, and the reasons of refusals (P1, P4)
//!   claims.rs       claims, releases, barriers, with appends in flight (P1, P13, P17)
//!   takeover.rs     many claims at once (P20), and flaps (P14)
//!   operator_requests.rs  pins and drains (P13), and forgotten nodes
//!   nodes.rs        heartbeats and observations (P9, P11)
//!   postings.rs     finding postings in the log (P33)
//!   chain.rs        random interleavings keep the log unbroken (I3)
//!   checkpoints.rs  parts and manifests (P22)
//!   topology.rs     partitions; concurrent opening
//!   catalogue.rs    plans and tables (P36)
//!   feeds.rs        identities (P28) and consumers (P38)
//!   bindings.rs     spellings, prefixes, moves and releases of identities (P28)
//! ```
//!
//! A new case needs no registration: a function `pub async fn NAME(s: &TestedStore)` in a file of
//! this folder is a test of every store (`build.rs`).
//!
//! No case measures time. A case waits for events that must happen. Whether an event that must not
//! happen has happened is checked on the final state of the log.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc)]

pub mod bindings;
pub mod catalogue;
pub mod chain;
pub mod checkpoints;
pub mod claims;
pub mod feeds;
pub mod fence;
pub mod nodes;
pub mod operator_requests;
mod owner;
pub mod postings;
pub mod takeover;
pub mod topology;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

pub use self::owner::{Dice, TestOwner, check_chain, claim, member, read_all, spec};
use crate::SharedDatabase;

/// Opens a view of the database under test, as another process would open it.
pub type Opener = Arc<dyn Fn() -> BoxFuture<'static, Arc<dyn SharedDatabase>> + Send + Sync>;
/// Resumes the appends that an [`AppendPauser`] has stopped.
pub type ResumeAppends = Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>;
/// Makes appends stop before their commit until the returned function is called.
pub type AppendPauser = Arc<dyn Fn() -> BoxFuture<'static, ResumeAppends> + Send + Sync>;

/// Advances the database's clock by a duration.
pub type AdvanceClock = Arc<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>;

/// One empty database under test.
pub struct TestedStore {
    /// Opens a view of the database.
    pub open: Opener,
    /// Stops appends before their commit.
    pub hold_appends: AppendPauser,
    /// Advances the database's clock.
    pub advance_clock: AdvanceClock,
}

impl TestedStore {
    /// A new view of the database, as of another process.
    pub async fn view(&self) -> Arc<dyn SharedDatabase> {
        (self.open)().await
    }

    /// A new view, after creating partition 1 (accounts 1 to 1,000).
    pub async fn with_partition(&self) -> Arc<dyn SharedDatabase> {
        let db = self.view().await;
        db.create_partitions(&[spec(1, 1, 1000)]).await.unwrap();
        db
    }
}

/// SQL that shifts all stored times into the past, as if `time` had passed.
pub fn age_statements(time: Duration) -> String {
    let us = time.as_micros();
    format!(
        "UPDATE partitions SET flapped_at = flapped_at - {us}; \
         UPDATE pins SET until_us = until_us - {us}; \
         UPDATE nodes SET beat_at = beat_at - {us};"
    )
}

include!(concat!(env!("OUT_DIR"), "/conformance_cases.rs"));

/// Makes a test of every case: each `pub async fn NAME(s: &TestedStore)` in a file of this folder,
/// which the build script lists. `$subject` is an `async fn() -> TestedStore` for a fresh database.
#[macro_export]
macro_rules! conformance {
    ($subject:path) => {
        $crate::each_conformance_case!($subject);
    };
}

/// Makes a test of each listed case.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_tests {
    ($subject:path; $($module:ident: $case:ident,)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::conformance::$module::$case(&$subject().await).await;
            }
        )+
    };
}
