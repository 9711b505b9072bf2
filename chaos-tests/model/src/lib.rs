//! The ownership protocol as a model, walked through state by state.
//!
//! ```text
//!   outside.rs   clients that retry, fronts, a consumer     model.rs  what is under way between
//!        |  records, questions      ^ replies                         them, and what may happen
//!        v                          |                                 next: crash, freeze, late
//!   node.rs      standby, claimant, owner                             statement, lost answer,
//!        |  claim, append, barrier  ^ answers                         failover
//!        v                          |
//!   database.rs  the row with the fence, and the log        lines.rs  every protective line,
//!                                                                     to be taken away
//!   next.rs      which actions are possible in a state
//!   properties.rs  I1 to I7                                 check.rs  the walk
//!   postings.rs  a small model of its own: from one partition's accounts to another's
//! ```
//!
//! The fence in one paragraph. A partition's row says who may append (epoch and claim) and where
//! (next segment and last hash). An append updates that row and inserts its segment in one
//! statement, and only if all four are what the owner believes. A claim changes the first two and
//! reads the last two in one statement. So either an append comes before a claim, and then the
//! claimant finds it in the position that its claim returned and must read that far; or it comes
//! after, and then it does nothing. Nothing is acknowledged before such a statement has committed,
//! and nothing that was read earlier is trusted after one whose outcome is not known.
//!
//! - Every interleaving of a small configuration is visited: two or three nodes, two records, three
//!   claims, one or two faults. There are no clocks, so no timing is left out; what is left out is
//!   everything larger.
//! - A property that holds is worth what its mutants are: `tests/mutants.rs` takes each line away
//!   and shows how the log or a client comes to harm; `tests/second_lines.rs` tells which lines
//!   stand behind another one.
//! - States are told apart by a 64-bit hash: that two of them share one is unlikely, not impossible.
//!
//! Not modelled: membership and its timing (P9 to P16: in the model anyone may claim at any time,
//! which is worse), reads in several parts, checkpoints and trimming (P22, P23), what a record
//! costs: an outcome is its place among all records, which depends on state just as a price does.

pub mod check;
pub mod database;
pub mod lines;
pub mod model;
mod next;
pub mod node;
pub mod outside;
pub mod postings;
pub mod properties;
