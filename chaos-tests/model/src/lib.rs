//! The ownership protocol as a model whose reachable states are all checked.
//!
//! ```text
//!   outside.rs   clients that retry, fronts, a consumer     model.rs  messages in flight, and all
//!        |  records, account reads  ^ replies                         actions: crash, freeze, late
//!        v                          |                                 statement, lost answer,
//!   node.rs      standby, claimant, owner                             database failover
//!        |  claim, append, barrier  ^ answers
//!        v                          |
//!   database.rs  the row with the fence, and the log        enabled_checks.rs  the checks
//!                                                                     that can be switched off
//!   next.rs      the possible actions in a state
//!   properties.rs  I1 to I7                                 check.rs  the search of all states
//!   postings.rs  a separate model: postings between the accounts of two partitions
//! ```
//!
//! The fence: the row of a partition holds the owner (epoch and claim) and the end of the log (next
//! segment and last hash). An append updates that row and inserts its segment in one statement, and
//! only if all four values equal those that the owner sends. A claim changes the owner and reads
//! the end of the log in one statement. If an append commits before a claim, the position that the
//! claim returns includes it, and the claimant must read the log up to that position. An append
//! that arrives after the claim changes nothing. Nothing is acknowledged before the append has
//! committed. After a statement with unknown outcome, the owner discards all state that it read
//! before.
//!
//! Invariants of the search:
//! - Every interleaving of a small configuration is visited: two or three nodes, two records, three
//!   claims, one or two faults. There are no clocks, so every timing is covered; larger
//!   configurations are not.
//! - `tests/mutants.rs` switches each check off and shows how an invariant is violated without it;
//!   `tests/redundant_checks.rs` names the checks that are redundant because another check covers
//!   them.
//! - States are distinguished by a 64-bit hash: a collision is unlikely, not impossible.
//!
//! Not modelled: membership and its timing (P9 to P16: in the model any node may claim at any time,
//! which is the harder case), reads of a long log in several calls, checkpoints and trimming (P22,
//! P23), prices. The outcome of a record is its position among all records, which depends on
//! earlier state as a price does.

pub mod check;
pub mod database;
pub mod enabled_checks;
pub mod model;
mod next;
pub mod node;
pub mod outside;
pub mod postings;
pub mod properties;
