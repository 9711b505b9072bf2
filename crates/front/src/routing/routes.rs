//! The routing table: read from the shared database in each heartbeat interval, and immutable.
//!
//! Two things outlive a table: the highest epoch seen of each partition (P17), and for how long the
//! heartbeat counter of each node has not advanced (P10).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use turnpike_mutants::{Check, off};
use turnpike_store::{BindingsMark, NodeRow, Observation, PartitionRow, SharedDatabase};
use turnpike_types::limits::GUIDED_MAX_US;
use turnpike_types::{AccountNumber, Epoch, Incarnation, NodeName, PartitionId, Timestamp};
use xxhash_rust::xxh3::xxh3_64;

use crate::FrontConfig;
use crate::gauges::ClusterGauges;

/// The age in microseconds, by the database's clock, at which the front advances the mark of
/// look-ups ([`BindingsMark::guided_through`]).
const ADVANCE_AFTER_US: i64 = 60 * 1_000_000;

/// The routing table of one read of the database.
#[derive(Debug)]
pub(crate) struct RouteTable {
    /// The number of the read; 0 before the first.
    pub(crate) generation: u64,
    /// When it was read.
    pub(crate) read_at: Instant,
    /// The rows as they were read, with partitions sorted by id.
    pub(crate) observation: Observation,
    /// For how long the counter of each of `observation.nodes` has not advanced.
    pub(crate) silent: Vec<Duration>,
    bindings: BindingsSeen,
    /// One route for each of `observation.partitions`, in the same order.
    routes: Vec<Route>,
    /// Sorted by first account: first, last, index into `routes`.
    ranges: Vec<(u64, u64, usize)>,
}

/// The version of the bindings as it was last read.
#[derive(Clone, Copy, Debug, Default)]
struct BindingsSeen {
    version: u64,
    /// The mark of look-ups: `version` includes every change of bindings that was recorded before
    /// this instant ([`turnpike_store::BindingsMark`]).
    guided_through: Timestamp,
    /// How many times the version differed from that of the read before, or may have changed unseen
    /// because that read was too long ago.
    changes: u64,
    /// When the read began; `None` before the first read.
    asked_at: Option<Instant>,
}

/// The address and epoch of a partition's owner.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) partition: PartitionId,
    pub(crate) epoch: Epoch,
    /// The owner's address; `None` before the first claim, and when the process that claimed the
    /// partition is known to have been replaced (P11).
    pub(crate) address: Option<String>,
    highest: HighestEpoch,
}

/// The highest epoch seen of a partition, shared by all tables.
#[derive(Clone, Debug, Default)]
pub(crate) struct HighestEpoch(Arc<AtomicU64>);

impl HighestEpoch {
    /// Whether an answer under `epoch` is valid (P17). Raises the highest epoch seen to `epoch`.
    pub(crate) fn admits(&self, epoch: u64) -> bool {
        self.0.fetch_max(epoch, Ordering::AcqRel) <= epoch || off(Check::EpochFloor)
    }
}

impl Route {
    /// Whether an answer under `epoch` is valid (P17).
    pub(crate) fn admits(&self, epoch: u64) -> bool {
        self.highest.admits(epoch)
    }
}

impl RouteTable {
    /// The mark of look-ups (P28). Look-ups that begin after this table was read are valid for
    /// records that start no later than the sum of this instant, [`GUIDED_MAX_US`], and
    /// [`turnpike_types::limits::AHEAD_MAX_US`].
    pub(crate) const fn guided_through(&self) -> Timestamp {
        self.bindings.guided_through
    }

    /// Whether look-ups with this table are valid for records that start now.
    fn covers_present_records(&self) -> bool {
        let covered = self.bindings.guided_through.saturating_add(GUIDED_MAX_US / 2);
        self.generation > 0 && (self.observation.now <= covered || off(Check::RecentMark))
    }

    /// The age of the mark of look-ups by the clock of the database; zero before the mark was read.
    pub(crate) fn mark_age(&self) -> Duration {
        if self.bindings.asked_at.is_none() {
            return Duration::ZERO;
        }
        let age = self.observation.now.micros().saturating_sub(self.guided_through().micros());
        Duration::from_micros(u64::try_from(age).unwrap_or(0))
    }

    fn empty() -> Self {
        let observation = Observation {
            nodes: Vec::new(),
            partitions: Vec::new(),
            catalogue_version: 0,
            now: turnpike_types::Timestamp(0),
        };
        Self {
            generation: 0,
            read_at: Instant::now(),
            observation,
            silent: Vec::new(),
            bindings: BindingsSeen::default(),
            routes: Vec::new(),
            ranges: Vec::new(),
        }
    }

    /// Builds a table from `observation`. `highest` carries over the epochs seen before.
    pub(crate) fn new(
        generation: u64,
        mut observation: Observation,
        silent: Vec<Duration>,
        highest: &mut BTreeMap<PartitionId, HighestEpoch>,
    ) -> Self {
        observation.partitions.sort_by_key(|row| row.spec.id);
        let routes: Vec<Route> = observation
            .partitions
            .iter()
            .map(|row| {
                let highest = highest.entry(row.spec.id).or_default().clone();
                // An epoch in the database raises the highest epoch seen, as an answer does.
                highest.admits(row.epoch.number());
                Route {
                    partition: row.spec.id,
                    epoch: row.epoch,
                    address: address_of_owner(row, &observation.nodes),
                    highest,
                }
            })
            .collect();
        let mut ranges: Vec<(u64, u64, usize)> = observation
            .partitions
            .iter()
            .enumerate()
            .map(|(slot, row)| (row.spec.range.first().0, row.spec.range.last().0, slot))
            .collect();
        ranges.sort_unstable();
        let bindings = BindingsSeen::default();
        let read_at = Instant::now();
        Self { generation, read_at, observation, silent, bindings, routes, ranges }
    }

    /// The number of partitions.
    pub(crate) fn len(&self) -> usize {
        self.routes.len()
    }

    /// The slot of the partition that covers `account`. A slot is an index into the partitions
    /// sorted by id.
    pub(crate) fn slot_of(&self, account: AccountNumber) -> Option<usize> {
        self.range_of(account).map(|(_, _, slot)| slot)
    }

    /// The range (first, last, slot) that covers `account`.
    pub(crate) fn range_of(&self, account: AccountNumber) -> Option<(u64, u64, usize)> {
        let after = self.ranges.partition_point(|(first, _, _)| *first <= account.0);
        let range = *self.ranges.get(after.checked_sub(1)?)?;
        (account.0 <= range.1).then_some(range)
    }

    /// The slot of the home partition of an identity (P28).
    pub(crate) fn home_of_identity(&self, identity: &str) -> Option<usize> {
        self.home(identity.as_bytes())
    }

    /// The slot of the home partition of an account that no partition covers (P35).
    pub(crate) fn home_of_account(&self, account: AccountNumber) -> Option<usize> {
        self.home(&account.0.to_le_bytes())
    }

    fn home(&self, key: &[u8]) -> Option<usize> {
        let slot = xxh3_64(key).checked_rem(self.routes.len() as u64)?;
        usize::try_from(slot).ok()
    }

    /// The route in `slot`.
    pub(crate) fn at(&self, slot: usize) -> Option<&Route> {
        self.routes.get(slot)
    }

    /// The route of `partition`.
    pub(crate) fn route(&self, partition: PartitionId) -> Option<&Route> {
        let slot = self.routes.binary_search_by_key(&partition, |route| route.partition).ok()?;
        self.routes.get(slot)
    }

    /// Another member to send to when the addresses in `tried` could not be reached (P16): of the
    /// members with a warm replica and a live heartbeat, the one with the highest priority.
    pub(crate) fn stand_in(
        &self,
        partition: PartitionId,
        tried: &[String],
        suspicion: Duration,
    ) -> Option<String> {
        let rows = &self.observation.partitions;
        let slot = rows.binary_search_by_key(&partition, |row| row.spec.id).ok()?;
        let members = &rows.get(slot)?.spec.members;
        let warm = members.iter().filter_map(|member| {
            let mut beats = self.observation.nodes.iter().map(|row| &row.beat).zip(&self.silent);
            let (beat, silent) = beats.find(|(beat, _)| beat.node == member.node)?;
            let is_warm = beat.replica_of(partition).is_some();
            let may_be_there = *silent < suspicion && !tried.contains(&beat.address);
            (is_warm && may_be_there).then_some((member.priority, &beat.address))
        });
        warm.max().map(|(_, address)| address.clone())
    }

    /// The epoch to complain about when the addresses in `tried` could not be reached; `None`
    /// unless the owner's address is one of them.
    pub(crate) fn complaint(&self, partition: PartitionId, tried: &[String]) -> Option<u64> {
        let route = self.route(partition)?;
        let address = route.address.as_ref()?;
        tried.contains(address).then(|| route.epoch.number())
    }

    /// All routes, sorted by partition.
    pub(crate) fn routes(&self) -> &[Route] {
        &self.routes
    }
}

fn address_of_owner(row: &PartitionRow, nodes: &[NodeRow]) -> Option<String> {
    let (owner, incarnation) = row.owner.as_ref()?;
    let node = nodes.iter().find(|node| node.beat.node == *owner)?;
    (node.beat.incarnation == *incarnation).then(|| node.beat.address.clone())
}

/// For how long heartbeat counters have not advanced, measured on the reader's own clock.
#[derive(Debug, Default)]
pub(crate) struct HeartbeatAges {
    last_read: Option<Instant>,
    nodes: BTreeMap<NodeName, Beat>,
}

#[derive(Clone, Copy, Debug)]
struct Beat {
    incarnation: Incarnation,
    counter: u64,
    silent: Duration,
}

impl HeartbeatAges {
    /// Records a successful read. Returns the silence of each node, in the order of `rows`.
    ///
    /// Silence grows only from one successful read to the next. A gap of `gap` or more means that
    /// the reader or the database was stopped, and every silence starts again at zero (P10).
    pub(crate) fn read(&mut self, now: Instant, gap: Duration, rows: &[NodeRow]) -> Vec<Duration> {
        let since = self.last_read.map_or(Duration::ZERO, |last| now.duration_since(last));
        self.last_read = Some(now);
        let mut seen = BTreeMap::new();
        let mut silences = Vec::with_capacity(rows.len());
        for row in rows {
            let (incarnation, counter) = (row.beat.incarnation, row.beat.counter);
            let silent = match self.nodes.get(&row.beat.node) {
                Some(old)
                    if (old.incarnation, old.counter) == (incarnation, counter) && since < gap =>
                {
                    old.silent.saturating_add(since)
                }
                _ => Duration::ZERO,
            };
            seen.insert(row.beat.node.clone(), Beat { incarnation, counter, silent });
            silences.push(silent);
        }
        self.nodes = seen;
        silences
    }
}

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
    /// The task that advances the mark of look-ups, if one runs.
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
