//! All integration tests of this crate are one program, because linking dominates test builds.
//!
//! Each file in this directory is a module here; `crates/tidy` fails when one is missing.
//! `cargo test -p turnpike-front --test suite guards::` runs those of `guards.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod audit;
mod bindings;
mod front;
mod guards;
mod owner_search;
mod plans;
mod reach;
mod reassign;
mod subscribing;
mod suspense_lists;
mod tables;
mod world;
