//! Finding postings to other partitions in the log (P33).

use turnpike_store::{AppendOutcome, POSTING_BYTES_MAX, SharedDatabase};
use turnpike_types::{PartitionId, SegmentNumber};

use crate::{Dice, TestOwner, TestedStore, read_all};

/// Appends a body with or without postings.
async fn append(
    owner: &mut TestOwner,
    db: &dyn SharedDatabase,
    body: Vec<u8>,
    has_postings: bool,
    dice: &mut Dice,
) -> AppendOutcome {
    let mut append = owner.next_append(body.into(), dice);
    append.has_postings = has_postings;
    let outcome = db.append(&append).await.unwrap();
    if outcome == AppendOutcome::Committed {
        owner.position.next = append.segment.next();
        owner.position.last_hash = append.hash;
    }
    outcome
}

async fn last_posting(db: &dyn SharedDatabase) -> u64 {
    db.observe().await.unwrap().partitions[0].last_posting.0
}

async fn posting_segments(db: &dyn SharedDatabase, after: u64, most: usize) -> Vec<u64> {
    let rows = db.posting_segments(PartitionId(1), SegmentNumber(after), most).await.unwrap();
    rows.iter().map(|row| row.segment.0).collect()
}

/// An append without postings, and a claim, leave the newest segment with postings unchanged.
pub async fn an_append_with_postings_is_shown_by_every_observation(s: &TestedStore) {
    let (db, other, mut dice) = (s.with_partition().await, s.view().await, Dice(31));
    let mut owner = TestOwner::claim_now(&*db, 1, "a", &mut dice).await;
    assert_eq!(last_posting(&*other).await, 0);
    for (has_postings, shown) in [(false, 0), (true, 2), (false, 2), (true, 4), (true, 5)] {
        let outcome = append(&mut owner, &*db, vec![0; 10], has_postings, &mut dice).await;
        assert_eq!(outcome, AppendOutcome::Committed);
        assert_eq!(last_posting(&*other).await, shown);
    }
    TestOwner::claim_now(&*other, 1, "b", &mut dice).await;
    assert_eq!(last_posting(&*db).await, 5);
}

/// The statement that checks the fence also sets the newest segment with postings, so an append
/// that is refused does not change it (P1).
pub async fn an_append_that_is_refused_shows_no_postings(s: &TestedStore) {
    let (db, mut dice) = (s.with_partition().await, Dice(32));
    let mut old = TestOwner::claim_now(&*db, 1, "a", &mut dice).await;
    let mut new = TestOwner::claim_now(&*db, 1, "b", &mut dice).await;
    let late = append(&mut old, &*db, vec![0; 10], true, &mut dice).await;
    assert_eq!(late, AppendOutcome::Fenced);
    append(&mut new, &*db, vec![0; 10], false, &mut dice).await;
    new.position.next = SegmentNumber(1);
    let again = append(&mut new, &*db, vec![0; 10], true, &mut dice).await;
    assert_eq!(again, AppendOutcome::Ahead);
    assert_eq!(last_posting(&*db).await, 0);
    assert!(posting_segments(&*db, 0, 10).await.is_empty());
}

/// Segments with postings have all the fields that a read of the log returns.
pub async fn segments_with_postings_are_read_in_order_and_no_others(s: &TestedStore) {
    let (db, other, mut dice) = (s.with_partition().await, s.view().await, Dice(33));
    let mut owner = TestOwner::claim_now(&*db, 1, "a", &mut dice).await;
    for n in 1..=12u8 {
        append(&mut owner, &*db, vec![n; 100], n.is_multiple_of(3), &mut dice).await;
    }
    assert_eq!(posting_segments(&*other, 0, 100).await, [3, 6, 9, 12]);
    assert_eq!(posting_segments(&*other, 0, 2).await, [3, 6]);
    assert_eq!(posting_segments(&*other, 5, 2).await, [6, 9]);
    assert_eq!(posting_segments(&*other, 6, usize::MAX).await, [9, 12]);
    assert!(posting_segments(&*other, 12, 100).await.is_empty());
    assert!(posting_segments(&*other, 0, 0).await.is_empty());
    let all = read_all(&*db, 1).await;
    let found = other.posting_segments(PartitionId(1), SegmentNumber(3), 1).await.unwrap();
    assert_eq!(found, all[5..6]);
    let nowhere = db.posting_segments(PartitionId(9), SegmentNumber(0), 10).await.unwrap();
    assert!(nowhere.is_empty());
}

/// Large segments are returned one at a time.
pub async fn an_answer_is_bounded_by_bytes_and_holds_at_least_one(s: &TestedStore) {
    let (db, mut dice) = (s.with_partition().await, Dice(34));
    let mut owner = TestOwner::claim_now(&*db, 1, "a", &mut dice).await;
    let half = POSTING_BYTES_MAX / 2;
    for size in [half, half, 1, POSTING_BYTES_MAX + 1] {
        append(&mut owner, &*db, vec![0; size], true, &mut dice).await;
    }
    assert_eq!(posting_segments(&*db, 0, 10).await, [1, 2]);
    assert_eq!(posting_segments(&*db, 2, 10).await, [3]);
    assert_eq!(posting_segments(&*db, 3, 10).await, [4]);
}
