//! The connections of a listener, with TLS.
//!
//! ```text
//!   accept --> first byte --> TLS handshake, within HANDSHAKE_MAX --> server
//!                  |
//!                  +--> plaintext, only while a cluster changes to TLS --> server
//! ```

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;
use turnpike_access::certificates::{TlsSource, peer_fault};

/// The limit of a handshake. A peer that sends nothing holds its place no longer.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// The most handshakes at a time; further connections wait in the listener's queue.
const HANDSHAKES_MAX: usize = 512;
/// The wait after a failed accept, such as with too many open files.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// The first byte of a TLS handshake. HTTP/2 in plaintext begins with `P`.
const TLS_HANDSHAKE: u8 = 0x16;

/// A connection that was accepted.
pub(crate) enum Accepted {
    /// Without TLS.
    Plain(TcpStream),
    /// With TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

/// The other end of a connection. An extension of each request.
#[expect(dead_code, reason = "the roles read it")]
#[derive(Clone, Debug)]
pub(crate) struct AcceptedFrom {
    /// The address of the client.
    pub(crate) address: Option<SocketAddr>,
    /// The certificates that the client presented, its own first.
    pub(crate) certificates: Arc<[CertificateDer<'static>]>,
}

/// The connections of `listener`. With `accepts_plaintext`, those without TLS are accepted too.
pub(crate) fn incoming(
    listener: TcpListener,
    source: TlsSource,
    accepts_plaintext: bool,
) -> ReceiverStream<io::Result<Accepted>> {
    let (accepted, connections) = mpsc::channel(1);
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    tokio::spawn(async move {
        loop {
            // The semaphore is never closed.
            let Ok(place) = Arc::clone(&handshakes).acquire_owned().await else { return };
            let (stream, address) = tokio::select! {
                () = accepted.closed() => return,
                connection = listener.accept() => match connection {
                    Ok(connection) => connection,
                    Err(error) => {
                        tracing::warn!(%error, "a connection can't be accepted");
                        tokio::time::sleep(ACCEPT_AGAIN).await;
                        continue;
                    }
                },
            };
            let (source, accepted) = (source.clone(), accepted.clone());
            tokio::spawn(async move {
                let made = accept(stream, &source, accepts_plaintext);
                let made = tokio::time::timeout(HANDSHAKE_MAX, made).await;
                drop(place);
                match made {
                    // An error means that the server has ended.
                    Ok(Ok(connection)) => drop(accepted.send(Ok(connection)).await),
                    Ok(Err(error)) => tell(address, &error),
                    Err(_) => tracing::warn!(%address, "a connection was closed: no TLS handshake"),
                }
            });
        }
    });
    ReceiverStream::new(connections)
}

/// Logs why a handshake failed, which the other end is not told.
fn tell(address: SocketAddr, error: &io::Error) {
    match peer_fault(error) {
        Some(cause) => tracing::warn!(%address, %cause, "a client's certificate was refused"),
        // A port scanner or a health check of a load balancer closes the connection like this.
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            tracing::debug!(%address, %error, "a connection was closed before its TLS handshake");
        }
        None => tracing::warn!(%address, %error, "a TLS handshake failed"),
    }
}

async fn accept(
    stream: TcpStream,
    source: &TlsSource,
    accepts_plaintext: bool,
) -> io::Result<Accepted> {
    stream.set_nodelay(true)?;
    if accepts_plaintext {
        let mut first = [0];
        if stream.peek(&mut first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if first[0] != TLS_HANDSHAKE {
            return Ok(Accepted::Plain(stream));
        }
    }
    let stream = TlsAcceptor::from(source.current()).accept(stream).await?;
    Ok(Accepted::Tls(Box::new(stream)))
}

impl Connected for Accepted {
    type ConnectInfo = AcceptedFrom;

    fn connect_info(&self) -> AcceptedFrom {
        let (stream, certificates) = match self {
            Self::Plain(stream) => (stream, None),
            Self::Tls(stream) => (stream.get_ref().0, stream.get_ref().1.peer_certificates()),
        };
        let certificates = certificates.map_or_else(Arc::default, |found| {
            found.iter().map(|certificate| certificate.clone().into_owned()).collect()
        });
        AcceptedFrom { address: stream.peer_addr().ok(), certificates }
    }
}

impl AsyncRead for Accepted {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
