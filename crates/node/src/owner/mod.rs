//! The owner of a partition: the one task that makes all changes. A synchronous core decides; an
//! asynchronous shell does the I/O for it.
//!
//! ```text
//!  request.rs --> bounded queue --> shell/   takes requests, runs them as jobs of the core
//!                                     |  ^
//!                                 Job |  | answer, or what the job waits for
//!                                     v  |
//!                                   core/    dedup, rate, book, post; the state and the open segment
//!                                     |
//!                                   shell/   one append in flight (P4), the next segment filling
//!                                     |
//!     committed: answers are sent     |     fenced, unknown: state and answers are dropped, and
//!                                           waiting clients are referred to the owner (P2, I6)
//!
//!  ended.rs   why an owner ended           ticks.rs   the task's sign of life (P9)
//! ```

mod core;
mod ended;
mod request;
mod shell;
mod ticks;

pub(crate) use core::Refusal;
pub(crate) use ended::Ended;
pub(crate) use request::{Ownership, Queued, Request, StreamEnd};
pub(crate) use shell::Owner;
pub(crate) use ticks::Ticks;
