//! A rating node: owns partitions, rates their records, and takes over partitions of failed nodes.
//!
//! ```text
//!   serving/     gRPC from fronts, the gate of each partition --> bounded queue
//!                                                                    v
//!   owner/       one task per partition: decode, dedup, price, log, append, answer
//!                                                                    ^
//!   node/        one loop: observe, decide, start and end owners     |
//!     +-- membership/   heartbeats, liveness, the rules for claiming |
//!     +-- takeover/     claim one or many; load the state; serve ----+
//!     +-- replica/      the state from checkpoint and log; warm replicas
//!   catalogue.rs reads published plans and tables, for turnpike_tariff::Catalogue
//!   shared.rs    what all owners of a process share
//! ```
//!
//! Invariants:
//! - Safety comes from the fence in the database, never from a time-out (P1). Failure detection may
//!   be wrong: a false suspicion costs one handover.
//! - Every answer waits for a commit that began after the request arrived (P17). If that commit was
//!   slow, the answer waits for one more. An owner that was superseded while its process was frozen
//!   therefore sends no answer from its old state (I6).
//! - After an append with an unknown outcome the owner discards its state and releases the
//!   partition for a member with a warm replica. If there is no such member, the same node claims
//!   it and reads the log only after the claim (P2).
//! - No record, charge or posting is rated or booked with a catalogue that is older than the
//!   newest one used in the partition's log. The close of an option's cycle compares every
//!   alternative that was published before the option was offered (P36, owner/core/view.rs).
//! - Time comes from `tokio::time` and from the database's clock, random numbers from a seed: the
//!   same code runs on virtual time.
//!
//! Not guaranteed: that a standby is warm. A claimant without a warm replica loads the newest
//! checkpoint and the rest of the log, which takes longer.
//!
//! config.rs has the settings. docs/metrics.md lists the metrics; gauges.rs, node/measure.rs and
//! the measured steps themselves record them.

mod catalogue;
mod config;
mod gauges;
mod membership;
mod node;
mod owner;
mod replica;
mod serving;
mod shared;
mod takeover;

pub use config::NodeConfig;
pub use membership::StartError;
pub use node::{Node, NodeHealth};
pub use serving::Service;
