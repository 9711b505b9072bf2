//! The shared database: the only thing that nodes and fronts share.
//!
//! ```text
//!        node, front, feed
//!              |
//!        dyn SharedDatabase             database.rs   the trait
//!     /        |          \             model.rs      what goes in and out
//!  memory    sqlite     postgres        error.rs      what can go wrong, and what it means
//!  (tests,   (one file, (production)
//!  simulation) embedded)
//!        \     |      /
//!          rules                        rules.rs      what is decided alike by all of them
//!                                       catalogue.rs  plans and tables: the same two questions
//!         conformance                   one suite; every implementation passes it
//!         interpose                     a hook between a caller and any of them, for tests
//!         failpoint                     steps at which tests end a process; not in release builds
//! ```
//!
//! What holds, whichever implementation stands behind the trait (rule numbers: the protocol):
//! - **I3**: an append commits only under the partition's current epoch and claim, at its next
//!   segment number, on top of its last hash; each in one statement that locks the partition row
//!   first (P1). Segment numbers have no gap, and a segment is never overwritten.
//! - A claim is one compare-and-set on the epoch (P1), by itself or among many (P20), a heartbeat a
//!   row of its own (P9).
//! - What operators wish (pins, draining: P13) is persisted, judged by the database's clock, and
//!   shown to everybody by the same observation as the rest.
//! - A call either tells the outcome or says that it does not know it ([`StoreError::is_unknown`],
//!   P2); it never guesses.
//!
//! What is not promised: that a read shows the newest commit of somebody else (a reader polls), or
//! that a process frozen inside a SQLite write lets others write (P7).

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
    AppendOutcome, AppendSegment, BindOutcome, Binding, CheckpointManifest, CheckpointPart, Claim,
    ClaimOutcome, Claimed, Consumer, CursorAck, Following, Guided, HeartbeatReply, Held, Member,
    NodeBeat, NodeRow, Observation, PartitionRow, PartitionSpec, Pin, PinOutcome, RebindOutcome,
    Rebinding, SegmentPosition, SegmentRow, Serving, StoreIncarnation,
};
pub use open::{OpenOptions, open, redacted};
pub use rules::{CLAIMS_MAX, POSTING_BYTES_MAX};
