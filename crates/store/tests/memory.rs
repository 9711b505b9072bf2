//! The memory implementation passes the suite.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use turnpike_store::conformance::{Dice, LetGo, Owner, Subject, claim, spec};
use turnpike_store::memory::{MemoryDatabase, system_clock};
use turnpike_store::{AppendOutcome, ClaimOutcome, SharedDatabase, StoreIncarnation};
use turnpike_types::Epoch;

async fn subject() -> Subject {
    let passed_us = Arc::new(AtomicI64::new(0));
    let (now, passing_us) = (system_clock(), Arc::clone(&passed_us));
    let clock = Arc::new(move || now().saturating_add(passed_us.load(Ordering::SeqCst)));
    let database = MemoryDatabase::with_clock(clock, StoreIncarnation(1));
    let same = database.clone();
    Subject {
        open: Arc::new(move || {
            let view: Arc<dyn SharedDatabase> = Arc::new(same.clone());
            Box::pin(std::future::ready(view))
        }),
        hold_appends: Arc::new(move || {
            let database = database.clone();
            Box::pin(async move {
                let paused = database.pause_appends().await;
                Box::new(|| -> futures::future::BoxFuture<'static, ()> {
                    Box::pin(async move { drop(paused) })
                }) as LetGo
            })
        }),
        let_pass: Arc::new(move |time| {
            passing_us.fetch_add(i64::try_from(time.as_micros()).unwrap(), Ordering::SeqCst);
            Box::pin(std::future::ready(()))
        }),
    }
}

turnpike_store::conformance!(subject);

/// P20.
#[tokio::test]
async fn of_many_claims_the_one_whose_row_is_held_is_busy_and_the_others_are_won() {
    let db = MemoryDatabase::new();
    db.create_partitions(&[spec(1, 1, 10), spec(2, 11, 20)]).await.unwrap();
    let mut dice = Dice(1);
    let owner = Owner::claim_now(&db, 1, "a", &mut dice).await;
    let paused = db.pause_appends().await;
    let append = owner.next_append(vec![1].into(), &mut dice);
    let appending = {
        let db = db.clone();
        tokio::spawn(async move { db.append(&append).await })
    };
    while db.appends_in_flight() == 0 {
        tokio::task::yield_now().await;
    }
    let claims = [(2, Epoch::UNOWNED), (1, owner.epoch)];
    let claims = claims.map(|(id, seen)| claim(id, seen, "b", &mut dice));
    let outcomes = db.claim_many(&claims).await.unwrap();
    assert!(matches!(outcomes[..], [ClaimOutcome::Won(_), ClaimOutcome::Busy]), "{outcomes:?}");
    drop(paused);
    assert_eq!(appending.await.unwrap().unwrap(), AppendOutcome::Committed);
    let won = db.claim_many(&claims[1..]).await.unwrap();
    assert!(matches!(won[..], [ClaimOutcome::Won(_)]), "{won:?}");
}
