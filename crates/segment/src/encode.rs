//! Seals a segment: encodes its columns and computes its hash.

use std::sync::Arc;

use arrow_array::types::UInt16Type;
use arrow_array::{
    ArrayRef, BinaryArray, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use arrow_buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
use bytes::Bytes;
use prost::Message as _;
use turnpike_types::{Epoch, PartitionId, SegmentHash, SegmentNumber, Timestamp};

use crate::builder::{Changes, LineColumns, SegmentBuilder, Strings};
use crate::columns::{decimal, wide};
use crate::error::SegmentError;
use crate::format::{MAGIC, MAGIC_MARKED, hash_of};
use crate::head::{Head, Totals};
use crate::marks;

/// The position and time at which a segment is sealed.
#[derive(Clone, Copy, Debug)]
pub struct SealContext {
    /// The partition.
    pub partition: PartitionId,
    /// The segment's number.
    pub segment: SegmentNumber,
    /// The owner's epoch.
    pub epoch: Epoch,
    /// The hash of the preceding segment.
    pub prev_hash: SegmentHash,
    /// The logged time.
    pub now: Timestamp,
    /// The oldest acceptable start at that time.
    pub floor: Timestamp,
    /// The catalogue version whose plans were used.
    pub catalogue_version: u64,
}

/// A segment ready to append.
#[derive(Clone, Debug)]
pub struct SealedSegment {
    /// The bytes of the segment.
    pub body: Bytes,
    /// The hash of the bytes, chained to the preceding segment.
    pub hash: SegmentHash,
    /// The control totals.
    pub totals: Totals,
}

impl SegmentBuilder {
    /// Encodes everything that was pushed. The builder is kept: while the append is in flight, a
    /// retry of a record is compared with the builder's records (P5).
    ///
    /// # Errors
    /// [`SegmentError`] when a column can't be encoded or a mark is invalid. Either would be a bug;
    /// the check prevents the append of an unreadable segment.
    pub fn seal(&self, context: &SealContext) -> Result<SealedSegment, SegmentError> {
        marks::check(&self.marks, &self.lines.records)?;
        let totals = self.totals()?;
        let head = Head {
            partition: context.partition.0,
            segment: context.segment.0,
            epoch: context.epoch.number(),
            now_us: context.now.0,
            floor_us: context.floor.0,
            catalogue_version: context.catalogue_version,
            records: totals.records,
            suspended: totals.suspended,
            lines: totals.lines,
            postings: totals.postings,
            amounts: totals
                .amounts
                .iter()
                .map(|(currency, sum)| (currency.to_string(), sum.nanos().to_string()))
                .collect(),
            components: self.components.clone(),
            variables: self.variables.clone(),
            entries: self.entries.clone(),
            details: self.details.clone(),
        };
        let is_marked = !self.marks.is_empty();
        let mut body = if is_marked { MAGIC_MARKED } else { MAGIC }.to_vec();
        put_block(&mut body, |out| {
            out.extend_from_slice(&head.encode_to_vec());
            Ok(())
        })?;
        put_block(&mut body, |out| write_batch(out, &self.records_batch()?))?;
        put_block(&mut body, |out| write_batch(out, &lines_batch(&self.lines)?))?;
        put_block(&mut body, |out| write_batch(out, &changes_batch(&self.changes)?))?;
        if is_marked {
            put_block(&mut body, |out| write_batch(out, &marks::batch(&self.marks)?))?;
        }
        let hash = hash_of(context.prev_hash, &body);
        Ok(SealedSegment { body: body.into(), hash, totals })
    }

    fn records_batch(&self) -> Result<RecordBatch, SegmentError> {
        let (ids, extras) = (self.ids.values(), self.extras.values());
        let ids = StringArray::try_new(self.ids.offsets(), ids, None)?;
        let extras = BinaryArray::try_new(self.extras.offsets(), extras, None)?;
        let names = StringArray::from_iter_values(&self.usage_type_names);
        let usage_types = DictionaryArray::<UInt16Type>::try_new(
            UInt16Array::from(self.usage_types.clone()),
            Arc::new(names),
        )?;
        let starts = TimestampMicrosecondArray::from(self.starts.clone()).with_timezone("UTC");
        named(vec![
            ("account", Arc::new(UInt64Array::from(self.accounts.clone()))),
            ("record_id", Arc::new(ids)),
            ("usage_type", Arc::new(usage_types)),
            ("start", Arc::new(starts)),
            ("duration_us", Arc::new(Int64Array::from(self.durations.clone()))),
            ("quantity", Arc::new(Int64Array::from(self.quantities.clone()))),
            ("extra", Arc::new(extras)),
            ("outcome", Arc::new(UInt8Array::from(self.outcomes.clone()))),
        ])
    }

    fn totals(&self) -> Result<Totals, SegmentError> {
        let amounts = self.amounts.iter().map(|&(currency, nanos)| {
            let sum = turnpike_types::Money::from_nanos(nanos);
            Ok((currency, sum.ok_or(SegmentError::Value("a control total"))?))
        });
        let mut amounts = amounts.collect::<Result<Vec<_>, SegmentError>>()?;
        amounts.sort_unstable();
        Ok(Totals {
            records: self.accounts.len() as u64,
            suspended: self.suspended,
            lines: self.lines.records.len() as u64,
            postings: self.postings,
            amounts,
        })
    }
}

impl Strings {
    fn offsets(&self) -> OffsetBuffer<i32> {
        let mut offsets = Vec::with_capacity(self.ends.len() + 1);
        offsets.push(0);
        offsets.extend_from_slice(&self.ends);
        OffsetBuffer::new(ScalarBuffer::from(offsets))
    }

    fn values(&self) -> Buffer {
        Buffer::from(self.bytes.clone())
    }
}

fn lines_batch(lines: &LineColumns) -> Result<RecordBatch, SegmentError> {
    named(vec![
        ("record", Arc::new(UInt32Array::from(lines.records.clone()))),
        ("component", Arc::new(UInt16Array::from(lines.components.clone()))),
        ("quantity", wide(&lines.quantities)?),
        ("first_unit", Arc::new(Int64Array::from(lines.first_units.clone()))),
        ("period", Arc::new(Int32Array::from(lines.periods.clone()))),
        ("level_before", wide(&lines.befores)?),
        ("level_after", wide(&lines.afters)?),
        ("amount", decimal(&lines.amounts, 9)?),
    ])
}

fn changes_batch(changes: &Changes) -> Result<RecordBatch, SegmentError> {
    named(vec![
        ("record", Arc::new(UInt32Array::from(changes.records.clone()))),
        ("variable", Arc::new(UInt16Array::from(changes.variables.clone()))),
        ("period", Arc::new(Int32Array::from(changes.periods.clone()))),
        ("value", wide(&changes.values)?),
    ])
}

fn named(columns: Vec<(&str, ArrayRef)>) -> Result<RecordBatch, SegmentError> {
    Ok(RecordBatch::try_from_iter(columns)?)
}

fn write_batch(out: &mut Vec<u8>, batch: &RecordBatch) -> Result<(), SegmentError> {
    let options =
        IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME))?;
    let mut writer = StreamWriter::try_new_with_options(out, &batch.schema(), options)?;
    writer.write(batch)?;
    writer.finish()?;
    Ok(())
}

/// Writes a block: its length in four bytes (little-endian), then its bytes.
fn put_block(
    body: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), SegmentError>,
) -> Result<(), SegmentError> {
    let at = body.len();
    body.extend_from_slice(&[0; 4]);
    write(body)?;
    let len = u32::try_from(body.len() - at - 4).map_err(|_| SegmentError::TooLarge)?;
    if let Some(place) = body.get_mut(at..at + 4) {
        place.copy_from_slice(&len.to_le_bytes());
    }
    Ok(())
}
