//! The handle of the database on PostgreSQL: its pools of connections, and the time limits of calls.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::connections::DedicatedPool;
use crate::sql::spec_cache::SpecCache;

/// Time limit of a heartbeat and of an observation: four heartbeat intervals of the default length
/// (P21). A later answer has no use.
pub(super) const BEAT_LIMIT: Duration = Duration::from_secs(1);
/// Time limit of an append. Past it the outcome is unknown, and the owner claims again (P2).
pub(super) const APPEND_LIMIT: Duration = Duration::from_secs(4);
/// Time limit of calls that move many bytes or that no request waits for.
pub(super) const BULK_LIMIT: Duration = Duration::from_secs(30);
/// The time for which a backend may block a claim before the claim ends it (P3): about ten times as
/// long as an append or the commit of a claim takes.
pub(super) const CLAIM_LOCK_LIMIT: Duration = Duration::from_millis(400);
/// Time limit of a wait for a lock, and of a claim, a release or a barrier.
pub(super) const LOCK_LIMIT: Duration = Duration::from_secs(3);

/// A number that no partition has.
pub(super) const NO_PARTITION: i64 = -1;

/// The shared database on PostgreSQL.
pub struct PostgresDatabase {
    pub(super) beats: Arc<DedicatedPool>,
    pub(super) observer: Arc<DedicatedPool>,
    pub(super) claims: Arc<DedicatedPool>,
    /// Limits the number of concurrent claims, because each may need two connections of the pool
    /// for claims.
    pub(super) claim_turns: Semaphore,
    pub(super) log: Arc<DedicatedPool>,
    /// For changes of access control and the audit log, so that they do not wait behind bulk reads.
    pub(super) changes: Arc<DedicatedPool>,
    pub(super) bulk: Arc<DedicatedPool>,
    pub(super) specs: SpecCache,
}
