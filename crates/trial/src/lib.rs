//! Trial rating and plan diagnostics: what a plan would do, with no cluster.
//!
//! ```text
//!   plan versions, tables    settings, subscriptions, identities
//!        |                              |
//!   Catalogue (catalogue.rs)     Accounts (accounts.rs)
//!        |                              |
//!        +------------+  +--------------+
//!                     v  v
//!               Timeline (timeline.rs)   what is in force, stretch by stretch
//!                      |
//!   UsageRecord --> Trial (trial.rs)     guide > seen before (seen.rs)? > book what is due > rate
//!                      |      \
//!                      |       step/     what each primitive did, for whoever steps through
//!                      v
//!               Outcome, FellDue (outcome.rs)    charges with their receipts, or why none
//!                      |
//!      examples/  what a plan's author says usage comes to, against what it does come to
//!      diff/      two plans, by primitive: what else they would charge, and what they forget
//! ```
//!
//! A trial rates by the evaluator that nodes run, in the order in which records are given, and
//! keeps in memory what an owner keeps in its log: each account's state, its balance, and the
//! records that were taken. Before a record it books what is due of its account by then, as an
//! owner does.
//!
//! Invariants:
//! - A record that is taken comes to the lines to which the owner of a fresh account would rate it
//!   after the same records.
//! - A record given twice is rated once; what can't be rated changes nothing.
//! - A balance is the sum of the lines posted to it, from whichever account they come; lines that
//!   others replace, of nobody, or on trial count in none.
//! - Whatever is given, the answer is a value or an error: nothing panics. What a stranger may give
//!   (examples) is bounded in bytes, records, what falls due and differences; what this machine's
//!   user gives is bounded in records and in what falls due.
//!
//! Not promised: the acceptance horizon, or durability. A trial has no clock: logged time follows
//! the records' starts. What an account posts to another one stands in the other's balance only: a
//! bonus is set off against charges where the account's own records grant it.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod accounts;
mod catalogue;
mod diff;
mod error;
mod examples;
mod outcome;
mod seen;
mod step;
mod timeline;
mod trial;

pub use accounts::{Account, Accounts, Alternative, Subscription};
pub use catalogue::Catalogue;
pub use diff::{Change, Changed, PlanDiff, PriceChange, diff};
pub use error::TrialError;
pub use examples::{
    Difference, EXAMPLE_DUES_MAX, EXAMPLE_RECORDS_MAX, ExampleReport, ExamplesReport, Inputs,
    run_examples,
};
pub use outcome::{Charge, Charges, FellDue, Outcome};
pub use seen::RECORDS_MAX;
pub use step::{Booked, Moved, Port, Remembered, Run, Stepped, Stepper};
pub use trial::{DUES_MAX, Trial};
