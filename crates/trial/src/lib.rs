//! Trial rating and plan diagnostics: what a plan would do, with no cluster.
//!
//! ```text
//!   plan versions            settings, subscriptions, identities
//!        |                              |
//!   Catalogue (catalogue.rs)     Accounts (accounts.rs)
//!        |                              |
//!        +------------+  +--------------+
//!                     v  v
//!   UsageRecord --> Trial (trial.rs)     guide > seen before? > in force? > rate > keep
//!                     |
//!                     v
//!               Outcome (outcome.rs)     charges with their receipts, or why there are none
//!                     |
//!      examples/  what a plan's author says usage comes to, against what it does come to
//!      diff/      two plans, by primitive: what else they would charge, and what they forget
//! ```
//!
//! A trial rates by the evaluator that nodes run, in the order in which records are given, and
//! keeps in memory what an owner keeps in its log: each account's state, its balance, and the
//! records that were taken.
//!
//! Invariants:
//! - A record that is taken comes to the lines to which the owner of a fresh account would rate it
//!   after the same records.
//! - A record given twice is rated once; what can't be rated changes nothing.
//! - Whatever is given, the answer is a value or an error: nothing panics. What a stranger may give
//!   (examples) is bounded in bytes, records and differences; what this machine's user gives is
//!   bounded in records.
//!
//! Not promised: the acceptance horizon (a trial has no clock), durability, or charges that fall
//! due without usage.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod accounts;
mod catalogue;
mod diff;
mod error;
mod examples;
mod outcome;
mod trial;

pub use accounts::{Account, Accounts, Subscription};
pub use catalogue::Catalogue;
pub use diff::{Change, Changed, PlanDiff, PriceChange, diff};
pub use error::TrialError;
pub use examples::{
    Difference, EXAMPLE_RECORDS_MAX, ExampleReport, ExamplesReport, Inputs, run_examples,
};
pub use outcome::{Charge, Charges, Outcome};
pub use trial::{RECORDS_MAX, Trial};
