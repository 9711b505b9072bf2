//! Random steps against a model of a front that answers in any order, refuses and breaks streams.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// A step of the front or of the client.
#[derive(Clone, Debug)]
enum Step {
    /// The client pushes a batch of this account, if there is room.
    Push(u8),
    /// The client sends everything that may be sent.
    Send,
    /// The front answers a batch in flight, not always the first. Batches behind a refused batch of
    /// the same account are refused too, as P30 demands of a front.
    Answer { which: usize, is_refused: bool, wait_ms: u64 },
    /// Time passes.
    Pass(u64),
    /// The stream breaks; the front has taken some of the batches in flight without an answer.
    Break { taken: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3u8).prop_map(Step::Push),
        4 => Just(Step::Send),
        6 => (any::<usize>(), prop::bool::weighted(0.3), 0..40u64)
            .prop_map(|(which, is_refused, wait_ms)| Step::Answer { which, is_refused, wait_ms }),
        2 => (0..30u64).prop_map(Step::Pass),
        1 => (0..8usize).prop_map(|taken| Step::Break { taken }),
    ]
}

/// A front that takes batches of each account in the order of their first arrival only, and the
/// client's record of what it did.
struct Model {
    window: SendWindow<(u64, u8)>,
    now: Instant,
    pushed: u64,
    account_of: BTreeMap<u64, u8>,
    /// The batches on the stream that the front has not answered, in the order of their arrival.
    arrived: Vec<u64>,
    /// The accounts with a refused batch, each with the numbers to be sent again, in order.
    refused: BTreeMap<u8, Vec<u64>>,
    /// The taken batches of each account, in the order in which they were taken first.
    taken: BTreeMap<u8, Vec<u64>>,
    answered: BTreeSet<u64>,
    held_until: Option<Instant>,
}

impl Model {
    fn new(size: usize) -> Self {
        Self {
            window: SendWindow::new(size),
            now: Instant::now(),
            pushed: 0,
            account_of: BTreeMap::new(),
            arrived: Vec::new(),
            refused: BTreeMap::new(),
            taken: BTreeMap::new(),
            answered: BTreeSet::new(),
            held_until: None,
        }
    }

    fn push(&mut self, account: u8) {
        let (number, had_room) = (self.pushed, self.window.has_room());
        let pushed = self.window.push(number, (number, account));
        assert_eq!(pushed.is_ok(), had_room);
        if pushed.is_ok() {
            self.account_of.insert(number, account);
            self.pushed += 1;
        }
    }

    fn send(&mut self) {
        while let Some(&mut (number, _)) = self.window.next_to_send(self.now) {
            if let Some(until) = self.held_until.take() {
                assert!(self.arrived.is_empty(), "{number} was sent before all were answered");
                assert!(self.now >= until, "{number} was sent before the wait had passed");
            }
            assert!(!self.arrived.contains(&number), "{number} is in flight twice");
            self.arrived.push(number);
        }
        assert_eq!(self.window.in_flight(), self.arrived.len());
    }

    /// The front takes the batch: it must be the next of its account.
    fn take(&mut self, number: u64) {
        let taken = self.taken.entry(self.account_of[&number]).or_default();
        if !taken.contains(&number) {
            taken.push(number);
        }
    }

    fn answer(&mut self, which: usize, is_refused: bool, wait_ms: u64) {
        if self.arrived.is_empty() {
            return;
        }
        let number = self.arrived[which % self.arrived.len()];
        let account = self.account_of[&number];
        // Only the first unanswered batch of an account can be taken; those behind a refused one
        // are refused.
        let is_first = self.arrived.iter().find(|one| self.account_of[one] == account);
        if is_first != Some(&number) {
            return;
        }
        self.arrived.retain(|one| *one != number);
        let waits = self.refused.entry(account).or_default();
        let is_out_of_turn = waits.first().is_some_and(|first| *first != number);
        if is_refused || is_out_of_turn {
            if !waits.contains(&number) {
                waits.push(number);
            }
            let until = self.now + Duration::from_millis(wait_ms);
            assert_eq!(self.window.retry(number, until), Ok(&(number, account)));
            self.held_until = self.held_until.max(Some(until));
        } else {
            waits.retain(|one| *one != number);
            self.take(number);
            assert_eq!(self.window.done(number), Ok((number, account)));
            assert!(self.answered.insert(number), "{number} was answered twice");
        }
        // A second answer to the same batch is an error and changes nothing.
        let len = self.window.len();
        assert_eq!(self.window.done(number), Err(UnknownBatch { number }));
        assert_eq!(self.window.retry(number, self.now), Err(UnknownBatch { number }));
        assert_eq!(self.window.len(), len);
    }

    fn stream_breaks(&mut self, taken: usize) {
        let arrived = std::mem::take(&mut self.arrived);
        for number in arrived.into_iter().take(taken) {
            let account = self.account_of[&number];
            if self.refused.get(&account).is_none_or(|waits| waits.is_empty()) {
                self.take(number);
            }
        }
        self.refused.clear();
        self.held_until = None;
        self.window.stream_broke();
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Push(account) => self.push(account),
            Step::Send => self.send(),
            Step::Answer { which, is_refused, wait_ms } => self.answer(which, is_refused, wait_ms),
            Step::Pass(ms) => self.now += Duration::from_millis(ms),
            Step::Break { taken } => self.stream_breaks(taken),
        }
        assert!(self.window.len() <= self.window.size());
        let numbers: Vec<u64> = self.window.batches().map(|(number, _)| *number).collect();
        assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    }

    /// Without further faults, every batch gets its answer.
    fn settle(&mut self) {
        for _ in 0..10 * WINDOW_MAX {
            if let Some(until) = self.window.resumes_at() {
                self.now = self.now.max(until);
            }
            self.send();
            self.answer(0, false, 0);
        }
        assert!(self.window.is_empty(), "{} batches stay unanswered", self.window.len());
    }
}

proptest! {
    #![proptest_config(test_cases::cases(500))]

    /// P30: with any refusals by the front and any breaks of the stream, the batches of each account
    /// are taken in the order of the pushes, and each batch is answered exactly once.
    #[test]
    fn p30_batches_of_an_account_are_taken_in_order_and_answered_once(
        size in 1..=6usize,
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut model = Model::new(size);
        for step in &steps {
            model.step(step);
        }
        model.settle();
        let all: BTreeSet<u64> = (0..model.pushed).collect();
        prop_assert_eq!(&model.answered, &all);
        for (account, taken) in &model.taken {
            let sent = model.account_of.iter().filter(|(_, of)| *of == account);
            let sent: Vec<u64> = sent.map(|(number, _)| *number).collect();
            prop_assert_eq!(taken, &sent, "account {}", account);
        }
    }
}

fn window(size: usize, numbers: impl IntoIterator<Item = u64>) -> (SendWindow<u64>, Instant) {
    let mut window = SendWindow::new(size);
    for number in numbers {
        window.push(number, number).unwrap();
    }
    (window, Instant::now())
}

fn sent(window: &mut SendWindow<u64>, now: Instant) -> Vec<u64> {
    std::iter::from_fn(|| window.next_to_send(now).map(|number| *number)).collect()
}

#[test]
fn a_full_window_and_a_number_in_use_are_refused_by_name() {
    let (mut full, _) = window(2, [1, 2]);
    assert_eq!(full.push(3, 3), Err(PushError::NoRoom { number: 3 }));
    let (mut used, _) = window(3, [1, 2]);
    assert_eq!(used.push(2, 2), Err(PushError::NumberInUse { number: 2 }));
    assert_eq!((full.len(), used.len()), (2, 2));
}

#[test]
fn p30_after_a_retry_nothing_is_sent_until_all_are_answered_and_the_wait_has_passed() {
    let (mut window, now) = window(4, [1, 2, 3]);
    let ms = Duration::from_millis;
    assert_eq!(sent(&mut window, now), [1, 2, 3]);
    assert_eq!(window.retry(2, now + ms(50)), Ok(&2));
    assert!(!window.has_room());
    assert_eq!(window.done(1), Ok(1));
    assert_eq!((window.resumes_at(), sent(&mut window, now + ms(60))), (None, vec![]));
    assert_eq!(window.retry(3, now + ms(10)), Ok(&3));
    assert_eq!(window.resumes_at(), Some(now + ms(50)));
    assert_eq!(sent(&mut window, now + ms(49)), []);
    window.hold_until(now + ms(70));
    assert_eq!(sent(&mut window, now + ms(69)), []);
    assert_eq!(sent(&mut window, now + ms(70)), [2, 3]);
    assert!(window.has_room());
}

#[test]
fn after_a_broken_stream_all_unanswered_batches_are_sent_again_in_order() {
    let (mut window, now) = window(4, [1, 2, 3]);
    assert_eq!(sent(&mut window, now), [1, 2, 3]);
    assert_eq!(window.done(2), Ok(2));
    assert_eq!(window.retry(1, now + Duration::from_secs(9)), Ok(&1));
    window.stream_broke();
    assert_eq!(window.done(3), Err(UnknownBatch { number: 3 }));
    window.push(4, 4).unwrap();
    assert_eq!(sent(&mut window, now), [1, 3, 4]);
}
