//! `turnpike handover`, `drain` and `forget`: operator requests to the cluster.

use std::time::Duration;

use anyhow::bail;
use clap::Args;
use tokio::time::Instant;
use turnpike_proto::cluster::v1::{
    DrainRequest, ForgetRequest, HandoverRequest, StatusRequest, StatusResponse,
};
use turnpike_types::capped;

use crate::client::{ClientArgs, ClientSettings, Front};
use crate::context::Context;
use crate::exit::Finish;
use crate::{ui, values};

/// The polling interval while the cluster carries out a request.
const LOOK: Duration = Duration::from_millis(50);

const HANDOVER_EXAMPLES: &str = "\
The member must keep a warm replica of the partition, or builds one first; then it gets the
partition and no record is refused. The request overrides all priorities for the time of --for; when
it expires or is cancelled, the member of the highest priority gets the partition back.

Examples:
  turnpike handover 3 --to b              waits until b serves it
  turnpike handover 3 --to b --for 8h
  turnpike handover 3 --cancel";

/// Options of `handover`.
#[derive(Debug, Args)]
#[command(after_help = HANDOVER_EXAMPLES)]
pub(crate) struct HandoverArgs {
    /// The partition
    partition: u32,
    /// The member that takes over the partition
    #[arg(long, value_name = "NODE", required_unless_present = "cancel")]
    to: Option<String>,
    /// How long the request remains in force
    #[arg(long = "for", value_name = "TIME", default_value = "1h", value_parser = values::duration)]
    within: Duration,
    /// Cancel the request: the members' priorities determine the owner again
    #[arg(long, conflicts_with = "to")]
    cancel: bool,
    /// Send the request without waiting for the result
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    client: ClientArgs,
}

/// The resolved settings of `handover`.
#[derive(Debug)]
pub(crate) struct HandoverSettings {
    /// Without a member, the request is cancelled.
    request: HandoverRequest,
    cancel: bool,
    no_wait: bool,
    client: ClientSettings,
}

impl HandoverArgs {
    pub(crate) fn resolve(self, context: &Context) -> anyhow::Result<HandoverSettings> {
        let for_ms = capped(self.within.as_millis());
        // The parser requires one of --to and --cancel; without a node the request cancels.
        let to = self.to.unwrap_or_default();
        Ok(HandoverSettings {
            request: HandoverRequest { partition: self.partition, to, for_ms },
            cancel: self.cancel,
            no_wait: self.no_wait,
            client: self.client.resolve(&context.config)?,
        })
    }
}

pub(crate) async fn handover(settings: HandoverSettings) -> anyhow::Result<Finish> {
    let front = settings.client.connect().await?;
    let HandoverSettings { request, cancel, no_wait, .. } = settings;
    front
        .call("the handover could not be requested", || {
            let (mut cluster, request) = (front.cluster(), request.clone());
            async move { cluster.handover(request).await }
        })
        .await?;
    if cancel {
        ui::print(format_args!(
            "partition {}: the members' priorities determine the owner again",
            request.partition
        ))?;
        return Ok(Finish::Done);
    }
    if no_wait {
        return Ok(Finish::Done);
    }
    let HandoverRequest { partition: asked, to, .. } = request;
    let began = Instant::now();
    wait_until(&front, |status| {
        let is_there = status
            .partitions
            .iter()
            .any(|partition| partition.id == asked && partition.owner == to && partition.served);
        if is_there { Ok(()) } else { Err(format!("partition {asked} has not moved yet")) }
    })
    .await?;
    ui::print(format_args!(
        "node {to} serves partition {asked} after {} ms",
        began.elapsed().as_millis()
    ))?;
    Ok(Finish::Done)
}

const DRAIN_EXAMPLES: &str = "\
A drained node claims no partition until `turnpike drain NODE --undo`, even after a restart. Each of
its partitions moves to the member of the next priority that has a warm replica. No record is
refused meanwhile.

Examples:
  turnpike drain a            waits until a serves no partition: then a can be stopped
  turnpike drain a --undo     a gets back the partitions for which it has the highest priority";

/// Options of `drain`.
#[derive(Debug, Args)]
#[command(after_help = DRAIN_EXAMPLES)]
pub(crate) struct DrainArgs {
    /// The node
    node: String,
    /// Allow the node to claim partitions again
    #[arg(long)]
    undo: bool,
    /// Send the request without waiting for the result
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    client: ClientArgs,
}

/// The resolved settings of `drain`.
pub(crate) struct DrainSettings {
    node: String,
    undo: bool,
    no_wait: bool,
    client: ClientSettings,
}

impl DrainArgs {
    pub(crate) fn resolve(self, context: &Context) -> anyhow::Result<DrainSettings> {
        let client = self.client.resolve(&context.config)?;
        Ok(DrainSettings { node: self.node, undo: self.undo, no_wait: self.no_wait, client })
    }
}

pub(crate) async fn drain(settings: DrainSettings) -> anyhow::Result<Finish> {
    let front = settings.client.connect().await?;
    let request = DrainRequest { node: settings.node.clone(), drained: !settings.undo };
    front
        .call("the node could not be drained", || {
            let (mut cluster, request) = (front.cluster(), request.clone());
            async move { cluster.drain(request).await }
        })
        .await?;
    if settings.undo {
        ui::print(format_args!("node {} may claim again", settings.node))?;
        return Ok(Finish::Done);
    }
    if settings.no_wait {
        return Ok(Finish::Done);
    }
    wait_until(&front, |status| {
        let mut serving = Vec::new();
        for node in status.nodes.iter().filter(|node| node.name == settings.node && node.live) {
            serving.extend(node.serving.iter().map(u32::to_string));
        }
        let owned = status.partitions.iter().filter(|partition| partition.owner == settings.node);
        serving.extend(owned.map(|partition| partition.id.to_string()));
        serving.sort_unstable();
        serving.dedup();
        if serving.is_empty() {
            return Ok(());
        }
        Err(format!("node {} still serves {}", settings.node, serving.join(" ")))
    })
    .await?;
    ui::print(format_args!("node {} serves nothing", settings.node))?;
    Ok(Finish::Done)
}

const FORGET_EXAMPLES: &str = "\
Only a node without a heartbeat for a minute is removed. It stays a member of its partitions.

Examples:
  turnpike forget c";

/// Options of `forget`.
#[derive(Debug, Args)]
#[command(after_help = FORGET_EXAMPLES)]
pub(crate) struct ForgetArgs {
    /// The node
    node: String,
    #[command(flatten)]
    client: ClientArgs,
}

/// The resolved settings of `forget`.
pub(crate) struct ForgetSettings {
    node: String,
    client: ClientSettings,
}

impl ForgetArgs {
    pub(crate) fn resolve(self, context: &Context) -> anyhow::Result<ForgetSettings> {
        let client = self.client.resolve(&context.config)?;
        Ok(ForgetSettings { node: self.node, client })
    }
}

pub(crate) async fn forget(settings: ForgetSettings) -> anyhow::Result<Finish> {
    let front = settings.client.connect().await?;
    let request = ForgetRequest { node: settings.node.clone() };
    front
        .call("the node could not be forgotten", || {
            let (mut cluster, request) = (front.cluster(), request.clone());
            async move { cluster.forget(request).await }
        })
        .await?;
    ui::print(format_args!("node {} is forgotten", settings.node))?;
    Ok(Finish::Done)
}

/// Polls the cluster until it has the requested state, or makes no progress within `--timeout`.
async fn wait_until(
    front: &Front,
    is_done: impl Fn(&StatusResponse) -> Result<(), String>,
) -> anyhow::Result<()> {
    let mut deadline = Instant::now() + front.timeout;
    let mut last = String::new();
    loop {
        let status = front
            .call("the status could not be read", || {
                let mut cluster = front.cluster();
                async move { cluster.status(StatusRequest {}).await }
            })
            .await?;
        let Err(why) = is_done(&status) else { return Ok(()) };
        if why != last {
            deadline = Instant::now() + front.timeout;
            last = why;
        } else if Instant::now() > deadline {
            bail!(
                "{last} after {:?}; the request stays in force. Look at `turnpike status`: is there a live \
                 member with a warm replica?",
                front.timeout
            );
        }
        tokio::time::sleep(LOOK).await;
    }
}
