//! The segment: one durable append of a partition, and the bytes that an invoicing system reads.
//!
//! ```text
//!  rating --push--> SegmentBuilder --seal--> SealedSegment { body, hash }   builder.rs, encode.rs
//!                                                 | append, read
//!  replay, feed, dedup <------ Segment <--decode--+                         decode.rs
//!
//!  body:  magic | head (protobuf) | records | lines | changes (three Arrow IPC streams, LZ4)
//!               | marks (one more, where there are any: format 2)          marks.rs
//!         head: place, logged time, control totals, component and variable tables, entries
//! ```
//!
//! - A **record** row holds the raw record, or says what fell due or was posted from another
//!   account. A **line** row points at its record and at a component of the table (plan, version,
//!   primitive, step, price): its receipt. The level after a line is the new value of the
//!   component's variable; what the lines do not tell stands in **changes**.
//! - A **mark** stands beside the few lines that were made from another line (a tax, a share), or
//!   whose amount goes elsewhere than to the record's account. Control totals sum what posts to
//!   an account.
//! - **Entries** are what changes accounts beside usage: opening, subscriptions, recycling. Each
//!   says before which record it came, so that a replay takes both in order.
//! - Replay applies what is logged and never rates again (P25).
//! - The hash covers the hash before it and the whole body (I3).
//!
//! Not promised: that a body from a hostile writer decodes quickly; the hash is checked first.

mod builder;
mod columns;
mod decode;
mod details;
mod encode;
pub mod head;
mod kind;
mod marks;
mod rows;

pub use builder::{Component, NewLine, NewRecord, SegmentBuilder};
pub use decode::{Segment, SegmentError};
pub use encode::{Place, SealedSegment, hash_of};
pub use head::{Header, Totals};
pub use kind::LineKind;
pub use rows::{ChangeRow, ComponentInfo, LineRow, RecordRow};
