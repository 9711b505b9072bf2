//! The wire format: generated messages and services, and hand-written readers for the hot path,
//! which is the way of a record from a client through a front to a node.
//!
//! ```text
//!  proto/*.proto --build.rs (protox, no protoc)--> generated modules, descriptors
//!
//!  frame.rs    BatchFrame, SubBatchFrame   messages kept as bytes, whose records are located
//!                                          without being decoded
//!  record.rs   peek, RecordBatch           reads the account of a record, or all its fields
//!  wire.rs     Fields                      reads protobuf fields one by one, with checks
//!  bounds.rs                               bounds of texts in requests
//!  convert.rs                              conversions between wire format and types
//!  tally.rs    tally                       counts results by outcome and reason
//!  dial.rs     Dial                        makes a channel from an address
//! ```
//!
//! A front must forward a record without decoding it (docs/architecture.md section 3). In protobuf,
//! an embedded message and a bytes field have the same encoding. So the public `IngestBatch` is an
//! ordinary message for every gRPC client, while fronts and nodes read it as a
//! [`frame::BatchFrame`]. The front reads the account number of each record and copies the record's
//! bytes into the partition's [`frame::SubBatchFrame`]. The node decodes the records once,
//! borrowing from the received bytes.
//!
//! Invariant: invalid input never panics; every reader returns [`wire::WireError`].
//!
//! Not guaranteed: that the records of a frame are valid. A front checks only the fields that it
//! reads; the node checks the others.

pub mod bounds;
pub mod convert;
pub mod dial;
pub mod frame;
pub mod record;
pub mod tally;
pub mod wire;

/// A gRPC metadata key of `Forward` in [`node::v1`]: the front sends to this node although its
/// routes name another owner. Either the last owner referred the front to this node, or the front
/// could not reach the last owner. A node that is about to take over lets the request wait.
pub const REFERRED: &str = "turnpike-sent";

/// A gRPC metadata key of every request in [`node::v1`], with an epoch as its value: the front
/// can't reach the owner of that epoch and complains to a member with a warm replica (P16).
pub const UNREACHABLE: &str = "turnpike-unreachable";

/// A gRPC metadata key of every request in [`node::v1`]: a node relays the request for a front that
/// can't reach the owner (P16). The receiver does not relay the request again.
pub const RELAYED: &str = "turnpike-relayed";

/// A gRPC metadata key of every request in [`node::v1`] but `Forward`, whose sub-batches state it
/// themselves: the number by which the client is told apart that is responsible for the request. Without it, as from
/// fronts of an earlier release, the request counts as one of the cluster itself.
pub const CLIENT: &str = "turnpike-client";

/// Grants of roles, and tokens.
pub mod access {
    /// Version 1.
    #[allow(missing_docs, clippy::all)]
    pub mod v1 {
        tonic::include_proto!("turnpike.access.v1");
    }
}

/// Ingestion of usage records.
pub mod ingest {
    /// Version 1.
    #[allow(missing_docs, clippy::all)]
    pub mod v1 {
        tonic::include_proto!("turnpike.ingest.v1");
    }
}

/// Accounts.
pub mod account {
    /// Version 1.
    #[allow(missing_docs, clippy::all)]
    pub mod v1 {
        tonic::include_proto!("turnpike.account.v1");
    }
}

/// The catalogue of price plans and reference tables.
pub mod plan {
    /// Version 1.
    #[allow(missing_docs, clippy::all)]
    pub mod v1 {
        tonic::include_proto!("turnpike.plan.v1");
    }
}

/// The feed of rated output.
pub mod feed {
    /// Version 1.
    #[allow(missing_docs, clippy::all)]
    pub mod v1 {
        tonic::include_proto!("turnpike.feed.v1");
    }
}

/// The state of the cluster.
pub mod cluster {
    /// Version 1.
    #[allow(missing_docs, clippy::all)]
    pub mod v1 {
        tonic::include_proto!("turnpike.cluster.v1");
    }
}

/// Records in suspense.
pub mod suspense {
    /// Version 1.
    #[allow(missing_docs, clippy::all)]
    pub mod v1 {
        tonic::include_proto!("turnpike.suspense.v1");
    }
}

/// The audit log.
pub mod audit {
    /// Version 1.
    #[allow(missing_docs, clippy::all)]
    pub mod v1 {
        tonic::include_proto!("turnpike.audit.v1");
    }
}

/// The internal protocol between fronts and nodes.
pub mod node {
    /// Version 1.
    #[allow(missing_docs, clippy::all)]
    pub mod v1 {
        tonic::include_proto!("turnpike.node.v1");
    }
}

/// The descriptors of everything in `proto/`, for the reflection service.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
