//! Appends, and the reasons for which the fence refuses them (P1, P4).

use bytes::Bytes;
use turnpike_store::{AppendOutcome, StoreError};
use turnpike_types::{ClaimId, Epoch, PartitionId, SegmentNumber};

use crate::{Dice, TestOwner, TestedStore, check_chain, read_all, spec};

/// The owner is the present one and knows the end of the log.
pub async fn an_append_under_the_current_claim_commits_and_moves_the_position(s: &TestedStore) {
    let (db, mut dice) = (s.with_partition().await, Dice(1));
    let mut owner = TestOwner::claim_now(&*db, 1, "a", &mut dice).await;
    assert_eq!(owner.position.next, SegmentNumber(1));
    for body in ["first", "second"] {
        let outcome = owner.append(&*db, body, &mut dice).await.unwrap();
        assert_eq!(outcome, AppendOutcome::Committed);
    }
    let other = s.view().await;
    let rows = read_all(&*other, 1).await;
    assert_eq!(check_chain(&rows), owner.position);
    assert_eq!(rows[1].body, "second");
    assert_eq!(other.observe().await.unwrap().partitions[0].next, owner.position);
}

/// The former owner appends after another node's claim.
pub async fn an_append_of_a_stale_epoch_is_fenced(s: &TestedStore) {
    let (db, mut dice) = (s.with_partition().await, Dice(2));
    let mut old = TestOwner::claim_now(&*db, 1, "a", &mut dice).await;
    let mut new = TestOwner::claim_now(&*s.view().await, 1, "b", &mut dice).await;
    assert_eq!(old.append(&*db, "late", &mut dice).await.unwrap(), AppendOutcome::Fenced);
    assert_eq!(new.append(&*db, "new", &mut dice).await.unwrap(), AppendOutcome::Committed);
    assert_eq!(old.append(&*db, "late", &mut dice).await.unwrap(), AppendOutcome::Fenced);
    let rows = read_all(&*db, 1).await;
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].epoch, new.epoch);
}

/// The fence compares epoch and claim separately.
pub async fn an_append_of_another_epoch_is_fenced_even_under_the_right_claim(s: &TestedStore) {
    let (db, mut dice) = (s.with_partition().await, Dice(8));
    let mut owner = TestOwner::claim_now(&*db, 1, "a", &mut dice).await;
    owner.epoch = owner.epoch.next().unwrap();
    assert_eq!(owner.append(&*db, "x", &mut dice).await.unwrap(), AppendOutcome::Fenced);
    assert!(read_all(&*db, 1).await.is_empty());
}

/// After a roll-back of history an epoch may repeat, but a claim id does not (P18).
pub async fn an_append_of_a_stale_claim_is_fenced_even_under_the_right_epoch(s: &TestedStore) {
    let (db, mut dice) = (s.with_partition().await, Dice(3));
    let mut owner = TestOwner::claim_now(&*db, 1, "a", &mut dice).await;
    owner.claim = ClaimId([7; 16]);
    assert_eq!(owner.append(&*db, "x", &mut dice).await.unwrap(), AppendOutcome::Fenced);
    assert!(read_all(&*db, 1).await.is_empty());
}

/// The log ends before a segment that the owner knows to be committed (P18).
pub async fn an_append_ahead_of_the_log_says_that_history_was_rolled_back(s: &TestedStore) {
    let (db, mut dice) = (s.with_partition().await, Dice(4));
    let mut owner = TestOwner::claim_now(&*db, 1, "a", &mut dice).await;
    owner.append(&*db, "x", &mut dice).await.unwrap();
    owner.position.next = SegmentNumber(5);
    assert_eq!(owner.append(&*db, "y", &mut dice).await.unwrap(), AppendOutcome::RolledBack);
    assert_eq!(read_all(&*db, 1).await.len(), 1);
}

/// The log has the length that the owner knows, but another last hash.
pub async fn an_append_on_another_hash_says_that_history_was_rolled_back(s: &TestedStore) {
    let (db, mut dice) = (s.with_partition().await, Dice(5));
    let mut owner = TestOwner::claim_now(&*db, 1, "a", &mut dice).await;
    owner.append(&*db, "x", &mut dice).await.unwrap();
    owner.position.last_hash = dice.hash();
    assert_eq!(owner.append(&*db, "y", &mut dice).await.unwrap(), AppendOutcome::RolledBack);
    assert_eq!(read_all(&*db, 1).await.len(), 1);
}

/// The append of unknown outcome that is repeated here had committed (P2).
pub async fn an_append_again_says_that_the_log_is_ahead_and_changes_nothing(s: &TestedStore) {
    let (db, mut dice) = (s.with_partition().await, Dice(6));
    let owner = TestOwner::claim_now(&*db, 1, "a", &mut dice).await;
    let append = owner.next_append(Bytes::from_static(b"once"), &mut dice);
    assert_eq!(db.append(&append).await.unwrap(), AppendOutcome::Committed);
    assert_eq!(db.append(&append).await.unwrap(), AppendOutcome::Ahead);
    let mut other = append.clone();
    other.body = Bytes::from_static(b"twice");
    assert_eq!(db.append(&other).await.unwrap(), AppendOutcome::Ahead);
    let rows = read_all(&*db, 1).await;
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].body, "once");
}

/// The error message states what to do.
pub async fn an_append_to_no_partition_is_refused(s: &TestedStore) {
    let (db, mut dice) = (s.with_partition().await, Dice(7));
    let mut owner = TestOwner::claim_now(&*db, 1, "a", &mut dice).await;
    owner.partition = PartitionId(9);
    let refused = owner.append(&*db, "x", &mut dice).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
}

/// Segments are in order and without gaps, and within the limit on bytes unless a single segment is
/// larger.
pub async fn a_tail_is_contiguous_and_bounded_by_bytes(s: &TestedStore) {
    let (db, mut dice) = (s.with_partition().await, Dice(8));
    let mut owner = TestOwner::claim_now(&*db, 1, "a", &mut dice).await;
    for size in [100, 200, 5000, 10, 0, 10] {
        let outcome = owner.append(&*db, vec![b'x'; size], &mut dice).await.unwrap();
        assert_eq!(outcome, AppendOutcome::Committed);
    }
    let read = async |after, bytes_max| {
        let rows = db.read_segments(PartitionId(1), SegmentNumber(after), bytes_max).await.unwrap();
        rows.iter().map(|row| row.segment.0).collect::<Vec<_>>()
    };
    assert_eq!(read(0, 300).await, [1, 2]);
    assert_eq!(read(0, 299).await, [1]);
    assert_eq!(read(0, 0).await, [1]);
    assert_eq!(read(2, 300).await, [3], "at least one segment, whatever its size");
    assert_eq!(read(3, 20).await, [4, 5, 6]);
    assert_eq!(read(0, usize::MAX).await, [1, 2, 3, 4, 5, 6]);
    assert!(read(6, 300).await.is_empty());
    assert!(db.read_segments(PartitionId(9), SegmentNumber(0), 10).await.unwrap().is_empty());
}

/// A body of two megabytes is returned unchanged.
pub async fn a_large_body_is_read_back_unchanged(s: &TestedStore) {
    let (db, mut dice) = (s.with_partition().await, Dice(9));
    let mut owner = TestOwner::claim_now(&*db, 1, "a", &mut dice).await;
    let body: Vec<u8> = (0..1 << 18).flat_map(|_| dice.roll().to_be_bytes()).collect();
    owner.append(&*db, body.clone(), &mut dice).await.unwrap();
    let rows = read_all(&*s.view().await, 1).await;
    assert!(rows[0].body == body, "{} bytes came back", rows[0].body.len());
}

/// Four owners have one append in flight each.
pub async fn partitions_append_side_by_side(s: &TestedStore) {
    let db = s.view().await;
    let specs = [1, 2, 3, 4].map(|id| spec(id, u64::from(id) * 1000, u64::from(id) * 1000 + 999));
    db.create_partitions(&specs).await.unwrap();
    let owners = [1, 2, 3, 4].map(|id| {
        let db = std::sync::Arc::clone(&db);
        tokio::spawn(async move {
            let mut dice = Dice(u64::from(id));
            let mut owner = TestOwner::claim_now(&*db, id, "a", &mut dice).await;
            for _ in 0..20 {
                let outcome = owner.append(&*db, vec![0; 1000], &mut dice).await.unwrap();
                assert_eq!(outcome, AppendOutcome::Committed);
            }
            owner
        })
    });
    for owner in owners {
        let owner = owner.await.unwrap();
        assert_eq!(owner.epoch, Epoch::stored(1));
        let rows = read_all(&*db, owner.partition.0).await;
        assert_eq!(check_chain(&rows), owner.position);
        assert_eq!(rows.len(), 20);
    }
}
