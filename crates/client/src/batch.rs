//! Batches of usage records, built within the limits of a front.

use std::borrow::Borrow;
use std::mem;

use turnpike_proto::frame::{BatchFrame, push_record};
use turnpike_proto::record::encode;
use turnpike_proto::wire::{put_bytes, put_number};
use turnpike_types::{UsageRecord, limits};

/// The number of bytes that the records of a batch may take: the maximum size of a batch less that
/// of its other fields. 64 bytes are more than the tags and the batch number need.
const RECORDS_BYTES_MAX: usize = limits::BATCH_BYTES_MAX - limits::SOURCE_BYTES_MAX - 64;
/// The maximum size of the tag and length of a record in a batch.
const RECORD_HEAD_BYTES: usize = 8;

/// An encoded batch, with a tag that the caller gets back with the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch<T> {
    /// The number by which the answer refers to the batch. Unanswered batches have distinct numbers.
    pub number: u64,
    /// The number of records.
    pub records: u32,
    /// The encoded batch.
    pub frame: BatchFrame,
    /// The caller's data, such as the origin of each record.
    pub tag: T,
}

/// A record or a name exceeds a limit of the front, which would refuse it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitExceeded {
    /// The name of the source is too long.
    #[error("the source {source_name:?} has {bytes} bytes, at most {max} are allowed; shorten it")]
    Source {
        /// The name as given.
        source_name: String,
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The number of records per batch is not allowed.
    #[error("{given} records per batch; give a number from 1 to {max}")]
    RecordsPerBatch {
        /// The number as given.
        given: usize,
        /// The largest number.
        max: usize,
    },
    /// A field of a record is empty or too long, or a record has too many attributes or measures.
    #[error("record {record_id:?}: {field} has {size} {unit}, {min} to {max} are allowed")]
    Field {
        /// The id of the record.
        record_id: String,
        /// The name of the field.
        field: &'static str,
        /// The size of the field.
        size: usize,
        /// The unit of the size: bytes or entries.
        unit: &'static str,
        /// The smallest size that is allowed.
        min: usize,
        /// The largest size that is allowed.
        max: usize,
    },
    /// A record is too large as a whole.
    #[error("record {record_id:?} has {bytes} bytes when encoded, at most {max} are allowed")]
    Record {
        /// The id of the record; empty if only the encoded record is known.
        record_id: String,
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
}

/// Collects records into batches. A batch is complete when it has the given number of records, or
/// when the next record would exceed the size of a batch.
#[derive(Debug)]
pub struct BatchBuilder<T> {
    source: String,
    records_max: usize,
    /// The number of the batch that is being built.
    number: u64,
    /// The encoded records of that batch.
    records: Vec<u8>,
    tags: Vec<T>,
}

impl<T> BatchBuilder<T> {
    /// A builder of batches of at most `records_max` records. `source` is the name under which the
    /// cluster logs the sender. Batches are numbered from 1.
    ///
    /// # Errors
    /// The name or the number exceeds the limit of a front.
    pub fn new(source: &str, records_max: usize) -> Result<Self, LimitExceeded> {
        let max = limits::SOURCE_BYTES_MAX;
        if source.len() > max {
            let (source_name, bytes) = (source.to_owned(), source.len());
            return Err(LimitExceeded::Source { source_name, bytes, max });
        }
        let max = limits::BATCH_RECORDS_MAX;
        if !(1..=max).contains(&records_max) {
            return Err(LimitExceeded::RecordsPerBatch { given: records_max, max });
        }
        let (source, records, tags) = (source.to_owned(), Vec::new(), Vec::new());
        Ok(Self { source, records_max, number: 1, records, tags })
    }

    /// Adds a record. Returns the batch that this completes, if any: the record is its last one, or
    /// begins the next batch.
    ///
    /// # Errors
    /// The record exceeds a limit, so the front would reject it. The batch is unchanged, and
    /// building can continue with other records.
    pub fn add(
        &mut self,
        record: &UsageRecord,
        tag: T,
    ) -> Result<Option<Batch<Vec<T>>>, LimitExceeded> {
        check(record)?;
        let mut encoded = Vec::with_capacity(96);
        encode(record, &mut encoded);
        let (bytes, max) = (encoded.len(), limits::RECORD_BYTES_MAX);
        if bytes > max {
            let record_id = record.record_id.clone();
            return Err(LimitExceeded::Record { record_id, bytes, max });
        }
        self.add_encoded(&encoded, tag)
    }

    /// As [`Self::add`], for an encoded record, which is not checked: the front answers it if it is
    /// invalid.
    ///
    /// # Errors
    /// The record is larger than a batch may be.
    pub fn add_encoded(
        &mut self,
        record: &[u8],
        tag: T,
    ) -> Result<Option<Batch<Vec<T>>>, LimitExceeded> {
        let bytes = record.len() + RECORD_HEAD_BYTES;
        if bytes > RECORDS_BYTES_MAX {
            let (record_id, max) = (String::new(), RECORDS_BYTES_MAX - RECORD_HEAD_BYTES);
            return Err(LimitExceeded::Record { record_id, bytes: record.len(), max });
        }
        let is_complete =
            self.tags.len() >= self.records_max || self.records.len() + bytes > RECORDS_BYTES_MAX;
        let before = if is_complete { self.take() } else { None };
        push_record(&mut self.records, record);
        self.tags.push(tag);
        Ok(before)
    }

    /// The batch of all records that were added since the last batch; `None` if there are none.
    pub fn take(&mut self) -> Option<Batch<Vec<T>>> {
        let records = u32::try_from(self.tags.len()).ok().filter(|records| *records > 0)?;
        let mut body = Vec::with_capacity(self.records.len() + self.source.len() + 32);
        put_bytes(&mut body, 1, self.source.as_bytes());
        put_number(&mut body, 2, self.number);
        body.extend_from_slice(&self.records);
        self.records.clear();
        let (number, tag) = (self.number, mem::take(&mut self.tags));
        self.number += 1;
        Some(Batch { number, records, frame: BatchFrame::from(body), tag })
    }
}

/// Encodes records as one batch, without checking limits: the front answers what exceeds them.
pub fn batch_frame<R: Borrow<UsageRecord>>(
    source: &str,
    number: u64,
    records: impl IntoIterator<Item = R>,
) -> BatchFrame {
    let encoded = records.into_iter().map(|record| {
        let mut bytes = Vec::new();
        encode(record.borrow(), &mut bytes);
        bytes
    });
    let encoded: Vec<Vec<u8>> = encoded.collect();
    BatchFrame::build(source, number, encoded.iter().map(Vec::as_slice))
}

/// Checks the limits of a record that need no knowledge of the cluster.
fn check(record: &UsageRecord) -> Result<(), LimitExceeded> {
    let sizes = [
        ("record_id", record.record_id.len(), "bytes", 1, limits::RECORD_ID_BYTES_MAX),
        ("usage_type", record.usage_type.len(), "bytes", 1, limits::USAGE_TYPE_BYTES_MAX),
        ("identity", record.identity.len(), "bytes", 0, limits::IDENTITY_BYTES_MAX),
        ("attributes", record.attributes.len(), "entries", 0, limits::ATTRIBUTES_MAX),
        ("measures", record.measures.len(), "entries", 0, limits::ATTRIBUTES_MAX),
    ];
    for (field, size, unit, min, max) in sizes {
        if !(min..=max).contains(&size) {
            let record_id = record.record_id.clone();
            return Err(LimitExceeded::Field { record_id, field, size, unit, min, max });
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn record(id: &str, note_bytes: usize) -> UsageRecord {
        UsageRecord {
            record_id: id.to_owned(),
            usage_type: "octets".to_owned(),
            attributes: [("note".to_owned(), "x".repeat(note_bytes))].into(),
            ..UsageRecord::default()
        }
    }

    #[test]
    fn batches_are_bounded_in_records_and_in_bytes_and_lose_nothing() {
        let mut builder = BatchBuilder::new("s", 400).unwrap();
        let mut batches = Vec::new();
        for line in 1..=1_000 {
            batches.extend(builder.add(&record(&format!("r{line}"), 15_000), line).unwrap());
        }
        for line in 1_001..=2_000 {
            batches.extend(builder.add(&record(&format!("r{line}"), 1), line).unwrap());
        }
        batches.extend(builder.take());
        assert_eq!(builder.take(), None);
        let mut lines = Vec::new();
        for (batch, number) in batches.iter().zip(1..) {
            assert!(batch.frame.body().len() <= limits::BATCH_BYTES_MAX);
            let mut walked = 0;
            let head = batch.frame.walk(|_| walked += 1).unwrap();
            assert_eq!((head.batch_number, head.source, walked), (number, "s", batch.records));
            lines.extend(batch.tag.iter().copied());
        }
        assert_eq!(lines, (1..=2_000).collect::<Vec<_>>());
        let sizes: Vec<u32> = batches.iter().map(|batch| batch.records).collect();
        assert!(sizes[0] < 400 && sizes.contains(&400), "{sizes:?}");
    }

    #[test]
    fn the_bytes_are_those_of_a_frame_built_at_once() {
        let records = [record("a", 3), record("b", 200)];
        let mut builder = BatchBuilder::new("source", 10).unwrap();
        for record in &records {
            assert_eq!(builder.add(record, ()), Ok(None));
        }
        assert_eq!(builder.take().unwrap().frame, batch_frame("source", 1, &records));
    }

    #[test]
    fn what_a_front_would_refuse_is_refused_by_name_and_the_rest_is_sent() {
        let refused = |error: LimitExceeded, words: &str| assert_eq!(error.to_string(), words);
        let long = BatchBuilder::<()>::new(&"s".repeat(129), 1).unwrap_err();
        assert!(long.to_string().ends_with("has 129 bytes, at most 128 are allowed; shorten it"));
        let none = BatchBuilder::<()>::new("s", 0).unwrap_err();
        refused(none, "0 records per batch; give a number from 1 to 50000");
        let mut builder = BatchBuilder::new("s", 10).unwrap();
        builder.add(&record("first", 1), ()).unwrap();
        let no_id = builder.add(&record("", 1), ()).unwrap_err();
        refused(no_id, "record \"\": record_id has 0 bytes, 1 to 128 are allowed");
        let large = builder.add(&record("large", 17_000), ()).unwrap_err();
        assert!(large.to_string().starts_with("record \"large\" has 170"), "{large}");
        let many = (0..65).map(|at| (format!("m{at}"), 1)).collect();
        let many = UsageRecord { measures: many, ..record("many", 1) };
        let many = builder.add(&many, ()).unwrap_err();
        refused(many, "record \"many\": measures has 65 entries, 0 to 64 are allowed");
        let huge = builder.add_encoded(&vec![0; 5 << 20], ()).unwrap_err();
        assert!(matches!(huge, LimitExceeded::Record { .. }), "{huge}");
        builder.add(&record("last", 1), ()).unwrap();
        assert_eq!(builder.take().unwrap().records, 2);
    }
}
