//! Grants, keys and tokens.

use turnpike_store::{
    AccessChange, AccessForget, AccessGrant, AccessKey, AccessStamp, AccessToken, AccessVersion,
    AccessWrite, RevokedCertificate,
};
use turnpike_types::{AccountRange, Timestamp};

use crate::TestedStore;

fn grant(principal: &str) -> AccessGrant {
    AccessGrant {
        id: 0,
        principal: principal.to_owned(),
        role: "collector".to_owned(),
        accounts: None,
        sources: Vec::new(),
        consumer: None,
        until: None,
        granted_by: "anonymous".to_owned(),
        granted_at: Timestamp(50),
    }
}

fn key(id: u64) -> AccessKey {
    AccessKey {
        id,
        public_key: [7; 32],
        added_by: "a".to_owned(),
        added_at: Timestamp(5),
        retired_at: None,
    }
}

fn token(id: &str, expires: i64) -> AccessToken {
    AccessToken {
        id: id.to_owned(),
        key: u64::MAX,
        subject: "billing".to_owned(),
        not_before: Timestamp(10),
        expires: Timestamp(expires),
        issued_by: "anonymous".to_owned(),
        issued_at: Timestamp(11),
        revoked_at: None,
    }
}

/// The stamp that the tests give to the version with this number. A database begins with zeros.
fn stamp(number: u64) -> AccessStamp {
    u128::from(number).to_be_bytes()
}

fn version(number: u64) -> AccessVersion {
    AccessVersion { number, stamp: stamp(number) }
}

fn write(at: u64, change: AccessChange) -> AccessWrite {
    AccessWrite { at: version(at), stamp: stamp(at + 1), change, forget: AccessForget::default() }
}

/// Every column of a grant, a key and a token is read back by another process. A reader that knows
/// the version gets no tables.
pub async fn grants_keys_and_tokens_are_kept_as_they_were_written(s: &TestedStore) {
    let (db, other) = (s.view().await, s.view().await);
    let empty = other.access(None).await.unwrap();
    assert_eq!((empty.version, empty.enabled), (version(0), None));
    assert!(empty.tables.unwrap().grants.is_empty());
    let whole = AccessGrant {
        accounts: Some(AccountRange::new(1, u64::MAX).unwrap()),
        sources: vec!["radius zürich".to_owned(), "b".to_owned()],
        consumer: Some("bills".to_owned()),
        until: Some(Timestamp(99)),
        ..grant("spiffe://c/client/*")
    };
    let key = key(u64::MAX);
    let added = AccessChange::AddKey(key.clone());
    assert_eq!(db.change_access(&write(0, added)).await.unwrap(), Some(1));
    assert_eq!(other.access(None).await.unwrap().enabled, None, "a key switches nothing on");
    let issued = AccessChange::AddToken(token("00ff", 90));
    assert_eq!(db.change_access(&write(1, issued)).await.unwrap(), Some(2));
    let granted = AccessChange::Grant(whole.clone());
    assert_eq!(db.change_access(&write(2, granted)).await.unwrap(), Some(3));
    let read = other.access(Some(version(2))).await.unwrap();
    assert_eq!((read.version, read.enabled), (version(3), Some(Timestamp(50))));
    let tables = read.tables.unwrap();
    assert_eq!(tables.grants, [AccessGrant { id: 3, ..whole }]);
    assert_eq!(tables.keys, std::slice::from_ref(&key));
    assert_eq!(tables.tokens, [token("00ff", 90)]);
    assert_eq!(other.access(Some(version(3))).await.unwrap().tables, None);
    let retire = AccessChange::RetireKey(u64::MAX, Timestamp(60));
    db.change_access(&write(3, retire)).await.unwrap().unwrap();
    let revoke = AccessChange::RevokeTokens(vec!["00ff".to_owned()], Timestamp(61));
    db.change_access(&write(4, revoke)).await.unwrap().unwrap();
    let again = AccessChange::RevokeTokens(vec!["00ff".to_owned()], Timestamp(62));
    db.change_access(&write(5, again)).await.unwrap().unwrap();
    let tables = other.access(None).await.unwrap().tables.unwrap();
    assert_eq!(tables.keys[0].retired_at, Some(Timestamp(60)));
    assert_eq!(tables.tokens[0].revoked_at, Some(Timestamp(61)), "the first instant stays");
}

/// Of two changes that were decided on the same state, one is carried out.
pub async fn a_change_on_an_old_version_changes_nothing(s: &TestedStore) {
    let (left, right) = (s.view().await, s.view().await);
    for at in 0..10 {
        let (one, two) = (
            write(at, AccessChange::Grant(grant("token:left"))),
            write(at, AccessChange::Grant(grant("token:right"))),
        );
        let both = futures::join!(left.change_access(&one), right.change_access(&two));
        let won = [both.0.unwrap(), both.1.unwrap()].into_iter().flatten().collect::<Vec<_>>();
        assert_eq!(won, [at + 1]);
    }
    let grants = left.access(None).await.unwrap().tables.unwrap().grants;
    let ids: Vec<u64> = grants.iter().map(|grant| grant.id).collect();
    assert_eq!(ids, (1..=10).collect::<Vec<_>>());
}

/// Access control that is on stays on when the last grant is revoked.
pub async fn access_control_stays_on_without_grants(s: &TestedStore) {
    let db = s.view().await;
    let added = write(0, AccessChange::Grant(grant("token:a")));
    let id = db.change_access(&added).await.unwrap().unwrap();
    let revoked = write(1, AccessChange::Revoke(vec![id]));
    db.change_access(&revoked).await.unwrap().unwrap();
    let read = db.access(None).await.unwrap();
    assert!(read.tables.unwrap().grants.is_empty());
    assert_eq!(read.enabled, Some(Timestamp(50)));
}

/// A change deletes what ended long ago, and nothing else.
pub async fn rows_that_ended_before_the_given_instant_are_forgotten(s: &TestedStore) {
    let db = s.view().await;
    let ended = |principal: &str, until| AccessGrant { until, ..grant(principal) };
    let changes = [
        AccessChange::Grant(ended("token:old", Some(Timestamp(99)))),
        AccessChange::Grant(ended("token:kept", Some(Timestamp(100)))),
        AccessChange::Grant(grant("token:ever")),
        AccessChange::AddToken(token("aa", 99)),
        AccessChange::AddToken(token("bb", 100)),
        AccessChange::AddKey(key(1)),
        AccessChange::AddKey(key(2)),
        AccessChange::AddKey(key(3)),
        AccessChange::RetireKey(1, Timestamp(69)),
        AccessChange::RetireKey(2, Timestamp(70)),
        AccessChange::AddToken(token("dd", 500)),
        AccessChange::AddToken(token("ee", 500)),
        AccessChange::RevokeTokens(vec!["dd".to_owned()], Timestamp(99)),
        AccessChange::RevokeTokens(vec!["ee".to_owned()], Timestamp(100)),
    ];
    let mut at = 0;
    for change in changes {
        at = db.change_access(&write(at, change)).await.unwrap().unwrap();
    }
    let last = AccessWrite {
        forget: AccessForget {
            grants: Timestamp(100),
            keys: Timestamp(70),
            tokens: Timestamp(100),
        },
        ..write(at, AccessChange::AddToken(token("cc", 500)))
    };
    db.change_access(&last).await.unwrap().unwrap();
    let tables = db.access(None).await.unwrap().tables.unwrap();
    let principals: Vec<&str> =
        tables.grants.iter().map(|grant| grant.principal.as_str()).collect();
    assert_eq!(principals, ["token:kept", "token:ever"]);
    let tokens: Vec<&str> = tables.tokens.iter().map(|token| token.id.as_str()).collect();
    assert_eq!(tokens, ["bb", "cc", "ee"]);
    assert_eq!(tables.keys.iter().map(|key| key.id).collect::<Vec<_>>(), [2, 3]);
}

/// After a failover to a replica that lacks the last changes, other changes get the same numbers. A
/// reader and a writer that know the lost history are told by the stamp.
pub async fn a_version_of_another_history_is_not_the_same(s: &TestedStore) {
    let db = s.view().await;
    let lost = AccessVersion { number: 1, stamp: [9; 16] };
    db.change_access(&write(0, AccessChange::Grant(grant("token:a")))).await.unwrap().unwrap();
    let read = db.access(Some(lost)).await.unwrap();
    assert_eq!(read.version, version(1));
    assert_eq!(read.tables.unwrap().grants.len(), 1);
    let late = AccessWrite { at: lost, ..write(1, AccessChange::Revoke(vec![1])) };
    assert_eq!(db.change_access(&late).await.unwrap(), None);
    assert_eq!(db.access(None).await.unwrap().tables.unwrap().grants.len(), 1);
}

/// The revocation of a certificate is read by every process until it is deleted.
pub async fn a_revoked_certificate_stays_revoked_until_it_is_restored(s: &TestedStore) {
    let (db, other) = (s.view().await, s.view().await);
    let revoked = |name: &str| RevokedCertificate {
        name: name.to_owned(),
        revoked_by: "spiffe://c/admin/a".to_owned(),
        revoked_at: Timestamp(70),
    };
    let rows = [revoked("00ff"), revoked("spiffe://c/node/b")];
    let of = |row: &RevokedCertificate| AccessChange::RevokeCertificate(row.clone());
    db.change_access(&write(0, of(&rows[1]))).await.unwrap().unwrap();
    db.change_access(&write(1, of(&rows[0]))).await.unwrap().unwrap();
    let read = other.access(None).await.unwrap();
    assert_eq!((read.enabled, read.tables.unwrap().revoked.as_slice()), (None, &rows[..]));
    let restored = AccessChange::RestoreCertificate("00ff".to_owned());
    db.change_access(&write(2, restored)).await.unwrap().unwrap();
    assert_eq!(other.access(None).await.unwrap().tables.unwrap().revoked, rows[1..]);
}
