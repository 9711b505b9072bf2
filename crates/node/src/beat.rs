//! The heartbeat: a task of its own, so that nothing else the node waits for holds it back (P9).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use turnpike_mutants::{Line, off};
use turnpike_store::{Following, NodeBeat, Serving, StoreError};
use turnpike_types::{Incarnation, PartitionId};

use crate::owner::{Shared, Ticks};

/// What the node serves, as its heartbeat names it.
#[derive(Debug, Default)]
pub(crate) struct Served {
    partitions: Mutex<HashMap<PartitionId, (Serving, Arc<Ticks>)>>,
    following: Mutex<Vec<Following>>,
    draining: AtomicBool,
    leaving: AtomicBool,
    /// Something changed that others should know soon.
    changed: Notify,
}

impl Served {
    /// From now on the partition is named while `ticks` goes on.
    pub(crate) fn add(&self, serving: Serving, ticks: Arc<Ticks>) {
        let mut partitions = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        partitions.insert(serving.partition, (serving, ticks));
        self.changed.notify_one();
    }

    /// From now on the partition is not named.
    pub(crate) fn remove(&self, partition: PartitionId) {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner).remove(&partition);
        self.changed.notify_one();
    }

    /// From now on the heartbeat says how far these warm copies are.
    pub(crate) fn follow(&self, following: Vec<Following>) {
        *self.following.lock().unwrap_or_else(PoisonError::into_inner) = following;
    }

    /// From now on the heartbeat says whether the node is being emptied.
    pub(crate) fn drain(&self, draining: bool) {
        if self.draining.swap(draining, Ordering::Relaxed) != draining {
            self.changed.notify_one();
        }
    }

    /// The next heartbeat says goodbye, and is the last.
    pub(crate) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
        self.changed.notify_one();
    }

    fn following(&self) -> Vec<Following> {
        self.following.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is served by tasks that ticked within the last `tick_max_ms`.
    fn alive(&self, tick_max_ms: u64) -> Vec<Serving> {
        let partitions = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        let ticks = |ticks: &Ticks| ticks.age_ms() < tick_max_ms || off(Line::Tick);
        let alive = partitions.values().filter(|(_, task)| ticks(task));
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
    /// Beats until another process takes the name, goodbye was said, or the node drops this task.
    pub(crate) async fn run(mut self) {
        let config = self.shared.config.clone();
        let (mut pause, mut again) = (Duration::ZERO, false);
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // Others may act on what is not served only when two beats did not name it.
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
                    tracing::error!(%error, "this node stops");
                    self.superseded.send_replace(true);
                    return;
                }
                Err(error) => {
                    self.shared.trouble.set(Some(error.to_string()));
                    tracing::warn!(%error, "the heartbeat could not be written");
                    config.beat_again()
                }
            };
        }
    }

    /// One heartbeat; the last one of this process says so in its counter.
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
        if reply.catalogue_version <= self.shared.catalogue.borrow().version {
            let mut fresh_at = self.shared.fresh_at.lock().unwrap_or_else(PoisonError::into_inner);
            *fresh_at = Instant::now();
        }
        Ok(())
    }
}
