//! Where records and requests go: the account of an identity, the partition of an account, the
//! owner of a partition, and the connection to it.
//!
//! ```text
//!  identity --guiding.rs--> account --table.rs--> partition, its owner's address
//!                                       ^              |
//!  shared database --routes.rs (heartbeats.rs)         v
//!                                                 search.rs   which node is tried next, and when
//!                                                      |
//!                                                      v
//!                                    owners.rs  one request, through nodes.rs (connections)
//! ```
//!
//! `status.rs` and `cluster_gauges.rs` show the table to operators.

pub(crate) mod cluster_gauges;
pub(crate) mod guiding;
pub(crate) mod heartbeats;
pub(crate) mod nodes;
pub(crate) mod owners;
pub(crate) mod routes;
pub(crate) mod search;
pub(crate) mod status;
pub(crate) mod table;
