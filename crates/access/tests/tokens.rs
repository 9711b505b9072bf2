//! Tokens: which are valid, and that the causes of refusal differ in the log alone.

use http::HeaderMap;
use proptest::prelude::*;
use tonic::Code;
use turnpike_access::tokens::form::{Claims, PREFIX, SigningKey, TOKEN_CHARS_MAX, key_id};
use turnpike_access::{AccessRefusal, Unauthenticated};
use turnpike_listen::Peer;
use turnpike_proto::access::v1::access_service_server::AccessService as _;
use turnpike_proto::access::v1::revoke_token_request::Which;
use turnpike_proto::access::v1::{RetireKeyRequest, RevokeTokenRequest};
use turnpike_types::Timestamp;

use crate::world::{Call, HOUR_US, World, granted, local};

const SHOW: &str = "/turnpike.account.v1.AccountService/Show";

async fn auditor() -> (World, SigningKey) {
    let (world, key) = World::on().await;
    world.grant(granted("token:eva", "auditor")).await.unwrap();
    (world, key)
}

/// The cause in the log, after a check that the client gets the same text for each cause.
#[track_caller]
fn cause(world: &World, token: &str) -> Option<Unauthenticated> {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    let peer = Peer { address: local(), certificates: [].into(), not_after_s: None };
    let refused = world.access.admit(SHOW, &headers, Some(&peer)).err();
    let answer = world.call(Call::new(SHOW).token(token));
    match refused {
        None => {
            assert!(answer.is_ok());
            None
        }
        Some((AccessRefusal::Unauthenticated(cause), _)) => {
            let status = answer.unwrap_err();
            assert_eq!(
                (status.code(), status.message()),
                (Code::Unauthenticated, "not authenticated")
            );
            Some(cause)
        }
        Some(other) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_token_is_valid_from_its_first_instant_until_its_last() {
    let (world, key) = auditor().await;
    let later = Timestamp(world.claims(&key, "eva").not_before.0 + 10 * HOUR_US);
    let claims = Claims {
        not_before: later,
        expires: Timestamp(later.0 + HOUR_US),
        ..world.claims(&key, "eva")
    };
    world.register(&claims).await;
    let token = key.sign(&claims).unwrap();
    assert_eq!(cause(&world, &token), Some(Unauthenticated::NotYetValid));
    world.pass(10 * HOUR_US);
    assert_eq!(cause(&world, &token), None);
    world.pass(HOUR_US - 1);
    assert_eq!(cause(&world, &token), None);
    world.pass(1);
    assert_eq!(cause(&world, &token), Some(Unauthenticated::Expired));
}

#[tokio::test]
async fn a_token_that_was_revoked_or_never_registered_is_refused() {
    let (world, key) = auditor().await;
    let token = world.token(&key, "eva").await;
    let other = world.token(&key, "eva").await;
    let unregistered = key.sign(&world.claims(&key, "eva")).unwrap();
    assert_eq!(cause(&world, &unregistered), Some(Unauthenticated::UnregisteredToken));
    assert_eq!((cause(&world, &token), cause(&world, &other)), (None, None));
    let which = Some(Which::Subject("eva".to_owned()));
    let revoked = world.api.revoke_token(world.asked(RevokeTokenRequest { which })).await.unwrap();
    assert_eq!(revoked.into_inner().revoked, 2);
    for token in [token, other] {
        assert_eq!(cause(&world, &token), Some(Unauthenticated::RevokedToken));
    }
}

/// The key's owner can't extend a registered token, or give it to another name.
#[tokio::test]
async fn a_token_whose_claims_differ_from_the_registered_ones_is_refused() {
    let (world, key) = auditor().await;
    let claims = world.claims(&key, "eva");
    world.register(&claims).await;
    let longer = Claims { expires: Timestamp(claims.expires.0 + 1), ..claims.clone() };
    let earlier = Claims { not_before: Timestamp(claims.not_before.0 - 1), ..claims.clone() };
    let named = Claims { subject: "eve".to_owned(), ..claims.clone() };
    for other in [longer, earlier, named] {
        let token = key.sign(&other).unwrap();
        assert_eq!(cause(&world, &token), Some(Unauthenticated::UnregisteredToken));
    }
    assert_eq!(cause(&world, &key.sign(&claims).unwrap()), None);
}

#[tokio::test]
async fn a_token_of_another_key_cluster_or_signature_is_refused() {
    let (world, key) = auditor().await;
    let claims = world.claims(&key, "eva");
    world.register(&claims).await;
    let (stranger, _) = SigningKey::generate().unwrap();
    let forged = stranger.sign(&claims).unwrap();
    assert_eq!(cause(&world, &forged), Some(Unauthenticated::BadSignature));
    let unknown = Claims { key: key_id(&stranger.public_key().unwrap()), ..claims.clone() };
    let unknown = stranger.sign(&unknown).unwrap();
    assert_eq!(cause(&world, &unknown), Some(Unauthenticated::UnknownKey));
    let elsewhere = Claims { audience: "other".to_owned(), ..claims.clone() };
    let elsewhere = key.sign(&elsewhere).unwrap();
    assert_eq!(cause(&world, &elsewhere), Some(Unauthenticated::WrongAudience));
    let token = key.sign(&claims).unwrap();
    assert_eq!(cause(&world, &token), None);
    let retired = RetireKeyRequest { key_id: claims.key };
    world.api.retire_key(world.asked(retired)).await.unwrap();
    assert_eq!(cause(&world, &token), Some(Unauthenticated::RetiredKey));
}

/// The signature of a token is checked last: a stranger could use up the time that it takes.
#[tokio::test]
async fn an_unknown_token_is_refused_before_its_signature_is_checked() {
    let (world, key) = auditor().await;
    let (stranger, _) = SigningKey::generate().unwrap();
    let forged = stranger.sign(&world.claims(&key, "eva")).unwrap();
    assert_eq!(cause(&world, &forged), Some(Unauthenticated::UnregisteredToken));
    // Where authentication is not needed, a token is not looked at.
    let health = Call::new("/grpc.health.v1.Health/Check");
    let admitted = world.call(health.token(&world.token(&key, "eva").await)).unwrap();
    assert_eq!(admitted.actor.principal, "anonymous");
}

/// Keys are replaced without an instant at which no token is valid.
#[tokio::test]
async fn two_keys_are_valid_side_by_side_while_one_replaces_the_other() {
    let (world, old) = auditor().await;
    let before = world.token(&old, "eva").await;
    let new = world.key().await;
    let after = world.token(&new, "eva").await;
    assert_eq!((cause(&world, &before), cause(&world, &after)), (None, None));
    let key_id = key_id(&old.public_key().unwrap());
    world.api.retire_key(world.asked(RetireKeyRequest { key_id })).await.unwrap();
    assert_eq!(cause(&world, &before), Some(Unauthenticated::RetiredKey));
    assert_eq!(cause(&world, &after), None);
}

#[tokio::test]
async fn a_token_that_is_cut_long_changed_or_a_jwt_is_refused() {
    let (world, key) = auditor().await;
    let token = world.token(&key, "eva").await;
    assert_eq!(cause(&world, &token), None);
    for end in 0..token.len() {
        assert!(cause(&world, &token[..end]).is_some(), "{end}");
    }
    for at in PREFIX.len()..token.len() {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        assert!(cause(&world, &String::from_utf8(changed).unwrap()).is_some(), "{at}");
    }
    assert!(cause(&world, &format!("{token}A")).is_some());
    assert!(cause(&world, &format!("{token}=")).is_some());
    // {"alg":"none"} . {"sub":"eva"} . (no signature)
    for jwt in ["eyJhbGciOiJub25lIn0.eyJzdWIiOiJldmEifQ.", "eyJhbGciOiJub25lIn0.e30.AAAA"] {
        assert_eq!(cause(&world, jwt), Some(Unauthenticated::NotAToken));
    }
    let long = format!("{PREFIX}{}", "A".repeat(TOKEN_CHARS_MAX));
    assert_eq!(cause(&world, &long), Some(Unauthenticated::BadHeader));
}

#[tokio::test]
async fn only_one_bearer_header_is_a_token() {
    let (world, key) = auditor().await;
    let token = world.token(&key, "eva").await;
    let with = |value: &str| Call::new(SHOW).header("authorization", value);
    assert_eq!(world.code(with(&format!("Bearer {token}"))), Code::Ok);
    assert_eq!(world.code(with(&format!("bearer {token}"))), Code::Ok);
    for wrong in
        [&token, "Bearer", "Bearer ", &format!("Basic {token}"), &format!("Bearer  {token}")]
    {
        assert_eq!(world.code(with(wrong)), Code::Unauthenticated, "{wrong}");
    }
    let twice = with(&format!("Bearer {token}")).token(&token);
    assert_eq!(world.code(twice), Code::Unauthenticated);
}

/// The largest names fit the largest token.
#[tokio::test]
async fn the_longest_token_is_accepted() {
    let (world, key) = World::on().await;
    let subject = "s".repeat(64);
    world.grant(granted(&format!("token:{subject}"), "auditor")).await.unwrap();
    let token = world.token(&key, &subject).await;
    assert_eq!(cause(&world, &token), None);
    let longest = Claims { audience: "c".repeat(64), ..world.claims(&key, &subject) };
    world.register(&longest).await;
    let longest = key.sign(&longest).unwrap();
    assert!(longest.len() <= TOKEN_CHARS_MAX && longest.len() + 4 > TOKEN_CHARS_MAX);
    assert_eq!(cause(&world, &longest), Some(Unauthenticated::WrongAudience));
    for subject in ["", "a b", "a/b", &"s".repeat(65)] {
        assert!(key.sign(&world.claims(&key, subject)).is_err(), "{subject}");
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

proptest! {
    #![proptest_config(test_cases::cases(512))]

    /// Bytes that nobody signed are never a token, and never end the process.
    #[test]
    fn arbitrary_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        use base64::Engine as _;
        let (world, _) = runtime().block_on(auditor());
        let encoded = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&bytes);
        let token = format!("{PREFIX}{encoded}");
        prop_assert!(cause(&world, &token).is_some());
    }

    #[test]
    fn arbitrary_text_is_refused(text in "[ -~]{0,500}") {
        let (world, _) = runtime().block_on(auditor());
        let call = Call::new(SHOW).header("authorization", &text);
        prop_assert_eq!(world.code(call), Code::Unauthenticated);
    }
}
