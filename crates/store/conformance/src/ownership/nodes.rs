//! Heartbeats and observations (P9, P11).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use turnpike_store::{AppendOutcome, Following, NodeBeat, Serving, StoreError};
use turnpike_types::{Epoch, Incarnation, NodeName, PartitionId, SegmentNumber};

use crate::{Dice, TestOwner, TestedStore};

pub(crate) fn beat(node: &str, incarnation: u64, counter: u64) -> NodeBeat {
    NodeBeat {
        node: NodeName(node.to_owned()),
        incarnation: Incarnation(incarnation),
        counter,
        address: format!("{node}.example:7000"),
        draining: false,
        serving: Vec::new(),
        following: Vec::new(),
    }
}

/// Every field of a heartbeat is kept, numbers above 63 bits included.
pub async fn a_heartbeat_is_in_every_view(s: &TestedStore) {
    let db = s.with_partition().await;
    let mut dice = Dice(21);
    let serving = Serving {
        partition: PartitionId(u32::MAX),
        epoch: Epoch::stored(u64::MAX - 1),
        claim: dice.claim(),
    };
    let mut sent = beat("a", u64::MAX, 1);
    sent.draining = true;
    sent.serving = vec![serving];
    let reply = db.heartbeat(&sent).await.unwrap();
    let seen = s.view().await.observe().await.unwrap();
    assert_eq!(seen.nodes.len(), 1);
    let row = &seen.nodes[0];
    assert_eq!(row.beat.node, sent.node);
    assert_eq!(row.beat.incarnation, sent.incarnation);
    assert_eq!(row.beat.address, sent.address);
    assert!(row.beat.draining);
    assert_eq!(row.beat.serving, sent.serving);
    assert!(row.beat_at <= seen.now && reply.now <= seen.now, "one clock");
    sent.counter = 2;
    sent.draining = false;
    db.heartbeat(&sent).await.unwrap();
    let seen = db.observe().await.unwrap();
    assert_eq!((seen.nodes[0].beat.counter, seen.nodes[0].beat.draining), (2, false));
}

/// The node serves a thousand partitions.
pub async fn a_long_serving_list_is_read_back(s: &TestedStore) {
    let (db, mut dice) = (s.with_partition().await, Dice(22));
    let mut sent = beat("a", 1, 1);
    sent.serving = (0..1000)
        .map(|id| Serving {
            partition: PartitionId(id),
            epoch: Epoch::stored(u64::from(id) + 1),
            claim: dice.claim(),
        })
        .collect();
    db.heartbeat(&sent).await.unwrap();
    assert_eq!(db.observe().await.unwrap().nodes[0].beat.serving, sent.serving);
}

/// P14: a heartbeat reports the positions of a thousand warm replicas. A replica of another history
/// has another hash at the same segment. The list may be written in any order and is read sorted by
/// partition.
pub async fn the_replica_positions_of_the_last_heartbeat_are_shown(s: &TestedStore) {
    let (db, mut dice) = (s.with_partition().await, Dice(24));
    let mut sent = beat("a", 1, 1);
    sent.following = (0..1000)
        .map(|id| Following {
            partition: PartitionId(u32::MAX - id),
            segment: SegmentNumber(u64::MAX - u64::from(id)),
            hash: dice.hash(),
        })
        .collect();
    db.heartbeat(&sent).await.unwrap();
    assert_eq!(s.view().await.observe().await.unwrap().nodes[0].beat, sent.clone().sorted());
    sent.counter = 2;
    let view = s.view().await.observe().await.unwrap();
    for copy in &sent.following {
        assert_eq!(view.nodes[0].beat.replica_of(copy.partition), Some(copy));
    }
    assert_eq!(view.nodes[0].beat.replica_of(PartitionId(7)), None);
    sent.following.truncate(3);
    sent.following[0].hash = dice.hash();
    db.heartbeat(&sent).await.unwrap();
    assert_eq!(db.observe().await.unwrap().nodes[0].beat, sent.clone().sorted());
    sent.counter = 3;
    sent.following.clear();
    db.heartbeat(&sent).await.unwrap();
    assert_eq!(db.observe().await.unwrap().nodes[0].beat, sent.clone().sorted());
}

/// A process was frozen while another one started under its name.
pub async fn a_superseded_incarnation_is_refused_for_ever(s: &TestedStore) {
    let db = s.with_partition().await;
    let other = s.view().await;
    db.heartbeat(&beat("a", 50, 7)).await.unwrap();
    other.heartbeat(&beat("a", 20, 1)).await.unwrap();
    for counter in 8..10 {
        let refused = db.heartbeat(&beat("a", 50, counter)).await;
        assert!(matches!(refused, Err(StoreError::Superseded(_))), "{refused:?}");
        other.heartbeat(&beat("a", 20, counter)).await.unwrap();
    }
    db.heartbeat(&beat("b", 50, 1)).await.unwrap();
    let seen = db.observe().await.unwrap();
    let shown: Vec<(&str, u64)> =
        seen.nodes.iter().map(|row| (row.beat.node.0.as_str(), row.beat.incarnation.0)).collect();
    assert_eq!(shown, [("a", 20), ("b", 50)]);
}

/// A heartbeat that arrives after a later one changes nothing.
pub async fn an_overtaken_beat_changes_nothing(s: &TestedStore) {
    let db = s.with_partition().await;
    db.heartbeat(&beat("a", 1, 9)).await.unwrap();
    let mut late = beat("a", 1, 8);
    late.address = "elsewhere:1".to_owned();
    db.heartbeat(&late).await.unwrap();
    let seen = db.observe().await.unwrap();
    assert_eq!(seen.nodes[0].beat.counter, 9);
    assert_eq!(seen.nodes[0].beat.address, "a.example:7000");
}

/// P11: a heartbeat that arrives after the last one of a shut-down does not restore the process.
pub async fn a_goodbye_is_the_last_beat_of_its_process_and_the_next_process_is_taken(
    s: &TestedStore,
) {
    let db = s.with_partition().await;
    db.heartbeat(&beat("a", 1, 9)).await.unwrap();
    db.heartbeat(&beat("a", 1, NodeBeat::GOODBYE)).await.unwrap();
    db.heartbeat(&beat("a", 1, 10)).await.unwrap();
    let seen = s.view().await.observe().await.unwrap();
    assert!(seen.nodes[0].beat.is_goodbye(), "{:?}", seen.nodes[0]);
    db.heartbeat(&beat("a", 2, 1)).await.unwrap();
    let seen = s.view().await.observe().await.unwrap();
    assert_eq!((seen.nodes[0].beat.incarnation.0, seen.nodes[0].beat.counter), (2, 1));
    assert!(!seen.nodes[0].beat.is_goodbye());
}

/// Eight processes write heartbeats at the same time.
pub async fn beats_of_many_nodes_do_not_disturb_each_other(s: &TestedStore) {
    let db = s.with_partition().await;
    let mut nodes = Vec::new();
    for n in 0..8u64 {
        let view = s.view().await;
        nodes.push(tokio::spawn(async move {
            for counter in 1..=10 {
                view.heartbeat(&beat(&format!("n{n}"), n, counter)).await.unwrap();
            }
        }));
    }
    for node in nodes {
        node.await.unwrap();
    }
    let seen = db.observe().await.unwrap();
    assert_eq!(seen.nodes.len(), 8);
    assert!(seen.nodes.iter().all(|row| row.beat.counter == 10));
}

/// Appends, in the same process or in another one, do not keep heartbeats from being written.
pub async fn beats_get_through_while_another_view_appends_without_pause(s: &TestedStore) {
    let db = s.with_partition().await;
    let other = s.view().await;
    let done = Arc::new(AtomicBool::new(false));
    let appending = {
        let (db, done) = (Arc::clone(&db), Arc::clone(&done));
        tokio::spawn(async move {
            let mut dice = Dice(23);
            let mut owner = TestOwner::claim_now(&*db, 1, "a", &mut dice).await;
            while !done.load(Ordering::SeqCst) {
                let outcome = owner.append(&*db, vec![0; 50_000], &mut dice).await.unwrap();
                assert_eq!(outcome, AppendOutcome::Committed);
                tokio::task::yield_now().await;
            }
        })
    };
    for counter in 1..=20 {
        db.heartbeat(&beat("a", 1, counter)).await.unwrap();
        other.heartbeat(&beat("b", 2, counter)).await.unwrap();
        other.observe().await.unwrap();
    }
    done.store(true, Ordering::SeqCst);
    appending.await.unwrap();
}
