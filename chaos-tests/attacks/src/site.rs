//! A real cluster whose processes are bounded, with another client that sends all the time.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use chaos_tests::cluster::{Cluster, ProcessBounds};
use tokio::time::Instant;
use turnpike_harness::oracle::{
    SentKey, check_amounts, check_chain, check_each_rated_once, check_replay, log, pull_everything,
};
use turnpike_harness::postgres::PostgresServer;
use turnpike_store::{OpenOptions, SharedDatabase, open};
use turnpike_types::PartitionId;

use crate::bystander::Bystander;
use crate::form::Form;
use crate::memory::{ADDRESS_SPACE_MAX, MEMORY, RESIDENT_MAX, forget_peak, mib, peak};

/// The processes of the cluster: two nodes and a front.
pub const PROCESSES: [&str; 3] = ["a", "b", "front"];
/// The accounts of the cluster; all of them have the plan `octets`.
pub const ACCOUNTS: u64 = 100;

/// The time in which the other client is served while the connections and requests of an attack stay
/// open. It answers a request in milliseconds; the rest is for a busy machine.
const SERVED_WITHIN: Duration = Duration::from_secs(15);

/// What an attack has done.
#[derive(Default)]
pub struct Effect {
    /// What was sent and what was refused, for people.
    pub what: String,
    /// Whether the attack used all processors of the machine with requests that are carried out.
    pub is_saturated: bool,
    /// Open connections and requests, which stay open for as long as the other client is watched.
    pub kept: Vec<Box<dyn Any + Send>>,
}

/// A cluster under attack.
pub struct Site {
    /// The processes.
    pub cluster: Cluster,
    /// The shared database.
    pub db: Arc<dyn SharedDatabase>,
    /// The form of the run.
    pub form: Form,
    /// Records of accounts that the other client does not use, which an attack has sent, and which
    /// were acknowledged.
    pub sent: BTreeMap<SentKey, i64>,
    bystander: Option<Bystander>,
    alone: Duration,
    // This field is the last one: the server stops after the processes.
    _postgres: Arc<PostgresServer>,
}

impl Effect {
    /// An effect that is over.
    pub fn of(what: impl Into<String>) -> Self {
        Self { what: what.into(), ..Self::default() }
    }

    /// Keeps `connections` open.
    pub fn keeping(mut self, connections: impl Any + Send) -> Self {
        self.kept.push(Box::new(connections));
        self
    }
}

impl Site {
    /// Starts a cluster on a PostgreSQL database, and the other client, which is watched for a
    /// moment before anything else happens.
    ///
    /// # Errors
    /// The cluster does not come up.
    pub async fn start() -> Result<Self> {
        Self::with(None).await
    }

    /// As [`Self::start`]; the front may open this number of files and connections.
    ///
    /// # Errors
    /// The cluster does not come up.
    pub async fn with(descriptors: Option<u64>) -> Result<Self> {
        let postgres = PostgresServer::shared()?;
        let database = postgres.create_database()?;
        let mut cluster = Cluster::new(database.clone())?;
        cluster.configure(&format!("memory = {MEMORY}\n[front]\nmemory = {MEMORY}\n"))?;
        let address_space_bytes = Some(ADDRESS_SPACE_MAX);
        for name in PROCESSES {
            let descriptors = descriptors.filter(|_| name == "front");
            cluster.bind(name, ProcessBounds { address_space_bytes, descriptors });
        }
        let db = set_up(&mut cluster, &database).await?;
        let bystander = Some(Bystander::start(cluster.front())?);
        let (form, sent, alone) = (Form::of_this_run(), BTreeMap::new(), Duration::ZERO);
        let mut site = Self { cluster, db, form, sent, bystander, alone, _postgres: postgres };
        site.watch_alone().await?;
        Ok(site)
    }

    /// The address of the front, as `HOST:PORT`.
    pub fn front(&self) -> String {
        self.cluster.front().trim_start_matches("http://").to_owned()
    }

    /// The address of a node, as `HOST:PORT`.
    ///
    /// # Errors
    /// There is no such node.
    pub fn node(&self, name: &str) -> Result<String> {
        Ok(self.cluster.node(name)?.to_owned())
    }

    /// The name and the address of the owner of the partition.
    ///
    /// # Errors
    /// The partition has no owner.
    pub async fn owner(&self, partition: PartitionId) -> Result<(String, String)> {
        let seen = self.db.observe().await?;
        let row = seen.partitions.iter().find(|row| row.spec.id == partition);
        let owner = row.and_then(|row| row.owner.as_ref());
        let (name, _) = owner.context("the partition has no owner")?;
        Ok((name.0.clone(), self.node(&name.0)?))
    }

    /// The owners of the partitions, with their epochs.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn owners(&self) -> Result<Vec<String>> {
        let seen = self.db.observe().await?;
        Ok(seen.partitions.iter().map(|row| format!("{:?} {:?}", row.owner, row.epoch)).collect())
    }

    async fn watch_alone(&mut self) -> Result<()> {
        let until = Instant::now() + self.hold();
        let mut bystander = self.bystander.take().context("there is no other client")?;
        // Its first requests open connections.
        tokio::time::sleep(Duration::from_millis(300)).await;
        bystander.p99()?;
        tokio::time::sleep(until.saturating_duration_since(Instant::now())).await;
        let (alone, requests) = bystander.p99()?;
        ensure!(requests > 10, "the other client made {requests} requests");
        (self.alone, self.bystander) = (alone, Some(bystander));
        Ok(())
    }

    /// For how long the other client is watched at least.
    fn hold(&self) -> Duration {
        Duration::from_millis(self.form.pick(1_500, 20_000) as u64)
    }

    /// Watches the processes and the other client during an attack. What the attack keeps open
    /// stays open for as long.
    ///
    /// # Errors
    /// The attack had no effect, a process ended or used too much memory, or the other client was
    /// not served, or, in the long form, had to wait too long.
    pub async fn withstands(
        &mut self,
        name: &str,
        attack: impl Future<Output = Result<Effect>>,
    ) -> Result<()> {
        for process in PROCESSES {
            forget_peak(self.cluster.pid(process)?)?;
        }
        let mut bystander = self.bystander.take().context("there is no other client")?;
        bystander.p99()?;
        let owners = self.owners().await?;
        let began = Instant::now();
        let effect = attack.await.with_context(|| name.to_owned());
        let effect = effect.map_err(|error| error.context(self.ends()))?;
        let served = bystander.served(SERVED_WITHIN).await;
        served.with_context(|| format!("{name}: {}", effect.what))?;
        tokio::time::sleep((began + self.hold()).saturating_duration_since(Instant::now())).await;
        let alive = self.most_used(name)?;
        let (attacked, requests) = bystander.p99().with_context(|| name.to_owned())?;
        let ratio = attacked.as_secs_f64() / self.alone.as_secs_f64().max(1e-9);
        println!(
            "{name}: {}. Memory at most {alive}, of {} MiB. The other client's p99 {attacked:?} of \
             {requests} requests, alone {:?}: x{ratio:.2}",
            effect.what,
            mib(RESIDENT_MAX),
            self.alone
        );
        let now = self.owners().await?;
        ensure!(now == owners, "{name}: owners {owners:?} became {now:?}\n{}", self.ends());
        let checked = self.form.check(self.alone, attacked, effect.is_saturated);
        checked.with_context(|| name.to_owned())?;
        self.bystander = Some(bystander);
        Ok(())
    }

    /// Each process runs, and has stayed within its bound.
    ///
    /// # Errors
    /// A process has ended or used more memory.
    pub fn check_processes(&mut self, name: &str) -> Result<()> {
        self.most_used(name).map(drop)
    }

    /// As [`Self::check_processes`]. Returns the most that each used.
    fn most_used(&mut self, name: &str) -> Result<String> {
        let mut used = Vec::new();
        for process in PROCESSES {
            let ended = self.cluster.has_ended(process)?;
            ensure!(!ended, "{name}: {process} has ended\n{}", self.cluster.log(process));
            let bytes = peak(self.cluster.pid(process)?)?;
            ensure!(
                bytes <= RESIDENT_MAX,
                "{name}: {process} used {} MiB of {}",
                mib(bytes),
                mib(RESIDENT_MAX)
            );
            used.push(format!("{process} {} MiB", mib(bytes)));
        }
        Ok(used.join(", "))
    }

    /// The ends of the logs, for the message about an attack that did not go as expected.
    fn ends(&self) -> String {
        let end = |name: &str| {
            let log = self.cluster.log(name);
            let lines: Vec<&str> = log.lines().collect();
            let from = lines.len().saturating_sub(5);
            format!("{name}:\n{}", lines[from..].join("\n"))
        };
        PROCESSES.map(end).join("\n")
    }

    /// Stops the other client. Checks that nothing acknowledged was lost or rated twice, and I1 to
    /// I4.
    ///
    /// # Errors
    /// The first violation.
    pub async fn finish(mut self) -> Result<()> {
        self.settle().await?;
        self.check_processes("at the end")
    }

    /// Stops the other client, and checks the rated output.
    ///
    /// # Errors
    /// The first violation.
    pub async fn settle(&mut self) -> Result<()> {
        let bystander = self.bystander.take().context("there is no other client")?;
        let stopped = tokio::task::spawn_blocking(move || bystander.stop()).await?;
        self.sent.extend(stopped?);
        let lines = pull_everything(&self.cluster.front()).await?;
        check_each_rated_once(&lines, &self.sent)?;
        check_amounts(&lines, &self.sent)?;
        for partition in [1, 2].map(PartitionId) {
            let rows = log(self.db.as_ref(), partition).await?;
            check_chain(&rows)?;
            check_replay(self.db.as_ref(), partition, &rows).await?;
        }
        Ok(())
    }
}

async fn set_up(cluster: &mut Cluster, database: &str) -> Result<Arc<dyn SharedDatabase>> {
    let accounts = format!("1-{ACCOUNTS}");
    let init = ["partition", "init", "--count", "2", "--accounts", &accounts];
    cluster.run(&[&init[..], &["--members", "a,b", "--accept-since", "2020-01-01"]].concat())?;
    cluster.start_node("a")?;
    cluster.start_node("b")?;
    cluster.start_front()?;
    cluster.wait_until_served().await?;
    let db = open(database, &OpenOptions::default()).await?;
    cluster.wait_until_owned_by(db.as_ref(), &["a", "b"]).await?;
    let plan = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/octets.xml");
    cluster.run(&["plan", "publish", plan])?;
    let mut csv = "account_number,zone,cycle_day,currency,plan,plan_from\n".to_owned();
    (1..=ACCOUNTS).for_each(|n| csv.push_str(&format!("{n},UTC,1,USD,octets,1970-01-01\n")));
    let file = cluster.file("accounts.csv", &csv)?;
    cluster.run(&["account", "import", &file])?;
    Ok(db)
}
