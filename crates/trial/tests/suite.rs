//! The integration tests of this crate as one program, because linking dominates the build time of
//! tests.
//!
//! Each file in this directory is a module here; `crates/tidy` fails when one is missing.
//! `cargo test -p turnpike-trial --test suite step::` runs those of `step.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod diff;
mod due;
mod examples;
mod owner_rules;
mod pages;
mod step;
mod support;
mod trial;
