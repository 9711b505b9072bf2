//! What clients sent, and what they were told: the outside view on which the oracle rests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A record's key.
pub type Key = (u64, String);

/// Which answer a record must get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It is rated.
    Plain,
    /// Its account was never opened: it waits in suspense.
    Unknown,
    /// Its key came before with other content: it is rejected.
    Conflict,
}

/// What a client was told of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Rated now.
    Accepted,
    /// Rated before.
    Duplicate,
    /// In suspense, since now or since before.
    Suspended {
        /// Why.
        reason: String,
        /// It was there before.
        replayed: bool,
    },
    /// Not taken.
    Rejected(String),
}

/// One record.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its quantity.
    pub quantity: i64,
    /// Whether it is rated or suspended.
    pub kind: Kind,
    /// A client was told that it is durable.
    pub acknowledged: bool,
    /// Answers that said "now".
    first: u32,
}

/// The clients' book.
#[derive(Debug, Default)]
pub struct Book {
    /// All records that were ever sent.
    pub records: BTreeMap<Key, Entry>,
    /// What clients saw that must not be.
    pub violations: Vec<String>,
    /// Answers to records: all, and those that were replayed.
    pub answers: (u64, u64),
    /// Accounts shown.
    pub shown: u64,
    /// The account of the last record that was acknowledged: where a stale answer would show.
    pub last: u64,
    /// Batches sent again.
    pub resent: u64,
}

/// A book that all clients write in.
pub type SharedBook = Arc<Mutex<Book>>;

/// The book, for a moment.
pub fn open(book: &SharedBook) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Book {
    /// A record is about to be sent; a conflicting copy is none of the book's business.
    pub fn send(&mut self, key: &Key, quantity: i64, kind: Kind) {
        if kind != Kind::Conflict {
            let fresh = Entry { quantity, kind, acknowledged: false, first: 0 };
            self.records.entry(key.clone()).or_insert(fresh);
        }
    }

    /// A client was told this (I5).
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

    /// How much an account has used, as far as is acknowledged, and as far as was sent.
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
