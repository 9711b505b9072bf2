//! One connection: the TLS handshake, HTTP/2, and the watch over both.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::server::Acceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::Service;

use crate::budget::Budget;
use crate::config::{Deadlines, ListenConfig, WINDOW_MIN};
use crate::frames::Watched;
use crate::peer::Peer;
use crate::request::{RequestContext, handle};
use crate::sparse::SparseLine;
use crate::table::Admitted;
use crate::tls::{Handshakes, PeerWatch, TlsSource, Transport};

/// The bytes of answers that the HTTP/2 library buffers for a request.
const SEND_BUFFER_BYTES: usize = 256 * 1024;
const RESETS_MAX: usize = 100;
/// Longer than a server runs.
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
const HTTP2: &[u8] = b"h2";
/// The first byte of a TLS handshake (RFC 8446, 5.1). HTTP/2 without TLS begins with `P`.
const TLS_HANDSHAKE: u8 = 0x16;

/// The log lines that any client which connects can cause.
#[derive(Debug, Default)]
pub(crate) struct ConnectionLines {
    handshake: SparseLine,
    protocol: SparseLine,
    reader: SparseLine,
}

/// What the connections of a listener share.
#[derive(Debug)]
pub(crate) struct Listening<S> {
    pub(crate) config: ListenConfig,
    pub(crate) budget: Budget,
    pub(crate) transport: Transport,
    pub(crate) handshakes: Handshakes,
    pub(crate) lines: ConnectionLines,
    pub(crate) service: S,
    /// No new requests: open ones may finish.
    pub(crate) stop: CancellationToken,
    /// Open requests are cut.
    pub(crate) cut: CancellationToken,
}

/// Serves a connection until it ends.
pub(crate) async fn run<S>(
    stream: TcpStream,
    address: SocketAddr,
    admitted: Admitted,
    all: Arc<Listening<S>>,
) where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
{
    // A connection without these settings is slower or noticed later as dead, and works.
    if let Err(error) = set_options(&stream, all.config.deadlines.ping) {
        tracing::debug!(%address, %error, "a connection's options can't be set");
    }
    let source = match &all.transport {
        Transport::Plain => None,
        Transport::Tls(source) => Some(source),
        Transport::Either(source) => match begins_tls(&stream, &admitted, &all).await {
            None => return,
            Some(begins_tls) => begins_tls.then_some(source),
        },
    };
    match source {
        None => {
            let peer = Peer { address, certificates: Arc::from([]), not_after_s: None };
            serve(stream, peer, std::future::pending(), &admitted, &all).await;
        }
        Some(source) => {
            let shaken = secured(stream, address, source, &admitted, &all).await;
            if let Some((stream, peer, watch)) = shaken {
                serve(stream, peer, watch.ended(), &admitted, &all).await;
            }
        }
    }
}

/// Whether the first byte of a client begins a TLS handshake; `None` if none comes in time.
async fn begins_tls<S>(
    stream: &TcpStream,
    admitted: &Admitted,
    all: &Listening<S>,
) -> Option<bool> {
    let mut first = [0];
    let peeked = tokio::select! {
        peeked = tokio::time::timeout(all.config.deadlines.handshake, stream.peek(&mut first)) => peeked,
        () = admitted.must_close() => {
            closed("idle");
            return None;
        }
        () = all.stop.cancelled() => return None,
    };
    match peeked {
        Ok(Ok(1)) => Some(first[0] == TLS_HANDSHAKE),
        Ok(_) => None,
        Err(_) => {
            closed("deadline");
            None
        }
    }
}

fn set_options(stream: &TcpStream, ping: Duration) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(ping))
}

fn closed(cause: &'static str) {
    metrics::counter!("turnpike_connections_closed_total", "cause" => cause).increment(1);
}

/// The TLS handshake.
async fn secured<S>(
    stream: TcpStream,
    address: SocketAddr,
    source: &TlsSource,
    admitted: &Admitted,
    all: &Listening<S>,
) -> Option<(TlsStream<TcpStream>, Peer, PeerWatch)> {
    let own = all.handshakes.begin();
    let shaking = async {
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        // Read here, so that a certificate that was replaced meanwhile is not used.
        start.into_stream(source.current()).await
    };
    let shaken = tokio::select! {
        shaken = tokio::time::timeout(all.config.deadlines.handshake, shaking) => shaken,
        () = own.given_up() => {
            closed("handshakes");
            return None;
        }
        () = admitted.must_close() => {
            closed("idle");
            return None;
        }
        () = all.stop.cancelled() => return None,
    };
    let stream = match shaken {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            closed("handshake");
            match source.explain(&error) {
                Some(cause) => {
                    tracing::warn!(%address, cause, "a client's certificate was refused");
                }
                None => {
                    if let Some(left_out) = all.lines.handshake.next() {
                        tracing::info!(%address, %error, left_out, "a TLS handshake failed");
                    }
                }
            }
            return None;
        }
        Err(_) => {
            closed("deadline");
            tracing::debug!(%address, "a TLS handshake took too long");
            return None;
        }
    };
    let (_, session) = stream.get_ref();
    if session.alpn_protocol() != Some(HTTP2) {
        closed("handshake");
        if let Some(left_out) = all.lines.protocol.next() {
            tracing::info!(%address, left_out, "a TLS client does not offer HTTP/2 (ALPN h2)");
        }
        return None;
    }
    let certificates = session.peer_certificates().unwrap_or_default();
    let certificates = certificates.iter().map(|certificate| certificate.clone().into_owned());
    let certificates: Arc<[_]> = certificates.collect();
    let mut watch = source.watch(Arc::clone(&certificates));
    // The authorities may have been replaced during the handshake.
    let not_after_s = match watch.judge() {
        Ok(not_after_s) => not_after_s,
        Err(cause) => {
            closed("certificate");
            tracing::warn!(%address, cause, "a client's certificate was refused");
            return None;
        }
    };
    Some((stream, Peer { address, certificates, not_after_s }, watch))
}

/// Why a connection takes no new requests any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Retired {
    /// The server stops, and cuts what is left.
    Stop,
    /// The client's certificate is not valid any more.
    Certificate,
    /// The connection has reached its largest age.
    Age,
}

impl Retired {
    /// The time within which open requests may finish.
    fn grace(self, deadlines: &Deadlines) -> Option<Duration> {
        match self {
            Self::Stop => None,
            Self::Certificate => Some(deadlines.grace),
            Self::Age => Some(deadlines.age / 24),
        }
    }
}

/// Completes when the connection must take no new requests any more.
async fn retired<S>(
    address: SocketAddr,
    certificate_ended: impl Future<Output = String>,
    all: &Listening<S>,
) -> Retired {
    tokio::select! {
        () = all.stop.cancelled() => Retired::Stop,
        cause = certificate_ended => {
            closed("certificate");
            tracing::warn!(%address, cause, "the certificate of a connected client is refused now");
            Retired::Certificate
        }
        () = tokio::time::sleep(all.config.deadlines.age) => {
            closed("age");
            tracing::debug!(%address, "a connection has reached its largest age");
            Retired::Age
        }
    }
}

/// Serves HTTP/2 on `stream`.
async fn serve<I, S>(
    stream: I,
    peer: Peer,
    certificate_ended: impl Future<Output = String>,
    admitted: &Admitted,
    all: &Arc<Listening<S>>,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    let (config, address) = (all.config, peer.address);
    let window = admitted.window_bytes();
    let context = RequestContext {
        service: all.service.clone(),
        budget: all.budget.clone(),
        deadlines: config.deadlines,
        peer,
        progress: Arc::clone(&admitted.progress),
    };
    let (stream, incomplete) = Watched::new(stream);
    let service = service_fn(move |request: Request<Incoming>| {
        let context = context.clone();
        async move { Ok::<_, Infallible>(handle(context, request).await) }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_connection_window_size(window)
        .initial_stream_window_size(config.stream_window_bytes.min(window).max(WINDOW_MIN))
        .max_concurrent_streams(config.streams_per_connection_max)
        .max_header_list_size(config.headers_bytes_max)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_local_error_reset_streams(RESETS_MAX)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .keep_alive_interval(config.deadlines.ping)
        .keep_alive_timeout(config.deadlines.ping)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let mut watch = tokio::time::interval(watch_interval(&config));
    let mut retiring = pin!(retired(address, certificate_ended, all));
    let mut is_retired = false;
    let mut cut = pin!(tokio::time::sleep(NEVER));
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%address, %error, "a connection broke");
                }
                return;
            }
            () = admitted.must_close() => {
                closed("idle");
                tracing::debug!(%address, "an idle connection is closed to make room for another");
                return;
            }
            () = all.cut.cancelled() => return,
            why = retiring.as_mut(), if !is_retired => {
                is_retired = true;
                connection.as_mut().graceful_shutdown();
                if let Some(grace) = why.grace(&config.deadlines) {
                    cut.as_mut().reset(Instant::now() + grace);
                }
            }
            () = cut.as_mut() => return,
            _ = watch.tick() => {
                if incomplete.age().is_some_and(|age| age >= config.deadlines.frame) {
                    closed("deadline");
                    tracing::debug!(%address, "a client stopped within a frame or its headers");
                    return;
                }
                let unread = admitted.progress.longest_unread();
                if unread.is_some_and(|age| age >= config.deadlines.reading) {
                    closed("slow-reader");
                    if let Some(left_out) = all.lines.reader.next() {
                        tracing::info!(%address, left_out, "a client did not take an answer in time");
                    }
                    return;
                }
            }
        }
    }
}

/// How often deadlines are compared with the clock: a quarter of the shortest one.
fn watch_interval(config: &ListenConfig) -> Duration {
    let shortest = config.deadlines.frame.min(config.deadlines.reading);
    (shortest / 4).max(Duration::from_millis(10))
}
