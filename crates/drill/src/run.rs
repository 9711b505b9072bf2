//! One scenario, from an empty database to its report.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tonic::transport::Endpoint;
use turnpike_store::{OpenOptions, SharedDatabase, open};
use turnpike_types::{PartitionId, Timestamp};

use crate::audit::{self, Counts};
use crate::clock::{Clock, Micros};
use crate::cluster::Cluster;
use crate::database::Database;
use crate::load::{Load, Pace, Sent, Told};
use crate::options::Options;
use crate::oracle;
use crate::pause::{Answers, Pause, Quantiles};
use crate::report::{Report, TargetReport, Timeline, Verdict};
use crate::scenario::{Needs, Promise, Quantile, Scenario, Size};
use crate::setup::{self, Ground};
use crate::usage::Usage;
use crate::watch::{Reign, Watcher};
use crate::world::World;

/// I7: once faults stop, the cluster serves again within this time.
const SERVES_WITHIN: Micros = 5_000_000;
/// What is unanswered at the end may take so long.
const PATIENCE: Duration = Duration::from_secs(90);

/// Where progress is told.
pub type Tell = Arc<dyn Fn(&str) + Send + Sync>;

/// Runs `scenario` on `database`, with its files in `dir`.
///
/// # Errors
/// The cluster can't be set up. What does not hold is no error, but in the report.
pub async fn run(
    scenario: &'static Scenario,
    options: &Options,
    database: &Database,
    dir: &Path,
    tell: Tell,
) -> Result<Report> {
    if let Some(why) = left_out(scenario, database) {
        tell(&format!("left out: {why}"));
        let told = Drilled::default();
        let mut report = told.report(scenario, database, Vec::new());
        (report.verdict, report.why) = (Verdict::LeftOut, vec![why]);
        return Ok(report);
    }
    let (drilled, violations) = drill(scenario, options, database, dir, tell).await?;
    Ok(drilled.report(scenario, database, violations))
}

fn left_out(scenario: &Scenario, database: &Database) -> Option<String> {
    let is_possible = match scenario.needs {
        Needs::Anything => true,
        Needs::Connections => database.has_connections(),
        Needs::OurServer => database.is_ours(),
    };
    let wanted = match scenario.needs {
        Needs::OurServer => "a PostgreSQL server of the drill's own",
        _ => "PostgreSQL, at an address with host and port",
    };
    (!is_possible).then(|| format!("it needs {wanted}, and this is {}", database.word()))
}

/// What was measured.
#[derive(Default)]
struct Drilled {
    told: Told,
    counts: Counts,
    timeline: Timeline,
}

async fn drill(
    scenario: &'static Scenario,
    options: &Options,
    database: &Database,
    dir: &Path,
    tell: Tell,
) -> Result<(Drilled, Vec<String>)> {
    let size = sized(scenario.size, options);
    std::fs::create_dir_all(dir)?;
    let place = database.place(scenario.name, dir).await?;
    let db = open(&place.url, &OpenOptions::default()).await.context("the database")?;
    let ground = Ground::beyond(db.as_ref(), size.partitions, size.accounts).await?;
    let shape = (scenario.shape)();
    ground.create(db.as_ref(), &shape.nodes, shape.first_owns_all).await?;
    tell(&format!("starting: {} partitions, {} accounts", ground.partitions, ground.accounts));
    let cluster = Cluster::start(&options.binary, dir, &place, &shape).await?;
    setup::served(db.as_ref(), &ground).await?;
    let fronts = cluster.fronts();
    let front = fronts.first().context("there is no front")?.clone();
    let channel = Endpoint::from_shared(front.clone())?.connect().await?;
    let accounts = ground.first_account..ground.first_account + ground.accounts;
    setup::accounts(&channel, accounts).await?;
    let clock = Clock::start();
    let pace = Pace { rate: size.rate, patience: PATIENCE };
    let usages = usages(&ground, &size, options.seed, db.observe().await?.now);
    let load = Load::start(usages, &fronts, &pace, clock)?;
    let look = if size.partitions > 100 { 150 } else { 20 };
    let mut world = World {
        cluster,
        database: database.clone(),
        clock,
        notes: load.notes(),
        watcher: Watcher::start(Arc::clone(&db), clock, Duration::from_millis(look)),
        chance: StdRng::seed_from_u64(options.seed),
        partitions: ground.ranges().into_iter().map(|(id, _)| id).collect(),
        repeat: size.repeat,
        interval: Duration::from_secs_f64(1.0 / size.rate.max(0.01)),
        warm_standbys: shape.warm_standbys.min(shape.nodes.len() - 1),
        faults: Vec::new(),
        tell: Arc::clone(&tell),
    };
    let mut violations = Vec::new();
    if let Err(error) = (scenario.run)(&mut world).await {
        violations.push(format!("the scenario did not come to its end: {error:#}"));
    }
    tell("checking");
    let drilled = check(world, load, &front, db.as_ref(), &mut violations).await;
    Ok((drilled, violations))
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

fn usages(ground: &Ground, size: &Size, seed: u64, now: Timestamp) -> Vec<Usage> {
    let usage = |(partition, accounts): (u32, std::ops::Range<u64>)| Usage {
        partition,
        first_account: accounts.start,
        accounts: accounts.end - accounts.start,
        batch_records: size.batch_records,
        start: now.saturating_add(-60_000_000),
        seed,
    };
    ground.ranges().into_iter().map(usage).collect()
}

/// Ends the load, and looks at everything from outside.
async fn check(
    world: World,
    load: Load,
    front: &str,
    db: &dyn SharedDatabase,
    violations: &mut Vec<String>,
) -> Drilled {
    let notes = load.notes();
    let sent = match load.finish().await {
        Ok(sent) => sent,
        Err(error) => {
            violations.push(format!("I7: {error:#}"));
            Sent::new()
        }
    };
    let until = world.clock.now();
    let told = notes.told().clone();
    let reigns = world.watcher.reigns();
    let mut drilled = Drilled { told, ..Drilled::default() };
    match oracle::pull_partitions(front, &world.partitions).await {
        Ok(lines) => match audit::count(&sent, drilled.told.accepted, &lines) {
            Ok(counts) => drilled.counts = counts,
            Err(error) => violations.push(format!("I1: {error:#}")),
        },
        Err(error) => violations.push(format!("the feed can't be pulled: {error:#}")),
    }
    for &partition in &world.partitions {
        if let Err(error) = check_log(db, partition).await {
            violations.push(format!("I3: partition {partition}: {error:#}"));
        }
    }
    drilled.timeline = timeline(&drilled.told, world.faults.clone(), reigns, until);
    violations.extend(drilled.broken(&world.partitions));
    world.cluster.end().await;
    drilled
}

async fn check_log(db: &dyn SharedDatabase, partition: u32) -> Result<()> {
    let rows = oracle::log(db, PartitionId(partition)).await?;
    oracle::check_chain(&rows)
}

fn timeline(
    told: &Told,
    faults: Vec<crate::pause::Fault>,
    reigns: Vec<Reign>,
    until: Micros,
) -> Timeline {
    let pauses = Answers::new(told.answers.clone()).pauses(&faults);
    Timeline { from: 0, until, answers: told.answers.clone(), faults, pauses, reigns }
}

impl Drilled {
    /// What does not hold, of what must hold in every scenario.
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
            let answers = Answers::new(self.told.answers.clone());
            let is_late = |partition: &&u32| {
                !answers.first_since(**partition, fault.until).is_some_and(|it| it <= SERVES_WITHIN)
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
        let Self { told, counts, timeline } = self;
        let (retries, breaks) = (told.retries.len() as u64, told.breaks.len() as u64);
        let cause = told.why.as_deref().unwrap_or("no reason given");
        if scenario.promise != Promise::Exactly && told.refused > 0 {
            why.push(format!("{} records were refused: {cause}", told.refused));
        }
        if scenario.promise == Promise::NoErrorSeen && retries + breaks > 0 {
            why.push(format!("clients saw {retries} retries ({cause}), {breaks} broken streams"));
        }
        let is_violated = !why.is_empty();
        let pauses = Quantiles::of(&timeline.pauses);
        let targets = targets(scenario, &pauses);
        for missed in targets.iter().filter(|target| !target.met) {
            let TargetReport { of, limit_ms, measured_ms, .. } = missed;
            why.push(format!("{of} of the pauses is {measured_ms:.0} ms; target {limit_ms:.0} ms"));
        }
        let wait = |answer: &crate::load::Answer| Pause {
            fault: 0,
            partition: answer.partition,
            micros: Some(answer.at.saturating_sub(answer.due)),
        };
        let waits: Vec<Pause> = told.answers.iter().map(wait).collect();
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
            refused: told.refused,
            retries,
            broken_streams: breaks,
            takeovers: changes(&timeline.reigns),
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

/// How often a partition got another epoch.
fn changes(reigns: &[Reign]) -> u64 {
    let mut seen = std::collections::HashSet::new();
    reigns.iter().filter(|reign| !seen.insert(reign.partition)).count() as u64
}
