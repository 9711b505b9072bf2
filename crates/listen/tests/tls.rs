//! TLS: who the client is, and which certificate the server shows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName,
};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tonic::Code;
use turnpike_listen::{PeerCheck, TlsSource, Transport};

use crate::support::{Client, INGEST, MIB, Server, closed, config, message};

fn identity(name: &str) -> CertifiedKey<KeyPair> {
    generate_simple_self_signed(vec![name.to_owned()]).unwrap()
}

fn key(of: &CertifiedKey<KeyPair>) -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(of.signing_key.serialize_der()).into()
}

fn roots(of: &CertifiedKey<KeyPair>) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(of.cert.der().clone()).unwrap();
    Arc::new(roots)
}

fn server_config(own: &CertifiedKey<KeyPair>, client: &CertifiedKey<KeyPair>) -> Arc<ServerConfig> {
    let provider = Arc::new(default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(client), provider.clone());
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_client_cert_verifier(verifier.build().unwrap());
    let mut config = builder.with_single_cert(vec![own.cert.der().clone()], key(own)).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

async fn dial(
    server: &Server,
    expected: &CertifiedKey<KeyPair>,
    own: &CertifiedKey<KeyPair>,
    protocol: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots(expected));
    let own = builder.with_client_auth_cert(vec![own.cert.der().clone()], key(own));
    let mut config = own.unwrap();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let stream = TcpStream::connect(server.address).await.unwrap();
    let name = ServerName::try_from("server").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

async fn is_served(stream: TlsStream<TcpStream>) {
    let client = Client::on(stream, 1 << 20).await.unwrap();
    let mut call = client.open(INGEST).await;
    call.send(&message(1), true).await.unwrap();
    assert_eq!(call.end().await.unwrap().code, Code::Ok);
}

#[tokio::test]
async fn a_service_sees_the_certificate_and_a_replaced_one_is_shown_to_new_connections() {
    let [first, second, client] = ["server", "server", "client"].map(identity);
    let source = TlsSource::new(server_config(&first, &client));
    let server = Server::over(Transport::Tls(source.clone()), config(), 64 * MIB).await;
    is_served(dial(&server, &first, &client, "h2").await.unwrap()).await;
    let peer = server.echo.peers.lock().unwrap().pop().unwrap();
    assert_eq!(peer.certificates[..], [client.cert.der().clone()]);
    assert!(peer.address.ip().is_loopback());
    source.replace(server_config(&second, &client));
    assert!(dial(&server, &first, &client, "h2").await.is_err());
    is_served(dial(&server, &second, &client, "h2").await.unwrap()).await;
}

#[tokio::test]
async fn a_client_without_tls_with_a_wrong_certificate_or_without_http2_is_not_served() {
    let [own, client, stranger] = ["server", "client", "stranger"].map(identity);
    let mut config = config();
    config.deadlines.handshake = Duration::from_millis(200);
    let source = TlsSource::new(server_config(&own, &client));
    let server = Server::over(Transport::Tls(source), config, 64 * MIB).await;
    // Silent, and without TLS.
    closed(&mut TcpStream::connect(server.address).await.unwrap()).await;
    let plain = TcpStream::connect(server.address).await.unwrap();
    let refused = async {
        let client = Client::on(plain, 1 << 20).await?;
        client.try_open(INGEST).await?.end().await.map(drop)
    };
    assert!(refused.await.is_err());
    for (certificate, protocol) in [(&stranger, "h2"), (&client, "http/1.1")] {
        // The client learns of the refusal at the latest with its first request.
        let refused = async {
            let stream = dial(&server, &own, certificate, protocol).await.map_err(drop)?;
            let client = Client::on(stream, 1 << 20).await.map_err(drop)?;
            client.try_open(INGEST).await.map_err(drop)?.end().await.map_err(drop)
        };
        assert!(refused.await.is_err(), "{protocol}");
    }
    assert!(server.echo.peers.lock().unwrap().is_empty());
    is_served(dial(&server, &own, &client, "h2").await.unwrap()).await;
}

#[tokio::test]
async fn the_oldest_handshake_makes_way_for_a_newer_one() {
    let [own, client] = ["server", "client"].map(identity);
    let mut config = config();
    config.handshakes_max = 2;
    let source = TlsSource::new(server_config(&own, &client));
    let server = Server::over(Transport::Tls(source), config, 64 * MIB).await;
    let mut silent = Vec::new();
    for _ in 0..5 {
        silent.push(TcpStream::connect(server.address).await.unwrap());
    }
    is_served(dial(&server, &own, &client, "h2").await.unwrap()).await;
    for stream in &mut silent[..4] {
        closed(stream).await;
    }
}

/// Certificates are valid until a second that the test sets.
struct Until {
    now_s: AtomicU64,
    not_after_s: u64,
}

impl Until {
    fn new(now_s: u64, not_after_s: u64) -> Arc<Self> {
        Arc::new(Self { now_s: AtomicU64::new(now_s), not_after_s })
    }
}

impl PeerCheck for Until {
    fn check(&self, chain: &[CertificateDer<'static>]) -> Result<Option<u64>, String> {
        assert_eq!(chain.len(), 1);
        // Each look at the clock is a second later.
        let now_s = self.now_s.fetch_add(1, Ordering::SeqCst);
        if now_s > self.not_after_s {
            Err("expired".to_owned())
        } else {
            Ok(Some(self.not_after_s))
        }
    }

    fn now_s(&self) -> u64 {
        self.not_after_s
    }
}

fn no_reason(_: &std::io::Error) -> Option<String> {
    None
}

#[tokio::test]
async fn a_connection_ends_with_the_certificate_of_its_client() {
    let [own, client] = ["server", "client"].map(identity);
    let mut config = config();
    config.deadlines.grace = Duration::from_millis(100);
    let check = Until::new(10, 11);
    let source = TlsSource::checked(server_config(&own, &client), check, no_reason);
    let server = Server::over(Transport::Tls(source), config, 64 * MIB).await;
    let stream = dial(&server, &own, &client, "h2").await.unwrap();
    let connected = Client::on(stream, 1 << 20).await.unwrap();
    let mut call = connected.open(INGEST).await;
    call.send(&message(1), false).await.unwrap();
    call.answers(1).await;
    assert_eq!(server.echo.peers.lock().unwrap()[0].not_after_s, Some(11));
    // The open request is cut after the grace.
    let ended = tokio::time::timeout(Duration::from_secs(20), call.end()).await;
    assert!(ended.expect("the connection ends").is_err());
    assert!(connected.try_open(INGEST).await.is_err());
}

#[tokio::test]
async fn a_connection_ends_when_its_client_is_not_trusted_any_more() {
    let [own, client] = ["server", "client"].map(identity);
    let source = TlsSource::checked(server_config(&own, &client), Until::new(0, 1_000), no_reason);
    let server = Server::over(Transport::Tls(source.clone()), config(), 64 * MIB).await;
    let stream = dial(&server, &own, &client, "h2").await.unwrap();
    let connected = Client::on(stream, 1 << 20).await.unwrap();
    let mut call = connected.open(INGEST).await;
    call.send(&message(1), false).await.unwrap();
    call.answers(1).await;
    // Other trust that still holds for the client changes nothing.
    source.replace_checked(server_config(&own, &client), Until::new(0, 1_000));
    let mut second = connected.open(INGEST).await;
    second.send(&message(1), true).await.unwrap();
    assert_eq!(second.end().await.unwrap().code, Code::Ok);
    source.replace_checked(server_config(&own, &client), Until::new(1_001, 1_000));
    let refused = async {
        while let Ok(mut call) = connected.try_open(INGEST).await {
            if call.send(&message(1), true).await.is_err() || call.end().await.is_err() {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), refused).await.expect("no new requests");
    // What is open may finish.
    call.send(&message(1), true).await.unwrap();
    call.answers(1).await;
    assert_eq!(call.end().await.unwrap().code, Code::Ok);
}

#[tokio::test]
async fn a_connection_has_a_largest_age() {
    let mut config = config();
    config.deadlines.age = Duration::from_millis(2_400);
    let server = Server::start(config, 64 * MIB).await;
    let client = Client::connect(server.address).await;
    let mut finishes = client.open(INGEST).await;
    let mut stays = client.open(INGEST).await;
    for call in [&mut finishes, &mut stays] {
        call.send(&message(1), false).await.unwrap();
        call.answers(1).await;
    }
    tokio::time::sleep(Duration::from_millis(2_420)).await;
    assert!(client.try_open(INGEST).await.is_err(), "no new requests");
    finishes.send(&message(1), true).await.unwrap();
    finishes.answers(1).await;
    assert_eq!(finishes.end().await.unwrap().code, Code::Ok);
    assert!(stays.end().await.is_err(), "cut after a 24th of the age");
}
