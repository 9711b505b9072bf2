//! The command line. Parsing keeps the options as given; each command resolves its own defaults.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::LazyLock;

use clap::error::{ContextKind, ContextValue};
use clap::{Arg, CommandFactory as _, Parser, Subcommand};

use crate::commands::{
    access, account, audit, cert, collect, consumer, database, demo, drill, front, handover,
    ingest, load, node, partition, plan, pull, rate, status, suspense, table, up,
};
use crate::context::Context;
use crate::exit::{EXIT_CODES, Finish};
use crate::telemetry::LogArgs;

const EXAMPLES: &str = "\
Examples:
  turnpike demo                       a cluster, a failover and a bill, in under a minute
  turnpike up --data turnpike-data    a cluster on this machine that keeps its data
  turnpike plan publish plan.xml      adds a price plan to the catalogue
  turnpike table publish dial.csv     adds a reference table, which plans read
  turnpike account import accounts.csv
  turnpike ingest usage.csv           sends usage, which is rated exactly once
  turnpike pull --consumer billing --output lines.csv
  turnpike rate --plan plan.xml --usage usage.csv    the same prices with no cluster at all

An option marked [env: TURNPIKE_…] can also be set by that variable, and most of these in a TOML file
(--config). No other option can. docs/operating.md lists all variables and keys.";

/// The text that replaces the global options in the help of each command.
const POINTER: &str =
    "Global options (--config, --quiet, --log, --log-level): see `turnpike --help`.";

/// A partitioned, fault-tolerant rating cluster: usage in, exact charges out, each exactly once.
#[derive(Debug, Parser)]
#[command(name = "turnpike", version = version(), after_help = EXAMPLES, after_long_help = long_help())]
pub(crate) struct Cli {
    /// A configuration file (TOML)
    #[arg(long, env = "TURNPIKE_CONFIG", value_name = "FILE", global = true)]
    #[arg(help_heading = "Global options")]
    pub(crate) config: Option<PathBuf>,
    /// No progress bars
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) log: LogArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The versions of the program and of the time-zone database that it uses.
fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        let tz_database = turnpike_plan::tz_database_version();
        format!("{} (time-zone database {tz_database})", env!("CARGO_PKG_VERSION"))
    });
    &VERSION
}

fn long_help() -> String {
    format!("{EXAMPLES}\n\n{EXIT_CODES}")
}

/// The command line. Every command accepts the global options, but only the help of `turnpike`
/// lists them; the help of each command refers to it.
pub(crate) fn command() -> clap::Command {
    let command = Cli::command();
    let globals = command.get_arguments().filter(|option| option.is_global_set());
    let globals: Vec<Arg> = globals.map(|option| option.clone().hide(true)).collect();
    command.mut_subcommands(|command| with_pointer(command, &globals))
}

/// Returns the error with the usage line that the help of its command shows. The parser's own usage
/// line lists every option that was given, or set in the environment, as if it were required.
pub(crate) fn with_whole_usage(
    mut error: clap::Error,
    arguments: impl Iterator<Item = OsString>,
) -> clap::Error {
    if error.get(ContextKind::Usage).is_none() {
        return error;
    }
    let mut found = command();
    found.build();
    for argument in arguments.skip(1) {
        if let Some(subcommand) = found.find_subcommand(argument).cloned() {
            found = subcommand;
        }
    }
    let usage = found.render_usage();
    error.insert(ContextKind::Usage, ContextValue::StyledStr(usage));
    error
}

fn with_pointer(command: clap::Command, globals: &[Arg]) -> clap::Command {
    let with = |text: Option<&clap::builder::StyledStr>| match text {
        Some(text) => format!("{text}\n\n{POINTER}"),
        None => POINTER.to_owned(),
    };
    let after = with(command.get_after_help());
    let after_long = command.get_after_long_help().map(|text| with(Some(text)));
    let command = command.args(globals.iter().cloned()).after_help(after);
    let command = match after_long {
        Some(text) => command.after_long_help(text),
        None => command,
    };
    command.mut_subcommands(|command| with_pointer(command, globals))
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Shows what Turnpike does: a cluster, usage, a killed node, a takeover, a bill
    Demo(demo::DemoArgs),
    /// Runs a whole cluster on this machine: a front, nodes, one SQLite file
    Up(up::UpArgs),
    /// Runs a rating node
    Node(node::NodeArgs),
    /// Runs a front
    Front(front::FrontArgs),
    /// Creates partitions in the shared database
    #[command(subcommand)]
    Partition(partition::PartitionCommand),
    /// Grants roles, issues tokens, and tests what a principal may do
    #[command(subcommand)]
    Access(access::AccessCommand),
    /// Creates the roles of the shared database, and migrates its schema
    #[command(subcommand)]
    Database(database::DatabaseCommand),
    /// Opens, imports, changes and shows accounts
    #[command(subcommand)]
    Account(account::AccountCommands),
    /// Checks, publishes, lists and shows price plans
    #[command(subcommand)]
    Plan(plan::PlanCommand),
    /// Checks, publishes, lists and shows reference tables: dial plans, taxes, addresses
    #[command(subcommand)]
    Table(table::TableCommand),
    /// Sends a file of usage records
    Ingest(ingest::IngestArgs),
    /// Converts files of other programs to usage records and sends them
    #[command(subcommand)]
    Collect(collect::CollectCommand),
    /// Rates a file of usage locally, without a cluster
    Rate(rate::RateArgs),
    /// Pulls rated output into a file
    Pull(pull::PullArgs),
    /// Lists and removes consumers of rated output
    #[command(subcommand)]
    Consumer(consumer::ConsumerCommand),
    /// Lists and recycles records that can't be rated yet
    #[command(subcommand)]
    Suspense(suspense::SuspenseCommand),
    /// Lists, verifies, exports and trims the audit log: who changed what
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Shows which node serves which partition
    Status(status::StatusArgs),
    /// Moves a partition to another member; no record is refused
    Handover(handover::HandoverArgs),
    /// Moves all partitions away from a node, for maintenance
    Drain(handover::DrainArgs),
    /// Removes from the list of nodes a node that will not come back
    Forget(handover::ForgetArgs),
    /// Generates usage and measures the throughput
    Load(load::LoadArgs),
    /// Makes an authority, issues, shows and renews certificates for TLS
    #[command(subcommand)]
    Cert(cert::CertCommand),
    /// Injects faults into a cluster under load, and measures the effect on clients
    Drill(drill::DrillArgs),
}

impl Command {
    /// Whether the command runs until it is stopped.
    pub(crate) const fn is_server(&self) -> bool {
        matches!(self, Self::Up(_) | Self::Node(_) | Self::Front(_))
    }

    /// The default log level: servers log their operation, other commands only warnings and errors.
    pub(crate) const fn log_default(&self) -> &'static str {
        if self.is_server() { "info" } else { "warn" }
    }

    /// Runs the command.
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<Finish> {
        match self {
            Self::Demo(args) => demo::run(args.resolve(context)).await,
            Self::Up(args) => up::run(args.resolve(context)?).await,
            Self::Node(args) => node::run(args.resolve(context)?).await,
            Self::Front(args) => front::run(args.resolve(context)?).await,
            Self::Partition(command) => partition::run(command, context).await,
            Self::Access(command) => access::run(command, context).await,
            Self::Database(command) => database::run(command, context).await,
            Self::Account(command) => account::run(command, context).await,
            Self::Plan(command) => plan::run(command, context).await,
            Self::Table(command) => table::run(command, context).await,
            Self::Ingest(args) => ingest::run(args.resolve(context)?).await,
            Self::Collect(command) => collect::run(command, context).await,
            Self::Rate(args) => rate::run(args),
            Self::Pull(args) => pull::run(args.resolve(context)?).await,
            Self::Consumer(command) => consumer::run(command, context).await,
            Self::Suspense(command) => suspense::run(command, context).await,
            Self::Audit(command) => audit::run(command, context).await,
            Self::Status(args) => status::run(args.resolve(context)?).await,
            Self::Handover(args) => handover::handover(args.resolve(context)?).await,
            Self::Drain(args) => handover::drain(args.resolve(context)?).await,
            Self::Forget(args) => handover::forget(args.resolve(context)?).await,
            Self::Load(args) => load::run(args.resolve(context)?).await,
            Self::Cert(command) => cert::run(command),
            Self::Drill(args) => drill::run(args).await,
        }
    }
}

#[cfg(test)]
mod tests;
