//! The sender against fronts that refuse, break streams, are silent or answer wrongly.

use std::collections::BTreeSet;
use std::time::Duration;

use turnpike_client::{BatchSender, ClientError, SendEvent, feed};

use crate::support::{Faults, ROOM_AFTER, World, batches};

const LIMIT: Duration = Duration::from_secs(30);

/// The numbers of the answered batches, each with its number of accepted and duplicate records, and
/// the number of events `Retried`.
#[derive(Default)]
struct Events {
    answered: BTreeSet<u64>,
    records: usize,
    retried: u64,
}

impl Events {
    fn count(&mut self, event: SendEvent<Vec<u64>>) {
        match event {
            SendEvent::Answered { batch, ack, .. } => {
                assert_eq!(batch.number, ack.batch_number);
                assert!(self.answered.insert(batch.number), "{} is answered twice", batch.number);
                assert_eq!(ack.accepted as usize + ack.duplicates.len(), batch.tag.len());
                self.records += batch.tag.len();
            }
            SendEvent::Retried { .. } => self.retried += 1,
        }
    }
}

/// P30, I1, I2: with any refusals by the fronts and any breaks of streams, each record is taken once,
/// the records of each account in their order, and each batch is answered once.
#[tokio::test(start_paused = true)]
async fn p30_every_record_is_taken_once_and_in_order_through_faults() {
    for seed in 0..20 {
        let world = World::new(seed);
        let faults =
            Faults { retry: 80, cut_before: 20, cut_after: 20, silent: 4, ..Faults::default() };
        world.start("f1:1", faults);
        world.start("f2:1", faults);
        let fronts = world.fronts(&["f1:1", "f2:1"], LIMIT).await;
        let mut sender = BatchSender::new(fronts, 4).unwrap();
        let (batches, sent) = batches(600);
        let (count, mut batches) = (batches.len(), batches.into_iter());
        let mut events = Events::default();
        // A silent front is left only after the time limit, which is the end of a send: what is
        // unanswered then is sent by the next call.
        loop {
            let sending = sender.send_all(|| batches.next(), |event| events.count(event)).await;
            match sending {
                Ok(()) => break,
                Err(ClientError::NoProgress { .. }) => {}
                Err(error) => panic!("seed {seed}: {error}"),
            }
        }
        assert_eq!((events.answered.len(), events.records), (count, 600), "seed {seed}");
        let ledger = world.ledger();
        assert_eq!(ledger.taken, sent, "seed {seed}");
        assert!(ledger.waiting_most <= 4 && ledger.waiting_most > 1, "{}", ledger.waiting_most);
        assert!(ledger.retries > 0 && ledger.cuts > 0 && events.retried > 0, "no fault occurred");
    }
}

#[tokio::test(start_paused = true)]
async fn without_progress_the_error_names_the_reason_and_the_remedy() {
    let world = World::new(1);
    world.start("f1:1", Faults { retry: 1_000, ..Faults::default() });
    let fronts = world.fronts(&["f1:1"], Duration::from_secs(5)).await;
    let mut sender = BatchSender::new(fronts, 4).unwrap();
    let (batches, _) = batches(30);
    let mut batches = batches.into_iter();
    let began = tokio::time::Instant::now();
    let sending = sender.send_all(
        || batches.next(),
        |event| {
            assert!(matches!(event, SendEvent::Retried { .. }), "{event:?}");
        },
    );
    let error = sending.await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "no progress for 5s (4 batches unanswered): the test refuses the batch; look at `turnpike \
         status`, then run this again: what was taken is answered as duplicate"
    );
    let took = began.elapsed();
    assert!((Duration::from_secs(5)..Duration::from_secs(6)).contains(&took), "{took:?}");
    assert!(world.ledger().retries > 8, "{}", world.ledger().retries);
}

#[tokio::test(start_paused = true)]
async fn a_front_that_is_not_there_is_replaced_by_the_next_one() {
    let world = World::new(1);
    world.start("f2:1", Faults::default());
    let fronts = world.fronts(&["f1:1", "f2:1"], LIMIT).await;
    let mut sender = BatchSender::new(fronts.clone(), 4).unwrap();
    let (batches, sent) = batches(30);
    let mut batches = batches.into_iter();
    let mut events = Events::default();
    sender.send_all(|| batches.next(), |event| events.count(event)).await.unwrap();
    assert_eq!((world.ledger().taken.clone(), fronts.in_use()), (sent, "f2:1".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_an_unknown_batch_is_an_error() {
    let world = World::new(1);
    world.start("f1:1", Faults { wrong_number: 1_000, ..Faults::default() });
    let mut sender = BatchSender::new(world.fronts(&["f1:1"], LIMIT).await, 4).unwrap();
    let (batches, _) = batches(30);
    let mut batches = batches.into_iter();
    let error = sender.send_all(|| batches.next(), drop).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the front at f1:1 sent an answer to batch 1001, which is not in flight; is it a Turnpike \
         front of this version?"
    );
}

#[tokio::test(start_paused = true)]
async fn a_dropped_wait_loses_nothing() {
    let world = World::new(7);
    world.start("f1:1", Faults { retry: 100, cut_after: 50, ..Faults::default() });
    let mut sender = BatchSender::new(world.fronts(&["f1:1"], LIMIT).await, 4).unwrap();
    let (batches, sent) = batches(120);
    let (mut batches, mut events, mut dropped) =
        (batches.into_iter().peekable(), Events::default(), 0);
    loop {
        while sender.has_room()
            && let Some(batch) = batches.next()
        {
            sender.push(batch).unwrap();
        }
        match tokio::time::timeout(Duration::from_millis(3), sender.next_event()).await {
            Err(_) => dropped += 1,
            Ok(Ok(Some(event))) => events.count(event),
            Ok(Ok(None)) => break,
            Ok(Err(error)) => panic!("{error}"),
        }
    }
    assert_eq!((world.ledger().taken.clone(), events.records), (sent, 120));
    assert!(dropped > 30, "{dropped}");
}

#[tokio::test]
async fn a_window_that_a_front_does_not_read_is_refused() {
    let world = World::new(1);
    for (size, words) in [(0, "a window of 0 batches"), (65, "a window of 65 batches")] {
        let fronts = world.fronts(&["f1:1"], LIMIT).await;
        let error = BatchSender::<()>::new(fronts, size).unwrap_err();
        assert!(error.to_string().starts_with(words), "{error}");
    }
}

/// A front says when to come back. Earlier attempts would only add to its load.
#[tokio::test(start_paused = true)]
async fn a_refusal_for_want_of_room_is_repeated_after_the_wait_that_it_names() {
    let world = World::new(1);
    world.start("a:1", Faults::default());
    let fronts = world.fronts(&["a:1"], Duration::from_secs(30)).await;
    for is_call in [true, false] {
        world.ledger().refuses = 3;
        let began = tokio::time::Instant::now();
        if is_call {
            feed::register(&fronts, "bills").await.unwrap();
        } else {
            let (batches, _) = batches(6);
            let mut batches = batches.into_iter();
            let mut sender = BatchSender::new(fronts.clone(), 4).unwrap();
            sender.send_all(|| batches.next(), drop).await.unwrap();
        }
        let took = began.elapsed();
        assert_eq!(world.ledger().refuses, 0);
        assert!(took >= ROOM_AFTER * 3 && took < ROOM_AFTER * 4, "call {is_call}: {took:?}");
    }
    // A wait never exceeds the time that is left for the request.
    world.ledger().refuses = u32::MAX;
    let fronts = world.fronts(&["a:1"], Duration::from_secs(4)).await;
    let began = tokio::time::Instant::now();
    let refused = feed::register(&fronts, "bills").await.unwrap_err();
    assert!(matches!(refused, ClientError::Unavailable { .. }), "{refused}");
    assert!(began.elapsed() < Duration::from_secs(5));
}
