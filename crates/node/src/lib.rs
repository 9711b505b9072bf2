//! A rating node: owns partitions, rates their records, and takes over partitions of failed nodes.
//!
//! ```text
//!   service.rs   gRPC from fronts --> gates.rs, per partition -+
//!   relay.rs     relays requests to the owner on another node  v   bounded queue
//!   beat.rs      the heartbeat, a task of its own
//!   predecessor.rs   at the start: wait until the last process of this name has ended
//!   peers.rs     connections: peer exited or unreachable?    owner/  one task per partition:
//!   node.rs      one loop: observe, decide                    rate:   decode, dedup, price
//!     |            liveness.rs    silence, local clock        append: one fenced segment at a time
//!     |            membership.rs  pure decisions              answer: when it is durable
//!     |            node/ownerships.rs  start and end owners      ^
//!     +-- takeover.rs  claim one or many; load the state; serve -+
//!     +-- standby.rs   follows the log with a warm replica (replica.rs): checkpoint, then segments
//!     +-- catalogue.rs reads published plans and tables, for turnpike_tariff::Catalogue
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
//!   alternative that was published before the option was offered (P36, owner/fresh.rs).
//! - Time comes from `tokio::time` and from the database's clock, random numbers from a seed: the
//!   same code runs on virtual time.
//!
//! Not guaranteed: that a standby is warm. A claimant without a warm replica loads the newest
//! checkpoint and the rest of the log, which takes longer.
//!
//! config.rs has the settings. docs/metrics.md lists the metrics; gauges.rs, node/measure.rs and
//! the measured steps themselves record them.

mod beat;
mod catalogue;
mod config;
mod gates;
mod gauges;
mod liveness;
mod membership;
mod node;
mod owner;
mod peers;
mod predecessor;
mod relay;
mod replica;
mod service;
mod standby;
mod takeover;

pub use config::NodeConfig;
pub use node::{Node, NodeHealth, StartError};
pub use service::Service;
