//! `turnpike node`: a rating node.

use anyhow::{Context as _, bail};
use clap::Args;
use tonic::service::Routes;
use turnpike_node::{Node, NodeConfig};
use turnpike_proto::dial::Dial;
use turnpike_store::metered;
use turnpike_types::NodeName;

use crate::cli::Context;
use crate::config::NodeSection;
use crate::database::DatabaseArgs;
use crate::exit::{Finish, usage};
use crate::server::ListenArgs;

const EXAMPLES: &str = "\
The name is the node's identity: partitions name their members by it, and no two processes may
use one at a time. SIGTERM hands its partitions over, with no record refused, and ends it.

Examples:
  turnpike node --name a --database sqlite:turnpike.db
  turnpike node --name b --database postgres://turnpike@db/turnpike \\
      --listen 0.0.0.0:7071 --advertise 10.0.0.12:7071 --metrics 127.0.0.1:9464
  turnpike --config turnpike.toml node";

/// Options of `node`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct NodeArgs {
    /// The node's name, unique in the cluster
    #[arg(long, env = "TURNPIKE_NODE_NAME", value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    listen: ListenArgs,
    /// Where fronts reach this node [default: where it listens]
    #[arg(long, env = "TURNPIKE_ADVERTISE", value_name = "HOST:PORT")]
    advertise: Option<String>,
}

/// Where a node listens when nobody says.
const LISTEN_DEFAULT: &str = "127.0.0.1:7071";

pub(crate) async fn run(args: NodeArgs, context: &Context) -> anyhow::Result<Finish> {
    let file = &context.config.node;
    let name = args.name.or_else(|| file.name.clone()).ok_or_else(|| {
        usage("the node has no name; say --name NAME, as its partitions' members call it")
    })?;
    let database = metered(args.database.open(&context.config).await?);
    let metrics = file.metrics.as_deref();
    let (listen, who) = (file.listen.as_deref(), ("node", name.as_str()));
    let listener = args.listen.listen(listen, LISTEN_DEFAULT, metrics, who).await?;
    let address = match args.advertise.or_else(|| file.advertise.clone()) {
        Some(address) => address,
        None if listener.address.ip().is_unspecified() => {
            let port = listener.address.port();
            return Err(usage(format!(
                "a node that listens on all addresses must say where fronts reach it: \
                 --advertise HOST:{port}"
            )));
        }
        None => listener.address.to_string(),
    };
    let mut node = Node::start(config(&name, address, file), database, Dial::default())
        .await
        .with_context(|| format!("node {name} can't start"))?;
    let routes = Routes::new(node.service());
    let (stop, stopping) = tokio::sync::oneshot::channel::<()>();
    let what = format!("node {name}");
    let serving = listener.serve(&what, routes, async move {
        let _ = stopping.await;
    });
    let ending = async move {
        tokio::select! {
            why = args.listen.stop_asked() => {
                tracing::info!(why = why?, "stopping: handing partitions over");
                // It still answers while it hands over; only then does the listener close.
                node.shutdown().await;
                let _ = stop.send(());
                Ok(())
            }
            () = node.stopped() => {
                bail!("node {name} was superseded: another process runs under its name")
            }
        }
    };
    tokio::try_join!(serving, ending)?;
    Ok(Finish::Done)
}

fn config(name: &str, address: String, file: &NodeSection) -> NodeConfig {
    let default = NodeConfig::default();
    NodeConfig {
        name: NodeName(name.to_owned()),
        address,
        segment_bytes_max: file.segment_bytes_max.unwrap_or(default.segment_bytes_max),
        queue_bytes_max: file.queue_bytes_max.unwrap_or(default.queue_bytes_max),
        checkpoint_log_bytes: file.checkpoint_log_bytes.unwrap_or(default.checkpoint_log_bytes),
        keys_max: file.keys_max.unwrap_or(default.keys_max),
        warm_standbys: file.warm_standbys.unwrap_or(default.warm_standbys),
        // The process's incarnation and its claims come from this: never twice the same.
        seed: rand::random(),
        ..default
    }
}
