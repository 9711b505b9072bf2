//! The machine that rates: object code, and what runs it. This folder knows neither the language's
//! documents nor the primitives: it runs operations of any origin.
//!
//! ```text
//!  what is rated by     account.rs  settings      in_force.rs  plans, options, intervals
//!  what is kept         state.rs  variables       meaning.rs, booked_dates.rs  what values mean
//!  what is booked       lines.rs  charge lines
//!
//!  code.rs       object code, operations, and the evaluation in which they run
//!  evaluation/   the access of operations to inputs, outputs and buffers
//!     stream.rs, slots.rs  units as spans         level.rs, ladder.rs  the level of each unit
//!  rater.rs      a rater: buffers and result
//!     run_plan.rs   runs one plan's code          watch.rs      traces the primitives
//!     rate.rs       rates a usage record          options.rs    compares alternatives
//!     tentative.rs  sums of alternatives          offset.rs     carries excess bonuses on
//!     sweep.rs      charges without usage, closes of cycles
//!  remembered.rs  describes state as text for people
//! ```

pub(crate) mod account;
pub(crate) mod booked_dates;
pub(crate) mod code;
pub(crate) mod evaluation;
pub(crate) mod in_force;
pub(crate) mod ladder;
pub(crate) mod level;
pub(crate) mod lines;
pub(crate) mod meaning;
pub(crate) mod offset;
pub(crate) mod options;
pub(crate) mod rate;
pub(crate) mod rater;
pub(crate) mod remembered;
pub(crate) mod run_plan;
pub(crate) mod slots;
pub(crate) mod state;
pub(crate) mod stream;
pub(crate) mod sweep;
pub(crate) mod tentative;
pub(crate) mod watch;
