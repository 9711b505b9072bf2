//! Many claims at once (P20), and flaps (P14).

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use turnpike_store::{
    AppendOutcome, CLAIMS_MAX, Claim, ClaimOutcome, Claimed, PartitionRow, PartitionSpec,
    SharedDatabase, StoreError,
};
use turnpike_types::{ClaimId, Epoch, NodeName, PartitionId, SegmentNumber};

use crate::{Dice, TestOwner, TestedStore, check_chain, claim, read_all, spec};

const TEN_MINUTES: Duration = Duration::from_secs(600);

fn specs(count: u32) -> Vec<PartitionSpec> {
    let first = |id: u32| u64::from(id) * 10 + 1;
    (0..count).map(|id| spec(id, first(id), first(id) + 9)).collect()
}

fn won(outcome: &ClaimOutcome) -> Option<Claimed> {
    match outcome {
        ClaimOutcome::Won(claimed) => Some(*claimed),
        ClaimOutcome::Lost | ClaimOutcome::Busy => None,
    }
}

async fn rows(db: &dyn SharedDatabase) -> Vec<PartitionRow> {
    db.observe().await.unwrap().partitions
}

/// A node takes over a thousand partitions; some of them had an owner and hold segments.
pub async fn a_thousand_partitions_are_claimed_in_one_call(s: &TestedStore) {
    let (db, mut dice) = (s.view().await, Dice(41));
    db.create_partitions(&specs(1000)).await.unwrap();
    for id in [0, 7, 999] {
        let mut owner = TestOwner::claim_now(&*db, id, "a", &mut dice).await;
        owner.append(&*db, "x", &mut dice).await.unwrap();
    }
    let before = rows(&*db).await;
    let claims: Vec<Claim> = (before.iter())
        .map(|row| claim(row.spec.id.0, row.epoch, "n\u{f6}de \"b\", '2'", &mut dice))
        .collect();
    let outcomes = db.claim_many(&claims).await.unwrap();
    let after = rows(&*s.view().await).await;
    assert_eq!((outcomes.len(), after.len()), (1000, 1000));
    for ((outcome, claim), (before, after)) in
        outcomes.iter().zip(&claims).zip(before.iter().zip(&after))
    {
        let won = won(outcome).expect("there is no other claimant");
        assert_eq!(Some(won.epoch), before.epoch.next());
        assert_eq!(won.position, before.next);
        assert_eq!((after.epoch, after.next), (won.epoch, won.position));
        assert_eq!(after.claim, claim.claim);
        assert_eq!(after.owner, Some((claim.node.clone(), claim.incarnation)));
    }
    assert_eq!(won(&outcomes[7]).unwrap().position.next, SegmentNumber(2));
    let mut owner = TestOwner::claim_now(&*db, 7, "b", &mut dice).await;
    assert_eq!(owner.append(&*db, "y", &mut dice).await.unwrap(), AppendOutcome::Committed);
}

/// Outcomes are in the order of the claims, whatever the order of ids. Claims of stale epochs lose
/// and change nothing.
pub async fn outcomes_are_in_the_order_of_their_claims(s: &TestedStore) {
    let (db, mut dice) = (s.view().await, Dice(42));
    db.create_partitions(&specs(5)).await.unwrap();
    let held = TestOwner::claim_now(&*db, 3, "a", &mut dice).await;
    db.release(held.partition, held.epoch, held.claim, Some(&NodeName("b".to_owned())))
        .await
        .unwrap();
    let stale = TestOwner::claim_now(&*db, 1, "a", &mut dice).await;
    let mut asked = |id, seen| claim(id, Epoch::stored(seen), "b", &mut dice);
    let claims = [asked(4, 0), asked(1, 0), asked(3, 1), asked(0, 0), asked(2, 9)];
    let outcomes = db.claim_many(&claims).await.unwrap();
    let epochs: Vec<_> =
        outcomes.iter().map(|one| won(one).map(|won| won.epoch.number())).collect();
    assert_eq!(epochs, [Some(1), None, Some(2), Some(1), None]);
    assert_eq!((outcomes[1], outcomes[4]), (ClaimOutcome::Lost, ClaimOutcome::Lost));
    let after = rows(&*db).await;
    assert_eq!((after[1].epoch, after[1].claim), (stale.epoch, stale.claim));
    assert_eq!((after[2].epoch, &after[2].owner), (Epoch::UNOWNED, &None));
    assert_eq!((&after[3].released_to, after[3].claim), (&None, claims[2].claim));
    assert!(db.claim_many(&[]).await.unwrap().is_empty());
}

/// The cases: too many claims, a partition named twice, a partition that does not exist.
pub async fn claims_that_cannot_be_made_together_are_refused_and_nothing_is_claimed(
    s: &TestedStore,
) {
    let (db, mut dice) = (s.view().await, Dice(43));
    db.create_partitions(&specs(3)).await.unwrap();
    let mut asked = |ids: &[u32]| -> Vec<Claim> {
        ids.iter().map(|&id| claim(id, Epoch::UNOWNED, "a", &mut dice)).collect()
    };
    let many: Vec<u32> = (0..=u32::try_from(CLAIMS_MAX).unwrap()).collect();
    let cases = [(&many[..], "4097"), (&[0, 1, 0], "twice"), (&[0, 9, 1], "partition 9")];
    for (ids, word) in cases {
        match db.claim_many(&asked(ids)).await {
            Err(StoreError::Refused(why)) => assert!(why.contains(word), "{why}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(rows(&*db).await.iter().all(|row| row.epoch == Epoch::UNOWNED));
    assert!(db.claim_many(&asked(&[2, 1, 0])).await.unwrap().iter().all(|one| won(one).is_some()));
}

/// Claims fifty partitions, in an order that depends on `n`; the claims that won.
async fn claim_everything(db: &dyn SharedDatabase, n: u32) -> Vec<(PartitionId, ClaimId)> {
    let mut dice = Dice(440 + u64::from(n));
    let ids = (0..50).map(|id| (id * 7 + n * 13) % 50);
    let claims: Vec<Claim> =
        ids.map(|id| claim(id, Epoch::UNOWNED, &format!("n{n}"), &mut dice)).collect();
    let mut mine = Vec::new();
    for (claim, outcome) in claims.iter().zip(db.claim_many(&claims).await.unwrap()) {
        let is_won = match outcome {
            ClaimOutcome::Won(_) => true,
            ClaimOutcome::Lost => false,
            ClaimOutcome::Busy => db.claim(claim).await.unwrap().is_some(),
        };
        mine.extend(is_won.then_some((claim.partition, claim.claim)));
    }
    mine
}

/// Eight nodes claim the same partitions, each in another order. After `Busy` a node claims that
/// partition alone.
pub async fn of_claimants_of_everything_each_partition_has_one_winner(s: &TestedStore) {
    let db = s.view().await;
    db.create_partitions(&specs(50)).await.unwrap();
    let mut claimants = Vec::new();
    for n in 0..8u32 {
        let view = s.view().await;
        claimants.push(tokio::spawn(async move { claim_everything(&*view, n).await }));
    }
    let mut winners = HashSet::new();
    for claimant in claimants {
        winners.extend(claimant.await.unwrap());
    }
    let shown: HashSet<_> = (rows(&*db).await.into_iter())
        .inspect(|row| assert_eq!(row.epoch, Epoch::stored(1)))
        .map(|row| (row.spec.id, row.claim))
        .collect();
    assert_eq!(winners, shown);
}

/// The append is part of the claimed position, or not in the log (P1). The claims of the other
/// partitions win at once or, in a database with a single write lock, after the append.
pub async fn an_append_in_flight_makes_its_partition_busy_or_is_waited_for(s: &TestedStore) {
    let (db, mut dice) = (s.view().await, Dice(45));
    db.create_partitions(&specs(3)).await.unwrap();
    let old = TestOwner::claim_now(&*db, 1, "a", &mut dice).await;
    let let_go = (s.hold_appends)().await;
    let append = old.next_append(Bytes::from_static(b"in flight"), &mut dice);
    let appending = {
        let (db, append) = (Arc::clone(&db), append.clone());
        tokio::spawn(async move { db.append(&append).await })
    };
    tokio::time::sleep(Duration::from_millis(100)).await;
    let claims = [0, 1, 2].map(|id| claim(id, Epoch::stored(u64::from(id == 1)), "b", &mut dice));
    let claiming = {
        let (other, claims) = (s.view().await, claims.clone());
        tokio::spawn(async move { other.claim_many(&claims).await.unwrap() })
    };
    tokio::time::sleep(Duration::from_millis(100)).await;
    let_go().await;
    let outcomes = claiming.await.unwrap();
    assert!(won(&outcomes[0]).is_some() && won(&outcomes[2]).is_some(), "{outcomes:?}");
    let new = match outcomes[1] {
        ClaimOutcome::Won(won) => won,
        ClaimOutcome::Busy => db.claim(&claims[1]).await.unwrap().unwrap(),
        ClaimOutcome::Lost => panic!("there is no other claimant"),
    };
    let is_there = read_all(&*db, 1).await.iter().any(|row| row.hash == append.hash);
    match appending.await.unwrap() {
        Ok(AppendOutcome::Committed) => assert!(is_there, "acknowledged, but not in the log"),
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

/// Claims partition 1 alone and in a call of many, alternately; both must count flaps alike.
async fn claim_again(db: &dyn SharedDatabase, forced: bool, dice: &mut Dice) -> u32 {
    let seen = rows(db).await[0].epoch;
    let claim = Claim { forced, ..claim(1, seen, "b", dice) };
    if seen.number() % 2 == 0 {
        db.claim(&claim).await.unwrap().unwrap();
    } else {
        won(&db.claim_many(&[claim]).await.unwrap()[0]).unwrap();
    }
    rows(db).await[0].flaps
}

/// A claim from a silent owner is forced; a claim after a release is not.
pub async fn a_forced_claim_counts_as_a_flap_and_another_does_not(s: &TestedStore) {
    let (db, mut dice) = (s.with_partition().await, Dice(46));
    let mut counts = Vec::new();
    for forced in [false, true, false, true, true, false, true, true] {
        counts.push(claim_again(&*db, forced, &mut dice).await);
    }
    assert_eq!(counts, [0, 1, 1, 2, 3, 3, 4, 5]);
    let seen = rows(&*db).await[0].epoch;
    let late = Claim { forced: true, ..claim(1, Epoch::UNOWNED, "c", &mut dice) };
    assert_eq!(db.claim(&late).await.unwrap(), None);
    assert_eq!(db.claim_many(&[late]).await.unwrap(), [ClaimOutcome::Lost]);
    let row = rows(&*s.view().await).await.remove(0);
    assert_eq!((row.epoch, row.flaps), (seen, 5), "a losing claim does not count");
}

/// The partition has no owner: it never had one, or the owner released it without a target.
pub async fn a_first_claim_is_no_flap_however_forced(s: &TestedStore) {
    let (db, mut dice) = (s.with_partition().await, Dice(47));
    assert_eq!(claim_again(&*db, true, &mut dice).await, 0);
    for _ in 0..2 {
        let row = rows(&*db).await.remove(0);
        assert!(db.release(row.spec.id, row.epoch, row.claim, None).await.unwrap());
        assert_eq!(claim_again(&*db, true, &mut dice).await, 0);
    }
}

/// The count of flaps halves by the database's clock, both in observations and as the number to
/// which the next flap adds one.
pub async fn flaps_halve_every_ten_minutes(s: &TestedStore) {
    let (db, mut dice) = (s.with_partition().await, Dice(48));
    for flaps in 0..=9 {
        assert_eq!(claim_again(&*db, true, &mut dice).await, flaps);
    }
    let shown = async || rows(&*db).await[0].flaps;
    (s.advance_clock)(TEN_MINUTES).await;
    assert_eq!(shown().await, 4);
    assert_eq!(
        claim_again(&*db, false, &mut dice).await,
        4,
        "an unforced claim does not change the decay"
    );
    (s.advance_clock)(TEN_MINUTES).await;
    assert_eq!(shown().await, 2);
    assert_eq!(claim_again(&*db, true, &mut dice).await, 3);
    (s.advance_clock)(TEN_MINUTES / 2).await;
    assert_eq!(
        claim_again(&*db, true, &mut dice).await,
        4,
        "nothing decays before ten minutes are over"
    );
    (s.advance_clock)(TEN_MINUTES * 2).await;
    assert_eq!(
        claim_again(&*db, true, &mut dice).await,
        2,
        "a claim alone and one of many count alike"
    );
    (s.advance_clock)(TEN_MINUTES).await;
    assert_eq!(claim_again(&*db, true, &mut dice).await, 2);
    (s.advance_clock)(TEN_MINUTES * 1000).await;
    assert_eq!(shown().await, 0);
    assert_eq!(claim_again(&*db, true, &mut dice).await, 1, "the count decays to zero in years");
}
