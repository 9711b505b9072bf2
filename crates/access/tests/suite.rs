//! The integration tests of this crate as one program, because linking dominates the build time of
//! tests.
//!
//! Each file in this directory is a module here; `crates/tidy` fails when one is missing.
//! `cargo test -p turnpike-access --test suite handshakes::` runs those of `handshakes.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod administrators;
mod certificates;
mod changes;
mod freshness;
mod handshakes;
mod loading;
mod open_connections;
mod page;
mod pki;
mod ranges;
mod strangers;
mod table;
mod tokens;
mod world;
