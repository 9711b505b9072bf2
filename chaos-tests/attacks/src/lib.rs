//! Attacks on a real cluster: what a client can send that makes a process end, use up the memory of
//! its machine, or keep other clients waiting.
//!
//! ```text
//!  tests/: one file a subject, one line printed for each attack
//!     |  opens connections from 127.0.0.66      sends small batches, shows accounts, all the time
//!     v                                          v
//!  raw.rs, flood.rs: half messages, zero      bystander.rs: the other client, from 127.0.0.1
//!  windows, many requests                       |
//!     |                                          |
//!     +------------> front --> nodes a, b <------+       site.rs: the cluster, and the checks
//!                    memory.rs: each within its bound    form.rs: short for the gate, long for
//!                                                                 scripts/nightly
//! ```
//!
//! Invariants:
//! - Each process runs with `--memory` 128 MiB. The operating system limits its address space
//!   (`RLIMIT_AS`) to 640 MiB, and its peak of resident memory must be at most 384 MiB: `memory.rs`
//!   says why.
//! - An attack returns what it has sent and what was refused, and fails if that is nothing.
//! - After the attacks of a test, the oracle of `turnpike-harness` compares all that was
//!   acknowledged with the rated output: nothing is lost, and nothing is rated twice.
//!
//! Not guaranteed: times. The short form prints how much longer the other client waited, the long
//! form limits it.

pub mod bystander;
pub mod flood;
pub mod form;
pub mod memory;
pub mod raw;
pub mod site;
