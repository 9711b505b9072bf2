//! Both ends of a connection check each other's certificate, and rotation interrupts nothing.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tower_service::Service as _;
use turnpike_access::certificates::{
    CertificateFiles, CertificateUse, Certificates, IssuedCertificate, PeerFault, Reloaded,
    peer_fault,
};

use crate::pki::{Ca, Disk, now_s};
use crate::strangers;

use CertificateUse::{Client, Front, Node};

/// What the server found, and what the client was told.
#[derive(Debug)]
struct Met {
    server: io::Result<()>,
    client: Result<(), String>,
}

impl Met {
    fn is_ok(&self) -> bool {
        self.server.is_ok() && self.client.is_ok()
    }
}

async fn serve_one(listener: TcpListener, config: Arc<ServerConfig>) -> io::Result<()> {
    let (stream, _) = listener.accept().await?;
    let mut stream = TlsAcceptor::from(config).accept(stream).await?;
    // As a server of HTTP/2, it speaks first.
    stream.write_all(b"settings").await?;
    stream.flush().await
}

/// Connects once to a server with this configuration.
async fn meet_at(config: Arc<ServerConfig>, client: &Certificates) -> Met {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("https://{}", listener.local_addr().unwrap()).parse().unwrap();
    let mut connector = client.connector();
    let (server, connected) = tokio::join!(serve_one(listener, config), connector.call(uri));
    Met { server, client: connected.map(drop).map_err(|error| error.to_string()) }
}

/// Connects once, with the certificates that are in force on both sides.
async fn meet(server: &Certificates, client: &Certificates) -> Met {
    meet_at(server.source().unwrap().current(), client).await
}

/// Connects to `server` a client that trusts everybody.
async fn meet_stranger(server: &Certificates, own: Option<&IssuedCertificate>) -> Met {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connector = TlsConnector::from(strangers::client(own));
    let connecting = async {
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let mut stream = connector.connect(name, stream).await?;
        stream.read_u8().await
    };
    let config = server.source().unwrap().current();
    let (server, connected) = tokio::join!(serve_one(listener, config), connecting);
    Met { server, client: connected.map(drop).map_err(|error| error.to_string()) }
}

fn holder(ca: &Ca, uri: &str, usage: CertificateUse) -> Certificates {
    Disk::of(&ca.issue(uri), &[ca]).of_use(usage)
}

#[tokio::test]
async fn members_of_one_cluster_and_clients_of_fronts_connect() {
    let ca = Ca::new("c");
    let node = holder(&ca, "spiffe://c/node/a", Node);
    let front = holder(&ca, "spiffe://c/front/a", Front);
    for (server, client) in [
        (&node, holder(&ca, "spiffe://c/node/b", Node)),
        (&node, holder(&ca, "spiffe://c/front/a", Front)),
        (&front, holder(&ca, "spiffe://c/client/a", Client)),
        (&front, holder(&ca, "spiffe://c/admin/a", Client)),
        (&front, holder(&ca, "spiffe://c/node/a", Client)),
    ] {
        let met = meet(server, &client).await;
        assert!(met.is_ok(), "{:?}: {met:?}", client.uri());
    }
}

/// The log of the server tells every cause apart, and the client's answer none.
#[tokio::test]
async fn a_server_refuses_certificates_by_their_cause_and_does_not_tell_the_cause() {
    let (ca, other, stranger) = (Ca::new("c"), Ca::new("d"), Ca::new("c"));
    // The servers trust the authority of another cluster too, as when one company has two clusters.
    let node = Disk::of(&ca.issue("spiffe://c/node/a"), &[&ca, &other]).of_use(Node);
    let front = Disk::of(&ca.issue("spiffe://c/front/a"), &[&ca, &other]).of_use(Front);
    let is = |expected: &str, fault: &PeerFault| match expected {
        "authority" => matches!(fault, PeerFault::UnknownAuthority),
        "cluster" => matches!(fault, PeerFault::OtherCluster { .. }),
        "expired" => matches!(fault, PeerFault::Expired { .. }),
        "not yet" => matches!(fault, PeerFault::NotYetValid { .. }),
        "identity" => matches!(fault, PeerFault::NoIdentity(_)),
        "use" => matches!(fault, PeerFault::OtherUse(_)),
        "holder" => matches!(fault, PeerFault::OtherHolder { .. }),
        _ => false,
    };
    let (old, soon) = (now_s() - 7200, now_s() + 7200);
    let cases = [
        ("authority", stranger.issue("spiffe://c/node/b")),
        ("cluster", other.issue("spiffe://d/node/b")),
        // The authority of c vouches for another name of a cluster.
        ("cluster", ca.issue("spiffe://d/node/b")),
        ("expired", ca.issue_from("spiffe://c/node/b", old)),
        ("not yet", ca.issue_from("spiffe://c/node/b", soon)),
        ("identity", ca.with_uris(&[])),
        ("identity", ca.with_uris(&["spiffe://c/node/a", "spiffe://c/node/b"])),
        ("identity", ca.with_uris(&["spiffe://c/root/a"])),
        ("identity", ca.with_uris(&["https://c/node/a"])),
        (
            "use",
            ca.odd(|params| {
                use rcgen::ExtendedKeyUsagePurpose::ServerAuth;
                params.subject_alt_names =
                    vec![rcgen::SanType::URI("spiffe://c/node/b".try_into().unwrap())];
                params.extended_key_usages = vec![ServerAuth];
            }),
        ),
        ("use", ca.made.clone()),
    ];
    let mut answers = BTreeSet::new();
    for server in [&node, &front] {
        for (expected, certificate) in &cases {
            let met = meet_stranger(server, Some(certificate)).await;
            let fault = peer_fault(&met.server.unwrap_err());
            assert!(
                fault.as_ref().is_some_and(|fault| is(expected, fault)),
                "{expected}: {fault:?}"
            );
            answers.insert(met.client.unwrap_err());
        }
    }
    for uri in ["spiffe://c/client/a", "spiffe://c/admin/a"] {
        let met = meet_stranger(&node, Some(&ca.issue(uri))).await;
        let fault = peer_fault(&met.server.unwrap_err());
        assert!(fault.as_ref().is_some_and(|fault| is("holder", fault)), "{uri}: {fault:?}");
        answers.insert(met.client.unwrap_err());
    }
    assert_eq!(answers.len(), 1, "the answers differ: {answers:?}");
}

#[tokio::test]
async fn a_node_requires_a_certificate_and_a_front_leaves_that_to_its_roles() {
    let ca = Ca::new("c");
    let node = holder(&ca, "spiffe://c/node/a", Node);
    let met = meet_stranger(&node, None).await;
    assert!(met.server.is_err() && met.client.is_err(), "{met:?}");
    let front = holder(&ca, "spiffe://c/front/a", Front);
    let met = meet_stranger(&front, None).await;
    assert!(met.is_ok(), "{met:?}");
}

#[tokio::test]
async fn a_client_refuses_a_server_by_its_certificate_and_is_told_why() {
    let (ca, other, stranger) = (Ca::new("c"), Ca::new("d"), Ca::new("c"));
    let member = Disk::of(&ca.issue("spiffe://c/front/a"), &[&ca, &other]).of_use(Front);
    let client = Disk::of(&ca.issue("spiffe://c/client/a"), &[&ca, &other]).of_use(Client);
    let refusal = |client: Certificates, server: IssuedCertificate| async move {
        let met = meet_at(strangers::server(&server), &client).await;
        assert!(met.server.is_err(), "the server is told nothing: {met:?}");
        met.client.unwrap_err()
    };
    for (words, server) in [
        ("no trusted authority issued it", stranger.issue("spiffe://c/node/a")),
        ("spiffe://d/node/a is not of the cluster c", other.issue("spiffe://d/node/a")),
        ("it expired", ca.issue_from("spiffe://c/node/a", now_s() - 7200)),
        ("it is valid in", ca.issue_from("spiffe://c/node/a", now_s() + 7200)),
        ("exactly one URI", ca.with_uris(&[])),
        // A front is no node, and a client with its certificate can't pretend to be one.
        ("spiffe://c/front/b is not a node", ca.issue("spiffe://c/front/b")),
        ("extended key usage", ca.issue("spiffe://c/client/a")),
    ] {
        let told = refusal(member.clone(), server).await;
        assert!(told.contains(words), "{words}: {told}");
    }
    let told = refusal(client.clone(), ca.issue("spiffe://c/node/a")).await;
    assert!(told.contains("spiffe://c/node/a is not a front"), "{told}");
}

#[tokio::test]
async fn a_client_without_certificate_checks_the_cluster_or_else_the_host() {
    let ca = Ca::new("c");
    let front = holder(&ca, "spiffe://c/front/a", Front);
    let of = |cluster: Option<&str>| {
        let files = CertificateFiles { own: None, authorities: "ca.crt".into() };
        let disk = Disk::of(&ca.issue("spiffe://c/client/a"), &[&ca]);
        disk.load_files(files, Client, cluster, None).unwrap()
    };
    assert!(meet(&front, &of(Some("c"))).await.is_ok());
    assert!(meet(&front, &of(None)).await.is_ok(), "the certificate contains 127.0.0.1");
    let told = meet(&front, &of(Some("d"))).await.client.unwrap_err();
    assert!(told.contains("not of the cluster d"), "{told}");
    let elsewhere = ca.odd(|params| {
        params.subject_alt_names = vec![
            rcgen::SanType::URI("spiffe://c/front/a".try_into().unwrap()),
            rcgen::SanType::DnsName("front.example.net".try_into().unwrap()),
        ];
    });
    let told = meet_at(strangers::server(&elsewhere), &of(None)).await.client.unwrap_err();
    assert!(told.contains("does not contain the name 127.0.0.1"), "{told}");
}

/// The order of `turnpike cert ca --help`: both authorities are trusted, then certificates change,
/// then the old authority goes. In each state each process can connect to each other.
#[tokio::test]
async fn authorities_and_certificates_rotate_one_process_at_a_time() {
    let (old, new) = (Ca::new("c"), Ca::new("c"));
    let names = ["spiffe://c/node/a", "spiffe://c/node/b", "spiffe://c/node/c"];
    let disks = names.map(|name| Disk::of(&old.issue(name), &[&old]));
    let nodes = disks.clone().map(|disk| disk.of_use(Node));
    let mut connections = 0;
    type Step<'a> = &'a dyn Fn(&Disk, &str);
    let steps: [Step<'_>; 3] = [
        &|disk, _| disk.set_authorities(&[&old, &new]),
        &|disk, name| disk.set_own(&new.issue(name)),
        &|disk, _| disk.set_authorities(&[&new]),
    ];
    for step in steps {
        for (at, disk) in disks.iter().enumerate() {
            step(disk, names[at]);
            assert_eq!(nodes[at].poll(), Reloaded::Changing);
            assert_eq!(nodes[at].poll(), Reloaded::Renewed);
            for server in &nodes {
                for client in &nodes {
                    let met = meet(server, client).await;
                    assert!(met.is_ok(), "{:?} to {:?}: {met:?}", client.uri(), server.uri());
                    connections += 1;
                }
            }
        }
    }
    assert_eq!(connections, 81);
    let late = holder(&old, "spiffe://c/node/d", Node);
    assert!(!meet(&nodes[0], &late).await.is_ok(), "the old authority is trusted no more");
}

#[tokio::test]
async fn a_session_is_not_resumed_past_the_certificates_in_force() {
    let ca = Ca::new("c");
    let config = holder(&ca, "spiffe://c/node/a", Node).source().unwrap().current();
    assert_eq!(config.send_tls13_tickets, 0);
    assert!(!config.session_storage.can_cache());
}
