//! The types that all crates share. No I/O, no async, no clock.
//!
//! ```text
//!  record.rs   UsageRecord, UsageView, RecordKey     input
//!  identity.rs Identity, PrefixLengths               canonical spelling of identities
//!  money.rs    Money, Currency                       amounts of charge lines
//!  iso_4217.rs                                       the currencies in use
//!  place.rs    AccountNumber, AccountRange, PartitionId   where an account belongs
//!  owner.rs    NodeName, Incarnation, Epoch, ClaimId, Priority   the ownership of a partition
//!  line_kind.rs LineKind                            the kind of a charge line
//!  log.rs      SegmentNumber, SegmentHash            a place in a partition's log
//!  time.rs     Timestamp, DAY_US                     microseconds, UTC
//!  outcome.rs  Outcome, Posting, SuspenseReason, RejectReason  of records and lines
//!  csv_line.rs CsvLine                               splits a line into cells
//!  detail.rs   Detail, Suspension                    details of suspense reasons
//!  must.rs     Must                                 assertion of an internal invariant
//!  capped.rs   capped                               counts as narrower integers
//!  text.rs     TextKind                         what a legal name, id or attribute is
//!  dates.rs    the dates that commands may name
//!  limits.rs   limits that both ends of a connection must agree on
//! ```
//!
//! Invariants:
//! - [`Money`] is an integer number of billionths; an operation that overflows is an error.
//! - An [`Epoch`] can only advance.
//! - An [`AccountRange`] is never empty.
//!
//! Not checked here: that an account, partition or node exists, and that input respects the limits
//! of limits.rs and the rules of text.rs and dates.rs. The crates that read input check this.

mod capped;
mod csv_line;
pub mod dates;
mod detail;
mod identity;
mod iso_4217;
pub mod limits;
mod line_kind;
mod log;
mod money;
mod must;
mod outcome;
mod owner;
mod place;
mod record;
pub mod text;
mod time;

pub use capped::{Count, Largest, capped};
pub use csv_line::{CsvLine, CsvLineError};
pub use detail::{Detail, Suspension};
pub use identity::{Identity, IdentityError, PrefixLengths};
pub use line_kind::LineKind;
pub use log::{SegmentHash, SegmentNumber};
pub use money::{Currency, CurrencyError, Money, MoneyError};
pub use must::Must;
pub use outcome::{Outcome, Posting, RejectReason, SuspenseReason};
pub use owner::{ClaimId, Epoch, Incarnation, NodeName, Priority};
pub use place::{AccountNumber, AccountRange, EmptyRange, PartitionId};
pub use record::{RecordKey, UsageRecord, UsageView, ZERO_DURATION};
pub use time::{DAY_US, Timestamp};
