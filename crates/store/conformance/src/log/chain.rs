//! I3: the log is an unbroken chain under every interleaving.

use std::collections::HashMap;
use std::sync::Arc;

use crate::owner::epoch_of;
use crate::{Dice, TestOwner, TestedStore, check_chain, read_all};
use turnpike_store::AppendOutcome;

/// Three owners claim and append at random, each with the epoch and the position that it knew last.
pub async fn random_claims_and_appends_leave_a_whole_chain(s: &TestedStore) {
    let views = [s.with_partition().await, s.view().await, s.view().await];
    let (mut committed, mut fenced) = (0, 0);
    for seed in 0..4u64 {
        let mut dice = Dice(seed);
        let mut owners: HashMap<usize, TestOwner> = HashMap::new();
        for _ in 0..60 {
            let who = usize::try_from(dice.below(3)).unwrap();
            let db = &*views[who];
            let roll = dice.below(10);
            let Some(owner) = owners.get_mut(&who).filter(|_| roll >= 2) else {
                // A claim with an epoch that may be stale.
                let seen = epoch_of(&*views[0], 1).await;
                let name = format!("n{who}");
                if let Some(won) =
                    TestOwner::try_claim(db, 1, seen, &name, &mut dice).await.unwrap()
                {
                    owners.insert(who, won);
                }
                continue;
            };
            let current = epoch_of(db, 1).await == owner.epoch;
            let outcome = owner.append(db, vec![0; 10], &mut dice).await.unwrap();
            let expected = if current { AppendOutcome::Committed } else { AppendOutcome::Fenced };
            assert_eq!(outcome, expected, "seed {seed}");
            committed += usize::from(current);
            fenced += usize::from(!current);
        }
        let rows = read_all(&*views[0], 1).await;
        check_chain(&rows);
        assert_eq!(rows.len(), committed);
    }
    assert!(committed > 20 && fenced > 20, "{committed} committed, {fenced} fenced");
}

/// Three concurrent owners; a fenced owner claims again. The log holds each committed segment once,
/// with the epoch of its append, and no other segment.
pub async fn racing_owners_leave_a_whole_chain(s: &TestedStore) {
    let db = s.with_partition().await;
    let mut owners = Vec::new();
    for n in 0..3u64 {
        let view = s.view().await;
        owners.push(tokio::spawn(async move {
            let mut dice = Dice(500 + n);
            let name = format!("n{n}");
            let mut owner = TestOwner::claim_now(&*view, 1, &name, &mut dice).await;
            let mut committed = Vec::new();
            for _ in 0..30 {
                let append = owner.next_append(vec![0; 1000].into(), &mut dice);
                match view.append(&append).await.unwrap() {
                    AppendOutcome::Committed => {
                        committed.push((append.segment, append.epoch, append.hash));
                        owner.position.next = append.segment.next();
                        owner.position.last_hash = append.hash;
                    }
                    AppendOutcome::Fenced => {
                        owner = TestOwner::claim_now(&*view, 1, &name, &mut dice).await;
                    }
                    other => panic!("{other:?}"),
                }
            }
            committed
        }));
    }
    let mut committed = Vec::new();
    for owner in owners {
        committed.extend(owner.await.unwrap());
    }
    committed.sort_by_key(|(segment, ..)| *segment);
    let rows = read_all(&*Arc::clone(&db), 1).await;
    check_chain(&rows);
    let logged: Vec<_> = rows.iter().map(|row| (row.segment, row.epoch, row.hash)).collect();
    assert_eq!(logged, committed);
    assert!(!committed.is_empty());
}
