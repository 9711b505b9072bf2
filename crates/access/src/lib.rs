//! Who may use a cluster, and who did what.
//!
//! ```text
//!   certificates/     files -> certificates in force, reloaded while the process runs
//!                           -> what a listener and a dial need for TLS; an authority for
//!                              installations that have none
//!   actor.rs          who sent a request: an extension of each request
//!   request_id.rs     the id of a request, which all its log lines and errors carry
//!   request_layer.rs  the layer that gives each request its id, and counts refusals
//!   audit/            the audit log: entries, their chain of hashes, writing, reading, verifying
//! ```
//!
//! Invariants:
//! - An audited change is made only after its intent is durable in the audit log. Its outcome is
//!   durable before the answer, unless the database failed in between: then the intent has no
//!   outcome, and is found by that.
//! - An entry is never changed. Entries leave the log only by trimming, which an entry records.
//!
//! Not guaranteed: that a change was made because its intent is in the log; the outcome says that.

pub mod actor;
pub mod audit;
pub mod certificates;
pub mod request_id;
mod request_layer;

pub use actor::Actor;
pub use request_layer::RequestIdLayer;
