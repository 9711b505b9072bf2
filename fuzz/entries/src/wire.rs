//! What clients and fronts send on the hot path.

use turnpike_proto::frame::{BatchFrame, SubBatchFrame, push_record};
use turnpike_proto::record::{Record, RecordBatch, encode, peek};
use turnpike_types::UsageRecord;

/// Reads the input as a sub-batch and as a batch. A sub-batch that is built from what was read is
/// read as the same.
///
/// # Panics
/// It is not.
pub fn sub_batch(input: &[u8]) -> bool {
    let batch = BatchFrame::from(input.to_vec());
    let mut of_batch = 0;
    if batch.walk(|_| of_batch += 1).is_ok() {
        assert!(of_batch <= input.len() / 2, "a record takes two bytes at least");
    }
    let frame = SubBatchFrame::from(input.to_vec());
    let mut records = Vec::new();
    let Ok(head) = frame.walk(|record| records.push(record)) else { return false };
    let mut run = Vec::new();
    for record_bytes in &records {
        push_record(&mut run, record_bytes);
        record(record_bytes);
    }
    let built = SubBatchFrame::build(head, &run);
    let mut again = Vec::new();
    assert_eq!(built.walk(|record| again.push(record)), Ok(head));
    assert_eq!(again, records);
    true
}

/// Reads the input as a record. A front and a node read the same account, identity and start, and
/// the encoding of a record that was accepted is read as the same record.
///
/// # Panics
/// They do not, or it is not.
pub fn record(input: &[u8]) -> bool {
    let peeked = peek(input);
    let mut batch = RecordBatch::default();
    batch.push(input);
    let Some(Ok(record)) = batch.records().first() else { return false };
    let peeked = peeked.expect("a front reads what a node accepts");
    let fixed = record.fixed;
    assert_eq!(
        (peeked.account, peeked.identity, peeked.start),
        (fixed.account, fixed.identity, fixed.start)
    );
    let owned = owned(&batch, record);
    let mut encoded = Vec::new();
    encode(&owned, &mut encoded);
    let mut again = RecordBatch::default();
    again.push_stored(&encoded);
    let read = again.records().first().and_then(|record| record.as_ref().ok());
    let read = read.expect("the encoding of an accepted record is read again");
    assert_eq!(self::owned(&again, read), owned);
    true
}

fn owned(batch: &RecordBatch<'_>, record: &Record<'_>) -> UsageRecord {
    let view = batch.view(record);
    UsageRecord {
        record_id: view.record_id.to_owned(),
        account: view.account,
        identity: record.fixed.identity.to_owned(),
        usage_type: view.usage_type.to_owned(),
        start: view.start,
        duration_us: view.duration_us,
        quantity: view.quantity,
        measures: view.measures.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect(),
        attributes: text(view.attributes),
    }
}

fn text(pairs: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}
