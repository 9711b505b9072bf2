//! A suspended record's raw form, read from the log: lists show less than a record holds.

use std::sync::Arc;

use turnpike_proto::suspense::v1::SuspendedRecord;
use turnpike_proto::wire::Fields;
use turnpike_segment::{RecordRow, Segment};
use turnpike_types::{AccountNumber, PartitionId, SegmentNumber, UsageRecord};

use crate::FrontError;
use crate::core::Core;

/// Reads raw records of one partition; keeps the last segment, since lists are often of one.
pub(crate) struct Origins<'a> {
    core: &'a Arc<Core>,
    partition: PartitionId,
    last: Option<Segment>,
}

impl<'a> Origins<'a> {
    pub(crate) fn new(core: &'a Arc<Core>, partition: PartitionId) -> Self {
        Self { core, partition, last: None }
    }

    /// The record's bytes, as `account`'s.
    pub(crate) async fn raw(
        &mut self,
        record: &SuspendedRecord,
        account: AccountNumber,
    ) -> Result<Vec<u8>, FrontError> {
        let number = record.segment;
        let fault = |cause: String| FrontError::Origin {
            partition: self.partition,
            segment: number,
            cause,
        };
        let is_last = self.last.as_ref().is_some_and(|last| last.header().segment.0 == number);
        if !is_last {
            let after = number.checked_sub(1).ok_or_else(|| fault("no segment 0".to_owned()))?;
            let rows = self.core.db.read_segments(self.partition, SegmentNumber(after), 1).await?;
            let row = rows
                .first()
                .filter(|row| row.segment.0 == number)
                .ok_or_else(|| fault("the segment is not in the log".to_owned()))?;
            let segment = Segment::decode_checked(&row.body, row.prev_hash, row.hash)
                .map_err(|error| fault(error.to_string()))?;
            self.last = Some(segment);
        }
        let found = self.last.as_ref().and_then(|segment| {
            segment.records().map(|(_, row)| row).find(|row| is_same(row, record))
        });
        let row = found.ok_or_else(|| fault(format!("no record {}", record.record_id)))?;
        Ok(encode(&row, account))
    }
}

fn is_same(row: &RecordRow<'_>, record: &SuspendedRecord) -> bool {
    row.account.0 == record.account_number
        && row.record_id == record.record_id
        && (record.identity.is_empty() || identity(row.extra) == Some(record.identity.as_str()))
}

fn identity(extra: &[u8]) -> Option<&str> {
    let mut fields = Fields::new(extra);
    while let Ok(Some((field, value))) = fields.next_field() {
        if field == 7 {
            return value.text(7).ok();
        }
    }
    None
}

/// The record on the wire: what stands in columns, and behind it what the log keeps encoded.
fn encode(row: &RecordRow<'_>, account: AccountNumber) -> Vec<u8> {
    let columns = UsageRecord {
        record_id: row.record_id.to_owned(),
        account,
        usage_type: row.usage_type.to_owned(),
        start: row.start,
        duration_us: row.duration_us,
        quantity: row.quantity,
        ..UsageRecord::default()
    };
    let mut out = Vec::new();
    turnpike_proto::record::encode(&columns, &mut out);
    out.extend_from_slice(row.extra);
    out
}
