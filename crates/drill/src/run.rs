//! Runs one scenario, from an empty database to its report.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tonic::transport::Endpoint;
use turnpike_harness::oracle;
use turnpike_harness::process::ExpectedProcesses;
use turnpike_proto::feed::v1::Cursor;
use turnpike_store::{OpenOptions, PartitionRow, SharedDatabase, open};
use turnpike_types::{AccountRange, PartitionId, SegmentHash, SegmentNumber, Timestamp};

use crate::audit::{self, Counts, Others};
use crate::clock::{LoadClock, Micros};
use crate::cluster::{ClusterLayout, DrillCluster};
use crate::database::{Database, DatabaseAddress};
use crate::load::{Load, LoadParameters, Sent};
use crate::observations::ClientObservations;
use crate::options::{Options, RunningCluster};
use crate::pause::{Answers, Pause, Quantiles};
use crate::report::{Report, TargetReport, Timeline, Verdict};
use crate::scenario::{Guarantee, Needs, Quantile, Scenario, Size};
use crate::setup::{self, DrillAccounts};
use crate::usage::Usage;
use crate::watch::{ObservedOwnership, OwnerWatcher};
use crate::world::World;

/// I7: once faults stop, the cluster serves again within this time.
const SERVES_WITHIN: Micros = 5_000_000;
/// The time limit for unanswered batches at the end.
const PATIENCE: Duration = Duration::from_secs(90);

/// The name of the consumer as which the audit pulls.
const CONSUMER: &str = "turnpike-drill";

/// The callback for progress messages.
pub type OnProgress = Arc<dyn Fn(&str) + Send + Sync>;

/// Runs `scenario` on `database`, with its files in `dir`.
///
/// # Errors
/// The cluster can't be set up. Failed checks are not errors; the report has them.
pub async fn run(
    scenario: &'static Scenario,
    options: &Options,
    database: &Database,
    dir: &Path,
    on_progress: OnProgress,
) -> Result<Report> {
    if let Some(why) = impossible(scenario, options, database) {
        on_progress(&format!("left out: {why}"));
        return Ok(without_figures(scenario, database, Verdict::LeftOut, why));
    }
    let expected = ExpectedProcesses::default();
    database.expect(&expected);
    tokio::select! {
        biased;
        drilled = drill(scenario, options, database, dir, on_progress, &expected) => {
            let (drilled, violations) = drilled?;
            Ok(drilled.report(scenario, database, violations))
        }
        // The drill's future is dropped, which ends its processes.
        ended = expected.ended() => {
            let why = format!("{ended}, not by the drill");
            Ok(without_figures(scenario, database, Verdict::NotJudged, why))
        }
    }
}

fn without_figures(
    scenario: &'static Scenario,
    database: &Database,
    verdict: Verdict,
    why: String,
) -> Report {
    let report = Drilled::default().report(scenario, database, Vec::new());
    Report { verdict, why: vec![why], ..report }
}

/// Why the scenario can't run on this database or on the running cluster; `None` if it can.
pub fn impossible(scenario: &Scenario, options: &Options, database: &Database) -> Option<String> {
    if options.running.is_some() {
        let why = "the scenario would disturb other users of the cluster";
        return (!scenario.harmless).then(|| why.to_owned());
    }
    let is_possible = match scenario.needs {
        Needs::Anything => true,
        Needs::Connections => database.has_connections(),
        Needs::OurServer => database.is_ours(),
    };
    let wanted = match scenario.needs {
        Needs::OurServer => "a PostgreSQL server started by the drill",
        _ => "PostgreSQL, at an address with host and port",
    };
    (!is_possible).then(|| format!("the scenario needs {wanted}, and this is {}", database.word()))
}

/// The measurements of a scenario.
#[derive(Default)]
struct Drilled {
    observations: ClientObservations,
    counts: Counts,
    timeline: Timeline,
}

async fn drill(
    scenario: &'static Scenario,
    options: &Options,
    database: &Database,
    dir: &Path,
    on_progress: OnProgress,
    expected: &ExpectedProcesses,
) -> Result<(Drilled, Vec<String>)> {
    let size = sized(scenario.size, options);
    std::fs::create_dir_all(dir)?;
    let layout = (scenario.layout)();
    let site = match &options.running {
        Some(running) => Site::join(running, database).await?,
        None => {
            let address = database.address(scenario.name, dir).await?;
            Site::build(options, &address, dir, &layout, &size, expected).await?
        }
    };
    let Site { cluster, accounts, db, begin } = site;
    let partitions = accounts.partitions();
    on_progress(&format!("{} partitions, accounts {}", partitions.len(), accounts.shown()));
    let fronts = cluster.fronts();
    let front = fronts.first().context("there is no front")?.clone();
    let operator = Endpoint::from_shared(front.clone())?.connect().await.context(front.clone())?;
    setup::open_accounts(&operator, &accounts).await?;
    let clock = LoadClock::start();
    let parameters = LoadParameters { rate: size.rate, patience: PATIENCE };
    let usages = usages(&accounts, &size, options.seed, db.observe().await?.now);
    let load = Load::start(usages, &fronts, &parameters, clock)?;
    let look = if partitions.len() > 100 { 150 } else { 20 };
    let mut world = World {
        cluster,
        database: database.clone(),
        clock,
        notes: load.notes(),
        watcher: OwnerWatcher::start(db.clone(), clock, Duration::from_millis(look)),
        chance: StdRng::seed_from_u64(options.seed),
        partitions,
        repeat: size.repeat,
        interval: Duration::from_secs_f64(1.0 / size.rate.max(0.01)),
        warm_standbys: layout.warm_standbys.min(layout.nodes.len() - 1),
        faults: Vec::new(),
        undo: options.undo.clone(),
        expected: expected.clone(),
        operator,
        tell: Arc::clone(&on_progress),
    };
    let mut violations = Vec::new();
    if let Err(error) = (scenario.run)(&mut world).await {
        violations.push(format!("the scenario failed before its end: {error:#}"));
    }
    match &options.running {
        // A scenario that failed may have left a request in force.
        Some(running) => {
            options.undo.run(&running.front).await;
            let left = options.undo.commands(&running.front);
            let told = |command| format!("a request of the drill is in force: run `{command}`");
            violations.extend(left.into_iter().map(told));
        }
        None => options.undo.forget(),
    }
    on_progress("checking");
    let others = if options.running.is_some() { Others::Some } else { Others::None };
    let checking = Checking { front, db, begin, others };
    let drilled = checking.check(world, load, &mut violations).await;
    Ok((drilled, violations))
}

/// The cluster, the accounts and the database that a drill uses.
struct Site {
    cluster: DrillCluster,
    accounts: DrillAccounts,
    db: Arc<dyn SharedDatabase>,
    begin: Vec<Begin>,
}

/// The end of a partition's log before the drill.
struct Begin {
    partition: u32,
    segment: SegmentNumber,
    hash: SegmentHash,
}

impl Begin {
    /// The cursor from which the audit pulls: the last segment before the drill is read again.
    fn cursor(&self) -> Cursor {
        let hash = if self.segment.0 == 0 { Bytes::new() } else { self.hash.0.to_vec().into() };
        Cursor { partition: self.partition, segment: self.segment.0, row: 0, hash }
    }
}

impl Site {
    /// Creates a cluster with new partitions and accounts.
    async fn build(
        options: &Options,
        address: &DatabaseAddress,
        dir: &Path,
        layout: &ClusterLayout,
        size: &Size,
        expected: &ExpectedProcesses,
    ) -> Result<Self> {
        let db = open(&address.url, &OpenOptions::default()).await.context("the database")?;
        let accounts = DrillAccounts::beyond(db.as_ref(), size.partitions, size.accounts).await?;
        accounts.create(db.as_ref(), &layout.nodes, layout.first_owns_all).await?;
        let begin = begins(db.as_ref(), &accounts).await?;
        let cluster = DrillCluster::start(&options.binary, dir, address, layout, expected).await?;
        setup::served(db.as_ref(), &accounts).await?;
        Ok(Self { cluster, accounts, db, begin })
    }

    /// Connects to a running cluster.
    async fn join(running: &RunningCluster, database: &Database) -> Result<Self> {
        let Database::Given(url) = database else {
            bail!("the running cluster needs the address of its database")
        };
        let db = open(url, &OpenOptions::default()).await.context("the database")?;
        let accounts = DrillAccounts::within(db.as_ref(), running.accounts).await?;
        let begin = begins(db.as_ref(), &accounts).await?;
        let cluster = DrillCluster::joined(vec![running.front.clone()]);
        Ok(Self { cluster, accounts, db, begin })
    }
}

async fn begins(db: &dyn SharedDatabase, accounts: &DrillAccounts) -> Result<Vec<Begin>> {
    let mine = accounts.partitions();
    let rows = db.observe().await?.partitions;
    let begin = |row: PartitionRow| Begin {
        partition: row.spec.id.0,
        segment: SegmentNumber(row.next.next.0.saturating_sub(1)),
        hash: row.next.last_hash,
    };
    Ok(rows.into_iter().filter(|row| mine.contains(&row.spec.id.0)).map(begin).collect())
}

fn sized(size: Size, options: &Options) -> Size {
    Size {
        repeat: options.repeat.unwrap_or(size.repeat),
        partitions: options.partitions.unwrap_or(size.partitions),
        accounts: options.accounts.unwrap_or(size.accounts),
        rate: options.rate.unwrap_or(size.rate),
        ..size
    }
}

fn usages(accounts: &DrillAccounts, size: &Size, seed: u64, now: Timestamp) -> Vec<Usage> {
    let usage = |(partition, accounts): (u32, AccountRange)| Usage {
        partition,
        first_account: accounts.first().0,
        // A range has fewer than 2^64 accounts, because it begins at 1 or later.
        accounts: accounts.last().0 - accounts.first().0 + 1,
        batch_records: size.batch_records,
        start: now.saturating_add(-60_000_000),
        run: format!("drill-{:x}", now.micros()),
        seed,
    };
    accounts.0.iter().cloned().map(usage).collect()
}

/// The inputs of the audit.
struct Checking {
    front: String,
    db: Arc<dyn SharedDatabase>,
    begin: Vec<Begin>,
    others: Others,
}

impl Checking {
    /// Ends the load, and runs all checks from outside the cluster.
    async fn check(self, world: World, load: Load, violations: &mut Vec<String>) -> Drilled {
        let notes = load.notes();
        let sent = match load.finish().await {
            Ok(sent) => sent,
            Err(error) => {
                violations.push(format!("I7: {error:#}"));
                Sent::new()
            }
        };
        let until = world.clock.now();
        let observations = notes.lock().clone();
        let ownerships = world.watcher.ownerships();
        let mut drilled = Drilled { observations, ..Drilled::default() };
        match self.count(&sent, drilled.observations.accepted).await {
            Ok(counts) => drilled.counts = counts,
            Err(error) => violations.push(format!("I1: rated output: {error:#}")),
        }
        for begin in &self.begin {
            if let Err(error) = self.check_log(begin).await {
                violations.push(format!("I3: partition {}: {error:#}", begin.partition));
            }
        }
        drilled.timeline = timeline(&drilled.observations, world.faults.clone(), ownerships, until);
        violations.extend(drilled.broken(&world.partitions));
        world.cluster.end().await;
        drilled
    }

    async fn count(&self, sent: &Sent, accepted: u64) -> Result<Counts> {
        let cursors = self.begin.iter().map(Begin::cursor).collect();
        let lines = oracle::pull(&self.front, CONSUMER, cursors).await?;
        audit::count(sent, accepted, &lines, self.others)
    }

    async fn check_log(&self, begin: &Begin) -> Result<()> {
        let partition = PartitionId(begin.partition);
        let rows = oracle::log_behind(self.db.as_ref(), partition, begin.segment).await?;
        oracle::check_chain_behind(begin.segment, begin.hash, &rows)
    }
}

fn timeline(
    observations: &ClientObservations,
    faults: Vec<crate::pause::InjectedFault>,
    ownerships: Vec<ObservedOwnership>,
    until: Micros,
) -> Timeline {
    let pauses = Answers::new(observations.answers.clone()).pauses(&faults);
    Timeline { from: 0, until, answers: observations.answers.clone(), faults, pauses, ownerships }
}

impl Drilled {
    /// Returns the violations of the conditions that must hold in every scenario.
    fn broken(&self, partitions: &[u32]) -> Vec<String> {
        let mut broken = Vec::new();
        let Counts { sent, accepted, rated, lost, doubled, wrong_accounts } = self.counts;
        if lost > 0 {
            broken.push(format!("I1: {lost} records were lost"));
        }
        if doubled > 0 {
            broken.push(format!("I2: {doubled} records were doubled"));
        }
        if wrong_accounts > 0 {
            broken.push(format!("I2: {wrong_accounts} accounts have wrong amounts"));
        }
        if accepted != sent || (rated != sent && lost + doubled == 0) {
            broken.push(format!("I1: of {sent} sent {accepted} were accepted, {rated} rated"));
        }
        if let Some(fault) = self.timeline.faults.last() {
            let answers = Answers::new(self.observations.answers.clone());
            let is_late = |partition: &&u32| {
                answers.first_since(**partition, fault.until).is_none_or(|it| it > SERVES_WITHIN)
            };
            let late = partitions.iter().filter(is_late).count();
            if late > 0 {
                broken.push(format!("I7: {late} partitions are not served 5 s after the faults"));
            }
        }
        broken
    }

    fn report(
        self,
        scenario: &'static Scenario,
        database: &Database,
        mut why: Vec<String>,
    ) -> Report {
        let Self { observations, counts, timeline } = self;
        let (retries, breaks) =
            (observations.retries.len() as u64, observations.breaks.len() as u64);
        let cause = observations.why.as_deref().unwrap_or("no reason given");
        if scenario.guarantee != Guarantee::Exactly && observations.refused > 0 {
            why.push(format!("{} records were refused: {cause}", observations.refused));
        }
        if scenario.guarantee == Guarantee::NoErrorSeen && retries + breaks > 0 {
            why.push(format!("clients saw {retries} retries ({cause}), {breaks} broken streams"));
        }
        let is_violated = !why.is_empty();
        let pauses = Quantiles::of(&timeline.pauses);
        let targets = targets(scenario, &pauses);
        for missed in targets.iter().filter(|target| !target.met) {
            let TargetReport { of, limit_ms, measured_ms, .. } = missed;
            why.push(format!("{of} of the pauses is {measured_ms:.0} ms; target {limit_ms:.0} ms"));
        }
        let wait = |answer: &crate::observations::BatchAnswer| Pause {
            fault: 0,
            partition: answer.partition,
            micros: Some(answer.at.saturating_sub(answer.due)),
        };
        let waits: Vec<Pause> = observations.answers.iter().map(wait).collect();
        Report {
            scenario: scenario.name,
            help: scenario.help,
            holds: scenario.holds,
            proves: scenario.proves,
            verdict: match (is_violated, why.is_empty()) {
                (true, _) => Verdict::Violated,
                (false, false) => Verdict::TargetMissed,
                (false, true) => Verdict::Passed,
            },
            why,
            database: database.word(),
            seconds: crate::clock::millis(timeline.until) / 1_000.0,
            faults: timeline.faults(),
            pauses,
            targets,
            waits: Quantiles::of(&waits),
            records: counts,
            refused: observations.refused,
            retries,
            broken_streams: breaks,
            takeovers: changes(&timeline.ownerships),
            timeline,
        }
    }
}

fn targets(scenario: &Scenario, pauses: &Quantiles) -> Vec<TargetReport> {
    let report = |target: &crate::scenario::Target| {
        let measured_ms = match target.of {
            Quantile::P50 => pauses.p50_ms,
            Quantile::P99 => pauses.p99_ms,
            Quantile::Max => pauses.max_ms,
        };
        let met = measured_ms <= target.millis;
        TargetReport { of: target.of.word(), limit_ms: target.millis, measured_ms, met }
    };
    scenario.targets.iter().map(report).collect()
}

/// The number of observed ownerships, without the first of each partition.
fn changes(ownerships: &[ObservedOwnership]) -> u64 {
    let mut seen = std::collections::HashSet::new();
    ownerships.iter().filter(|ownership| !seen.insert(ownership.partition)).count() as u64
}
