//! Splits a batch into one byte string for each partition. Of a record, only a few fields are
//! decoded (the peek).
//!
//! ```text
//!  BatchFrame --walk, peek--> account ------------------> partition that covers it
//!                             identity --bound at start--> partition of the account
//!                                      `-unbound---------> home partition of the identity (P28)
//!                             uncovered account ---------> home partition of the number (P35)
//!                             identity changed hands ----> decided before (reassign.rs)
//! ```
//!
//! Records of one partition keep their relative order, with or without a look-up of the account, so
//! that the order of each account is kept.

use std::collections::HashMap;

use turnpike_access::Permit;
use turnpike_mutants::{Check, off};
use turnpike_proto::frame::{BatchFrame, push_record};
use turnpike_proto::record::{Peek, is_identity, peek, put_with_identity};
use turnpike_proto::wire::{WireError, put_number};
use turnpike_types::text::{self, TextError};
use turnpike_types::{AccountNumber, Must, PartitionId, RejectReason, Timestamp, limits};

use crate::ingest::decided::Decided;
use crate::ingest::sub_batch::TRAILER_BYTES;
use crate::routing::guiding::{HistoryBySpelling, IdentityKey, bound_at};
use crate::routing::table::{RouteTable, stated_mark};

/// The result of splitting a batch.
#[derive(Debug, Default)]
pub(crate) struct Split {
    /// The number of records in the batch.
    pub(crate) records: u32,
    /// One part for each partition, in the order of first appearance.
    pub(crate) parts: Vec<PartitionPart>,
    /// Records that the front rejects itself: index and reason.
    pub(crate) refused: Vec<(u32, RejectReason)>,
    /// Records that were answered already: index and outcome.
    pub(crate) decided: Vec<(u32, Decided)>,
}

/// The records of one partition.
#[derive(Debug)]
pub(crate) struct PartitionPart {
    pub(crate) partition: PartitionId,
    /// Encoded by [`push_record`].
    pub(crate) records: Vec<u8>,
    pub(crate) count: u32,
    /// Maps an index in the part to an index in the batch; `None` when both are equal.
    pub(crate) indexes: Option<Vec<u32>>,
    /// If an account was looked up by identity: an instant before the look-up, by the database's
    /// clock, in microseconds. Otherwise 0.
    pub(crate) guided_us: u64,
}

/// Why a batch can't be split, or not yet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SplitStop {
    /// Some records have identities that must be looked up first.
    NeedsGuiding,
    /// The cluster has no partitions.
    NoPartitions,
    /// The bytes are not a valid batch.
    Malformed(WireError),
    /// The batch has more records than allowed.
    TooManyRecords(usize),
    /// The source's name is too long.
    LongSource(usize),
    /// The source's name has a control character.
    BadSource(TextError),
}

/// The source and number of a batch, for messages and for the acknowledgement.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct BatchId {
    pub(crate) source: String,
    pub(crate) batch_number: u64,
}

/// Splits batches. Its buffers are reused from batch to batch.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    /// Maps a slot (the index of a partition in the routing table) to the index in `parts` plus
    /// one; 0: there is no part yet.
    part_of: Vec<u32>,
    guided: Vec<u8>,
    /// The records that the sender may send; `None` for all.
    pub(crate) limit: Option<SendLimit>,
}

/// The records that a sender may send.
#[derive(Debug)]
pub(crate) struct SendLimit {
    permit: Permit,
    /// The source of the batch.
    source: String,
}

impl SendLimit {
    /// The limit for the records of a batch; `None` if the sender may send any record.
    pub(crate) fn of(permit: &Permit, frame: &BatchFrame) -> Option<Self> {
        let is_limited = !permit.is_unlimited();
        is_limited.then(|| Self { permit: permit.clone(), source: head_of(frame).source })
    }

    /// `None`: the account of the record is not known yet, and may become any.
    fn permits(&self, account: Option<AccountNumber>) -> bool {
        self.permit.covers_record(account, &self.source)
    }
}

/// Why the number of records fits 32 bits.
const FEW: &str = "a batch has at most BATCH_RECORDS_MAX records";
/// Why a slot to which a record was added has a part.
const HAS_PART: &str = "the first record of a partition makes its part";

struct SplitState<'a> {
    table: &'a RouteTable,
    histories: Option<&'a HistoryBySpelling>,
    split: Split,
    records: usize,
    /// The range that contained the last account: batches are often sorted.
    last: Option<(u64, u64, usize)>,
    stop: Option<SplitStop>,
    part_bytes: usize,
}

impl Splitter {
    /// Splits `frame` by `table`. `histories` is `None` on the first attempt, which suffices for a
    /// batch without identities.
    ///
    /// # Errors
    /// [`SplitStop`]; no record of the batch was sent.
    pub(crate) fn split(
        &mut self,
        frame: &BatchFrame,
        table: &RouteTable,
        histories: Option<&HistoryBySpelling>,
    ) -> Result<(BatchId, Split), SplitStop> {
        self.split_rest(frame, table, histories, Vec::new())
    }

    /// Splits the records of `frame` that are not among `decided`, which is sorted by index.
    ///
    /// # Errors
    /// [`SplitStop`]; no record of the batch was sent.
    pub(crate) fn split_rest(
        &mut self,
        frame: &BatchFrame,
        table: &RouteTable,
        histories: Option<&HistoryBySpelling>,
        decided: Vec<(u32, Decided)>,
    ) -> Result<(BatchId, Split), SplitStop> {
        if table.len() == 0 {
            return Err(SplitStop::NoPartitions);
        }
        self.part_of.clear();
        self.part_of.resize(table.len(), 0);
        let bytes = frame.body().len();
        let part_bytes = if table.len() == 1 { bytes } else { bytes / table.len() * 5 / 4 };
        let mut run = SplitState {
            table,
            histories,
            split: Split { decided, ..Split::default() },
            records: 0,
            last: None,
            stop: None,
            part_bytes: part_bytes + TRAILER_BYTES,
        };
        let head = frame
            .walk(|record| {
                run.records += 1;
                if run.stop.is_none() && run.records <= limits::BATCH_RECORDS_MAX {
                    self.place(&mut run, record);
                }
            })
            .map_err(SplitStop::Malformed)?;
        if head.source.len() > limits::SOURCE_BYTES_MAX {
            return Err(SplitStop::LongSource(head.source.len()));
        }
        text::SOURCE.check(head.source).map_err(SplitStop::BadSource)?;
        if run.records > limits::BATCH_RECORDS_MAX {
            return Err(SplitStop::TooManyRecords(run.records));
        }
        if let Some(stop) = run.stop {
            return Err(stop);
        }
        let head = BatchId { source: head.source.to_owned(), batch_number: head.batch_number };
        Ok((head, run.finish()))
    }

    fn permits(&self, account: Option<AccountNumber>) -> bool {
        self.limit.as_ref().is_none_or(|limit| limit.permits(account))
    }

    /// Whether the sender may send a record that `first` or `to` gets, as the partition of `first`
    /// decides: both accounts must be in reach.
    pub(crate) fn permits_moved(&self, first: AccountNumber, to: Option<AccountNumber>) -> bool {
        self.permits(Some(first)) && self.permits(to)
    }

    /// Adds one record to the part of its partition.
    fn place(&mut self, run: &mut SplitState<'_>, record: &[u8]) {
        let index = u32::try_from(run.records - 1).must(FEW);
        if run.split.decided.binary_search_by_key(&index, |(index, _)| *index).is_ok() {
            return;
        }
        let found = match peek(record) {
            Ok(found) => found,
            Err(_) => return run.split.refused.push((index, RejectReason::Malformed)),
        };
        if found.account.0 != 0 {
            if !self.permits(Some(found.account)) {
                return run.split.refused.push((index, RejectReason::NotPermitted));
            }
            let slot = run.slot_of(found.account);
            return self.push(run, slot, index, record);
        }
        if !is_identity(found.identity) {
            return run.split.refused.push((index, RejectReason::NoAccount));
        }
        if found.identity.len() > limits::IDENTITY_BYTES_MAX {
            return run.split.refused.push((index, RejectReason::TooLarge));
        }
        let key = IdentityKey::of(found.identity);
        match run.guide(&key, &found) {
            None => run.stop = Some(SplitStop::NeedsGuiding),
            Some(None) if !key.may_wait => {
                run.split.refused.push((index, RejectReason::BadIdentity));
            }
            Some(account) if !self.permits(account) => {
                run.split.refused.push((index, RejectReason::NotPermitted));
            }
            Some(None) => self.push_unbound(run, &key, &found, index, record),
            Some(Some(account)) => {
                // Appends the account as a second field 1: protobuf decoders use the last value of
                // a repeated scalar field. The record keeps its identity and is not decoded.
                let mut guided = std::mem::take(&mut self.guided);
                guided.clear();
                guided.extend_from_slice(record);
                put_number(&mut guided, 1, account.0);
                let slot = run.slot_of(account);
                self.push(run, slot, index, &guided);
                self.note_guided(run, slot);
                self.guided = guided;
            }
        }
    }

    /// Adds a record of an unbound identity to the identity's home partition, under the canonical
    /// spelling. So the same record with another spelling has the same deduplication key.
    fn push_unbound(
        &mut self,
        run: &mut SplitState<'_>,
        key: &IdentityKey<'_>,
        found: &Peek<'_>,
        index: u32,
        record: &[u8],
    ) {
        let slot = run.table.home_of_identity(&key.text);
        if key.text == found.identity {
            return self.push(run, slot, index, record);
        }
        let mut spelled = std::mem::take(&mut self.guided);
        spelled.clear();
        match put_with_identity(record, &key.text, &mut spelled) {
            Ok(()) => self.push(run, slot, index, &spelled),
            Err(_) => run.split.refused.push((index, RejectReason::Malformed)),
        }
        self.guided = spelled;
    }

    /// Stores the mark of the look-up, which is an instant before the look-up by the database's
    /// clock, in the part of this slot. The part now holds a record whose account was looked up.
    /// The mark comes from the routes, which were read before the look-up.
    fn note_guided(&self, run: &mut SplitState<'_>, slot: Option<usize>) {
        if run.stop.is_some() || off(Check::MarkStated) {
            return;
        }
        let known = slot.and_then(|slot| self.part_of.get(slot)).copied();
        let part = run.split.parts.get_mut(known.must(HAS_PART) as usize - 1).must(HAS_PART);
        part.guided_us = stated_mark(run.table.guided_through());
    }

    fn push(&mut self, run: &mut SplitState<'_>, slot: Option<usize>, index: u32, record: &[u8]) {
        let place = slot.and_then(|slot| Some((self.part_of.get_mut(slot)?, run.table.at(slot)?)));
        let Some((known, route)) = place else {
            run.stop = Some(SplitStop::NoPartitions);
            return;
        };
        if *known == 0 {
            run.split.parts.push(PartitionPart {
                partition: route.partition,
                records: Vec::with_capacity(run.part_bytes),
                count: 0,
                indexes: Some(Vec::new()),
                guided_us: 0,
            });
            *known =
                u32::try_from(run.split.parts.len()).must("partitions have numbers of 32 bits");
        }
        let part = run.split.parts.get_mut(*known as usize - 1).must(HAS_PART);
        push_record(&mut part.records, record);
        part.count += 1;
        if let Some(indexes) = &mut part.indexes {
            indexes.push(index);
        }
    }
}

impl SplitState<'_> {
    fn slot_of(&mut self, account: AccountNumber) -> Option<usize> {
        if let Some((first, last, slot)) = self.last
            && (first..=last).contains(&account.0)
        {
            return Some(slot);
        }
        match self.table.range_of(account) {
            Some(range) => {
                self.last = Some(range);
                Some(range.2)
            }
            None => self.table.home_of_account(account),
        }
    }

    /// Returns `None` if the identity was not looked up yet, and `Some(None)` if it was unbound at
    /// the start of the record.
    fn guide(&self, key: &IdentityKey<'_>, found: &Peek<'_>) -> Option<Option<AccountNumber>> {
        let history = self.histories?.get(&*key.text);
        Some(history.and_then(|history| bound_at(history, found.start)))
    }

    fn finish(self) -> Split {
        let mut split = self.split;
        split.records = u32::try_from(self.records).must(FEW);
        if split.refused.is_empty()
            && split.decided.is_empty()
            && let [whole] = split.parts.as_mut_slice()
        {
            whole.indexes = None;
        }
        split
    }
}

/// The distinct identities of a batch in canonical spelling, each with the starts of its records.
pub(crate) fn identities(frame: &BatchFrame) -> HashMap<String, Vec<Timestamp>> {
    let mut found: HashMap<String, Vec<Timestamp>> = HashMap::new();
    // The split reports malformed records.
    let _ = frame.walk(|record| {
        if let Ok(peek) = peek(record)
            && peek.account.0 == 0
            && is_identity(peek.identity)
            && peek.identity.len() <= limits::IDENTITY_BYTES_MAX
        {
            let key = IdentityKey::of(peek.identity).text;
            match found.get_mut(&*key) {
                Some(starts) => starts.push(peek.start),
                None => {
                    found.insert(key.into_owned(), vec![peek.start]);
                }
            }
        }
    });
    found
}

/// The part of the head that can be read from a frame that can't be split.
pub(crate) fn head_of(frame: &BatchFrame) -> BatchId {
    let mut head = BatchId::default();
    let mut fields = turnpike_proto::wire::Fields::new(frame.body());
    while let Ok(Some((field, value))) = fields.next_field() {
        if field == 1
            && let Ok(source) = value.text(1)
        {
            head.source = source.to_owned();
        } else if field == 2
            && let Ok(number) = value.varint(2)
        {
            head.batch_number = number;
        }
    }
    head.source.truncate(head.source.floor_char_boundary(limits::SOURCE_BYTES_MAX));
    head
}

#[cfg(test)]
pub(crate) mod tests;
