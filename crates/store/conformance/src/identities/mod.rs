//! Identities, and the accounts that hold them.

pub mod bindings;
pub mod intervals;
