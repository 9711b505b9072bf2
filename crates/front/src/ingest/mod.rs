//! From a client's stream of batches to the durable answers of the owners, and back.

pub(crate) mod admission;
pub(crate) mod batch;
pub(crate) mod partition_sender;
pub(crate) mod reassign;
pub(crate) mod split;
pub(crate) mod stall;
pub(crate) mod stream;
