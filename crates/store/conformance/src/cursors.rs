//! Identities (P28) and consumers (P38).

use turnpike_types::{AccountNumber, PartitionId, SegmentNumber, Timestamp};

use super::{Dice, TestedStore, spec};
use crate::{BindOutcome, Binding, Consumer, CursorAck, StoreError};

fn binding(identity: &str, account: u64, from: i64, until: i64) -> Binding {
    Binding {
        identity: identity.to_owned(),
        account: AccountNumber(account),
        from: Timestamp(from),
        until: Timestamp(until),
    }
}

const OPEN: i64 = i64::MAX;

/// Intervals are half open. Adding the same binding again is no error.
pub async fn identities_are_bound_for_intervals_that_never_overlap(s: &TestedStore) {
    let db = s.view().await;
    let asked = [
        binding("ip:192.0.2.1", 1, 100, 200),
        binding("ip:192.0.2.1", 2, 200, OPEN),
        binding("ip:192.0.2.1", 1, 100, 200),
        binding("ip:192.0.2.1", 3, 150, 160),
        binding("ip:192.0.2.1", 3, 50, 101),
        binding("ip:192.0.2.1", 3, 300, 400),
        binding("ip:192.0.2.1", u64::MAX, i64::MIN, 100),
        binding("tel:1", 3, 150, 160),
    ];
    let outcomes = db.bind_identities(&asked).await.unwrap();
    let taken = |place: usize| BindOutcome::Taken(asked[place].clone());
    let bound = BindOutcome::Bound;
    let expected = [bound.clone(), bound.clone(), BindOutcome::Already];
    assert_eq!(outcomes[..3], expected);
    assert_eq!(outcomes[3..6], [taken(0), taken(0), taken(1)]);
    assert_eq!(outcomes[6..], [bound.clone(), bound]);
    let again = s.view().await.bind_identities(&asked[1..2]).await.unwrap();
    assert_eq!(again, [BindOutcome::Already]);
    let history = db.guide(&["ip:192.0.2.1".to_owned()]).await.unwrap();
    let expected = [asked[6].clone(), asked[0].clone(), asked[1].clone()];
    assert_eq!(history[0].bindings, expected);
}

/// Eight processes bind the same address; one succeeds.
pub async fn binders_at_once_never_overlap(s: &TestedStore) {
    let mut binders = Vec::new();
    for n in 0..8u64 {
        let view = s.view().await;
        binders.push(tokio::spawn(async move {
            let from = i64::try_from(n).unwrap();
            view.bind_identities(&[binding("user:x", n + 1, from, OPEN)]).await.unwrap()
        }));
    }
    let mut bound = 0;
    for binder in binders {
        bound += binder.await.unwrap().iter().filter(|o| **o == BindOutcome::Bound).count();
    }
    assert_eq!(bound, 1);
    let history = s.view().await.guide(&["user:x".to_owned()]).await.unwrap();
    assert_eq!(history[0].bindings.len(), 1);
}

/// Valid bindings earlier in the same call are not written either.
pub async fn a_binding_that_can_never_be_valid_is_refused_and_nothing_is_written(s: &TestedStore) {
    let db = s.view().await;
    let good = binding("user:x", 1, 1, 2);
    let long = binding(&"x".repeat(257), 1, 1, 2);
    let wrong = [binding("user:y", 1, 5, 5), binding("", 1, 1, 2), binding("u", 0, 1, 2), long];
    for wrong in wrong {
        let refused = db.bind_identities(&[good.clone(), wrong]).await;
        assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
    }
    assert!(db.guide(&["user:x".to_owned()]).await.unwrap()[0].bindings.is_empty());
    assert!(db.bind_identities(&[]).await.unwrap().is_empty());
}

/// An unknown identity has an empty history; an identity asked for twice is returned twice.
pub async fn histories_are_returned_in_the_order_of_the_request(s: &TestedStore) {
    let db = s.view().await;
    let (x, y) = (binding("user:x", 1, 1, 2), binding("user:y", 2, 1, 2));
    db.bind_identities(&[x.clone(), y.clone()]).await.unwrap();
    let asked = ["user:y", "user:none", "user:x", "user:y"].map(str::to_owned);
    let found: Vec<Vec<Binding>> =
        db.guide(&asked).await.unwrap().into_iter().map(|guided| guided.bindings).collect();
    assert_eq!(found, [vec![y.clone()], vec![], vec![x], vec![y]]);
    assert!(db.guide(&[]).await.unwrap().is_empty());
}

/// A consumer begins at the start of every partition. A move of its cursor names the exact present
/// position.
pub async fn a_consumer_begins_everywhere_and_moves_by_compare_and_set(s: &TestedStore) {
    let (db, mut dice) = (s.view().await, Dice(41));
    db.create_partitions(&[spec(1, 1, 10), spec(2, 11, 20)]).await.unwrap();
    assert!(db.consumer("bills").await.unwrap().is_empty());
    db.register_consumer("bills").await.unwrap();
    let start = db.consumer("bills").await.unwrap();
    let ids: Vec<u32> = start.iter().map(|cursor| cursor.partition.0).collect();
    assert_eq!(ids, [1, 2]);
    assert_eq!((start[0].segment, start[0].row), (SegmentNumber(0), 0));
    let to = Consumer { segment: SegmentNumber(3), row: 7, hash: dice.hash(), ..start[0].clone() };
    assert_eq!(db.acknowledge(&start[0], &to).await.unwrap(), CursorAck::Moved);
    let elsewhere = CursorAck::Elsewhere(to.clone());
    assert_eq!(s.view().await.acknowledge(&start[0], &to).await.unwrap(), elsewhere);
    let other_history = Consumer { hash: dice.hash(), ..to.clone() };
    assert_eq!(db.acknowledge(&other_history, &start[0]).await.unwrap(), elsewhere);
    let stranger = Consumer { name: "nobody".to_owned(), ..to.clone() };
    assert_eq!(db.acknowledge(&stranger, &stranger).await.unwrap(), CursorAck::Unknown);
    let mixed = db.acknowledge(&to, &Consumer { partition: PartitionId(2), ..to.clone() }).await;
    assert!(matches!(mixed, Err(StoreError::Refused(_))), "{mixed:?}");
    db.create_partitions(&[spec(3, 21, 30)]).await.unwrap();
    db.register_consumer("bills").await.unwrap();
    let now = db.consumer("bills").await.unwrap();
    assert_eq!(now.len(), 3);
    assert_eq!(now[0], to);
    assert!(db.register_consumer("").await.is_err());
}

/// The puller whose acknowledgement fails gets the present position of the cursor.
pub async fn of_two_pullers_under_one_name_one_moves_the_cursor(s: &TestedStore) {
    let db = s.with_partition().await;
    db.register_consumer("bills").await.unwrap();
    let mut from = db.consumer("bills").await.unwrap()[0].clone();
    let (left, right) = (s.view().await, s.view().await);
    for n in 1..=10u64 {
        let to = |row| Consumer { segment: SegmentNumber(n), row, ..from.clone() };
        let (one, two) = (to(1), to(2));
        let both = futures::join!(left.acknowledge(&from, &one), right.acknowledge(&from, &two));
        from = match (both.0.unwrap(), both.1.unwrap()) {
            (CursorAck::Moved, CursorAck::Elsewhere(at)) if at == one => one,
            (CursorAck::Elsewhere(at), CursorAck::Moved) if at == two => two,
            other => panic!("{other:?}"),
        };
    }
}

/// P38: segment, row and hash are each compared, so that a puller that is behind does not move the
/// cursor back. Cursors of other consumers and of other partitions do not move.
pub async fn p38_a_cursor_that_differs_in_anything_is_not_moved_and_no_other_one_moves(
    s: &TestedStore,
) {
    let (db, mut dice) = (s.view().await, Dice(42));
    db.create_partitions(&[spec(1, 1, 10), spec(2, 11, 20)]).await.unwrap();
    for name in ["bills", "taxes"] {
        db.register_consumer(name).await.unwrap();
    }
    let taxes = db.consumer("taxes").await.unwrap();
    let start = db.consumer("bills").await.unwrap();
    // All rows of a segment share the segment's hash: only the row number differs.
    let hash = dice.hash();
    let at =
        |segment, row| Consumer { segment: SegmentNumber(segment), row, hash, ..start[0].clone() };
    let (first, second, third) = (at(3, 7), at(3, 9), at(3, 12));
    for (from, to) in [(&start[0], &first), (&first, &second)] {
        assert_eq!(db.acknowledge(from, to).await.unwrap(), CursorAck::Moved);
    }
    let other_hash = Consumer { hash: dice.hash(), ..second.clone() };
    let stale = [first, third.clone(), at(2, 9), at(4, 9), other_hash, start[0].clone()];
    for from in stale {
        let answer = db.acknowledge(&from, &at(3, 8)).await.unwrap();
        assert_eq!(answer, CursorAck::Elsewhere(second.clone()), "from {from:?}");
    }
    assert_eq!(db.acknowledge(&second, &third).await.unwrap(), CursorAck::Moved);
    let now = s.view().await.consumer("bills").await.unwrap();
    assert_eq!(now, [third, start[1].clone()], "the cursor of partition 2 did not move");
    assert_eq!(
        db.consumer("taxes").await.unwrap(),
        taxes,
        "the cursor of another consumer did not move"
    );
}

/// A consumer that registers again keeps its cursor in each partition.
pub async fn p38_registering_again_moves_no_cursor(s: &TestedStore) {
    let (db, mut dice) = (s.with_partition().await, Dice(43));
    db.register_consumer("bills").await.unwrap();
    let start = db.consumer("bills").await.unwrap().remove(0);
    let to = Consumer { segment: SegmentNumber(3), row: 7, hash: dice.hash(), ..start.clone() };
    assert_eq!(db.acknowledge(&start, &to).await.unwrap(), CursorAck::Moved);
    db.register_consumer("bills").await.unwrap();
    assert_eq!(db.consumer("bills").await.unwrap(), [to]);
}
