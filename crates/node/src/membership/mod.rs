//! Which partitions this node claims, releases and follows, and what it knows of other nodes.
//!
//! ```text
//!   predecessor.rs   at the start: wait until the last process of this name has ended
//!   beat.rs          the heartbeat, a task of its own
//!   peers.rs         connections to other nodes: process exited, or unreachable?
//!        |
//!   liveness.rs      silence, measured on the local clock
//!        v
//!   decisions.rs     the rules for claiming, releasing and following: pure, no I/O
//! ```

mod beat;
mod decisions;
mod liveness;
mod peers;
pub(crate) mod predecessor;

pub(crate) use beat::{Beater, Served};
pub(crate) use decisions::{Decision, TakeoverCause, ThisNode, Vacancies};
pub(crate) use liveness::{Complaint, Liveness};
pub(crate) use peers::{Peers, Reach};
pub use predecessor::StartError;
