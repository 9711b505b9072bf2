//! The conformance suite and further tests for the memory implementation.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use turnpike_mutants::{Check, all_caught};
use turnpike_store::memory::{MemoryDatabase, system_clock};
use turnpike_store::{
    AppendOutcome, Binding, ClaimOutcome, IdentityStore as _, LogStore as _, OwnershipStore as _,
    Rebinding, SharedDatabase, StoreIncarnation, TopologyStore as _,
};
use turnpike_store_conformance::{
    Dice, ResumeAppends, TestOwner, TestedStore, claim, read_all, spec,
};
use turnpike_types::{AccountNumber, Epoch, Timestamp};

async fn subject() -> TestedStore {
    let passed_us = Arc::new(AtomicI64::new(0));
    let (now, passing_us) = (system_clock(), Arc::clone(&passed_us));
    let clock = Arc::new(move || now().saturating_add(passed_us.load(Ordering::SeqCst)));
    let database = MemoryDatabase::with_clock(clock, StoreIncarnation(1));
    let same = database.clone();
    TestedStore {
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
                }) as ResumeAppends
            })
        }),
        advance_clock: Arc::new(move |time| {
            passing_us.fetch_add(i64::try_from(time.as_micros()).unwrap(), Ordering::SeqCst);
            Box::pin(std::future::ready(()))
        }),
    }
}

turnpike_store_conformance::conformance!(subject);

/// P28: a look-up found account 1, and the record was rated for it. Then the clock is set back by
/// 20 minutes, and the identity is moved. For a retry, account 1 is still the first holder.
#[tokio::test]
async fn p28_a_change_after_the_clock_was_set_back_is_recorded_behind_earlier_look_ups() {
    let minute = 60_000_000;
    let now = Arc::new(AtomicI64::new(800 * minute));
    let clock = Arc::clone(&now);
    let clock = Arc::new(move || Timestamp(clock.load(Ordering::SeqCst)));
    let db = MemoryDatabase::with_clock(clock, StoreIncarnation(1));
    let held = |account, from| Binding {
        identity: "user:x".to_owned(),
        account: AccountNumber(account),
        from: Timestamp(from),
        until: Timestamp::MAX,
    };
    db.bind_identities(&[held(1, 0)]).await.unwrap();
    now.store(1_000 * minute, Ordering::SeqCst);
    db.advance_guided_through().await.unwrap();
    assert_eq!(db.bindings_mark().await.unwrap().guided_through, Timestamp(1_000 * minute));
    now.store(980 * minute, Ordering::SeqCst);
    db.advance_guided_through().await.unwrap();
    assert_eq!(
        db.bindings_mark().await.unwrap().guided_through,
        Timestamp(1_000 * minute),
        "it never goes back"
    );
    let binding = held(2, 970 * minute);
    let r#move = Rebinding::Move { binding, final_before: Timestamp(0) };
    db.rebind_identities(&[r#move]).await.unwrap();
    // The record starts two minutes after the time that the clock showed before it was set back.
    let found = db.guide(&["user:x".to_owned()]).await.unwrap().remove(0).first_holders;
    let start = Timestamp(1_002 * minute);
    let first = found.iter().find(|one| one.from <= start && start < one.until);
    assert_eq!(first.map(|one| one.account.0), Some(1), "the first holder is forgotten");
}

/// P20: a call of many claims skips a partition whose row an append holds.
#[tokio::test]
async fn of_many_claims_the_one_whose_row_is_held_is_busy_and_the_others_are_won() {
    let db = MemoryDatabase::new();
    db.create_partitions(&[spec(1, 1, 10), spec(2, 11, 20)]).await.unwrap();
    let mut dice = Dice(1);
    let owner = TestOwner::claim_now(&db, 1, "a", &mut dice).await;
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

/// P6: no reader sees an append in flight.
#[tokio::test]
async fn an_append_is_shown_when_it_is_committed() {
    let db = MemoryDatabase::new();
    db.create_partitions(&[spec(1, 1, 10)]).await.unwrap();
    let mut dice = Dice(1);
    let owner = TestOwner::claim_now(&db, 1, "a", &mut dice).await;
    let paused = db.pause_appends().await;
    let append = owner.next_append(vec![1].into(), &mut dice);
    let appending = {
        let db = db.clone();
        tokio::spawn(async move { db.append(&append).await })
    };
    while db.appends_in_flight() == 0 {
        tokio::task::yield_now().await;
    }
    assert!(read_all(&db, 1).await.is_empty(), "shown before it is committed");
    drop(paused);
    assert_eq!(appending.await.unwrap().unwrap(), AppendOutcome::Committed);
    assert_eq!(read_all(&db, 1).await.len(), 1);
}

/// Each check below is covered by a test of every database. Here the check is switched off, and the
/// test must fail.
#[test]
fn mutants_are_caught() {
    all_caught(&[
        (Check::FenceOwner, "an_append_of_a_stale_epoch_is_fenced", "Fenced"),
        (
            Check::FenceEpoch,
            "an_append_of_another_epoch_is_fenced_even_under_the_right_claim",
            "Fenced",
        ),
        (
            Check::FenceClaim,
            "an_append_of_a_stale_claim_is_fenced_even_under_the_right_epoch",
            "Fenced",
        ),
        (
            Check::FenceHash,
            "an_append_on_another_hash_says_that_history_was_rolled_back",
            "RolledBack",
        ),
        (Check::ClaimSeen, "of_many_claims_with_the_same_epoch_one_wins", "left: 16"),
        (
            Check::BusyRow,
            "of_many_claims_the_one_whose_row_is_held_is_busy_and_the_others_are_won",
            "Won",
        ),
        (Check::BarrierOwner, "a_barrier_holds_only_for_the_owner", "db.barrier"),
        (
            Check::BarrierPosition,
            "a_barrier_succeeds_only_if_the_log_ends_where_the_owner_expects",
            "the log is ahead",
        ),
        (Check::CheckpointFence, "a_checkpoint_is_fenced", "publish_checkpoint"),
        (Check::CheckpointForward, "a_checkpoint_only_moves_forward", "publish(2)"),
        (Check::CheckpointParts, "a_manifest_with_missing_parts_is_refused", "Ok(true)"),
        (Check::Superseded, "a_superseded_incarnation_is_refused_for_ever", "Ok(HeartbeatReply"),
        (Check::Flaps, "a_forced_claim_counts_as_a_flap_and_another_does_not", "left: [0, 0"),
        (Check::BindingsDisjoint, "identities_are_bound_for_intervals_that_never_overlap", "Bound"),
        (
            Check::CursorCompared,
            "a_consumer_begins_everywhere_and_moves_by_compare_and_set",
            "Moved",
        ),
        (
            Check::RecordedAtMark,
            "p28_a_change_after_the_clock_was_set_back_is_recorded_behind_earlier_look_ups",
            "the first holder is forgotten",
        ),
    ]);
}
