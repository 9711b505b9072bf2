//! The conformance suite, which every implementation of [`SharedDatabase`] must pass.
//!
//! ```text
//!  memory.rs  sqlite.rs  postgres.rs of crates/store/tests   a TestedStore each, and conformance!(...)
//!       \         |         /
//!   topology/     partitions.rs         creation; concurrent opening
//!                 operator_requests.rs  pins and drains (P13), and forgotten nodes
//!   ownership/    nodes.rs              heartbeats and observations (P9, P11)
//!                 claims.rs             claims, releases, barriers, with appends in flight (P1, P13,
//!                                       P17)
//!                 takeover.rs           many claims at once (P20), and flaps (P14)
//!   log/          fence.rs              appends, and the reasons of refusals (P1, P4)
//!                 postings.rs           finding postings in the log (P33)
//!                 chain.rs              random interleavings keep the log unbroken (I3)
//!   checkpoints.rs                      parts and manifests (P22)
//!   catalogue.rs                        plans and tables (P36)
//!   identities/   intervals.rs          bindings of identities to accounts (P28)
//!                 bindings.rs           spellings, prefixes, moves and releases (P28)
//!   cursors.rs                          consumers (P38)
//!   access.rs                           grants, keys and tokens
//!   audit.rs                            the audit log
//!
//!   tested.rs     the database under test
//!   owner.rs      owners that claim and append; pseudo-random numbers
//! ```
//!
//! A new case needs no registration: a function `pub async fn NAME(s: &TestedStore)` in a file of
//! this package is a test of every store (`build.rs`). The author of another store passes its
//! [`TestedStore`] to [`conformance!`].
//!
//! No case measures time. A case waits for events that must happen. Whether an event that must not
//! happen has happened is checked on the final state of the log.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc)]

pub mod access;
pub mod audit;
pub mod catalogue;
pub mod checkpoints;
pub mod cursors;
pub mod identities;
pub mod log;
mod owner;
pub mod ownership;
mod tested;
pub mod topology;

pub use self::owner::{Dice, TestOwner, check_chain, claim, member, read_all, spec};
pub use self::tested::{
    AdvanceClock, AppendPauser, Opener, ResumeAppends, TestedStore, age_statements,
};

include!(concat!(env!("OUT_DIR"), "/conformance_cases.rs"));

/// Makes a test of every case: each `pub async fn NAME(s: &TestedStore)` in a file of this package,
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
    ($subject:path; $($($module:ident)::+: $case:ident,)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::$($module::)+$case(&$subject().await).await;
            }
        )+
    };
}
