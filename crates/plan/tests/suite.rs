//! The integration tests of this crate, as one program, since linking dominates the build time of
//! tests.
//!
//! Each file in this directory is a module here; `crates/tidy` fails when one is missing. `cargo
//! test -p turnpike-plan --test suite meaning::` runs the tests of `meaning.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod allocations;
mod allowance;
mod alternatives;
mod alternatives_backdated;
mod alternatives_opt_out;
mod bonus_offsets;
mod bonus_offsets_properties;
mod bonus_postings;
mod calls;
mod charges;
mod classes;
mod credits;
mod crossings;
mod docs;
mod dues;
mod examples;
mod fees;
mod increments;
mod language;
mod levels;
mod levels_by_hours;
mod lines;
mod meaning;
mod meters;
mod moves;
mod numbers;
mod oracle;
mod properties;
mod refusals;
mod remembered;
mod review;
mod sharing;
mod statements;
mod steps;
mod subscribing;
mod support;
mod suspense_details;
mod tables_page;
mod thresholds;
mod time_filters;
mod vectors;
mod weights;
