//! What clients were told about their records, and what they may be told next (I5).

use std::collections::BTreeMap;

use turnpike_proto::ingest::v1::{RecordResult, RecordStatus};
use turnpike_proto::node::v1::SubBatchAnswer;
use turnpike_types::{AccountNumber, UsageRecord, ZERO_DURATION};

use super::contents::{Contents, Key, key_of, price};

/// What a client knows of a record that was taken.
#[derive(Clone, Debug)]
struct Told {
    record: UsageRecord,
    is_suspended: bool,
}

/// How often each kind of answer was given.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) accepted: usize,
    pub(super) suspended: usize,
    pub(super) duplicates: usize,
    pub(super) replayed: usize,
    pub(super) replayed_rated: usize,
    pub(super) conflicts: usize,
    pub(super) too_old: usize,
    pub(super) in_the_future: usize,
    pub(super) otherwise_rejected: usize,
}

/// The answers that clients were given.
#[derive(Debug, Default)]
pub(super) struct Answers {
    told: BTreeMap<Key, Told>,
    pub(super) tally: Tally,
}

fn key(record: &UsageRecord) -> Key {
    key_of(record.account, &record.identity, &record.record_id)
}

/// The record as it is compared: a stated duration of zero is the same as none (P27).
fn content(record: &UsageRecord) -> UsageRecord {
    let mut content = record.clone();
    if content.duration_us == 0 && content.measures.get(ZERO_DURATION) == Some(&0) {
        content.measures.remove(ZERO_DURATION);
    }
    content
}

impl Answers {
    /// A client is given the answer to a sub-batch. `floor`: the start before which no record is
    /// accepted now.
    pub(super) fn note(&mut self, records: &[UsageRecord], answer: &SubBatchAnswer, floor: i64) {
        let exceptions: BTreeMap<u32, &RecordResult> =
            answer.exceptions.iter().map(|result| (result.index, result)).collect();
        assert_eq!(exceptions.len(), answer.exceptions.len(), "one result for each record");
        let mut accepted = 0;
        for (index, record) in (0u32..).zip(records) {
            match exceptions.get(&index) {
                Some(result) if result.status() == RecordStatus::Suspended => {
                    self.suspended(record, result);
                }
                Some(result) => self.rejected(record, &result.reason, floor),
                None if answer.duplicates.contains(&index) => self.duplicate(record),
                None => {
                    accepted += 1;
                    self.accepted(record);
                }
            }
        }
        assert_eq!(answer.accepted, accepted, "every record has an outcome");
    }

    fn tell(&mut self, record: &UsageRecord, is_suspended: bool) {
        self.told.entry(key(record)).or_insert(Told { record: content(record), is_suspended });
    }

    fn accepted(&mut self, record: &UsageRecord) {
        self.tally.accepted += 1;
        let known = self.told.get(&key(record));
        assert!(known.is_none(), "I5: {record:?} was taken before: {known:?}");
        self.tell(record, false);
    }

    /// A duplicate of a record that is not known was taken by an owner that did not answer.
    fn duplicate(&mut self, record: &UsageRecord) {
        self.tally.duplicates += 1;
        if let Some(known) = self.told.get(&key(record)) {
            assert!(!known.is_suspended, "I5: {record:?} waits in suspense: {known:?}");
            assert_eq!(known.record, content(record), "I5: not a duplicate");
        }
        self.tell(record, false);
    }

    fn suspended(&mut self, record: &UsageRecord, result: &RecordResult) {
        let known = self.told.get(&key(record));
        if result.replayed {
            self.tally.replayed += 1;
            self.tally.replayed_rated += usize::from(result.present == "rated");
            if let Some(known) = known {
                assert!(known.is_suspended, "I5: {record:?} was rated at once");
                assert_eq!(known.record, content(record), "I5: not the suspended record");
            }
        } else {
            self.tally.suspended += 1;
            assert!(known.is_none(), "I5: {record:?} was taken before: {known:?}");
        }
        self.tell(record, true);
    }

    fn rejected(&mut self, record: &UsageRecord, reason: &str, floor: i64) {
        match reason {
            "conflict" => {
                self.tally.conflicts += 1;
                let known = self.told.get(&key(record));
                let is_same = known.is_some_and(|known| known.record == content(record));
                assert!(!is_same, "I5: {record:?} is a conflict with itself");
            }
            "too-old" => {
                self.tally.too_old += 1;
                assert!(record.start.0 < floor, "P26: {record:?} is not too old");
            }
            "in-the-future" => self.tally.in_the_future += 1,
            _ => self.tally.otherwise_rejected += 1,
        }
    }

    /// The price of the records that were rated at once, by account, in billionths.
    pub(super) fn accepted_amounts(&self) -> BTreeMap<AccountNumber, i128> {
        let mut amounts = BTreeMap::new();
        for Told { record, .. } in self.told.values().filter(|told| !told.is_suspended) {
            let price = price(&record.usage_type, record.duration_us, record.quantity);
            *amounts.entry(record.account).or_default() += price;
        }
        amounts
    }

    /// I1, I2: the log holds each record that a client was told of, once; and what was rated at once
    /// is rated there.
    pub(super) fn assert_in_the_log(&self, contents: &Contents) {
        contents.assert_taken_once();
        let (by_key, moved) = (contents.by_key(), contents.moved_away());
        for (key, told) in &self.told {
            let found = by_key.get(key).map(Vec::as_slice).unwrap_or_default();
            let rated = found.iter().filter(|record| record.is_rated()).count();
            assert!(!found.is_empty(), "I1: {key:?} was answered and is not in the log");
            if told.is_suspended {
                assert!(rated == 0 || !moved.contains(key), "{key:?} was rated and moved away");
            } else {
                assert_eq!(rated, 1, "I1: {key:?} was accepted: {found:?}");
            }
        }
    }
}
