//! Records that wait in suspense.

use std::collections::BTreeMap;

use turnpike_types::{AccountNumber, Detail, SuspenseReason};

use crate::keys::Location;

/// The key of a record that waits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaitingKey {
    /// The account; zero when the identity was bound to none.
    pub account: AccountNumber,
    /// The identity, where the account is zero; else empty.
    pub identity: String,
    /// The sender's id.
    pub record_id: String,
}

/// A record that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Where its first arrival is logged.
    pub location: Location,
    /// Why it waits.
    pub reason: SuspenseReason,
    /// What the reason of the last vain try is about. That of the first arrival stands beside its
    /// record in the log: it is none here while the revision is 0.
    pub detail: Detail,
    /// How often it was tried again in vain (P35).
    pub revision: u32,
}

/// All that waits, sorted by key.
#[derive(Debug, Default)]
pub struct Suspense {
    waiting: BTreeMap<WaitingKey, Waiting>,
}

impl Suspense {
    /// What waits under `key`.
    pub fn get(&self, key: &WaitingKey) -> Option<&Waiting> {
        self.waiting.get(key)
    }

    /// All that waits, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&WaitingKey, &Waiting)> {
        self.waiting.iter()
    }

    /// What waits for `account`.
    pub fn of(&self, account: AccountNumber) -> impl Iterator<Item = (&WaitingKey, &Waiting)> {
        let first = WaitingKey { account, identity: String::new(), record_id: String::new() };
        self.waiting.range(first..).take_while(move |(key, _)| key.account == account)
    }

    /// How many records wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn insert(&mut self, key: WaitingKey, waiting: Waiting) {
        self.waiting.insert(key, waiting);
    }

    pub(crate) fn remove(&mut self, key: &WaitingKey) -> Option<Waiting> {
        self.waiting.remove(key)
    }

    /// All that waits, sorted by key, to be changed.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Waiting> {
        self.waiting.values_mut()
    }

    pub(crate) fn get_mut(&mut self, key: &WaitingKey) -> Option<&mut Waiting> {
        self.waiting.get_mut(key)
    }
}
