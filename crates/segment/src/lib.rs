//! The segment: one durable append of a partition, and the bytes that an invoicing system reads.
//!
//! ```text
//!  rating --push--> SegmentBuilder --seal--> SealedSegment { body, hash }   builder.rs, encode.rs
//!                                                 | append, read
//!  replay, feed, dedup <------ Segment <--decode--+                         decode.rs
//!
//!  body:  magic | head (protobuf) | records | lines | changes (three Arrow IPC streams, LZ4)
//!               | marks (a fourth stream if there are any: format 2)       marks.rs
//!         head: partition, number, logged time, control totals, tables, entries  head.rs
//!         rows.rs  the rows of a decoded segment;  columns.rs  vectors <-> Arrow arrays
//!         details.rs  details of suspense reasons;  claims.rs  no memory on a stated length
//!         format.rs  the first bytes and the hash;  error.rs  why bytes are no segment
//! ```
//!
//! The terms of the format, and invariants:
//! - A **record** row holds the raw record. It can also represent a charge that fell due or a
//!   posting from another account. A **component** is a step or charge of a plan. The component
//!   table holds its plan, version, primitive, step and price; this is the receipt of a line. A
//!   **line** row points to its record and to its component. The **level** is the total of the
//!   accumulator by which units are priced; a line holds the level before and after it. The level
//!   after a line is the new value of the component's variable. **Changes** hold the new values of
//!   all other variables.
//! - A **mark** belongs to one of the few lines that were derived from another line (a tax, a
//!   share), or whose amount is not posted to the record's account. Control totals sum the lines
//!   that post to an account.
//! - **Entries** are changes of accounts other than usage: opening, subscriptions, recycling. Each
//!   names the record that it precedes, so that a replay applies both in order.
//! - Replay applies what is logged and never rates again (P25).
//! - The hash covers the preceding segment's hash and the whole body (I3). A body with another hash
//!   is refused before it is decoded ([`Segment::decode_checked`]).
//!
//! Not guaranteed: that a segment that a hostile writer made, with a correct hash, decodes quickly.

mod builder;
mod claims;
mod columns;
mod decode;
mod details;
mod encode;
mod error;
mod format;
pub mod head;
mod marks;
mod rows;

pub use builder::{ComponentIndex, NewLine, NewRecord, SegmentBuilder};
pub use decode::Segment;
pub use encode::{SealContext, SealedSegment};
pub use error::SegmentError;
pub use format::hash_of;
pub use head::{Header, Totals};
pub use rows::{ChangeRow, ComponentInfo, LineRow, RecordRow};
pub use turnpike_types::LineKind;
