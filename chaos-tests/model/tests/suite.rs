//! The integration tests of this crate, one program: linking is what a build of tests waits for.
//!
//! Each file in this directory is a module here; `crates/tidy` fails when one is missing.
//! `cargo test -p protocol-model --test suite protocol::` runs those of `protocol.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod mutants;
mod postings;
mod protocol;
mod second_lines;
