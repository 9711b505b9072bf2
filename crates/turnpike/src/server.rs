//! The common parts of all servers: listener, health, reflection, limits, graceful shutdown.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use turnpike_client::{CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES};

use crate::exit::usage;
use crate::ui;

/// The time during a shutdown, from when the accepted requests are answered, until the streams that
/// clients keep open are cut.
const GRACE: Duration = Duration::from_secs(5);

/// The options for the addresses of a server.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ListenArgs {
    /// The listening address; port 0 for any free port
    #[arg(long, env = "TURNPIKE_LISTEN", value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// The address for Prometheus metrics and health: /metrics, /healthz, /readyz [default: none]
    #[arg(long, env = "TURNPIKE_METRICS", value_name = "ADDRESS")]
    pub(crate) metrics: Option<String>,
    /// Stop when standard input ends, as well as at SIGTERM
    #[arg(long, hide = true)]
    pub(crate) stop_at_stdin_end: bool,
}

/// A bound listener that does not serve yet.
pub(crate) struct Listener {
    incoming: TcpListener,
    pub(crate) address: SocketAddr,
}

impl ListenArgs {
    /// The listening address: the option's, else that of the configuration file, else the default.
    pub(crate) fn listen_at(&self, file: Option<&str>, default: &str) -> String {
        self.listen.as_deref().or(file).unwrap_or(default).to_owned()
    }

    /// The address for metrics and health, if any.
    pub(crate) fn metrics_at(&self, file: Option<&str>) -> anyhow::Result<Option<SocketAddr>> {
        let Some(metrics) = self.metrics.as_deref().or(file) else { return Ok(None) };
        let wrong =
            || usage(format!("--metrics {metrics:?}: write HOST:PORT, such as 127.0.0.1:9464"));
        metrics.parse().map(Some).map_err(|_| wrong())
    }

    /// Waits for a stop request: a signal or the end of standard input. Returns its source.
    pub(crate) async fn stop_asked(&self) -> anyhow::Result<&'static str> {
        let (mut interrupt, mut terminate) = signals()?;
        Ok(tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
            () = stdin_end(), if self.stop_at_stdin_end => "the end of standard input",
        })
    }
}

type Signals = (tokio::signal::unix::Signal, tokio::signal::unix::Signal);

/// The streams of SIGINT and SIGTERM.
pub(crate) fn signals() -> anyhow::Result<Signals> {
    let on = |kind| signal(kind).context("signals can't be handled");
    Ok((on(SignalKind::interrupt())?, on(SignalKind::terminate())?))
}

/// Waits for the end of standard input on a separate thread, because a read can't be cancelled.
async fn stdin_end() {
    let (ended, end) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        drop(ended);
    });
    let _ = end.await;
}

/// Binds a listener at `listen`, without serving yet.
pub(crate) async fn listen(listen: &str) -> anyhow::Result<Listener> {
    let incoming = bind(listen).await?;
    let address = incoming.local_addr().context("the listener has no address")?;
    Ok(Listener { incoming, address })
}

async fn bind(listen: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(listen).await.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => {
            anyhow!("another process listens on {listen}; choose another with --listen")
        }
        ErrorKind::InvalidInput => usage(format!("--listen {listen:?}: write HOST:PORT")),
        _ => anyhow!("can't listen on {listen} ({error}); choose another with --listen"),
    })
}

impl Listener {
    /// Serves `routes`, health and reflection until `stop` completes. Then requests in flight may
    /// finish within [`GRACE`].
    pub(crate) async fn serve(
        self,
        what: &str,
        routes: Routes,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> anyhow::Result<()> {
        let (health, health_service) = tonic_health::server::health_reporter();
        let v1 = reflection().build_v1().context("reflection")?;
        let v1alpha = reflection().build_v1alpha().context("reflection")?;
        let routes = routes.add_service(health_service).add_service(v1).add_service(v1alpha);
        let incoming = TcpIncoming::from(self.incoming).with_nodelay(Some(true));
        let (stopped, stopping) = tokio::sync::oneshot::channel();
        let stop = async move {
            stop.await;
            // From here on, load balancers send requests to other servers.
            health.set_service_status("", tonic_health::ServingStatus::NotServing).await;
            let _ = stopped.send(());
        };
        let server = Server::builder()
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_concurrent_streams(100_000)
            .http2_keepalive_interval(Some(Duration::from_secs(10)))
            .http2_keepalive_timeout(Some(Duration::from_secs(10)))
            .tcp_keepalive(Some(Duration::from_secs(10)))
            .add_routes(routes)
            .serve_with_incoming_shutdown(incoming, stop);
        // A parent process reads the address from this line.
        ui::print(format_args!("{what} listens on {}", self.address))?;
        tokio::select! {
            served = server => served.context("the server failed"),
            () = async {
                if stopping.await.is_ok() {
                    tokio::time::sleep(GRACE).await;
                } else {
                    std::future::pending::<()>().await;
                }
            } => {
                tracing::info!("connections that clients kept open were closed");
                Ok(())
            }
        }
    }
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(turnpike_proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}
