//! From a batch to runs of bytes, one a partition: nothing is decoded beyond the peek.
//!
//! ```text
//!  BatchFrame --walk, peek--> account ------------------> partition that covers it
//!                             identity --guided at start-> partition of the account
//!                                      `-unbound---------> home partition of the identity (P28)
//!                             uncovered account ---------> home partition of the number (P35)
//! ```
//!
//! A record keeps its place among the records of its partition, guided or not, so that order is
//! kept for each account.

use std::collections::HashMap;
use std::sync::Arc;

use turnpike_proto::frame::{BatchFrame, push_record};
use turnpike_proto::record::{Peek, is_identity, peek, put_with_identity};
use turnpike_proto::wire::{WireError, put_number};
use turnpike_store::Guided;
use turnpike_types::{AccountNumber, PartitionId, RejectReason, Timestamp, limits};

use crate::guiding::{Key, bound_at};
use crate::routes::RouteTable;

/// The identities of a batch, by their one spelling, with their histories.
pub(crate) type Histories = HashMap<String, Arc<Guided>>;

/// A batch, split.
#[derive(Debug, Default)]
pub(crate) struct Split {
    /// How many records the batch has.
    pub(crate) records: u32,
    /// In the order in which partitions first appear.
    pub(crate) parts: Vec<Part>,
    /// Records that the front refuses by itself.
    pub(crate) refused: Vec<(u32, RejectReason)>,
}

/// The records of one partition.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) partition: PartitionId,
    /// As [`push_record`] makes them.
    pub(crate) records: Vec<u8>,
    pub(crate) count: u32,
    /// Index in the part -> index in the batch; `None` when they are the same.
    pub(crate) indexes: Option<Vec<u32>>,
}

/// Why a batch can't be split (yet).
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SplitStop {
    /// Some records name identities: these must be looked up first.
    NeedsGuiding,
    /// There are no partitions.
    NoPartitions,
    /// Not a batch.
    Malformed(WireError),
    /// More records than a batch may have.
    TooManyRecords(usize),
    /// The source's name is too long.
    LongSource(usize),
}

/// What a frame says of itself, for people and for the acknowledgement.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) source: String,
    pub(crate) batch_number: u64,
}

/// Splits batches; its tables are reused from batch to batch.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    /// Slot -> index in `parts`, plus one.
    part_of: Vec<u32>,
    guided: Vec<u8>,
}

struct Run<'a> {
    table: &'a RouteTable,
    histories: Option<&'a Histories>,
    split: Split,
    records: usize,
    /// The range that the last record was found in: batches are often sorted.
    last: Option<(u64, u64, usize)>,
    stop: Option<SplitStop>,
    part_bytes: usize,
}

impl Splitter {
    /// Splits `frame` by `table`. `histories` is `None` on the first try, which is the only one
    /// for a batch without identities.
    ///
    /// # Errors
    /// [`SplitStop`]; nothing of the batch was taken.
    pub(crate) fn split(
        &mut self,
        frame: &BatchFrame,
        table: &RouteTable,
        histories: Option<&Histories>,
    ) -> Result<(Head, Split), SplitStop> {
        if table.len() == 0 {
            return Err(SplitStop::NoPartitions);
        }
        self.part_of.clear();
        self.part_of.resize(table.len(), 0);
        let bytes = frame.body().len();
        let part_bytes = if table.len() == 1 { bytes } else { bytes / table.len() * 5 / 4 };
        let mut run = Run {
            table,
            histories,
            split: Split::default(),
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
        if run.records > limits::BATCH_RECORDS_MAX {
            return Err(SplitStop::TooManyRecords(run.records));
        }
        if let Some(stop) = run.stop {
            return Err(stop);
        }
        let head = Head { source: head.source.to_owned(), batch_number: head.batch_number };
        Ok((head, run.finish()))
    }

    /// Puts one record into the part of its partition.
    fn place(&mut self, run: &mut Run<'_>, record: &[u8]) {
        let index = u32::try_from(run.records - 1).unwrap_or(u32::MAX);
        let found = match peek(record) {
            Ok(found) => found,
            Err(_) => return run.split.refused.push((index, RejectReason::Malformed)),
        };
        if found.account.0 != 0 {
            let slot = run.slot_of(found.account);
            return self.push(run, slot, index, record);
        }
        if !is_identity(found.identity) {
            return run.split.refused.push((index, RejectReason::NoAccount));
        }
        if found.identity.len() > limits::IDENTITY_BYTES_MAX {
            return run.split.refused.push((index, RejectReason::TooLarge));
        }
        let key = Key::of(found.identity);
        match run.guide(&key, &found) {
            None => run.stop = Some(SplitStop::NeedsGuiding),
            Some(None) if !key.may_wait => {
                run.split.refused.push((index, RejectReason::BadIdentity));
            }
            Some(None) => self.push_unbound(run, &key, &found, index, record),
            Some(Some(account)) => {
                // Of a field given twice the last one counts: the record gets its account, keeps
                // its identity, and is not decoded.
                let mut guided = std::mem::take(&mut self.guided);
                guided.clear();
                guided.extend_from_slice(record);
                put_number(&mut guided, 1, account.0);
                let slot = run.slot_of(account);
                self.push(run, slot, index, &guided);
                self.guided = guided;
            }
        }
    }

    /// A record waits at home under the one spelling of its identity: sent again in another, it is
    /// the same record.
    fn push_unbound(
        &mut self,
        run: &mut Run<'_>,
        key: &Key<'_>,
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

    fn push(&mut self, run: &mut Run<'_>, slot: Option<usize>, index: u32, record: &[u8]) {
        let place = slot.and_then(|slot| Some((self.part_of.get_mut(slot)?, run.table.at(slot)?)));
        let Some((known, route)) = place else {
            run.stop = Some(SplitStop::NoPartitions);
            return;
        };
        if *known == 0 {
            run.split.parts.push(Part {
                partition: route.partition,
                records: Vec::with_capacity(run.part_bytes),
                count: 0,
                indexes: Some(Vec::new()),
            });
            *known = u32::try_from(run.split.parts.len()).unwrap_or(u32::MAX);
        }
        let Some(part) = run.split.parts.get_mut(*known as usize - 1) else { return };
        push_record(&mut part.records, record);
        part.count += 1;
        if let Some(indexes) = &mut part.indexes {
            indexes.push(index);
        }
    }
}

impl Run<'_> {
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

    /// `None`: not looked up yet; `Some(None)`: bound to nobody when the record began.
    fn guide(&self, key: &Key<'_>, found: &Peek<'_>) -> Option<Option<AccountNumber>> {
        let history = self.histories?.get(&*key.text);
        Some(history.and_then(|history| bound_at(history, found.start)))
    }

    fn finish(self) -> Split {
        let mut split = self.split;
        split.records = u32::try_from(self.records).unwrap_or(u32::MAX);
        if split.refused.is_empty()
            && let [whole] = split.parts.as_mut_slice()
        {
            whole.indexes = None;
        }
        split
    }
}

/// Room for the fields that a lane adds behind the records.
pub(crate) const TRAILER_BYTES: usize = 24;

/// Each distinct identity of the batch, in its one spelling, with every start at which it is asked
/// for.
pub(crate) fn identities(frame: &BatchFrame) -> HashMap<String, Vec<Timestamp>> {
    let mut found: HashMap<String, Vec<Timestamp>> = HashMap::new();
    // What is malformed was or will be found by the split.
    let _ = frame.walk(|record| {
        if let Ok(peek) = peek(record)
            && peek.account.0 == 0
            && is_identity(peek.identity)
            && peek.identity.len() <= limits::IDENTITY_BYTES_MAX
        {
            let key = Key::of(peek.identity).text;
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

/// The head of a frame that can't be split: as much of it as can be read.
pub(crate) fn head_of(frame: &BatchFrame) -> Head {
    let mut head = Head::default();
    let mut fields = turnpike_proto::wire::Fields::new(frame.body());
    while let Ok(Some((field, value))) = fields.next_field() {
        match field {
            1 => head.source = value.text(1).unwrap_or_default().to_owned(),
            2 => head.batch_number = value.varint(2).unwrap_or_default(),
            _ => {}
        }
    }
    head.source.truncate(head.source.floor_char_boundary(limits::SOURCE_BYTES_MAX));
    head
}

#[cfg(test)]
pub(crate) mod tests;
