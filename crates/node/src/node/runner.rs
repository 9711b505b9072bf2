//! The node: writes heartbeats, observes, decides, and runs an owner for each partition that it
//! holds.

use std::sync::{Arc, Mutex};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use turnpike_proto::dial::Dial;
use turnpike_store::{Observation, PartitionRow, SharedDatabase, StoreError};
use turnpike_tariff::{Catalogue, CodeCache};
use turnpike_types::{AccountRange, Incarnation, SegmentNumber, capped};

use super::health::{NodeHealth, ObservedState};
use super::measure;
use super::ownerships::Ownerships;
use crate::NodeConfig;
use crate::catalogue::{kept_from, log_notices, refreshed};
use crate::membership::{
    Beater, Decision, Liveness, Peers, Reach, Served, StartError, TakeoverCause, ThisNode,
    Vacancies, predecessor,
};
use crate::serving::{Gates, Service};
use crate::shared::{DatabaseClock, LastDatabaseError, Outboxes, Shared};
use crate::takeover::claim_all;

/// The most partitions that load a checkpoint at the same time.
const LOADS_MAX: usize = 4;

/// A running rating node.
pub struct Node {
    gates: Arc<Gates>,
    health: NodeHealth,
    stop: watch::Sender<bool>,
    running: JoinHandle<()>,
}

impl Node {
    /// Joins the cluster: waits for the end of an earlier process of this name, reads the
    /// catalogue, writes a first heartbeat, and starts the loop that decides. Other nodes are
    /// reached through `dial`.
    ///
    /// # Errors
    /// [`StartError`] when the database does not answer, or another process runs under the name.
    pub async fn start(
        config: NodeConfig,
        db: Arc<dyn SharedDatabase>,
        dial: Dial,
    ) -> Result<Self, StartError> {
        measure::begin_counters();
        let mut chance = StdRng::seed_from_u64(config.seed);
        let incarnation = Incarnation(chance.random());
        predecessor::wait_for_end(&config, db.as_ref(), &dial).await?;
        let mut catalogue = Catalogue::default();
        if let Some(date) = kept_from(&db.observe().await?) {
            catalogue.keep_from(date);
        }
        let catalogue = refreshed(&catalogue, db.as_ref()).await?;
        let (catalogue_tx, catalogue_rx) = watch::channel(Arc::new(catalogue));
        let (ranges_tx, ranges_rx) = watch::channel(Arc::new(Vec::new()));
        let (outboxes_tx, outboxes_rx) = watch::channel(Arc::default());
        let (seen_tx, seen_rx) = watch::channel(None);
        let watched = Watched { catalogue: catalogue_rx, ranges: ranges_rx, outboxes: outboxes_rx };
        let shared = Arc::new(shared(&config, db, watched));
        let wake = Arc::new(Notify::new());
        let reach = Reach::default();
        let gates = Arc::new(Gates::new(
            Arc::clone(&shared),
            incarnation,
            seen_rx,
            Arc::clone(&wake),
            dial.clone(),
            reach.clone(),
        ));
        let (stop, stopped) = watch::channel(false);
        let (health_tx, state) = watch::channel(ObservedState::BEFORE);
        // One observation may take as long as the suspicion time.
        let stale_after = config.suspicion() * 2;
        let health = NodeHealth { node: config.name.clone(), state, stale_after };
        let served = Arc::new(Served::default());
        let mut beater = Beater {
            shared: Arc::clone(&shared),
            incarnation,
            served: Arc::clone(&served),
            counter: 0,
            superseded: watch::channel(false).0,
        };
        beater.beat(false).await?;
        let runner = Runner {
            vacancies: Vacancies::default(),
            liveness: Liveness::new(&config),
            peers: Peers::new(dial, config.name.clone(), config.heartbeat, wake, reach),
            ownerships: Ownerships::new(&shared, &gates, &served, incarnation, chance),
            gates: Arc::clone(&gates),
            served: Arc::clone(&served),
            reading: None,
            catalogue: catalogue_tx,
            ranges: ranges_tx,
            outboxes: outboxes_tx,
            seen: seen_tx,
            incarnation,
            shared,
            measured: None,
            health: health_tx,
        };
        let running = tokio::spawn(runner.run(stopped, beater));
        Ok(Self { gates, health, stop, running })
    }

    /// The gRPC service for fronts.
    pub fn service(
        &self,
    ) -> turnpike_proto::node::v1::node_service_server::NodeServiceServer<Service> {
        Service::server(Arc::clone(&self.gates))
    }

    /// A handle that reports whether the node is ready. It stays valid after the node has ended.
    pub fn health(&self) -> NodeHealth {
        self.health.clone()
    }

    /// Waits until the node stops by itself, which happens when another process takes over its
    /// name.
    pub async fn stopped(&mut self) {
        // The end of the task is the answer, also if it panicked.
        let _ = (&mut self.running).await;
    }

    /// Finishes all requests that were taken, releases every partition, and stops.
    pub async fn shutdown(self) {
        // If the loop has ended already, there is nothing to stop and nothing to wait for.
        let _ = self.stop.send(true);
        let _ = self.running.await;
    }
}

/// The data that the node's loop publishes to its owners.
struct Watched {
    catalogue: watch::Receiver<Arc<Catalogue>>,
    ranges: watch::Receiver<Arc<Vec<AccountRange>>>,
    outboxes: watch::Receiver<Arc<Outboxes>>,
}

fn shared(config: &NodeConfig, db: Arc<dyn SharedDatabase>, watched: Watched) -> Shared {
    let segments = moka::sync::Cache::builder()
        .max_capacity(config.segment_cache_bytes)
        .weigher(|_, segment: &Arc<turnpike_segment::Segment>| capped(segment.bytes()))
        .build();
    let Watched { catalogue, ranges, outboxes } = watched;
    Shared {
        codes: CodeCache::new(config.object_codes_max, log_notices()),
        config: config.clone(),
        db,
        catalogue,
        ranges,
        outboxes,
        segments,
        clock: DatabaseClock::default(),
        fresh_at: Mutex::new(Instant::now()),
        database_error: LastDatabaseError::default(),
        loads: Semaphore::new(LOADS_MAX),
    }
}

/// The node's loop.
struct Runner {
    shared: Arc<Shared>,
    gates: Arc<Gates>,
    incarnation: Incarnation,
    served: Arc<Served>,
    /// The task that reads the catalogue, if one runs.
    reading: Option<JoinHandle<()>>,
    ownerships: Ownerships,
    liveness: Liveness,
    peers: Peers,
    vacancies: Vacancies,
    catalogue: watch::Sender<Arc<Catalogue>>,
    ranges: watch::Sender<Arc<Vec<AccountRange>>>,
    outboxes: watch::Sender<Arc<Outboxes>>,
    seen: watch::Sender<Option<Arc<Observation>>>,
    /// When the gauges were last set.
    measured: Option<Instant>,
    health: watch::Sender<ObservedState>,
}

impl Runner {
    async fn run(mut self, mut stop: watch::Receiver<bool>, mut beater: Beater) {
        let (superseded, mut taken) = watch::channel(false);
        beater.superseded = superseded;
        let mut beating = tokio::spawn(beater.run());
        let mut rounds = tokio::time::interval(self.shared.config.heartbeat);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut last = Instant::now();
        let mut suspicion = None;
        loop {
            tokio::select! {
                _ = rounds.tick() => {}
                () = tokio::time::sleep_until(suspicion.unwrap_or(last)), if suspicion.is_some() => {}
                () = self.gates.wake.notified() => {
                    tokio::time::sleep_until(last + self.shared.config.round_gap()).await;
                }
                _ = taken.changed() => {
                    // The newer process has the name (P11). This process owns nothing any more.
                    self.note_stopped();
                    self.ownerships.abandon();
                    return;
                }
                changed = stop.changed() => {
                    if changed.is_err() || *stop.borrow() {
                        break;
                    }
                }
            }
            last = Instant::now();
            if let Err(error) = self.round().await {
                self.shared.database_error.set(Some(error.to_string()));
                tracing::warn!(%error, "the shared database could not be observed");
                // Silence counts between successful reads only (P10).
                suspicion = None;
                continue;
            }
            let heartbeat = self.shared.config.heartbeat;
            let left = self.liveness.next_suspicion(heartbeat);
            suspicion = left.map(|left| Instant::now() + left.max(self.shared.config.round_gap()));
        }
        let goodbye = self.shared.config.suspicion();
        self.note_stopped();
        let seen = self.seen.borrow().clone();
        self.ownerships.leave(seen.as_deref(), &self.liveness).await;
        // If the last heartbeat can't be written in time, the silence of this node is noticed
        // later.
        if tokio::time::timeout(goodbye, &mut beating).await.is_err() {
            beating.abort();
        }
    }

    /// One round: observe, decide, act.
    async fn round(&mut self) -> Result<(), StoreError> {
        let last = self.seen.borrow().clone();
        self.ownerships.reap(last.as_deref(), &self.liveness).await;
        let seen = Arc::new(self.shared.db.observe().await?);
        let now = Instant::now();
        self.liveness.observe(&seen, now);
        self.liveness.suspect(&self.peers.reach().gone(), now);
        self.liveness.complain(self.peers.reach().unreachable(), self.gates.complaints(now));
        self.note_topology(&seen);
        self.note_catalogue(seen.catalogue_version);
        self.release_tables(&seen);
        self.ownerships.end_superseded(&seen);
        self.gates.set_quiet(
            seen.nodes.iter().map(|row| &row.beat.node).filter(|node| self.liveness.is_quiet(node)),
        );
        let decisions = self.decide(&seen, now);
        let mut claims = Vec::new();
        for decision in decisions {
            match decision {
                Decision::Claim { partition, seen: epoch, cause } => {
                    if !self.ownerships.waits_to_claim(partition, now) {
                        let owner = seen.partition(partition).and_then(|row| row.owner.as_ref());
                        if let (TakeoverCause::OwnerUnreachable, Some((owner, _))) = (cause, owner)
                        {
                            self.liveness.note_cut_off(owner.clone());
                        }
                        let silent = self.liveness.silence(partition);
                        claims.extend(self.ownerships.claim(
                            &seen,
                            (partition, epoch),
                            cause,
                            silent,
                        ));
                    }
                }
                Decision::Release { partition, to } => {
                    self.ownerships.release(partition, Some(to));
                }
                Decision::Follow { partition } => self.ownerships.follow(&seen, partition, now),
            }
        }
        claim_all(Arc::clone(&self.shared.db), claims);
        self.ownerships.forget_unwanted(now);
        self.note_gauges(&seen, now);
        let numbers = self.ownerships.numbers(&self.liveness);
        self.health.send_replace(ObservedState::of(&self.shared.config.name, &seen, numbers, now));
        Ok(())
    }

    fn decide(&mut self, seen: &Observation, now: Instant) -> Vec<Decision> {
        let name = &self.shared.config.name;
        let mine = seen.nodes.iter().find(|row| row.beat.node == *name);
        let draining = mine.is_some_and(|row| row.drain_asked);
        self.served.drain(draining);
        let busy = self.ownerships.partitions().collect();
        let is_warm = |row: &&PartitionRow| self.ownerships.is_warm(row.spec.id, &self.liveness);
        let warm = seen.partitions.iter().filter(is_warm).map(|row| row.spec.id).collect();
        let me = ThisNode {
            node: name,
            incarnation: self.incarnation,
            draining,
            busy: &busy,
            warm: &warm,
        };
        self.vacancies.decide(&self.shared.config, &me, seen, &self.liveness, now)
    }

    /// Sets the gauges once per suspicion time: once a second at the default heartbeat.
    fn note_gauges(&mut self, seen: &Observation, now: Instant) {
        let pause = self.shared.config.suspicion();
        if self.measured.is_some_and(|measured| now - measured < pause) {
            return;
        }
        self.measured = Some(now);
        let catalogue_version = self.catalogue.borrow().version();
        measure::note(&self.ownerships, seen, catalogue_version);
    }

    /// From now on the node is not ready: it is stopping, or another process has its name.
    fn note_stopped(&self) {
        self.health.send_modify(ObservedState::stop);
    }

    /// Reads new catalogue entries in a background task, so that rounds continue meanwhile.
    fn note_catalogue(&mut self, version: u64) {
        let known = Arc::clone(&self.catalogue.borrow());
        let reading = self.reading.as_ref().is_some_and(|reading| !reading.is_finished());
        if version <= known.version() || reading {
            return;
        }
        let (shared, catalogue) = (Arc::clone(&self.shared), self.catalogue.clone());
        self.reading = Some(tokio::spawn(async move {
            match refreshed(&known, shared.db.as_ref()).await {
                Ok(fresh) => drop(catalogue.send_replace(Arc::new(fresh))),
                Err(error) => tracing::warn!(%error, "the catalogue could not be read"),
            }
        }));
    }

    /// Once a day, releases the tables that no plan reads any more within the acceptance horizon.
    fn release_tables(&self, seen: &Observation) {
        let is_reading = self.reading.as_ref().is_some_and(|reading| !reading.is_finished());
        let known = self.catalogue.borrow().kept_from();
        let Some(date) = kept_from(seen).filter(|date| known.is_none_or(|known| *date > known))
        else {
            return;
        };
        if is_reading {
            return;
        }
        let mut catalogue = Catalogue::clone(&self.catalogue.borrow());
        if catalogue.keep_from(date) {
            tracing::info!(%date, "tables that no plan reads from this date on were released");
        }
        self.catalogue.send_replace(Arc::new(catalogue));
    }

    fn note_topology(&mut self, seen: &Arc<Observation>) {
        let name = &self.shared.config.name;
        let members = seen.partitions.iter().map(|row| &row.spec.members);
        let shared = members.filter(|members| members.iter().any(|member| member.node == *name));
        let partners = shared.flatten().map(|member| &member.node).collect();
        self.peers.watch(&seen.nodes, &partners);
        let ranges: Vec<AccountRange> = seen.partitions.iter().map(|row| row.spec.range).collect();
        self.ranges.send_if_modified(|known| {
            let changed = **known != ranges;
            if changed {
                *known = Arc::new(ranges);
            }
            changed
        });
        // Each owner searches this list, so partitions that never posted anything are left out.
        let senders = seen.partitions.iter().filter(|row| row.last_posting > SegmentNumber(0));
        let newest = senders.map(|row| (row.spec.id, row.last_posting));
        self.outboxes.send_if_modified(|known| {
            let changed = !newest.clone().eq(known.iter().copied());
            if changed {
                *known = Arc::new(newest.collect());
            }
            changed
        });
        self.seen.send_replace(Some(Arc::clone(seen)));
    }
}
