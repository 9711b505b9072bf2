//! The shared database: the only state that nodes and fronts share.
//!
//! ```text
//!        node, front, feed
//!              |
//!        dyn SharedDatabase             database.rs     all areas together
//!              |                        topology.rs     partitions, observations, pins and drains
//!              |                        ownership.rs    heartbeats, claims, releases, barriers
//!              |                        log.rs          segments under the fence
//!              |                        checkpoints.rs  parts and manifests
//!              |                        catalogue.rs    plans and tables
//!              |                        identities.rs   the accounts that hold identities
//!              |                        cursors.rs      consumers
//!              |                        access.rs       grants, keys and tokens
//!              |                        audit.rs        the audit log, a chain of hashes
//!     /        |          \             error.rs        errors, by what the caller has to do
//!  memory    sqlite     postgres
//!  (tests,   (one file, (production)    interpose.rs    a hook around the calls, used by tests and
//!  simulation) embedded)                                by meter.rs (metrics)
//!              \         /              open.rs         opens by address (address.rs)
//!                  sql                  clock.rs        the clock of memory and sqlite
//! ```
//!
//! The file of an area holds its trait, the arguments and results of its calls, and its decisions:
//! pure functions of rows that were read under a lock, or that the following write compares again,
//! so that all databases decide alike. Each database has a file of the same name for each area, and
//! `sql` has what SQLite and PostgreSQL do alike. `conformance/` is a package of its own: the suite
//! that every database must pass. `failpoint` holds the steps at which tests make a process fail.
//!
//! Guarantees of every implementation (rule numbers: docs/protocol.md):
//! - **I3**: an append commits only under the partition's current epoch and claim, at its next
//!   segment number, and only if its predecessor's hash is the last hash of the log. Check and
//!   write are atomic under the lock of the partition's row (P1). Segment numbers have no gap, and
//!   a segment is never overwritten.
//! - A claim is a compare-and-set on the epoch (P1), in a call for one partition or for many (P20).
//! - Each node writes its heartbeat into a row of its own (P9).
//! - Pins and drains of operators (P13) are persisted, and every observation shows them. Pins
//!   expire by the database's clock.
//! - A call returns its outcome, or an error that marks the outcome as unknown
//!   ([`StoreError::is_unknown`], P2).
//!
//! Not guaranteed: that a read returns the newest commit of another process (readers poll); that
//! other processes can write to a SQLite file while a process is frozen inside a write (P7).

mod access;
mod address;
mod audit;
mod catalogue;
mod checkpoints;
mod clock;
mod cursors;
mod database;
mod error;
pub mod failpoint;
mod identities;
mod interpose;
mod log;
pub mod memory;
mod meter;
mod open;
mod ownership;
pub mod postgres;
mod sql;
pub mod sqlite;
mod topology;

pub use access::{
    AccessChange, AccessForget, AccessGrant, AccessKey, AccessRead, AccessStamp, AccessStore,
    AccessTables, AccessToken, AccessVersion, AccessWrite, RevokedCertificate,
};
pub use address::{OpenOptions, redacted};
pub use audit::{
    AUDIT_BATCH_MAX, AUDIT_ENTRY_BYTES_MAX, AUDIT_PAGE_MAX, AuditAppend, AuditAppended, AuditHash,
    AuditHead, AuditRow, AuditSelection, AuditStore,
};
pub use catalogue::{
    CATALOGUE_BYTES_MAX, CATALOGUE_HEADS_MAX, CatalogueEntry, CatalogueHead, CatalogueKind,
    CatalogueStore, CatalogueTotals, Publish, PublishOutcome,
};
pub use checkpoints::{CheckpointManifest, CheckpointPart, CheckpointStore};
pub use cursors::{Consumer, CursorAck, CursorStore};
pub use database::SharedDatabase;
pub use error::{StoreError, StoreResult};
pub use identities::{
    BindOutcome, Binding, BindingsMark, IdentityHistory, IdentityStore, RebindOutcome, Rebinding,
};
pub use interpose::{Call, Interpose, Interposed};
pub use log::{
    AppendOutcome, AppendSegment, LogStore, POSTING_BYTES_MAX, SegmentPosition, SegmentRow,
};
pub use meter::metered;
pub use open::open;
pub use ownership::{
    CLAIMS_MAX, Claim, ClaimOutcome, Claimed, Following, HeartbeatReply, NodeBeat, OwnerToken,
    OwnershipStore, Serving,
};
pub use topology::{
    Member, NodeRow, Observation, PartitionRow, PartitionSpec, Pin, PinOutcome, StoreIncarnation,
    TopologyStore,
};
