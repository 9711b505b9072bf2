//! What an owner knows of its partition: derived from the log, held in memory.
//!
//! ```text
//!              segments --replay--> PartitionState <--load-- checkpoint     state.rs, checkpoint.rs
//!                                    |  |  |   |
//!                    profiles.rs  <--+  |  |   +--> logged time, position
//!   settings and subscriptions,         |  |
//!   shared by equal accounts            |  +--> suspense.rs   what waits, by key
//!                  accounts: profile +  |
//!                  variables            +--> keys.rs          which records were taken, and where
//! ```
//!
//! - **I4**: a state is a function of the log. Loading the newest checkpoint and replaying the tail
//!   gives the bytes ([`PartitionState::encode`]) that replaying everything gives, and those of the
//!   owner that rated them.
//! - Replay applies what was logged and never rates again (P25).
//! - Keys are exact: a fingerprint only points at places of the log where the full key is compared.
//! - Accounts that have equal settings and subscriptions share one profile: an account of a usual
//!   plan takes some 120 bytes.
//!
//! Not promised: keys on disk (they are all in memory, 16 bytes each, until the horizon has passed
//! them), or dropping accounts that nobody uses.

mod checkpoint;
mod keys;
mod profiles;
mod state;
mod suspense;

pub use checkpoint::{CheckpointError, KeyRun, Snapshot};
pub use keys::{Fingerprint, KeyIndex, Location, fingerprint};
pub use profiles::{Profile, ProfileId, Profiles};
pub use state::{Account, AccountChange, LoggedTime, PartitionState, ReplayError};
pub use suspense::{Suspense, Waiting, WaitingKey};
