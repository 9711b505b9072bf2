//! Trial rating and plan diagnostics: the effect of a plan, without a cluster.
//!
//! ```text
//!   plan versions, tables    settings, subscriptions, identities
//!        |                              |
//!   TrialCatalogue (catalogue.rs)   TrialAccounts (accounts.rs)
//!        |                              |
//!        +------------+  +--------------+
//!                     v  v
//!               turnpike_tariff         what is in force when; what falls due; when it is booked
//!                      |
//!   UsageRecord --> Trial (trial.rs)     finds the account, drops duplicates (seen.rs), rates
//!                      |    \  \
//!                      |     \  ledger.rs   profiles, states, balances, booked due items
//!                      |      step/         the effect of each primitive, for stepping
//!                      v
//!               TrialOutcome, FellDue (outcome.rs)  charges with receipts, or the reason for none
//!                      |
//!      examples/  runs a plan's examples and compares the results with the expectations
//!      diff/      compares two plans by primitive: changed charges, lost state
//! ```
//!
//! A trial uses the same evaluator and the same core of rating as the nodes, rates records in the
//! given order, and keeps in memory what an owner keeps in its log: each account's state and
//! balance, and the deduplication keys. Before a record it books the charges of its account that
//! are due at or before the record's start, like an owner. A record that starts after a charge that
//! can't be booked is suspended for the same reason.
//!
//! Invariants:
//! - An accepted record gets the same lines that the owner of a new account would book after rating
//!   the same earlier records.
//! - A record given twice is rated once; a record that can't be rated changes no state.
//! - A balance is the sum of the lines posted to it, from any account. Replaced lines, tentative
//!   lines, and lines that post to no account count in no balance.
//! - Every input gives a value or an error, never a panic. Untrusted input (examples) is bounded in
//!   bytes, records, due charges and differences; input of the local user is bounded in records and
//!   due charges.
//!
//! Not provided: the acceptance horizon, and durability. A trial has no clock: its logged time is
//! the latest start of a record. A posting from one account to another changes only the other
//! account's balance. Bonuses are offset against an account's charges only if the account's own
//! records grant them; bonuses that other accounts post are not.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod accounts;
mod catalogue;
mod diff;
mod error;
mod examples;
mod ledger;
mod outcome;
mod seen;
mod step;
mod trial;

pub use accounts::{Alternative, TrialAccount, TrialAccounts, TrialSubscription};
pub use catalogue::TrialCatalogue;
pub use diff::{Changed, PlanChange, PlanDiff, PriceChange, diff};
pub use error::TrialError;
pub use examples::{
    Difference, EXAMPLE_DUES_MAX, EXAMPLE_RECORDS_MAX, ExampleReport, ExamplesReport, Inputs,
    run_examples,
};
pub use outcome::{Charge, Charges, FellDue, TrialOutcome};
pub use seen::RECORDS_MAX;
pub use step::{Booked, Moved, Port, Stepped, Stepper, UnitRange, VariableChange};
pub use trial::{DUES_MAX, Trial};
