//! The heartbeat: a task of its own, so that nothing else the node waits for holds it back (P9).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;
use turnpike_store::{NodeBeat, Serving, StoreError};
use turnpike_types::{Incarnation, PartitionId};

use crate::owner::{Shared, Ticks};

/// What the node serves, as its heartbeat names it.
#[derive(Debug, Default)]
pub(crate) struct Served {
    partitions: Mutex<HashMap<PartitionId, (Serving, Arc<Ticks>)>>,
    draining: AtomicBool,
}

impl Served {
    /// From now on the partition is named while `ticks` goes on.
    pub(crate) fn add(&self, serving: Serving, ticks: Arc<Ticks>) {
        let mut partitions = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        partitions.insert(serving.partition, (serving, ticks));
    }

    /// From now on the partition is not named.
    pub(crate) fn remove(&self, partition: PartitionId) {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner).remove(&partition);
    }

    /// From now on the heartbeat says that the node is being emptied.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// What is served by tasks that ticked within the last `tick_max_ms`.
    fn alive(&self, tick_max_ms: u64) -> Vec<Serving> {
        let partitions = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        let alive = partitions.values().filter(|(_, ticks)| ticks.age_ms() < tick_max_ms);
        alive.map(|(serving, _)| *serving).collect()
    }
}

/// Writes the heartbeat, each interval.
pub(crate) struct Beater {
    pub(crate) shared: Arc<Shared>,
    pub(crate) incarnation: Incarnation,
    pub(crate) served: Arc<Served>,
    pub(crate) counter: u64,
    /// Told when another process has taken the name.
    pub(crate) superseded: watch::Sender<bool>,
}

impl Beater {
    /// Beats until another process takes the name, or the node drops this task.
    pub(crate) async fn run(mut self) {
        let mut interval = tokio::time::interval(self.shared.config.heartbeat);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            match self.beat().await {
                Ok(()) => {}
                Err(error @ StoreError::Superseded(_)) => {
                    tracing::error!(%error, "this node stops");
                    self.superseded.send_replace(true);
                    return;
                }
                Err(error) => {
                    self.shared.trouble.set(Some(error.to_string()));
                    tracing::warn!(%error, "the heartbeat could not be written");
                }
            }
        }
    }

    /// One heartbeat.
    pub(crate) async fn beat(&mut self) -> Result<(), StoreError> {
        self.counter += 1;
        let config = &self.shared.config;
        let tick_max_ms = u64::try_from(config.tick_max().as_millis()).unwrap_or(u64::MAX);
        let beat = NodeBeat {
            node: config.name.clone(),
            incarnation: self.incarnation,
            counter: self.counter,
            address: config.address.clone(),
            draining: self.served.draining.load(Ordering::Relaxed),
            serving: self.served.alive(tick_max_ms),
            following: Vec::new(),
        };
        let reply = self.shared.db.heartbeat(&beat).await?;
        self.shared.clock.set(reply.now);
        if reply.catalogue_version <= self.shared.catalogue.borrow().version {
            let mut fresh_at = self.shared.fresh_at.lock().unwrap_or_else(PoisonError::into_inner);
            *fresh_at = Instant::now();
        }
        Ok(())
    }
}
