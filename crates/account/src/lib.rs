//! What an owner knows of its partition: derived from the log, held in memory.
//!
//! ```text
//!     segments --replay.rs--> PartitionState <--checkpoint.rs-- checkpoint          state.rs
//!     commands --changes.rs-->  |  |  |  |
//!              (options.rs)     |  |  |  +--> logged time, position, posting cursors by sender
//!                               |  |  +--> suspense.rs   what waits, by key
//!       accounts: profile +  <--+  +--> keys.rs          which records were taken, and where
//!       variables
//!           +--> profiles.rs   settings and subscriptions, shared by equal accounts
//! ```
//!
//! - **I4**: a state is a function of the log. Loading the newest checkpoint and replaying the tail
//!   gives the bytes ([`PartitionState::encode`]) that replaying everything gives, and those of the
//!   owner that rated them.
//! - Replay applies what was logged and never rates again (P25). What an owner does while it logs
//!   is the same code: [`PartitionState::change`], [`PartitionState::set_variables`].
//! - A sender's postings are taken in its log's order, each once (P33).
//! - Keys are exact: a fingerprint only points at places of the log where the full key is compared.
//! - Accounts that have equal settings and subscriptions share one profile: an account of a usual
//!   plan takes some 120 bytes.
//!
//! Not promised: keys on disk (they are all in memory, 16 bytes each, until the horizon has passed
//! them), or dropping accounts that nobody uses.

mod bytes;
mod changes;
mod checkpoint;
mod keys;
mod options;
mod profiles;
mod replay;
mod state;
mod suspense;

pub use changes::AccountChange;
pub use checkpoint::{CheckpointError, KeyRun, Snapshot};
pub use keys::{Fingerprint, KeyIndex, Location, fingerprint};
pub use profiles::{Profile, ProfileId, Profiles};
pub use replay::ReplayError;
pub use state::{Account, LoggedTime, PartitionState};
pub use suspense::{Suspense, Waiting, WaitingKey};
