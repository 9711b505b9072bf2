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
mod worked_examples;
