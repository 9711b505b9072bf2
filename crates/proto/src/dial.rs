//! The network seam: from an address to a channel.

use std::sync::Arc;
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

/// An address that no channel can be made from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("address {address:?}: {cause}")]
pub struct DialError {
    /// The address as the node gave it.
    pub address: String,
    /// What is wrong with it.
    pub cause: String,
}

type DialFn = dyn Fn(&str) -> Result<Channel, DialError> + Send + Sync;

/// Makes a channel to a node's address (`host:port`). It must not block: channels connect when
/// they are first used, and again whenever they lost their connection.
#[derive(Clone)]
pub struct Dial(Arc<DialFn>);

impl Dial {
    /// A dialler of one's own, for tests and simulation.
    pub fn new(dial: impl Fn(&str) -> Result<Channel, DialError> + Send + Sync + 'static) -> Self {
        Self(Arc::new(dial))
    }

    /// A channel to `address`.
    ///
    /// # Errors
    /// [`DialError`] when `address` is none.
    pub fn channel(&self, address: &str) -> Result<Channel, DialError> {
        (self.0)(address)
    }
}

impl Default for Dial {
    /// TCP.
    fn default() -> Self {
        Self::new(tcp)
    }
}

/// A stream's window holds more than the largest sub-batch, a connection's that of several lanes.
const STREAM_WINDOW_BYTES: u32 = 8 * 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 32 * 1024 * 1024;
/// A host that drops packets is found out by these, about as fast as its heartbeat would be missed;
/// a process that froze, by its heartbeat.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const PING: Duration = Duration::from_millis(200);
const PING_ANSWER: Duration = Duration::from_millis(600);
const TCP_KEEPALIVE: Duration = Duration::from_secs(5);

fn tcp(address: &str) -> Result<Channel, DialError> {
    Ok(endpoint(address)?.connect_lazy())
}

/// The settings of a channel to `address`, whatever carries it.
///
/// # Errors
/// [`DialError`] when `address` is none.
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
        // Else a stream on which nothing is said is not looked after: hyper schedules the first ping
        // when something is read while a stream is open.
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES))
}
