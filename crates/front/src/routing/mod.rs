//! Where records and requests go: the account of an identity, the owner of a partition, and the
//! connections to owners.

pub(crate) mod ask;
pub(crate) mod guiding;
pub(crate) mod nodes;
pub(crate) mod routes;
