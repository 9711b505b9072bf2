//! A front with fake nodes that refuse, break streams, give wrong answers and lose ownership.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use crate::world;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_stream::StreamExt as _;
use tonic::Code;
use turnpike_front::FrontConfig;
use turnpike_mutants::{Check, all_caught};
use turnpike_proto::account::v1::{
    AccountCommand, AccountOutcome, ApplyRequest, IdentityBinding, OpenAccount, ShowRequest,
    account_command,
};
use turnpike_proto::frame::BatchFrame;
use turnpike_proto::ingest::v1::{BatchAck, BatchStatus};
use turnpike_proto::record::encode;
use turnpike_proto::suspense::v1::{ListRequest, RecycleRequest, SuspendedRecord};
use turnpike_proto::wire::put_number;
use turnpike_store::IdentityStore as _;
use turnpike_types::UsageRecord;
use world::{Faults, TROUBLE, World, batch, config, give, record};

/// Sends batches on one stream. Returns the acknowledgements by batch number.
async fn stream(world: &World, batches: Vec<BatchFrame>) -> BTreeMap<u64, BatchAck> {
    let request = tokio_stream::iter(batches);
    let mut acks = world.ingest().ingest(request).await.unwrap().into_inner();
    let mut all = BTreeMap::new();
    while let Some(ack) = acks.next().await {
        let ack = ack.unwrap();
        assert!(all.insert(ack.batch_number, ack).is_none(), "a batch is answered once");
    }
    all
}

/// Whatever faults the nodes have and wherever partitions move, each record is rated once, and the
/// records of each account in the order in which they were sent (P30, I1, I2).
async fn never_reorders(seed: u64) {
    let world = World::new(FrontConfig { seed, sender_window_batches: 4, ..config() }, seed).await;
    for (id, first) in [(1, 1), (2, 101), (3, 201)] {
        world.partition(id, first, first + 99).await;
        world.give(id, id as usize % 2).await;
    }
    world.routed().await;
    world.set_faults(Faults {
        overloaded: 60,
        cut_before: 60,
        cut_after: 60,
        old_epoch: 60,
        ..Faults::default()
    });
    let (db, shared, nodes) = (world.db.clone(), Arc::clone(&world.shared), world.nodes.clone());
    let mover = tokio::spawn(async move {
        for turn in 0u32.. {
            tokio::time::sleep(Duration::from_millis(15)).await;
            give(&db, &shared, &nodes, 1 + turn % 3, turn as usize / 3 % 2).await;
        }
    });
    let mut sent: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    let mut batches = Vec::new();
    for number in 0..120u64 {
        let records: Vec<_> = (0..9)
            .map(|place| {
                let account = 1 + (number * 7 + place * 37) % 300;
                let id = format!("{number:03}-{place}");
                sent.entry(account).or_default().push(id.clone());
                record(account, "", &id)
            })
            .collect();
        batches.push(batch(number, &records));
    }
    let acks = stream(&world, batches).await;
    mover.abort();
    assert_eq!(acks.len(), 120);
    for ack in acks.values() {
        assert_eq!(ack.status(), BatchStatus::Done, "{}", ack.message);
        assert_eq!(ack.accepted as usize + ack.duplicates.len(), 9);
        assert!(ack.duplicates.is_sorted());
    }
    assert_eq!(world.rated(), sent);
    assert_eq!(world.shared.out_of_order.load(Ordering::SeqCst), 0);
    world.front.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn going_back_n_never_reorders() {
    for seed in 0..4 {
        never_reorders(seed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_a_superseded_epoch_is_not_passed_on() {
    let config = FrontConfig { answer_deadline_beats: 20, ..config() };
    let world = World::new(config, 1).await;
    world.partition(1, 1, 100).await;
    world.give(1, 0).await;
    world.give(1, 0).await;
    world.routed().await;
    world.set_faults(Faults { old_epoch: 1000, ..Faults::default() });
    let ack = world.ingest().ingest_once(batch(1, &[record(5, "", "r")])).await.unwrap();
    let ack = ack.into_inner();
    assert_eq!(ack.status(), BatchStatus::Retry);
    assert!(ack.message.contains("superseded"), "{}", ack.message);
    world.set_faults(Faults::default());
    loop {
        let again = world.ingest().ingest_once(batch(1, &[record(5, "", "r")])).await.unwrap();
        let again = again.into_inner();
        if again.status() == BatchStatus::Done {
            assert_eq!(again.duplicates, [0]);
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_an_answer_in_time_a_batch_is_to_be_sent_again() {
    let config = FrontConfig { answer_deadline_beats: 10, ..config() };
    let world = World::new(config, 1).await;
    world.partition(1, 1, 100).await;
    world.partition(2, 101, 200).await;
    world.give(1, 0).await;
    world.routed().await;
    // Partition 2 has no owner; the owner of partition 1 does not answer.
    world.set_faults(Faults { silent: 1000, ..Faults::default() });
    let batches = (0..5).map(|n| batch(n, &[record(1 + n % 2 * 100, "", &n.to_string())]));
    let acks = stream(&world, batches.collect()).await;
    assert_eq!(acks.len(), 5);
    for ack in acks.values() {
        assert_eq!(ack.status(), BatchStatus::Retry);
        assert!(ack.retry_after_ms > 0 && ack.message.contains("no durable answer"));
    }
}

/// The client's end of one stream.
struct Open {
    batches: tokio::sync::mpsc::Sender<BatchFrame>,
    acks: tonic::Streaming<BatchAck>,
}

impl Open {
    async fn new(world: &World) -> Self {
        let (batches, receiver) = tokio::sync::mpsc::channel(64);
        let request = tokio_stream::wrappers::ReceiverStream::new(receiver);
        let acks = world.ingest().ingest(request).await.unwrap().into_inner();
        Self { batches, acks }
    }

    /// Sends batch `number`, with one record of account 5 and one of account 105. The number is the
    /// id of both records.
    async fn send(&self, number: u64) {
        let id = number.to_string();
        let records = [record(5, "", &id), record(105, "", &id)];
        self.batches.send(batch(number, &records)).await.unwrap();
    }

    async fn ack(&mut self) -> BatchAck {
        self.acks.next().await.unwrap().unwrap()
    }

    async fn is_done(&mut self, numbers: std::ops::Range<u64>) {
        for number in numbers.clone() {
            self.send(number).await;
        }
        for _ in numbers {
            let ack = self.ack().await;
            assert_eq!(ack.status(), BatchStatus::Done, "{}", ack.message);
        }
    }
}

/// Asserts that both accounts hold all records of `Open`, in order.
fn assert_in_order(world: &World, batches: u64) {
    let ids: Vec<String> = (0..batches).map(|number| number.to_string()).collect();
    assert_eq!(world.rated(), [(5, ids.clone()), (105, ids)].into());
    assert_eq!(world.shared.out_of_order.load(Ordering::SeqCst), 0);
}

async fn two_partitions(config: FrontConfig) -> World {
    let world = World::new(config, 1).await;
    for (id, first) in [(1, 1), (2, 101)] {
        world.partition(id, first, first + 99).await;
    }
    world
}

/// P30: batches behind an expired batch are not committed until it is sent again.
async fn nothing_passes_an_expired_batch(is_owned: bool) {
    let config = FrontConfig { answer_deadline_beats: 50, ..config() };
    let world = two_partitions(config).await;
    world.give(2, 0).await;
    if is_owned {
        world.give(1, 0).await;
    }
    world.routed().await;
    let mut stream = Open::new(&world).await;
    world.set_faults(Faults { deaf: is_owned, ..Faults::default() });
    // The deadlines are far apart: the other batches have not expired when the first one does.
    for number in 0..5 {
        stream.send(number).await;
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    let mut acks = vec![stream.ack().await];
    world.set_faults(Faults::default());
    world.give(1, 0).await;
    for number in 5..8 {
        stream.send(number).await;
    }
    while acks.len() < 8 {
        acks.push(stream.ack().await);
    }
    acks.sort_by_key(|ack| ack.batch_number);
    for (number, ack) in acks.iter().enumerate() {
        assert_eq!((ack.status(), ack.batch_number), (BatchStatus::Retry, number as u64));
        assert!(ack.retry_after_ms > 0 && ack.message.contains("no durable answer"));
    }
    let message = &acks[7].message;
    assert!(message.starts_with("batch 0 was answered RETRY: send it again first"), "{message}");
    // The pause is long enough for a node to commit a batch that wrongly passed the expired one.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(world.rated().get(&5), None);
    // The last batch is sent first: it is refused, and none of its records are taken.
    stream.send(7).await;
    assert_eq!(stream.ack().await.status(), BatchStatus::Retry);
    assert_eq!(world.rated().get(&5), None);
    world.routed().await;
    stream.is_done(0..12).await;
    assert_in_order(&world, 12);
    world.front.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn p30_nothing_passes_a_batch_that_expired_before_it_was_sent() {
    nothing_passes_an_expired_batch(false).await;
}

#[tokio::test(start_paused = true)]
async fn p30_nothing_passes_a_batch_that_expired_after_it_was_sent() {
    nothing_passes_an_expired_batch(true).await;
}

/// P30: batches behind a batch that was refused before it reached a sender are not committed until
/// that batch is sent again.
#[tokio::test(start_paused = true)]
async fn p30_nothing_passes_a_batch_that_was_refused_whole() {
    let world = World::new(config(), 1).await;
    world.front.ready().await;
    let mut stream = Open::new(&world).await;
    stream.send(0).await;
    let refused = stream.ack().await;
    assert_eq!(refused.status(), BatchStatus::Retry);
    for (id, first) in [(1, 1), (2, 101)] {
        world.partition(id, first, first + 99).await;
        world.give(id, 0).await;
    }
    world.routed().await;
    for number in [2, 1] {
        stream.send(number).await;
        let ack = stream.ack().await;
        assert_eq!((ack.status(), ack.batch_number), (BatchStatus::Retry, number));
        // The cause is repeated, for a client that reads only the last message.
        assert!(ack.message.contains("batch 0 was") && ack.message.contains(&refused.message));
    }
    assert!(world.rated().is_empty());
    // Other streams are not held back.
    let other = world.ingest().ingest_once(batch(9, &[record(6, "", "r")])).await.unwrap();
    assert_eq!(other.into_inner().status(), BatchStatus::Done);
    stream.is_done(0..1).await;
    // The refused batches keep their original order.
    stream.send(1).await;
    assert_eq!(stream.ack().await.status(), BatchStatus::Retry);
    for number in [2, 1, 3] {
        stream.is_done(number..number + 1).await;
    }
    assert_eq!(world.rated()[&5], ["0", "2", "1", "3"]);
    assert_eq!(world.rated()[&105], ["0", "2", "1", "3"]);
}

/// Later batches do not wait for a rejected batch.
#[tokio::test(start_paused = true)]
async fn a_batch_that_must_be_corrected_delays_no_other_batch() {
    let config = FrontConfig { answer_deadline_beats: 50, ..config() };
    let world = two_partitions(config).await;
    world.give(2, 0).await;
    world.routed().await;
    let mut stream = Open::new(&world).await;
    // Partition 1 has no owner, so its part expires. The node of partition 2 rejects its part.
    world.set_faults(Faults { invalid: 1000, invalid_in: 2, ..Faults::default() });
    stream.send(0).await;
    assert_eq!(stream.ack().await.status(), BatchStatus::Rejected);
    world.set_faults(Faults::default());
    world.give(1, 0).await;
    world.routed().await;
    stream.is_done(1..3).await;
    assert_eq!(world.rated()[&5], ["1", "2"]);
}

/// Batches expire repeatedly, and the client sends refused batches again, oldest first.
#[tokio::test(start_paused = true)]
async fn p30_short_deadlines_never_reorder() {
    let config = FrontConfig { answer_deadline_beats: 6, ..config() };
    let world = two_partitions(config).await;
    for id in [1, 2] {
        world.give(id, 0).await;
    }
    world.routed().await;
    let shared = Arc::clone(&world.shared);
    let trouble = tokio::spawn(async move {
        for turn in 0u32.. {
            let deaf = turn % 7 == 0;
            let silent = if turn % 7 == 6 { 100 } else { 0 };
            *shared.faults.lock().unwrap() = Faults { deaf, silent, ..Faults::default() };
            tokio::time::sleep(Duration::from_millis(23)).await;
        }
    });
    let mut stream = Open::new(&world).await;
    let mut waiting: std::collections::BTreeSet<u64> = (0..200).collect();
    let (mut under_way, mut retried) = (0, 0);
    while !waiting.is_empty() || under_way > 0 {
        while under_way < 16
            && let Some(number) = waiting.pop_first()
        {
            stream.send(number).await;
            under_way += 1;
        }
        let ack = stream.ack().await;
        under_way -= 1;
        tokio::time::sleep(Duration::from_millis(2)).await;
        if ack.status() == BatchStatus::Retry {
            retried += 1;
            waiting.insert(ack.batch_number);
        } else {
            assert_eq!(ack.status(), BatchStatus::Done, "{}", ack.message);
        }
    }
    trouble.abort();
    assert!(retried > 0);
    assert_in_order(&world, 200);
}

#[tokio::test(start_paused = true)]
async fn a_stream_with_too_many_refusals_is_ended_with_the_reason() {
    let world = World::new(config(), 1).await;
    world.front.ready().await;
    let batches = (0..5_000).map(|number| batch(number, &[record(5, "", "r")]));
    let request = tokio_stream::iter(batches);
    let mut acks = world.ingest().ingest(request).await.unwrap().into_inner();
    for _ in 0..4_097 {
        assert_eq!(acks.next().await.unwrap().unwrap().status(), BatchStatus::Retry);
    }
    let end = acks.next().await.unwrap().unwrap_err();
    assert_eq!(end.code(), Code::ResourceExhausted);
    assert!(end.message().contains("open a new stream"), "{}", end.message());
}

#[tokio::test(start_paused = true)]
async fn an_invalid_sub_batch_is_rejected_with_the_nodes_message() {
    let world = World::new(config(), 1).await;
    world.partition(1, 1, 100).await;
    world.give(1, 0).await;
    world.routed().await;
    world.set_faults(Faults { invalid: 1000, ..Faults::default() });
    let ack = world.ingest().ingest_once(batch(1, &[record(5, "", "r")])).await.unwrap();
    let ack = ack.into_inner();
    assert_eq!(ack.status(), BatchStatus::Rejected);
    assert!(ack.message.contains("not for me"), "{}", ack.message);
}

#[tokio::test(start_paused = true)]
async fn where_one_part_is_invalid_the_others_are_answered_and_the_batch_is_rejected() {
    let world = World::new(config(), 1).await;
    for (id, first) in [(1, 1), (2, 101)] {
        world.partition(id, first, first + 99).await;
        world.give(id, 0).await;
    }
    world.routed().await;
    let records = [record(5, "", "r0"), record(105, "", "r1"), record(6, "", "r2")];
    world.set_faults(Faults { invalid: 1000, invalid_in: 2, ..Faults::default() });
    let ack = world.ingest().ingest_once(batch(1, &records)).await.unwrap().into_inner();
    assert_eq!((ack.status(), ack.accepted), (BatchStatus::Rejected, 2));
    assert!(ack.message.contains("partition 2: not for me"), "{}", ack.message);
    // The client sends the corrected batch, with the same record ids.
    world.set_faults(Faults::default());
    let ack = world.ingest().ingest_once(batch(1, &records)).await.unwrap().into_inner();
    assert_eq!((ack.status(), ack.accepted), (BatchStatus::Done, 1));
    assert_eq!(ack.duplicates, [0, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_client_reads_the_error_of_a_failing_node() {
    let config = FrontConfig { answer_deadline_beats: 30, ..config() };
    let world = World::new(config, 1).await;
    world.partition(3, 1, 100).await;
    world.give(3, 0).await;
    world.routed().await;
    let fine = world.ingest().ingest_once(batch(1, &[record(5, "", "r0")])).await.unwrap();
    assert_eq!(fine.into_inner().accepted, 1);
    world.set_faults(Faults { trouble: true, ..Faults::default() });
    let words = format!("partition 3: {}: {TROUBLE}", world.nodes[0].address);
    let ack = world.ingest().ingest_once(batch(2, &[record(5, "", "r1")])).await.unwrap();
    let ack = ack.into_inner();
    assert_eq!(ack.status(), BatchStatus::Retry);
    assert!(ack.message.starts_with(&words), "{}", ack.message);
    assert!(ack.message.ends_with("; send the batch again"), "{}", ack.message);
    let commands = vec![open(5, &[])];
    let answer = world.accounts().apply(ApplyRequest { commands }).await.unwrap().into_inner();
    let result = &answer.results[0];
    assert_eq!(result.outcome(), AccountOutcome::Retry);
    assert!(result.message.starts_with(&words), "{}", result.message);
    assert!(result.message.ends_with("; try again"), "{}", result.message);
    let shown = world.accounts().show(ShowRequest { account_number: 5 }).await.unwrap_err();
    assert_eq!(shown.code(), Code::Unavailable);
    assert!(shown.message().starts_with(&words), "{}", shown.message());
}

/// The reason of an earlier failure is not reported for a later time-out.
#[tokio::test(start_paused = true)]
async fn a_message_does_not_describe_an_earlier_attempt() {
    let config = FrontConfig { answer_deadline_beats: 50, ..config() };
    let world = World::new(config, 1).await;
    world.partition(1, 1, 100).await;
    world.give(1, 0).await;
    world.routed().await;
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let request = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut acks = world.ingest().ingest(request).await.unwrap().into_inner();
    world.set_faults(Faults { trouble: true, ..Faults::default() });
    sender.send(batch(0, &[record(5, "", "r0")])).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    world.set_faults(Faults::default());
    assert_eq!(acks.next().await.unwrap().unwrap().accepted, 1);
    world.set_faults(Faults { silent: 1000, ..Faults::default() });
    sender.send(batch(1, &[record(5, "", "r1")])).await.unwrap();
    let ack = acks.next().await.unwrap().unwrap();
    assert_eq!(ack.status(), BatchStatus::Retry);
    assert!(ack.message.contains("did not answer"), "{}", ack.message);
    assert!(!ack.message.contains(TROUBLE), "{}", ack.message);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_cannot_be_accepted_is_answered_with_the_reason() {
    let world = World::new(config(), 1).await;
    world.front.ready().await;
    let none = world.ingest().ingest_once(batch(1, &[record(5, "", "r")])).await.unwrap();
    let none = none.into_inner();
    assert_eq!(none.status(), BatchStatus::Retry);
    assert!(none.message.contains("turnpike partition init"));
    world.partition(1, 1, 100).await;
    world.give(1, 0).await;
    world.routed().await;
    let large = vec![vec![0u8; 16_000]; 300];
    let large = BatchFrame::build("test", 9, large.iter().map(Vec::as_slice));
    let large = world.ingest().ingest_once(large).await.unwrap().into_inner();
    assert_eq!((large.status(), large.batch_number), (BatchStatus::Rejected, 9));
    assert!(large.message.contains("4194304"), "{}", large.message);
    let bad = [record(5, "", "r0"), record(0, "nobody", "r1"), record(6, "", "r2")];
    let bad = world.ingest().ingest_once(batch(2, &bad)).await.unwrap().into_inner();
    assert_eq!((bad.status(), bad.accepted), (BatchStatus::Done, 2));
    assert_eq!((bad.exceptions[0].index, bad.exceptions[0].reason.as_str()), (1, "no-account"));
    let empty = world.ingest().ingest_once(batch(3, &[])).await.unwrap().into_inner();
    assert_eq!(empty.status(), BatchStatus::Done);
}

#[tokio::test(start_paused = true)]
async fn a_partition_sender_that_was_idle_opens_again() {
    let heartbeat = Duration::from_millis(2);
    let config = FrontConfig { heartbeat, answer_deadline_beats: 30_000, ..config() };
    let world = World::new(config, 1).await;
    world.partition(1, 1, 100).await;
    world.give(1, 0).await;
    world.routed().await;
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let request = tokio_stream::wrappers::ReceiverStream::new(receiver);
    sender.send(batch(0, &[record(5, "", "r0")])).await.unwrap();
    let mut acks = world.ingest().ingest(request).await.unwrap().into_inner();
    assert_eq!(acks.next().await.unwrap().unwrap().accepted, 1);
    tokio::time::sleep(Duration::from_millis(150)).await;
    sender.send(batch(1, &[record(5, "", "r1")])).await.unwrap();
    assert_eq!(acks.next().await.unwrap().unwrap().accepted, 1);
    drop(sender);
    assert!(acks.next().await.is_none());
    assert_eq!(world.shared.streams.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_front_that_stops_answers_what_it_read_and_announces_the_stop() {
    let world = World::new(config(), 1).await;
    world.partition(1, 1, 100).await;
    world.routed().await;
    let (sender, receiver) = tokio::sync::mpsc::channel(8);
    let request = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut acks = world.ingest().ingest(request).await.unwrap().into_inner();
    // The front itself rejects this record, so its answer shows that the batch was read.
    sender.send(batch(0, &[record(0, "nobody", "r")])).await.unwrap();
    assert_eq!(acks.next().await.unwrap().unwrap().batch_number, 0);
    // Partition 1 has no owner: these batches wait until the front shuts down.
    sender.send(batch(1, &[record(5, "", "r")])).await.unwrap();
    sender.send(batch(2, &[record(0, "nobody", "r")])).await.unwrap();
    assert_eq!(acks.next().await.unwrap().unwrap().batch_number, 2);
    let (_, ack) = tokio::join!(world.front.shutdown(), acks.next());
    let mut ends = vec![ack.unwrap()];
    while let Some(end) = acks.next().await {
        ends.push(end);
    }
    let last = ends.pop().unwrap().unwrap_err();
    assert_eq!(last.code(), Code::Unavailable);
    for ack in ends {
        assert_eq!(ack.unwrap().status(), BatchStatus::Retry);
    }
    let late = world.ingest().ingest_once(batch(3, &[])).await.unwrap_err();
    assert_eq!(late.code(), Code::Unavailable);
}

fn open(account_number: u64, identities: &[&str]) -> AccountCommand {
    AccountCommand {
        account_number,
        command: Some(account_command::Command::Open(OpenAccount::default())),
        identities: identities
            .iter()
            .map(|identity| IdentityBinding {
                identity: (*identity).to_owned(),
                from_us: 0,
                until_us: None,
            })
            .collect(),
    }
}

#[tokio::test(start_paused = true)]
async fn commands_go_to_their_owners_and_identities_are_bound_and_guided() {
    let world = World::new(config(), 1).await;
    for (id, first) in [(1, 1), (2, 101)] {
        world.partition(id, first, first + 99).await;
        world.give(id, 0).await;
    }
    world.routed().await;
    // The front's routes name node a until it reads them again.
    world.give(2, 1).await;
    let commands = vec![
        open(5, &["user:a"]),
        open(0, &[]),
        open(105, &["user:b"]),
        open(999, &[]),
        open(6, &["user:a"]),
        open(7, &["mail:x"]),
    ];
    let results = world.accounts().apply(ApplyRequest { commands }).await.unwrap().into_inner();
    let outcomes: Vec<AccountOutcome> =
        results.results.iter().map(|result| result.outcome()).collect();
    let (applied, refused) = (AccountOutcome::Applied, AccountOutcome::Refused);
    assert_eq!(outcomes, [applied, refused, applied, refused, refused, refused]);
    assert!(results.results[4].message.contains("user:a"), "{:?}", results.results[4]);
    assert!(!world.shared.ledgers.lock().unwrap()[&1].commanded.contains(&6), "6 is not opened");
    let records = [record(0, "user:b", "r0"), record(5, "", "r1"), record(0, "user:a", "r2")];
    let ack = world.ingest().ingest_once(batch(1, &records)).await.unwrap().into_inner();
    assert_eq!((ack.status(), ack.accepted), (BatchStatus::Done, 3));
    let rated: BTreeMap<u64, Vec<String>> =
        [(5, vec!["r1".to_owned(), "r2".to_owned()]), (105, vec!["r0".to_owned()])].into();
    assert_eq!(world.rated(), rated);
    let shown = world.accounts().show(ShowRequest { account_number: 105 }).await.unwrap();
    assert_eq!(shown.into_inner().partition, 2);
    let unknown = world.accounts().show(ShowRequest { account_number: 999 }).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
}

/// If the account were opened without its identity, the command would be carried out only in part.
#[tokio::test(start_paused = true)]
async fn nothing_is_done_for_a_command_whose_identity_another_account_holds() {
    let world = World::new(config(), 1).await;
    world.partition(1, 1, 100).await;
    world.give(1, 0).await;
    world.routed().await;
    let until = |until_us, command: AccountCommand| {
        let mut command = command;
        command.identities.iter_mut().for_each(|bound| bound.until_us = Some(until_us));
        command
    };
    let apply = async |commands| {
        let answer = world.accounts().apply(ApplyRequest { commands }).await.unwrap();
        answer.into_inner().results
    };
    assert_eq!(
        apply(vec![until(50, open(5, &["user:a"]))]).await[0].outcome(),
        AccountOutcome::Applied
    );
    world.shared.ledgers.lock().unwrap().get_mut(&1).unwrap().commanded.clear();
    let commands = vec![
        open(6, &["user:b", "user:a"]),
        open(7, &["user:c"]),
        open(8, &["user:d", "user:c"]),
        until(50, open(5, &["user:a"])),
    ];
    let checked = world.accounts().check(ApplyRequest { commands: commands.clone() }).await;
    let checked = checked.unwrap().into_inner().faults;
    let results = apply(commands).await;
    let (applied, refused) = (AccountOutcome::Applied, AccountOutcome::Refused);
    let outcomes: Vec<AccountOutcome> = results.iter().map(|result| result.outcome()).collect();
    assert_eq!(outcomes, [refused, applied, refused, applied], "{results:?}");
    for (at, words) in [(0, ["account 5 holds user:a", "nothing"]), (2, ["user:c", "account 7"])] {
        for word in words {
            assert!(results[at].message.contains(word), "{word:?} is not in {:?}", results[at]);
            assert!(checked[at].contains(word), "{word:?} is not in {:?}", checked[at]);
        }
    }
    assert!(checked[1].is_empty() && checked[3].is_empty(), "{checked:?}");
    assert_eq!(world.shared.ledgers.lock().unwrap()[&1].commanded, [7, 5]);
    let bound = world.db.guide(&["user:b".to_owned(), "user:d".to_owned()]).await.unwrap();
    assert!(bound.iter().all(|found| found.bindings.is_empty()), "{bound:?}");
    // An interval in which no account holds the identity can be bound.
    let mut later = open(6, &["user:a"]);
    later.identities[0].from_us = 49;
    assert_eq!(apply(vec![later.clone()]).await[0].outcome(), refused);
    later.identities[0].from_us = 50;
    assert_eq!(apply(vec![later]).await[0].outcome(), applied);
}

#[tokio::test(start_paused = true)]
async fn identities_alone_are_bound_where_a_partition_covers_the_account() {
    let world = World::new(config(), 1).await;
    world.partition(1, 1, 100).await;
    world.give(1, 0).await;
    world.routed().await;
    let bind =
        |account, identity: &str| AccountCommand { command: None, ..open(account, &[identity]) };
    let apply = async |commands| {
        let answer = world.accounts().apply(ApplyRequest { commands }).await.unwrap();
        answer.into_inner().results
    };
    let results = apply(vec![bind(5, "user:a"), bind(999, "user:b"), open(999, &["user:b"])]).await;
    let outcomes: Vec<AccountOutcome> = results.iter().map(|result| result.outcome()).collect();
    let refused = AccountOutcome::Refused;
    assert_eq!(outcomes, [AccountOutcome::Applied, refused, refused]);
    assert!(results[1].message.contains("no partition covers account 999"), "{results:?}");
    // No command reached the owner: no account was opened.
    assert!(world.shared.ledgers.lock().unwrap()[&1].commanded.is_empty());
    assert_eq!(apply(vec![bind(5, "user:a")]).await[0].outcome(), AccountOutcome::Already);
    let bound = world.db.guide(&["user:a".to_owned(), "user:b".to_owned()]).await.unwrap();
    assert_eq!((bound[0].bindings.len(), bound[1].bindings.len()), (1, 0));
    let nothing = AccountCommand { identities: Vec::new(), ..bind(5, "user:a") };
    assert_eq!(apply(vec![nothing]).await[0].outcome(), refused);
}

#[tokio::test(start_paused = true)]
async fn suspense_is_listed_and_recycled_in_place() {
    let world = World::new(config(), 1).await;
    for (id, first) in [(1, 1), (2, 101)] {
        world.partition(id, first, first + 99).await;
        world.give(id, id as usize % 2).await;
    }
    world.routed().await;
    let records: Vec<_> =
        (0..6).map(|n| record(0, &format!("tel:{n}"), &format!("r{n}"))).collect();
    let ack = world.ingest().ingest_once(batch(1, &records)).await.unwrap().into_inner();
    assert_eq!(ack.exceptions.len(), 6);
    let listed = world.suspense().list(ListRequest::default()).await.unwrap().into_inner();
    let listed: Vec<_> = listed.map(Result::unwrap).collect().await;
    assert_eq!(listed.len(), 6);
    let tally = world.suspense().recycle(RecycleRequest::default()).await.unwrap().into_inner();
    assert_eq!((tally.rated, tally.still_suspended, tally.retry), (0, 6, 0));
    assert_eq!(tally.reasons["unbound-identity"], 6);
    let wrong = RecycleRequest { reason: "bad".to_owned(), ..RecycleRequest::default() };
    let wrong = world.suspense().recycle(wrong).await.unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidArgument);
}

#[tokio::test(start_paused = true)]
async fn a_record_whose_identity_was_bound_since_moves_to_its_account_with_all_it_holds() {
    let world = World::new(config(), 1).await;
    for (id, first) in [(1, 1), (2, 101)] {
        world.partition(id, first, first + 99).await;
        world.give(id, 0).await;
    }
    world.routed().await;
    let late = UsageRecord {
        quantity: Some(3),
        measures: [("up".to_owned(), 1)].into(),
        attributes: [("status".to_owned(), "200".to_owned())].into(),
        ..record(0, "user:late", "late")
    };
    world.ingest().ingest_once(batch(1, &[late])).await.unwrap();
    let home = {
        let ledgers = world.shared.ledgers.lock().unwrap();
        let home = ledgers.iter().find(|(_, ledger)| !ledger.suspended.is_empty());
        *home.unwrap().0
    };
    let (account, there) = if home == 1 { (105, 2) } else { (5, 1) };
    let commands = vec![open(account, &["user:late"])];
    world.accounts().apply(ApplyRequest { commands }).await.unwrap();
    let tally = world.suspense().recycle(RecycleRequest::default()).await.unwrap().into_inner();
    assert_eq!((tally.rated, tally.still_suspended, tally.retry), (1, 0, 0));
    assert_eq!(world.rated(), [(account, vec!["late".to_owned()])].into());
    let ledgers = world.shared.ledgers.lock().unwrap();
    assert_eq!(ledgers[&home].recycled[0].moved_to_account, account);
    assert!(ledgers[&home].suspended.is_empty());
    // P35: the sub-batch to the new partition is marked as recycled; the first arrival is not.
    assert_eq!(ledgers[&there].from_elsewhere, ["late"]);
    assert!(ledgers[&home].from_elsewhere.is_empty());
    let raw = world.shared.last_extra.lock().unwrap().clone();
    assert_eq!(raw, "user:late 200 1 3");
}

#[tokio::test(start_paused = true)]
async fn a_record_moves_to_the_partition_that_covers_its_account_by_now() {
    let world = World::new(config(), 1).await;
    for (id, first) in [(1, 1), (2, 101)] {
        world.partition(id, first, first + 99).await;
        world.give(id, 0).await;
    }
    world.routed().await;
    let waits = |id: &str, holds: Vec<u8>| SuspendedRecord {
        partition: 1,
        account_number: 105,
        record_id: id.to_owned(),
        reason: "no-partition".to_owned(),
        record: holds.into(),
        ..SuspendedRecord::default()
    };
    let mut bytes = Vec::new();
    encode(&record(105, "", "whole"), &mut bytes);
    if let Some(ledger) = world.shared.ledgers.lock().unwrap().get_mut(&1) {
        // A node lists a record without its content: the record stays in suspense.
        ledger.suspended = vec![waits("empty", Vec::new()), waits("whole", bytes)];
    }
    let tally = world.suspense().recycle(RecycleRequest::default()).await.unwrap().into_inner();
    assert_eq!((tally.rated, tally.still_suspended, tally.retry), (1, 0, 1));
    assert_eq!(world.rated(), [(105, vec!["whole".to_owned()])].into());
    let ledgers = world.shared.ledgers.lock().unwrap();
    let left: Vec<&str> = ledgers[&1].suspended.iter().map(|r| r.record_id.as_str()).collect();
    assert_eq!(left, ["empty"]);
    assert_eq!(ledgers[&2].from_elsewhere, ["whole"]);
}

#[tokio::test(start_paused = true)]
async fn p35_a_client_can_not_say_that_its_records_were_recycled() {
    let world = World::new(config(), 1).await;
    world.partition(1, 1, 100).await;
    world.give(1, 0).await;
    world.routed().await;
    let mut smuggled = batch(1, &[record(5, "", "r0")]).body().to_vec();
    put_number(&mut smuggled, 4, 1);
    let smuggled = BatchFrame::from(smuggled);
    let once = world.ingest().ingest_once(smuggled.clone()).await.unwrap().into_inner();
    assert_eq!((once.status(), once.accepted), (BatchStatus::Done, 1));
    let acks = stream(&world, vec![smuggled]).await;
    assert_eq!(acks[&1].duplicates, [0]);
    assert!(world.shared.ledgers.lock().unwrap()[&1].from_elsewhere.is_empty());
}

#[test]
fn mutants_are_caught() {
    all_caught(&[
        (Check::EpochFloor, "an_answer_of_a_superseded_epoch_is_not_passed_on", "left: Done"),
        (Check::Turn, "p30_nothing_passes_a_batch_that_was_refused_whole", "left: (Done"),
    ]);
}
