//! `turnpike up`: runs a whole cluster on this machine.
//!
//! ```text
//!  this process --starts, restarts------> front, node-1 .. node-N   (processes of this program)
//!        |                                      |
//!        +---------- partitions ----> DIR/turnpike.db (SQLite) <----+
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use tokio::task::JoinSet;
use turnpike_proto::cluster::v1::StatusRequest;
use turnpike_store::{OpenOptions, PartitionRow, PartitionSpec, SharedDatabase};
use turnpike_types::AccountRange;

use crate::children::{ChildCommand, RunningChild};
use crate::cli::Context;
use crate::client::Front;
use crate::commands::front::LISTEN_DEFAULT;
use crate::commands::partition::{AcceptanceArgs, rotated, specs, split};
use crate::data_dir::DataDir;
use crate::exit::{EXIT_CODES, Finish};
use crate::{server, ui, values};

const EXAMPLES: &str = "\
All data is in DIR/turnpike.db; a new start with the same DIR continues with it. A second `up` on a
DIR that is in use ends with exit code 4. A process that ends is restarted after a few seconds: try
it by killing one, and watch `turnpike status`.

Examples:
  turnpike up
  turnpike up --data /var/lib/turnpike --nodes 3 --partitions 8 --accounts 1-10000000
  turnpike up --data backfill --accept-since 2010-01-01";

/// Options of `up`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct UpArgs {
    /// The directory of the database [default: turnpike-data]
    #[arg(long, env = "TURNPIKE_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// The number of nodes [default: 2]
    #[arg(long, env = "TURNPIKE_NODES", value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=64))]
    nodes: Option<u32>,
    /// The number of partitions, for a new database [default: 4]
    #[arg(long, env = "TURNPIKE_PARTITIONS", value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    partitions: Option<u32>,
    /// The accounts to split among the partitions, for a new database [default: 1-1000000]
    #[arg(long, value_name = "FIRST-LAST", value_parser = values::accounts)]
    accounts: Option<AccountRange>,
    #[command(flatten)]
    acceptance: AcceptanceArgs,
    /// The front's listening address [default: 127.0.0.1:7070]
    #[arg(long, env = "TURNPIKE_LISTEN", value_name = "ADDRESS")]
    listen: Option<String>,
}

/// The delay before a process is restarted: long enough for a standby to take over.
const RESTART_AFTER: Duration = Duration::from_secs(3);

pub(crate) async fn run(args: UpArgs, context: &Context) -> anyhow::Result<Finish> {
    let file = &context.config.up;
    let data = args.data.or_else(|| file.data.clone());
    let data = data.unwrap_or_else(|| PathBuf::from("turnpike-data"));
    let listen = args.listen.or_else(|| file.listen.clone());
    let plan = ClusterPlan {
        nodes: args.nodes.or(file.nodes).unwrap_or(2),
        partitions: args.partitions.or(file.partitions),
        accounts: args.accounts,
        acceptance: args.acceptance,
        listen: listen.unwrap_or_else(|| LISTEN_DEFAULT.to_owned()),
        shows_logs: true,
    };
    let (mut interrupt, mut terminate) = server::signals()?;
    log_settings(&data, &plan, context);
    let held = checked(&data, &plan).await?;
    let cluster = tokio::select! {
        cluster = LocalCluster::start(&data, &plan, context) => cluster?,
        _ = interrupt.recv() => return Ok(Finish::Done),
        _ = terminate.recv() => return Ok(Finish::Done),
    };
    ui::print_stderr(format_args!(
        "\nThe cluster serves at http://{}; Ctrl-C stops it.",
        cluster.address()
    ));
    let (first, count) = cluster.accounts_for_load;
    ui::print_stderr(format_args!(
        "Try next:\n  turnpike status\n  turnpike load --setup --first-account {first} \
         --account-count {count} --seconds 5"
    ));
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let mut keepers = JoinSet::new();
    for child in cluster.nodes {
        keepers.spawn(keep(child, stopping.clone()));
    }
    let mut front = tokio::spawn(keep(cluster.front, stopping.clone()));
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        ended = &mut front => {
            let _ = stop.send(true);
            while keepers.join_next().await.is_some() {}
            return ended?.map(|()| Finish::Done);
        }
    }
    ui::print_stderr("stopping; press Ctrl-C again to kill the remaining processes");
    let _ = stop.send(true);
    tokio::select! {
        _ = async { while keepers.join_next().await.is_some() {} let _ = front.await; } => {}
        _ = interrupt.recv() => {}
    }
    // The directory stays locked until the last child has ended.
    drop(held);
    Ok(Finish::Done)
}

/// Checks the settings, and locks the data directory. Nothing is created if they can't be used.
async fn checked(data: &Path, plan: &ClusterPlan) -> anyhow::Result<DataDir> {
    plan.acceptance.check()?;
    split(plan.accounts()?, plan.partitions())?;
    // If both the directory and the address are in use, the error is about the directory.
    if DataDir::was_used(data) {
        let held = DataDir::lock(data)?;
        drop(server::listen(&plan.listen).await?);
        return Ok(held);
    }
    drop(server::listen(&plan.listen).await?);
    DataDir::lock(data)
}

/// Writes the first line of the log: version and settings. An existing database keeps its
/// partitions, whatever the options say.
fn log_settings(data: &Path, plan: &ClusterPlan, context: &Context) {
    let is_new = !DataDir::was_used(data);
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        pid = std::process::id(),
        config = %context.config_shown(),
        data = %data.display(),
        listen = plan.listen,
        nodes = plan.nodes,
        partitions = is_new.then(|| plan.partitions()),
        accounts = is_new.then(|| plan.accounts().map(|accounts| accounts.to_string()).ok()).flatten(),
        log = context.log.filter,
        "cluster starts"
    );
}

/// Restarts one child whenever it ends, until the stop signal.
async fn keep(
    mut child: RunningChild,
    mut stopping: tokio::sync::watch::Receiver<bool>,
) -> anyhow::Result<()> {
    loop {
        let (name, pid) = (child.recipe.name.clone(), child.pid());
        let how = tokio::select! {
            how = child.ended() => how,
            () = wait_for_stop(&mut stopping) => {
                child.stop().await;
                return Ok(());
            }
        };
        ui::print_stderr(format_args!("{name} (pid {pid}) ended ({how}); restarting it"));
        let recipe = child.recipe.clone();
        child = loop {
            tokio::select! {
                () = tokio::time::sleep(RESTART_AFTER) => {}
                () = wait_for_stop(&mut stopping) => return Ok(()),
            }
            match recipe.start().await {
                Ok(child) => break child,
                Err(error) => ui::print_stderr(format_args!("{error:#}; retrying")),
            }
        };
        ui::print_stderr(format_args!("{name} is running again (pid {})", child.pid()));
    }
}

/// Waits for the stop signal.
async fn wait_for_stop(stopping: &mut tokio::sync::watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// The parameters of an embedded cluster.
#[derive(Clone, Debug)]
pub(crate) struct ClusterPlan {
    pub(crate) nodes: u32,
    /// The number of partitions of a new database; `None` for the default.
    pub(crate) partitions: Option<u32>,
    /// The accounts of a new database; `None` for the default.
    pub(crate) accounts: Option<AccountRange>,
    pub(crate) acceptance: AcceptanceArgs,
    pub(crate) listen: String,
    pub(crate) shows_logs: bool,
}

impl ClusterPlan {
    fn partitions(&self) -> u32 {
        self.partitions.unwrap_or(4)
    }

    fn accounts(&self) -> anyhow::Result<AccountRange> {
        Ok(self.accounts.map_or_else(|| AccountRange::new(1, 1_000_000), Ok)?)
    }
}

/// A running embedded cluster.
#[derive(Debug)]
pub(crate) struct LocalCluster {
    /// The first account and the number of accounts that the log suggests for `turnpike load`.
    accounts_for_load: (u64, u64),
    pub(crate) front: RunningChild,
    pub(crate) nodes: Vec<RunningChild>,
}

impl LocalCluster {
    /// Starts a cluster on `data`, and waits until every partition is served.
    pub(crate) async fn start(
        data: &Path,
        plan: &ClusterPlan,
        context: &Context,
    ) -> anyhow::Result<Self> {
        let place = || format!("{} can't be created (--data)", data.display());
        std::fs::create_dir_all(data).with_context(place)?;
        let url = format!("sqlite:{}", data.join("turnpike.db").display());
        let database = turnpike_store::open(&url, &OpenOptions::default()).await?;
        let names: Vec<String> = (1..=plan.nodes).map(|number| format!("node-{number}")).collect();
        create_partitions(&database, plan, &names).await?;
        let accounts_for_load = accounts_for_load(&database.observe().await?.partitions);
        // From here on only the children access the file.
        drop(database);
        let front = ["front", "--database", &url, "--listen", &plan.listen];
        let front = recipe("front", &front, plan.shows_logs, context).start().await?;
        ui::print_stderr(format_args!("front (pid {}) at http://{}", front.pid(), front.address));
        // Started concurrently, so that each node claims its preferred partitions while they are
        // vacant.
        let starts = names.iter().map(|name| {
            let node = ["node", "--name", name, "--database", &url, "--listen", "127.0.0.1:0"];
            let node = recipe(name, &node, plan.shows_logs, context);
            async move { node.start().await }
        });
        let nodes = futures::future::try_join_all(starts).await?;
        for node in &nodes {
            let name = &node.recipe.name;
            ui::print_stderr(format_args!("{name} (pid {}) at {}", node.pid(), node.address));
        }
        let cluster = Self { accounts_for_load, front, nodes };
        cluster.served().await?;
        Ok(cluster)
    }

    /// The address of the front.
    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.front.address
    }

    /// A connection to the front.
    pub(crate) async fn connect(&self, timeout: Duration) -> anyhow::Result<Front> {
        Front::connect(&format!("http://{}", self.address()), timeout).await
    }

    /// Waits until every partition is served.
    async fn served(&self) -> anyhow::Result<()> {
        let front = self.connect(Duration::from_secs(30)).await?;
        for _ in 0..300 {
            let status = front.call("the status", || {
                let mut cluster = front.cluster();
                async move { cluster.status(StatusRequest {}).await }
            });
            let status = status.await?;
            let served = status.partitions.iter().all(|partition| partition.served);
            if served && !status.partitions.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("after 30 s a partition has no owner; `turnpike status` shows which")
    }

    /// Stops the front, then the nodes.
    pub(crate) async fn stop(self) {
        self.front.stop().await;
        let stops: JoinSet<()> = self.nodes.into_iter().map(RunningChild::stop).collect();
        stops.join_all().await;
    }
}

/// The accounts that a load may use without touching those that a user opens first, which usually
/// have low numbers: the last 10,000 of the last partition, or half of its accounts if it has fewer
/// than 20,000. Returns the first account and the number of accounts.
fn accounts_for_load(partitions: &[PartitionRow]) -> (u64, u64) {
    let ranges = partitions.iter().map(|partition| partition.spec.range);
    let Some(range) = ranges.max_by_key(|range| range.last()) else { return (1, 1) };
    let (first, last) = (range.first().0, range.last().0);
    let count = ((last - first) / 2).clamp(1, 10_000);
    (last - count + 1, count)
}

async fn create_partitions(
    database: &Arc<dyn SharedDatabase>,
    plan: &ClusterPlan,
    names: &[String],
) -> anyhow::Result<()> {
    let there = database.observe().await?.partitions;
    if !there.is_empty() {
        let specs: Vec<&PartitionSpec> = there.iter().map(|partition| &partition.spec).collect();
        ui::print_stderr(format_args!("the database has {} partitions already", specs.len()));
        for option in without_effect(plan, &specs) {
            ui::print_stderr(format_args!(
                "warning: {option} has no effect: the settings of a database are those with which it \
                 was created; `turnpike partition init` adds partitions, and another --data begins a \
                 new database"
            ));
        }
        return Ok(());
    }
    let ranges = split(plan.accounts()?, plan.partitions())?;
    let specs = specs(&ranges, 1, &plan.acceptance, |place| rotated(names, place))?;
    Ok(database.create_partitions(&specs).await?)
}

/// The options, as written, that have no effect because they differ from the partitions of an
/// existing database.
fn without_effect(plan: &ClusterPlan, specs: &[&PartitionSpec]) -> Vec<String> {
    let mut options = Vec::new();
    let count = u32::try_from(specs.len()).unwrap_or(u32::MAX);
    options.extend(
        plan.partitions
            .filter(|&asked| asked != count)
            .map(|asked| format!("--partitions {asked}")),
    );
    let first = specs.iter().map(|spec| spec.range.first()).min();
    let last = specs.iter().map(|spec| spec.range.last()).max();
    let accounts =
        plan.accounts.filter(|asked| (Some(asked.first()), Some(asked.last())) != (first, last));
    options.extend(accounts.map(|asked| format!("--accounts {asked}")));
    options.extend(specs.iter().find_map(|spec| plan.acceptance.unlike(spec)));
    options
}

/// The command line of a child, with the parent's configuration file and log settings.
fn recipe(name: &str, arguments: &[&str], shows_log: bool, context: &Context) -> ChildCommand {
    let mut recipe = ChildCommand::server(name, arguments, shows_log);
    if let Some(path) = &context.config_path {
        recipe.arguments.extend(["--config".into(), path.into()]);
    }
    recipe.arguments.extend(["--log-level".into(), context.log.filter.clone().into()]);
    if context.log.format == crate::telemetry::LogOutput::Json {
        recipe.arguments.extend(["--log".into(), "json".into()]);
    }
    recipe
}
