//! Claims, releases and barriers, also with appends in flight.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use turnpike_store::{AppendOutcome, OwnerToken, StoreError};
use turnpike_types::{ClaimId, Epoch, NodeName, PartitionId, SegmentHash};

use crate::owner::epoch_of;
use crate::{Dice, TestOwner, TestedStore, check_chain, read_all};

/// Sixteen claimants have read the same epoch.
pub async fn of_many_claims_with_the_same_epoch_one_wins(s: &TestedStore) {
    let db = s.with_partition().await;
    let others = [s.view().await, s.view().await, Arc::clone(&db)];
    for round in 0..5u64 {
        let seen = Epoch::stored(round);
        let claims = (0..16u64).map(|n| {
            let db = Arc::clone(&others[usize::try_from(n).unwrap() % others.len()]);
            tokio::spawn(async move {
                let mut dice = Dice(round * 100 + n);
                TestOwner::try_claim(&*db, 1, seen, &format!("n{n}"), &mut dice).await.unwrap()
            })
        });
        let mut winners = Vec::new();
        for claim in claims.collect::<Vec<_>>() {
            winners.extend(claim.await.unwrap());
        }
        assert_eq!(winners.len(), 1, "round {round}");
        let row = db.observe().await.unwrap().partitions[0].clone();
        assert_eq!((row.epoch, row.claim), (winners[0].epoch, winners[0].claim));
        assert_eq!(row.epoch, Epoch::stored(round + 1));
    }
}

/// A losing claim changes nothing.
pub async fn a_claim_of_a_passed_epoch_loses(s: &TestedStore) {
    let (db, mut dice) = (s.with_partition().await, Dice(11));
    let first = TestOwner::claim_now(&*db, 1, "a", &mut dice).await;
    let again = TestOwner::try_claim(&*db, 1, Epoch::UNOWNED, "b", &mut dice).await.unwrap();
    assert!(again.is_none());
    let row = db.observe().await.unwrap().partitions[0].clone();
    assert_eq!((row.epoch, row.claim), (first.epoch, first.claim));
    assert_eq!(row.owner.unwrap().0, NodeName("a".to_owned()));
}

/// The error message states what to do.
pub async fn a_claim_of_no_partition_is_refused(s: &TestedStore) {
    let (db, mut dice) = (s.with_partition().await, Dice(12));
    let refused = TestOwner::try_claim(&*db, 9, Epoch::UNOWNED, "a", &mut dice).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
}

/// An append is stopped before its commit while another node claims. The append is either part of
/// the claimed position or never committed; otherwise the new owner would not have read it.
pub async fn an_append_in_flight_is_in_the_claimed_position_or_not_in_the_log(s: &TestedStore) {
    let db = s.with_partition().await;
    for round in 0..6u64 {
        let mut dice = Dice(1000 + round);
        let mut old = TestOwner::claim_now(&*db, 1, "a", &mut dice).await;
        old.append(&*db, "before", &mut dice).await.unwrap();
        let let_go = (s.hold_appends)().await;
        let append = old.next_append(Bytes::from_static(b"in flight"), &mut dice);
        let appending = {
            let (db, append) = (Arc::clone(&db), append.clone());
            tokio::spawn(async move { db.append(&append).await })
        };
        // Gives the append time to start. If it takes longer, the append is not in flight in this
        // round, and the round tests less but does not fail.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let claiming = {
            let other = s.view().await;
            tokio::spawn(async move { TestOwner::claim_now(&*other, 1, "b", &mut dice).await })
        };
        tokio::time::sleep(Duration::from_millis(20 * round)).await;
        let_go().await;
        let new = claiming.await.unwrap();
        let tail = read_all(&*db, 1).await;
        assert_eq!(check_chain(&tail), new.position, "committed outside the claimed position");
        let is_there = tail.iter().any(|row| row.hash == append.hash);
        match appending.await.unwrap() {
            Ok(AppendOutcome::Committed) => {
                assert!(is_there, "acknowledged outside the claimed position: not in the log");
            }
            Ok(AppendOutcome::Fenced) => assert!(!is_there, "fenced, but in the log"),
            Ok(other) => panic!("{other:?}"),
            Err(error) => assert!(error.is_unknown(), "{error}"),
        }
        assert_eq!(
            check_chain(&read_all(&*db, 1).await),
            new.position,
            "no segment was committed later"
        );
    }
}

/// P2: the caller drops an append. The next claim and a read of the log determine its outcome.
pub async fn an_append_that_was_dropped_half_way_is_settled_by_the_next_claim(s: &TestedStore) {
    let db = s.with_partition().await;
    for round in 0..8u64 {
        let mut dice = Dice(2000 + round);
        let owner = TestOwner::claim_now(&*db, 1, "a", &mut dice).await;
        let append = owner.next_append(Bytes::from(vec![1; 100_000]), &mut dice);
        // The call is dropped at a random point between its start and its end.
        let limit = Duration::from_micros(100 * round * round);
        let known = tokio::time::timeout(limit, db.append(&append)).await;
        let new = TestOwner::claim_now(&*db, 1, "a", &mut dice).await;
        let tail = read_all(&*db, 1).await;
        assert_eq!(check_chain(&tail), new.position);
        if let Ok(outcome) = known {
            assert_eq!(outcome.unwrap(), AppendOutcome::Committed);
            assert!(tail.iter().any(|row| row.hash == append.hash));
        }
        let late = db.append(&append).await.unwrap();
        assert_eq!(late, AppendOutcome::Fenced);
        assert_eq!(
            check_chain(&read_all(&*db, 1).await),
            new.position,
            "no segment was committed later"
        );
    }
}

/// P13: the released row keeps its owner until the next claim.
pub async fn a_release_names_its_target_and_the_next_claim_clears_it(s: &TestedStore) {
    let (db, mut dice) = (s.with_partition().await, Dice(13));
    let owner = TestOwner::claim_now(&*db, 1, "a", &mut dice).await;
    let b = NodeName("b".to_owned());
    let wrong = db.release(owner.partition, owner.epoch, ClaimId([9; 16]), Some(&b)).await.unwrap();
    assert!(!wrong);
    assert!(db.release(owner.partition, owner.epoch, owner.claim, Some(&b)).await.unwrap());
    let row = s.view().await.observe().await.unwrap().partitions[0].clone();
    assert_eq!(row.released_to, Some(b));
    assert_eq!(row.epoch, owner.epoch);
    assert_eq!(row.owner.unwrap().0, NodeName("a".to_owned()));
    let new = TestOwner::claim_now(&*db, 1, "b", &mut dice).await;
    let row = db.observe().await.unwrap().partitions[0].clone();
    assert_eq!((row.epoch, row.released_to), (new.epoch, None));
    assert!(!db.release(owner.partition, owner.epoch, owner.claim, None).await.unwrap());
    assert!(!db.release(PartitionId(9), owner.epoch, owner.claim, None).await.unwrap());
}

/// After a release without a target, any member may claim at once.
pub async fn a_release_without_a_target_leaves_no_owner(s: &TestedStore) {
    let (db, mut dice) = (s.with_partition().await, Dice(14));
    let owner = TestOwner::claim_now(&*db, 1, "a", &mut dice).await;
    assert!(db.release(owner.partition, owner.epoch, owner.claim, None).await.unwrap());
    let row = db.observe().await.unwrap().partitions[0].clone();
    assert_eq!((row.owner, row.released_to, row.epoch), (None, None, owner.epoch));
}

/// P18: a barrier does not confirm a state that is not the state of the log.
pub async fn a_barrier_succeeds_only_if_the_log_ends_where_the_owner_expects(s: &TestedStore) {
    let (db, mut dice) = (s.with_partition().await, Dice(16));
    let mut owner = TestOwner::claim_now(&*db, 1, "a", &mut dice).await;
    let before = owner.held();
    assert_eq!(owner.append(&*db, vec![1], &mut dice).await.unwrap(), AppendOutcome::Committed);
    assert!(db.barrier(&owner.held()).await.unwrap());
    assert!(!db.barrier(&before).await.unwrap(), "the log is ahead");
    let mut other = owner.held();
    other.position.last_hash = SegmentHash([7; 32]);
    assert!(!db.barrier(&other).await.unwrap(), "the log is of another history");
}

/// P17: a barrier fails for an owner that another claim has superseded, for another claim id, and
/// for a partition that does not exist.
pub async fn a_barrier_holds_only_for_the_owner(s: &TestedStore) {
    let (db, mut dice) = (s.with_partition().await, Dice(15));
    let old = TestOwner::claim_now(&*db, 1, "a", &mut dice).await;
    assert!(db.barrier(&old.held()).await.unwrap());
    let other = ClaimId([9; 16]);
    assert!(!db.barrier(&OwnerToken { claim: other, ..old.held() }).await.unwrap());
    let new = TestOwner::claim_now(&*s.view().await, 1, "b", &mut dice).await;
    assert!(!db.barrier(&old.held()).await.unwrap());
    assert!(db.barrier(&new.held()).await.unwrap());
    assert!(!db.barrier(&OwnerToken { partition: PartitionId(9), ..new.held() }).await.unwrap());
    assert_eq!(epoch_of(&*db, 1).await, new.epoch);
}

/// P1, P18: the epoch and the claim are each compared, also when the other one matches.
pub async fn p18_an_owners_writes_are_fenced_by_its_epoch_and_by_its_claim(s: &TestedStore) {
    let (db, mut dice) = (s.with_partition().await, Dice(17));
    let owner = TestOwner::claim_now(&*db, 1, "a", &mut dice).await;
    let (other_epoch, other_claim) = (Epoch::stored(owner.epoch.number() + 1), ClaimId([9; 16]));
    for (epoch, claim) in [(other_epoch, owner.claim), (owner.epoch, other_claim)] {
        let held = OwnerToken { epoch, claim, ..owner.held() };
        assert!(!db.barrier(&held).await.unwrap(), "a barrier under {held:?}");
        assert!(!db.release(owner.partition, epoch, claim, None).await.unwrap());
        let row = db.observe().await.unwrap().partitions[0].clone();
        assert_eq!(row.owner.unwrap().0, NodeName("a".to_owned()), "released under {held:?}");
    }
    assert!(db.barrier(&owner.held()).await.unwrap());
}
