//! `turnpike drill`: injects faults into a cluster under load, and measures the effect on clients.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde::Serialize;
use turnpike_drill::{
    Database, Options, Report, RunningCluster, SCENARIOS, Scenario, Verdict, show_ms,
};
use turnpike_types::AccountRange;

use crate::exit::{Finish, usage};
use crate::{server, ui, values};

const EXAMPLES: &str = "\
Each scenario starts its own cluster from this program, on free ports, keeps it under load, injects
its faults, and checks the outcome of every record. All processes end with the drill.

Examples:
  turnpike drill list
  turnpike drill crash
  turnpike drill --all --html drills.html --json-file drills.json
  turnpike drill kills --repeat 200 --seed 7
  turnpike drill crash freeze --database postgres://turnpike@db/empty
  turnpike drill handover drain --front http://front:7070 \\
      --database postgres://turnpike@db/turnpike --test-accounts 999000-999999";

const EXIT_CODES: &str = "\
Exit codes:
  0  everything held, every target was met
  1  a violation: a record lost, doubled, mispriced or refused; a log that does not hold; a cluster
     that does not serve again; or the drill could not be done
  2  the command line or the configuration is wrong
  3  everything held, but a pause was longer than its target";

/// Options of `drill`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct DrillArgs {
    #[command(subcommand)]
    command: Option<DrillCommand>,
    /// The scenarios to run, in this order
    #[arg(value_name = "SCENARIO", required_unless_present = "all", conflicts_with = "all")]
    scenarios: Vec<String>,
    /// Run all scenarios
    #[arg(long)]
    all: bool,
    /// Faults per scenario [default: the scenario's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    repeat: Option<u32>,
    /// Seed of the random choice of victims, times and accounts
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Batches per second and partition [default: the scenario's, mostly 50]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rate: Option<u32>,
    /// Number of accounts [default: the scenario's, mostly 400]
    #[arg(long = "account-count", alias = "accounts", value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    accounts: Option<u64>,
    /// Partitions [default: the scenario's, mostly 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    partitions: Option<u32>,
    /// An empty database; with --front, the database of that cluster [default: a PostgreSQL that
    /// the drill starts, else SQLite]
    #[arg(long, value_name = "URL", hide_env_values = true)]
    database: Option<String>,
    /// Drill the running cluster of this front instead of a new one; only scenarios without harm to
    /// other clients are allowed
    #[arg(long, value_name = "URL", requires = "database", requires = "test_accounts")]
    front: Option<String>,
    /// Accounts of the cluster of --front that only the drill uses: it opens them and sends usage
    /// for them
    #[arg(long, value_name = "FIRST-LAST", value_parser = values::accounts, requires = "front")]
    test_accounts: Option<AccountRange>,
    /// Write all figures here, as JSON
    #[arg(long = "json-file", alias = "json", value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with a time line of each scenario here
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Keep the processes' logs here [default: only after a violation, in a temporary directory]
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// Commands other than a drill.
#[derive(Debug, Subcommand)]
enum DrillCommand {
    /// Explains each scenario
    #[command(after_help = "Examples:\n  turnpike drill list")]
    List,
}

#[derive(Serialize)]
struct Results<'a> {
    seed: u64,
    scenarios: &'a [Report],
}

/// The resolved settings of a drill.
#[derive(Debug)]
struct DrillSettings {
    scenarios: Vec<&'static Scenario>,
    options: Options,
    database: Option<String>,
    json: Option<PathBuf>,
    html: Option<PathBuf>,
}

impl DrillArgs {
    fn resolve(self) -> anyhow::Result<DrillSettings> {
        Ok(DrillSettings {
            scenarios: chosen(&self)?,
            options: options(&self)?,
            database: self.database,
            json: self.json,
            html: self.html,
        })
    }
}

pub(crate) async fn run(args: DrillArgs) -> anyhow::Result<Finish> {
    match args.command {
        Some(DrillCommand::List) => list(),
        None => interruptible(args.resolve()?).await,
    }
}

async fn interruptible(settings: DrillSettings) -> anyhow::Result<Finish> {
    let (mut interrupt, mut terminate) = server::signals()?;
    // An interrupt drops the drill's future, which ends its processes and removes its database.
    tokio::select! {
        result = drill(settings) => result,
        _ = interrupt.recv() => bail!("interrupted; all processes that it started are stopped"),
        _ = terminate.recv() => bail!("terminated; all processes that it started are stopped"),
    }
}

async fn drill(settings: DrillSettings) -> anyhow::Result<Finish> {
    let options = &settings.options;
    let (database, note) = Database::choose(settings.database.clone()).await?;
    if let Some(note) = note {
        ui::print_stderr(format_args!("the drill could not start a PostgreSQL ({note})"));
    }
    if options.running.is_none() {
        database.must_be_empty().await?;
    }
    ui::print_stderr(format_args!("on {}, seed {}", database.word(), options.seed));
    let temporary = tempfile::tempdir().context("no temporary directory can be made")?;
    let dir = options.keep.clone().unwrap_or_else(|| temporary.path().to_owned());
    let mut reports = Vec::new();
    for &scenario in &settings.scenarios {
        let name = scenario.name;
        ui::print_stderr(format_args!("{name}: {}", scenario.help));
        let tell = Arc::new(move |line: &str| ui::print_stderr(format_args!("  {name}: {line}")));
        let report = turnpike_drill::run(scenario, options, &database, &dir.join(name), tell)
            .await
            .with_context(|| format!("scenario {name} could not run"))?;
        print_result(&report);
        reports.push(report);
        // The reports are written after each scenario, so that an interrupt loses no finished
        // report.
        write(&settings, options.seed, &reports)?;
    }
    ui::print(turnpike_drill::table(&reports).trim_end())?;
    for report in &reports {
        report
            .why
            .iter()
            .try_for_each(|why| ui::print(format_args!("{}: {why}", report.scenario)))?;
    }
    let worst = reports.iter().map(|report| report.verdict).max();
    if worst == Some(Verdict::Violated) && options.keep.is_none() {
        ui::print_stderr(format_args!(
            "the processes' logs stay in {}",
            temporary.keep().display()
        ));
    }
    Ok(match worst {
        Some(Verdict::Violated) => Finish::Different,
        Some(Verdict::TargetMissed) => Finish::Partial,
        Some(Verdict::Passed | Verdict::LeftOut) | None => Finish::Done,
    })
}

fn chosen(args: &DrillArgs) -> anyhow::Result<Vec<&'static Scenario>> {
    if args.all {
        return Ok(SCENARIOS.iter().collect());
    }
    let named = |name: &String| {
        turnpike_drill::named(name).ok_or_else(|| {
            let names: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
            usage(format!("there is no scenario {name:?}; there are: {}", names.join(", ")))
        })
    };
    args.scenarios.iter().map(named).collect()
}

fn options(args: &DrillArgs) -> anyhow::Result<Options> {
    let running = args.front.clone().zip(args.test_accounts).map(|(front, range)| RunningCluster {
        front,
        accounts: range.first().0..range.last().0.saturating_add(1),
    });
    Ok(Options {
        running,
        binary: std::env::current_exe().context("the path of this program is not known")?,
        seed: args.seed,
        repeat: args.repeat,
        rate: args.rate.map(f64::from),
        accounts: args.accounts,
        partitions: args.partitions,
        keep: args.keep.clone(),
    })
}

fn print_result(report: &Report) {
    let (pauses, word) = (&report.pauses, report.verdict.word());
    let [p50, p99, max] = [pauses.p50_ms, pauses.p99_ms, pauses.max_ms].map(show_ms);
    if report.verdict != Verdict::LeftOut {
        ui::print_stderr(format_args!(
            "  {}: pauses {p50} p50, {p99} p99, {max} max",
            report.scenario
        ));
    }
    ui::print_stderr(format_args!("  {}: {word}", report.scenario));
    report.why.iter().for_each(|why| ui::print_stderr(format_args!("    {why}")));
}

fn write(settings: &DrillSettings, seed: u64, reports: &[Report]) -> anyhow::Result<()> {
    let put = |file: &Path, text: String| {
        std::fs::write(file, text).with_context(|| format!("{} can't be written", file.display()))
    };
    if let Some(file) = &settings.json {
        put(file, serde_json::to_string_pretty(&Results { seed, scenarios: reports })?)?;
    }
    if let Some(file) = &settings.html {
        put(file, turnpike_drill::page(reports, seed))?;
    }
    Ok(())
}

fn list() -> anyhow::Result<Finish> {
    for scenario in SCENARIOS {
        let Scenario { name, help, holds, proves, targets, .. } = scenario;
        ui::print(format_args!("{name}\n    {help}.\n    Must hold: {holds}."))?;
        let target = |t: &turnpike_drill::Target| format!("{} {}", t.of.word(), show_ms(t.millis));
        let targets: Vec<String> = targets.iter().map(target).collect();
        if !targets.is_empty() {
            ui::print(format_args!("    Pauses: at most {}.", targets.join(", ")))?;
        }
        ui::print(format_args!("    Shows: {proves}."))?;
    }
    Ok(Finish::Done)
}
