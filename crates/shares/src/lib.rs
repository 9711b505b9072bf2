//! Divides what a process has among its clients, so that one client can't take it all.
//!
//! ```text
//!  request of a client --> Shares      room in bytes: taken before the request is processed, given
//!                            |         back when it is answered
//!                            v
//!                          FairQueue   the order in which waiting requests are processed
//! ```
//!
//! A client is the party that a front holds responsible for a request: a certificate, a token, or
//! without either an address. A front computes the [`ClientKey`], and a node gets it from the front.
//!
//! Invariants:
//! - [`Shares`]: the room in use never exceeds the total. A client that holds nothing gets room at
//!   once as long as a part is free, and a part stays free while no client needs more than its share.
//!   If room is short, a client that holds nothing and waits is passed by each other client at most
//!   once, however large its request is. A partition that does not answer leaves its clients room for
//!   the other partitions.
//! - [`FairQueue`](queue::FairSender): the requests of one client leave in the order in which they
//!   came. Over any time in which two clients have requests waiting, both get the same cost
//!   processed, but for one request each.
//!
//! Not provided: weights. All clients count the same.

mod client_key;
pub mod queue;
mod room;

pub use client_key::ClientKey;
pub use room::{Holder, Share, Shares};
