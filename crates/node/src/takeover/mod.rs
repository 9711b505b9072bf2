//! A takeover: claim the partition, load its state, and serve it.

mod candidate;

pub(crate) use candidate::{Candidate, OwnerExit, claim_all};
