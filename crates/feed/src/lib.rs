//! The feed: rated output for invoicing systems to pull.
//!
//! ```text
//!  consumer --Pull--> service.rs   selects cursors; the pull ends at the present end of each log
//!                        |
//!                        v   one partition after the other
//!                     pull.rs      pages of lines, control totals of each completed segment
//!                        ^
//!                        |
//!                     log.rs       committed segments: hash checked, decoded, cached
//!                        ^
//!                  shared database
//!
//!  position.rs   (partition, segment, row) and the segment's hash   line.rs   lines on the wire
//!  request.rs    checks cursors and names that consumers send       config.rs   limits
//!  consumers.rs  the list of consumers, and the removal of one
//!  slots.rs      the number of pulls in progress; the stream of pages
//! ```
//!
//! Invariants:
//! - The feed shows committed segments only (P6). A repeated pull from a cursor returns the same
//!   lines, whatever the page size.
//! - A cursor carries its segment's hash. A consumer of another history gets an error and no lines
//!   (P18), and so does a consumer whose segments are no longer retained (P23).
//! - An acknowledgement is a compare-and-set to a cursor that exists in the log (P38).
//! - Memory holds a few pages for each call, all of them within the budget, and a few decoded
//!   segments. A page ends early when the budget has no room. A slow consumer slows the reading
//!   down (backpressure).
//!
//! Not guaranteed:
//! - order between lines of different partitions;
//! - that a page holds as many lines as requested;
//! - that only one process pulls under a consumer's name: two are detected only when they
//!   acknowledge.

mod config;
mod consumers;
mod error;
mod line;
mod log;
mod position;
mod pull;
mod request;
mod service;
mod slots;

pub use config::FeedConfig;
pub use error::FeedError;
pub use position::FeedPosition;
pub use service::FeedService;
