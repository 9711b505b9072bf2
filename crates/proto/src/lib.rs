//! The wire: generated messages and services, and the readers of the hot path.
//!
//! ```text
//!  proto/*.proto --build.rs (protox, no protoc)--> generated modules, descriptors
//!
//!  frame.rs    BatchFrame, SubBatchFrame   a message as one run of bytes; walked, not decoded
//!  record.rs   peek, RecordBatch           a record's bytes -> its account; -> borrowed fields
//!  wire.rs     Fields                      protobuf's fields, one by one, bounds checked
//!  convert.rs  wire <-> types              exhaustive
//!  tally.rs    RecordResult                counted by outcome and reason
//!  dial.rs     Dial                        the network seam: from an address to a channel
//! ```
//!
//! A front must forward a record without decoding it (docs/architecture.md section 3). In protobuf
//! an embedded message and a bytes field look alike on the wire, so the public `IngestBatch` stays
//! an ordinary message for every gRPC client, while front and node read it as a
//! [`frame::BatchFrame`]: the front walks the records, peeks at each account number, and copies the
//! record's bytes into the partition's [`frame::SubBatchFrame`]; the node decodes them once,
//! borrowing.
//!
//! Outside bytes never panic: every reader returns [`wire::WireError`].

pub mod convert;
pub mod dial;
pub mod frame;
pub mod record;
pub mod tally;
pub mod wire;

/// Metadata of [`node::v1`]'s `Forward`: the front does not know this node as the owner, but was sent
/// here by the last one, or found that gone. A node that is about to take over lets it wait.
pub const SENT: &str = "turnpike-sent";

/// Metadata of every request of [`node::v1`], its value an epoch: the front can't reach the owner of that
/// epoch, and complains to a member with a warm copy (P16).
pub const UNREACHABLE: &str = "turnpike-unreachable";

/// Metadata of every request of [`node::v1`]: a node passes this on for a front that can't reach the owner
/// (P16). It is not passed on again.
pub const RELAYED: &str = "turnpike-relayed";

/// Usage records in.
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

/// Rated output.
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

/// Records that can't be rated yet.
pub mod suspense {
    /// Version 1.
    #[allow(missing_docs, clippy::all)]
    pub mod v1 {
        tonic::include_proto!("turnpike.suspense.v1");
    }
}

/// Between fronts and nodes.
pub mod node {
    /// Version 1.
    #[allow(missing_docs, clippy::all)]
    pub mod v1 {
        tonic::include_proto!("turnpike.node.v1");
    }
}

/// Descriptors of everything in `proto/`, for the reflection service.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
