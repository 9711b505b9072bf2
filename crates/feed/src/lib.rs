//! The feed: rated output for invoicing systems to pull.
//!
//! ```text
//!  consumer --Pull--> service.rs   who, from where, to the end of what is committed now
//!                        |
//!                        v   one partition after the other
//!                     pull.rs      pages of lines, control totals of each segment that ends
//!                        ^
//!                        |
//!                     log.rs       committed segments, hash checked, decoded, cached by bytes
//!                        ^
//!                  shared database
//!
//!  cursor.rs   (partition, segment, row) and the segment's hash     line.rs   a line on the wire
//! ```
//!
//! What holds:
//! - Committed segments only (P6); pulling again from a cursor gives the same lines, whatever the
//!   page size.
//! - A cursor carries its segment's hash: a consumer of another history is told so and gets no
//!   line (P18); so is one whose segments are gone (P23).
//! - An acknowledgement is a compare-and-set to a place that exists (P38).
//! - A page stands in memory once, and a few decoded segments; a slow consumer slows the reading.
//!
//! What is not promised: order between partitions, that a page holds as many lines as asked for,
//! or a lease: two pullers under one name are told apart only by their acknowledgements.

mod config;
mod cursor;
mod error;
mod line;
mod log;
mod pull;
mod service;

pub use config::FeedConfig;
pub use cursor::Place;
pub use error::FeedError;
pub use service::FeedService;
