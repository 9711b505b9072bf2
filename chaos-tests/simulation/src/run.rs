//! Runs the simulation of one seed, and checks the result.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::FutureExt as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::watch;
use turnpike_node::NodeConfig;
use turnpike_store::memory::{MemoryDatabase, PausedAppends};
use turnpike_store::{
    CatalogueKind, CatalogueStore as _, Interposed, Publish, SharedDatabase, StoreIncarnation,
    TopologyStore as _,
};
use turnpike_types::{NodeName, PartitionId, Timestamp, UsageRecord};

use crate::book::{SharedBook, open};
use crate::chaos::Fault;
use crate::client::Client;
use crate::database_link::{DatabaseLink, LinkFault};
use crate::delayed_database::{DelayedDatabase, WriteDelay};
use crate::moving_identities::{self, MovingIdentities};
use crate::network::Network;
use crate::oracle::{self, LogStatistics};
use crate::plan::Plan;
use crate::process;
use crate::run_log::RunLog;
use crate::world::{Process, TICK_US};

/// 2026-05-01T00:00:00Z, when every run begins.
const BEGIN_US: i64 = 1_777_593_600_000_000;
const OCTETS: &str = include_str!("../../tests/octets.xml");
/// The time limit for the start of the cluster, without faults.
const SET_UP_US: u64 = 10_000_000;
/// The time limit of I7: the longest wait of a client for an acknowledgement after the last repair.
const HEALED_US: u64 = 5_000_000;
/// Within this many times `HEALED_US` clients send what waited during faults.
const BACKLOG_TIMES: u32 = 3;
/// The time limit for the changes of bindings at the end of a run, and for rating the records that
/// are suspended until then. A front may use a cached look-up of an identity for the suspicion
/// time, so each change is in force only after that time.
const SETTLED_US: u64 = 20_000_000;
/// The time after which a process that ended is started again.
const START_AGAIN_US: u64 = 300_000;

/// The result of a run.
#[derive(Debug)]
pub struct Verdict {
    /// The log of the run.
    pub run_log: String,
    /// Statistics of the run, or the violated invariant.
    pub found: Result<LogStatistics>,
    /// The time between the last repair and the last acknowledgement.
    pub healed: Duration,
}

/// A simulated host: the process that runs on it, if any, and the state of its faults.
struct Host {
    process: Option<Process>,
    link: Arc<DatabaseLink>,
    stop: watch::Sender<bool>,
    starts: u64,
    /// Whether the process stays stopped until its fault is repaired.
    down: bool,
    again_at_us: Option<u64>,
}

struct SimulatedRun {
    plan: Plan,
    run_log: RunLog,
    network: Network,
    memory: MemoryDatabase,
    database: Process,
    delayed: DelayedDatabase,
    paused: Option<PausedAppends>,
    hosts: BTreeMap<String, Host>,
    clients: BTreeMap<String, Process>,
    book: SharedBook,
    chance: StdRng,
    now_us: u64,
    repairs: Vec<(u64, Fault)>,
}

/// Runs the simulation with this seed.
pub fn run(seed: u64) -> Verdict {
    let run_log = RunLog::default();
    let subscriber = tracing_subscriber::fmt()
        .with_timer(run_log.clone())
        .with_writer(run_log.clone())
        .with_ansi(false)
        .with_max_level(level())
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        let mut healed = Duration::ZERO;
        let found =
            SimulatedRun::new(seed, run_log.clone()).and_then(|mut run| run.all(&mut healed));
        Verdict { run_log: run_log.text(), found, healed }
    })
}

/// The level of the run's log: `info`, unless the environment variable `STORY` names another.
fn level() -> tracing::Level {
    std::env::var("STORY").ok().and_then(|l| l.parse().ok()).unwrap_or(tracing::Level::INFO)
}

impl SimulatedRun {
    fn new(seed: u64, run_log: RunLog) -> Result<Self> {
        let plan = Plan::draw(seed);
        let clock = run_log.clone();
        let now = move || Timestamp(BEGIN_US + i64::try_from(clock.now_us()).unwrap_or(0));
        let memory = MemoryDatabase::with_clock(Arc::new(now), StoreIncarnation(seed));
        let database = Process::start("db", std::future::pending())?;
        let handle = database.handle().context("a process has a runtime")?;
        Ok(Self {
            network: Network::new(seed ^ 1, plan.latency_max),
            delayed: DelayedDatabase::new(memory.clone(), handle, seed ^ 2),
            chance: StdRng::seed_from_u64(seed ^ 3),
            memory,
            database,
            paused: None,
            hosts: BTreeMap::new(),
            clients: BTreeMap::new(),
            book: SharedBook::default(),
            now_us: 0,
            repairs: Vec::new(),
            plan,
            run_log,
        })
    }

    fn all(&mut self, healed: &mut Duration) -> Result<LogStatistics> {
        self.set_up()?;
        let chaos_us = u64::try_from(self.plan.chaos.as_micros())?;
        self.start_clients()?;
        self.chaos(self.now_us + chaos_us)?;
        self.heal()?;
        let healed_at = self.now_us;
        let done = self.until_all_is_acknowledged()?;
        *healed = Duration::from_micros(self.now_us - healed_at);
        self.run_log.log(&format!("all acknowledged, {healed:?} after the last repair"));
        self.no_violations()?;
        ensure!(done, "I7: a client is not served for 5 s after the last repair");
        self.settle_wandering()?;
        self.audit()?;
        self.no_violations()?;
        let (database, book) = (self.memory.clone(), Arc::clone(&self.book));
        let partitions = self.plan.host_names.partitions;
        let book = book.lock().unwrap_or_else(PoisonError::into_inner);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let wandering = (self.wandering(), self.plan.holders());
        let found = runtime.block_on(oracle::check(&database, partitions, &book, &wandering))?;
        let (answers, replayed) = book.answers;
        self.run_log.log(&format!(
            "{found:?}; {} records, {answers} answers, {replayed} of them replayed, {} batches \
             sent again, {} accounts shown, {} changes of bindings",
            book.records.len(),
            book.resent,
            book.shown,
            book.changes
        ));
        Ok(found)
    }

    fn no_violations(&self) -> Result<()> {
        let book = open(&self.book);
        ensure!(book.violations.is_empty(), "{}", book.violations.join("\n"));
        Ok(())
    }

    /// Creates the partitions, publishes the plan, starts the processes and opens the accounts. No
    /// fault occurs meanwhile.
    fn set_up(&mut self) -> Result<()> {
        let plan = turnpike_plan::parse(OCTETS).map_err(|e| anyhow::anyhow!("{e}"))?;
        let publish = Publish {
            kind: CatalogueKind::Plan,
            id: plan.id().to_owned(),
            version: plan.version(),
            starts: plan.starts().to_string(),
            supersedes: plan.supersedes(),
            content_hash: plan.content_hash(),
            form: plan.currency().to_string(),
            rows: 0,
            body: OCTETS.to_owned(),
            tz_database: None,
        };
        let specs = self.plan.partitions();
        let done = async {
            self.memory.create_partitions(&specs).await?;
            self.memory.publish(&publish).await
        };
        done.now_or_never().context("memory answers at once")??;
        for (at, name) in self.plan.host_names.all().cloned().enumerate().collect::<Vec<_>>() {
            let link = Arc::new(DatabaseLink::new(self.plan.seed ^ (100 + at as u64)));
            let stop = watch::channel(false).0;
            let host =
                Host { process: None, link, stop, starts: 0, down: false, again_at_us: None };
            if !self.plan.host_names.clients.contains(&name) {
                self.hosts.insert(name.clone(), host);
                self.start(&name)?;
            }
        }
        let (client, commands) = (self.client(0), self.plan.commands());
        self.start_client(0, async move { client.open_accounts(commands).await })?;
        let done = self.until_clients_end(SET_UP_US)?;
        ensure!(done, "the cluster does not start");
        Ok(())
    }

    fn client(&self, at: usize) -> Client {
        let name = self.plan.host_names.clients[at].clone();
        let mut fronts: Vec<String> =
            self.plan.host_names.fronts.iter().map(|front| format!("{front}:1")).collect();
        // Clients start with different fronts.
        if (self.plan.seed + at as u64).is_multiple_of(2) {
            fronts.reverse();
        }
        Client {
            fronts,
            dial: self.network.dial(&name),
            book: Arc::clone(&self.book),
            seed: self.plan.seed ^ (200 + at as u64),
            name,
        }
    }

    fn start_client(
        &mut self,
        at: usize,
        main: impl Future<Output = ()> + Send + 'static,
    ) -> Result<()> {
        let name = self.plan.host_names.clients[at].clone();
        let process = Process::start(&name, main)?;
        self.clients.insert(name, process);
        Ok(())
    }

    fn start_clients(&mut self) -> Result<()> {
        for at in 0..self.plan.host_names.clients.len() {
            let (client, batches) = (self.client(at), self.plan.batches[at].clone());
            let accounts = self.plan.accounts();
            let moving = self.moving_identities().filter(|_| at == 0);
            self.start_client(at, async move {
                let wandering = async {
                    match moving {
                        Some(moving) => moving.run().await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = client.send_all(&batches) => {}
                    () = wandering => {}
                    () = client.look_around(&accounts, 1) => {}
                    () = client.look_around(&accounts, 2) => {}
                    () = client.look_around(&accounts, 3) => {}
                }
            })?;
        }
        Ok(())
    }

    /// The records whose identities move between accounts; none in a run without moves.
    fn wandering(&self) -> Vec<UsageRecord> {
        let is_without = self.plan.holders().is_empty();
        if is_without { Vec::new() } else { moving_identities::records(self.plan.seed) }
    }

    fn moving_identities(&self) -> Option<MovingIdentities> {
        let (client, records) = (self.client(0), self.wandering());
        let holders = self.plan.holders();
        (!holders.is_empty()).then_some(MovingIdentities { client, holders, records })
    }

    fn settle_wandering(&mut self) -> Result<()> {
        let Some(moving) = self.moving_identities() else { return Ok(()) };
        self.start_client(0, async move { moving.settle().await })?;
        let done = self.until_clients_end(SETTLED_US)?;
        ensure!(done, "I7: records whose identity changed hands still wait");
        self.no_violations()
    }

    fn audit(&mut self) -> Result<()> {
        let (client, accounts) = (self.client(0), self.plan.accounts());
        self.start_client(0, async move { client.audit(&accounts).await })?;
        ensure!(self.until_clients_end(HEALED_US)?, "I7: accounts can't be read at the end");
        Ok(())
    }

    /// Starts the process with this name.
    fn start(&mut self, name: &str) -> Result<()> {
        let Some(host) = self.hosts.get_mut(name) else { return Ok(()) };
        host.starts += 1;
        (host.down, host.again_at_us) = (false, None);
        host.stop = watch::channel(false).0;
        let stop = host.stop.subscribe();
        let delayed: Arc<dyn SharedDatabase> = Arc::new(self.delayed.clone());
        let db: Arc<dyn SharedDatabase> =
            Arc::new(Interposed::new(delayed, Arc::clone(&host.link)));
        let dial = self.network.dial(name);
        let sockets = self.network.listen(name);
        let at =
            self.plan.host_names.all().position(|known| known == name).unwrap_or_default() as u64;
        // No two processes of a run have the same seed.
        let seed = self.plan.seed.wrapping_mul(1_000_003) ^ (at << 40) ^ (host.starts << 20);
        let process = if self.plan.host_names.nodes.iter().any(|node| node == name) {
            let config = NodeConfig {
                name: NodeName(name.to_owned()),
                address: format!("{name}:1"),
                seed,
                ..self.plan.node.clone()
            };
            Process::start(name, process::node(config, db, dial, sockets, stop))?
        } else {
            let config = turnpike_front::FrontConfig { seed, ..self.plan.front.clone() };
            Process::start(name, process::front(config, db, dial, sockets, stop))?
        };
        host.process = Some(process);
        Ok(())
    }

    /// Advances the network, the database, all hosts and all clients by one tick.
    fn tick(&mut self) -> Result<()> {
        self.now_us += TICK_US;
        self.run_log.set_now(self.now_us);
        self.network.deliver(self.now_us);
        self.database.tick(&self.run_log);
        self.tick_hosts();
        for client in self.clients.values_mut() {
            client.tick(&self.run_log);
        }
        self.start_again()
    }

    fn tick_hosts(&mut self) {
        let count = self.hosts.len();
        let first = self.chance.random_range(0..count.max(1));
        let (before, after): (Vec<_>, Vec<_>) =
            self.hosts.values_mut().enumerate().partition(|(at, _)| *at < first);
        for (_, host) in after.into_iter().chain(before) {
            if let Some(process) = &mut host.process {
                process.tick(&self.run_log);
            }
        }
    }

    /// Starts ended processes again, as a service manager does.
    fn start_again(&mut self) -> Result<()> {
        let now_us = self.now_us;
        let mut due = Vec::new();
        for (name, host) in &mut self.hosts {
            if let Some(process) = &mut host.process
                && process.has_ended()
            {
                process.kill();
                host.process = None;
                self.network.close(name);
                self.run_log.log(&format!("{name} has ended"));
                if !host.down {
                    host.again_at_us = Some(now_us + START_AGAIN_US);
                }
            }
            if host.again_at_us.is_some_and(|at| at <= now_us) {
                due.push(name.clone());
            }
        }
        due.iter().try_for_each(|name| self.start(name))
    }

    /// Runs until all clients have ended. Returns `false` if one has not ended within the time
    /// limit.
    fn until_clients_end(&mut self, within_us: u64) -> Result<bool> {
        let until = self.now_us + within_us;
        while self.now_us < until {
            if self.clients.values().all(Process::has_ended) {
                return Ok(true);
            }
            self.tick()?;
        }
        Ok(false)
    }

    /// Runs until all clients have ended. A client whose batches waited through all faults may have
    /// more of them than the cluster takes in five seconds. Returns `false` if a client gets no
    /// acknowledgement within five seconds (I7), or has not ended after `BACKLOG_TIMES` as long.
    fn until_all_is_acknowledged(&mut self) -> Result<bool> {
        for _ in 0..BACKLOG_TIMES {
            let before = open(&self.book).done.clone();
            if self.until_clients_end(HEALED_US)? {
                return Ok(true);
            }
            let after = open(&self.book).done.clone();
            let mut clients = self.clients.iter();
            if !clients.all(|(name, at)| at.has_ended() || after.get(name) > before.get(name)) {
                return Ok(false);
            }
        }
        Ok(false)
    }

    fn chaos(&mut self, until_us: u64) -> Result<()> {
        let mut next_us = self.now_us;
        while self.now_us < until_us {
            self.tick()?;
            let now_us = self.now_us;
            let (due, kept) = self.repairs.drain(..).partition(|(at, _)| *at <= now_us);
            self.repairs = kept;
            for (_, fault) in due {
                self.repair(fault)?;
            }
            if now_us >= next_us {
                let pause = self.plan.fault_distribution.pause(&mut self.chance);
                next_us = now_us + u64::try_from(pause.as_micros())?;
                let drawn =
                    self.plan.fault_distribution.fault(&mut self.chance, &self.plan.host_names);
                if let Some((fault, lasts)) = drawn
                    && !self.repairs.iter().any(|(_, active)| overlaps(active, &fault))
                {
                    self.inflict(fault, lasts)?;
                }
            }
        }
        Ok(())
    }

    fn heal(&mut self) -> Result<()> {
        for (_, fault) in std::mem::take(&mut self.repairs) {
            self.repair(fault)?;
        }
        self.run_log.log("all faults are over");
        Ok(())
    }

    fn inflict(&mut self, fault: Fault, lasts: Duration) -> Result<()> {
        self.run_log.log(&format!("{fault:?} for {} ms", lasts.as_millis()));
        match &fault {
            Fault::Kill(name) => self.end(name),
            Fault::PowerLoss(name) => {
                self.network.darken(name);
                self.end(name);
            }
            Fault::Freeze(name) => self.process(name, Process::freeze),
            Fault::Stop(name) => {
                if let Some(host) = self.hosts.get_mut(name) {
                    host.down = true;
                    host.stop.send_replace(true);
                }
            }
            Fault::Hold(one, other, both) => {
                self.network.hold(one, other);
                if *both {
                    self.network.hold(other, one);
                }
            }
            Fault::Isolate(name) => self.between(name, |network, one, other| {
                network.hold(one, other);
                network.hold(other, one);
            }),
            Fault::Cut(one, other) => self.network.cut(one, other),
            Fault::DatabaseLink(name, link_fault) => self.set_link_fault(name, *link_fault),
            Fault::Island(node, front) => self.island(node, front, true),
            Fault::AllDatabaseLinks(link_fault) => self.set_all_link_faults(*link_fault),
            Fault::FreezeDatabase => self.database.freeze(),
            Fault::PauseAppends => self.paused = self.memory.pause_appends().now_or_never(),
            Fault::Late(write_delay) => self.delayed.set(*write_delay),
            Fault::Pin(partition, node) => {
                let node = NodeName(node.clone());
                let pinned = self.memory.pin(PartitionId(*partition), Some((&node, lasts)));
                pinned.now_or_never().context("memory answers at once")??;
            }
            Fault::Drain(node) => self.drain(node, true)?,
        }
        let lasts_us = u64::try_from(lasts.as_micros())?;
        self.repairs.push((self.now_us + lasts_us, fault));
        Ok(())
    }

    fn repair(&mut self, fault: Fault) -> Result<()> {
        self.run_log.log(&format!("over: {fault:?}"));
        match &fault {
            Fault::Kill(name) => self.start(name)?,
            Fault::PowerLoss(name) => {
                self.network.lighten(name);
                self.start(name)?;
            }
            Fault::Freeze(name) => self.process(name, Process::thaw),
            Fault::Stop(name) => {
                // A process that takes too long is killed.
                self.end(name);
                self.start(name)?;
            }
            Fault::Hold(one, other, _) => {
                self.network.release(one, other);
                self.network.release(other, one);
            }
            Fault::Isolate(name) => self.between(name, |network, one, other| {
                network.release(one, other);
                network.release(other, one);
            }),
            Fault::DatabaseLink(name, _) => self.set_link_fault(name, LinkFault::None),
            Fault::Island(node, front) => self.island(node, front, false),
            Fault::AllDatabaseLinks(_) => self.set_all_link_faults(LinkFault::None),
            Fault::FreezeDatabase => self.database.thaw(),
            Fault::PauseAppends => self.paused = None,
            Fault::Late(_) => self.delayed.set(WriteDelay::default()),
            Fault::Drain(node) => self.drain(node, false)?,
            Fault::Cut(..) | Fault::Pin(..) => {}
        }
        Ok(())
    }

    fn end(&mut self, name: &str) {
        if let Some(host) = self.hosts.get_mut(name) {
            self.network.close(name);
            host.process = None;
            (host.down, host.again_at_us) = (true, None);
        }
    }

    fn process(&mut self, name: &str, what: impl FnOnce(&mut Process)) {
        if let Some(process) = self.hosts.get_mut(name).and_then(|host| host.process.as_mut()) {
            what(process);
        }
    }

    fn between(&self, name: &str, what: impl Fn(&Network, &str, &str)) {
        for other in self.plan.host_names.all().filter(|other| *other != name) {
            what(&self.network, name, other);
        }
    }

    fn island(&self, node: &str, front: &str, apart: bool) {
        let host_names = &self.plan.host_names;
        let mainland = host_names.nodes.iter().chain(&host_names.fronts);
        for there in mainland.filter(|there| *there != node && *there != front) {
            for here in [node, front] {
                for (from, to) in [(here, there.as_str()), (there.as_str(), here)] {
                    if apart { self.network.hold(from, to) } else { self.network.release(from, to) }
                }
            }
        }
        for here in [node, front] {
            self.set_link_fault(here, if apart { LinkFault::Cut } else { LinkFault::None });
        }
    }

    fn set_link_fault(&self, name: &str, link_fault: LinkFault) {
        if let Some(host) = self.hosts.get(name) {
            host.link.set(link_fault);
        }
    }

    fn set_all_link_faults(&self, link_fault: LinkFault) {
        self.hosts.values().for_each(|host| host.link.set(link_fault));
    }

    fn drain(&self, node: &str, drained: bool) -> Result<()> {
        let node = NodeName(node.to_owned());
        let done = self.memory.set_drained(&node, drained);
        done.now_or_never().context("memory answers at once")??;
        Ok(())
    }
}

/// Whether the repair of one fault would undo the other.
fn overlaps(active: &Fault, new: &Fault) -> bool {
    use Fault::{
        AllDatabaseLinks, DatabaseLink, Drain, Freeze, FreezeDatabase, Hold, Island, Isolate, Kill,
        Late, PauseAppends, PowerLoss, Stop,
    };
    match (active, new) {
        (
            Kill(one) | PowerLoss(one) | Freeze(one) | Stop(one),
            Kill(other) | PowerLoss(other) | Freeze(other) | Stop(other),
        )
        | (Drain(one), Drain(other))
        | (DatabaseLink(one, _), DatabaseLink(other, _)) => one == other,
        (Hold(..) | Isolate(_) | Island(..), Hold(..) | Isolate(_) | Island(..))
        | (AllDatabaseLinks(_) | DatabaseLink(..), Island(..))
        | (Island(..), AllDatabaseLinks(_) | DatabaseLink(..))
        | (AllDatabaseLinks(_), DatabaseLink(..) | AllDatabaseLinks(_))
        | (DatabaseLink(..), AllDatabaseLinks(_))
        | (FreezeDatabase, FreezeDatabase)
        | (PauseAppends, PauseAppends)
        | (Late(_), Late(_)) => true,
        _ => false,
    }
}
