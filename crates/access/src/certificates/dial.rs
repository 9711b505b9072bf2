//! Connects with TLS.

use std::io;

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio_rustls::TlsConnector;
use tonic::transport::Uri;
use tower_service::Service as _;
use turnpike_proto::dial::{Connector, Dial, DialError, Wire, WireResult, endpoint};

use super::in_force::Certificates;
use super::verify::peer_fault;

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
    let stream = connected.map_err(|error| match peer_fault(&error) {
        Some(fault) => {
            tracing::warn!(address = %uri, cause = %fault, "a server's certificate was refused");
            io::Error::other(format!("the server's certificate was refused: {fault}"))
        }
        None => error,
    })?;
    Ok(Box::new(TokioIo::new(stream)) as Box<dyn Wire>)
}
