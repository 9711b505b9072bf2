//! A separate model of postings from the accounts of one partition, the sender, to the accounts of
//! another, the receiver (P33).
//!
//! The log of the sender is the outbox. The owner of the receiver fetches postings, starting at its
//! cursor, and appends them together with the new cursor in one segment, under the fence of the
//! receiver. So after a takeover the new owner continues exactly at the cursor in the log.

use stateright::{Model, Property};

/// A configuration of the model: sizes, limits on faults, and the checks that are on.
#[derive(Clone, Debug)]
pub struct Postings {
    /// The number of postings that the sender makes, including those whose segment is lost.
    pub postings: u8,
    /// The maximum number of claims of the receiving partition, which two nodes may claim.
    pub claims: u8,
    /// The maximum number of appends whose outcome the owner of the receiver does not learn.
    pub faults: u8,
    /// P33: the cursor is updated in the segment that holds the postings, not by another statement.
    pub cursor_in_segment: bool,
    /// P6: the receiver reads only committed segments of the sender.
    pub fetch_after_commit: bool,
    /// P33: a posting is never rejected because of its age.
    pub no_horizon: bool,
    /// P1: the fence of the receiver compares the epoch and the next segment.
    pub fence: bool,
}

impl Postings {
    /// All checks on: the protocol as specified.
    pub const fn small() -> Self {
        Self {
            postings: 3,
            claims: 3,
            faults: 2,
            cursor_in_segment: true,
            fetch_after_commit: true,
            no_horizon: true,
            fence: true,
        }
    }
}

/// A segment of the receiver: the postings that it books, and the cursor after them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry {
    /// The postings that the segment books, by their numbers.
    pub posted: Vec<u8>,
    /// The number of segments of the sender from which all postings are booked.
    pub cursor: usize,
}

/// An append in flight.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sent {
    from: usize,
    awaited: bool,
    epoch: u8,
    next: usize,
    entry: Entry,
}

/// A node that may own the receiving partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Receiver {
    epoch: Option<u8>,
    next: usize,
    cursor: usize,
    waits: bool,
}

/// A state of the whole system.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// Committed postings of the sender, one per segment.
    outbox: Vec<u8>,
    /// The posting in the segment that the sender is appending and that has not committed.
    speculative: Option<u8>,
    made: u8,
    epoch: u8,
    log: Vec<Entry>,
    /// Mutant: a cursor that is stored outside the log.
    stored_cursor: usize,
    nodes: [Receiver; 2],
    sent: Vec<Sent>,
    faults: u8,
}

/// A step from one state of the model to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The sender rates a record that posts to the receiver's account.
    Make,
    /// The sender's segment commits.
    Commit,
    /// The sender's owner crashes before its segment commits: the posting is lost.
    Lose,
    /// A node claims the receiver and reads its log.
    TakeOver(usize),
    /// The receiver's owner fetches the available postings and sends an append.
    Fetch(usize),
    /// The receiver's owner stops waiting for its append and gives up ownership (P2).
    GiveUp(usize),
    /// The database carries out an append.
    CarryOut(usize),
    /// Mutant: a separate statement stores the cursor.
    StoreCursor(usize),
}

impl State {
    fn posted(&self) -> impl Iterator<Item = u8> {
        self.log.iter().flat_map(|entry| entry.posted.iter().copied())
    }

    fn cursor(&self) -> usize {
        self.log.last().map_or(0, |entry| entry.cursor)
    }

    fn take_over(&mut self, at: usize, model: &Postings) {
        self.epoch += 1;
        let cursor = if model.cursor_in_segment { self.cursor() } else { self.stored_cursor };
        let (epoch, next) = (Some(self.epoch), self.log.len());
        self.nodes[at] = Receiver { epoch, next, cursor, waits: false };
    }

    fn fetch(&mut self, at: usize, model: &Postings) {
        let node = &mut self.nodes[at];
        let Some(epoch) = node.epoch else { return };
        let mut seen = self.outbox.clone();
        if !model.fetch_after_commit {
            seen.extend(self.speculative);
        }
        let oldest = if model.no_horizon { 0 } else { seen.len().saturating_sub(1) };
        let from = node.cursor.max(oldest).min(seen.len());
        let entry = Entry { posted: seen[from..].to_vec(), cursor: seen.len() };
        node.waits = true;
        self.sent.push(Sent { from: at, awaited: true, epoch, next: node.next, entry });
    }

    fn carry_out(&mut self, index: usize, model: &Postings) {
        let Sent { from, awaited, epoch, next, entry } = self.sent.remove(index);
        let passes = !model.fence || (epoch, next) == (self.epoch, self.log.len());
        let node = &mut self.nodes[from];
        if passes {
            self.log.push(entry.clone());
        }
        match (awaited, passes) {
            (false, _) => {}
            (true, false) => *node = Receiver::default(),
            (true, true) => {
                node.next += 1;
                node.cursor = entry.cursor;
                node.waits = false;
            }
        }
    }

    fn give_up(&mut self, at: usize) {
        self.faults += 1;
        self.nodes[at] = Receiver::default();
        for sent in self.sent.iter_mut().filter(|sent| sent.from == at) {
            sent.awaited = false;
        }
    }
}

impl Model for Postings {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            outbox: Vec::new(),
            speculative: None,
            made: 0,
            epoch: 0,
            log: Vec::new(),
            stored_cursor: 0,
            nodes: Default::default(),
            sent: Vec::new(),
            faults: 0,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.speculative.is_some() {
            actions.extend([Action::Commit, Action::Lose]);
        } else if state.made < self.postings {
            actions.push(Action::Make);
        }
        for (at, node) in state.nodes.iter().enumerate() {
            match node {
                Receiver { epoch: None, .. } if state.epoch < self.claims => {
                    actions.push(Action::TakeOver(at));
                }
                Receiver { epoch: None, .. } => {}
                Receiver { waits: true, .. } if state.faults < self.faults => {
                    actions.push(Action::GiveUp(at));
                }
                Receiver { waits: true, .. } => {}
                _ => actions.push(Action::Fetch(at)),
            }
            if !self.cursor_in_segment && node.cursor > state.stored_cursor {
                actions.push(Action::StoreCursor(at));
            }
        }
        actions.extend((0..state.sent.len()).map(Action::CarryOut));
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Make => {
                state.speculative = Some(state.made);
                state.made += 1;
            }
            Action::Commit => state.outbox.extend(state.speculative.take()),
            Action::Lose => state.speculative = None,
            Action::TakeOver(at) => state.take_over(at, self),
            Action::Fetch(at) => {
                let seen = state.outbox.len();
                let has_more = state.nodes[at].cursor < seen
                    || (!self.fetch_after_commit && state.speculative.is_some());
                if !has_more {
                    return None;
                }
                state.fetch(at, self);
            }
            Action::GiveUp(at) => state.give_up(at),
            Action::CarryOut(index) => state.carry_out(index, self),
            Action::StoreCursor(at) => state.stored_cursor = state.nodes[at].cursor,
        }
        state.sent.sort();
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(CONSERVED, |_, state: &State| {
                let done = state.outbox.get(..state.cursor());
                done.is_some_and(|done| state.posted().eq(done.iter().copied()))
            }),
            Property::sometimes(ALL_POSTED, |model: &Self, state: &State| {
                state.posted().count() == usize::from(model.postings)
            }),
        ]
    }
}

/// The receiver has booked exactly the committed postings before its cursor, each once and in
/// order. So no posting is lost or booked twice.
pub const CONSERVED: &str = "P33 money is conserved";
/// Some state must fulfil this, so that the other property is not vacuous.
pub const ALL_POSTED: &str = "every posting is booked";
