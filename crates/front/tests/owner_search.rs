//! The search for the owner of a partition, by a request and by a stream of records.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use turnpike_front::FrontConfig;
use turnpike_proto::account::v1::ShowRequest;
use turnpike_proto::ingest::v1::BatchStatus;

use crate::world::{Faults, TROUBLE, World, batch, config, record};

/// Partition 1 with accounts 1 to 100. By the front's routes node `a` owns it; node `b` does.
async fn stale(config: FrontConfig) -> World {
    let world = World::new(config, 1).await;
    world.partition(1, 1, 100).await;
    world.give(1, 0).await;
    world.routed().await;
    let b = world.nodes[1].address.clone();
    world.shared.ledgers.lock().unwrap().get_mut(&1).unwrap().owner = b;
    world
}

/// The shortest pause after a failed attempt is half of a fifth of a heartbeat interval.
fn shortest_pause() -> Duration {
    config().heartbeat / 10
}

#[tokio::test(start_paused = true)]
async fn a_request_follows_a_stale_route_at_once() {
    let world = stale(config()).await;
    let began = Instant::now();
    let shown = world.accounts().show(ShowRequest { account_number: 5 }).await.unwrap();
    assert_eq!(shown.into_inner().account_number, 5, "the database still names the other node");
    assert!(began.elapsed() < shortest_pause(), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_stream_follows_a_stale_route_at_once() {
    let world = stale(config()).await;
    let began = Instant::now();
    let ack = world.ingest().ingest_once(batch(1, &[record(5, "", "r")])).await.unwrap();
    assert_eq!(ack.into_inner().accepted, 1, "the database still names the other node");
    assert!(began.elapsed() < shortest_pause(), "{:?}", began.elapsed());
    assert_eq!(world.shared.streams.load(Ordering::SeqCst), 2);
    assert_eq!(world.shared.sent.load(Ordering::SeqCst), 1, "the second stream was a referral");
}

/// Nodes that own nothing are asked again until the deadline, with pauses that grow.
#[tokio::test(start_paused = true)]
async fn without_an_owner_both_end_at_the_deadline_in_the_words_of_the_node() {
    let deadline = config().heartbeat * 20;
    let world = stale(FrontConfig { answer_deadline_beats: 20, ..config() }).await;
    world.set_faults(Faults { trouble: true, ..Faults::default() });
    let began = Instant::now();
    let refused = world.accounts().show(ShowRequest { account_number: 5 }).await.unwrap_err();
    assert!(refused.message().contains(TROUBLE), "{}", refused.message());
    // A request ends when its next attempt would begin after the deadline.
    let most = began + deadline;
    let least = most - config().heartbeat * 2;
    assert!((least..=most).contains(&Instant::now()), "{:?}", began.elapsed());
    let began = Instant::now();
    let ack = world.ingest().ingest_once(batch(1, &[record(5, "", "r")])).await.unwrap();
    let ack = ack.into_inner();
    assert_eq!(ack.status(), BatchStatus::Retry);
    assert!(ack.message.contains(TROUBLE), "{}", ack.message);
    assert!(began.elapsed() >= deadline, "{:?}", began.elapsed());
    // The pauses grow to between one and two intervals: some twenty attempts, and not hundreds.
    let streams = world.shared.streams.load(Ordering::SeqCst);
    assert!((10..40).contains(&streams), "{streams} attempts");
}
