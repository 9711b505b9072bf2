//! All integration tests of this crate are one program, because linking dominates test builds.
//!
//! Each file in this directory is a module here; `crates/tidy` fails when one is missing.
//! `cargo test -p turnpike-segment --test suite format::` runs those of `format.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod format;
mod marks;
