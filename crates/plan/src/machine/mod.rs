//! The machine that rates.

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
