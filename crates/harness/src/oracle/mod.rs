//! Checks from outside the cluster: on the feed, and on the log in the database.
//!
//! ```text
//!  records that clients sent ---------------+
//!                                           v
//!  front --> feed.rs: lines --> rated.rs: lost? doubled? charged what was used?   (I1, I2)
//!  database --> log.rs: segments without a gap, an unbroken chain of hashes       (I3)
//!
//!  for tests:  checks.rs  the same, ending at the first violation
//!              replay.rs  checkpoints are equal to a replay of the log            (I4)
//! ```
//!
//! Invariant: sums and prices are calculated here from what clients sent, independently of the
//! rating.

#[cfg(feature = "tests")]
mod checks;
mod feed;
mod log;
mod rated;
#[cfg(feature = "tests")]
mod replay;

#[cfg(feature = "tests")]
pub use checks::{
    SentKey, check_amounts, check_chain, check_each_rated_once, log, pull_everything,
};
pub use feed::pull;
pub use log::{check_chain_behind, log_behind};
pub use rated::{RatedOutput, RatedUnits, octets_price_nanos};
#[cfg(feature = "tests")]
pub use replay::check_replay;
