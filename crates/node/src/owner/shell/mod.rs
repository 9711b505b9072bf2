//! The shell of an owner: its task, and the I/O that the core needs.
//!
//! ```text
//!   task.rs          the loop: requests, the sweep, postings; provides what a job waits for
//!   append.rs        appends of segments, write barriers, and the answers that wait for them
//!   checkpoints.rs   writes checkpoints in the background
//!   fetch.rs         reads senders' logs for postings in the background
//! ```

mod append;
mod checkpoints;
mod fetch;
mod task;

pub(crate) use task::Owner;
