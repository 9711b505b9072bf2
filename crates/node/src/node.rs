//! The node: writes heartbeats, observes, decides, and runs an owner for each partition that it
//! holds.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use turnpike_proto::dial::Dial;
use turnpike_store::{Observation, PartitionRow, Serving, SharedDatabase, StoreError};
use turnpike_tariff::{Catalogue, CodeCache};
use turnpike_types::{AccountRange, Incarnation, NodeName, PartitionId, SegmentNumber};

use crate::NodeConfig;
use crate::beat::{Beater, Served};
use crate::catalogue::{log_notices, refreshed};
use crate::gates::{Gate, Gates};
use crate::liveness::Liveness;
use crate::membership::{Decision, TakeoverCause, ThisNode, Vacancies};
use crate::owner::{DatabaseClock, LastDatabaseError, Outboxes, Queued, Request, Shared, Ticks};
use crate::peers::{Peers, Reach};
use crate::predecessor;
use crate::service::Service;
use crate::standby::Standby;
use crate::takeover::{OwnerExit, claim_all};

/// The most requests in one owner's queue.
const QUEUE_REQUESTS: usize = 1024;
/// The most partitions that load a checkpoint at the same time.
const LOADS_MAX: usize = 4;

mod health;
mod measure;
mod ownerships;

pub use health::NodeHealth;

/// Why a node can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The shared database refused an operation, or did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another process writes heartbeats under this name (P11).
    #[error(
        "another process runs as node {node}, at {address}: its heartbeat went on for {} ms while \
         this one waited. Give this process another name, or stop the other one first",
        watched.as_millis()
    )]
    NameInUse {
        /// The node's name.
        node: NodeName,
        /// The address at which fronts reach the other process.
        address: String,
        /// How long its heartbeat was watched.
        watched: Duration,
    },
}

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
        let catalogue = refreshed(&Catalogue::default(), db.as_ref()).await?;
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
        let (health_tx, state) = watch::channel(health::ObservedState::BEFORE);
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
            standbys: HashMap::new(),
            origin: Instant::now(),
            owners: HashMap::new(),
            gates: Arc::clone(&gates),
            served: Arc::clone(&served),
            reading: None,
            releasing: HashSet::new(),
            troubled: HashMap::new(),
            catalogue: catalogue_tx,
            ranges: ranges_tx,
            outboxes: outboxes_tx,
            seen: seen_tx,
            incarnation,
            shared,
            chance,
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
        let _ = (&mut self.running).await;
    }

    /// Finishes all requests that were taken, releases every partition, and stops.
    pub async fn shutdown(self) {
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
        .weigher(|_, segment: &Arc<turnpike_segment::Segment>| {
            u32::try_from(segment.bytes()).unwrap_or(u32::MAX)
        })
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

/// An owner task, and the sender of its queue.
struct Running {
    ownership: Serving,
    ticks: Arc<Ticks>,
    requests: mpsc::Sender<Queued>,
    began: Instant,
    task: JoinHandle<OwnerExit>,
}

/// A warm replica, and when a decision last asked for it.
struct Followed {
    standby: Standby,
    wanted: Instant,
}

/// The node's loop.
struct Runner {
    shared: Arc<Shared>,
    gates: Arc<Gates>,
    incarnation: Incarnation,
    served: Arc<Served>,
    /// The task that reads the catalogue, if one runs.
    reading: Option<JoinHandle<()>>,
    origin: Instant,
    owners: HashMap<PartitionId, Running>,
    standbys: HashMap<PartitionId, Followed>,
    /// Partitions whose owner was requested to release them.
    releasing: HashSet<PartitionId>,
    /// Partitions whose owners ended with errors: how many owners in a row, and when to claim
    /// again.
    troubled: HashMap<PartitionId, (u32, Instant)>,
    liveness: Liveness,
    peers: Peers,
    vacancies: Vacancies,
    catalogue: watch::Sender<Arc<Catalogue>>,
    ranges: watch::Sender<Arc<Vec<AccountRange>>>,
    outboxes: watch::Sender<Arc<Outboxes>>,
    seen: watch::Sender<Option<Arc<Observation>>>,
    chance: StdRng,
    /// When the gauges were last set.
    measured: Option<Instant>,
    health: watch::Sender<health::ObservedState>,
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
                    self.abandon();
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
        self.leave().await;
        // If the last heartbeat can't be written in time, the silence of this node is noticed
        // later.
        if tokio::time::timeout(goodbye, &mut beating).await.is_err() {
            beating.abort();
        }
    }

    /// One round: observe, decide, act.
    async fn round(&mut self) -> Result<(), StoreError> {
        self.reap().await;
        let seen = Arc::new(self.shared.db.observe().await?);
        let now = Instant::now();
        self.liveness.observe(&seen, now);
        self.liveness.suspect(&self.peers.reach().gone(), now);
        self.liveness.complain(self.peers.reach().unreachable(), self.gates.complaints(now));
        self.note_topology(&seen);
        self.note_catalogue(seen.catalogue_version);
        self.end_superseded(&seen);
        self.gates.set_quiet(
            seen.nodes.iter().map(|row| &row.beat.node).filter(|node| self.liveness.is_quiet(node)),
        );
        let decisions = self.decide(&seen, now);
        let mut claims = Vec::new();
        for decision in decisions {
            match decision {
                Decision::Claim { partition, seen: epoch, cause } => {
                    let waits =
                        self.troubled.get(&partition).is_some_and(|(_, until)| now < *until);
                    if !waits {
                        let owner = seen.partition(partition).and_then(|row| row.owner.as_ref());
                        if let (TakeoverCause::OwnerUnreachable, Some((owner, _))) = (cause, owner)
                        {
                            self.liveness.note_cut_off(owner.clone());
                        }
                        claims.extend(self.claim(&seen, partition, epoch, cause));
                    }
                }
                Decision::Release { partition, to } => self.release(partition, Some(to)),
                Decision::Follow { partition } => self.follow(&seen, partition, now),
            }
        }
        claim_all(Arc::clone(&self.shared.db), claims);
        self.forget_unwanted(now);
        self.note_metrics(&seen, now);
        self.note_health(&seen, now);
        Ok(())
    }

    /// Ends owners of partitions that other nodes have claimed. The fence never refuses an owner
    /// with nothing to append, and such an owner would keep this node from following the partition.
    fn end_superseded(&self, seen: &Observation) {
        for row in &seen.partitions {
            let Some(owner) = self.owners.get(&row.spec.id) else { continue };
            let Serving { epoch, claim, .. } = owner.ownership;
            // While this node's claim is in progress, the observed epoch is still the one before
            // it.
            if row.epoch > epoch || (row.epoch == epoch && row.claim != claim) {
                let request = Queued { request: Request::Superseded, _room: None };
                // An owner with a full queue appends soon, and the fence refuses that append.
                let _ = owner.requests.try_send(request);
            }
        }
    }

    fn decide(&mut self, seen: &Observation, now: Instant) -> Vec<Decision> {
        let name = &self.shared.config.name;
        let mine = seen.nodes.iter().find(|row| row.beat.node == *name);
        let draining = mine.is_some_and(|row| row.drain_asked);
        self.served.drain(draining);
        let busy: HashSet<PartitionId> = self.owners.keys().copied().collect();
        let is_warm = |row: &&PartitionRow| {
            let followed = self.standbys.get(&row.spec.id);
            let reached = followed.and_then(|followed| followed.standby.reached());
            reached.is_some_and(|copy| self.liveness.is_near(row.spec.id, copy.segment))
        };
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

    /// Keeps a warm replica of the partition, up to the observed end of its log.
    fn follow(&mut self, seen: &Observation, partition: PartitionId, now: Instant) {
        let Some(row) = seen.partition(partition) else { return };
        // A claim of this round has taken the replica over.
        if self.owners.contains_key(&partition) {
            return;
        }
        let followed = self.standbys.entry(partition).or_insert_with(|| Followed {
            standby: Standby::start(&self.shared, partition, row.next, None),
            wanted: now,
        });
        followed.wanted = now;
        followed.standby.follow(row.next);
        let ours = row.owner.as_ref().is_some_and(|(_, process)| *process == self.incarnation);
        self.gates.set_warm(partition, true, !ours);
    }

    /// Drops replicas that no decision has asked for within the stability time. Without the delay,
    /// a member that fails and returns repeatedly would make others load again and again.
    fn forget_unwanted(&mut self, now: Instant) {
        let kept = self.shared.config.stability();
        let gates = &self.gates;
        self.standbys.retain(|&partition, followed| {
            let stays = now - followed.wanted < kept;
            if !stays {
                gates.set_warm(partition, false, true);
            }
            stays
        });
        let reached = self.standbys.values().filter_map(|followed| followed.standby.reached());
        self.served.follow(reached.collect());
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

    /// Ends all owners at once, since another process has taken over this node's name.
    fn abandon(&mut self) {
        for (&partition, owner) in &self.owners {
            self.gates.set(partition, Gate::Shut);
            self.served.remove(partition);
            owner.task.abort();
        }
        self.gates.end_watches();
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
