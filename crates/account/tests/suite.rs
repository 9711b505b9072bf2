//! All integration tests of this crate are one program, because linking dominates test builds.
//!
//! Each file in this directory is a module here; `crates/tidy` fails when one is missing.
//! `cargo test -p turnpike-account --test suite state::` runs those of `state.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod golden;
mod live;
mod options;
mod options_billed;
mod state;
