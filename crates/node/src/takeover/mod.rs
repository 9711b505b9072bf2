//! A takeover: claim the partition, load its state, and serve it. Whether and when to claim is
//! decided in `membership/decisions.rs`.

mod candidate;

pub(crate) use candidate::{Candidate, OwnerExit, claim_all};
