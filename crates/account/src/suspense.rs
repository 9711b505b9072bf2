//! The records in suspense.

use std::collections::BTreeMap;
use std::ops::Bound;

use turnpike_types::{AccountNumber, Detail, SuspenseReason};

use crate::keys::Location;

/// The key of a suspended record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaitingKey {
    /// The account; zero when the identity was unbound.
    pub account: AccountNumber,
    /// The identity if the account is zero; else empty.
    pub identity: String,
    /// The record id that the sender gave.
    pub record_id: String,
}

/// A suspended record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The log position of the record's first arrival.
    pub location: Location,
    /// The reason of the suspension.
    pub reason: SuspenseReason,
    /// The detail of the reason after the last recycling; empty while `revision` is 0. The detail
    /// at the first arrival is in the log, with the record.
    pub detail: Detail,
    /// The number of unsuccessful attempts to recycle the record (P35).
    pub revision: u32,
}

/// All suspended records of a partition, sorted by key.
#[derive(Debug, Default)]
pub struct Suspense {
    waiting: BTreeMap<WaitingKey, Waiting>,
}

impl Suspense {
    /// The suspended record with this key.
    pub fn get(&self, key: &WaitingKey) -> Option<&Waiting> {
        self.waiting.get(key)
    }

    /// All suspended records, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&WaitingKey, &Waiting)> {
        self.waiting.iter()
    }

    /// The suspended records after `key`, sorted by key; all of them if there is no key.
    pub fn after(&self, key: Option<&WaitingKey>) -> impl Iterator<Item = (&WaitingKey, &Waiting)> {
        let from = key.map_or(Bound::Unbounded, Bound::Excluded);
        self.waiting.range::<WaitingKey, _>((from, Bound::Unbounded))
    }

    /// The suspended records of `account`.
    pub fn of(&self, account: AccountNumber) -> impl Iterator<Item = (&WaitingKey, &Waiting)> {
        let first = WaitingKey { account, identity: String::new(), record_id: String::new() };
        self.waiting.range(first..).take_while(move |(key, _)| key.account == account)
    }

    /// The number of suspended records.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether there are no suspended records.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn insert(&mut self, key: WaitingKey, waiting: Waiting) {
        self.waiting.insert(key, waiting);
    }

    pub(crate) fn remove(&mut self, key: &WaitingKey) -> Option<Waiting> {
        self.waiting.remove(key)
    }

    /// Mutable access to all suspended records, sorted by key.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Waiting> {
        self.waiting.values_mut()
    }

    pub(crate) fn get_mut(&mut self, key: &WaitingKey) -> Option<&mut Waiting> {
        self.waiting.get_mut(key)
    }
}
