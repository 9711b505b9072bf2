//! The handle of the database in memory: its clock, its tables, and the locks of the rows.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedMutexGuard, OwnedRwLockWriteGuard, RwLock};
use turnpike_types::{PartitionId, Timestamp};

use super::state::State;
use crate::clock::{Clock, system_clock};
use crate::{StoreIncarnation, StoreResult};

/// The shared database in memory. Clones share the same database.
#[derive(Clone)]
pub struct MemoryDatabase {
    clock: Clock,
    state: Arc<Mutex<State>>,
    /// An append holds it while it commits.
    pub(super) gate: Arc<RwLock<()>>,
    /// The number of appends that hold their partition's row.
    pub(super) at_gate: Arc<AtomicUsize>,
}

/// A guard: until it is dropped, appends stop between the check of their fence and their commit.
pub struct PausedAppends {
    _gate: OwnedRwLockWriteGuard<()>,
}

impl Default for MemoryDatabase {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryDatabase {
    /// An empty database on the system's clock.
    pub fn new() -> Self {
        let clock = system_clock();
        let incarnation = clock().micros().unsigned_abs();
        Self::with_clock(clock, StoreIncarnation(incarnation))
    }

    /// An empty database with a clock and an incarnation of the caller's choice.
    pub fn with_clock(clock: Clock, incarnation: StoreIncarnation) -> Self {
        Self {
            clock,
            state: Arc::new(Mutex::new(State::new(incarnation))),
            gate: Arc::default(),
            at_gate: Arc::default(),
        }
    }

    /// Stops appends between check and commit until the guard is dropped. It first waits for
    /// appends that are committing.
    pub async fn pause_appends(&self) -> PausedAppends {
        PausedAppends { _gate: Arc::clone(&self.gate).write_owned().await }
    }

    /// The number of appends that hold their partition's row at present.
    pub fn appends_in_flight(&self) -> usize {
        self.at_gate.load(Ordering::SeqCst)
    }

    pub(super) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// The lock may be poisoned only if code panics while it holds the lock. The state would still
    /// be consistent, because each operation makes all checks before its first change.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn row_lock(
        &self,
        partition: PartitionId,
    ) -> StoreResult<OwnedMutexGuard<()>> {
        let lock = Arc::clone(&self.state().partition(partition)?.lock);
        Ok(lock.lock_owned().await)
    }
}
