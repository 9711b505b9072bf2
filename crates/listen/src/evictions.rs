//! What can be given up to make room: messages that are not complete, and streams that are silent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;
use turnpike_shares::ClientKey;

use crate::locking::lock;

/// Something that can be given up to make room.
pub(crate) trait Evict: Send + Sync {
    /// Drops it, and its share of the budget.
    fn evict(&self);

    /// The bytes of the budget that this frees.
    fn bytes(&self) -> usize;
}

/// A list of what can be given up, by age. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Evictions(Arc<Mutex<ByAge>>);

#[derive(Default)]
struct ByAge {
    next_number: u64,
    by_number: BTreeMap<u64, Entry>,
}

struct Entry {
    client: ClientKey,
    since: Instant,
    what: Arc<dyn Evict>,
}

/// An entry in the list, until this is dropped.
pub(crate) struct Evictable {
    list: Evictions,
    number: u64,
}

impl Evictions {
    /// Enters `what`, which belongs to `client`.
    pub(crate) fn enter(&self, client: ClientKey, what: Arc<dyn Evict>) -> Evictable {
        let mut all = lock(&self.0);
        let number = all.next_number;
        all.next_number += 1;
        all.by_number.insert(number, Entry { client, since: Instant::now(), what });
        drop(all);
        Evictable { list: self.clone(), number }
    }

    /// The bytes of all entries.
    pub(crate) fn bytes(&self) -> usize {
        let entries: Vec<Arc<dyn Evict>> =
            lock(&self.0).by_number.values().map(|entry| Arc::clone(&entry.what)).collect();
        entries.iter().map(|what| what.bytes()).sum()
    }

    /// Gives up the oldest entry, if it is at least `age_min` old, entered before `before`, and one
    /// of the client `among`, if that is given. The caller must not hold a lock that
    /// [`Evict::evict`] takes.
    pub(crate) fn give_up_oldest(
        &self,
        among: Option<ClientKey>,
        before: Option<&Evictable>,
        age_min: Duration,
    ) -> bool {
        let mut all = lock(&self.0);
        let end = before.map_or(u64::MAX, |before| before.number);
        let mut older = all.by_number.range(..end);
        let oldest = older.find(|(_, entry)| among.is_none_or(|client| client == entry.client));
        let oldest = oldest.filter(|(_, entry)| entry.since.elapsed() >= age_min);
        let Some(number) = oldest.map(|(number, _)| *number) else { return false };
        let entry = all.by_number.remove(&number);
        drop(all);
        entry.is_some_and(|entry| {
            entry.what.evict();
            true
        })
    }
}

impl Drop for Evictable {
    fn drop(&mut self) {
        // An entry may own what holds the lock of a budget's part, so it is dropped afterwards.
        let entry = lock(&self.list.0).by_number.remove(&self.number);
        drop(entry);
    }
}
