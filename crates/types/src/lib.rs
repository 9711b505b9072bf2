//! The basic types of Turnpike. No I/O, no async, no clock.
//! ```text
//!  record.rs   UsageRecord, UsageView, RecordKey     input
//!  identity.rs Identity, PrefixLengths               canonical spelling of identities
//!  money.rs    Money, Currency                       amounts of charge lines
//!  iso_4217.rs                                       the currencies in use
//!  place.rs    AccountNumber, AccountRange, PartitionId
//!  owner.rs    NodeName, Incarnation, Epoch, ClaimId, Priority
//!  log.rs      SegmentNumber, SegmentHash
//!  time.rs     Timestamp                             microseconds, UTC
//!  outcome.rs  Outcome, Posting, SuspenseReason, RejectReason  of records and lines
//!  csv_line.rs CsvLine                               splits a line into cells
//!  detail.rs   Detail, Suspension                    details of suspense reasons
//!  limits.rs   limits that both ends of a connection must agree on
//! ```
//!
//! Invariants held here: money is an integer number of billionths and every operation on it is
//! checked; an [`Epoch`] can only advance; an [`AccountRange`] is never empty.

mod csv_line;
mod detail;
mod identity;
mod iso_4217;
pub mod limits;
mod log;
mod money;
mod outcome;
mod owner;
mod place;
mod record;
mod time;

pub use csv_line::{CsvLine, CsvLineError};
pub use detail::{Detail, Suspension};
pub use identity::{Identity, IdentityError, PrefixLengths};
pub use log::{SegmentHash, SegmentNumber};
pub use money::{Currency, CurrencyError, Money, MoneyError};
pub use outcome::{Outcome, Posting, RejectReason, SuspenseReason};
pub use owner::{ClaimId, Epoch, Incarnation, NodeName, Priority};
pub use place::{AccountNumber, AccountRange, EmptyRange, PartitionId};
pub use record::{RecordKey, UsageRecord, UsageView, ZERO_DURATION};
pub use time::Timestamp;
