//! What a grant covers: accounts, sources, consumers, and the time until it ends.

use tonic::Code;
use turnpike_access::Permit;
use turnpike_proto::access::v1::access_service_server::AccessService as _;
use turnpike_proto::access::v1::{GrantRequest, RevokeRequest, TestRequest};
use turnpike_types::AccountNumber;

use crate::world::{Call, HOUR_US, World, granted, span};

const INGEST: &str = "/turnpike.ingest.v1.IngestService/Ingest";
const SHOW: &str = "/turnpike.account.v1.AccountService/Show";
const PULL: &str = "/turnpike.feed.v1.FeedService/Pull";

/// What `token:NAME` may do with the method after these grants.
async fn permit(grants: Vec<GrantRequest>, path: &str) -> (World, String, Permit) {
    let (world, key) = World::on().await;
    let name = grants[0].principal.strip_prefix("token:").unwrap().to_owned();
    for grant in grants {
        world.grant(grant).await.unwrap();
    }
    let token = world.token(&key, &name).await;
    let permit = world.call(Call::new(path).token(&token)).unwrap().permit;
    (world, token, permit)
}

fn shows(permit: &Permit, account: u64) -> bool {
    let checked = permit.check_account(AccountNumber(account));
    checked.map_err(|status| assert_eq!(status.code(), Code::PermissionDenied)).is_ok()
}

#[tokio::test]
async fn a_range_of_accounts_includes_both_ends_and_no_other_account() {
    let grant = GrantRequest { accounts: span(10, 20), ..granted("token:a", "support") };
    let (_, _, permit) = permit(vec![grant], SHOW).await;
    let shown: Vec<u64> = (0..30).filter(|account| shows(&permit, *account)).collect();
    assert_eq!(shown, (10..=20).collect::<Vec<_>>());
    assert!(permit.check_all_accounts().is_err());
}

#[tokio::test]
async fn a_subscriber_sees_its_own_account_alone() {
    let grant = GrantRequest { accounts: span(7, 7), ..granted("token:a", "subscriber") };
    let (_, _, permit) = permit(vec![grant], SHOW).await;
    let shown: Vec<u64> = (0..30).filter(|account| shows(&permit, *account)).collect();
    assert_eq!(shown, [7]);
    assert!(permit.check_all_accounts().is_err());
}

/// Account and source must be covered by one grant: the accounts of one and the source of another
/// do not add up.
#[tokio::test]
async fn a_record_needs_one_grant_for_its_account_and_its_source() {
    let grant = |first, last, source: &str| GrantRequest {
        accounts: span(first, last),
        sources: vec![source.to_owned()],
        ..granted("token:a", "collector")
    };
    let (_, _, permit) = permit(vec![grant(1, 9, "x"), grant(10, 19, "y")], INGEST).await;
    let covers =
        |account: u64, source: &str| permit.covers_record(Some(AccountNumber(account)), source);
    assert!(covers(9, "x") && covers(10, "y"));
    assert!(
        !covers(9, "y")
            && !covers(10, "x")
            && !covers(20, "y")
            && !covers(5, "")
            && !covers(5, "X")
    );
    assert!(!permit.covers_record(None, "x"), "a record of an unknown account may become any");
    assert!(!permit.is_unlimited());
}

#[tokio::test]
async fn a_grant_without_limits_covers_every_record() {
    let (_, _, permit) = permit(vec![granted("token:a", "collector")], INGEST).await;
    assert!(permit.covers_record(None, "") && permit.covers_record(Some(AccountNumber(5)), "x"));
    permit.check_all_accounts().unwrap();
}

#[tokio::test]
async fn a_consumer_has_its_own_cursors_alone() {
    let consumer = "bills".to_owned();
    let grant = GrantRequest { consumer, ..granted("token:a", "consumer") };
    let (_, _, permit) = permit(vec![grant], PULL).await;
    permit.check_consumer("bills").unwrap();
    for other in ["", "bill", "bills2", "Bills"] {
        assert!(permit.check_consumer(other).is_err(), "{other}");
    }
}

/// The grants of another role do not widen a method.
#[tokio::test]
async fn only_the_grants_of_the_roles_of_the_method_count() {
    let (_, _, permit) = permit(
        vec![
            GrantRequest { accounts: span(7, 7), ..granted("token:a", "subscriber") },
            granted("token:a", "collector"),
            granted("token:a", "pricing"),
        ],
        SHOW,
    )
    .await;
    assert!(shows(&permit, 7) && !shows(&permit, 8));
}

#[tokio::test]
async fn a_grant_ends_at_its_instant_also_for_a_stream_that_is_open() {
    let (world, key) = World::on().await;
    let until_us = Some(world.now().0 + HOUR_US / 2);
    world.grant(GrantRequest { until_us, ..granted("token:a", "collector") }).await.unwrap();
    let token = world.token(&key, "a").await;
    let permit = world.call(Call::new(INGEST).token(&token)).unwrap().permit;
    world.pass(HOUR_US / 2 - 1);
    let permit = permit.renewed().unwrap();
    world.pass(1);
    assert_eq!(permit.renewed().unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(world.code(Call::new(INGEST).token(&token)), Code::PermissionDenied);
    world.pass(HOUR_US);
    assert_eq!(permit.renewed().unwrap_err().code(), Code::Unauthenticated, "the token expired");
}

#[tokio::test]
async fn a_revoked_role_ends_an_open_stream() {
    let (world, _, permit) = permit(vec![granted("token:a", "collector")], INGEST).await;
    permit.renewed().unwrap();
    let request = RevokeRequest { principal: "token:a".into(), role: "collector".into() };
    world.api.revoke(world.asked(request)).await.unwrap();
    assert_eq!(permit.renewed().unwrap_err().code(), Code::PermissionDenied);
}

#[tokio::test]
async fn a_refusal_names_the_principal_the_method_and_the_roles_that_it_needs() {
    let (world, key) = World::on().await;
    let token = world.token(&key, "a").await;
    let status = world.call(Call::new(SHOW).token(&token)).unwrap_err();
    assert_eq!(
        status.message(),
        "token:a may not call turnpike.account.v1.AccountService/Show: it needs one of the roles \
         support, subscriber, auditor"
    );
    let status = world.call(Call::new(INGEST).token(&token)).unwrap_err();
    assert!(status.message().ends_with("Ingest: it needs the role collector"), "{status}");
}

/// `turnpike access test` answers as the guard and the services decide.
#[tokio::test]
async fn a_test_answers_with_the_rule_that_decides() {
    let (world, _) = World::on().await;
    let grant = GrantRequest { accounts: span(1, 9), ..granted("token:a", "support") };
    world.grant(grant).await.unwrap();
    let consumer = "bills".to_owned();
    world.grant(GrantRequest { consumer, ..granted("token:a", "consumer") }).await.unwrap();
    let asked = |principal: &str, method: &str| TestRequest {
        principal: principal.to_owned(),
        method: method.to_owned(),
        ..Default::default()
    };
    let test = async |request: TestRequest| {
        let answer = world.api.test(world.asked(request)).await.map(tonic::Response::into_inner);
        answer.map(|answer| (answer.allowed, answer.rule))
    };
    let show = asked("token:a", "AccountService/Show");
    let inside = test(TestRequest { account_number: Some(9), ..show.clone() }).await.unwrap();
    assert!(inside.0 && inside.1.contains("support for the accounts 1 to 9"), "{inside:?}");
    let outside = test(TestRequest { account_number: Some(10), ..show }).await.unwrap();
    assert!(!outside.0 && outside.1.contains("no grant covers it"), "{outside:?}");
    let pull = asked("token:a", "turnpike.feed.v1.FeedService/Pull");
    let own = TestRequest { consumer: Some("bills".to_owned()), ..pull.clone() };
    assert!(test(own).await.unwrap().0);
    let other = TestRequest { consumer: Some("other".to_owned()), ..pull };
    assert!(!test(other).await.unwrap().0);
    assert!(!test(asked("token:b", "AccountService/Show")).await.unwrap().0);
    assert!(!test(asked("anonymous", "AccountService/Show")).await.unwrap().0);
    assert!(test(asked("anonymous", "Health/Check")).await.unwrap().0);
    assert!(test(asked("spiffe://c/node/a", "NodeService/Forward")).await.unwrap().0);
    assert!(!test(asked("spiffe://c/client/a", "NodeService/Forward")).await.unwrap().0);
    assert!(test(asked("spiffe://c/admin/a", "AccessService/Grant")).await.unwrap().0);
    for (principal, method) in
        [("token:a", "Show"), ("token:a", "AccountService/Sho"), ("a", "Health/Check")]
    {
        assert!(test(asked(principal, method)).await.is_err(), "{principal} {method}");
    }
}
