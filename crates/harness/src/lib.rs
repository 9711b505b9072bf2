//! The surroundings of a real cluster, for `turnpike up`, drills and tests: its processes, a
//! PostgreSQL server, network faults, and checks from outside.
//!
//! ```text
//!  clients --> [proxy/] --> front --> [proxy/] --> nodes       process/   starts, kills, freezes and
//!     |                       |                      |                    stops these processes
//!     | sent records          +------ [proxy/] ------+         proxy/     delays, drops and cuts
//!     v                                  v                                their connections
//!  oracle/ <---- rated output ----  postgres/                  postgres/  a PostgreSQL server in a
//!          <---- stored log -------                                       new directory
//!                                                              oracle/    is a record lost, or
//!                                                                         doubled? does the log hold?
//! ```
//!
//! Invariants:
//! - Servers end with the process that started them, however that process ends; PostgreSQL where
//!   `setpriv` is available.
//! - The oracle does not depend on the cluster: it compares what clients sent with what consumers
//!   pull, by its own sums.
//!
//! Errors are messages for people, without types, as in `crates/turnpike`.
//!
//! The feature `tests` adds what only tests use. The shipped program is built without it.

pub mod oracle;
pub mod postgres;
pub mod process;
pub mod proxy;
