//! The shell of an owner: its task, and the I/O that the core needs.
//!
//! ```text
//!   task.rs          the loop: requests, the sweep, postings; provides what a job waits for
//!   append.rs        appends of segments, write barriers, and the answers that wait for them
//!   checkpoints.rs   writes checkpoints in the background
//!   fetch.rs         reads senders' logs for postings in the background
//!   turns.rs         whether several clients send: segments then stay small
//! ```

mod append;
mod checkpoints;
mod fetch;
mod task;
mod turns;

pub(crate) use task::Owner;
