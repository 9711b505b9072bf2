//! Changes of grants, keys and tokens: what is refused, and when access control goes on.

use prost::Message as _;
use tonic::{Code, Status};
use turnpike_access::{AccessState, KEYS_MAX, TOKEN_DAYS_MAX};
use turnpike_proto::access::v1::access_service_server::AccessService as _;
use turnpike_proto::access::v1::revoke_token_request::Which;
use turnpike_proto::access::v1::{
    AddKeyRequest, AddTokenRequest, GrantRequest, ListGrantsRequest, RetireKeyRequest,
    RevokeRequest, RevokeTokenRequest,
};

use turnpike_proto::audit::v1::{AuditOutcome, Entry, EntryKind};
use turnpike_store::AuditSelection;

use crate::world::{Call, GRANT, HOUR_US, World, granted, local, remote, span};

const SHOW: &str = "/turnpike.account.v1.AccountService/Show";

/// A request of an anonymous client on the front's machine while access control is off.
fn anonymous<T>(world: &World, message: T) -> tonic::Request<T> {
    world.asked_as(Call::new(GRANT), message)
}

#[tokio::test]
async fn while_access_control_is_off_only_clients_on_the_same_machine_are_admitted() {
    let world = World::new(false).await;
    assert_eq!(world.access.state(), AccessState::Off);
    assert_eq!(world.code(Call::new(SHOW).from(local())), Code::Ok);
    assert_eq!(world.code(Call::new(SHOW).from(remote())), Code::Unauthenticated);
    assert_eq!(world.code(Call::new("/grpc.health.v1.Health/Check").from(remote())), Code::Ok);
    assert_eq!(world.code(Call::new("/no.Service/Method")), Code::PermissionDenied);
    assert_eq!(world.code(Call::new(SHOW).token("x")), Code::Unauthenticated);
}

#[tokio::test]
async fn with_tls_access_control_is_on_without_any_grant() {
    let world = World::new(true).await;
    assert_eq!(world.access.state(), AccessState::On);
    assert_eq!(world.code(Call::new(SHOW).from(local())), Code::Unauthenticated);
}

/// The first grant must be that of an administrator who holds a token. Otherwise nobody could grant
/// anything afterwards.
#[tokio::test]
async fn the_first_grant_is_that_of_an_administrator_and_switches_access_control_on_for_good() {
    let world = World::new(false).await;
    let grant = async |request| world.api.grant(anonymous(&world, request)).await;
    for first in [granted("token:root", "admin"), granted("spiffe://c/client/a", "admin")] {
        assert_eq!(grant(first).await.unwrap_err().code(), Code::FailedPrecondition);
    }
    let (key, _) = turnpike_access::tokens::form::SigningKey::generate().unwrap();
    let public_key = key.public_key().unwrap().to_vec().into();
    world.api.add_key(anonymous(&world, AddKeyRequest { public_key })).await.unwrap();
    let claims = world.claims(&key, "root");
    let token = AddTokenRequest {
        token_id: claims.id_text(),
        key_id: claims.key,
        subject: "root".to_owned(),
        not_before_us: claims.not_before.0,
        expires_us: claims.expires.0,
    };
    world.api.add_token(anonymous(&world, token)).await.unwrap();
    for first in [
        granted("token:root", "auditor"),
        GrantRequest { until_us: Some(world.now().0 + 1), ..granted("token:root", "admin") },
    ] {
        assert_eq!(grant(first).await.unwrap_err().code(), Code::FailedPrecondition);
    }
    assert_eq!(world.access.state(), AccessState::Off, "keys and tokens switch nothing on");
    assert!(grant(granted("token:root", "admin")).await.unwrap().into_inner().enabled);
    assert_eq!(world.access.state(), AccessState::On);
    assert_eq!(world.code(Call::new(GRANT)), Code::Unauthenticated);
    let token = key.sign(&claims).unwrap();
    assert_eq!(world.code(Call::new(GRANT).token(&token)), Code::Ok);
    assert_eq!(world.code(Call::new(SHOW).token(&token)), Code::PermissionDenied);
}

#[tokio::test]
async fn a_grant_that_would_have_no_effect_or_another_one_is_refused() {
    let (world, _) = World::on().await;
    let wrong = [
        granted("anonymous", "auditor"),
        granted("", "auditor"),
        granted("token:a b", "auditor"),
        granted("*", "auditor"),
        granted("spiffe://c/*", "auditor"),
        granted("spiffe://cc/client/a", "auditor"),
        granted("spiffe://d/client/*", "auditor"),
        granted("token:a", "auditors"),
        granted("token:a", ""),
        granted("token:a", "consumer"),
        granted("token:a", "subscriber"),
        GrantRequest { accounts: span(1, 2), ..granted("token:a", "subscriber") },
        GrantRequest { accounts: span(1, 2), ..granted("token:a", "auditor") },
        GrantRequest { accounts: span(2, 1), ..granted("token:a", "support") },
        GrantRequest { accounts: span(0, 1), ..granted("token:a", "support") },
        GrantRequest { sources: vec!["x".into()], ..granted("token:a", "support") },
        GrantRequest { sources: vec!["".into()], ..granted("token:a", "collector") },
        GrantRequest { sources: vec!["a\nb".into()], ..granted("token:a", "collector") },
        GrantRequest { sources: vec!["a".repeat(129)], ..granted("token:a", "collector") },
        GrantRequest { sources: vec!["a".into(); 101], ..granted("token:a", "collector") },
        GrantRequest { consumer: "b".into(), ..granted("token:a", "auditor") },
        GrantRequest { consumer: "b c".into(), ..granted("token:a", "consumer") },
        GrantRequest { until_us: Some(world.now().0), ..granted("token:a", "auditor") },
    ];
    for request in wrong {
        let refused = world.grant(request.clone()).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{request:?}: {refused}");
    }
    let listed = world.api.list(world.asked(ListGrantsRequest {})).await.unwrap().into_inner();
    assert_eq!(listed.grants, []);
}

/// A command whose answer was lost is sent again.
#[tokio::test]
async fn the_same_grant_again_changes_nothing_and_another_one_is_added() {
    let (world, _) = World::on().await;
    let first = world.grant(granted("token:a", "support")).await.unwrap();
    assert_eq!(world.grant(granted("token:a", "support")).await.unwrap(), first);
    let limited = GrantRequest { accounts: span(1, 2), ..granted("token:a", "support") };
    assert_ne!(world.grant(limited).await.unwrap().grant_id, first.grant_id);
    let listed = world.api.list(world.asked(ListGrantsRequest {})).await.unwrap().into_inner();
    assert_eq!(listed.grants.len(), 2);
    assert_eq!(listed.grants[0].granted_by, "spiffe://c/admin/root");
    let request = RevokeRequest { principal: "token:a".into(), role: "support".into() };
    let revoked = world.api.revoke(world.asked(request)).await.unwrap().into_inner();
    assert_eq!(revoked.revoked, 2, "a limited grant that stays would be a surprise");
}

/// Each change has an intent and an outcome with who made it; what changes nothing has none.
#[tokio::test]
async fn each_change_is_in_the_audit_log_with_its_sender() {
    let world = World::new(true).await;
    let key = world.key().await;
    let claims = world.claims(&key, "a");
    world.register(&claims).await;
    let limits =
        GrantRequest { accounts: span(1, 9), sources: vec!["s".into()], ..granted("", "") };
    let limited =
        GrantRequest { principal: "token:a".into(), role: "collector".into(), ..limits.clone() };
    world.grant(limited.clone()).await.unwrap();
    world.grant(limited).await.unwrap();
    assert!(world.grant(limits).await.is_err());
    let revoke = RevokeRequest { principal: "token:a".into(), role: "collector".into() };
    world.api.revoke(world.asked(revoke.clone())).await.unwrap();
    world.api.revoke(world.asked(revoke)).await.unwrap();
    let which = Some(Which::Subject("a".into()));
    world.api.revoke_token(world.asked(RevokeTokenRequest { which })).await.unwrap();
    world.api.retire_key(world.asked(RetireKeyRequest { key_id: claims.key })).await.unwrap();
    let rows = world.db.read_audit(&AuditSelection::after(0)).await.unwrap();
    let entries: Vec<Entry> =
        rows.into_iter().map(|row| Entry::decode(row.body).unwrap()).collect();
    let (token, key) = (claims.id_text(), claims.key);
    let expected = [
        ("key.add", format!("token key {key:016x}")),
        ("token.issue", format!("token {token} of a")),
        ("access.grant", "role collector of token:a".to_owned()),
        ("access.revoke", "role collector of token:a".to_owned()),
        ("token.revoke", "all tokens of a".to_owned()),
        ("key.retire", format!("token key {key:016x}")),
    ];
    let told: Vec<_> = entries.iter().map(|one| (&*one.action, one.target.clone())).collect();
    let twice: Vec<_> = expected.iter().flat_map(|one| [one.clone(), one.clone()]).collect();
    assert_eq!(told, twice);
    for pair in entries.chunks(2) {
        let [intent, outcome] = pair else { panic!("{pair:?}") };
        assert_eq!((intent.kind(), outcome.kind()), (EntryKind::Intent, EntryKind::Outcome));
        assert_eq!(outcome.outcome(), AuditOutcome::Applied);
        assert_eq!(intent.principal, "spiffe://c/admin/root");
        assert_eq!(intent.address, "127.0.0.1:4000");
    }
    assert_eq!(entries[4].detail, "accounts 1 to 9; sources s");
}

/// While a cluster changes to TLS, access control is off; an administrator's certificate is as good
/// as a token for the first grant.
#[tokio::test]
async fn an_administrator_by_certificate_may_make_any_first_grant() {
    let world = World::new(false).await;
    world.grant(granted("spiffe://c/client/a", "auditor")).await.unwrap();
    assert_eq!(world.access.state(), AccessState::On);
    assert_eq!(world.code(Call::new(SHOW)), Code::Unauthenticated);
}

#[tokio::test]
async fn one_principal_has_a_limited_number_of_grants() {
    let (world, _) = World::on().await;
    for account in 1..=turnpike_access::GRANTS_OF_ONE_MAX as u64 {
        let grant =
            GrantRequest { accounts: span(account, account), ..granted("token:a", "support") };
        world.grant(grant).await.unwrap();
    }
    let more = GrantRequest { accounts: span(500, 500), ..granted("token:a", "support") };
    assert_eq!(world.grant(more).await.unwrap_err().code(), Code::FailedPrecondition);
    world.grant(granted("token:b", "support")).await.unwrap();
}

#[tokio::test]
async fn to_revoke_or_retire_again_changes_nothing_and_what_does_not_exist_is_told() {
    let (world, key) = World::on().await;
    world.grant(granted("token:a", "support")).await.unwrap();
    world.token(&key, "a").await;
    let revoke = async |principal: &str, role: &str| {
        let request = RevokeRequest { principal: principal.into(), role: role.into() };
        let done = world.api.revoke(world.asked(request)).await;
        done.map(|done| done.into_inner().revoked).map_err(|status| status.code())
    };
    for _ in 0..2 {
        assert_eq!(revoke("token:b", "support").await, Ok(0));
        assert_eq!(revoke("token:a", "auditor").await, Ok(0));
    }
    assert_eq!(revoke("token:a", "boss").await, Err(Code::InvalidArgument));
    let token = async |which| {
        let request = RevokeTokenRequest { which };
        let done = world.api.revoke_token(world.asked(request)).await;
        done.map(|done| done.into_inner().revoked).map_err(|status| status.code())
    };
    assert_eq!(token(None).await, Err(Code::InvalidArgument));
    assert_eq!(token(Some(Which::TokenId("00".into()))).await, Err(Code::NotFound));
    assert_eq!(token(Some(Which::Subject("b".into()))).await, Err(Code::NotFound));
    assert_eq!(token(Some(Which::Subject("a".into()))).await, Ok(1));
    assert_eq!(token(Some(Which::Subject("a".into()))).await, Ok(0), "the answer may be lost");
    let retire = async |key_id| {
        let request = world.asked(RetireKeyRequest { key_id });
        world.api.retire_key(request).await.map(drop).map_err(|status| status.code())
    };
    assert_eq!(retire(5).await, Err(Code::NotFound));
    let key_id = turnpike_access::tokens::form::key_id(&key.public_key().unwrap());
    assert_eq!((retire(key_id).await, retire(key_id).await), (Ok(()), Ok(())));
}

#[tokio::test]
async fn a_token_that_lasts_too_long_or_was_never_valid_is_not_registered() {
    let (world, key) = World::on().await;
    let claims = world.claims(&key, "a");
    let add = async |not_before_us: i64, expires_us: i64| -> Result<(), Status> {
        let request = AddTokenRequest {
            token_id: claims.id_text(),
            key_id: claims.key,
            subject: "a".to_owned(),
            not_before_us,
            expires_us,
        };
        world.api.add_token(world.asked(request)).await.map(drop)
    };
    let (now, day) = (world.now().0, 24 * HOUR_US);
    for (from, until) in [
        (now, now),
        (now + 2, now + 1),
        (now - 2, now - 1),
        (now, now + TOKEN_DAYS_MAX * day + 1),
        (i64::MIN, i64::MAX),
    ] {
        assert_eq!(add(from, until).await.unwrap_err().code(), Code::InvalidArgument);
    }
    add(now, now + TOKEN_DAYS_MAX * day).await.unwrap();
    add(now, now + TOKEN_DAYS_MAX * day).await.unwrap();
    let other = add(now, now + 1).await.unwrap_err();
    assert_eq!(other.code(), Code::FailedPrecondition, "the id belongs to another token");
}

/// Years of tokens and keys do not fill the tables.
#[tokio::test]
async fn ended_tokens_and_retired_keys_make_room() {
    let (world, _) = World::on().await;
    let mut keys = vec![];
    for _ in 0..KEYS_MAX - 1 {
        keys.push(world.key().await);
    }
    let (more, _) = turnpike_access::tokens::form::SigningKey::generate().unwrap();
    let public_key: Vec<u8> = more.public_key().unwrap().to_vec();
    let add = async || {
        let public_key = public_key.clone().into();
        world.api.add_key(world.asked(AddKeyRequest { public_key })).await
    };
    assert_eq!(add().await.unwrap_err().code(), Code::FailedPrecondition);
    for key in keys.drain(..) {
        world.token(&key, "a").await;
        let key_id = turnpike_access::tokens::form::key_id(&key.public_key().unwrap());
        world.api.retire_key(world.asked(RetireKeyRequest { key_id })).await.unwrap();
    }
    let until_us = Some(world.now().0 + 1);
    world.grant(GrantRequest { until_us, ..granted("token:a", "auditor") }).await.unwrap();
    add().await.unwrap();
    let tables = world.db.access(None).await.unwrap().tables.unwrap();
    assert_eq!((tables.grants.len(), tables.tokens.len(), tables.keys.len()), (1, 15, 17));
    world.pass(40 * 24 * HOUR_US);
    world.key().await;
    let tables = world.db.access(None).await.unwrap().tables.unwrap();
    assert_eq!((tables.grants.len(), tables.tokens.len(), tables.keys.len()), (0, 0, 18));
    world.pass(61 * 24 * HOUR_US);
    world.key().await;
    let tables = world.db.access(None).await.unwrap().tables.unwrap();
    assert_eq!(tables.keys.len(), 4, "retired keys are forgotten");
}

/// A key that was added again would make the tokens valid again that it signed before.
#[tokio::test]
async fn a_retired_key_can_not_be_added_again() {
    let (world, key) = World::on().await;
    let public_key = key.public_key().unwrap();
    let key_id = turnpike_access::tokens::form::key_id(&public_key);
    world.api.retire_key(world.asked(RetireKeyRequest { key_id })).await.unwrap();
    world.pass(TOKEN_DAYS_MAX * 24 * HOUR_US);
    let request = AddKeyRequest { public_key: public_key.to_vec().into() };
    let again = world.api.add_key(world.asked(request)).await.unwrap_err();
    assert_eq!(again.code(), Code::FailedPrecondition);
}
