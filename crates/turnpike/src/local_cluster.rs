//! A whole cluster on this machine, whose processes are children of this one.
//!
//! ```text
//!  this process --starts----------------> front, node-1 .. node-N   (processes of this program)
//!        |                                      |
//!        +---------- partitions ----> DIR/turnpike.db (SQLite) <----+
//! ```

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::task::JoinSet;
use tonic::{Code, Response};
use turnpike_harness::process::{
    InheritedSettings, ListeningServer, ServerCommand, ServerLog, StopRequest,
};
use turnpike_proto::cluster::v1::StatusRequest;
use turnpike_store::{NodeRow, OpenOptions, PartitionRow, PartitionSpec, SharedDatabase};
use turnpike_types::{AccountRange, Must};

use crate::client::Front;
use crate::context::Context;
use crate::partitions::{Acceptance, create, rotated, specs, split};
use crate::settings::Setting;
use crate::telemetry::LogSettings;
use crate::ui::{self, LogOutput};

/// The maximum time until a child listens.
pub(crate) const START_MAX: Duration = Duration::from_secs(30);
/// The maximum time until a child ends after a request to stop.
const STOP_MAX: Duration = Duration::from_secs(15);

const NOT_SERVED: &str = "after 30 s a partition has no owner; `turnpike status` shows which";

/// The parameters of an embedded cluster.
#[derive(Clone, Debug)]
pub(crate) struct ClusterPlan {
    pub(crate) nodes: u32,
    /// The number of partitions of a new database.
    pub(crate) partitions: Setting<u32>,
    /// The accounts of a new database.
    pub(crate) accounts: Setting<AccountRange>,
    pub(crate) acceptance: Acceptance,
    pub(crate) listen: Setting<String>,
    /// Whether other machines may connect to the front.
    pub(crate) insecure_plaintext: bool,
    pub(crate) children: ChildSettings,
}

/// The global options that the processes of a cluster get from their parent.
#[derive(Clone, Debug)]
pub(crate) struct ChildSettings {
    config_path: Option<PathBuf>,
    pub(crate) log: LogSettings,
    /// Whether the processes' logs are written to the parent's standard error.
    shows_logs: bool,
}

impl ChildSettings {
    pub(crate) fn new(context: &Context, shows_logs: bool) -> Self {
        Self { config_path: context.config_path.clone(), log: context.log.clone(), shows_logs }
    }
}

/// A running embedded cluster.
#[derive(Debug)]
pub(crate) struct LocalCluster {
    /// The first account and the number of accounts that the log suggests for `turnpike load`.
    pub(crate) accounts_for_load: (u64, u64),
    pub(crate) front: ListeningServer,
    pub(crate) nodes: Vec<ListeningServer>,
}

impl LocalCluster {
    /// Starts a cluster on `data`, and waits until every partition is served.
    pub(crate) async fn start(data: &Path, plan: &ClusterPlan) -> anyhow::Result<Self> {
        let place = || format!("{} can't be created (--data)", data.display());
        std::fs::create_dir_all(data).with_context(place)?;
        let url = format!("sqlite:{}", data.join("turnpike.db").display());
        let database = turnpike_store::open(&url, &OpenOptions::default()).await?;
        let names: Vec<String> = (1..=plan.nodes).map(|number| format!("node-{number}")).collect();
        create_partitions(&database, plan, &names).await?;
        let accounts_for_load = accounts_for_load(&database.observe().await?.partitions);
        let mut front = vec!["front", "--database", &url, "--listen", &plan.listen.value];
        front.extend(plan.insecure_plaintext.then_some("--insecure-plaintext"));
        let front = command("front", &front, &plan.children)?.start(START_MAX).await?;
        let pid = front.process.pid();
        ui::print_stderr(format_args!("front (pid {pid}) at http://{}", front.address));
        // Started concurrently, so that each node claims its preferred partitions while they are
        // vacant.
        let starts = names.iter().map(|name| {
            let node = ["node", "--name", name, "--database", &url, "--listen", "127.0.0.1:0"];
            let node = command(name, &node, &plan.children);
            async move { node?.start(START_MAX).await }
        });
        let nodes = futures::future::try_join_all(starts).await?;
        for node in &nodes {
            let (name, pid) = (&node.command.name, node.process.pid());
            ui::print_stderr(format_args!("{name} (pid {pid}) at {}", node.address));
        }
        let cluster = Self { accounts_for_load, front, nodes };
        cluster.served(&database, &names).await?;
        // From here on only the children access the file.
        drop(database);
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

    /// Waits until every partition is served, as the front says. Once access control is on, the front
    /// says it only to principals with a role; then the shared database is asked.
    async fn served(
        &self,
        database: &Arc<dyn SharedDatabase>,
        names: &[String],
    ) -> anyhow::Result<()> {
        let front = self.connect(Duration::from_secs(30)).await?;
        for _ in 0..300 {
            let status = front.call("the status", || {
                let mut cluster = front.cluster();
                async move {
                    match cluster.status(StatusRequest {}).await {
                        Ok(status) => Ok(Response::new(Some(status.into_inner()))),
                        Err(status) if status.code() == Code::Unauthenticated => {
                            Ok(Response::new(None))
                        }
                        Err(status) => Err(status),
                    }
                }
            });
            let Some(status) = status.await? else {
                return Self::served_in(database, names).await;
            };
            let served = status.partitions.iter().all(|partition| partition.served);
            if served && !status.partitions.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!(NOT_SERVED)
    }

    /// Waits until nodes of this run serve every partition. The row of another node may be of an
    /// earlier run.
    async fn served_in(database: &Arc<dyn SharedDatabase>, names: &[String]) -> anyhow::Result<()> {
        for _ in 0..300 {
            let seen = database.observe().await?;
            let is_served = |partition: &PartitionRow| {
                let serves = |node: &NodeRow| {
                    let beat = &node.beat;
                    names.contains(&beat.node.0)
                        && beat.serving.iter().any(|serving| {
                            serving.partition == partition.spec.id
                                && serving.epoch == partition.epoch
                                && serving.claim == partition.claim
                        })
                };
                partition.owner.is_some() && seen.nodes.iter().any(serves)
            };
            if !seen.partitions.is_empty() && seen.partitions.iter().all(is_served) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!(NOT_SERVED)
    }

    /// Stops the front, then the nodes.
    pub(crate) async fn stop(self) {
        stop(self.front).await;
        let stops: JoinSet<()> = self.nodes.into_iter().map(stop).collect();
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
        if let Some(unlike) = unlike_members(names, &specs) {
            ui::print_stderr(format_args!("warning: {unlike}"));
        }
        return Ok(());
    }
    let ranges = split(plan.accounts.value, plan.partitions.value)?;
    let specs = specs(&ranges, 1, &plan.acceptance, |place| rotated(names, place))?;
    create(database, &specs).await
}

/// The options, as written, that have no effect because they differ from the partitions of an
/// existing database.
fn without_effect(plan: &ClusterPlan, specs: &[&PartitionSpec]) -> Vec<String> {
    let mut options = Vec::new();
    let count = u32::try_from(specs.len()).must("partitions have numbers of 32 bits");
    let partitions = &plan.partitions;
    if partitions.is_given() && partitions.value != count {
        options.push(partitions.as_given());
    }
    let first = specs.iter().map(|spec| spec.range.first()).min();
    let last = specs.iter().map(|spec| spec.range.last()).max();
    let (accounts, asked) = (&plan.accounts, plan.accounts.value);
    if accounts.is_given() && (Some(asked.first()), Some(asked.last())) != (first, last) {
        options.push(accounts.as_given());
    }
    options.extend(specs.iter().find_map(|spec| plan.acceptance.unlike(spec)));
    options
}

/// A warning if the nodes that are started are not the members of the partitions.
fn unlike_members(names: &[String], specs: &[&PartitionSpec]) -> Option<String> {
    let started: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    let members = specs.iter().flat_map(|spec| &spec.members);
    let members: BTreeSet<&str> = members.map(|member| member.node.0.as_str()).collect();
    let listed = |names: BTreeSet<&str>| names.into_iter().collect::<Vec<_>>().join(", ");
    let (missing, idle) = (&members - &started, &started - &members);
    let mut warnings = Vec::new();
    if !missing.is_empty() {
        warnings.push(format!(
            "the partitions have members that are not started: {} (--nodes states how many are)",
            listed(missing)
        ));
    }
    if !idle.is_empty() {
        warnings
            .push(format!("nodes that are members of no partition stay idle: {}", listed(idle)));
    }
    (!warnings.is_empty()).then(|| warnings.join("; "))
}

/// The command line of a child, with the parent's configuration file and log settings.
fn command(
    name: &str,
    arguments: &[&str],
    settings: &ChildSettings,
) -> anyhow::Result<ServerCommand> {
    let program = std::env::current_exe().context("the path of this program is not known")?;
    let mut arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
    // The processes are on loopback, and the file's certificates are those of another process.
    arguments.push("--without-tls".into());
    if let Some(path) = &settings.config_path {
        arguments.extend(["--config".into(), path.into()]);
    }
    arguments.extend(["--log-level".into(), settings.log.filter.clone().into()]);
    if settings.log.format == LogOutput::Json {
        arguments.extend(["--log".into(), "json".into()]);
    }
    Ok(ServerCommand {
        name: name.to_owned(),
        program,
        arguments,
        // These settings are for the parent; if inherited, all children would use the same port.
        inherits: InheritedSettings::AllExcept(&[
            "TURNPIKE_LISTEN",
            "TURNPIKE_METRICS",
            "TURNPIKE_ADVERTISE",
            "TURNPIKE_NODE_NAME",
            "TURNPIKE_CERTIFICATE",
            "TURNPIKE_KEY",
            "TURNPIKE_CA",
            "TURNPIKE_CLUSTER",
        ]),
        variables: Vec::new(),
        log: if settings.shows_logs { ServerLog::Shown } else { ServerLog::Discarded },
    })
}

/// Requests that a child stops, and kills it after [`STOP_MAX`].
pub(crate) async fn stop(mut child: ListeningServer) {
    if child.process.stop(StopRequest::InputEnd, STOP_MAX).await.is_err() {
        let name = child.command.name;
        tracing::warn!(name, "the process did not stop in time; killing it");
        // Errors mean that the process has ended by now.
        let _ = child.process.kill();
        let _ = child.process.ended().await;
    }
}

#[cfg(test)]
mod tests {
    use turnpike_types::Timestamp;

    use super::*;

    #[test]
    fn nodes_that_are_not_the_members_of_the_partitions_are_named() {
        let names = |count| (1..=count).map(|n| format!("node-{n}")).collect::<Vec<String>>();
        let ranges = [AccountRange::new(1, 9).unwrap()];
        let acceptance = Acceptance::since(Timestamp(0));
        let specs = specs(&ranges, 1, &acceptance, |place| rotated(&names(2), place)).unwrap();
        let of = |count| unlike_members(&names(count), &specs.iter().collect::<Vec<_>>());
        assert_eq!(of(2), None);
        let missing = of(1).unwrap();
        assert!(missing.contains("not started: node-2"), "{missing}");
        let idle = of(3).unwrap();
        assert!(idle.contains("stay idle: node-3"), "{idle}");
    }
}
