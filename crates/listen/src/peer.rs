//! Who sent a request.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio_rustls::rustls::pki_types::CertificateDer;

/// The client of a request, as the transport knows it. An extension of each request.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The address from which the client connected.
    pub address: SocketAddr,
    /// The certificates that the client presented and the handshake verified, its own first; empty
    /// without TLS, or if it presented none.
    pub certificates: Arc<[CertificateDer<'static>]>,
    /// The last second, since 1970, in which all of these certificates are valid; `None` without
    /// certificates.
    pub not_after_s: Option<u64>,
}
