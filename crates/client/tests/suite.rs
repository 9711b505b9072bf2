//! All integration tests of this crate are one program, because linking dominates test builds.
//!
//! Each file in this directory is a module here; `crates/tidy` fails when one is missing.
//! `cargo test -p turnpike-client --test suite sender::` runs those of `sender.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod feed;
mod sender;
mod support;
