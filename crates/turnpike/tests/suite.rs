//! The integration tests of this crate as one program, because linking dominates the build time of
//! tests.
//!
//! Each file in this directory is a module here; `crates/tidy` fails when one is missing.
//! `cargo test -p turnpike --test suite rate::` runs those of `rate.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod access;
mod accounts;
mod answers;
mod audit;
mod certificates;
mod client_example;
mod database_roles;
mod demo;
mod docs;
mod drill;
mod errors;
mod load;
mod open_accounts;
mod operator;
mod plan_tools;
mod rate;
mod reading;
mod support;
mod tables;
mod units;
