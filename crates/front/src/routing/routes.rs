//! Access to the routing table, and the task that reads it from the shared database in each
//! heartbeat interval.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use turnpike_mutants::{Check, off};
use turnpike_store::{BindingsMark, Observation, SharedDatabase};
use turnpike_types::{Epoch, PartitionId, Timestamp};

use crate::FrontConfig;
use crate::routing::cluster_gauges::ClusterGauges;
use crate::routing::heartbeats::HeartbeatAges;
use crate::routing::table::{BindingsSeen, HighestEpoch, RouteTable};

/// The age in microseconds, by the database's clock, at which the front advances the mark of
/// look-ups ([`BindingsMark::guided_through`]).
const ADVANCE_AFTER_US: i64 = 60 * 1_000_000;

/// Access to the current table, and a way to request a newer one.
#[derive(Clone)]
pub(crate) struct Routes {
    table: watch::Receiver<Arc<RouteTable>>,
    stale: Arc<Notify>,
    suspicion: Duration,
}

impl Routes {
    /// The current table.
    pub(crate) fn table(&self) -> Arc<RouteTable> {
        Arc::clone(&self.table.borrow())
    }

    /// The number of the last change of bindings. `None` when the version was not read for the
    /// suspicion time, because there may be an unknown change.
    pub(crate) fn last_change_of_bindings(&self) -> Option<u64> {
        let bindings = self.table.borrow().bindings;
        let is_recent = bindings.asked_at?.elapsed() < self.suspicion;
        is_recent.then_some(bindings.changes)
    }

    /// The current table, once look-ups with it are valid for records that start now. Waits until
    /// `deadline` for a table with a recent mark of look-ups.
    pub(crate) async fn for_look_ups(&self, deadline: Instant) -> Option<Arc<RouteTable>> {
        let mut table = self.table.clone();
        let covered = table.wait_for(|table| table.covers_present_records());
        let found = tokio::time::timeout_at(deadline, covered).await.ok()?.ok()?;
        Some(Arc::clone(&found))
    }

    /// A new receiver that waits for newer tables.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<RouteTable>> {
        self.table.clone()
    }

    /// Reports that the table is stale: requests an early read.
    pub(crate) fn hint_stale(&self) {
        self.stale.notify_one();
    }

    /// The current table. Before the first read, waits for it until `deadline`.
    pub(crate) async fn first(&self, deadline: Instant) -> Option<Arc<RouteTable>> {
        let mut table = self.table.clone();
        let ready = table.wait_for(|table| table.generation > 0);
        let found = tokio::time::timeout_at(deadline, ready).await.ok()?.ok()?;
        Some(Arc::clone(&found))
    }
}

/// The routes, and the task that refreshes them until `stop`.
pub(crate) fn watch_routes(
    config: FrontConfig,
    db: Arc<dyn SharedDatabase>,
    stop: CancellationToken,
) -> (Routes, impl Future<Output = ()>) {
    let (sender, receiver) = watch::channel(Arc::new(RouteTable::empty()));
    let stale = Arc::new(Notify::new());
    let suspicion = config.suspicion();
    let routes = Routes { table: receiver, stale: Arc::clone(&stale), suspicion };
    let bindings = BindingsSeen::default();
    let (highest, advancing) = (BTreeMap::new(), None);
    let watcher = Watcher { config, db, stale, sender, highest, bindings, advancing };
    (routes, watcher.run(stop))
}

struct Watcher {
    config: FrontConfig,
    db: Arc<dyn SharedDatabase>,
    stale: Arc<Notify>,
    sender: watch::Sender<Arc<RouteTable>>,
    highest: BTreeMap<PartitionId, HighestEpoch>,
    bindings: BindingsSeen,
    /// The task that advances the mark of look-ups (P28) in the database, if one runs.
    advancing: Option<JoinHandle<()>>,
}

impl Watcher {
    async fn run(mut self, stop: CancellationToken) {
        let mut liveness = HeartbeatAges::default();
        let mut generation = 0;
        let mut failing = false;
        let mut gauges = ClusterGauges::new(self.config.suspicion());
        loop {
            let next = Instant::now() + self.config.heartbeat;
            let earliest = Instant::now() + self.config.refresh_gap();
            match self.observe().await {
                Ok(observation) => {
                    if std::mem::take(&mut failing) {
                        tracing::info!("the routes can be read again");
                    }
                    generation += 1;
                    self.warn_of_regress(&observation);
                    let gap = self.config.suspicion();
                    let silent = liveness.read(Instant::now(), gap, &observation.nodes);
                    let mut table =
                        RouteTable::new(generation, observation, silent, &mut self.highest);
                    self.read_bindings_version().await;
                    table.bindings = self.bindings;
                    self.advance_guided_through(table.observation.now);
                    gauges.note(&table);
                    self.sender.send_replace(Arc::new(table));
                }
                Err(why) => {
                    metrics::counter!("turnpike_front_route_failures_total").increment(1);
                    gauges.note_failure();
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%why, "the routes can't be read; the last ones stay in use");
                    }
                }
            }
            let wait = async {
                // A stale hint triggers an early read, but not before `earliest`.
                tokio::time::sleep_until(earliest).await;
                tokio::select! {
                    biased;
                    () = self.stale.notified() => {}
                    () = tokio::time::sleep_until(next) => {}
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = wait => {}
            }
        }
    }

    /// Reads the version of the bindings. While this fails, the last version ages, and cache
    /// entries made under it become unusable.
    async fn read_bindings_version(&mut self) {
        let asked_at = Some(Instant::now());
        let reading = self.db.bindings_mark();
        match tokio::time::timeout(self.config.suspicion(), reading).await {
            Ok(Ok(BindingsMark { version, guided_through })) => {
                // After a gap the database may have been restored, and have counted up to the same
                // version again.
                let last = self.bindings.asked_at;
                let is_gap = last.is_none_or(|at| at.elapsed() > self.config.suspicion());
                let is_other =
                    version != self.bindings.version || (is_gap && !off(Check::GapIsChange));
                let changes = self.bindings.changes + u64::from(is_other);
                self.bindings = BindingsSeen { version, guided_through, changes, asked_at };
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "the version of the bindings can't be read: fronts look up \
                    identities without their cache, and later not at all");
            }
            Err(_) => {
                tracing::warn!(
                    "the version of the bindings can't be read: the shared database does \
                    not respond"
                );
            }
        }
    }

    /// Advances the mark of look-ups once it is a minute old. A task of its own does so, because
    /// the database may answer late.
    fn advance_guided_through(&mut self, now: Timestamp) {
        let is_recent = now < self.bindings.guided_through.saturating_add(ADVANCE_AFTER_US);
        let is_under_way = self.advancing.as_ref().is_some_and(|task| !task.is_finished());
        if is_recent || is_under_way {
            return;
        }
        let (db, stale) = (Arc::clone(&self.db), Arc::clone(&self.stale));
        let within = self.config.answer_deadline();
        let is_late = now >= self.bindings.guided_through.saturating_add(2 * ADVANCE_AFTER_US);
        self.advancing = Some(tokio::spawn(async move {
            let why = match tokio::time::timeout(within, db.advance_guided_through()).await {
                // The watcher reads the new instant at once.
                Ok(Ok(true)) => return stale.notify_one(),
                // A change of bindings is in flight: the next read of the routes tries again.
                Ok(Ok(false)) if !is_late => return,
                Ok(Ok(false)) => "a change of bindings does not end".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "the shared database does not respond".to_owned(),
            };
            metrics::counter!("turnpike_front_mark_failures_total").increment(1);
            tracing::warn!(%why, "the mark of look-ups can't be advanced: batches with identities \
                are answered RETRY once it is 150 s old");
        }));
    }

    async fn observe(&self) -> Result<Observation, String> {
        match tokio::time::timeout(self.config.suspicion(), self.db.observe()).await {
            Ok(Ok(observation)) => Ok(observation),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the shared database does not respond".to_owned()),
        }
    }

    /// Epochs only grow. A lower epoch means that the database was rolled back to an older history
    /// (P18). Answers of its owners are dropped until a claim exceeds the highest epoch seen.
    fn warn_of_regress(&self, observation: &Observation) {
        let before = self.sender.borrow();
        for row in &observation.partitions {
            let id = row.spec.id;
            let old = before.route(id).map_or(Epoch::UNOWNED, |route| route.epoch);
            if row.epoch < old {
                tracing::error!(partition = %id, epoch = %row.epoch, before = %old,
                    "the database was rolled back to an older history; answers are dropped until \
                     epochs exceed the highest one seen; restart this front to accept them");
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
