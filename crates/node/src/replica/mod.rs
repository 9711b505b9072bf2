//! Copies of a partition's state that are made from the log.
//!
//! ```text
//!   parts.rs     the names of a checkpoint's parts
//!   copy.rs      checkpoint, then segment after segment; an owner starts from a replica
//!   standby.rs   a task that follows the log with a warm replica
//! ```

mod copy;
mod parts;
mod standby;

pub(crate) use copy::{Replica, ReplicaError, stored_runs};
pub(crate) use parts::SealedKeyRun;
pub(crate) use standby::Standby;
