//! Pins and drains of operators (P13), and forgetting nodes that were removed.

use std::sync::Arc;
use std::time::Duration;

use turnpike_store::{NodeRow, Pin, PinOutcome, SharedDatabase, StoreError};
use turnpike_types::{NodeName, PartitionId};

use crate::ownership::nodes::beat;
use crate::{Dice, TestOwner, TestedStore};

const P: PartitionId = PartitionId(1);
const MINUTE: Duration = Duration::from_secs(60);

fn name(node: &str) -> NodeName {
    NodeName(node.to_owned())
}

async fn pin_of_1(db: &dyn SharedDatabase) -> Option<Pin> {
    db.observe().await.unwrap().partitions[0].pin.clone()
}

async fn nodes(db: &dyn SharedDatabase) -> Vec<NodeRow> {
    db.observe().await.unwrap().nodes
}

/// A pin expires by the database's clock.
pub async fn a_pin_is_shown_until_it_expires(s: &TestedStore) {
    let db = s.with_partition().await;
    let b = name("b");
    assert_eq!(pin_of_1(&*db).await, None);
    let before = db.observe().await.unwrap().now;
    assert_eq!(db.pin(P, Some((&b, 10 * MINUTE))).await.unwrap(), PinOutcome::Pinned);
    let seen = s.view().await.observe().await.unwrap();
    let pin = seen.partitions[0].pin.clone().unwrap();
    assert_eq!(pin.member, b);
    let ten_minutes = 600_000_000;
    assert!(before.saturating_add(ten_minutes) <= pin.until, "the duration runs from the call on");
    assert!(
        pin.until <= seen.now.saturating_add(ten_minutes),
        "the pin lasts no longer than asked"
    );
    (s.advance_clock)(9 * MINUTE).await;
    assert_eq!(pin_of_1(&*db).await.map(|pin| pin.member), Some(b));
    (s.advance_clock)(2 * MINUTE).await;
    assert_eq!(pin_of_1(&*db).await, None);
}

/// The last pin is in force, whether it lasts longer or shorter than the one before.
pub async fn a_pin_is_replaced_and_taken_back(s: &TestedStore) {
    let db = s.with_partition().await;
    let (a, b) = (name("a"), name("b"));
    db.pin(P, Some((&b, Duration::MAX))).await.unwrap();
    assert_eq!(
        pin_of_1(&*db).await.map(|pin| pin.member),
        Some(b.clone()),
        "the longest duration is accepted"
    );
    assert_eq!(db.pin(P, Some((&a, MINUTE))).await.unwrap(), PinOutcome::Pinned);
    assert_eq!(pin_of_1(&*s.view().await).await.map(|pin| pin.member), Some(a));
    (s.advance_clock)(2 * MINUTE).await;
    assert_eq!(pin_of_1(&*db).await, None, "a replaced pin does not come back");
    db.pin(P, Some((&b, MINUTE))).await.unwrap();
    for _ in 0..2 {
        assert_eq!(db.pin(P, None).await.unwrap(), PinOutcome::Pinned);
        assert_eq!(pin_of_1(&*db).await, None);
    }
}

/// A refused pin leaves the previous one in force.
pub async fn a_pin_names_a_member_of_a_partition_that_is_there(s: &TestedStore) {
    let db = s.with_partition().await;
    let (b, c) = (name("b"), name("c"));
    db.pin(P, Some((&b, MINUTE))).await.unwrap();
    assert_eq!(db.pin(P, Some((&c, MINUTE))).await.unwrap(), PinOutcome::NotAMember);
    assert_eq!(pin_of_1(&*db).await.map(|pin| pin.member), Some(b.clone()));
    let nowhere = PartitionId(9);
    assert_eq!(db.pin(nowhere, Some((&b, MINUTE))).await.unwrap(), PinOutcome::NoSuchPartition);
    assert_eq!(db.pin(nowhere, None).await.unwrap(), PinOutcome::NoSuchPartition);
}

/// A pin belongs to the partition and not to its present owner. It is not in the row that appends
/// lock.
pub async fn a_pin_outlives_claims_and_waits_for_no_append(s: &TestedStore) {
    let (db, mut dice) = (s.with_partition().await, Dice(51));
    let b = name("b");
    let mut owner = TestOwner::claim_now(&*db, 1, "a", &mut dice).await;
    let appending = {
        let db = Arc::clone(&db);
        tokio::spawn(async move {
            for _ in 0..20 {
                owner.append(&*db, vec![0; 10_000], &mut dice).await.unwrap();
            }
        })
    };
    for _ in 0..10 {
        assert_eq!(db.pin(P, Some((&b, MINUTE))).await.unwrap(), PinOutcome::Pinned);
    }
    appending.await.unwrap();
    TestOwner::claim_now(&*db, 1, "a", &mut Dice(52)).await;
    assert_eq!(pin_of_1(&*db).await.map(|pin| pin.member), Some(b));
}

/// The operator's request and the state that the node reports are separate. A restart of the node
/// keeps the request.
pub async fn a_drain_request_is_kept_whatever_the_node_reports(s: &TestedStore) {
    let db = s.with_partition().await;
    let a = name("a");
    db.heartbeat(&beat("a", 1, 1)).await.unwrap();
    db.heartbeat(&beat("b", 1, 1)).await.unwrap();
    let asked = async || nodes(&*db).await.iter().map(|row| row.drain_asked).collect::<Vec<_>>();
    assert_eq!(asked().await, [false, false]);
    for _ in 0..2 {
        assert!(s.view().await.set_drained(&a, true).await.unwrap());
        assert_eq!(asked().await, [true, false]);
    }
    assert!(!nodes(&*db).await[0].beat.draining);
    let mut next = beat("a", 2, 1);
    next.draining = true;
    db.heartbeat(&next).await.unwrap();
    assert_eq!(asked().await, [true, false]);
    for _ in 0..2 {
        assert!(db.set_drained(&a, false).await.unwrap());
        assert_eq!(asked().await, [false, false]);
    }
    assert!(nodes(&*db).await[0].beat.draining);
}

/// The name may be a mistake. No request is kept for a node that appears later under this name.
pub async fn a_node_that_never_beat_is_not_drained(s: &TestedStore) {
    let db = s.with_partition().await;
    assert!(!db.set_drained(&name("a"), true).await.unwrap());
    assert!(!db.set_drained(&name("a"), false).await.unwrap());
    db.heartbeat(&beat("a", 1, 1)).await.unwrap();
    assert!(!nodes(&*db).await[0].drain_asked);
}

/// A node may be forgotten after a minute without a heartbeat, by the database's clock.
pub async fn an_ended_node_is_forgotten_and_a_live_one_is_not(s: &TestedStore) {
    let db = s.with_partition().await;
    let a = name("a");
    assert!(!db.forget_node(&a).await.unwrap(), "there is no such node");
    db.heartbeat(&beat("a", 1, 1)).await.unwrap();
    db.heartbeat(&beat("b", 1, 1)).await.unwrap();
    db.set_drained(&a, true).await.unwrap();
    (s.advance_clock)(MINUTE * 5 / 6).await;
    assert!(!db.forget_node(&a).await.unwrap(), "its last heartbeat is younger than a minute");
    db.heartbeat(&beat("b", 1, 2)).await.unwrap();
    (s.advance_clock)(MINUTE / 2).await;
    assert!(!db.forget_node(&name("b")).await.unwrap(), "it has written a heartbeat since");
    assert_eq!(nodes(&*db).await.len(), 2);
    assert!(s.view().await.forget_node(&a).await.unwrap());
    let left: Vec<NodeName> = nodes(&*db).await.into_iter().map(|row| row.beat.node).collect();
    assert_eq!(left, [name("b")]);
    assert!(!db.forget_node(&a).await.unwrap(), "it is forgotten already");
}

/// The node was only disconnected, or another process starts under its name. The operator's request
/// to drain it was forgotten with the node.
pub async fn a_forgotten_node_that_is_live_returns(s: &TestedStore) {
    let db = s.with_partition().await;
    let a = name("a");
    for (incarnation, counter) in [(1, 1), (1, 2), (2, 1)] {
        let sent = beat("a", incarnation, counter);
        db.heartbeat(&sent).await.unwrap();
        let seen = nodes(&*db).await;
        assert_eq!(seen.len(), 1);
        assert_eq!((&seen[0].beat, seen[0].drain_asked), (&sent, false));
        db.set_drained(&a, true).await.unwrap();
        (s.advance_clock)(2 * MINUTE).await;
        assert!(db.forget_node(&a).await.unwrap());
        assert!(nodes(&*db).await.is_empty());
    }
}

/// P11: forgetting a node keeps its incarnations.
pub async fn a_superseded_incarnation_of_a_forgotten_node_stays_superseded(s: &TestedStore) {
    let db = s.with_partition().await;
    db.heartbeat(&beat("a", 50, 7)).await.unwrap();
    db.heartbeat(&beat("a", 20, 1)).await.unwrap();
    (s.advance_clock)(2 * MINUTE).await;
    assert!(db.forget_node(&name("a")).await.unwrap());
    for counter in 8..10 {
        let refused = db.heartbeat(&beat("a", 50, counter)).await;
        assert!(matches!(refused, Err(StoreError::Superseded(_))), "{refused:?}");
    }
    assert!(nodes(&*db).await.is_empty(), "a refused heartbeat does not restore the node");
}
