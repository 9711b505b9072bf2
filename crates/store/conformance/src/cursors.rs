//! Consumers and their cursors (P38).

use turnpike_store::{Consumer, CursorAck, StoreError};
use turnpike_types::limits::CONSUMERS_MAX;
use turnpike_types::{PartitionId, SegmentNumber};

use crate::{Dice, TestedStore, spec};

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

/// Each consumer has a cursor in every partition for ever, so their number is bounded.
pub async fn the_number_of_consumers_is_bounded_and_known_ones_register_again(s: &TestedStore) {
    let db = s.view().await;
    db.create_partitions(&[spec(1, 1, 100)]).await.unwrap();
    for n in 0..CONSUMERS_MAX {
        db.register_consumer(&format!("c{n}")).await.unwrap();
    }
    let refused = db.register_consumer("one-more").await.unwrap_err();
    assert!(matches!(refused, StoreError::Refused(_)), "{refused}");
    assert!(refused.to_string().contains("at most 1000"), "{refused}");
    assert!(db.consumer("one-more").await.unwrap().is_empty());
    db.register_consumer("c7").await.unwrap();
    assert!(db.remove_consumer("c7").await.unwrap());
    db.register_consumer("one-more").await.unwrap();
}

/// A removed consumer has no cursor any more, and others keep theirs.
pub async fn a_consumer_that_is_removed_frees_its_place_and_begins_again(s: &TestedStore) {
    let (db, mut dice) = (s.view().await, Dice(44));
    db.create_partitions(&[spec(1, 1, 100), spec(2, 101, 200)]).await.unwrap();
    assert!(db.consumers().await.unwrap().is_empty());
    for name in ["taxes", "bills"] {
        db.register_consumer(name).await.unwrap();
        let start = db.consumer(name).await.unwrap().remove(0);
        let to = Consumer { segment: SegmentNumber(3), row: 7, hash: dice.hash(), ..start.clone() };
        assert_eq!(db.acknowledge(&start, &to).await.unwrap(), CursorAck::Moved);
    }
    assert_eq!(s.view().await.consumers().await.unwrap(), ["bills", "taxes"]);
    let (bills, taxes) = (db.consumer("bills").await.unwrap(), db.consumer("taxes").await.unwrap());
    assert!(s.view().await.remove_consumer("bills").await.unwrap());
    assert!(!db.remove_consumer("bills").await.unwrap(), "there is none any more");
    assert!(!db.remove_consumer("bill").await.unwrap());
    assert_eq!(db.consumers().await.unwrap(), ["taxes"]);
    assert_eq!(db.consumer("taxes").await.unwrap(), taxes);
    let late = db.acknowledge(&bills[0], &bills[0]).await.unwrap();
    assert_eq!(late, CursorAck::Unknown, "an acknowledgement does not bring it back");
    db.register_consumer("bills").await.unwrap();
    let again = db.consumer("bills").await.unwrap();
    assert!(again.iter().all(|cursor| cursor.segment == SegmentNumber(0)), "{again:?}");
    assert_eq!(again.len(), 2);
}
