//! Partitions, and concurrent processes that create or open them.

use turnpike_store::StoreError;
use turnpike_types::{AccountRange, PartitionId, Timestamp};

use crate::{TestedStore, member, spec};

/// Creating the same partitions again succeeds, because a setup script may run twice.
pub async fn created_again_is_no_error(s: &TestedStore) {
    let db = s.view().await;
    let specs = [spec(2, 1001, 2000), spec(1, 1, 1000)];
    db.create_partitions(&specs).await.unwrap();
    s.view().await.create_partitions(&specs).await.unwrap();
    db.create_partitions(&[spec(3, 2001, 3000), spec(1, 1, 1000)]).await.unwrap();
    let ids: Vec<u32> =
        db.observe().await.unwrap().partitions.iter().map(|row| row.spec.id.0).collect();
    assert_eq!(ids, [1, 2, 3]);
}

/// Partitions are refused if their ranges overlap, if a partition of the same number has other
/// settings or members, or if two members have the same priority (P12).
pub async fn a_collision_is_refused_and_named(s: &TestedStore) {
    let db = s.view().await;
    db.create_partitions(&[spec(1, 1, 1000)]).await.unwrap();
    let mut twice = spec(3, 5000, 6000);
    twice.members = vec![member("ann", 5), member("bob", 5)];
    let mut other_members = spec(1, 1, 1000);
    other_members.members.pop();
    let cases = [
        (vec![spec(2, 1000, 2000)], ["partition 2", "partition 1"]),
        (vec![spec(1, 1, 999)], ["partition 1", "1-1000"]),
        (vec![other_members], ["partition 1", "members"]),
        (vec![twice], ["ann", "bob"]),
        (vec![spec(4, 7000, 8000), spec(5, 8000, 9000)], ["partition 5", "partition 4"]),
    ];
    for (asked, words) in cases {
        match db.create_partitions(&asked).await {
            Err(StoreError::Refused(why)) => {
                assert!(words.iter().all(|word| why.contains(word)), "{why}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(db.observe().await.unwrap().partitions.len(), 1);
}

/// The last of three partitions collides, and none is created.
pub async fn all_are_created_or_none(s: &TestedStore) {
    let db = s.view().await;
    let asked = [spec(1, 1, 10), spec(2, 11, 20), spec(3, 20, 30)];
    assert!(db.create_partitions(&asked).await.is_err());
    assert!(db.observe().await.unwrap().partitions.is_empty());
    db.create_partitions(&asked[..2]).await.unwrap();
    assert_eq!(db.observe().await.unwrap().partitions.len(), 2);
}

/// Every field is kept, up to the largest account number; members are sorted by descending
/// priority.
pub async fn a_spec_is_read_back_whole(s: &TestedStore) {
    let db = s.view().await;
    let mut asked = spec(u32::MAX, 1, 2);
    asked.range = AccountRange::new(u64::MAX - 1, u64::MAX).unwrap();
    asked.horizon_us = 1;
    asked.accept_since = Some(Timestamp(-5));
    asked.members = vec![member("low", 0), member("high", u32::MAX), member("mid", 7)];
    db.create_partitions(&[asked.clone()]).await.unwrap();
    let row = s.view().await.observe().await.unwrap().partitions[0].clone();
    let names: Vec<&str> = row.spec.members.iter().map(|m| m.node.0.as_str()).collect();
    assert_eq!(names, ["high", "mid", "low"]);
    asked.members = row.spec.members.clone();
    assert_eq!(row.spec, asked);
    let below = spec(1, 1, u64::MAX - 2);
    db.create_partitions(&[below]).await.unwrap();
    let overlapping = spec(2, 1 << 63, u64::MAX);
    assert!(db.create_partitions(&[overlapping]).await.is_err());
}

/// Eight nodes create the same partitions at the same time; a ninth has another configuration.
pub async fn creators_at_once_agree(s: &TestedStore) {
    let mut creators = Vec::new();
    for n in 0..8u32 {
        let view = s.view().await;
        let asked = if n == 3 { spec(7, 500, 1500) } else { spec(1, 1, 1000) };
        creators.push(tokio::spawn(async move { view.create_partitions(&[asked]).await.is_ok() }));
    }
    let mut done = Vec::new();
    for creator in creators {
        done.push(creator.await.unwrap());
    }
    let seen = s.view().await.observe().await.unwrap();
    assert_eq!(seen.partitions.len(), 1);
    let odd_one_won = seen.partitions[0].spec.id == PartitionId(7);
    for (n, done) in done.into_iter().enumerate() {
        assert_eq!(done, (n == 3) == odd_one_won, "creator {n}");
    }
}

/// The schema is created once, whichever process is first.
pub async fn many_openers_at_once_find_one_history(s: &TestedStore) {
    let openers: Vec<_> = (0..8).map(|_| tokio::spawn((s.open)())).collect();
    let mut incarnations = Vec::new();
    for opener in openers {
        let view = opener.await.unwrap();
        incarnations.push(view.incarnation().await.unwrap());
        view.observe().await.unwrap();
    }
    assert!(incarnations.windows(2).all(|pair| pair[0] == pair[1]), "{incarnations:?}");
}

/// A process that made an observation before the partitions were created sees them in its next one.
pub async fn a_thousand_partitions_are_observed(s: &TestedStore) {
    let db = s.view().await;
    let early = s.view().await;
    assert!(early.observe().await.unwrap().partitions.is_empty());
    let specs: Vec<_> =
        (0..1000u32).map(|id| spec(id, u64::from(id) * 10 + 1, u64::from(id) * 10 + 10)).collect();
    db.create_partitions(&specs).await.unwrap();
    for view in [&early, &db] {
        let seen = view.observe().await.unwrap();
        assert_eq!(seen.partitions.len(), 1000);
        assert!(seen.partitions.iter().zip(&specs).all(|(row, spec)| row.spec == *spec));
    }
}
