//! Connects with TLS.

use std::io;
use std::time::Duration;

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::AsyncBufReadExt as _;
use tokio_rustls::TlsConnector;
use tonic::transport::Uri;
use tower_service::Service as _;
use turnpike_proto::dial::{Connector, Dial, DialError, Wire, WireResult, endpoint};

use super::in_force::Certificates;
use super::verify::peer_fault;

/// The wait for the first bytes of a server, which show that it has accepted the certificate.
const ACCEPTED_MAX: Duration = Duration::from_millis(500);

impl Certificates {
    /// Opens connections with TLS, with the certificates that are in force at that moment.
    pub fn connector(&self) -> Connector {
        let certificates = self.clone();
        Connector::new(move |uri| connect(certificates.clone(), uri))
    }

    /// Connects a member to nodes. A node's address that begins with `https://` is reached with
    /// TLS. Any other is reached with TLS too, unless `accepts_plaintext`: then some nodes have no
    /// certificates yet.
    pub fn dial(&self, accepts_plaintext: bool) -> Dial {
        let connector = self.connector();
        Dial::new(move |address| {
            let (is_tls, host) = match address.split_once("://") {
                Some(("https", host)) => (true, host),
                Some(_) if !accepts_plaintext => {
                    return Err(DialError {
                        address: address.to_owned(),
                        cause: "this process connects with TLS only: let that node advertise \
                                https://HOST:PORT"
                            .to_owned(),
                    });
                }
                Some((_, host)) => (false, host),
                None => (!accepts_plaintext, address),
            };
            if !is_tls {
                return Ok(endpoint(&format!("http://{host}"))?.connect_lazy());
            }
            let endpoint = endpoint(&format!("https://{host}"))?;
            Ok(endpoint.connect_with_connector_lazy(connector.clone()))
        })
    }
}

async fn connect(certificates: Certificates, uri: Uri) -> WireResult {
    let host = uri.host().unwrap_or("").trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(host.clone())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("{host:?} is no host")))?;
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let stream = tcp.call(uri.clone()).await?.into_inner();
    let connected = TlsConnector::from(certificates.client()).connect(name, stream).await;
    let mut stream = connected.map_err(|error| match peer_fault(&error) {
        Some(fault) => {
            tracing::warn!(address = %uri, cause = %fault, "a server's certificate was refused");
            io::Error::other(format!("the server's certificate was refused: {fault}"))
        }
        None => error,
    })?;
    // With TLS 1.3 the server checks the client's certificate after the client's part of the
    // handshake. A server of HTTP/2 begins with its settings, so an alert can be told from silence.
    // A server that waits for the client is given the benefit of the doubt.
    let refusal = match tokio::time::timeout(ACCEPTED_MAX, stream.fill_buf()).await {
        Ok(Ok([])) => Some("it closed the connection".to_owned()),
        Ok(Err(error)) => Some(error.to_string()),
        Ok(Ok(_)) | Err(_) => None,
    };
    if let Some(refusal) = refusal {
        return Err(io::Error::other(format!(
            "the server refused this process's certificate, or requires one; its log says why \
             ({refusal})"
        ))
        .into());
    }
    Ok(Box::new(TokioIo::new(stream)) as Box<dyn Wire>)
}
