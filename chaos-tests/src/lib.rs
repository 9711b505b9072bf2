//! Tests with real processes, a real database and real faults.
//!
//! ```text
//!  tests/: kill.rs, kill_dues.rs, failpoints.rs, frozen.rs, soak.rs, worked_examples.rs
//!     |  starts, kills, stops, restarts     sends, retries         compares with its own sums
//!     v                                     v                      v
//!  cluster.rs: turnpike processes       client.rs: ingest      oracle (of turnpike-harness): the
//!     over PostgreSQL                      stream;                feed as consumers read it,
//!                                          accounts.rs: commands  and the stored log
//!                                       asked.rs, asked_front.rs:
//!                                          a request for each RPC
//!                                          of a node or front (I6)
//!
//!  dates.rs: expected due times     bin/witness.rs: clients and checks for patroni/failover
//! ```
//!
//! Invariants:
//! - The oracle is independent of the cluster: it takes the records that clients sent and the lines
//!   that consumers pull, and compares them with its own sums. It reads the log only to check I3
//!   and I4.
//! - All processes of a test end with it.
//!
//! Not guaranteed: a repeatable run. The environment variable `TURNPIKE_SEED` determines the
//! records and the faults, but the timing of real processes differs between runs. The packages
//! `simulation` and `protocol-model` have tests that are repeatable.

pub mod accounts;
pub mod asked;
pub mod asked_front;
pub mod client;
pub mod cluster;
pub mod dates;
