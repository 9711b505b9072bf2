//! A rating node: it owns partitions, prices their records, and takes over from nodes fallen silent.
//!
//! ```text
//!   service.rs   gRPC from fronts --> doors.rs ----------------+
//!   relay.rs     to an owner elsewhere   a gate a partition    v   bounded queue
//!   beat.rs      the heartbeat, a task of its own
//!   predecessor.rs   at the start: has the last process of this name ended?
//!   peers.rs     to other nodes: gone, or out of reach        owner/  one task a partition:
//!   node.rs      one loop: observe, decide                     rate:    decode, dedup, price
//!     |            liveness.rs    counters on our clock        append:  one fenced segment in flight
//!     |            membership.rs  pure decisions               answer:  when it is durable
//!     |            node/ownerships.rs  begin and end              ^
//!     +-- takeover.rs  claim, one or many; take the copy; serve --+
//!     +-- standby.rs   follows the log with a warm copy.rs: checkpoint, then segment after segment
//!     +-- catalogue.rs plans, object code (moka)
//!           tariff.rs  what an account is rated by
//! ```
//!
//! - Safety comes from the fence in the database, never from a timeout (P1). Detection may be
//!   wrong: a false suspicion costs one handover.
//! - Every answer waits for a commit begun after the request came (P17), and goes out soon after that
//!   was begun, or waits for one more: an owner that was superseded while it slept answers nothing
//!   from its old state (I6).
//! - After an append of unknown outcome the owner throws its state away, and gives the partition to a
//!   warm copy; where there is none it claims, and only then reads (P2).
//! - Nothing is rated, falls due or is posted by an older catalogue than the log was written by, nor is
//!   an option decided without a plan that was published before it was offered (P36, owner/fresh.rs).
//! - Time comes from `tokio::time` and from the database's clock, chance from a seed: the same code
//!   runs on virtual time.
//!
//! Not promised: that a standby is warm. Whoever takes over without a copy (standby.rs) loads the
//! newest checkpoint and the log's tail. What all of it comes to is said in gauges and histograms
//! (gauges.rs, node/measure.rs, and where it happens), listed in docs/metrics.md.

mod beat;
mod catalogue;
mod config;
mod copy;
mod doors;
mod gauges;
mod liveness;
mod membership;
mod node;
mod owner;
mod peers;
mod predecessor;
mod relay;
mod service;
mod standby;
mod takeover;
mod tariff;

pub use config::NodeConfig;
pub use node::{Health, Node, StartError};
pub use service::Service;
