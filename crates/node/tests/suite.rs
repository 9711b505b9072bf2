//! The integration tests of this crate as one program, since linking takes most of the time to
//! build tests.
//!
//! Each file in this directory is a module here; `crates/tidy` fails when one is missing. `cargo
//! test -p turnpike-node --test suite owner::` runs those of `owner.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod adversary;
mod bonus;
mod bounds;
mod confirm;
mod dates;
mod details;
mod due;
mod fair;
mod fresh;
mod guards;
mod horizon;
mod late;
mod listing;
mod options;
mod owner;
mod owner_faults;
mod postings;
mod reach;
mod reassign;
mod settings;
mod shuffled;
mod story;
mod subscribing;
mod support;
mod takeover;
mod twin;
mod zero_duration;
