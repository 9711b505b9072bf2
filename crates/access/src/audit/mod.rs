//! The audit log: who changed what, from where, under which request id.
//!
//! ```text
//!  a service --begin--> log.rs: one task for each process appends the entries of all requests
//!      |                  |       head of the chain -> hashes (chain.rs) -> compare-and-set
//!      |  the change      v
//!      '--Operation::end--'       an operation has an intent and an outcome (entry.rs)
//!
//!  change.rs    runs a change to its end             room.rs     its room, by principal
//!  service.rs   AuditService: pages of the log        verify.rs   checks the chain
//!  export.rs    the log as JSON lines, and back       trim.rs     deletes entries that were exported
//! ```
//!
//! The order of an audited change:
//! 1. The intent is appended. If that fails, nothing is changed, and the request fails.
//! 2. The change is made.
//! 3. The outcome is appended, and then the request is answered.
//!
//! A process that ends between 1 and 3 leaves an intent without an outcome: the change may or may not
//! have been made, and `turnpike audit verify` lists the intent. If only step 3 fails, the request
//! still gets the true answer, because the change is durable and its intent is too.

pub mod chain;
mod change;
pub mod entry;
pub mod export;
mod log;
mod room;
mod service;
pub mod trim;
pub mod verify;

pub use change::ChangeEnd;
pub use entry::{Action, Intent};
pub use log::{AuditLog, Operation};
pub use service::AuditApi;
