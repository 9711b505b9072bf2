//! The table of roles against a table of expectations that is written by hand.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic::Code;
use turnpike_access::Actor;
use turnpike_access::roles::methods::{Allows, METHODS, MethodRule};
use turnpike_access::roles::role::AccessRole;
use turnpike_proto::access::v1::GrantRequest;

use crate::world::{Call, World, certificate_of, granted, span};

/// `+`: the request is admitted. The columns are roles, then the certificates of a node and of an
/// administrator without a grant, a client without a grant (`-`), and a request without
/// authentication (`?`).
const EXPECTED: &str = "
method                           collector consumer pricing operator support subscriber auditor admin node root - ?
ingest.IngestService/Ingest          +        .        .       .        .        .         .      .    .    .   . .
ingest.IngestService/IngestOnce      +        .        .       .        .        .         .      .    .    .   . .
account.AccountService/Apply         .        .        .       .        +        .         .      .    .    .   . .
account.AccountService/Check         .        .        .       .        +        .         .      .    .    .   . .
account.AccountService/Show          .        .        .       .        +        +         +      .    .    .   . .
account.AccountService/Resolve       .        .        .       .        +        .         +      .    .    .   . .
suspense.SuspenseService/List        .        .        .       .        +        .         +      .    .    .   . .
suspense.SuspenseService/Recycle     .        .        .       .        +        .         .      .    .    .   . .
plan.PlanService/Publish             .        .        +       .        .        .         .      .    .    .   . .
plan.PlanService/PublishTable        .        .        +       .        .        .         .      .    .    .   . .
plan.PlanService/List                .        .        +       .        +        .         +      .    .    .   . .
plan.PlanService/Get                 .        .        +       .        +        .         +      .    .    .   . .
plan.PlanService/ListTables          .        .        +       .        +        .         +      .    .    .   . .
plan.PlanService/GetTable            .        .        +       .        +        .         +      .    .    .   . .
feed.FeedService/Register            .        +        .       .        .        .         .      .    .    .   . .
feed.FeedService/Pull                .        +        .       .        .        .         .      .    .    .   . .
feed.FeedService/Acknowledge         .        +        .       .        .        .         .      .    .    .   . .
feed.FeedService/ListConsumers       .        .        .       +        .        .         +      .    .    .   . .
feed.FeedService/RemoveConsumer      .        .        .       +        .        .         .      .    .    .   . .
cluster.ClusterService/Status        .        .        .       +        +        .         +      .    .    .   . .
cluster.ClusterService/Handover      .        .        .       +        .        .         .      .    .    .   . .
cluster.ClusterService/Drain         .        .        .       +        .        .         .      .    .    .   . .
cluster.ClusterService/Forget        .        .        .       +        .        .         .      .    .    .   . .
audit.AuditService/Read              .        .        .       +        .        .         +      +    .    +   . .
access.AccessService/Grant           .        .        .       .        .        .         .      +    .    +   . .
access.AccessService/Revoke          .        .        .       .        .        .         .      +    .    +   . .
access.AccessService/List            .        .        .       .        .        .         +      +    .    +   . .
access.AccessService/Test            .        .        .       .        .        .         +      +    .    +   . .
access.AccessService/AddKey          .        .        .       .        .        .         .      +    .    +   . .
access.AccessService/ListKeys        .        .        .       .        .        .         +      +    .    +   . .
access.AccessService/RetireKey       .        .        .       .        .        .         .      +    .    +   . .
access.AccessService/AddToken        .        .        .       .        .        .         .      +    .    +   . .
access.AccessService/ListTokens      .        .        .       .        .        .         +      +    .    +   . .
access.AccessService/RevokeToken     .        .        .       .        .        .         .      +    .    +   . .
access.AccessService/RevokeCertificate       . . . . . . . + . + . .
access.AccessService/RestoreCertificate      . . . . . . . + . + . .
access.AccessService/ListRevokedCertificates . . . . . . + + . + . .
node.NodeService/Forward             .        .        .       .        .        .         .      .    +    .   . .
node.NodeService/Apply               .        .        .       .        .        .         .      .    +    .   . .
node.NodeService/Show                .        .        .       .        .        .         .      .    +    .   . .
node.NodeService/ListSuspense        .        .        .       .        .        .         .      .    +    .   . .
node.NodeService/Recycle             .        .        .       .        .        .         .      .    +    .   . .
node.NodeService/Reassign            .        .        .       .        .        .         .      .    +    .   . .
node.NodeService/Confirm             .        .        .       .        .        .         .      .    +    .   . .
node.NodeService/Watch               .        .        .       .        .        .         .      .    +    .   . .
grpc.health.v1.Health/Check          +        +        +       +        +        +         +      +    +    +   + +
grpc.health.v1.Health/List           +        +        +       +        +        +         +      +    +    +   + +
grpc.health.v1.Health/Watch          +        +        +       +        +        +         +      +    +    +   + +
grpc.reflection.v1.ServerReflection/ServerReflectionInfo      + + + + + + + + + + + .
grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo + + + + + + + + + + + .
no.Service/Method                    .        .        .       .        .        .         .      .    .    .   . .
access.AccessService/grant           .        .        .       .        .        .         .      .    .    .   . .
";

/// The path of a method in the table of expectations: the package is `turnpike.AREA.v1`.
fn path(method: &str) -> String {
    if method.starts_with("grpc.") {
        return format!("/{method}");
    }
    let (area, rest) = method.split_once('.').unwrap();
    format!("/turnpike.{area}.v1.{rest}")
}

/// The cells of the expectations: (path, column) -> admitted.
fn expected() -> BTreeMap<(String, String), bool> {
    let mut lines = EXPECTED.trim().lines();
    let columns: Vec<&str> = lines.next().unwrap().split_whitespace().skip(1).collect();
    let mut cells = BTreeMap::new();
    for line in lines {
        let mut words = line.split_whitespace();
        let path = path(words.next().unwrap());
        let marks: Vec<&str> = words.collect();
        assert_eq!(marks.len(), columns.len(), "{line}");
        for (column, mark) in columns.iter().zip(marks) {
            assert!(["+", "."].contains(&mark), "{line}");
            let before = cells.insert((path.clone(), (*column).to_owned()), mark == "+");
            assert_eq!(before, None, "{line}");
        }
    }
    cells
}

#[tokio::test]
async fn every_method_is_allowed_for_exactly_the_roles_of_the_expectations() {
    let (world, key) = World::on().await;
    let mut tokens = BTreeMap::new();
    for role in AccessRole::ALL {
        let principal = format!("token:{role}");
        let accounts = if *role == AccessRole::Subscriber { span(7, 7) } else { None };
        let consumer = if *role == AccessRole::Consumer { "bills" } else { "" }.to_owned();
        let grant = GrantRequest { accounts, consumer, ..granted(&principal, role.word()) };
        world.grant(grant).await.unwrap();
        tokens.insert(role.word().to_owned(), world.token(&key, role.word()).await);
    }
    tokens.insert("-".to_owned(), world.token(&key, "nothing").await);
    let certificates = BTreeMap::from([
        ("node".to_owned(), certificate_of(&["spiffe://c/node/a"])),
        ("root".to_owned(), certificate_of(&["spiffe://c/admin/root"])),
    ]);
    let (mut admitted, mut refused) = (0, 0);
    for ((path, who), is_allowed) in expected() {
        let call = match (tokens.get(&who), certificates.get(&who)) {
            (Some(token), None) => Call::new(&path).token(token),
            (None, Some(certificate)) => Call::new(&path).certificate(certificate.clone()),
            _ => Call::new(&path),
        };
        let code = world.code(call);
        let wanted = match (is_allowed, who.as_str()) {
            (true, _) => Code::Ok,
            (false, "?") if METHODS.iter().any(|rule| rule.path == path) => Code::Unauthenticated,
            (false, _) => Code::PermissionDenied,
        };
        assert_eq!(code, wanted, "{who} {path}");
        if is_allowed { admitted += 1 } else { refused += 1 }
    }
    assert!(admitted > 60 && refused > 300, "{admitted} {refused}");
}

/// Whether a row admits the sender of a column. The test above compares the guard with the same
/// expectations.
fn admits(rule: &MethodRule, column: &str) -> bool {
    match rule.allows {
        Allows::Everyone => true,
        Allows::Authenticated => column != "?",
        Allows::Members => column == "node",
        Allows::Roles(roles) if column == "root" => roles.contains(&AccessRole::Admin),
        Allows::Roles(roles) => roles.iter().any(|role| role.word() == column),
    }
}

/// The cells in which a table differs from the expectations.
fn faults<'a>(
    table: &[MethodRule],
    expected: &'a BTreeMap<(String, String), bool>,
) -> Vec<&'a (String, String)> {
    let rules: BTreeMap<&str, &MethodRule> = table.iter().map(|rule| (rule.path, rule)).collect();
    let is_fault = |((path, column), is_expected): &(&(String, String), &bool)| {
        rules.get(&**path).is_some_and(|rule| admits(rule, column)) != **is_expected
    };
    expected.iter().filter(is_fault).map(|(cell, _)| cell).collect()
}

#[test]
fn to_exchange_two_rows_of_the_table_that_differ_is_a_fault() {
    let expected = expected();
    assert_eq!(faults(METHODS, &expected), Vec::<&(String, String)>::new());
    let mut pairs = 0;
    for (at, one) in METHODS.iter().enumerate() {
        for (to, other) in METHODS.iter().enumerate().skip(at + 1) {
            if one.allows == other.allows {
                continue;
            }
            let mut exchanged = METHODS.to_vec();
            (exchanged[at].allows, exchanged[to].allows) = (other.allows, one.allows);
            let found = faults(&exchanged, &expected);
            for path in [one.path, other.path] {
                assert!(found.iter().any(|(of, _)| of == path), "{} {}", one.path, other.path);
            }
            pairs += 1;
        }
    }
    assert!(pairs > 500, "{pairs}");
}

/// The audit log and the services know who sent a request.
#[tokio::test]
async fn an_admitted_request_names_its_sender_its_address_and_its_id() {
    let (world, key) = World::on().await;
    world.grant(granted("token:eva", "auditor")).await.unwrap();
    let token = world.token(&key, "eva").await;
    let call = Call::new("/turnpike.account.v1.AccountService/Show").token(&token);
    let admitted = world.call(call.clone().header("x-request-id", "job-7")).unwrap();
    let actor = Actor {
        principal: "token:eva".to_owned(),
        address: "127.0.0.1:4000".to_owned(),
        request_id: "job-7".to_owned(),
    };
    assert_eq!(admitted.actor, actor);
    let made = world.call(call.header("x-request-id", "job 7")).unwrap().actor.request_id;
    assert_eq!(made.len(), 16, "{made}");
}

#[test]
fn every_method_of_the_protocol_has_one_row() {
    let descriptors = FileDescriptorSet::decode(turnpike_proto::DESCRIPTORS).unwrap();
    let mut methods = BTreeSet::new();
    for file in &descriptors.file {
        for service in &file.service {
            for method in &service.method {
                let (package, service) = (file.package(), service.name());
                methods.insert(format!("/{package}.{service}/{}", method.name()));
            }
        }
    }
    assert!(methods.len() > 30, "{methods:?}");
    let rows: Vec<String> = METHODS.iter().map(|rule| rule.path.to_owned()).collect();
    let ours: BTreeSet<String> =
        rows.iter().filter(|path| !path.starts_with("/grpc.")).cloned().collect();
    assert_eq!(ours, methods);
    assert_eq!(rows.iter().collect::<BTreeSet<_>>().len(), rows.len(), "a row is there twice");
    let told: BTreeSet<String> = expected().into_keys().map(|(path, _)| path).collect();
    assert!(rows.iter().all(|row| told.contains(row)), "a row has no expectation");
}
