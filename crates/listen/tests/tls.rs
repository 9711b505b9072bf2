//! TLS: who the client is, and which certificate the server shows.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tonic::Code;
use turnpike_listen::{TlsSource, Transport};

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
