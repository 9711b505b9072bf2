//! A cluster in which one process at a time fails, and a load that runs until it is stopped.
#![allow(unreachable_pub)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use chaos_tests::client::send_all;
use chaos_tests::cluster::Cluster;
use chaos_tests::dates::MAY;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::JoinHandle;
use turnpike_harness::oracle::{
    SentKey, check_amounts, check_chain, check_each_rated_once, check_replay, log, pull_everything,
};
use turnpike_harness::postgres::PostgresServer;
use turnpike_store::{OpenOptions, SharedDatabase, open};
use turnpike_types::{AccountNumber, Epoch, NodeName, PartitionId, Timestamp, UsageRecord};

const PARTITIONS: u32 = 2;
const ACCOUNTS: u64 = 40;
const CLIENTS: u64 = 2;
const BATCH: u64 = 10;
const BATCHES: usize = 3;
/// The time limit of each wait.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);

/// Nodes `a` and `b` over PostgreSQL, and a front.
pub struct World {
    cluster: Cluster,
    db: Arc<dyn SharedDatabase>,
    _postgres: Arc<PostgresServer>,
}

impl World {
    pub async fn start() -> Result<Self> {
        let postgres = PostgresServer::shared()?;
        let database = postgres.create_database()?;
        let mut cluster = Cluster::new(database.clone())?;
        // With this size, a checkpoint is written about every second under this load.
        cluster.file("turnpike.toml", "[node]\ncheckpoint-log-bytes = 20000\n")?;
        let (accounts, count) = (format!("1-{ACCOUNTS}"), PARTITIONS.to_string());
        let init = ["partition", "init", "--count", &count, "--accounts", &accounts];
        cluster
            .run(&[&init[..], &["--members", "a,b", "--accept-since", "2024-01-01"]].concat())?;
        cluster.start_node("a")?;
        cluster.start_node("b")?;
        cluster.start_front()?;
        cluster.wait_until_served().await?;
        let plan = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/octets.xml");
        cluster.run(&["plan", "publish", plan])?;
        let mut csv = "account_number,zone,cycle_day,currency,plan,plan_from\n".to_owned();
        (1..=ACCOUNTS).for_each(|n| csv.push_str(&format!("{n},UTC,1,USD,octets,1970-01-01\n")));
        cluster.run(&["account", "import", &cluster.file("accounts.csv", &csv)?])?;
        let db = open(&database, &OpenOptions::default()).await?;
        Ok(Self { cluster, db, _postgres: postgres })
    }

    pub fn front(&self) -> String {
        self.cluster.front()
    }

    /// The last log lines of the cluster's processes.
    pub fn logs(&self) -> String {
        let last = |name: &str| {
            let log = self.cluster.log(name);
            let lines: Vec<&str> = log.lines().collect();
            lines[lines.len().saturating_sub(30)..].join("\n")
        };
        ["a", "b", "front"].map(|name| format!("\n{name}:\n{}", last(name))).concat()
    }

    /// Kills a process, and starts it again with this failpoint.
    pub async fn start_anew(&mut self, name: &str, failpoint: &str) -> Result<()> {
        self.cluster.kill(name).await?;
        self.cluster.arm(failpoint);
        if name == "front" {
            self.cluster.start_front()?;
        } else {
            self.cluster.start_node(name)?;
        }
        self.cluster.arm("");
        Ok(())
    }

    /// If `front`, starts the front again if it ended. A node that ended is started again by
    /// [`Self::start_anew`] for the next step.
    pub async fn recover(&mut self, front: bool) -> Result<()> {
        let name = if front { "front" } else { "a" };
        // A process that aborts takes a moment to end.
        tokio::time::sleep(LOOK * 5).await;
        if self.cluster.has_ended(name)? && front {
            self.start_anew(name, "").await?;
        }
        Ok(())
    }

    /// Waits until the log of the process shows that it failed at the step.
    pub async fn wait_for(&self, name: &str, step: &str) -> Result<()> {
        let words = format!("step=\"{step}\"");
        let until = tokio::time::Instant::now() + PATIENCE;
        while !self.cluster.log(name).contains(&words) {
            if tokio::time::Instant::now() > until {
                let is_armed = self.cluster.log(name).contains("failpoints are armed");
                ensure!(
                    is_armed,
                    "the program is built without failpoints; build it again: \
                     cargo build -p turnpike --features failpoints"
                );
                bail!("{name} does not reach the step{}", self.logs());
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Pins every partition to the node, as an operator does, without waiting for the handover.
    pub async fn wish_owner(&self, name: &str) -> Result<()> {
        let name = NodeName(name.to_owned());
        for partition in (1..=PARTITIONS).map(PartitionId) {
            self.db.pin(partition, Some((&name, Duration::from_secs(600)))).await?;
        }
        Ok(())
    }

    /// The epochs of the partitions, in partition order.
    pub async fn epochs(&self) -> Result<Vec<Epoch>> {
        Ok(self.db.observe().await?.partitions.iter().map(|row| row.epoch).collect())
    }

    /// Waits until the node owns every partition under epochs above `since`. The epoch matters
    /// because the row of a partition names a killed owner until the next claim.
    pub async fn wait_for_owner(&self, name: &str, since: &[Epoch]) -> Result<()> {
        let until = tokio::time::Instant::now() + PATIENCE;
        while tokio::time::Instant::now() < until {
            let rows = self.db.observe().await?.partitions;
            let owns = rows.iter().zip(since).all(|(row, since)| {
                let is_owner = row.owner.as_ref().is_some_and(|(owner, _)| owner.0 == name);
                is_owner && row.released_to.is_none() && row.epoch > *since
            });
            if owns {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
        bail!("{name} does not become the owner of every partition{}", self.logs())
    }

    /// Checks I1 to I4.
    pub async fn check(&self, sent: &BTreeMap<SentKey, i64>) -> Result<()> {
        let lines = pull_everything(&self.front()).await?;
        check_each_rated_once(&lines, sent)?;
        check_amounts(&lines, sent)?;
        let (mut segments, mut checkpoints) = (0, 0);
        for partition in (1..=PARTITIONS).map(PartitionId) {
            let rows = log(self.db.as_ref(), partition).await?;
            check_chain(&rows)?;
            segments += rows.len();
            checkpoints += check_replay(self.db.as_ref(), partition, &rows).await?;
        }
        println!("{} records, {segments} segments, {checkpoints} checkpoints", sent.len());
        ensure!(checkpoints > 0, "there is no checkpoint to compare");
        Ok(())
    }
}

/// Clients that send a few batches, wait until all are acknowledged, and repeat.
pub struct Load {
    stop: Arc<AtomicBool>,
    rounds: Vec<Arc<AtomicU64>>,
    clients: Vec<JoinHandle<Result<BTreeMap<SentKey, i64>>>>,
}

impl Load {
    pub fn start(front: &str, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (mut rounds, mut clients) = (Vec::new(), Vec::new());
        for client in 0..CLIENTS {
            let round = Arc::new(AtomicU64::new(0));
            rounds.push(Arc::clone(&round));
            let (front, stop) = (front.to_owned(), Arc::clone(&stop));
            let seed = seed.wrapping_mul(31).wrapping_add(client);
            clients.push(tokio::spawn(send_rounds(front, client, seed, stop, round)));
        }
        Self { stop, rounds, clients }
    }

    /// Waits until every client has sent records after this call and received the acknowledgements.
    pub async fn goes_on(&self) -> Result<()> {
        let now = |round: &Arc<AtomicU64>| round.load(Ordering::Relaxed);
        let before: Vec<u64> = self.rounds.iter().map(now).collect();
        let until = tokio::time::Instant::now() + PATIENCE;
        while self.rounds.iter().zip(&before).any(|(round, before)| now(round) < before + 2) {
            ensure!(tokio::time::Instant::now() < until, "no batch is acknowledged any more");
            ensure!(!self.clients.iter().any(JoinHandle::is_finished), "a client gave up");
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Stops the load; returns all records sent, each acknowledged.
    pub async fn stop(self) -> Result<BTreeMap<SentKey, i64>> {
        self.stop.store(true, Ordering::Relaxed);
        let mut sent = BTreeMap::new();
        for client in self.clients {
            sent.extend(client.await??);
        }
        Ok(sent)
    }
}

async fn send_rounds(
    front: String,
    client: u64,
    seed: u64,
    stop: Arc<AtomicBool>,
    round: Arc<AtomicU64>,
) -> Result<BTreeMap<SentKey, i64>> {
    let mut chance = StdRng::seed_from_u64(seed);
    let mut sent = BTreeMap::new();
    while !stop.load(Ordering::Relaxed) {
        let mut record = |_| UsageRecord {
            record_id: format!("{client}-{:016x}", chance.random::<u64>()),
            account: AccountNumber(chance.random_range(1..=ACCOUNTS)),
            usage_type: "octets".to_owned(),
            start: Timestamp(MAY + chance.random_range(0..86_400_000_000)),
            quantity: Some(chance.random_range(1..500)),
            ..UsageRecord::default()
        };
        let batches: Vec<Vec<UsageRecord>> =
            (0..BATCHES).map(|_| (0..BATCH).map(&mut record).collect()).collect();
        let records = batches.iter().flatten();
        let keys =
            records.map(|r| ((r.account.0, r.record_id.clone()), r.quantity.unwrap_or_default()));
        sent.extend(keys);
        let told = send_all(front.clone(), format!("client-{client}"), batches, chance.random());
        ensure!(told.await?.exceptions == 0, "every record can be rated");
        round.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(LOOK * 2).await;
    }
    Ok(sent)
}
