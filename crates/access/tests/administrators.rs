//! An administrator remains after each change that is accepted.

use proptest::prelude::*;
use prost::Message as _;
use tonic::Code;
use turnpike_access::tokens::form::{Claims, SigningKey, key_id};
use turnpike_access::{AccessState, Actor, KEYS_MAX, Recovery};
use turnpike_proto::access::v1::access_service_server::AccessService as _;
use turnpike_proto::access::v1::revoke_token_request::Which;
use turnpike_proto::access::v1::{
    AddKeyRequest, AddTokenRequest, GrantRequest, RetireKeyRequest, RevokeRequest,
    RevokeTokenRequest,
};
use turnpike_proto::audit::v1::Entry;
use turnpike_store::AuditSelection;
use turnpike_types::Timestamp;

use crate::world::{Call, GRANT, HOUR_US, World, granted};

const MINUTE_US: i64 = 60_000_000;

/// A cluster without certificates. Each change is made by the first administrator that is admitted.
struct Cluster {
    world: World,
    keys: Vec<SigningKey>,
    ids: Vec<String>,
    tokens: Vec<String>,
}

/// A change, and for how long the new token or grant is valid.
#[derive(Clone, Debug)]
enum Change {
    Grant(&'static str, Option<i64>),
    Revoke(&'static str),
    AddKey,
    /// The keys are counted from the oldest.
    RetireKey(usize),
    Issue(&'static str, usize, i64),
    RevokeTokens(&'static str),
    /// The tokens are counted from the oldest.
    RevokeToken(usize),
}

impl Cluster {
    /// Access control is off, and `root` has a token for an hour.
    async fn off() -> Self {
        let world = World::new(false).await;
        let mut cluster = Self { world, keys: vec![], ids: vec![], tokens: vec![] };
        cluster.change(Change::AddKey).await.unwrap();
        cluster.change(Change::Issue("root", 0, HOUR_US)).await.unwrap();
        cluster
    }

    /// `root` is the only administrator.
    async fn on() -> Self {
        let mut cluster = Self::off().await;
        cluster.change(Change::Grant("root", None)).await.unwrap();
        assert_eq!(cluster.world.access.state(), AccessState::On);
        cluster
    }

    fn administrator(&self) -> Option<Call> {
        let mut calls = self.tokens.iter().map(|token| Call::new(GRANT).token(token));
        calls.find(|call| self.world.code(call.clone()) == Code::Ok)
    }

    fn asked<T>(&self, message: T) -> tonic::Request<T> {
        let sender = match self.world.access.state() {
            AccessState::Off => Call::new(GRANT),
            _ => self.administrator().unwrap(),
        };
        self.world.asked_as(sender, message)
    }

    async fn change(&mut self, change: Change) -> Result<(), Code> {
        let api = self.world.api.clone();
        let admin = |name: &str| granted(&format!("token:{name}"), "admin");
        let now = self.world.now().0;
        match change {
            Change::Grant(name, within) => {
                let until_us = within.map(|within| now + within);
                let grant = GrantRequest { until_us, ..admin(name) };
                api.grant(self.asked(grant)).await.map(drop)
            }
            Change::Revoke(name) => {
                let GrantRequest { principal, role, .. } = admin(name);
                api.revoke(self.asked(RevokeRequest { principal, role })).await.map(drop)
            }
            Change::AddKey => {
                let (key, _) = SigningKey::generate().unwrap();
                let public_key = key.public_key().unwrap().to_vec().into();
                self.keys.push(key);
                api.add_key(self.asked(AddKeyRequest { public_key })).await.map(drop)
            }
            Change::RetireKey(at) => {
                let key_id = key_id(&self.keys[at % self.keys.len()].public_key().unwrap());
                api.retire_key(self.asked(RetireKeyRequest { key_id })).await.map(drop)
            }
            Change::Issue(name, at, within) => return self.issue(name, at, within).await,
            Change::RevokeTokens(name) => self.revoke_token(Which::Subject(name.into())).await,
            Change::RevokeToken(at) => {
                let id = self.ids[at % self.ids.len()].clone();
                self.revoke_token(Which::TokenId(id)).await
            }
        }
        .map_err(|status| status.code())
    }

    async fn revoke_token(&self, which: Which) -> Result<(), tonic::Status> {
        let request = RevokeTokenRequest { which: Some(which) };
        self.world.api.revoke_token(self.asked(request)).await.map(drop)
    }

    async fn issue(&mut self, name: &str, at: usize, within: i64) -> Result<(), Code> {
        let key = &self.keys[at % self.keys.len()];
        let claims = self.world.claims(key, name);
        let expires = Timestamp(claims.not_before.0 + within);
        let claims = Claims { expires, ..claims };
        let request = AddTokenRequest {
            token_id: claims.id_text(),
            key_id: claims.key,
            subject: claims.subject.clone(),
            not_before_us: claims.not_before.0,
            expires_us: claims.expires.0,
        };
        let added = self.world.api.add_token(self.asked(request)).await;
        self.tokens.push(key.sign(&claims).unwrap());
        self.ids.push(claims.id_text());
        added.map(drop).map_err(|status| status.code())
    }
}

const REFUSED: Result<(), Code> = Err(Code::FailedPrecondition);

/// The first grant switches access control on, so its holder must be able to make the next one.
#[tokio::test]
async fn the_first_grant_leaves_an_administrator() {
    let mut cluster = Cluster::off().await;
    assert_eq!(cluster.change(Change::Grant("other", None)).await, REFUSED);
    assert_eq!(cluster.change(Change::Grant("root", Some(HOUR_US))).await, REFUSED);
    cluster.change(Change::RetireKey(0)).await.unwrap();
    assert_eq!(cluster.change(Change::Grant("root", None)).await, REFUSED, "the key is retired");
    cluster.change(Change::AddKey).await.unwrap();
    cluster.change(Change::Issue("root", 1, 9 * MINUTE_US)).await.unwrap();
    assert_eq!(cluster.change(Change::Grant("root", None)).await, REFUSED, "the token ends soon");
    cluster.change(Change::Issue("root", 1, 11 * MINUTE_US)).await.unwrap();
    cluster.change(Change::RevokeTokens("root")).await.unwrap();
    assert_eq!(cluster.change(Change::Grant("root", None)).await, REFUSED, "it was revoked");
    cluster.change(Change::Issue("root", 1, 11 * MINUTE_US)).await.unwrap();
    assert_eq!(cluster.world.access.state(), AccessState::Off);
    cluster.change(Change::Grant("root", None)).await.unwrap();
    assert!(cluster.administrator().is_some());
}

/// Each way to take the rights of the only administrator is refused. With a second one it is accepted.
#[tokio::test]
async fn the_last_administrator_stays() {
    use Change::{AddKey, Grant, Issue, RetireKey, Revoke, RevokeToken, RevokeTokens};
    for last in [Revoke("root"), RevokeTokens("root"), RevokeToken(0), RetireKey(0)] {
        let mut cluster = Cluster::on().await;
        assert_eq!(cluster.change(last.clone()).await, REFUSED, "{last:?}");
        cluster.change(AddKey).await.unwrap();
        cluster.change(Issue("temp", 1, HOUR_US)).await.unwrap();
        cluster.change(Grant("temp", Some(HOUR_US))).await.unwrap();
        assert_eq!(cluster.change(last.clone()).await, REFUSED, "{last:?}: the grant of temp ends");
        cluster.change(Grant("other", None)).await.unwrap();
        assert_eq!(cluster.change(last.clone()).await, REFUSED, "{last:?}: other has no token");
        cluster.change(Issue("other", 1, 5 * MINUTE_US)).await.unwrap();
        assert_eq!(cluster.change(last.clone()).await, REFUSED, "{last:?}: its token ends soon");
        cluster.change(Issue("other", 1, HOUR_US)).await.unwrap();
        assert_eq!(cluster.change(last.clone()).await, Ok(()), "{last:?}");
        assert!(cluster.administrator().is_some());
    }
}

/// What has nothing to do with administrators is allowed to one whose token ends soon.
#[tokio::test]
async fn an_administrator_whose_token_ends_soon_can_still_revoke_others() {
    let mut cluster = Cluster::on().await;
    cluster.change(Change::Issue("lost", 0, HOUR_US)).await.unwrap();
    cluster.world.pass(HOUR_US - MINUTE_US);
    cluster.change(Change::RevokeTokens("lost")).await.unwrap();
    assert_eq!(cluster.change(Change::Revoke("root")).await, REFUSED);
}

/// A grant that has ended is still listed for a while, and makes nobody an administrator.
#[tokio::test]
async fn a_grant_that_has_ended_does_not_count() {
    let mut cluster = Cluster::on().await;
    cluster.change(Change::Issue("temp", 0, HOUR_US)).await.unwrap();
    cluster.change(Change::Grant("temp", Some(1))).await.unwrap();
    cluster.world.pass(1);
    assert_eq!(cluster.change(Change::Revoke("root")).await, REFUSED);
}

/// The holder of a certificate of KIND admin needs no grant, and can't lose its rights by this.
#[tokio::test]
async fn an_administrator_by_certificate_may_revoke_every_grant() {
    let (world, _) = World::on().await;
    world.grant(granted("token:a", "admin")).await.unwrap();
    let request = RevokeRequest { principal: "token:a".into(), role: "admin".into() };
    world.api.revoke(world.asked(request)).await.unwrap();
    world.grant(granted("token:a", "admin")).await.unwrap();
}

/// The last token has expired, so no administrator can do anything. All places for keys are taken.
#[tokio::test]
async fn an_operator_of_the_database_makes_an_administrator_when_there_is_none() {
    let mut cluster = Cluster::on().await;
    for _ in 1..KEYS_MAX {
        cluster.change(Change::AddKey).await.unwrap();
    }
    cluster.world.pass(HOUR_US);
    assert!(cluster.administrator().is_none());
    let (key, _) = SigningKey::generate().unwrap();
    let claims = cluster.world.claims(&key, "rescue");
    let public_key = key.public_key().unwrap();
    let recovery = Recovery { public_key, claims: claims.clone() };
    let local = Actor {
        principal: "local:op".to_owned(),
        address: "local".to_owned(),
        request_id: "r".to_owned(),
    };
    for _ in 0..2 {
        cluster.world.api.recover(local.clone(), &recovery).await.unwrap();
    }
    cluster.world.access.refresh().await.unwrap();
    cluster.tokens.push(key.sign(&claims).unwrap());
    assert!(cluster.administrator().is_some());
    let rows = cluster.world.db.read_audit(&AuditSelection::after(0)).await.unwrap();
    let entries = rows.into_iter().map(|row| Entry::decode(row.body).unwrap());
    let local: Vec<String> =
        entries.filter(|entry| entry.principal == "local:op").map(|entry| entry.action).collect();
    let each = ["key.add", "key.add", "token.issue", "token.issue", "access.grant", "access.grant"];
    assert_eq!(local, each, "an intent and an outcome each, and none for the repetition");
}

fn a_change() -> impl Strategy<Value = Change> {
    let name = || prop::sample::select(vec!["root", "a", "b"]);
    let within = || prop::sample::select(vec![1, 9 * MINUTE_US, 11 * MINUTE_US, HOUR_US]);
    prop_oneof![
        (name(), prop::option::of(within())).prop_map(|(name, end)| Change::Grant(name, end)),
        name().prop_map(Change::Revoke),
        Just(Change::AddKey),
        (0..4usize).prop_map(Change::RetireKey),
        (name(), 0..4usize, within()).prop_map(|(name, at, end)| Change::Issue(name, at, end)),
        name().prop_map(Change::RevokeTokens),
        (0..8usize).prop_map(Change::RevokeToken),
    ]
}

proptest! {
    #![proptest_config(test_cases::cases(128))]

    #[test]
    fn no_sequence_of_accepted_changes_leaves_no_administrator(
        changes in prop::collection::vec(a_change(), 1..40)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut cluster = Cluster::on().await;
            let mut refused = 0;
            for change in changes {
                refused += usize::from(cluster.change(change.clone()).await.is_err());
                prop_assert!(cluster.administrator().is_some(), "after {change:?}");
            }
            // Each way of losing the last administrator is still there at the end.
            cluster.change(Change::RevokeTokens("a")).await.ok();
            cluster.change(Change::RevokeTokens("b")).await.ok();
            cluster.change(Change::RevokeTokens("root")).await.ok();
            prop_assert!(cluster.administrator().is_some(), "{refused} were refused");
            Ok(())
        })?;
    }
}
