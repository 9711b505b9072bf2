//! `turnpike status`: the nodes, the partitions, and which node serves which partition.

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use turnpike_proto::cluster::v1::{Node, Partition, StatusRequest, StatusResponse};

use crate::client::{ClientArgs, ClientSettings, Front};
use crate::context::Context;
use crate::exit::{EXIT_CODES, Finish};
use crate::{ui, values};

const EXAMPLES: &str = "\
The exit code is 3 while no node serves some partition.

Examples:
  turnpike status
  turnpike status --json | jq '.partitions[] | select(.served | not)'
  turnpike status --watch              until Ctrl-C; --every 250ms for a closer look";

/// Options of `status`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct StatusArgs {
    /// Report as JSON
    #[arg(long)]
    json: bool,
    /// Repeat until Ctrl-C; with --json one object per line
    #[arg(long)]
    watch: bool,
    /// The interval of --watch
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = values::duration)]
    every: Duration,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Serialize)]
struct Status<'a> {
    /// The time of the status, by this machine's clock.
    at: String,
    nodes: Vec<NodeStatus<'a>>,
    partitions: Vec<PartitionStatus<'a>>,
    catalogue_version: u64,
}

#[derive(Serialize)]
struct NodeStatus<'a> {
    name: &'a str,
    address: &'a str,
    incarnation: &'a str,
    silent_ms: u64,
    live: bool,
    draining: bool,
    drain_asked: bool,
    serving: &'a [u32],
}

#[derive(Serialize)]
struct PartitionStatus<'a> {
    id: u32,
    first_account: u64,
    last_account: u64,
    epoch: u64,
    owner: &'a str,
    served: bool,
    last_segment: u64,
    flaps: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    pinned_to: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    pinned_ms: u64,
    members: Vec<MemberStatus<'a>>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde requires this signature.
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[derive(Serialize)]
struct MemberStatus<'a> {
    node: &'a str,
    priority: u32,
    /// The lag of the member's warm replica, in segments.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_segments: Option<u64>,
}

/// The resolved settings of `status`.
#[derive(Debug)]
pub(crate) struct StatusSettings {
    json: bool,
    /// The interval at which the status is shown until Ctrl-C; `None` to show it once.
    every: Option<Duration>,
    client: ClientSettings,
}

/// The shortest interval at which the status is read.
const EVERY_MIN: Duration = Duration::from_millis(50);

impl StatusArgs {
    pub(crate) fn resolve(self, context: &Context) -> anyhow::Result<StatusSettings> {
        Ok(StatusSettings {
            json: self.json,
            every: self.watch.then(|| self.every.max(EVERY_MIN)),
            client: self.client.resolve(&context.config)?,
        })
    }
}

pub(crate) async fn run(settings: StatusSettings) -> anyhow::Result<Finish> {
    let front = settings.client.connect().await?;
    if let Some(every) = settings.every {
        return watch(&front, every, settings.json).await;
    }
    let status = read(&front).await?;
    if settings.json {
        ui::print_json(&shown(&status))?;
    } else {
        print(&status)?;
    }
    Ok(Finish::unless(status.partitions.iter().any(|partition| !partition.served)))
}

async fn read(front: &Front) -> anyhow::Result<StatusResponse> {
    front
        .call("the status could not be read", || {
            let mut cluster = front.cluster();
            async move { cluster.status(StatusRequest {}).await }
        })
        .await
}

/// Shows the status until Ctrl-C. A front that does not answer is reported and polled again,
/// because the command is meant for watching outages.
async fn watch(front: &Front, every: Duration, json: bool) -> anyhow::Result<Finish> {
    let mut looks = tokio::time::interval(every);
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            stopped = tokio::signal::ctrl_c() => {
                stopped?;
                return Ok(Finish::Done);
            }
        }
        let status = read(front).await;
        if json {
            match status {
                Ok(status) => ui::print(serde_json::to_string(&shown(&status))?)?,
                Err(error) => ui::print_stderr(format_args!("no status at {}: {error:#}", now())),
            }
            continue;
        }
        if std::io::stdout().is_terminal() {
            // Clear the screen, and move the cursor to its top.
            ui::print("\x1b[2J\x1b[H")?;
        }
        match status {
            Ok(status) => {
                ui::print(format_args!("status at {}\n", now()))?;
                print(&status)?;
            }
            Err(error) => ui::print(format_args!("no status at {}: {error:#}", now()))?,
        }
        ui::print("")?;
    }
}

fn shown(status: &StatusResponse) -> Status<'_> {
    Status {
        nodes: status.nodes.iter().map(node_status).collect(),
        partitions: status.partitions.iter().map(partition_status).collect(),
        catalogue_version: status.catalogue_version,
        at: now(),
    }
}

/// This machine's clock, to the second.
fn now() -> String {
    let now = jiff::Timestamp::now();
    format!("{now:.0}")
}

fn node_status(node: &Node) -> NodeStatus<'_> {
    NodeStatus {
        name: &node.name,
        address: &node.address,
        incarnation: &node.incarnation,
        silent_ms: node.silent_ms,
        live: node.live,
        draining: node.draining,
        drain_asked: node.drain_asked,
        serving: &node.serving,
    }
}

fn partition_status(partition: &Partition) -> PartitionStatus<'_> {
    PartitionStatus {
        id: partition.id,
        first_account: partition.first_account,
        last_account: partition.last_account,
        epoch: partition.epoch,
        owner: &partition.owner,
        served: partition.served,
        last_segment: partition.last_segment,
        members: partition
            .members
            .iter()
            .map(|member| MemberStatus {
                node: &member.node,
                priority: member.priority,
                lag_segments: member.lag_segments,
            })
            .collect(),
        flaps: partition.flaps,
        pinned_to: &partition.pinned_to,
        pinned_ms: partition.pinned_ms,
    }
}

fn print(status: &StatusResponse) -> anyhow::Result<()> {
    let nodes: Vec<Vec<String>> = status.nodes.iter().map(node_row).collect();
    let partitions: Vec<Vec<String>> = status.partitions.iter().map(partition_row).collect();
    ui::print_table(&["NODE", "ADDRESS", "STATE", "LAST BEAT", "SERVES"], &nodes)?;
    ui::print("")?;
    let header =
        ["PARTITION", "ACCOUNTS", "OWNER", "EPOCH", "FLAPS", "SERVED", "SEGMENTS", "MEMBERS"];
    ui::print_table(&header, &partitions)?;
    if status.partitions.is_empty() {
        ui::print_stderr("there are no partitions yet; create them with `turnpike partition init`");
    }
    Ok(())
}

/// The lag of a warm replica as text, to append to the name of the member that keeps it.
fn behind(lag_segments: u64) -> String {
    match lag_segments {
        0 => " (warm replica, up to date)".to_owned(),
        1 => " (warm replica, 1 segment behind)".to_owned(),
        lag => format!(" (warm replica, {} segments behind)", ui::count(lag)),
    }
}

fn node_row(node: &Node) -> Vec<String> {
    let state = match (node.live, node.drain_asked || node.draining) {
        (false, _) => "silent",
        (true, true) if node.serving.is_empty() => "drained",
        (true, true) => "draining",
        (true, false) => "live",
    };
    let mut serving: Vec<String> = node.serving.iter().map(u32::to_string).collect();
    if serving.is_empty() {
        serving.push("-".to_owned());
    }
    let silent = format!("{} ms ago", ui::count(node.silent_ms));
    vec![node.name.clone(), node.address.clone(), state.to_owned(), silent, serving.join(" ")]
}

fn partition_row(partition: &Partition) -> Vec<String> {
    let owner = if partition.owner.is_empty() { "-" } else { &partition.owner };
    let members = partition.members.iter().map(|member| {
        let copy = member.lag_segments.map(behind).unwrap_or_default();
        let pin = if member.node == partition.pinned_to { " (pinned)" } else { "" };
        format!("{}={}{pin}{copy}", member.node, member.priority)
    });
    vec![
        partition.id.to_string(),
        format!("{}-{}", partition.first_account, partition.last_account),
        owner.to_owned(),
        partition.epoch.to_string(),
        partition.flaps.to_string(),
        if partition.served { "yes" } else { "NO" }.to_owned(),
        partition.last_segment.to_string(),
        members.collect::<Vec<_>>().join(", "),
    ]
}

#[cfg(test)]
mod tests {
    use turnpike_proto::cluster::v1::Member;

    use super::*;

    #[test]
    fn the_lag_of_a_replica_is_shown_in_segments() {
        let member =
            |node: &str, lag_segments| Member { node: node.to_owned(), priority: 10, lag_segments };
        let members = vec![member("a", None), member("b", Some(0)), member("c", Some(190))];
        let row = partition_row(&Partition { id: 1, members, ..Partition::default() });
        assert_eq!(
            row.last().unwrap(),
            "a=10, b=10 (warm replica, up to date), c=10 (warm replica, 190 segments behind)"
        );
    }
}
