//! A network within one process, for tests of servers and clients. Each connection is a pipe.
//!
//! ```text
//!   Network::listen("a:1") -> incoming connections -> Server::serve_with_incoming
//!   Network::dial()        -> channel("a:1") -> a pipe to that server, when it is first used
//! ```
//!
//! Sockets are not suited to a paused clock of tokio (`#[tokio::test(start_paused = true)]`): the
//! clock would advance while bytes are in flight in the kernel. Bytes in a pipe make a task ready
//! to run, so that the clock does not advance until all bytes have arrived.
//!
//! Invariant: the network loses, delays and reorders no bytes.
//!
//! Not provided: faults. `crates/harness` injects faults into real sockets, and
//! `chaos-tests/simulation` into a simulated network.

use std::collections::HashMap;
use std::io::{Error, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::{Stream, StreamExt as _};
use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Uri};
use turnpike_proto::dial::{Dial, DialError, endpoint};

/// The maximum number of bytes in flight in one direction of a connection. A writer waits when the
/// pipe is full.
const PIPE_BYTES_MAX: usize = 1 << 20;
/// The maximum number of connections that a server has not accepted yet. Further ones are refused.
const BACKLOG_MAX: usize = 64;

type Listeners = HashMap<String, mpsc::Sender<DuplexStream>>;

/// A network. A clone is a handle to the same network.
#[derive(Clone, Default)]
pub struct Network(Arc<Mutex<Listeners>>);

impl Network {
    /// Listens at `address` (`host:port`, or a host alone). Returns the stream of connections that
    /// are made from now on. A previous listener at this address gets no further connections.
    pub fn listen(
        &self,
        address: &str,
    ) -> impl Stream<Item = Result<DuplexStream, Error>> + Send + use<> {
        let (sender, receiver) = mpsc::channel(BACKLOG_MAX);
        self.listeners().insert(address.to_owned(), sender);
        ReceiverStream::new(receiver).map(Ok)
    }

    /// A dialer that makes channels to the listeners of this network.
    pub fn dial(&self) -> Dial {
        let network = self.clone();
        Dial::new(move |address| network.channel(address))
    }

    /// A channel to `address`. It connects at its first use, and again after its connection has
    /// ended.
    ///
    /// # Errors
    /// [`DialError`] when `address` is malformed.
    pub fn channel(&self, address: &str) -> Result<Channel, DialError> {
        let network = self.clone();
        let connector = tower::service_fn(move |uri: Uri| {
            let connected = network.connect(uri.authority().map_or("", |name| name.as_str()));
            std::future::ready(connected.map(TokioIo::new))
        });
        Ok(endpoint(address)?.connect_with_connector_lazy(connector))
    }

    fn connect(&self, address: &str) -> Result<DuplexStream, Error> {
        let refused =
            |cause: &str| Error::new(ErrorKind::ConnectionRefused, format!("{address}: {cause}"));
        let listener = self.listeners().get(address).cloned();
        let listener = listener.ok_or_else(|| refused("no listener at this address"))?;
        let (near, far) = tokio::io::duplex(PIPE_BYTES_MAX);
        listener
            .try_send(far)
            .map_err(|_| refused("the listener's queue is full, or the listener has ended"))?;
        Ok(near)
    }

    fn listeners(&self) -> MutexGuard<'_, Listeners> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::StreamExt as _;
    use tonic::transport::Server;
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;

    use super::Network;

    fn serve(network: &Network, address: &str) {
        let (_, service) = tonic_health::server::health_reporter();
        let incoming = network.listen(address);
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
    }

    async fn is_served(network: &Network, address: &str) -> bool {
        let channel = network.dial().channel(address).unwrap();
        HealthClient::new(channel).check(HealthCheckRequest::default()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_reaches_the_server_at_its_address_and_takes_no_virtual_time() {
        let network = Network::default();
        serve(&network, "a:1");
        let began = tokio::time::Instant::now();
        assert!(is_served(&network, "a:1").await);
        assert!(!is_served(&network, "b:1").await, "no listener at this address");
        assert!(began.elapsed() < Duration::from_millis(1), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_channel_connects_again_once_its_connection_has_ended() {
        let network = Network::default();
        let mut taken = Box::pin(network.listen("a"));
        let mut client = HealthClient::new(network.dial().channel("a").unwrap());
        let mut asking = client.clone();
        let call = tokio::spawn(async move { asking.check(HealthCheckRequest::default()).await });
        drop(taken.next().await.unwrap().unwrap());
        assert!(call.await.unwrap().is_err(), "its connection ended");
        serve(&network, "a");
        let again = client.check(HealthCheckRequest::default()).await;
        assert!(again.is_ok(), "{again:?}");
    }
}
