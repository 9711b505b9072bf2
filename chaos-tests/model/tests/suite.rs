//! The integration tests of this crate as one program, which keeps the link time short.
//!
//! Each file in this directory is a module here; `crates/tidy` fails if one is missing.
//! `cargo test -p protocol-model --test suite protocol::` runs the tests of `protocol.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod mutants;
mod postings;
mod protocol;
mod redundant_checks;
