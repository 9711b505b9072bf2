//! `turnpike front`: accepts usage, commands and queries, and serves rated output.

use std::pin::pin;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use tonic::service::Routes;
use turnpike_access::AccessApi;
use turnpike_access::certificates::CertificateUse;
use turnpike_feed::{FeedConfig, FeedService};
use turnpike_front::{FrontConfig, FrontServer};
use turnpike_listen::ListenConfig;
use turnpike_store::{SharedDatabase, metered};
use turnpike_types::capped;

use crate::access;
use crate::connection_limits::ConnectionKeys;
use crate::context::Context;
use crate::database::{self, DatabaseArgs};
use crate::defaults::FRONT_LISTEN;
use crate::exit::{EXIT_CODES, Finish};
use crate::server::{self, ListenArgs, ListenKeys, ListenSettings, Listener, ServingLimits};
use crate::telemetry::{self, Probe};

const EXAMPLES: &str = "\
A front keeps no state: run any number of them, and connect clients to any of them. At its start,
the front waits for a database that does not answer yet.

Examples:
  turnpike front --database sqlite:turnpike.db
  turnpike front --database postgres://turnpike@db/turnpike --listen 0.0.0.0:7070 \\
      --metrics 127.0.0.1:9465 --certificate front-f1.crt --key front-f1.key --ca ca.crt
  turnpike --config turnpike.toml front";

/// Options of `front`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct FrontArgs {
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    listen: ListenArgs,
}

/// The resolved settings of the front.
#[derive(Debug)]
pub(crate) struct FrontSettings {
    database: String,
    listen: ListenSettings,
    connections: ListenConfig,
    front: FrontConfig,
    /// The configuration file and the log filter, for the first line of the log.
    config_shown: String,
    log_filter: String,
}

impl FrontArgs {
    pub(crate) fn resolve(self, context: &Context) -> anyhow::Result<FrontSettings> {
        let file = &context.config.front;
        let default = FrontConfig::default();
        let keys = ListenKeys {
            listen: ("front.listen", &file.listen),
            metrics: ("front.metrics", &file.metrics),
            memory: ("front.memory", file.memory),
            tls: &context.config.tls,
        };
        let listen = self.listen.resolve(&keys, FRONT_LISTEN)?;
        let connections = ConnectionKeys {
            section: "front",
            connections_max: file.connections_max,
            connections_per_address_max: file.connections_per_address_max,
            streams_per_connection_max: file.streams_per_connection_max,
            connection_age_max: file.connection_age_max.as_deref(),
        };
        let connections = connections.resolve(ListenConfig::front())?;
        let (key, given) = ("front.admitted-bytes-max", file.admitted_bytes_max);
        let admitted_bytes_max = listen.own_bytes(key, given, default.admitted_bytes_max)?;
        Ok(FrontSettings {
            database: self.database.resolve(&context.config)?,
            listen,
            connections,
            front: FrontConfig { seed: rand::random(), admitted_bytes_max, ..default },
            config_shown: context.config_shown(),
            log_filter: context.log.filter.clone(),
        })
    }
}

impl FrontSettings {
    /// Writes the first line of the log: version and settings, without secrets.
    fn log_settings(&self) {
        let nowhere = || "none".to_owned();
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            pid = std::process::id(),
            config = %self.config_shown,
            database = turnpike_store::redacted(&self.database),
            listen = self.listen.listen.value,
            metrics = self.listen.metrics.map_or_else(nowhere, |address| address.to_string()),
            certificate = self.listen.transport_shown(),
            log = self.log_filter,
            memory = self.listen.memory.value,
            connections_max = self.connections.connections_max,
            connections_per_address_max = self.connections.connections_per_address_max,
            streams_per_connection_max = self.connections.streams_per_connection_max,
            connection_age_max_s = self.connections.deadlines.age.as_secs(),
            admitted_bytes_max = self.front.admitted_bytes_max,
            "front starts"
        );
    }
}

/// The cache of segments is at most a quarter of `memory`, the memory for requests.
fn feed_config(memory: usize) -> FeedConfig {
    let default = FeedConfig::default();
    FeedConfig { cache_bytes: default.cache_bytes.min(capped(memory / 4)), ..default }
}

pub(crate) async fn run(settings: FrontSettings) -> anyhow::Result<Finish> {
    settings.log_settings();
    let probe = Probe::default();
    let mut stop_asked = pin!(settings.listen.stop_asked());
    let (listener, front, database) = tokio::select! {
        // Polled first, so that signals are handled before anything is logged.
        biased;
        why = &mut stop_asked => {
            tracing::info!(why = why?, "stopped before the front served");
            return Ok(Finish::Done);
        }
        started = start(&settings, &probe) => started?,
    };
    let access = access::of_front(&database, &listener).await;
    let budget = settings.listen.budget(settings.front.admitted_bytes_max);
    let front = front.with_budget(budget.clone());
    let feed = feed_config(settings.listen.memory.value);
    let feed = FeedService::new(Arc::clone(&database), feed, front.audit_log());
    let feed = feed.with_budget(budget.clone());
    tokio::spawn(front.watch_quotas());
    let health = front.health();
    probe.set_check(move || health.ready());
    let routes = Routes::new(front.ingest())
        .add_service(front.accounts())
        .add_service(front.plans())
        .add_service(front.cluster())
        .add_service(front.suspense())
        .add_service(front.audit())
        .add_service(feed.server())
        .add_service(AccessApi::new(access.clone(), database, front.audit_log()).server());
    let limits = ServingLimits { config: settings.connections, budget };
    let (stop, stopping) = tokio::sync::oneshot::channel::<()>();
    let serving = listener.serve("front", routes, access, limits, async move {
        // An error means that the sender is gone, which also ends the server.
        let _ = stopping.await;
    });
    let ending = async {
        let why = stop_asked.await?;
        tracing::info!(why, "stopping: answering accepted requests");
        front.shutdown().await;
        // An error means that the server has ended already.
        let _ = stop.send(());
        Ok(())
    };
    tokio::try_join!(serving, ending)?;
    Ok(Finish::Done)
}

/// Starts the front, and returns once it can serve. Waits for a database that does not answer yet.
async fn start(
    settings: &FrontSettings,
    probe: &Probe,
) -> anyhow::Result<(Listener, FrontServer, Arc<dyn SharedDatabase>)> {
    // An unusable address is an error at once, before the wait for the database.
    let transport = settings.listen.transport(CertificateUse::Front, None)?;
    drop(server::listen(&settings.listen.listen, &transport).await?);
    if let Some(metrics) = settings.listen.metrics {
        telemetry::serve_metrics(metrics, "front", "", probe.clone()).await?;
    }
    transport.report();
    let database = metered(database::open_when_there(&settings.database, probe).await?);
    let listener = server::listen(&settings.listen.listen, &transport).await?;
    let config = settings.front.clone();
    let front = FrontServer::start(config, Arc::clone(&database), transport.dial());
    Ok((listener, front.context("the front can't start")?, database))
}
