//! The environment of a scenario: the cluster, its load, observations of the database, random
//! numbers.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;
use turnpike_harness::process::ExpectedProcesses;
use turnpike_proto::cluster::v1::cluster_service_client::ClusterServiceClient;
use turnpike_store::{Following, Observation, PartitionRow};
use turnpike_types::capped;

use crate::clock::{LoadClock, Micros};
use crate::cluster::DrillCluster;
use crate::database::Database;
use crate::observations::Notes;
use crate::pause::{InjectedFault, PauseMeasure};
use crate::undo::Undo;
use crate::watch::OwnerWatcher;

/// The time limit for the cluster to reach a required state.
const PATIENCE: Duration = Duration::from_secs(90);
const LOOK: Duration = Duration::from_millis(20);
/// A replica that lags by more segments than this is not counted as warm.
const LAG_MAX: u64 = 50;

/// The environment of a scenario.
pub struct World {
    /// The processes.
    pub cluster: DrillCluster,
    /// The shared database.
    pub database: Database,
    pub(crate) clock: LoadClock,
    pub(crate) notes: Notes,
    pub(crate) watcher: OwnerWatcher,
    pub(crate) chance: StdRng,
    pub(crate) partitions: Vec<u32>,
    pub(crate) repeat: u32,
    /// The time between batches of a partition.
    pub(crate) interval: Duration,
    pub(crate) warm_standbys: usize,
    pub(crate) faults: Vec<InjectedFault>,
    /// The operator's requests in force.
    pub(crate) undo: Undo,
    /// The processes that must not end unless the scenario ends them.
    pub(crate) expected: ExpectedProcesses,
    /// The operator's connection to the first front.
    pub(crate) operator: Channel,
    pub(crate) tell: Arc<dyn Fn(&str) + Send + Sync>,
}

impl World {
    /// The number of faults to inject.
    pub const fn repeat(&self) -> u32 {
        self.repeat
    }

    /// All partitions.
    pub fn partitions(&self) -> Vec<u32> {
        self.partitions.clone()
    }

    /// The partitions that a node owns, as last observed.
    pub fn owned_by(&self, node: &str) -> Vec<u32> {
        let is_its = |partition: &u32| self.watcher.owner_of(*partition).as_deref() == Some(node);
        self.partitions.iter().copied().filter(is_its).collect()
    }

    /// A random node that owns partitions.
    pub fn some_owner(&mut self) -> Option<String> {
        let owners: BTreeSet<String> = self
            .partitions
            .iter()
            .filter_map(|partition| self.watcher.owner_of(*partition))
            .collect();
        let owners: Vec<String> = owners.into_iter().collect();
        owners.choose(&mut self.chance).cloned()
    }

    /// A random number in this range.
    pub fn draw(&mut self, from: Range<usize>) -> usize {
        self.chance.random_range(from)
    }

    /// Records a fault that has taken effect, and returns the time.
    pub fn fault(&mut self, what: String, partitions: Vec<u32>, measure: PauseMeasure) -> Micros {
        let at = self.clock.now();
        let count = match partitions.len() {
            0 => "no partition".to_owned(),
            1 => "1 partition".to_owned(),
            count => format!("{count} partitions"),
        };
        (self.tell)(&format!("{what} ({count})"));
        self.faults.push(InjectedFault { what, at, until: at, partitions, measure });
        at
    }

    /// Records the end of the last fault, and returns the time.
    pub fn ends(&mut self) -> Micros {
        let now = self.clock.now();
        if let Some(fault) = self.faults.last_mut() {
            fault.until = now;
        }
        now
    }

    /// Waits while the load continues.
    pub async fn pass(&self, time: Duration) {
        sleep(time).await;
    }

    /// Waits for a random time in this range of milliseconds, while the load continues.
    pub async fn pass_by_chance(&mut self, millis: Range<u64>) {
        let millis = self.chance.random_range(millis);
        sleep(Duration::from_millis(millis)).await;
    }

    /// Stops the database server without a shutdown, and starts it again after `lies`.
    ///
    /// # Errors
    /// The drill did not start the server, or it does not start again.
    pub async fn restart_database(&self, lies: Duration) -> Result<()> {
        self.database.clone().restart(lies, &self.expected).await
    }

    /// Waits until every partition of the last fault has answered a batch that was sent after
    /// `since`.
    ///
    /// # Errors
    /// A partition has not answered within the time limit.
    pub async fn served_since(&self, since: Micros) -> Result<()> {
        let touched = self.faults.last().map(|fault| fault.partitions.clone()).unwrap_or_default();
        self.answered_since(&touched, since).await
    }

    async fn answered_since(&self, partitions: &[u32], since: Micros) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        let mut waiting: BTreeSet<u32> = partitions.iter().copied().collect();
        let mut read = 0;
        loop {
            {
                let observations = self.notes.lock();
                for answer in observations.answers.get(read..).unwrap_or_default() {
                    if answer.sent >= since {
                        waiting.remove(&answer.partition);
                    }
                }
                read = observations.answers.len();
            }
            if waiting.is_empty() {
                return Ok(());
            }
            if Instant::now() > until {
                bail!("partitions {waiting:?} are not served after {PATIENCE:?}");
            }
            sleep(LOOK).await;
        }
    }

    /// Waits for the normal state: all processes run, every partition is served and answers without
    /// delay, and its standbys are warm. Then waits for a short random time.
    ///
    /// # Errors
    /// The cluster does not reach this state within the time limit.
    pub async fn steady(&mut self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while let Err(why) = self.is_ready() {
            if Instant::now() > until {
                bail!("the cluster does not return to its normal state: {why}");
            }
            sleep(LOOK).await;
        }
        let now = self.clock.now();
        self.answered_since(&self.partitions, now).await?;
        let interval = capped::<u64>(self.interval.as_millis());
        self.pass_by_chance(200..400 + interval).await;
        Ok(())
    }

    /// Checks that every partition is served, with as many warm replicas as the cluster should
    /// have. The error says which partition is not.
    fn is_ready(&self) -> Result<(), String> {
        let Some(seen) = self.watcher.last() else { return Err("nothing seen yet".to_owned()) };
        for row in &seen.partitions {
            let id = row.spec.id;
            if !self.partitions.contains(&id.0) {
                continue;
            }
            let claim = (id, row.epoch, row.claim);
            let mut serving = seen.nodes.iter().flat_map(|node| &node.beat.serving);
            if !serving.any(|one| (one.partition, one.epoch, one.claim) == claim) {
                return Err(format!("partition {id} is not served"));
            }
            if self.copies_of(&seen, row).len() < self.warm_standbys {
                return Err(format!("partition {id} has no warm standby"));
            }
        }
        Ok(())
    }

    /// The nodes with a warm replica of a partition.
    fn copies_of(&self, seen: &Observation, row: &PartitionRow) -> Vec<String> {
        let last = row.next.next.0.saturating_sub(1);
        let is_warm =
            |copy: &Following| copy.partition == row.spec.id && copy.segment.0 + LAG_MAX >= last;
        let beats = seen.nodes.iter().map(|node| &node.beat);
        beats
            .filter(|beat| row.owner.as_ref().is_none_or(|(owner, _)| *owner != beat.node))
            .filter(|beat| beat.following.iter().any(is_warm))
            .map(|beat| beat.node.0.clone())
            .collect()
    }

    /// A random partition and a warm standby of it.
    pub(crate) fn some_standby(&mut self) -> Option<(u32, String)> {
        let seen = self.watcher.last()?;
        let partition = *self.partitions.choose(&mut self.chance)?;
        let row = seen.partitions.iter().find(|row| row.spec.id.0 == partition)?;
        let standby = self.copies_of(&seen, row).choose(&mut self.chance).cloned()?;
        Some((partition, standby))
    }

    /// The client for operator requests.
    pub(crate) fn operator(&self) -> ClusterServiceClient<Channel> {
        ClusterServiceClient::new(self.operator.clone())
    }

    /// Waits until the owner of each of these partitions satisfies the condition.
    pub(crate) async fn owned(
        &self,
        partitions: &[u32],
        is_right: impl Fn(String) -> bool,
    ) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        let is_owned = |partition: &u32| self.watcher.owner_of(*partition).is_some_and(&is_right);
        while !partitions.iter().all(is_owned) {
            if Instant::now() > until {
                bail!("the owners of partitions {partitions:?} do not change within {PATIENCE:?}");
            }
            sleep(LOOK).await;
        }
        Ok(())
    }
}
