//! The segment: one durable append of a partition, and the bytes that an invoicing system reads.
//!
//! ```text
//!  rating --push--> SegmentBuilder --seal--> SealedSegment { body, hash }   builder.rs, encode.rs
//!                                                 | append, read
//!  replay, feed, dedup <------ Segment <--decode--+                         decode.rs
//!
//!  body:  magic | head (protobuf) | records | lines | changes (three Arrow IPC streams, LZ4)
//!         head: place, logged time, control totals, component and variable tables, entries
//! ```
//!
//! - A **record** row holds the raw record; a **line** row points at its record and at a component
//!   of the table (plan, version, primitive, step, price): its receipt. The level after a line is
//!   the new value of the component's variable; what the lines do not tell stands in **changes**.
//! - **Entries** are what changes accounts beside usage: opening, subscriptions, recycling. Each
//!   says before which record it came, so that a replay takes both in order.
//! - Replay applies what is logged and never rates again (P25).
//! - The hash covers the hash before it and the whole body (I3).
//!
//! Not promised: that a body from a hostile writer decodes quickly; the hash is checked first.

mod builder;
mod columns;
mod decode;
mod encode;
pub mod head;

pub use builder::{Component, LineKind, NewLine, NewRecord, SegmentBuilder};
pub use decode::{ChangeRow, ComponentInfo, LineRow, RecordRow, Segment, SegmentError};
pub use encode::{Place, SealedSegment, hash_of};
pub use head::{Header, Totals};
