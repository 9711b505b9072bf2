//! What a front protects, line by line, where no other test holds the line. Below, each is switched off
//! and has to be missed.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use crate::world;

use std::sync::atomic::Ordering;

use tokio_stream::StreamExt as _;
use turnpike_front::FrontConfig;
use turnpike_mutants::{Line, all_caught};
use turnpike_proto::account::v1::{AccountCommand, ApplyRequest, IdentityBinding};
use turnpike_proto::ingest::v1::BatchStatus;
use turnpike_store::{Following, NodeBeat, SharedDatabase as _};
use turnpike_types::{Incarnation, NodeName, PartitionId, SegmentHash, SegmentNumber};
use world::{Faults, World, batch, config, record};

/// Partition 1, accounts 1 to 100, served by the first node; answers are not awaited for long.
async fn world() -> World {
    let world = World::new(FrontConfig { answer_deadline_beats: 20, ..config() }, 1).await;
    world.partition(1, 1, 100).await;
    world.give(1, 0).await;
    world.routed().await;
    world
}

/// A node that answers so is not believed, and in the end the batch is to be sent again.
async fn is_not_believed(faults: Faults, why: &str) {
    let world = world().await;
    world.set_faults(faults);
    let records = [record(5, "", "r0"), record(5, "", "r1")];
    let ack = world.ingest().ingest_once(batch(1, &records)).await.unwrap().into_inner();
    assert_eq!(ack.status(), BatchStatus::Retry, "believed: {ack:?}");
    assert!(ack.message.contains(why), "{}", ack.message);
}

#[tokio::test(start_paused = true)]
async fn i1_an_answer_that_leaves_a_record_out_is_not_believed() {
    is_not_believed(Faults { short: true, ..Faults::default() }, "incomplete answer").await;
}

#[tokio::test(start_paused = true)]
async fn p30_an_answer_to_another_sub_batch_is_not_believed() {
    is_not_believed(Faults { ahead: true, ..Faults::default() }, "out of order").await;
}

#[tokio::test(start_paused = true)]
async fn p16_who_may_take_over_is_asked_when_the_owner_cannot_be_reached() {
    let world = world().await;
    let (segment, hash) = (SegmentNumber(1), SegmentHash::default());
    let beat = NodeBeat {
        node: NodeName("b".to_owned()),
        incarnation: Incarnation(1),
        counter: 2,
        address: world.nodes[1].address.clone(),
        draining: false,
        serving: Vec::new(),
        following: vec![Following { partition: PartitionId(1), segment, hash }],
    };
    world.db.heartbeat(&beat).await.unwrap();
    // With the next epoch the front has read that beat too.
    world.give(1, 0).await;
    world.routed().await;
    world.set_faults(Faults { cut_before: 1000, ..Faults::default() });
    let ack = world.ingest().ingest_once(batch(1, &[record(5, "", "r")])).await.unwrap();
    assert_eq!(ack.into_inner().status(), BatchStatus::Retry);
    assert!(world.shared.sent.load(Ordering::SeqCst) > 0, "nobody else was asked");
}

#[tokio::test(start_paused = true)]
async fn p28_an_identity_that_was_bound_to_nobody_is_looked_up_again() {
    let world = world().await;
    let send = async |number, id| {
        let batch = batch(number, &[record(0, "tel:1", id)]);
        world.ingest().ingest_once(batch).await.unwrap().into_inner()
    };
    assert_eq!(send(1, "early").await.exceptions[0].reason, "unbound-identity");
    let identity = IdentityBinding { identity: "tel:1".to_owned(), ..IdentityBinding::default() };
    let bind = AccountCommand { account_number: 5, command: None, identities: vec![identity] };
    world.accounts().apply(ApplyRequest { commands: vec![bind] }).await.unwrap();
    assert_eq!(send(2, "late").await.accepted, 1, "it was bound since");
}

#[tokio::test(start_paused = true)]
async fn p29_a_batch_number_says_nothing_of_what_was_taken() {
    let world = world().await;
    let batches = [(5, "r5"), (3, "r3"), (5, "another 5")];
    let batches = batches.map(|(number, id)| batch(number, &[record(5, "", id)]));
    let request = tokio_stream::iter(batches);
    let acks = world.ingest().ingest(request).await.unwrap().into_inner();
    let accepted: Vec<u32> = acks.map(|ack| ack.unwrap().accepted).collect().await;
    assert_eq!(accepted, [1, 1, 1], "acknowledged and not taken (I1)");
    assert_eq!(world.rated()[&5], ["r5", "r3", "another 5"]);
}

#[test]
fn mutants_are_caught() {
    all_caught(&[
        (
            Line::WholeAnswer,
            "i1_an_answer_that_leaves_a_record_out_is_not_believed",
            "believed: BatchAck",
        ),
        (
            Line::AnswersInOrder,
            "p30_an_answer_to_another_sub_batch_is_not_believed",
            "believed: BatchAck",
        ),
        (
            Line::StandIn,
            "p16_who_may_take_over_is_asked_when_the_owner_cannot_be_reached",
            "nobody else was asked",
        ),
        (
            Line::UnboundAskedAgain,
            "p28_an_identity_that_was_bound_to_nobody_is_looked_up_again",
            "it was bound since",
        ),
        (
            Line::BatchNumbers,
            "p29_a_batch_number_says_nothing_of_what_was_taken",
            "acknowledged and not taken",
        ),
    ]);
}
