//! Properties of the core over random histories of requests, without I/O.
//!
//! ```text
//!   history.rs   random steps: requests, passes, time, lost and replaced owners
//!        |       run.rs performs them, repeats what was not answered, and compares the answers with
//!        v       those that clients were given before (answers.rs)
//!   driver.rs    a shell without I/O: the log is a list, one append in flight, a clock that it sets
//!        |       checks at each commit that the state equals a replay of the log (I4)
//!        v
//!   contents.rs  what the log holds: records, lines, amounts
//!   listing.rs   how many suspended records a list looks at
//!                                                 properties.rs   the properties
//! ```
//!
//! Not tried: errors and delays of the database. The tests in `crates/node/tests` and the simulated
//! cluster try them.

mod answers;
mod contents;
mod driver;
mod history;
mod listing;
mod properties;
mod run;
