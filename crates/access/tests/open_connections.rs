//! A connection does not outlive the certificate of its client, nor the trust in it.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::body::Body;
use tower_service::Service;
use turnpike_access::certificates::{CertificateUse, Certificates, IssuedCertificate, Reloaded};
use turnpike_listen::{Budget, ListenConfig, Transport, serve};

use crate::pki::{Ca, Disk, HOUR, now_s};
use crate::strangers;

#[derive(Clone)]
struct Nothing;

impl Service<Request<Body>> for Nothing {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        ready(Ok(Response::default()))
    }
}

async fn server_with(certificates: &Certificates) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let transport = Transport::Tls(certificates.source().unwrap());
    let (mut config, budget) = (ListenConfig::front(), Budget::new(64 << 20));
    config.deadlines.grace = Duration::from_millis(100);
    tokio::spawn(serve(listener, transport, Nothing, config, budget, std::future::pending()));
    address
}

/// Connects as a client of HTTP/2, which sends no request.
async fn connected(server: SocketAddr, own: Option<&IssuedCertificate>) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(server).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let connector = TlsConnector::from(strangers::client(own));
    let mut stream = connector.connect(name, stream).await.unwrap();
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&settings).await.unwrap();
    stream.flush().await.unwrap();
    stream
}

/// Waits until the server closes the connection; `false` if it does not within `wait`.
async fn ends_within(stream: &mut TlsStream<TcpStream>, wait: Duration) -> bool {
    let mut bytes = [0; 1024];
    let reading = async { while let Ok(1..) = stream.read(&mut bytes).await {} };
    tokio::time::timeout(wait, reading).await.is_ok()
}

const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_connection_is_closed_when_the_certificate_of_its_client_expires() {
    let ca = Ca::new("c");
    let front = Disk::of(&ca.issue("spiffe://c/front/a"), &[&ca]).of_use(CertificateUse::Front);
    let server = server_with(&front).await;
    let short = ca.issue_from("spiffe://c/client/a", now_s() + 3 - HOUR.as_secs());
    let long = ca.issue("spiffe://c/client/b");
    let begun = Instant::now();
    let mut expires = connected(server, Some(&short)).await;
    let mut stays = [connected(server, Some(&long)).await, connected(server, None).await];
    assert!(ends_within(&mut expires, SOON).await);
    assert!(begun.elapsed() >= Duration::from_secs(1), "not before the certificate expires");
    for stream in &mut stays {
        assert!(!ends_within(stream, Duration::from_millis(200)).await);
    }
}

#[tokio::test]
async fn connections_are_closed_when_the_authority_of_their_clients_is_withdrawn() {
    let (old, new) = (Ca::new("c"), Ca::new("c"));
    let disk = Disk::of(&new.issue("spiffe://c/front/a"), &[&old, &new]);
    let front = disk.of_use(CertificateUse::Front);
    let server = server_with(&front).await;
    let mut of_old = connected(server, Some(&old.issue("spiffe://c/client/a"))).await;
    let mut of_new = connected(server, Some(&new.issue("spiffe://c/client/b"))).await;
    disk.set_authorities(&[&new]);
    assert_eq!([front.poll(), front.poll()], [Reloaded::Changing, Reloaded::Renewed]);
    assert!(ends_within(&mut of_old, SOON).await);
    assert!(!ends_within(&mut of_new, Duration::from_millis(200)).await);
}

#[tokio::test]
async fn a_connection_is_closed_when_the_authority_of_its_client_expires() {
    let (ca, short) = (Ca::new("c"), Ca::until("c", now_s() + 3));
    let disk = Disk::of(&ca.issue("spiffe://c/front/a"), &[&ca, &short]);
    let server = server_with(&disk.of_use(CertificateUse::Front)).await;
    let odd = short.with_uris(&["spiffe://c/client/a"]);
    let mut stream = connected(server, Some(&odd)).await;
    assert!(ends_within(&mut stream, SOON).await);
    // Nor is a new connection accepted.
    let mut late = connected(server, Some(&odd)).await;
    assert!(ends_within(&mut late, SOON).await);
}
