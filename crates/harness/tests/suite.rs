//! The integration tests of this crate as one program, which keeps the link time short.
//!
//! Each file in this directory is a module here; `crates/tidy` fails if one is missing.
//! `cargo test -p turnpike-harness --test suite proxy::` runs the tests of `proxy.rs`.

#![allow(clippy::unwrap_used, missing_docs)]

mod postgres;
mod process;
mod proxy;
