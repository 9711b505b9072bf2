//! The common parts of all servers: listener, health, reflection, limits, graceful shutdown.

use std::io::ErrorKind;
use std::net::SocketAddr;

use anyhow::{Context as _, anyhow};
use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tonic::service::Routes;
use tower_layer::Layer as _;
use turnpike_access::certificates::{CertificateUse, Certificates};
use turnpike_access::{Access, GuardLayer, RequestIdLayer};
use turnpike_listen::{Budget, ListenConfig, MEMORY_MIN, TRANSPORT_MIN, Transport};
use turnpike_proto::dial::Dial;
use turnpike_types::Must;

use crate::config::TlsSection;
use crate::exit::usage;
use crate::settings::Setting;
use crate::tls::{TlsArgs, TlsSettings};
use crate::ui;

/// The options for the addresses of a server.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ListenArgs {
    /// The listening address; port 0 for any free port
    #[arg(long, env = "TURNPIKE_LISTEN", value_name = "ADDRESS")]
    listen: Option<String>,
    /// The address for Prometheus metrics and health: /metrics, /healthz, /readyz [default: none]
    #[arg(long, env = "TURNPIKE_METRICS", value_name = "ADDRESS")]
    metrics: Option<String>,
    /// The memory for requests, in bytes [default: 1 GiB, or a quarter of what there is if less]
    #[arg(long, env = "TURNPIKE_MEMORY", value_name = "BYTES")]
    memory: Option<usize>,
    /// Stop when standard input ends, as well as at SIGTERM
    #[arg(long, hide = true)]
    stop_at_stdin_end: bool,
    #[command(flatten)]
    tls: TlsArgs,
    /// Accept connections without TLS from other machines too, where everybody can read and change
    /// them
    #[arg(long, help_heading = "TLS")]
    insecure_plaintext: bool,
    /// Use no TLS, whatever the variables and the file say: `turnpike up` is a cluster on loopback
    #[arg(long, hide = true)]
    without_tls: bool,
}

/// A bound listener that does not serve yet.
pub(crate) struct Listener {
    incoming: TcpListener,
    pub(crate) transport: ServerTransport,
    pub(crate) address: SocketAddr,
}

/// The resolved addresses of a server, and how it is stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListenSettings {
    pub(crate) listen: Setting<String>,
    /// The address for metrics and health, if any.
    pub(crate) metrics: Option<SocketAddr>,
    /// The memory for requests in bytes, with what the front or the node itself holds of them.
    pub(crate) memory: Setting<usize>,
    stops_at_stdin_end: bool,
    tls: Option<TlsSettings>,
    insecure_plaintext: bool,
}

/// How a server is reached, and how it reaches nodes.
#[derive(Clone, Debug)]
pub(crate) enum ServerTransport {
    /// Without TLS.
    Plaintext {
        /// Whether other machines may connect.
        is_open: bool,
    },
    /// With TLS.
    Tls {
        /// The certificates in force.
        certificates: Certificates,
        /// Whether connections without TLS are accepted and made too, while a cluster changes to
        /// TLS.
        also_plaintext: bool,
    },
}

impl ServerTransport {
    /// Connects to nodes.
    pub(crate) fn dial(&self) -> Dial {
        match self {
            Self::Plaintext { .. } => Dial::default(),
            Self::Tls { certificates, also_plaintext } => certificates.dial(*also_plaintext),
        }
    }

    /// What the listener accepts.
    fn accepted(&self) -> Transport {
        match self {
            Self::Plaintext { .. } => Transport::Plain,
            Self::Tls { certificates, also_plaintext } => {
                let source = certificates.source().must("a server's certificates have a source");
                if *also_plaintext { Transport::Either(source) } else { Transport::Tls(source) }
            }
        }
    }

    /// Whether other members must use TLS to reach this server.
    pub(crate) const fn requires_tls(&self) -> bool {
        matches!(self, Self::Tls { also_plaintext: false, .. })
    }

    /// Whether other machines may connect without TLS.
    pub(crate) const fn is_open(&self) -> bool {
        match self {
            Self::Plaintext { is_open } => *is_open,
            Self::Tls { also_plaintext, .. } => *also_plaintext,
        }
    }

    /// Reports a server that accepts connections without TLS from other machines. To be called when
    /// the metrics are recorded.
    pub(crate) fn report(&self) {
        let is_open = self.is_open();
        metrics::gauge!("turnpike_insecure_plaintext").set(if is_open { 1.0 } else { 0.0 });
        if is_open {
            tracing::warn!(
                "--insecure-plaintext: everybody who reaches the port can read and change all that \
                 is sent; use certificates (`turnpike cert --help`)"
            );
        }
    }
}

/// The keys of a server's addresses in the configuration file, each with its name and value.
pub(crate) struct ListenKeys<'a> {
    pub(crate) listen: (&'static str, &'a Option<String>),
    pub(crate) metrics: (&'static str, &'a Option<String>),
    pub(crate) memory: (&'static str, Option<usize>),
    pub(crate) tls: &'a TlsSection,
}

/// What serves the requests of a listener: the limits, and the memory of the transport.
pub(crate) struct ServingLimits {
    pub(crate) config: ListenConfig,
    pub(crate) budget: Budget,
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
        let default = turnpike_listen::default_memory();
        let memory = Setting::resolve(("--memory", self.memory), keys.memory, default);
        if memory.value < MEMORY_MIN {
            return Err(memory.refused(format!("write at least {MEMORY_MIN}, in bytes")));
        }
        let tls = match self.without_tls {
            true => None,
            false => self.tls.resolve(keys.tls, true)?,
        };
        let of_file = keys.tls.insecure_plaintext.filter(|_| !self.without_tls);
        Ok(ListenSettings {
            listen,
            metrics,
            memory,
            stops_at_stdin_end: self.stop_at_stdin_end,
            tls,
            insecure_plaintext: self.insecure_plaintext || of_file == Some(true),
        })
    }
}

impl ListenSettings {
    /// The part of the memory that the front or node itself uses: `given` under the key `key`, or
    /// `default`, or a quarter of the memory if that is less.
    pub(crate) fn own_bytes(
        &self,
        key: &str,
        given: Option<usize>,
        default: usize,
    ) -> anyhow::Result<usize> {
        let memory = self.memory.value;
        let Some(own) = given else { return Ok(default.min(memory / 4)) };
        match memory.checked_sub(own) {
            Some(rest) if rest >= TRANSPORT_MIN => Ok(own),
            _ => Err(usage(format!(
                "{key} in the configuration file, {own}: at most {} of the {memory} bytes of \
                 --memory; lower one or raise the other",
                memory - TRANSPORT_MIN
            ))),
        }
    }

    /// The budget of the transport: the memory without `own` bytes.
    pub(crate) fn budget(&self, own: usize) -> Budget {
        Budget::new(self.memory.value.saturating_sub(own))
    }

    /// Loads the certificates; `name` is the name that they must contain.
    pub(crate) fn transport(
        &self,
        usage_of: CertificateUse,
        name: Option<&str>,
    ) -> anyhow::Result<ServerTransport> {
        match &self.tls {
            None => Ok(ServerTransport::Plaintext { is_open: self.insecure_plaintext }),
            Some(tls) => Ok(ServerTransport::Tls {
                certificates: tls.open(usage_of, name)?,
                also_plaintext: self.insecure_plaintext,
            }),
        }
    }

    /// The transport, for the first line of the log.
    pub(crate) fn transport_shown(&self) -> String {
        match (&self.tls, self.insecure_plaintext) {
            (None, false) => "none (loopback only)".to_owned(),
            (None, true) => "none (--insecure-plaintext)".to_owned(),
            (Some(tls), false) => tls.shown(),
            (Some(tls), true) => format!("{} (--insecure-plaintext)", tls.shown()),
        }
    }

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
///
/// # Errors
/// The address can't be used; or other machines could reach it without TLS.
pub(crate) async fn listen(
    listen: &Setting<String>,
    transport: &ServerTransport,
) -> anyhow::Result<Listener> {
    let incoming = bind(listen).await?;
    let address = incoming.local_addr().context("the listener has no address")?;
    let is_loopback = address.ip().to_canonical().is_loopback();
    if let (ServerTransport::Plaintext { is_open: false }, false) = (transport, is_loopback) {
        return Err(usage(format!(
            "other machines can reach {address}, and without TLS everybody there could read and \
             change usage, accounts and prices: use certificates (--certificate, --key, --ca), \
             which `turnpike cert --help` shows how to make, or listen on 127.0.0.1; \
             --insecure-plaintext does without"
        )));
    }
    Ok(Listener { incoming, transport: transport.clone(), address })
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
    /// Serves `routes`, health and reflection to those whom `access` admits, until `stop`
    /// completes. Then requests in flight may finish within the grace of `limits`.
    pub(crate) async fn serve(
        self,
        what: &str,
        routes: Routes,
        access: Access,
        limits: ServingLimits,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> anyhow::Result<()> {
        let (health, health_service) = tonic_health::server::health_reporter();
        let v1 = reflection().build_v1().context("reflection")?;
        let v1alpha = reflection().build_v1alpha().context("reflection")?;
        let routes = routes.add_service(health_service).add_service(v1).add_service(v1alpha);
        let stop = async move {
            stop.await;
            // From here on, load balancers send requests to other servers.
            health.set_service_status("", tonic_health::ServingStatus::NotServing).await;
        };
        // A parent process reads the address from this line.
        ui::print(format_args!("{what} listens on {}", self.address))?;
        let ServingLimits { config, budget } = limits;
        let routes = RequestIdLayer.layer(GuardLayer::new(access).layer(routes.prepare()));
        let transport = self.transport.accepted();
        let serving =
            turnpike_listen::serve(self.incoming, transport, routes, config, budget, stop);
        let cut = serving.await;
        if cut > 0 {
            tracing::info!(connections = cut, "connections that clients kept open were closed");
        }
        Ok(())
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
        let keys = ListenKeys {
            listen: ("node.listen", &listen),
            metrics: ("node.metrics", &metrics),
            memory: ("node.memory", None),
            tls: &TlsSection::default(),
        };
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

    #[test]
    fn the_memory_for_requests_is_divided_or_refused() {
        let of = |memory: &str| resolved((&["--memory", memory], &[]), (None, None));
        let told = of("1000").unwrap_err().to_string();
        assert_eq!(told, format!("--memory 1000: write at least {MEMORY_MIN}, in bytes"));
        let settings = of("1073741824").unwrap();
        assert_eq!(settings.own_bytes("node.x", None, 64 << 20).unwrap(), 64 << 20);
        assert_eq!(settings.own_bytes("node.x", None, usize::MAX).unwrap(), 256 << 20);
        assert_eq!(settings.own_bytes("node.x", Some(900 << 20), 0).unwrap(), 900 << 20);
        for own in [1000 << 20, usize::MAX] {
            let told = settings.own_bytes("node.x", Some(own), 0).unwrap_err().to_string();
            let at_most = (1 << 30) - TRANSPORT_MIN;
            assert!(
                told.contains(&format!(
                    "node.x in the configuration file, {own}: at most {at_most}"
                )),
                "{told}"
            );
        }
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
            let told = listen(&settings.listen, &ServerTransport::Plaintext { is_open: false })
                .await
                .err()
                .unwrap()
                .to_string();
            assert!(told.starts_with(source), "{told}");
        }
    }
}
