//! `turnpike drill`: injects faults into a cluster under load, and measures the effect on clients.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde::Serialize;
use turnpike_drill::{
    Database, Options, Report, RunningCluster, SCENARIOS, Scenario, Undo, Verdict, show_ms,
};
use turnpike_types::AccountRange;

use crate::exit::{Finish, usage};
use crate::stop_signals::StopSignals;
use crate::{ui, values};

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
     that does not serve again; or the drill could not be done, was interrupted, or could not be
     judged because one of its processes was ended by something else
  2  the command line is wrong, or names what a drill can't use: nothing was started or changed
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
    /// Number of accounts [default: the scenario's, mostly 400, and at least one per partition]
    #[arg(long = "account-count", alias = "accounts", value_name = "N", conflicts_with = "front")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    accounts: Option<u64>,
    /// Partitions [default: the scenario's, mostly 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    #[arg(conflicts_with = "front")]
    partitions: Option<u32>,
    /// An empty database, or `sqlite:` for a fresh file; with --front, the database of that cluster
    /// [default: a PostgreSQL that the drill starts, else SQLite]
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
    /// Keep the processes' logs here, in a new or empty directory [default: only after a violation,
    /// in a temporary directory]
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
    /// Whether the user named the scenarios, so that each of them has to run.
    are_named: bool,
    options: Options,
    database: Option<String>,
    json: Option<PathBuf>,
    html: Option<PathBuf>,
}

impl DrillArgs {
    fn resolve(self) -> anyhow::Result<DrillSettings> {
        let scenarios = chosen(&self)?;
        check_sizes(&self, &scenarios)?;
        if let Some(url) = &self.database {
            Database::check_address(url).map_err(|why| usage(format!("--database: {why}")))?;
            if self.front.is_some() && url.starts_with("sqlite:") {
                return Err(usage(
                    "--front: a drill of a running cluster needs a cluster on PostgreSQL; start a \
                     cluster of the drill, without --front",
                ));
            }
        }
        Ok(DrillSettings {
            scenarios,
            are_named: !self.all,
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
    let mut signals = StopSignals::new()?;
    let (running, undo) = (settings.options.running.clone(), settings.options.undo.clone());
    // A signal drops the drill's future, which ends its processes and removes its database.
    let signal = tokio::select! {
        result = drill(settings) => return result,
        signal = signals.next() => signal,
    };
    let Some(RunningCluster { front, .. }) = running else {
        bail!("{signal} ended the drill; all processes that it started are stopped")
    };
    for command in undo.commands(&front) {
        ui::print_stderr(format_args!("undoing a request of the drill, as by `{command}`"));
    }
    tokio::select! {
        () = undo.run(&front) => {}
        _ = signals.next() => {}
    }
    match undo.commands(&front).as_slice() {
        [] => bail!("{signal} ended the drill; none of its requests is in force in the cluster"),
        commands => bail!(
            "{signal} ended the drill, and its requests could not be undone: run `{}`",
            commands.join("`, `")
        ),
    }
}

async fn drill(settings: DrillSettings) -> anyhow::Result<Finish> {
    let options = &settings.options;
    check_outputs(&settings)?;
    let (database, note) = Database::choose(settings.database.clone()).await?;
    if let Some(note) = &note {
        ui::print_stderr(format_args!("the drill could not start a PostgreSQL ({note})"));
    }
    check_usable(&settings, &database).await?;
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
        let is_judged = report.verdict != Verdict::NotJudged;
        reports.push(report);
        // The reports are written after each scenario, so that an interrupt loses no finished
        // report.
        if let Err(error) = write(&settings, options.seed, &reports) {
            ui::print_stderr(format_args!("warning: {error:#}; trying again at the end"));
        }
        if !is_judged {
            break;
        }
    }
    ui::print(turnpike_drill::table(&reports).trim_end())?;
    for report in &reports {
        report
            .why
            .iter()
            .try_for_each(|why| ui::print(format_args!("{}: {why}", report.scenario)))?;
    }
    let worst = reports.iter().map(|report| report.verdict).max();
    let fails = matches!(worst, Some(Verdict::Violated | Verdict::NotJudged));
    if fails && options.keep.is_none() {
        ui::print_stderr(format_args!(
            "the processes' logs stay in {}",
            temporary.keep().display()
        ));
    }
    write(&settings, options.seed, &reports)?;
    Ok(match worst {
        Some(Verdict::Violated | Verdict::NotJudged) => Finish::Different,
        Some(Verdict::TargetMissed) => Finish::Partial,
        Some(Verdict::Passed | Verdict::LeftOut) | None => Finish::Done,
    })
}

/// Refuses numbers of accounts and partitions that don't fit.
fn check_sizes(args: &DrillArgs, scenarios: &[&Scenario]) -> anyhow::Result<()> {
    let Some(accounts) = args.accounts else { return Ok(()) };
    for scenario in scenarios {
        let partitions = args.partitions.unwrap_or(scenario.size.partitions);
        if accounts < u64::from(partitions) {
            return Err(usage(format!(
                "--account-count {accounts}: scenario {} has {partitions} partitions, and each needs \
                 an account; give a larger number, or a smaller --partitions",
                scenario.name
            )));
        }
    }
    Ok(())
}

/// Checks that the results and logs can be written, before anything starts.
fn check_outputs(settings: &DrillSettings) -> anyhow::Result<()> {
    if let Some(dir) = &settings.options.keep {
        let wrong = |why: &dyn std::fmt::Display| usage(format!("--keep {}: {why}", dir.display()));
        std::fs::create_dir_all(dir).map_err(|error| wrong(&error))?;
        let mut files = std::fs::read_dir(dir).map_err(|error| wrong(&error))?;
        if files.next().is_some() {
            return Err(wrong(&"the directory is not empty; name a new one"));
        }
    }
    let json = settings.json.as_deref().map(|path| check_file("--json-file", path)).transpose()?;
    let html = settings.html.as_deref().map(|path| check_file("--html", path)).transpose()?;
    if let (Some(json), Some(html)) = (json.flatten(), html.flatten())
        && json == html
    {
        return Err(usage("--json-file and --html name the same file; name two"));
    }
    Ok(())
}

/// Checks that the file can be written. Returns what identifies it if it is a regular file.
fn check_file(option: &str, path: &Path) -> anyhow::Result<Option<PathBuf>> {
    let wrong = |error: std::io::Error| usage(format!("{option} {}: {error}", path.display()));
    let found = std::fs::metadata(path);
    if found.as_ref().is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        // Opening a pipe would wait for its reader.
        return Ok(None);
    }
    let opened = std::fs::File::options().append(true).create(true).open(path);
    opened.map_err(wrong)?;
    let whole = path.canonicalize().map_err(wrong)?;
    if found.is_err() {
        std::fs::remove_file(path).map_err(wrong)?;
    }
    Ok(Some(whole))
}

/// Refuses, before anything starts, scenarios that can't run and a database or a cluster that the
/// drill must not use.
async fn check_usable(settings: &DrillSettings, database: &Database) -> anyhow::Result<()> {
    let DrillSettings { scenarios, options, are_named, .. } = settings;
    let reason = |scenario: &&'static Scenario| {
        let why = turnpike_drill::impossible(scenario, options, database)?;
        Some(format!("{}: {why}", scenario.name))
    };
    let impossible: Vec<String> = scenarios.iter().filter_map(reason).collect();
    if !impossible.is_empty() && (*are_named || impossible.len() == scenarios.len()) {
        return Err(usage(format!("nothing was started: {}", impossible.join("; "))));
    }
    if let Some(running) = &options.running {
        let refusal = turnpike_drill::refusal(running, database).await?;
        return refusal.map_or(Ok(()), |why| Err(usage(format!("nothing was changed: {why}"))));
    }
    match database.a_table().await? {
        Some(table) => Err(usage(format!(
            "--database: the database has the table {table}; a drill needs an empty database"
        ))),
        None => Ok(()),
    }
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
    let running = args
        .front
        .clone()
        .zip(args.test_accounts)
        .map(|(front, range)| RunningCluster { front, accounts: range });
    Ok(Options {
        running,
        binary: std::env::current_exe().context("the path of this program is not known")?,
        seed: args.seed,
        repeat: args.repeat,
        rate: args.rate.map(f64::from),
        accounts: args.accounts,
        partitions: args.partitions,
        keep: args.keep.clone(),
        undo: Undo::default(),
    })
}

fn print_result(report: &Report) {
    let (pauses, word) = (&report.pauses, report.verdict.word());
    let [p50, p99, max] = [pauses.p50_ms, pauses.p99_ms, pauses.max_ms].map(show_ms);
    if report.verdict.has_figures() {
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
