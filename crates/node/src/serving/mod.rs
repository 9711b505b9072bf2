//! The requests of fronts and of other nodes, on their way to the owner of the partition.
//!
//! ```text
//!   service.rs   the gRPC service
//!   gates.rs     per partition: is it served here, must the request wait, or which node serves it?
//!   confirm.rs   asks other owners before a front's statement about suspended records is believed
//!   listing.rs   lists suspended records, pass by pass
//!   refusals.rs  the verdicts and texts of refused requests
//!   relay.rs     relays requests to the owner on another node
//! ```

mod confirm;
mod gates;
mod listing;
mod refusals;
mod relay;
mod service;

pub(crate) use gates::{Gate, Gates, OwnerQueue};
pub use service::Service;
