//! `turnpike node`: a rating node.

use std::net::SocketAddr;
use std::pin::pin;

use anyhow::Context as _;
use clap::Args;
use tonic::service::Routes;
use turnpike_access::Access;
use turnpike_access::certificates::CertificateUse;
use turnpike_listen::ListenConfig;
use turnpike_node::{Node, NodeConfig, StartError};
use turnpike_store::metered;
use turnpike_types::{NodeName, capped};

use crate::access;
use crate::config::NodeSection;
use crate::connection_limits::ConnectionKeys;
use crate::context::Context;
use crate::database::{self, DatabaseArgs};
use crate::defaults::NODE_LISTEN;
use crate::exit::{EXIT_CODES, Finish, in_use, usage};
use crate::server::{
    self, ListenArgs, ListenKeys, ListenSettings, Listener, ServerTransport, ServingLimits,
};
use crate::telemetry::{self, Probe};

const EXAMPLES: &str = "\
The name identifies the node: partitions refer to their members by it, and only one process may use
it at a time. A second process ends with exit code 4 while the first one lives; after a crash, its
successor waits for at most a second. At SIGTERM the node hands over its partitions, without
refusing records, and ends. At its start, the node waits for a database that does not answer yet.

Examples:
  turnpike node --name a --database sqlite:turnpike.db
  turnpike node --name b --database postgres://turnpike@db/turnpike \\
      --listen 0.0.0.0:7071 --advertise 10.0.0.12:7071 --metrics 127.0.0.1:9464 \\
      --certificate node-b.crt --key node-b.key --ca ca.crt
  turnpike --config turnpike.toml node";

/// Options of `node`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct NodeArgs {
    /// The node's name, unique in the cluster
    #[arg(long, env = "TURNPIKE_NODE_NAME", value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    listen: ListenArgs,
    /// The address at which fronts reach this node [default: the listening address]
    #[arg(long, env = "TURNPIKE_ADVERTISE", value_name = "HOST:PORT")]
    advertise: Option<String>,
}

/// The resolved settings of the node.
#[derive(Debug)]
pub(crate) struct NodeSettings {
    database: String,
    listen: ListenSettings,
    connections: ListenConfig,
    advertise: Option<String>,
    /// The node's configuration without its address, which is known only once the node listens.
    node: NodeConfig,
    /// The configuration file and the log filter, for the first line of the log.
    config_shown: String,
    log_filter: String,
}

impl NodeArgs {
    pub(crate) fn resolve(self, context: &Context) -> anyhow::Result<NodeSettings> {
        let file = &context.config.node;
        let name = self.name.or_else(|| file.name.clone()).ok_or_else(|| {
            usage(
                "the node has no name; use --name NAME, the name in the members of its partitions",
            )
        })?;
        let keys = ListenKeys {
            listen: ("node.listen", &file.listen),
            metrics: ("node.metrics", &file.metrics),
            memory: ("node.memory", file.memory),
            tls: &context.config.tls,
        };
        let listen = self.listen.resolve(&keys, NODE_LISTEN)?;
        let connections = ConnectionKeys {
            section: "node",
            connections_max: file.connections_max,
            connections_per_address_max: file.connections_per_address_max,
            streams_per_connection_max: file.streams_per_connection_max,
            connection_age_max: file.connection_age_max.as_deref(),
        };
        let connections = connections.resolve(ListenConfig::node())?;
        let mut node = config(name, file);
        let (key, default) = ("node.queue-bytes-max", node.queue_bytes_max);
        node.queue_bytes_max = listen.own_bytes(key, file.queue_bytes_max, default)?;
        if file.segment_cache_bytes.is_none() {
            let share = capped(listen.memory.value / 4);
            node.segment_cache_bytes = node.segment_cache_bytes.min(share);
        }
        Ok(NodeSettings {
            database: self.database.resolve(&context.config)?,
            listen,
            connections,
            advertise: self.advertise.or_else(|| file.advertise.clone()),
            node,
            config_shown: context.config_shown(),
            log_filter: context.log.filter.clone(),
        })
    }
}

impl NodeSettings {
    /// Writes the first line of the log: version and settings, without secrets.
    fn log_settings(&self) {
        let nowhere = || "none".to_owned();
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            pid = std::process::id(),
            config = %self.config_shown,
            name = %self.node.name,
            database = turnpike_store::redacted(&self.database),
            listen = self.listen.listen.value,
            advertise = self.advertise.as_deref().unwrap_or("the listening address"),
            metrics = self.listen.metrics.map_or_else(nowhere, |address| address.to_string()),
            certificate = self.listen.transport_shown(),
            log = self.log_filter,
            heartbeat_ms = capped::<u64>(self.node.heartbeat.as_millis()),
            memory = self.listen.memory.value,
            connections_max = self.connections.connections_max,
            connections_per_address_max = self.connections.connections_per_address_max,
            streams_per_connection_max = self.connections.streams_per_connection_max,
            connection_age_max_s = self.connections.deadlines.age.as_secs(),
            queue_bytes_max = self.node.queue_bytes_max,
            segment_cache_bytes = self.node.segment_cache_bytes,
            keys_max = self.node.keys_max,
            warm_standbys = self.node.warm_standbys,
            segment_bytes_max = self.node.segment_bytes_max,
            checkpoint_log_bytes = self.node.checkpoint_log_bytes,
            "node starts"
        );
    }

    /// The address at which fronts reach a node that listens at `address`.
    fn address(&self, address: SocketAddr, transport: &ServerTransport) -> anyhow::Result<String> {
        let address = self.plain_address(address)?;
        // The scheme tells the other members to use TLS. While a cluster changes to TLS, members
        // without certificates have to reach this node too.
        Ok(match transport.requires_tls() && !address.contains("://") {
            true => format!("https://{address}"),
            false => address,
        })
    }

    fn plain_address(&self, address: SocketAddr) -> anyhow::Result<String> {
        match &self.advertise {
            Some(advertised) => Ok(advertised.clone()),
            None if address.ip().is_unspecified() => Err(usage(format!(
                "a node that listens on all addresses needs the address at which fronts reach it: \
                 --advertise HOST:{}",
                address.port()
            ))),
            None => Ok(address.to_string()),
        }
    }
}

pub(crate) async fn run(settings: NodeSettings) -> anyhow::Result<Finish> {
    settings.log_settings();
    let name = &settings.node.name;
    let probe = Probe::default();
    let mut stop_asked = pin!(settings.listen.stop_asked());
    let (listener, access, mut node) = tokio::select! {
        // Polled first, so that signals are handled before anything is logged.
        biased;
        why = &mut stop_asked => {
            tracing::info!(why = why?, "stopped before the node served");
            return Ok(Finish::Done);
        }
        started = start(&settings, &probe) => started?,
    };
    let health = node.health();
    probe.set_check(move || health.ready());
    let routes = Routes::new(node.service());
    let budget = settings.listen.budget(settings.node.queue_bytes_max);
    let limits = ServingLimits { config: settings.connections, budget };
    let (stop, stopping) = tokio::sync::oneshot::channel::<()>();
    let what = format!("node {name}");
    let serving = listener.serve(&what, routes, access, limits, async move {
        // An error means that the sender is gone, which also ends the server.
        let _ = stopping.await;
    });
    let ending = async {
        tokio::select! {
            why = stop_asked => {
                tracing::info!(why = why?, "stopping: handing partitions over");
                // The listener stays open during the handover: the node still answers requests.
                node.shutdown().await;
                // An error means that the server has ended already.
                let _ = stop.send(());
                Ok(())
            }
            () = node.stopped() => Err(in_use(format!(
                "node {name} was superseded: another process uses its name"
            ))),
        }
    };
    tokio::try_join!(serving, ending)?;
    Ok(Finish::Done)
}

/// Starts the node up to its first heartbeat. Waits for a database that does not answer yet.
async fn start(settings: &NodeSettings, probe: &Probe) -> anyhow::Result<(Listener, Access, Node)> {
    let name = &settings.node.name;
    // An unusable address is an error at once, before the wait for the database.
    let transport = settings.listen.transport(CertificateUse::Node, Some(&name.0))?;
    let listener = server::listen(&settings.listen.listen, &transport).await?;
    settings.address(listener.address, &transport)?;
    drop(listener);
    if let Some(metrics) = settings.listen.metrics {
        telemetry::serve_metrics(metrics, "node", &name.0, probe.clone()).await?;
    }
    transport.report();
    let database = metered(database::open_when_there(&settings.database, probe).await?);
    let listener = server::listen(&settings.listen.listen, &transport).await?;
    let address = settings.address(listener.address, &transport)?;
    let access = access::of_node(&database, &listener).await;
    probe.waits(format!("node {name} is joining the cluster"));
    let is_transient =
        |error: &StartError| matches!(error, StartError::Store(error) if error.is_transient());
    let node = database::when_there(probe, is_transient, || {
        let config = NodeConfig {
            address: address.clone(),
            // Unique per process: the incarnation number and the claim tokens derive from it.
            seed: rand::random(),
            ..settings.node.clone()
        };
        Node::start(config, database.clone(), transport.dial())
    });
    let node = match node.await {
        Ok(node) => node,
        Err(error @ StartError::NameInUse { .. }) => return Err(in_use(error.to_string())),
        Err(error) => return Err(error).with_context(|| format!("node {name} can't start")),
    };
    Ok((listener, access, node))
}

fn config(name: String, file: &NodeSection) -> NodeConfig {
    let default = NodeConfig::default();
    NodeConfig {
        name: NodeName(name),
        segment_bytes_max: file.segment_bytes_max.unwrap_or(default.segment_bytes_max),
        queue_bytes_max: file.queue_bytes_max.unwrap_or(default.queue_bytes_max),
        segment_cache_bytes: file.segment_cache_bytes.unwrap_or(default.segment_cache_bytes),
        checkpoint_log_bytes: file.checkpoint_log_bytes.unwrap_or(default.checkpoint_log_bytes),
        keys_max: file.keys_max.unwrap_or(default.keys_max),
        warm_standbys: file.warm_standbys.unwrap_or(default.warm_standbys),
        ..default
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::context::given::{context, options};

    const FILE: &str = "database = \"sqlite:file.db\"\n[node]\nname = \"file\"\nkeys-max = 5\n";

    #[test]
    fn an_option_beats_its_variable_which_beats_the_file() {
        let of = |words, variables, file| -> anyhow::Result<(String, String)> {
            let settings = options::<NodeArgs>(words, variables).resolve(&context(file))?;
            Ok((settings.node.name.0, settings.database))
        };
        let both = |name: &str, database: &str| (name.to_owned(), database.to_owned());
        let variables: &[_] = &[("name", "CARGO_PKG_NAME"), ("database", "CARGO_PKG_NAME")];
        let given: &[_] = &["--name", "a", "--database", "memory:"];
        assert_eq!(of(given, variables, FILE).unwrap(), both("a", "memory:"));
        assert_eq!(of(&[], variables, FILE).unwrap(), both("turnpike", "turnpike"));
        assert_eq!(of(&[], &[], FILE).unwrap(), both("file", "sqlite:file.db"));
        let unnamed = of(&[], &[], "database = \"memory:\"").unwrap_err().to_string();
        assert!(unnamed.contains("--name NAME"), "{unnamed}");
        let nowhere = of(&["--name", "a"], &[], "").unwrap_err().to_string();
        assert!(nowhere.contains("no shared database is named"), "{nowhere}");
    }

    #[test]
    fn a_limit_that_the_file_leaves_out_is_the_default() {
        let settings = options::<NodeArgs>(&[], &[]).resolve(&context(FILE)).unwrap();
        assert_eq!(settings.node.keys_max, 5);
        assert_eq!(settings.node.queue_bytes_max, NodeConfig::default().queue_bytes_max);
        assert_eq!(settings.listen.listen.value, NODE_LISTEN);
    }

    /// A node with little memory caches little; a size in the file is taken as it is.
    #[test]
    fn the_cache_of_segments_is_at_most_a_quarter_of_the_memory() {
        let cached = |more: &str| {
            let file = format!("{FILE}{more}");
            let settings = options::<NodeArgs>(&[], &[]).resolve(&context(&file)).unwrap();
            settings.node.segment_cache_bytes
        };
        assert_eq!(cached("memory = 134217728\n"), 32 << 20);
        assert_eq!(cached("memory = 8589934592\n"), NodeConfig::default().segment_cache_bytes);
        assert_eq!(cached("memory = 134217728\nsegment-cache-bytes = 1000000\n"), 1_000_000);
    }
}
