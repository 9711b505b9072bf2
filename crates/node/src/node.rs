//! The node: beats, observes, decides, and runs an owner for each partition that it holds.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use turnpike_store::{Claim, Observation, Serving, SharedDatabase, StoreError};
use turnpike_types::{AccountRange, ClaimId, Epoch, Incarnation, NodeName, PartitionId};

use crate::NodeConfig;
use crate::beat::{Beater, Served};
use crate::catalogue::{Catalogue, CodeCache};
use crate::liveness::Liveness;
use crate::membership::{Cause, Decision, Me, Vacancies};
use crate::owner::{
    DatabaseClock, Ended, Outboxes, Owner, Ownership, Queued, Request, Shared, Ticks, Trouble,
};
use crate::service::Service;

/// Requests that wait for one owner.
const QUEUE_REQUESTS: usize = 1024;

/// Why a node can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The shared database said no, or nothing.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How requests reach an owner.
pub(crate) type Door = mpsc::Sender<Queued>;

/// What the service needs of the node.
pub(crate) struct Doors {
    pub(crate) config: NodeConfig,
    pub(crate) room: Arc<Semaphore>,
    pub(crate) shared: Arc<Shared>,
    open: Mutex<HashMap<PartitionId, Door>>,
    seen: watch::Receiver<Option<Arc<Observation>>>,
}

impl Doors {
    /// The owner of `partition` in this process.
    pub(crate) fn door(&self, partition: PartitionId) -> Option<Door> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).get(&partition).cloned()
    }

    /// Where the owner of `partition` is, as last observed; empty when that is not known.
    pub(crate) fn owner_address(&self, partition: PartitionId) -> String {
        let seen = self.seen.borrow();
        let address = seen.as_ref().and_then(|seen| {
            let row = seen.partitions.iter().find(|row| row.spec.id == partition)?;
            let owner = row.released_to.as_ref().or(row.owner.as_ref().map(|(owner, _)| owner))?;
            let node = seen.nodes.iter().find(|node| &node.beat.node == owner)?;
            (owner != &self.config.name).then(|| node.beat.address.clone())
        });
        address.unwrap_or_default()
    }

    fn set(&self, partition: PartitionId, door: Option<Door>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        match door {
            Some(door) => open.insert(partition, door),
            None => open.remove(&partition),
        };
    }
}

/// A rating node, running.
pub struct Node {
    doors: Arc<Doors>,
    stop: watch::Sender<bool>,
    running: JoinHandle<()>,
}

impl Node {
    /// Joins the cluster: writes a first heartbeat, reads the catalogue, and begins to decide.
    ///
    /// # Errors
    /// [`StartError`] when the database does not answer, or another process has the node's name.
    pub async fn start(
        config: NodeConfig,
        db: Arc<dyn SharedDatabase>,
    ) -> Result<Self, StartError> {
        let mut chance = StdRng::seed_from_u64(config.seed);
        let incarnation = Incarnation(chance.random());
        let catalogue = Catalogue::default().refreshed(db.as_ref()).await?;
        let (catalogue_tx, catalogue_rx) = watch::channel(Arc::new(catalogue));
        let (ranges_tx, ranges_rx) = watch::channel(Arc::new(Vec::new()));
        let (outboxes_tx, outboxes_rx) = watch::channel(Arc::default());
        let (seen_tx, seen_rx) = watch::channel(None);
        let segments = moka::sync::Cache::builder()
            .max_capacity(config.segment_cache_bytes)
            .weigher(|_, segment: &Arc<turnpike_segment::Segment>| {
                u32::try_from(segment.bytes()).unwrap_or(u32::MAX)
            })
            .build();
        let shared = Arc::new(Shared {
            codes: CodeCache::new(config.object_codes_max),
            config: config.clone(),
            db,
            catalogue: catalogue_rx,
            ranges: ranges_rx,
            outboxes: outboxes_rx,
            segments,
            clock: DatabaseClock::default(),
            fresh_at: Mutex::new(Instant::now()),
            trouble: Trouble::default(),
        });
        let doors = Arc::new(Doors {
            room: Arc::new(Semaphore::new(config.queue_bytes_max)),
            shared: Arc::clone(&shared),
            open: Mutex::new(HashMap::new()),
            seen: seen_rx,
            config: config.clone(),
        });
        let (stop, stopped) = watch::channel(false);
        let served = Arc::new(Served::default());
        let mut beater = Beater {
            shared: Arc::clone(&shared),
            incarnation,
            served: Arc::clone(&served),
            counter: 0,
            superseded: watch::channel(false).0,
        };
        beater.beat().await?;
        let runner = Runner {
            vacancies: Vacancies::default(),
            liveness: Liveness::new(&config),
            origin: Instant::now(),
            owners: HashMap::new(),
            doors: Arc::clone(&doors),
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
        };
        let running = tokio::spawn(runner.run(stopped, beater));
        Ok(Self { doors, stop, running })
    }

    /// The gRPC service for fronts.
    pub fn service(
        &self,
    ) -> turnpike_proto::node::v1::node_service_server::NodeServiceServer<Service> {
        Service::server(Arc::clone(&self.doors))
    }

    /// Waits until the node stops by itself, which it does when another process takes its name.
    pub async fn stopped(&mut self) {
        let _ = (&mut self.running).await;
    }

    /// Gives every partition up, finishing what was taken, and stops.
    pub async fn shutdown(self) {
        let _ = self.stop.send(true);
        let _ = self.running.await;
    }
}

/// An owner task and how it is reached.
struct Running {
    ownership: Serving,
    ticks: Arc<Ticks>,
    requests: mpsc::Sender<Queued>,
    began: Instant,
    task: JoinHandle<Ended>,
}

/// The node's loop.
struct Runner {
    shared: Arc<Shared>,
    doors: Arc<Doors>,
    incarnation: Incarnation,
    served: Arc<Served>,
    /// The catalogue is being read.
    reading: Option<JoinHandle<()>>,
    origin: Instant,
    owners: HashMap<PartitionId, Running>,
    /// Partitions whose owner was told to give them up.
    releasing: HashSet<PartitionId>,
    /// Partitions that were lost to trouble: how often in a row, and when to try again.
    troubled: HashMap<PartitionId, (u32, Instant)>,
    liveness: Liveness,
    vacancies: Vacancies,
    catalogue: watch::Sender<Arc<Catalogue>>,
    ranges: watch::Sender<Arc<Vec<AccountRange>>>,
    outboxes: watch::Sender<Arc<Outboxes>>,
    seen: watch::Sender<Option<Arc<Observation>>>,
    chance: StdRng,
}

impl Runner {
    async fn run(mut self, mut stop: watch::Receiver<bool>, mut beater: Beater) {
        let (superseded, mut taken) = watch::channel(false);
        beater.superseded = superseded;
        let beating = tokio::spawn(beater.run());
        let mut rounds = tokio::time::interval(self.shared.config.heartbeat);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = rounds.tick() => {}
                _ = taken.changed() => {
                    // We are the old one (P11), and own nothing.
                    self.abandon();
                    return;
                }
                changed = stop.changed() => {
                    if changed.is_err() || *stop.borrow() {
                        break;
                    }
                }
            }
            if let Err(error) = self.round().await {
                self.shared.trouble.set(Some(error.to_string()));
                tracing::warn!(%error, "the shared database could not be asked");
            }
        }
        self.leave().await;
        beating.abort();
    }

    /// One round: observe, decide.
    async fn round(&mut self) -> Result<(), StoreError> {
        self.reap().await;
        let seen = Arc::new(self.shared.db.observe().await?);
        let now = Instant::now();
        self.liveness.observe(&seen, now);
        self.note_topology(&seen);
        self.note_catalogue(seen.catalogue_version);
        self.note_metrics();
        let busy: HashSet<PartitionId> = self.owners.keys().copied().collect();
        let me = Me {
            node: &self.shared.config.name,
            incarnation: self.incarnation,
            draining: false,
            busy: &busy,
        };
        let decisions = self.vacancies.decide(&self.shared.config, &me, &seen, &self.liveness, now);
        for decision in decisions {
            match decision {
                Decision::Claim { partition, seen: epoch, cause } => {
                    let waits =
                        self.troubled.get(&partition).is_some_and(|(_, until)| now < *until);
                    if !waits {
                        self.claim(&seen, partition, epoch, cause);
                    }
                }
                Decision::Release { partition, to } => self.release(partition, Some(to)),
            }
        }
        Ok(())
    }

    /// Reads what was published, in the background: the rounds go on meanwhile.
    fn note_catalogue(&mut self, version: u64) {
        let known = Arc::clone(&self.catalogue.borrow());
        let reading = self.reading.as_ref().is_some_and(|reading| !reading.is_finished());
        if version <= known.version || reading {
            return;
        }
        let (shared, catalogue) = (Arc::clone(&self.shared), self.catalogue.clone());
        self.reading = Some(tokio::spawn(async move {
            match known.refreshed(shared.db.as_ref()).await {
                Ok(fresh) => drop(catalogue.send_replace(Arc::new(fresh))),
                Err(error) => tracing::warn!(%error, "the catalogue could not be read"),
            }
        }));
    }

    /// Lets go of everything at once: another process has our name.
    fn abandon(&mut self) {
        for (&partition, owner) in &self.owners {
            self.doors.set(partition, None);
            self.served.remove(partition);
            owner.task.abort();
        }
    }

    fn note_topology(&self, seen: &Arc<Observation>) {
        let ranges: Vec<AccountRange> = seen.partitions.iter().map(|row| row.spec.range).collect();
        self.ranges.send_if_modified(|known| {
            let changed = **known != ranges;
            if changed {
                *known = Arc::new(ranges);
            }
            changed
        });
        let newest = seen.partitions.iter().map(|row| (row.spec.id, row.last_posting));
        self.outboxes.send_if_modified(|known| {
            let changed = !newest.clone().eq(known.iter().copied());
            if changed {
                *known = Arc::new(newest.collect());
            }
            changed
        });
        self.seen.send_replace(Some(Arc::clone(seen)));
    }

    fn note_metrics(&self) {
        metrics::gauge!("turnpike_partitions_owned").set(self.owners.len() as f64);
        for owner in self.owners.values() {
            let partition = owner.ownership.partition.to_string();
            metrics::gauge!("turnpike_epoch", "partition" => partition)
                .set(owner.ownership.epoch.number() as f64);
        }
    }

    fn claim(&mut self, seen: &Observation, partition: PartitionId, epoch: Epoch, cause: Cause) {
        let Some(row) = seen.partitions.iter().find(|row| row.spec.id == partition) else { return };
        let claim = Claim {
            partition,
            seen: epoch,
            node: self.shared.config.name.clone(),
            incarnation: self.incarnation,
            claim: ClaimId(self.chance.random()),
            forced: cause.is_forced(),
        };
        let (requests, queue) = mpsc::channel(QUEUE_REQUESTS);
        let ticks = Arc::new(Ticks::new(self.origin));
        let candidate = Candidate {
            shared: Arc::clone(&self.shared),
            doors: Arc::clone(&self.doors),
            ticks: Arc::clone(&ticks),
            requests: requests.clone(),
            spec: row.spec.clone(),
            cause,
        };
        // The epoch that the claim makes when it wins; until then nobody is named by it.
        let epoch = epoch.next().unwrap_or(epoch);
        let ownership = Serving { partition, epoch, claim: claim.claim };
        let task = tokio::spawn(candidate.run(claim, queue));
        let running = Running { ownership, ticks, requests, began: Instant::now(), task };
        self.served.add(ownership, Arc::clone(&running.ticks));
        self.owners.insert(partition, running);
    }

    fn release(&mut self, partition: PartitionId, to: Option<NodeName>) {
        let Some(owner) = self.owners.get(&partition) else { return };
        if !self.releasing.insert(partition) {
            return;
        }
        // From now on nobody new is let in; what is in the queue is finished first.
        self.doors.set(partition, None);
        tracing::info!(%partition, epoch = %owner.ownership.epoch, ?to, "gives the partition up");
        let request = Queued { request: Request::Release { to }, _room: None };
        let requests = owner.requests.clone();
        tokio::spawn(async move {
            // An owner that ended in between has nothing left to release.
            let _ = requests.send(request).await;
        });
    }

    /// Takes leave of owners that ended.
    async fn reap(&mut self) {
        let ended: Vec<PartitionId> = self
            .owners
            .iter()
            .filter(|(_, owner)| owner.task.is_finished())
            .map(|(&partition, _)| partition)
            .collect();
        for partition in ended {
            self.releasing.remove(&partition);
            self.served.remove(partition);
            if let Some(owner) = self.owners.remove(&partition) {
                let lived = owner.began.elapsed();
                let ended = owner.task.await.unwrap_or(Ended::Stopped);
                self.note_end(partition, &ended, lived);
            }
        }
    }

    /// After trouble the next claim is tried at once; after more of it, later and later, but so
    /// that service resumes soon after the trouble is over (I7).
    fn note_end(&mut self, partition: PartitionId, ended: &Ended, lived: Duration) {
        let is_trouble = matches!(
            ended,
            Ended::Store(_) | Ended::Damaged(_) | Ended::RolledBack | Ended::Stopped
        );
        if !is_trouble {
            self.troubled.remove(&partition);
            return;
        }
        let before = self.troubled.get(&partition).map_or(0, |(times, _)| *times);
        let times = if lived > self.shared.config.stability() { 0 } else { before };
        let wait = self.shared.config.heartbeat * ((1 << times.min(4)) - 1);
        self.troubled.insert(partition, (times.saturating_add(1), Instant::now() + wait));
    }

    /// Gate, drain, release: every partition goes to whom it may concern.
    async fn leave(mut self) {
        let deadline = Instant::now() + self.shared.config.heartbeat * 40;
        self.served.drain();
        let seen = self.seen.borrow().clone();
        let partitions: Vec<PartitionId> = self.owners.keys().copied().collect();
        for partition in partitions {
            let to = seen.as_ref().and_then(|seen| self.successor(seen, partition));
            self.release(partition, to);
        }
        while !self.owners.is_empty() && Instant::now() < deadline {
            tokio::time::sleep(self.shared.config.heartbeat / 10).await;
            self.reap().await;
        }
        // One more beat says that we are emptied, so that nobody waits for us.
        tokio::time::sleep(self.shared.config.heartbeat).await;
    }

    /// The highest other member that is alive.
    fn successor(&self, seen: &Observation, partition: PartitionId) -> Option<NodeName> {
        let row = seen.partitions.iter().find(|row| row.spec.id == partition)?;
        let others = row.spec.members.iter().map(|member| &member.node);
        others
            .filter(|node| **node != self.shared.config.name)
            .find(|node| self.liveness.is_live(node))
            .cloned()
    }
}

/// An owner to be: claims, loads, and then serves.
struct Candidate {
    shared: Arc<Shared>,
    doors: Arc<Doors>,
    ticks: Arc<Ticks>,
    requests: mpsc::Sender<Queued>,
    spec: turnpike_store::PartitionSpec,
    cause: Cause,
}

impl Candidate {
    async fn run(self, claim: Claim, queue: mpsc::Receiver<Queued>) -> Ended {
        let partition = claim.partition;
        let ended = match self.serve(claim, queue).await {
            Ok(ended) | Err(ended) => ended,
        };
        self.doors.set(partition, None);
        match &ended {
            Ended::Released => tracing::info!(%partition, "released"),
            Ended::Store(error) => self.shared.trouble.set(Some(error.to_string())),
            Ended::Damaged(what) => self.shared.trouble.set(Some(what.clone())),
            Ended::Fenced | Ended::RolledBack | Ended::Stopped => {}
        }
        if !matches!(ended, Ended::Released) {
            tracing::warn!(%partition, reason = %ended, "serves the partition no more");
        }
        ended
    }

    async fn serve(&self, claim: Claim, queue: mpsc::Receiver<Queued>) -> Result<Ended, Ended> {
        let began = Instant::now();
        let Some(claimed) = self.shared.db.claim(&claim).await? else { return Err(Ended::Fenced) };
        let ownership = Ownership {
            spec: self.spec.clone(),
            epoch: claimed.epoch,
            claim: claim.claim,
            next: claimed.position.next,
            last_hash: claimed.position.last_hash,
        };
        let owner =
            Owner::recover(Arc::clone(&self.shared), ownership, Arc::clone(&self.ticks)).await?;
        let elapsed = began.elapsed();
        metrics::counter!("turnpike_takeovers_total", "cause" => self.cause.word()).increment(1);
        metrics::histogram!("turnpike_takeover_seconds").record(elapsed.as_secs_f64());
        tracing::info!(
            partition = %claim.partition,
            epoch = %claimed.epoch,
            cause = self.cause.word(),
            segments = claimed.position.next.0 - 1,
            elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            "serves the partition"
        );
        self.doors.set(claim.partition, Some(self.requests.clone()));
        Ok(owner.serve(queue).await)
    }
}
