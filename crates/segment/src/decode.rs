//! Reading a segment.

use std::io::Cursor;

use arrow_array::types::UInt16Type;
use arrow_array::{
    Array, BinaryArray, Decimal128Array, DictionaryArray, Int32Array, Int64Array, RecordBatch,
    StringArray, TimestampMicrosecondArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use arrow_ipc::reader::StreamReader;
use bytes::Bytes;
use prost::Message as _;
use turnpike_types::{
    AccountNumber, Currency, Epoch, Money, Outcome, PartitionId, SegmentHash, SegmentNumber,
    SuspenseReason, Timestamp,
};

use crate::builder::LineKind;
use crate::columns::{Wide, column, nullable, wide_column};
use crate::encode::hash_of;
use crate::head::{ComponentHead, Entry, Head, Header, Totals};

/// The first bytes of every segment; the digit is the format's version.
pub(crate) const MAGIC: [u8; 8] = *b"TPSEG\0\0\x01";

/// Why a segment can't be read (or made).
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// It does not begin like a segment of a version known here.
    #[error("not a segment of format 1: a newer program may have written it")]
    Format,
    /// Its bytes do not have the hash that the log says.
    #[error("segment bytes and hash differ: the log was damaged or changed")]
    Hash,
    /// It ends too early.
    #[error("the segment ends in the middle of a block")]
    Truncated,
    /// A block does not fit its length field.
    #[error("a block of more than 4 GiB")]
    TooLarge,
    /// Its head is no head.
    #[error("the segment's head: {0}")]
    Head(#[from] prost::DecodeError),
    /// A value of the head is out of range.
    #[error("the segment's head: {0} is out of range")]
    Value(&'static str),
    /// A column is missing or of another type.
    #[error("column {0} is missing or has another type")]
    Column(&'static str),
    /// A row points outside of its table.
    #[error("column {0} points outside of its table")]
    Pointer(&'static str),
    /// Arrow could not read or write a block.
    #[error("arrow: {0}")]
    Arrow(#[from] arrow_schema::ArrowError),
}

/// What a component of the table says; a line's receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentInfo {
    /// The plan.
    pub plan_id: String,
    /// Its version.
    pub plan_version: u32,
    /// The primitive.
    pub primitive: String,
    /// Its step or charge.
    pub component: String,
    /// What kind of charge.
    pub kind: LineKind,
    /// As the plan has it.
    pub price: String,
    /// The base unit of quantities.
    pub unit: String,
    /// The currency of the lines.
    pub currency: Currency,
    /// The variable whose level the lines show.
    pub level: Option<u64>,
}

/// A record as it was logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordRow<'a> {
    /// The account; zero in the suspense of an unbound identity.
    pub account: AccountNumber,
    /// The sender's id.
    pub record_id: &'a str,
    /// What was used.
    pub usage_type: &'a str,
    /// When it began.
    pub start: Timestamp,
    /// How long it went on.
    pub duration_us: i64,
    /// How much.
    pub quantity: Option<i64>,
    /// Identity, attributes and measures in canonical form, see
    /// [`turnpike_proto::record::encode_extra`].
    pub extra: &'a [u8],
    /// What became of it.
    pub outcome: Outcome,
}

/// A charge line with its receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineRow<'a> {
    /// The row of its record.
    pub record: u32,
    /// Who made it.
    pub component: &'a ComponentInfo,
    /// How many base units it prices.
    pub quantity: i128,
    /// The first unit of the record that it prices.
    pub first_unit: i64,
    /// Days from 1970-01-01 to its period's first date; `i32::MIN` for none.
    pub period: i32,
    /// The accumulator before.
    pub level_before: i128,
    /// The accumulator after.
    pub level_after: i128,
    /// What it costs.
    pub amount: Money,
}

/// A variable's new value that no line tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangeRow {
    /// The row of the record that made it.
    pub record: u32,
    /// The variable's id.
    pub variable: u64,
    /// Its period.
    pub period: i32,
    /// Its value from then on.
    pub value: i128,
}

/// A segment, decoded: columns, read in place.
#[derive(Debug)]
pub struct Segment {
    header: Header,
    entries: Vec<Entry>,
    components: Vec<ComponentInfo>,
    variables: Vec<u64>,
    records: RecordColumns,
    lines: LineColumns,
    changes: ChangeColumns,
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
    /// Reads a segment, after its hash was found right.
    ///
    /// # Errors
    /// [`SegmentError`] when the bytes are not what was appended.
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

    /// Reads a segment.
    ///
    /// # Errors
    /// [`SegmentError`] when the bytes are no segment.
    pub fn decode(body: &Bytes) -> Result<Self, SegmentError> {
        let mut rest = body.strip_prefix(&MAGIC).ok_or(SegmentError::Format)?;
        let head = Head::decode(take_block(&mut rest)?)?;
        let records = RecordColumns::read(&read_batch(take_block(&mut rest)?)?)?;
        let lines = LineColumns::read(&read_batch(take_block(&mut rest)?)?)?;
        let changes = ChangeColumns::read(&read_batch(take_block(&mut rest)?)?)?;
        let components = head.components.iter().map(component).collect::<Result<Vec<_>, _>>()?;
        let count = records.account.len();
        if count as u64 != head.records || lines.record.len() as u64 != head.lines {
            return Err(SegmentError::Value("a control total"));
        }
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
            records,
            lines,
            changes,
            bytes: body.len() * 3,
        })
    }

    /// Place, time and totals.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// What changed accounts beside usage, in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// About how many bytes this takes in memory.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many records it holds.
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
        })
    }

    /// The records, in order.
    pub fn records(&self) -> impl Iterator<Item = (u32, RecordRow<'_>)> {
        (0u32..).map_while(|row| Some((row, self.record(row)?)))
    }

    /// How many lines it holds.
    pub fn line_count(&self) -> usize {
        self.lines.record.len()
    }

    /// The line in `row`.
    pub fn line(&self, row: usize) -> Option<LineRow<'_>> {
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
        })
    }

    /// The lines, in order.
    pub fn lines(&self) -> impl Iterator<Item = LineRow<'_>> {
        (0..).map_while(|row| self.line(row))
    }

    /// The changes that no line tells, in order.
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

const LATE: u8 = 253;
const FELL_DUE: u8 = 254;
const POSTED: u8 = 255;

/// The number that stands in segments: a suspense reason's own, or one that no reason has.
pub(crate) const fn outcome_code(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Rated => 0,
        Outcome::RatedLate => LATE,
        Outcome::FellDue => FELL_DUE,
        Outcome::Posted => POSTED,
        Outcome::Suspended(reason) => reason.code(),
    }
}

/// The outcome with this number.
pub(crate) fn outcome(code: u8) -> Option<Outcome> {
    match code {
        0 => Some(Outcome::Rated),
        LATE => Some(Outcome::RatedLate),
        FELL_DUE => Some(Outcome::FellDue),
        POSTED => Some(Outcome::Posted),
        _ => SuspenseReason::from_code(code).map(Outcome::Suspended),
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

fn read_batch(block: &[u8]) -> Result<RecordBatch, SegmentError> {
    let mut reader = StreamReader::try_new(Cursor::new(block), None)?;
    reader.next().ok_or(SegmentError::Truncated)?.map_err(SegmentError::from)
}

fn below(column: &UInt32Array, len: usize, name: &'static str) -> Result<(), SegmentError> {
    let inside = column.values().iter().all(|&at| (at as usize) < len);
    inside.then_some(()).ok_or(SegmentError::Pointer(name))
}

fn below16(column: &UInt16Array, len: usize, name: &'static str) -> Result<(), SegmentError> {
    let inside = column.values().iter().all(|&at| usize::from(at) < len);
    inside.then_some(()).ok_or(SegmentError::Pointer(name))
}
