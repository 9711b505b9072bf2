//! The tests of access control as one program.
//!
//! Each file in this directory is a module here; `crates/tidy` fails when one is missing.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod certificates;
mod changes;
mod freshness;
mod page;
mod ranges;
mod table;
mod tokens;
mod world;
