//! Certificates name principals, and members and administrators have rights of their own.

use http::HeaderMap;
use tonic::Code;
use turnpike_access::{Access, AccessConfig, AccessRefusal, AccessState, Unauthenticated};
use turnpike_listen::Peer;
use turnpike_store::memory::system_clock;

use crate::world::{Call, World, call, certificate_of, config, granted, local, remote};

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
    let node = Access::of_node(config(true), system_clock());
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
    let node = Access::of_node(open.clone(), system_clock());
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
    let node = Access::of_node(config(false), system_clock());
    let code = |asked: Call| call(&node, asked).map_or_else(|status| status.code(), |_| Code::Ok);
    assert_eq!(code(Call::new(FORWARD).from(local())), Code::Ok);
    assert_eq!(code(Call::new(FORWARD).from("[::1]:1".parse().unwrap())), Code::Ok);
    assert_eq!(code(Call::new(FORWARD).from("[::ffff:127.0.0.1]:1".parse().unwrap())), Code::Ok);
    assert_eq!(code(Call::new(FORWARD).from(remote())), Code::Unauthenticated);
    assert_eq!(code(Call::new(SHOW).from(local())), Code::PermissionDenied);
    assert_eq!(code(Call::new(FORWARD).from(local()).token("tpt1.AAAA")), Code::Unauthenticated);
}
