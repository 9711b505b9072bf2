//! The heartbeat: a task of its own, so that no other work of the node delays it (P9).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use turnpike_mutants::{Check, off};
use turnpike_store::{Following, NodeBeat, Serving, StoreError};
use turnpike_types::{Incarnation, PartitionId};

use crate::owner::Ticks;
use crate::shared::Shared;

/// The contents of a heartbeat: the served partitions, the replicas, and the state of the node.
#[derive(Debug, Default)]
pub(crate) struct Served {
    partitions: Mutex<HashMap<PartitionId, (Serving, Arc<Ticks>)>>,
    following: Mutex<Vec<Following>>,
    draining: AtomicBool,
    leaving: AtomicBool,
    /// A change that the next heartbeat should report without waiting for the interval.
    changed: Notify,
}

impl Served {
    /// Makes heartbeats name the partition for as long as its owner task advances `ticks`.
    pub(crate) fn add(&self, serving: Serving, ticks: Arc<Ticks>) {
        let mut partitions = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        partitions.insert(serving.partition, (serving, ticks));
        self.changed.notify_one();
    }

    /// From now on heartbeats do not name the partition.
    pub(crate) fn remove(&self, partition: PartitionId) {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner).remove(&partition);
        self.changed.notify_one();
    }

    /// From now on heartbeats report these warm replicas and their positions.
    pub(crate) fn follow(&self, following: Vec<Following>) {
        *self.following.lock().unwrap_or_else(PoisonError::into_inner) = following;
    }

    /// From now on heartbeats report whether the node is being drained.
    pub(crate) fn drain(&self, draining: bool) {
        if self.draining.swap(draining, Ordering::Relaxed) != draining {
            self.changed.notify_one();
        }
    }

    /// The next heartbeat is the last one, and says that the node has stopped.
    pub(crate) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
        self.changed.notify_one();
    }

    fn following(&self) -> Vec<Following> {
        self.following.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The partitions whose owner tasks ticked within the last `tick_max_ms` milliseconds.
    fn alive(&self, tick_max_ms: u64) -> Vec<Serving> {
        let partitions = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        let ticks = |ticks: &Ticks| ticks.age_ms() < tick_max_ms || off(Check::Tick);
        let alive = partitions.values().filter(|(_, task)| ticks(task));
        alive.map(|(serving, _)| *serving).collect()
    }
}

/// Writes a heartbeat in each interval.
pub(crate) struct Beater {
    pub(crate) shared: Arc<Shared>,
    pub(crate) incarnation: Incarnation,
    pub(crate) served: Arc<Served>,
    pub(crate) counter: u64,
    /// Set when another process has taken over the node's name.
    pub(crate) superseded: watch::Sender<bool>,
}

impl Beater {
    /// Writes heartbeats until another process takes over the name, the last heartbeat is written,
    /// or the node drops this task.
    pub(crate) async fn run(mut self) {
        let config = self.shared.config.clone();
        let (mut pause, mut again) = (Duration::ZERO, false);
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // Other members claim a partition only after two heartbeats of its owner that do
                // not name it, so a second heartbeat is written soon.
                () = self.served.changed.notified() => again = true,
            }
            let began = Instant::now();
            let is_last = self.served.leaving.load(Ordering::Relaxed);
            let beaten = self.beat(is_last).await;
            let result = if beaten.is_ok() { "written" } else { "failed" };
            metrics::counter!("turnpike_heartbeats_total", "result" => result).increment(1);
            metrics::histogram!("turnpike_heartbeat_seconds").record(began.elapsed().as_secs_f64());
            pause = match beaten {
                Ok(()) if is_last => return,
                Ok(()) if std::mem::take(&mut again) => config.beat_again(),
                Ok(()) => config.heartbeat,
                Err(error @ StoreError::Superseded(_)) => {
                    tracing::error!(%error, "another process uses this node's name: stopping");
                    self.superseded.send_replace(true);
                    return;
                }
                Err(error) => {
                    self.shared.database_error.set(Some(error.to_string()));
                    tracing::warn!(%error, "the heartbeat could not be written");
                    config.beat_again()
                }
            };
        }
    }

    /// Writes one heartbeat. The last one of this process has the counter `NodeBeat::GOODBYE`.
    pub(crate) async fn beat(&mut self, is_last: bool) -> Result<(), StoreError> {
        self.counter = if is_last { NodeBeat::GOODBYE } else { self.counter + 1 };
        let config = &self.shared.config;
        let tick_max_ms = u64::try_from(config.tick_max().as_millis()).unwrap_or(u64::MAX);
        let beat = NodeBeat {
            node: config.name.clone(),
            incarnation: self.incarnation,
            counter: self.counter,
            address: config.address.clone(),
            draining: self.served.draining.load(Ordering::Relaxed),
            serving: self.served.alive(tick_max_ms),
            following: self.served.following(),
        };
        let reply = self.shared.db.heartbeat(&beat).await?;
        self.shared.clock.set(reply.now);
        if reply.catalogue_version <= self.shared.catalogue.borrow().version() {
            let mut fresh_at = self.shared.fresh_at.lock().unwrap_or_else(PoisonError::into_inner);
            *fresh_at = Instant::now();
        }
        Ok(())
    }
}
