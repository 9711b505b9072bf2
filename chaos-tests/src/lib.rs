//! Real processes, a real database, real faults.
//!
//! ```text
//!  tests/kill.rs, tests/kill_dues.rs, tests/failpoints.rs, tests/frozen.rs, tests/soak.rs
//!     |  starts, kills, stops, restarts     sends, retries           counts by itself
//!     v                                     v                        v
//!  cluster.rs: turnpike processes       client.rs: ingest        oracle (of turnpike-drill): the feed
//!     over PostgreSQL                      stream;                  as consumers see it, the log as
//!                                          accounts.rs: commands    it lies
//!                                       asked.rs: each RPC of a
//!                                          node, asked_front.rs
//! ```
//!
//! The oracle stands outside: it believes what clients were told and what consumers pull, and
//! compares both with its own sums. Only for I3 and I4 does it open the log.

pub mod accounts;
pub mod asked;
pub mod asked_front;
pub mod client;
pub mod cluster;
pub mod dates;
pub use turnpike_drill::oracle;
