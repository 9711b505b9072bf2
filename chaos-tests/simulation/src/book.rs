//! The records that clients sent and the answers that they received: the external view that the
//! oracle uses.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The key of a record: account number and record id.
pub type Key = (u64, String);

/// The kind of a record, which determines the answer that the record must get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An ordinary record: it must be rated.
    Plain,
    /// A record of an account that was never opened: it must be suspended.
    Unknown,
    /// A record whose key was used before with other content: it must be rejected.
    Conflict,
}

/// The answer to one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Rated by this sending.
    Accepted,
    /// Rated by an earlier sending.
    Duplicate,
    /// Suspended, by this sending or by an earlier one.
    Suspended {
        /// The reason code.
        reason: String,
        /// Whether the record was suspended by an earlier sending, not by this one.
        replayed: bool,
    },
    /// Rejected, with the reason code.
    Rejected(String),
}

/// A record that a client sent, and the answers to it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The quantity of the record.
    pub quantity: i64,
    /// The answer that it must get.
    pub kind: Kind,
    /// Whether a client received an answer according to which the record is durable.
    pub acknowledged: bool,
    /// The number of answers that report the record as new, that is, as rated or suspended by this
    /// sending. More than one is a violation.
    first: u32,
}

/// The records, answers and violations of all clients.
#[derive(Debug, Default)]
pub struct Book {
    /// All records that clients sent, by key.
    pub records: BTreeMap<Key, Entry>,
    /// The violations of invariants that clients observed, as messages.
    pub violations: Vec<String>,
    /// The number of answers to records, and the number of those that repeated the outcome of an
    /// earlier sending.
    pub answers: (u64, u64),
    /// Number of accounts read.
    pub shown: u64,
    /// The account of the last acknowledged record, where an outdated answer to a read is most
    /// likely.
    pub last: u64,
    /// The number of acknowledged batches of each client, by its name.
    pub done: BTreeMap<String, u64>,
    /// The number of times that clients sent unanswered batches again.
    pub resent: u64,
    /// Number of changes of bindings that were answered.
    pub changes: u64,
}

/// A book that all clients share.
pub type SharedBook = Arc<Mutex<Book>>;

/// Locks the book.
pub fn open(book: &SharedBook) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Book {
    /// Enters a record before it is sent. A record with a used key and other content is not
    /// entered.
    pub fn send(&mut self, key: &Key, quantity: i64, kind: Kind) {
        if kind != Kind::Conflict {
            let fresh = Entry { quantity, kind, acknowledged: false, first: 0 };
            self.records.entry(key.clone()).or_insert(fresh);
        }
    }

    /// Enters and checks an answer (I5).
    pub fn told(&mut self, key: &Key, kind: Kind, answer: &Answer) {
        let Some(entry) = self.records.get_mut(key) else { return };
        self.answers.0 += 1;
        let is_first = matches!(
            (kind, answer),
            (Kind::Plain, Answer::Accepted)
                | (Kind::Unknown, Answer::Suspended { replayed: false, .. })
        );
        let fits = match (kind, answer) {
            (Kind::Plain, Answer::Accepted | Answer::Duplicate) => true,
            (Kind::Unknown, Answer::Suspended { reason, .. }) => reason == "unknown-account",
            (Kind::Conflict, Answer::Rejected(reason)) => reason == "conflict",
            _ => false,
        };
        if !fits {
            self.violations.push(format!("I5: {key:?}, {kind:?}, was answered {answer:?}"));
        }
        if kind == Kind::Conflict {
            return;
        }
        entry.first += u32::from(is_first);
        self.answers.1 += u64::from(!is_first);
        if entry.first > 1 {
            self.violations.push(format!("I2, I5: {key:?} was taken as new twice"));
        }
        entry.acknowledged = true;
        if kind == Kind::Plain {
            self.last = key.0;
        }
    }

    /// Returns the acknowledged usage of an account, and all usage of the account that was sent.
    pub fn used(&self, account: u64) -> (i128, i128) {
        let (mut acknowledged, mut sent) = (0, 0);
        let all = (account, String::new())..(account + 1, String::new());
        for entry in self.records.range(all).map(|(_, entry)| entry) {
            if entry.kind == Kind::Plain {
                sent += i128::from(entry.quantity);
                acknowledged += if entry.acknowledged { i128::from(entry.quantity) } else { 0 };
            }
        }
        (acknowledged, sent)
    }
}
