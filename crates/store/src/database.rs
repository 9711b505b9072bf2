//! The shared database as a whole.

use crate::{
    AccessStore, AuditStore, CatalogueStore, CheckpointStore, CursorStore, IdentityStore, LogStore,
    OwnershipStore, TopologyStore,
};

/// The shared database: all its areas. Dropping the future of a call never leaves the database
/// inconsistent, but the outcome of a dropped write is unknown (P2).
pub trait SharedDatabase:
    TopologyStore
    + OwnershipStore
    + LogStore
    + CheckpointStore
    + CatalogueStore
    + IdentityStore
    + CursorStore
    + AccessStore
    + AuditStore
{
}

impl<T> SharedDatabase for T where
    T: TopologyStore
        + OwnershipStore
        + LogStore
        + CheckpointStore
        + CatalogueStore
        + IdentityStore
        + CursorStore
        + AccessStore
        + AuditStore
{
}
