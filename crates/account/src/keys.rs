//! The index of deduplication keys: which records are in the log, and at which position
//! (docs/architecture.md section 6).

use std::collections::VecDeque;

use hashbrown::HashTable;
use smallvec::SmallVec;
use turnpike_types::{AccountNumber, SegmentNumber, Timestamp, limits};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::proof::Proof;

/// A 64-bit hash of a record's deduplication key. Equal keys have equal fingerprints; whether equal
/// fingerprints mean equal keys is checked in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub u64);

/// The fingerprint of (account, record id). If the account is unknown, the identity is hashed
/// instead of the account (P28). Checkpoints store fingerprints, so this function never changes.
pub fn fingerprint(account: AccountNumber, identity: &str, record_id: &str) -> Fingerprint {
    let seed = if account.0 == 0 { xxh3_64(identity.as_bytes()) } else { account.0 };
    Fingerprint(xxh3_64_with_seed(record_id.as_bytes(), seed))
}

/// The position of a record in the log: 40 bits for the segment, 24 bits for the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location(u64);

impl Location {
    /// The largest number of records in a segment, so that a row fits into 24 bits.
    pub const ROWS_MAX: u32 = 1 << 24;

    /// The position of the record in `row` of `segment`.
    pub const fn new(segment: SegmentNumber, row: u32) -> Self {
        Self(segment.0 << 24 | (row & (Self::ROWS_MAX - 1)) as u64)
    }

    /// The segment.
    pub const fn segment(self) -> SegmentNumber {
        SegmentNumber(self.0 >> 24)
    }

    /// The row in the segment.
    pub const fn row(self) -> u32 {
        (self.0 & (Self::ROWS_MAX as u64 - 1)) as u32
    }

    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) fingerprint: Fingerprint,
    pub(crate) location: Location,
}

/// A key, and the proof of its record if it is known.
#[derive(Clone, Copy, Debug)]
struct ProvenKey {
    key: Key,
    proof: Option<Proof>,
}

/// A position at which a record may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The position.
    pub location: Location,
    /// The proof of the record there. `None`: the record has to be looked at. It may wait in suspense,
    /// or nothing has read it since the process began.
    pub proof: Option<Proof>,
}

/// The number of hash tables. When one of them grows, only a 64th of the keys moves, so that no
/// record waits long.
const SHARDS: usize = 64;

/// The index of deduplication keys, 24 bytes for each key. Keys that have passed the acceptance
/// horizon are no longer found, because their records are now rejected as too old in any case
/// (P26).
#[derive(Debug)]
pub struct KeyIndex {
    shards: Vec<HashTable<ProvenKey>>,
    /// The keys of segments after `sealed_through`, which no published checkpoint contains yet.
    fresh: Vec<Key>,
    sealed_through: SegmentNumber,
    hours: VecDeque<Hour>,
    forgotten_through: SegmentNumber,
    swept_through: SegmentNumber,
    len: usize,
}

/// An hour of logged time, and the first segment of that hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hour {
    pub(crate) hour: i64,
    pub(crate) first: SegmentNumber,
}

const HOUR_US: i64 = 3_600_000_000;

impl Default for KeyIndex {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| HashTable::new()).collect(),
            fresh: Vec::new(),
            sealed_through: SegmentNumber(0),
            hours: VecDeque::new(),
            forgotten_through: SegmentNumber(0),
            swept_through: SegmentNumber(0),
            len: 0,
        }
    }
}

impl KeyIndex {
    /// The positions at which a record with this fingerprint may be, oldest first.
    pub fn find(&self, fingerprint: Fingerprint) -> SmallVec<[Found; 1]> {
        let mut found = SmallVec::new();
        let Some(shard) = self.shards.get(shard_of(fingerprint)) else { return found };
        for &ProvenKey { key, proof } in shard.iter_hash(fingerprint.0) {
            let is_known = key.location.segment() > self.forgotten_through;
            if key.fingerprint == fingerprint && is_known {
                found.push(Found { location: key.location, proof });
            }
        }
        if found.len() > 1 {
            found.sort_unstable_by_key(|found: &Found| found.location);
        }
        found
    }

    /// Adds a key that no published checkpoint contains yet.
    pub fn insert(&mut self, fingerprint: Fingerprint, location: Location, proof: Option<Proof>) {
        let key = Key { fingerprint, location };
        self.fresh.push(key);
        self.add(key, proof);
    }

    /// Adds a key that a published checkpoint contains.
    pub(crate) fn insert_sealed(&mut self, key: Key) {
        self.add(key, None);
    }

    fn add(&mut self, key: Key, proof: Option<Proof>) {
        if let Some(shard) = self.shards.get_mut(shard_of(key.fingerprint)) {
            let entry = ProvenKey { key, proof };
            shard.insert_unique(key.fingerprint.0, entry, |entry| entry.key.fingerprint.0);
            self.len += 1;
        }
    }

    /// Keeps the proof of the record at `location`. Returns whether it was known before; `None` if this
    /// record has no key.
    pub(crate) fn prove(
        &mut self,
        fingerprint: Fingerprint,
        location: Location,
        proof: Proof,
    ) -> Option<bool> {
        let shard = self.shards.get_mut(shard_of(fingerprint))?;
        let is_it = |entry: &ProvenKey| entry.key == Key { fingerprint, location };
        let entry = shard.find_mut(fingerprint.0, is_it)?;
        Some(entry.proof.replace(proof).is_some())
    }

    /// The number of keys in memory.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether the index is empty.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Records that `segment` was logged at `now` with this `floor`. Keys of segments whose records
    /// all start before the floor are no longer found.
    pub(crate) fn note(&mut self, segment: SegmentNumber, now: Timestamp, floor: Timestamp) {
        let hour = now.0.div_euclid(HOUR_US);
        if self.hours.back().is_none_or(|last| last.hour < hour) {
            self.hours.push_back(Hour { hour, first: segment });
        }
        // A record starts at most `AHEAD_MAX_US` after its segment's `now`. So if an hour ended at
        // least that long before the floor, all its records start before the floor.
        while let [first, second, ..] = self.hours.make_contiguous() {
            let end = (first.hour + 1).saturating_mul(HOUR_US);
            if end.saturating_add(limits::AHEAD_MAX_US) > floor.0 {
                break;
            }
            self.forgotten_through = SegmentNumber(second.first.0.saturating_sub(1));
            self.hours.pop_front();
        }
    }

    /// Frees the memory of keys that are no longer found.
    pub(crate) fn sweep(&mut self) {
        let through = self.forgotten_through;
        if through == self.swept_through {
            return;
        }
        self.swept_through = through;
        self.fresh.retain(|key| key.location.segment() > through);
        for shard in &mut self.shards {
            shard.retain(|entry| entry.key.location.segment() > through);
        }
        self.len = self.shards.iter().map(HashTable::len).sum();
    }

    /// All keys, sorted.
    pub(crate) fn sorted(&self) -> Vec<Key> {
        self.sort(self.shards.iter().flat_map(|shard| shard.iter()).map(|entry| &entry.key))
    }

    /// The sorted keys that no published checkpoint contains yet, and the segment after which they
    /// begin.
    pub(crate) fn sorted_fresh(&self) -> (SegmentNumber, Vec<Key>) {
        (self.sealed_through, self.sort(self.fresh.iter()))
    }

    fn sort<'a>(&self, keys: impl Iterator<Item = &'a Key>) -> Vec<Key> {
        let known = keys.filter(|key| key.location.segment() > self.forgotten_through);
        let mut keys: Vec<Key> = known.copied().collect();
        keys.sort_unstable();
        keys
    }

    /// Notes that a published checkpoint contains the keys of segments up to `through`.
    pub(crate) fn seal(&mut self, through: SegmentNumber) {
        self.fresh.retain(|key| key.location.segment() > through);
        self.sealed_through = self.sealed_through.max(through);
    }

    pub(crate) fn hours(&self) -> impl ExactSizeIterator<Item = Hour> {
        self.hours.iter().copied()
    }

    /// The last segment whose keys are no longer found, because its records have passed the
    /// acceptance horizon; zero if there is none.
    pub const fn forgotten_through(&self) -> SegmentNumber {
        self.forgotten_through
    }

    pub(crate) fn restore(&mut self, hours: Vec<Hour>, forgotten_through: SegmentNumber) {
        self.hours = hours.into();
        self.forgotten_through = forgotten_through;
    }
}

/// The shard of a fingerprint, computed from bits that the hash tables do not use. The hash tables
/// use the lowest and the highest bits.
const fn shard_of(fingerprint: Fingerprint) -> usize {
    (fingerprint.0 >> 48) as usize % SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fp(id: &str) -> Fingerprint {
        fingerprint(AccountNumber(1), "", id)
    }

    #[test]
    fn keys_that_share_a_fingerprint_are_all_found_oldest_first() {
        let mut index = KeyIndex::default();
        let places = [5, 3, 9].map(|segment| Location::new(SegmentNumber(segment), 7));
        for place in places {
            index.insert(Fingerprint(1), place, None);
        }
        let found = index.find(Fingerprint(1));
        let found: Vec<u64> = found.iter().map(|found| found.location.segment().0).collect();
        assert_eq!(found, [3, 5, 9]);
        assert_eq!(index.find(Fingerprint(2)).len(), 0);
    }

    #[test]
    fn p27_the_same_id_of_another_account_or_identity_is_another_key() {
        assert_ne!(fp("a"), fingerprint(AccountNumber(2), "", "a"));
        let of = |identity| fingerprint(AccountNumber(0), identity, "a");
        assert_ne!(of("ip:192.0.2.1"), of("ip:192.0.2.2"));
        assert_eq!(of("ip:192.0.2.1"), of("ip:192.0.2.1"));
    }

    #[test]
    fn p26_a_key_is_forgotten_only_when_the_floor_has_passed_every_start_it_could_have() {
        let mut index = KeyIndex::default();
        index.insert(fp("old"), Location::new(SegmentNumber(1), 0), None);
        index.note(SegmentNumber(1), Timestamp(0), Timestamp(i64::MIN));
        index.insert(fp("new"), Location::new(SegmentNumber(2), 0), None);
        index.note(SegmentNumber(2), Timestamp(3 * HOUR_US), Timestamp(0));
        let just_inside = HOUR_US + limits::AHEAD_MAX_US - 1;
        index.note(SegmentNumber(3), Timestamp(4 * HOUR_US), Timestamp(just_inside));
        assert_eq!(index.find(fp("old")).len(), 1);
        index.note(SegmentNumber(4), Timestamp(4 * HOUR_US), Timestamp(just_inside + 1));
        assert_eq!(index.find(fp("old")).len(), 0);
        assert_eq!(index.find(fp("new")).len(), 1);
        index.sweep();
        assert_eq!(index.len(), 1);
    }
}
