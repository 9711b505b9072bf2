//! `turnpike handover`, `drain` and `forget`: operator requests to the cluster.

use std::time::Duration;

use anyhow::bail;
use clap::Args;
use tokio::time::Instant;
use turnpike_proto::cluster::v1::{
    DrainRequest, ForgetRequest, HandoverRequest, StatusRequest, StatusResponse,
};

use crate::cli::Context;
use crate::client::{ClientArgs, Front};
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

pub(crate) async fn handover(args: HandoverArgs, context: &Context) -> anyhow::Result<Finish> {
    let front = args.client.connect(&context.config).await?;
    let to = args.to.unwrap_or_default();
    let for_ms = u64::try_from(args.within.as_millis()).unwrap_or(u64::MAX);
    let request = HandoverRequest { partition: args.partition, to: to.clone(), for_ms };
    front
        .call("the handover could not be requested", || {
            let (mut cluster, request) = (front.cluster(), request.clone());
            async move { cluster.handover(request).await }
        })
        .await?;
    if args.cancel {
        ui::print(format_args!(
            "partition {}: the members' priorities determine the owner again",
            args.partition
        ))?;
        return Ok(Finish::Done);
    }
    if args.no_wait {
        return Ok(Finish::Done);
    }
    let began = Instant::now();
    wait_until(&front, |status| {
        let is_there = status.partitions.iter().any(|partition| {
            partition.id == args.partition && partition.owner == to && partition.served
        });
        if is_there {
            Ok(())
        } else {
            Err(format!("partition {} has not moved yet", args.partition))
        }
    })
    .await?;
    ui::print(format_args!(
        "node {to} serves partition {} after {} ms",
        args.partition,
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

pub(crate) async fn drain(args: DrainArgs, context: &Context) -> anyhow::Result<Finish> {
    let front = args.client.connect(&context.config).await?;
    let request = DrainRequest { node: args.node.clone(), drained: !args.undo };
    front
        .call("the node could not be drained", || {
            let (mut cluster, request) = (front.cluster(), request.clone());
            async move { cluster.drain(request).await }
        })
        .await?;
    if args.undo {
        ui::print(format_args!("node {} may claim again", args.node))?;
        return Ok(Finish::Done);
    }
    if args.no_wait {
        return Ok(Finish::Done);
    }
    wait_until(&front, |status| {
        let mut serving = Vec::new();
        for node in status.nodes.iter().filter(|node| node.name == args.node && node.live) {
            serving.extend(node.serving.iter().map(u32::to_string));
        }
        let owned = status.partitions.iter().filter(|partition| partition.owner == args.node);
        serving.extend(owned.map(|partition| partition.id.to_string()));
        serving.sort_unstable();
        serving.dedup();
        if serving.is_empty() {
            return Ok(());
        }
        Err(format!("node {} still serves {}", args.node, serving.join(" ")))
    })
    .await?;
    ui::print(format_args!("node {} serves nothing", args.node))?;
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

pub(crate) async fn forget(args: ForgetArgs, context: &Context) -> anyhow::Result<Finish> {
    let front = args.client.connect(&context.config).await?;
    let request = ForgetRequest { node: args.node.clone() };
    front
        .call("the node could not be forgotten", || {
            let (mut cluster, request) = (front.cluster(), request.clone());
            async move { cluster.forget(request).await }
        })
        .await?;
    ui::print(format_args!("node {} is forgotten", args.node))?;
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
