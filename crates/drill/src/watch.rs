//! Records the owner of each partition over time, by polling the shared database.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use turnpike_store::{Observation, TopologyStore};

use crate::clock::{LoadClock, Micros};

/// One ownership of a partition, as first observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedOwnership {
    /// The partition.
    pub partition: u32,
    /// The epoch of the ownership.
    pub epoch: u64,
    /// The name of the owning node.
    pub owner: String,
    /// The time of the first observation.
    pub from: Micros,
}

#[derive(Debug, Default)]
struct Seen {
    ownerships: Vec<ObservedOwnership>,
    /// The newest epoch and owner, by partition.
    now: BTreeMap<u32, (u64, String)>,
    last: Option<Arc<Observation>>,
}

/// The polling task; dropping the value stops it.
#[derive(Debug)]
pub(crate) struct OwnerWatcher {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl OwnerWatcher {
    /// Polls the database with this interval.
    pub(crate) fn start(db: Arc<dyn TopologyStore>, clock: LoadClock, pause: Duration) -> Self {
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let notes = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            loop {
                // While the database does not answer, there is no observation.
                if let Ok(observation) = db.observe().await {
                    let mut seen = notes.lock().unwrap_or_else(PoisonError::into_inner);
                    seen.take(observation, clock.now());
                }
                tokio::time::sleep(pause).await;
            }
        });
        Self { seen, task }
    }

    /// The owner of a partition, as last observed.
    pub(crate) fn owner_of(&self, partition: u32) -> Option<String> {
        self.seen().now.get(&partition).map(|(_, owner)| owner.clone())
    }

    /// The last observation.
    pub(crate) fn last(&self) -> Option<Arc<Observation>> {
        self.seen().last.clone()
    }

    /// All ownerships so far, in the order of observation.
    pub(crate) fn ownerships(&self) -> Vec<ObservedOwnership> {
        self.seen().ownerships.clone()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OwnerWatcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Seen {
    fn take(&mut self, observation: Observation, from: Micros) {
        for row in &observation.partitions {
            let Some((owner, _)) = &row.owner else { continue };
            let (partition, epoch) = (row.spec.id.0, row.epoch.number());
            if self.now.get(&partition).is_some_and(|(known, _)| *known == epoch) {
                continue;
            }
            self.now.insert(partition, (epoch, owner.0.clone()));
            self.ownerships.push(ObservedOwnership {
                partition,
                epoch,
                owner: owner.0.clone(),
                from,
            });
        }
        self.last = Some(Arc::new(observation));
    }
}
