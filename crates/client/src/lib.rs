//! The Rust client of Turnpike: sends usage records exactly once, and pulls rated output.
//!
//! ```text
//!  UsageRecord --batch.rs--> Batch --sender.rs--> stream --> front
//!               limits               |   ^
//!                                    v   |
//!                                 window.rs   order, unanswered batches, RETRY (synchronous)
//!
//!  addresses.rs which addresses are used, so that nothing is sent without TLS by mistake
//!  fronts.rs    a connection to one of several fronts; repeats calls
//!  patience.rs  the time limit without progress, and the back-off
//!  feed.rs      register, pull, acknowledge
//!  error.rs     ClientError: what failed, where, and what to do
//! ```
//!
//! `examples/send_usage.rs` sends records and pulls the charge lines; docs/client.md explains it.
//!
//! Invariants:
//! - A batch is kept until it has its final answer, and is sent again after a RETRY or a broken
//!   stream. Sending again is safe: the cluster answers records that it has already as duplicates
//!   (I2, I5).
//! - The records of an account keep their order: while a batch waits to be sent again, no later one
//!   is sent (P30).
//! - The number of unanswered batches, and the memory that they take, is bounded.
//! - Time comes from tokio only, and connections from a [`Dial`] if one is given. So tests run with
//!   a paused clock in a network within one process.
//!
//! Not guaranteed: that an unanswered record was not taken. If a process ends before the answer, it
//! sends the same records again after its start, with the same ids. Keep them until then.
//!
//! Not provided: TLS; storing records between restarts; account and plan commands, for which
//! [`Fronts::call`] and the generated clients of `turnpike-proto` serve.

#![warn(missing_docs)]

mod addresses;
mod batch;
mod channel;
mod error;
pub mod feed;
mod fronts;
mod patience;
mod sender;
mod window;

pub use addresses::Plaintext;
pub use batch::{Batch, BatchBuilder, LimitExceeded, batch_frame};
pub use channel::{ClientToken, FrontChannel};
pub use error::ClientError;
pub use feed::{Acknowledged, FeedConsumer, FeedPages};
pub use fronts::{CONNECTION_WINDOW_BYTES, Fronts, STREAM_WINDOW_BYTES};
pub use patience::Patience;
pub use sender::{BatchSender, SendEvent};
pub use window::{PushError, SendWindow, UnknownBatch, WINDOW_MAX};

pub use turnpike_proto::dial::{Connector, Dial};
pub use turnpike_proto::feed::v1::{ChargeLine, Cursor, FeedPage};
pub use turnpike_proto::ingest::v1::{BatchAck, BatchStatus, RecordResult, RecordStatus};
pub use turnpike_types::{AccountNumber, Timestamp, UsageRecord};
