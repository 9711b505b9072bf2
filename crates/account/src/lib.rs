//! The state of a partition: derived from the log and held in the owner's memory.
//!
//! ```text
//!     segments --replay.rs--> PartitionState <--checkpoint.rs-- checkpoint          state.rs
//!     commands --changes.rs-->  |  |  |  |
//!         (subscriptions.rs,    |  |  |  +--> logged time, end of the log, cursors of postings
//!  overlap.rs, options.rs,      |  |  +--> suspense.rs   suspended records, by key
//!            judgement.rs)      |  |
//!       accounts: profile +  <--+  +--> keys.rs          deduplication keys and log positions
//!       variables                       proof.rs         by which duplicates are recognised
//!           +--> turnpike_tariff::Profiles   settings and subscriptions, shared by equal accounts
//! ```
//!
//! Invariants:
//! - **I4**: the state is a function of the log. Loading the newest checkpoint and replaying the
//!   later segments gives the same bytes ([`PartitionState::encode`]) as replaying the whole log,
//!   and as the state of the owner that rated the records.
//! - Replay applies what was logged and never rates again (P25). An owner applies changes with the
//!   same code while it logs them: [`PartitionState::change`], [`PartitionState::set_variables`].
//! - Postings from another partition are booked in the order of that partition's log, each once
//!   (P33).
//! - A record counts as a duplicate by its proof (proof.rs), or after the comparison with the record in
//!   the log; as a conflict only after that comparison.
//! - Accounts with equal settings and subscriptions share one profile. An account with a typical
//!   plan takes about 120 bytes.
//!
//! Not provided: deduplication keys on disk (each takes 24 bytes of memory until its record is
//! older than the acceptance horizon), and the removal of unused accounts.

mod bytes;
mod changes;
mod checkpoint;
mod judgement;
mod keys;
mod options;
mod overlap;
mod proof;
mod replay;
mod state;
mod subscriptions;
mod suspense;

pub use bytes::CheckpointError;
pub use checkpoint::{KeyRun, Snapshot};
pub use judgement::AccountChange;
pub use keys::{Fingerprint, Found, KeyIndex, Location, fingerprint};
pub use options::alternatives;
pub use proof::Proof;
pub use replay::ReplayError;
pub use state::{Account, LoggedTime, PartitionState};
pub use suspense::{Suspense, Waiting, WaitingKey};
