//! Heartbeats, claims, releases and barriers.

pub mod claims;
pub mod nodes;
pub mod takeover;
