//! The other end of a connection.

use std::net::SocketAddr;
use std::sync::Arc;

use http::Extensions;
use rustls_pki_types::CertificateDer;
use tonic::transport::server::TcpConnectInfo;

/// The other end of a connection. An extension of each request, which the listener sets.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The address of the client.
    pub address: SocketAddr,
    /// The certificates that the client presented, its own first. The listener has checked that
    /// they lead to the cluster's CA. Empty without TLS, or if the client presented none.
    pub certificates: Arc<[CertificateDer<'static>]>,
}

impl Peer {
    /// The peer of a request; `None` if the transport does not know it.
    pub(crate) fn of(extensions: &Extensions) -> Option<Self> {
        extensions.get::<Self>().cloned().or_else(|| {
            let address = extensions.get::<TcpConnectInfo>()?.remote_addr()?;
            Some(Self { address, certificates: Arc::default() })
        })
    }
}
