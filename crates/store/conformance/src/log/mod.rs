//! Segments under the fence.

pub mod chain;
pub mod fence;
pub mod postings;
