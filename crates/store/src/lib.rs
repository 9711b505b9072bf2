//! The shared database: the only state that nodes and fronts share.
//!
//! ```text
//!        node, front, feed
//!              |
//!        dyn SharedDatabase             database.rs   the trait
//!     /        |          \             model.rs      arguments and results
//!  memory    sqlite     postgres        error.rs      errors, by what the caller has to do
//!  (tests,   (one file, (production)
//!  simulation) embedded)                sql/          what SQLite and PostgreSQL share
//!        \     |      /
//!          rules                        rules.rs      decisions that all implementations share
//!                                       catalogue.rs  shared decisions on plans and tables
//!                                       bindings.rs   shared decisions on identities (P28)
//!         conformance                   one suite; every implementation passes it
//!         interpose                     a hook around the calls of a database, used by tests and
//!                                       by meter.rs (metrics);  open.rs  opens by address
//!         failpoint                     steps at which tests make a process fail (debug builds)
//! ```
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

mod bindings;
mod catalogue;
pub mod conformance;
mod database;
mod error;
pub mod failpoint;
mod interpose;
pub mod memory;
mod meter;
mod model;
mod open;
pub mod postgres;
mod rules;
mod sql;
pub mod sqlite;

pub use catalogue::{
    CATALOGUE_BYTES_MAX, CATALOGUE_HEADS_MAX, CatalogueEntry, CatalogueHead, CatalogueKind,
    Publish, PublishOutcome,
};
pub use database::SharedDatabase;
pub use error::{StoreError, StoreResult};
pub use interpose::{Call, Interpose, Interposed};
pub use meter::metered;
pub use model::{
    AppendOutcome, AppendSegment, BindOutcome, Binding, BindingsMark, CheckpointManifest,
    CheckpointPart, Claim, ClaimOutcome, Claimed, Consumer, CursorAck, Following, HeartbeatReply,
    IdentityHistory, Member, NodeBeat, NodeRow, Observation, OwnerToken, PartitionRow,
    PartitionSpec, Pin, PinOutcome, RebindOutcome, Rebinding, SegmentPosition, SegmentRow, Serving,
    StoreIncarnation,
};
pub use open::{OpenOptions, open, redacted};
pub use rules::{CLAIMS_MAX, POSTING_BYTES_MAX};
