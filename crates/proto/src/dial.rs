//! Connects to nodes: makes a channel from an address.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::{Read, Write};
use tonic::transport::{Channel, Endpoint, Uri};
use tower_service::Service;

/// No channel can be made from the address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("address {address:?}: {cause}")]
pub struct DialError {
    /// The address as the node gave it.
    pub address: String,
    /// The reason why the address is invalid.
    pub cause: String,
}

type DialFn = dyn Fn(&str) -> Result<Channel, DialError> + Send + Sync;

/// Makes a channel to a node's address (`host:port`). It must not block: a channel connects on its
/// first use, and reconnects after it has lost its connection.
#[derive(Clone)]
pub struct Dial(Arc<DialFn>);

impl Dial {
    /// A custom implementation, for tests and simulation.
    pub fn new(dial: impl Fn(&str) -> Result<Channel, DialError> + Send + Sync + 'static) -> Self {
        Self(Arc::new(dial))
    }

    /// A channel to `address`.
    ///
    /// # Errors
    /// [`DialError`] when `address` is not valid.
    pub fn channel(&self, address: &str) -> Result<Channel, DialError> {
        (self.0)(address)
    }
}

impl Default for Dial {
    /// Connects through TCP.
    fn default() -> Self {
        Self::new(tcp)
    }
}

/// A connection to a server, below HTTP/2.
pub trait Wire: Read + Write + Send + Unpin {}

impl<W: Read + Write + Send + Unpin> Wire for W {}

/// The outcome of an attempt to connect.
pub type WireResult = Result<Box<dyn Wire>, Box<dyn Error + Send + Sync>>;

type WireFuture = Pin<Box<dyn Future<Output = WireResult> + Send>>;

/// Opens the connections below HTTP/2, such as those of TLS.
#[derive(Clone)]
pub struct Connector(Arc<dyn Fn(Uri) -> WireFuture + Send + Sync>);

impl Connector {
    /// Opens each connection with `connect`.
    pub fn new<F>(connect: impl Fn(Uri) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = WireResult> + Send + 'static,
    {
        Self(Arc::new(move |uri| Box::pin(connect(uri))))
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

impl Service<Uri> for Connector {
    type Response = Box<dyn Wire>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = WireFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        (self.0)(uri)
    }
}

/// The HTTP/2 flow-control window of a stream is larger than the largest sub-batch. That of a
/// connection is as large as those of several streams.
const STREAM_WINDOW_BYTES: u32 = 8 * 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 32 * 1024 * 1024;
/// These time-outs detect a host that drops packets about as fast as a missing heartbeat does. They
/// do not detect a frozen process, which only a missing heartbeat shows.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const PING: Duration = Duration::from_millis(200);
const PING_ANSWER: Duration = Duration::from_millis(600);
const TCP_KEEPALIVE: Duration = Duration::from_secs(5);

fn tcp(address: &str) -> Result<Channel, DialError> {
    if address.starts_with("https://") {
        return Err(DialError {
            address: address.to_owned(),
            cause: "it requires TLS, and this process has no certificates".to_owned(),
        });
    }
    Ok(endpoint(address)?.connect_lazy())
}

/// The settings of a channel to `address`, for any transport.
///
/// # Errors
/// [`DialError`] when `address` is not valid.
pub fn endpoint(address: &str) -> Result<Endpoint, DialError> {
    let url =
        if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    let endpoint = Endpoint::from_shared(url)
        .map_err(|error| DialError { address: address.to_owned(), cause: error.to_string() })?;
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .tcp_keepalive(Some(TCP_KEEPALIVE))
        .http2_keep_alive_interval(PING)
        .keep_alive_timeout(PING_ANSWER)
        // Without this, a silent stream gets no pings: hyper schedules the first ping only when it
        // reads data while a stream is open.
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES))
}
