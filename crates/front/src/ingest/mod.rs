//! From a client's stream of batches to the durable answers of the owners, and back.
//!
//! ```text
//!  service.rs --> stream.rs      reads, admits (admission.rs), looks up identities
//!                     |  \        reassign.rs decides records whose identity changed hands
//!                     |   '----> split.rs       one part for each partition
//!                     v
//!                 dispatch.rs    in turn (stall.rs), or refused (refusal.rs: the texts)
//!                     |
//!                     v  sub_batch.rs
//!                 partition_sender.rs --> owner --> batch.rs   merges the answers of the parts
//! ```

pub(crate) mod admission;
pub(crate) mod batch;
pub(crate) mod decided;
pub(crate) mod dispatch;
pub(crate) mod partition_sender;
pub(crate) mod reassign;
pub(crate) mod refusal;
pub(crate) mod service;
pub(crate) mod split;
pub(crate) mod stall;
pub(crate) mod stream;
pub(crate) mod sub_batch;
