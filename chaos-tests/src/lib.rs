//! Tests with real processes, a real database and real faults.
//!
//! ```text
//!  tests/kill.rs, tests/kill_dues.rs, tests/failpoints.rs, tests/frozen.rs, tests/soak.rs
//!     |  starts, kills, stops, restarts     sends, retries         compares with its own sums
//!     v                                     v                      v
//!  cluster.rs: turnpike processes       client.rs: ingest      oracle (of turnpike-drill): the
//!     over PostgreSQL                      stream;                feed as consumers read it,
//!                                          accounts.rs: commands  and the stored log
//!                                       asked.rs, asked_front.rs:
//!                                          a request for each RPC
//!                                          of a node or front (I6)
//!
//!  dates.rs: expected due times     bin/witness.rs: clients and checks for patroni/failover
//! ```
//!
//! The oracle is independent of the cluster: it takes the answers that clients received and the
//! lines that consumers pull, and compares both with its own sums. It reads the log only to check
//! I3 and I4.

pub mod accounts;
pub mod asked;
pub mod asked_front;
pub mod client;
pub mod cluster;
pub mod dates;
pub use turnpike_drill::oracle;
