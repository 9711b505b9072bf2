//! The requests of fronts and of other nodes, on their way to the owner of the partition.
//!
//! ```text
//!   service.rs   the gRPC service
//!   gates.rs     per partition: is it served here, must the request wait, or which node serves it?
//!   refusals.rs  the verdicts and texts of refused requests
//!   relay.rs     relays requests to the owner on another node
//! ```

mod gates;
mod refusals;
mod relay;
mod service;

pub(crate) use gates::{Gate, Gates, OwnerQueue};
pub use service::Service;
