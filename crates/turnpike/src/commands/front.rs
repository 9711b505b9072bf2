//! `turnpike front`: takes usage, commands and questions, and serves rated output.

use anyhow::Context as _;
use clap::Args;
use tonic::service::Routes;
use turnpike_feed::FeedService;
use turnpike_front::{Dial, Front, FrontConfig};
use turnpike_store::metered;

use crate::cli::Context;
use crate::database::DatabaseArgs;
use crate::exit::Finish;
use crate::server::ListenArgs;

const EXAMPLES: &str = "\
A front keeps no state: run as many as you like, and point clients at any of them.

Examples:
  turnpike front --database sqlite:turnpike.db
  turnpike front --database postgres://turnpike@db/turnpike --listen 0.0.0.0:7070 \\
      --metrics 127.0.0.1:9465
  turnpike --config turnpike.toml front";

/// Options of `front`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct FrontArgs {
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    listen: ListenArgs,
}

/// Where a front listens when nobody says.
pub(crate) const LISTEN_DEFAULT: &str = "127.0.0.1:7070";

pub(crate) async fn run(args: FrontArgs, context: &Context) -> anyhow::Result<Finish> {
    let file = &context.config.front;
    let database = metered(args.database.open(&context.config).await?);
    let metrics = file.metrics.as_deref();
    let (listen, who) = (file.listen.as_deref(), ("front", ""));
    let listener = args.listen.listen(listen, LISTEN_DEFAULT, metrics, who).await?;
    let default = FrontConfig::default();
    let config = FrontConfig {
        seed: rand::random(),
        admitted_bytes_max: file.admitted_bytes_max.unwrap_or(default.admitted_bytes_max),
        ..default
    };
    let feed = FeedService::new(database.clone(), turnpike_feed::FeedConfig::default());
    let front = Front::start(config, database, Dial::default()).context("the front can't start")?;
    let routes = Routes::new(front.ingest())
        .add_service(front.accounts())
        .add_service(front.plans())
        .add_service(front.cluster())
        .add_service(front.suspense())
        .add_service(feed.server());
    let (stop, stopping) = tokio::sync::oneshot::channel::<()>();
    let serving = listener.serve("front", routes, async move {
        let _ = stopping.await;
    });
    let ending = async move {
        let why = args.listen.stop_asked().await?;
        tracing::info!(why, "stopping: answering what was taken");
        front.shutdown().await;
        let _ = stop.send(());
        Ok(())
    };
    tokio::try_join!(serving, ending)?;
    Ok(Finish::Done)
}
