//! Decodes segments.

use std::io::Cursor;

use arrow_array::types::UInt16Type;
use arrow_array::{
    Array, BinaryArray, Decimal128Array, DictionaryArray, Int32Array, Int64Array, RecordBatch,
    StringArray, TimestampMicrosecondArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use arrow_ipc::reader::StreamReader;
use arrow_schema::ArrowError;
use bytes::Bytes;
use prost::Message as _;
use turnpike_types::{
    AccountNumber, Epoch, LineKind, Money, PartitionId, Posting, SegmentHash, SegmentNumber,
    Timestamp,
};

use crate::claims;
use crate::columns::{Wide, column, nullable, wide_column};
use crate::details::Details;
use crate::error::SegmentError;
use crate::format::{MAGIC, MAGIC_MARKED, hash_of};
use crate::head::{ComponentHead, Entry, Head, Header, Totals};
use crate::marks::{self, Mark};
use crate::rows::{ChangeRow, ComponentInfo, LineRow, RecordRow, outcome};

/// A decoded segment. Columns are read in place.
#[derive(Debug)]
pub struct Segment {
    header: Header,
    entries: Vec<Entry>,
    components: Vec<ComponentInfo>,
    variables: Vec<u64>,
    records: RecordColumns,
    lines: LineColumns,
    changes: ChangeColumns,
    /// Sorted by line.
    marks: Vec<Mark>,
    details: Details,
    bytes: usize,
}

#[derive(Debug)]
struct RecordColumns {
    account: UInt64Array,
    id: StringArray,
    usage_type: UInt16Array,
    usage_type_names: StringArray,
    start: TimestampMicrosecondArray,
    duration: Int64Array,
    quantity: Int64Array,
    extra: BinaryArray,
    outcome: UInt8Array,
}

#[derive(Debug)]
struct LineColumns {
    record: UInt32Array,
    component: UInt16Array,
    quantity: Wide,
    first_unit: Int64Array,
    period: Int32Array,
    before: Wide,
    after: Wide,
    amount: Decimal128Array,
}

#[derive(Debug)]
struct ChangeColumns {
    record: UInt32Array,
    variable: UInt16Array,
    period: Int32Array,
    value: Wide,
}

impl Segment {
    /// Decodes a segment after checking its hash.
    ///
    /// # Errors
    /// [`SegmentError`] when the hash differs or the bytes are not a segment.
    pub fn decode_checked(
        body: &Bytes,
        prev: SegmentHash,
        hash: SegmentHash,
    ) -> Result<Self, SegmentError> {
        if hash_of(prev, body) != hash {
            return Err(SegmentError::Hash);
        }
        Self::decode(body)
    }

    /// Decodes a segment.
    ///
    /// # Errors
    /// [`SegmentError`] when the bytes are not a segment.
    pub fn decode(body: &Bytes) -> Result<Self, SegmentError> {
        let (mut rest, marked) = match body.split_first_chunk() {
            Some((&MAGIC, rest)) => (rest, false),
            Some((&MAGIC_MARKED, rest)) => (rest, true),
            _ => return Err(SegmentError::Format),
        };
        let head = Head::decode(take_block(&mut rest)?)?;
        let records = RecordColumns::read(&read_batch(take_block(&mut rest)?)?)?;
        let lines = LineColumns::read(&read_batch(take_block(&mut rest)?)?)?;
        let changes = ChangeColumns::read(&read_batch(take_block(&mut rest)?)?)?;
        let marks = match marked {
            true => marks::read(&read_batch(take_block(&mut rest)?)?)?,
            false => Vec::new(),
        };
        if !rest.is_empty() {
            return Err(SegmentError::TooLong);
        }
        let components = head.components.iter().map(component).collect::<Result<Vec<_>, _>>()?;
        let count = records.account.len();
        if count as u64 != head.records
            || lines.record.len() as u64 != head.lines
            || marks::postings(&marks) != head.postings
        {
            return Err(SegmentError::Value("a control total"));
        }
        marks::check(&marks, lines.record.values())?;
        below(&lines.record, count, "lines.record")?;
        below(&changes.record, count, "changes.record")?;
        below16(&lines.component, components.len(), "lines.component")?;
        below16(&changes.variable, head.variables.len(), "changes.variable")?;
        below16(&records.usage_type, records.usage_type_names.len(), "usage_type")?;
        if records.outcome.values().iter().any(|&code| outcome(code).is_none()) {
            return Err(SegmentError::Value("outcome"));
        }
        Ok(Self {
            header: header(&head)?,
            entries: head.entries,
            components,
            variables: head.variables,
            details: Details::read(head.details, count)?,
            records,
            lines,
            changes,
            marks,
            bytes: body.len() * 3,
        })
    }

    /// The segment's position, time and totals.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The changes of accounts other than usage, in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// An estimate of the memory that this segment takes, in bytes.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number of records.
    pub fn record_count(&self) -> usize {
        self.records.account.len()
    }

    /// The record in `row`.
    pub fn record(&self, row: u32) -> Option<RecordRow<'_>> {
        let (columns, at) = (&self.records, row as usize);
        if at >= columns.account.len() {
            return None;
        }
        let usage_type = usize::from(columns.usage_type.value(at));
        Some(RecordRow {
            account: AccountNumber(columns.account.value(at)),
            record_id: columns.id.value(at),
            usage_type: columns.usage_type_names.value(usage_type),
            start: Timestamp(columns.start.value(at)),
            duration_us: columns.duration.value(at),
            quantity: columns.quantity.is_valid(at).then(|| columns.quantity.value(at)),
            extra: columns.extra.value(at),
            outcome: outcome(columns.outcome.value(at))?,
            detail: self.details.of(row),
        })
    }

    /// The records, in order.
    pub fn records(&self) -> impl Iterator<Item = (u32, RecordRow<'_>)> {
        (0u32..).map_while(|row| Some((row, self.record(row)?)))
    }

    /// The number of lines.
    pub fn line_count(&self) -> usize {
        self.lines.record.len()
    }

    /// The line in `row`.
    pub fn line(&self, row: usize) -> Option<LineRow<'_>> {
        let mark = self.marks.binary_search_by(|mark| (mark.line as usize).cmp(&row));
        self.line_with(row, mark.ok().and_then(|at| self.marks.get(at)))
    }

    fn line_with(&self, row: usize, mark: Option<&Mark>) -> Option<LineRow<'_>> {
        let columns = &self.lines;
        if row >= columns.record.len() {
            return None;
        }
        Some(LineRow {
            record: columns.record.value(row),
            component: self.components.get(usize::from(columns.component.value(row)))?,
            quantity: columns.quantity.value(row),
            first_unit: columns.first_unit.value(row),
            period: columns.period.value(row),
            level_before: columns.before.value(row),
            level_after: columns.after.value(row),
            amount: Money::from_nanos(columns.amount.value(row))?,
            // A line without a mark is posted to the account of its record.
            of: mark.and_then(|mark| mark.of),
            posting: mark.map(|mark| mark.posting).unwrap_or_default(),
            row: mark.and_then(|mark| mark.row),
        })
    }

    /// The lines, in order.
    pub fn lines(&self) -> impl Iterator<Item = LineRow<'_>> {
        let mut marks = self.marks.iter().peekable();
        (0..).map_while(move |row| {
            let mark = marks.next_if(|mark| mark.line as usize == row);
            self.line_with(row, mark)
        })
    }

    /// The rows of the lines that post to another account, in order (see [`Segment::postings`]).
    pub fn posting_rows(&self) -> impl Iterator<Item = u32> {
        let marks = self.marks.iter().filter(|mark| matches!(mark.posting, Posting::Second(_)));
        marks.map(|mark| mark.line)
    }

    /// The lines that post to another account, in order. The n-th line is the posting with ordinal
    /// n, counted from 0 (P33).
    pub fn postings(&self) -> impl Iterator<Item = LineRow<'_>> {
        let marks = self.marks.iter().filter(|mark| matches!(mark.posting, Posting::Second(_)));
        marks.map_while(|mark| self.line_with(mark.line as usize, Some(mark)))
    }

    /// The variable changes, in order, except those that a line states as its level after it.
    pub fn changes(&self) -> impl Iterator<Item = ChangeRow> {
        (0..self.changes.record.len()).map_while(|row| {
            let columns = &self.changes;
            Some(ChangeRow {
                record: columns.record.value(row),
                variable: *self.variables.get(usize::from(columns.variable.value(row)))?,
                period: columns.period.value(row),
                value: columns.value.value(row),
            })
        })
    }
}

impl RecordColumns {
    fn read(batch: &RecordBatch) -> Result<Self, SegmentError> {
        let usage_type: DictionaryArray<UInt16Type> = column(batch, "usage_type")?;
        let names = usage_type.values().as_any().downcast_ref::<StringArray>();
        Ok(Self {
            account: column(batch, "account")?,
            id: column(batch, "record_id")?,
            usage_type_names: names.cloned().ok_or(SegmentError::Column("usage_type"))?,
            usage_type: usage_type.keys().clone(),
            start: column(batch, "start")?,
            duration: column(batch, "duration_us")?,
            quantity: nullable(batch, "quantity")?,
            extra: column(batch, "extra")?,
            outcome: column(batch, "outcome")?,
        })
    }
}

impl LineColumns {
    fn read(batch: &RecordBatch) -> Result<Self, SegmentError> {
        Ok(Self {
            record: column(batch, "record")?,
            component: column(batch, "component")?,
            quantity: wide_column(batch, "quantity")?,
            first_unit: column(batch, "first_unit")?,
            period: column(batch, "period")?,
            before: wide_column(batch, "level_before")?,
            after: wide_column(batch, "level_after")?,
            amount: column(batch, "amount")?,
        })
    }
}

impl ChangeColumns {
    fn read(batch: &RecordBatch) -> Result<Self, SegmentError> {
        Ok(Self {
            record: column(batch, "record")?,
            variable: column(batch, "variable")?,
            period: column(batch, "period")?,
            value: wide_column(batch, "value")?,
        })
    }
}

fn header(head: &Head) -> Result<Header, SegmentError> {
    let amounts = head.amounts.iter().map(|(currency, nanos)| {
        let currency = currency.parse().map_err(|_| SegmentError::Value("a currency"))?;
        let nanos = nanos.parse().ok().and_then(Money::from_nanos);
        Ok((currency, nanos.ok_or(SegmentError::Value("an amount"))?))
    });
    Ok(Header {
        partition: PartitionId(head.partition),
        segment: SegmentNumber(head.segment),
        epoch: Epoch::stored(head.epoch),
        now: Timestamp(head.now_us),
        floor: Timestamp(head.floor_us),
        catalogue_version: head.catalogue_version,
        totals: Totals {
            records: head.records,
            suspended: head.suspended,
            lines: head.lines,
            postings: head.postings,
            amounts: amounts.collect::<Result<_, SegmentError>>()?,
        },
    })
}

fn component(head: &ComponentHead) -> Result<ComponentInfo, SegmentError> {
    Ok(ComponentInfo {
        plan_id: head.plan_id.clone(),
        plan_version: head.plan_version,
        primitive: head.primitive.clone(),
        component: head.component.clone(),
        kind: LineKind::from_number(head.kind).ok_or(SegmentError::Value("a line kind"))?,
        price: head.price.clone(),
        unit: head.unit.clone(),
        currency: head.currency.parse().map_err(|_| SegmentError::Value("a currency"))?,
        level: head.level,
    })
}

fn take_block<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], SegmentError> {
    let (len, after) = rest.split_first_chunk::<4>().ok_or(SegmentError::Truncated)?;
    let len = u32::from_le_bytes(*len) as usize;
    let (block, after) = after.split_at_checked(len).ok_or(SegmentError::Truncated)?;
    *rest = after;
    Ok(block)
}

/// arrow panics on some blocks that are not well formed. Bytes of the database must not end a task,
/// so the panic becomes an error.
fn read_batch(block: &[u8]) -> Result<RecordBatch, SegmentError> {
    claims::check(block)?;
    let reading = || {
        let mut reader = StreamReader::try_new(Cursor::new(block), None)?;
        reader.next().ok_or(SegmentError::Truncated)?.map_err(SegmentError::from)
    };
    match std::panic::catch_unwind(reading) {
        Ok(read) => read,
        Err(_) => Err(ArrowError::IpcError("it is not well formed".to_owned()).into()),
    }
}

fn below(column: &UInt32Array, len: usize, name: &'static str) -> Result<(), SegmentError> {
    let inside = column.values().iter().all(|&at| (at as usize) < len);
    inside.then_some(()).ok_or(SegmentError::Pointer(name))
}

fn below16(column: &UInt16Array, len: usize, name: &'static str) -> Result<(), SegmentError> {
    let inside = column.values().iter().all(|&at| usize::from(at) < len);
    inside.then_some(()).ok_or(SegmentError::Pointer(name))
}
