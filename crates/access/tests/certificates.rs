//! Certificates name principals, and members and administrators have rights of their own.

use std::sync::Arc;

use http::HeaderMap;
use tonic::Code;
use turnpike_access::{Access, AccessConfig, AccessRefusal, AccessState, Unauthenticated};
use turnpike_listen::Peer;
use turnpike_store::memory::{MemoryDatabase, system_clock};

use turnpike_proto::access::v1::access_service_server::AccessService as _;
use turnpike_proto::access::v1::{
    ListRevokedCertificatesRequest, RestoreCertificateRequest, RevokeCertificateRequest,
};

use crate::world::{
    Call, START, World, call, certificate_of, certificate_until, config, granted, local, remote,
};

const SHOW: &str = "/turnpike.account.v1.AccountService/Show";
const GRANT: &str = "/turnpike.access.v1.AccessService/Grant";
const FORWARD: &str = "/turnpike.node.v1.NodeService/Forward";
const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

fn cause(world: &World, uris: &[&str]) -> Option<Unauthenticated> {
    let peer =
        Peer { address: remote(), certificates: [certificate_of(uris)].into(), not_after_s: None };
    match world.access.admit(REFLECTION, &HeaderMap::new(), Some(&peer)).err()?.0 {
        AccessRefusal::Unauthenticated(cause) => Some(cause),
        other => panic!("{other:?}"),
    }
}

async fn node(config: AccessConfig) -> Access {
    let node = Access::of_node(config, Arc::new(MemoryDatabase::new()), system_clock());
    node.refresh().await.unwrap();
    node
}

#[tokio::test]
async fn a_certificate_of_another_cluster_or_with_two_names_is_refused() {
    let world = World::new(true).await;
    assert_eq!(cause(&world, &["spiffe://c/client/a"]), None);
    let wrong = [
        (&["spiffe://other/admin/root"][..], Unauthenticated::OtherCluster),
        (&["spiffe://cc/admin/root"], Unauthenticated::OtherCluster),
        (&[], Unauthenticated::BadCertificate),
        (&["https://c/admin/root"], Unauthenticated::BadCertificate),
        (&["spiffe://other/client/a", "spiffe://c/client/a"], Unauthenticated::BadCertificate),
        (&["spiffe://c/clients/a"], Unauthenticated::BadCertificate),
        (&["spiffe://c/node/a/b"], Unauthenticated::BadCertificate),
        (&["spiffe://c/client/a", "spiffe://c/admin/root"], Unauthenticated::BadCertificate),
        (&["spiffe://c/client/*"], Unauthenticated::BadCertificate),
        (&["spiffe://c/client"], Unauthenticated::BadCertificate),
    ];
    for (uris, expected) in wrong {
        assert_eq!(cause(&world, uris), Some(expected), "{uris:?}");
    }
    let peer =
        Peer { address: remote(), certificates: [vec![1, 2, 3].into()].into(), not_after_s: None };
    let refused = world.access.admit(SHOW, &HeaderMap::new(), Some(&peer)).unwrap_err().0;
    assert_eq!(refused, AccessRefusal::Unauthenticated(Unauthenticated::BadCertificate));
}

#[tokio::test]
async fn an_administrator_grants_and_has_no_other_role() {
    let world = World::new(true).await;
    let admin = certificate_of(&["spiffe://c/admin/root"]);
    assert_eq!(world.code(Call::new(GRANT).certificate(admin.clone())), Code::Ok);
    assert_eq!(world.code(Call::new(SHOW).certificate(admin)), Code::PermissionDenied);
}

#[tokio::test]
async fn a_grant_to_a_path_counts_for_the_certificates_below_it() {
    let world = World::new(true).await;
    world.grant(granted("spiffe://c/client/*", "auditor")).await.unwrap();
    let code = |uri: &str| world.code(Call::new(SHOW).certificate(certificate_of(&[uri])));
    assert_eq!(code("spiffe://c/client/a"), Code::Ok);
    assert_eq!(code("spiffe://c/clients/a"), Code::Unauthenticated);
    assert_eq!(code("spiffe://c/node/a"), Code::PermissionDenied);
}

#[tokio::test]
async fn a_node_with_tls_serves_members_only() {
    let node = node(config(true)).await;
    let code = |path: &str, uri: Option<&str>| {
        let mut asked = Call::new(path);
        if let Some(uri) = uri {
            asked = asked.certificate(certificate_of(&[uri]));
        }
        call(&node, asked).map_or_else(|status| status.code(), |_| Code::Ok)
    };
    for member in ["spiffe://c/node/a", "spiffe://c/front/b"] {
        assert_eq!(code(FORWARD, Some(member)), Code::Ok);
        assert_eq!(code(SHOW, Some(member)), Code::PermissionDenied);
        assert_eq!(code(REFLECTION, Some(member)), Code::Ok);
    }
    for other in ["spiffe://c/admin/root", "spiffe://c/client/a"] {
        assert_eq!(code(FORWARD, Some(other)), Code::PermissionDenied);
        assert_eq!(code(REFLECTION, Some(other)), Code::PermissionDenied);
    }
    for other in ["spiffe://d/node/a", "spiffe://c/node/a/b"] {
        assert_eq!(code(FORWARD, Some(other)), Code::Unauthenticated);
    }
    assert_eq!(code(FORWARD, None), Code::Unauthenticated);
    assert_eq!(code("/grpc.health.v1.Health/Check", None), Code::Ok);
}

/// Asked for by an operator, such as while a cluster changes to TLS.
#[tokio::test]
async fn an_open_front_or_node_serves_every_machine_until_a_role_is_granted() {
    let open = AccessConfig { is_open_to_other_hosts: true, ..config(false) };
    let node = node(open.clone()).await;
    assert_eq!(node.state(), AccessState::Open);
    let code = |access: &Access, path: &str| {
        let asked = Call::new(path).from(remote());
        call(access, asked).map_or_else(|status| status.code(), |_| Code::Ok)
    };
    assert_eq!(code(&node, FORWARD), Code::Ok);
    assert_eq!(code(&node, SHOW), Code::PermissionDenied);
    let world = World::new(false).await;
    let front = Access::of_front(open, world.db.clone(), system_clock());
    assert_eq!(code(&front, SHOW), Code::Unavailable, "before the first read");
    front.refresh().await.unwrap();
    assert_eq!((front.state(), code(&front, SHOW)), (AccessState::Open, Code::Ok));
    world.grant(granted("spiffe://c/client/a", "auditor")).await.unwrap();
    front.refresh().await.unwrap();
    assert_eq!((front.state(), code(&front, SHOW)), (AccessState::On, Code::Unauthenticated));
}

#[tokio::test]
async fn a_node_without_tls_serves_its_own_machine_only() {
    let node = node(config(false)).await;
    let code = |asked: Call| call(&node, asked).map_or_else(|status| status.code(), |_| Code::Ok);
    assert_eq!(code(Call::new(FORWARD).from(local())), Code::Ok);
    assert_eq!(code(Call::new(FORWARD).from("[::1]:1".parse().unwrap())), Code::Ok);
    assert_eq!(code(Call::new(FORWARD).from("[::ffff:127.0.0.1]:1".parse().unwrap())), Code::Ok);
    assert_eq!(code(Call::new(FORWARD).from(remote())), Code::Unauthenticated);
    assert_eq!(code(Call::new(SHOW).from(local())), Code::PermissionDenied);
    assert_eq!(code(Call::new(FORWARD).from(local()).token("tpt1.AAAA")), Code::Unauthenticated);
}

/// The certificate of a connection is verified when the connection is made. The connection may live
/// longer than the certificate.
#[tokio::test]
async fn a_certificate_that_has_expired_is_refused_on_an_open_connection() {
    let world = World::new(true).await;
    world.grant(granted("spiffe://c/client/a", "auditor")).await.unwrap();
    let end_s = START.0 / 1_000_000 + 1;
    let of = |uri: &str| certificate_until(&[uri], end_s, 7);
    let (client, admin) = (of("spiffe://c/client/a"), of("spiffe://c/admin/root"));
    let shown = Call::new(SHOW).certificate(client.clone());
    let open = world.call(shown.clone()).unwrap().permit;
    assert_eq!(world.code(Call::new(GRANT).certificate(admin.clone())), Code::Ok);
    world.pass(1_999_999);
    assert_eq!(world.code(shown.clone()), Code::Ok, "valid through its last second");
    assert!(open.renewed().is_ok());
    world.pass(1);
    let refused = world.call(shown).unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::Unauthenticated, "not authenticated"),
        "the answer does not tell the cause"
    );
    assert_eq!(open.renewed().unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(world.code(Call::new(GRANT).certificate(admin)), Code::Unauthenticated);
    let peer = Peer { address: remote(), certificates: [client].into(), not_after_s: None };
    let logged = world.access.admit(SHOW, &HeaderMap::new(), Some(&peer)).unwrap_err().0;
    assert_eq!(logged.cause(), "certificate-expired");
}

#[tokio::test]
async fn a_node_refuses_the_expired_certificate_of_a_member() {
    let node = node(config(true)).await;
    let forward = |end_s| {
        let certificate = certificate_until(&["spiffe://c/front/a"], end_s, 7);
        call(&node, Call::new(FORWARD).certificate(certificate)).map_err(|status| status.code())
    };
    assert!(forward(4_000_000_000).is_ok());
    assert_eq!(forward(1_500_000_000).unwrap_err(), Code::Unauthenticated);
}

async fn revoke(world: &World, name: &str) -> Result<bool, Code> {
    let request = RevokeCertificateRequest { name: name.to_owned() };
    let done = world.api.revoke_certificate(world.asked(request)).await;
    done.map(|done| done.into_inner().revoked).map_err(|status| status.code())
}

async fn restore(world: &World, name: &str) -> bool {
    let request = RestoreCertificateRequest { name: name.to_owned() };
    world.api.restore_certificate(world.asked(request)).await.unwrap().into_inner().restored
}

/// Of clients and administrators on a front, and of members on a node: by URI or by serial number.
#[tokio::test]
async fn a_revoked_certificate_is_refused_until_it_is_restored() {
    let world = World::new(true).await;
    world.grant(granted("spiffe://c/client/*", "auditor")).await.unwrap();
    let node = Access::of_node(config(true), world.db.clone(), system_clock());
    assert!(call(&node, member("spiffe://c/node/a", 7)).is_err(), "the list was not read yet");
    node.refresh().await.unwrap();
    let cases = [
        ("spiffe://c/client/a", SHOW, "spiffe://c/client/a"),
        ("spiffe://c/client/a", SHOW, "0f42"),
        ("spiffe://c/client/a", SHOW, "0F:42"),
        ("spiffe://c/admin/ben", GRANT, "spiffe://c/admin/ben"),
        ("spiffe://c/admin/ben", GRANT, "0f42"),
        ("spiffe://c/node/a", FORWARD, "spiffe://c/node/a"),
        ("spiffe://c/front/a", FORWARD, "0f42"),
    ];
    for (uri, path, name) in cases {
        let access = if path == FORWARD { &node } else { &world.access };
        let code = |serial: u64| {
            let certificate = certificate_until(&[uri], 4_000_000_000, serial);
            let answer = call(access, Call::new(path).certificate(certificate));
            answer.map_or_else(|status| status.code(), |_| Code::Ok)
        };
        let own = certificate_until(&[uri], 4_000_000_000, 0x0f42);
        let open = call(access, Call::new(path).certificate(own)).unwrap().permit;
        assert_eq!(revoke(&world, name).await, Ok(true));
        assert_eq!(revoke(&world, name).await, Ok(false), "the answer may have been lost");
        node.refresh().await.unwrap();
        assert_eq!(code(0x0f42), Code::Unauthenticated, "{uri} by {name}");
        let is_uri = name.contains("://");
        assert_eq!(code(5), if is_uri { Code::Unauthenticated } else { Code::Ok }, "{uri} {name}");
        assert_eq!(open.renewed().unwrap_err().code(), Code::Unauthenticated);
        assert!(restore(&world, name).await);
        assert!(!restore(&world, name).await);
        node.refresh().await.unwrap();
        assert_eq!(code(0x0f42), Code::Ok, "{uri} by {name}");
    }
}

fn member(uri: &str, serial: u64) -> Call {
    Call::new(FORWARD).certificate(certificate_until(&[uri], 4_000_000_000, serial))
}

#[tokio::test]
async fn a_name_that_no_certificate_has_and_the_own_certificate_are_not_revoked() {
    let world = World::new(true).await;
    for name in ["", "a", "0", "abc", "0x12", &"ab".repeat(22), "spiffe://c/client", "token:a"] {
        assert_eq!(revoke(&world, name).await, Err(Code::InvalidArgument), "{name:?}");
    }
    for other in ["spiffe://d/client/a", "spiffe://cc/client/a"] {
        assert_eq!(revoke(&world, other).await, Err(Code::InvalidArgument), "{other:?}");
    }
    // The requests of this world are sent by the first, with the serial number 1.
    for own in ["spiffe://c/admin/root", "01"] {
        assert_eq!(revoke(&world, own).await, Err(Code::FailedPrecondition), "{own:?}");
    }
    let listed = world.asked(ListRevokedCertificatesRequest {});
    let listed = world.api.list_revoked_certificates(listed).await.unwrap().into_inner();
    assert_eq!(listed.revoked, []);
}
