//! The core of an owner: decides, rates, books and logs, without I/O. It knows no database and no
//! other task, and returns what it waits for.
//!
//! ```text
//!  a request --Job--> records.rs   reassign.rs   suspense.rs   accounts.rs
//!                     (incoming.rs: keys)                      (commands.rs bounds.rs subscribing.rs standing.rs)
//!  in between ------> sweep.rs: charges that fall due           postings.rs: from other accounts
//!                          |                                    (page.rs posting_progress.rs)
//!                          v
//!                     state_log.rs      every change: the state and the open segment alike (I4)
//!                     open_segment.rs   lines and tables of the open segment
//!
//!   owner_core.rs  the parts of the core        view.rs   the catalogue by which it rates (P36)
//!   partition.rs   what the shell tells it      wait.rs   what it waits for
//!   tests/         properties over random histories, with a shell that does no I/O
//! ```

mod accounts;
mod bounds;
mod commands;
mod confirm;
mod incoming;
mod open_segment;
mod owner_core;
mod page;
mod partition;
mod posting_progress;
mod postings;
mod reassign;
mod records;
mod standing;
mod state_log;
mod subscribing;
mod suspense;
mod sweep;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
mod view;
mod wait;

pub(crate) use accounts::Apply;
pub(crate) use confirm::Confirm;
pub(crate) use owner_core::{CoreLimits, Job, OwnerCore};
pub(crate) use page::{Scope, SenderSegment, page};
pub(crate) use partition::{Partition, Pulse, Surroundings};
pub(crate) use posting_progress::Fetched;
pub(crate) use postings::PostingsPass;
pub(crate) use reassign::Reassign;
pub(crate) use records::{RateSubBatch, Refusal};
pub(crate) use state_log::ClosedSegment;
pub(crate) use suspense::{ListSuspense, Listed, ReadWaiting, Recycle};
pub(crate) use wait::{Halt, Wait};
