//! The integration tests of this crate as one program, because linking dominates the build time of
//! tests.
//!
//! Each file in this directory is a module here; `crates/tidy` fails when one is missing.
//! `cargo test -p turnpike-collect --test suite files::` runs those of `files.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod everyday;
mod files;
mod identities;
mod maxmind;
mod memory;
mod properties;
mod stated_duration;
mod support;
