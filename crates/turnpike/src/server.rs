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
use turnpike_access::RequestIdLayer;
use turnpike_client::{CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES};

use crate::settings::Setting;
use crate::ui;

/// The time during a shutdown, from when the accepted requests are answered, until the streams that
/// clients keep open are cut.
const GRACE: Duration = Duration::from_secs(5);

/// The options for the addresses of a server.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ListenArgs {
    /// The listening address; port 0 for any free port
    #[arg(long, env = "TURNPIKE_LISTEN", value_name = "ADDRESS")]
    listen: Option<String>,
    /// The address for Prometheus metrics and health: /metrics, /healthz, /readyz [default: none]
    #[arg(long, env = "TURNPIKE_METRICS", value_name = "ADDRESS")]
    metrics: Option<String>,
    /// Stop when standard input ends, as well as at SIGTERM
    #[arg(long, hide = true)]
    stop_at_stdin_end: bool,
}

/// A bound listener that does not serve yet.
pub(crate) struct Listener {
    incoming: TcpListener,
    pub(crate) address: SocketAddr,
}

/// The resolved addresses of a server, and how it is stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListenSettings {
    pub(crate) listen: Setting<String>,
    /// The address for metrics and health, if any.
    pub(crate) metrics: Option<SocketAddr>,
    stops_at_stdin_end: bool,
}

/// The keys of a server's addresses in the configuration file, each with its name and value.
pub(crate) struct ListenKeys<'a> {
    pub(crate) listen: (&'static str, &'a Option<String>),
    pub(crate) metrics: (&'static str, &'a Option<String>),
}

impl ListenArgs {
    /// The addresses; `default` is the default listening address.
    pub(crate) fn resolve(
        self,
        keys: &ListenKeys<'_>,
        default: &str,
    ) -> anyhow::Result<ListenSettings> {
        let ((listen, listen_key), (metrics, metrics_key)) = (keys.listen, keys.metrics);
        let listen = Setting::resolve(
            ("--listen", self.listen),
            (listen, listen_key.clone()),
            default.to_owned(),
        );
        let given = Setting::given(("--metrics", self.metrics), (metrics, metrics_key.clone()));
        let metrics = given.map(|given| {
            let wrong = |_| given.refused("write HOST:PORT, such as 127.0.0.1:9464");
            given.value.parse().map_err(wrong)
        });
        let metrics = metrics.transpose()?;
        Ok(ListenSettings { listen, metrics, stops_at_stdin_end: self.stop_at_stdin_end })
    }
}

impl ListenSettings {
    /// Waits for a stop request: a signal or the end of standard input. Returns its source.
    pub(crate) async fn stop_asked(&self) -> anyhow::Result<&'static str> {
        let (mut interrupt, mut terminate) = signals()?;
        Ok(tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
            () = stdin_end(), if self.stops_at_stdin_end => "the end of standard input",
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
        // An error ends standard input like its end.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        drop(ended);
    });
    // The sender is dropped at the end of input, which is the only message.
    let _ = end.await;
}

/// Binds a listener at `listen`, without serving yet.
pub(crate) async fn listen(listen: &Setting<String>) -> anyhow::Result<Listener> {
    let incoming = bind(listen).await?;
    let address = incoming.local_addr().context("the listener has no address")?;
    Ok(Listener { incoming, address })
}

async fn bind(listen: &Setting<String>) -> anyhow::Result<TcpListener> {
    let address = &listen.value;
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => {
            anyhow!("another process listens on {address}; choose another with --listen")
        }
        ErrorKind::InvalidInput => listen.refused("write HOST:PORT"),
        _ => anyhow!("can't listen on {address} ({error}); choose another with --listen"),
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
            // An error means that the server has ended already.
            let _ = stopped.send(());
        };
        let server = Server::builder()
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_concurrent_streams(100_000)
            .http2_keepalive_interval(Some(Duration::from_secs(10)))
            .http2_keepalive_timeout(Some(Duration::from_secs(10)))
            .tcp_keepalive(Some(Duration::from_secs(10)))
            .layer(RequestIdLayer)
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::context::given::options;

    fn resolved(
        (words, variables): (&[&str], &[(&str, &'static str)]),
        (listen_key, metrics_key): (Option<&str>, Option<&str>),
    ) -> anyhow::Result<ListenSettings> {
        let [listen, metrics] = [listen_key, metrics_key].map(|key| key.map(str::to_owned));
        let keys =
            ListenKeys { listen: ("node.listen", &listen), metrics: ("node.metrics", &metrics) };
        options::<ListenArgs>(words, variables).resolve(&keys, "default:1")
    }

    #[test]
    fn an_option_beats_its_variable_which_beats_the_file_which_beats_the_default() {
        let of =
            |words, variables, key| resolved((words, variables), (key, None)).unwrap().listen.value;
        let variable: &[_] = &[("listen", "CARGO_PKG_NAME")];
        assert_eq!(of(&["--listen", "option:1"], variable, Some("file:1")), "option:1");
        assert_eq!(of(&[], variable, Some("file:1")), "turnpike");
        assert_eq!(of(&[], &[], Some("file:1")), "file:1");
        assert_eq!(of(&[], &[], None), "default:1");
    }

    #[tokio::test]
    async fn an_address_that_cannot_be_used_is_named_with_its_source() {
        let metrics = |words, key| resolved((words, &[]), (None, key)).unwrap_err().to_string();
        let told = metrics(&["--metrics", "x"], Some("127.0.0.1:1"));
        assert!(told.starts_with("--metrics \"x\": write HOST:PORT"), "{told}");
        let told = metrics(&[], Some("x"));
        assert!(told.starts_with("node.metrics in the configuration file, \"x\": "), "{told}");
        for (words, key, source) in [
            (&["--listen", "nowhere"][..], None, "--listen \"nowhere\": write HOST:PORT"),
            (&[], Some("nowhere"), "node.listen in the configuration file, \"nowhere\": write"),
        ] {
            let settings = resolved((words, &[]), (key, None)).unwrap();
            let told = listen(&settings.listen).await.err().unwrap().to_string();
            assert!(told.starts_with(source), "{told}");
        }
    }
}
