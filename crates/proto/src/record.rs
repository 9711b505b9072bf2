//! Reads encoded records: a front reads only the fields that routing needs, and a node decodes a
//! record once, borrowing from the received bytes.

use turnpike_types::{
    AccountNumber, Must, RejectReason, Timestamp, UsageRecord, UsageView, ZERO_DURATION, limits,
};

use crate::wire::{Fields, WireError, WireValue, put_bytes, put_number, put_varint};

/// The largest number of bytes that fronts append to a record: three account fields. One is
/// appended when a record is guided, when it is decided (P28), and when it is recycled.
pub const FRONT_BYTES: usize = 3 * 11;

/// The fields of a record that a front needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peek<'a> {
    /// The account; zero if unknown.
    pub account: AccountNumber,
    /// The identity; empty if the account is known.
    pub identity: &'a str,
    /// The instant at which the usage began.
    pub start: Timestamp,
}

/// Reads the fields that routing needs, and skips the others.
///
/// If a scalar field occurs more than once, its last value counts, as everywhere in protobuf. So
/// the whole record is read. Otherwise front and node might read different accounts from one
/// record.
///
/// # Errors
/// [`WireError`] when the bytes are not a record.
pub fn peek(record: &[u8]) -> Result<Peek<'_>, WireError> {
    let mut peek = Peek::default();
    let mut fields = Fields::new(record);
    while let Some((field, value)) = fields.next_field()? {
        match field {
            1 => peek.account = AccountNumber(value.varint(1)?),
            4 => peek.start = Timestamp(value.sfixed64(4)?),
            7 => peek.identity = value.text(7)?,
            _ => {}
        }
    }
    Ok(peek)
}

/// One record of a [`RecordBatch`].
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The fields that occur once in a record.
    pub fixed: RecordFields<'a>,
    attributes: (u32, u32),
    measures: (u32, u32),
}

/// The fields that occur once in a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordFields<'a> {
    /// The account; zero if unknown.
    pub account: AccountNumber,
    /// The id given by the sender.
    pub record_id: &'a str,
    /// The usage type, for example `octets`.
    pub usage_type: &'a str,
    /// The instant at which the usage began.
    pub start: Timestamp,
    /// The duration, in microseconds.
    pub duration_us: i64,
    /// The quantity in the usage type's base unit; `None` if the record has none.
    pub quantity: Option<i64>,
    /// The identity; empty if the account is known.
    pub identity: &'a str,
}

/// Many decoded records. They share buffers.
#[derive(Debug, Default)]
pub struct RecordBatch<'a> {
    records: Vec<Result<Record<'a>, RejectReason>>,
    attributes: Vec<(&'a str, &'a str)>,
    measures: Vec<(&'a str, i64)>,
}

impl<'a> RecordBatch<'a> {
    /// Decodes and checks one more record. If it is invalid, [`RecordBatch::records`] holds the
    /// reason in its place.
    pub fn push(&mut self, bytes: &'a [u8]) {
        let (attributes, measures) = (self.attributes.len(), self.measures.len());
        let checked = self.decode(bytes).and_then(|record| match check(&record.fixed) {
            None => Ok(record),
            Some(reason) => Err(reason),
        });
        if checked.is_err() {
            self.attributes.truncate(attributes);
            self.measures.truncate(measures);
        }
        self.records.push(checked);
    }

    /// Decodes a stored record. Its canonical form may be slightly longer than the received one, so
    /// its size is not checked again.
    pub fn push_stored(&mut self, bytes: &'a [u8]) {
        let record = self.decode_fields(bytes);
        self.records.push(record);
    }

    /// The records in order, or the reason for each invalid one.
    pub fn records(&self) -> &[Result<Record<'a>, RejectReason>] {
        &self.records
    }

    /// The record in the form that the rater reads.
    pub fn view<'b>(&'b self, record: &Record<'b>) -> UsageView<'b> {
        let fixed = record.fixed;
        UsageView {
            record_id: fixed.record_id,
            account: fixed.account,
            usage_type: fixed.usage_type,
            start: fixed.start,
            duration_us: fixed.duration_us,
            quantity: fixed.quantity,
            measures: part(&self.measures, record.measures),
            attributes: part(&self.attributes, record.attributes),
        }
    }

    fn decode(&mut self, bytes: &'a [u8]) -> Result<Record<'a>, RejectReason> {
        if bytes.len() > limits::RECORD_BYTES_MAX + FRONT_BYTES {
            return Err(RejectReason::TooLarge);
        }
        self.decode_fields(bytes)
    }

    fn decode_fields(&mut self, bytes: &'a [u8]) -> Result<Record<'a>, RejectReason> {
        let attributes = self.attributes.len();
        let measures = self.measures.len();
        let fixed = self.fields(bytes).map_err(|_| RejectReason::Malformed)?;
        sort_last_wins(&mut self.attributes, attributes);
        sort_last_wins(&mut self.measures, measures);
        let attributes = (attributes, self.attributes.len());
        let measures = (measures, self.measures.len());
        if attributes.1 - attributes.0 > limits::ATTRIBUTES_MAX
            || self.measures_sent(measures) > limits::ATTRIBUTES_MAX
        {
            return Err(RejectReason::TooLarge);
        }
        if self.measures.iter().skip(measures.0).any(|&(_, quantity)| quantity < 0) {
            return Err(RejectReason::NegativeUsage);
        }
        let short = |(from, to): (usize, usize)| {
            Ok((
                u32::try_from(from).map_err(|_| RejectReason::TooLarge)?,
                u32::try_from(to).map_err(|_| RejectReason::TooLarge)?,
            ))
        };
        Ok(Record { fixed, attributes: short(attributes)?, measures: short(measures)? })
    }

    /// The number of measures without the one that only states a duration of zero.
    fn measures_sent(&self, measures: (usize, usize)) -> usize {
        let all = self.measures.get(measures.0..measures.1).must("the record's measures were read");
        all.iter().filter(|&&measure| measure != (ZERO_DURATION, 0)).count()
    }

    fn fields(&mut self, bytes: &'a [u8]) -> Result<RecordFields<'a>, WireError> {
        let mut record = RecordFields::default();
        let measures = self.measures.len();
        let mut has_duration = false;
        let mut fields = Fields::new(bytes);
        while let Some((field, value)) = fields.next_field()? {
            match field {
                1 => record.account = AccountNumber(value.varint(1)?),
                2 => record.record_id = value.text(2)?,
                3 => record.usage_type = value.text(3)?,
                4 => record.start = Timestamp(value.sfixed64(4)?),
                5 => {
                    record.duration_us = value.varint(5)?.cast_signed();
                    has_duration = true;
                }
                6 => record.quantity = Some(value.varint(6)?.cast_signed()),
                7 => record.identity = value.text(7)?,
                8 => {
                    let (name, text) = entry(value.bytes(8)?)?;
                    let text = text.map_or(Ok(""), |value| value.text(2))?;
                    self.attributes.push((name, text));
                }
                9 => {
                    let (name, number) = entry(value.bytes(9)?)?;
                    let number = number.map_or(Ok(0), |value| value.varint(2))?;
                    self.measures.push((name, number.cast_signed()));
                }
                _ => {}
            }
        }
        // A stated duration of zero differs from no duration, as in `UsageRecord::state_duration`.
        if has_duration && record.duration_us == 0 {
            let mut sent = self.measures.iter().skip(measures);
            if !sent.any(|&(name, _)| name == ZERO_DURATION) {
                self.measures.push((ZERO_DURATION, 0));
            }
        }
        Ok(record)
    }
}

/// Decodes a map entry: its key, and its value if it has one.
fn entry(bytes: &[u8]) -> Result<(&str, Option<WireValue<'_>>), WireError> {
    let (mut name, mut found) = ("", None);
    let mut fields = Fields::new(bytes);
    while let Some((field, value)) = fields.next_field()? {
        match field {
            1 => name = value.text(1)?,
            2 => found = Some(value),
            _ => {}
        }
    }
    Ok((name, found))
}

/// The measures or the attributes of one record, given those of the whole batch and the record's
/// range of indexes.
///
/// # Panics
/// When the record belongs to another batch: without the record's measures, the price would be
/// wrong.
fn part<T>(all: &[T], (from, to): (u32, u32)) -> &[T] {
    let (whole, _) = all.split_at(to as usize);
    let (_, part) = whole.split_at(from as usize);
    part
}

/// Sorts the entries from index `from` on by name, and keeps the last one of equal names.
fn sort_last_wins<T: Copy>(all: &mut Vec<(&str, T)>, from: usize) {
    let Some(added) = all.get_mut(from..) else { return };
    if added.len() < 2 {
        return;
    }
    added.sort_by_key(|(name, _)| *name);
    let mut kept = from;
    for at in from..all.len() {
        let is_last_of_its_name = at + 1 == all.len() || all[at + 1].0 != all[at].0;
        if is_last_of_its_name {
            all[kept] = all[at];
            kept += 1;
        }
    }
    all.truncate(kept);
}

/// Checks the rules that do not depend on a plan. Returns the reason for a rejection.
fn check(record: &RecordFields<'_>) -> Option<RejectReason> {
    let id = record.record_id.len();
    if id == 0 || id > limits::RECORD_ID_BYTES_MAX {
        return Some(RejectReason::BadRecordId);
    }
    if record.usage_type.is_empty() {
        return Some(RejectReason::NoUsageType);
    }
    if record.usage_type.starts_with(limits::RESERVED_USAGE_TYPE) {
        return Some(RejectReason::ReservedUsageType);
    }
    if record.usage_type.len() > limits::USAGE_TYPE_BYTES_MAX
        || record.identity.len() > limits::IDENTITY_BYTES_MAX
    {
        return Some(RejectReason::TooLarge);
    }
    if record.account.0 == 0 && !is_identity(record.identity) {
        return Some(RejectReason::NoAccount);
    }
    if record.duration_us < 0
        || record.quantity.is_some_and(i64::is_negative)
        || record.start.0.checked_add(record.duration_us).is_none()
    {
        return Some(RejectReason::NegativeUsage);
    }
    None
}

/// Appends the record with another identity. All other fields stay byte for byte the same.
///
/// # Errors
/// [`WireError`] when the bytes are not a record.
pub fn put_with_identity(
    record: &[u8],
    identity: &str,
    out: &mut Vec<u8>,
) -> Result<(), WireError> {
    let mut fields = Fields::new(record);
    loop {
        let before = fields.rest();
        let Some((field, _)) = fields.next_field()? else { break };
        if field != 7 {
            let length = before.len() - fields.rest().len();
            let (encoded, _) = before.split_at(length);
            out.extend_from_slice(encoded);
        }
    }
    put_bytes(out, 7, identity.as_bytes());
    Ok(())
}

/// Whether `identity` has a known kind and is not empty. [`turnpike_types::Identity`] checks the
/// rest on arrival; a node also accepts an identity that a front of an older release sends.
pub fn is_identity(identity: &str) -> bool {
    ["ip:", "user:", "tel:"]
        .iter()
        .any(|kind| identity.strip_prefix(kind).is_some_and(|rest| !rest.is_empty()))
}

/// Encodes a record for [`crate::frame::BatchFrame::build`].
pub fn encode(record: &UsageRecord, out: &mut Vec<u8>) {
    if record.account.0 != 0 {
        put_number(out, 1, record.account.0);
    }
    put_bytes(out, 2, record.record_id.as_bytes());
    put_bytes(out, 3, record.usage_type.as_bytes());
    put_start(out, record.start);
    let states_zero = states_zero_duration(record);
    if record.duration_us != 0 || states_zero {
        put_number(out, 5, record.duration_us.cast_unsigned());
    }
    if let Some(quantity) = record.quantity {
        put_number(out, 6, quantity.cast_unsigned());
    }
    let attributes = record.attributes.iter().map(|(name, text)| (name.as_str(), text.as_str()));
    let measures = record.measures.iter().map(|(name, number)| (name.as_str(), *number));
    let measures = measures.filter(|&(name, _)| !(states_zero && name == ZERO_DURATION));
    encode_extra(&record.identity, attributes, measures, out);
}

/// Whether a record states a duration of zero. On the wire the field `duration_us` states it, so
/// that the measure for it does not count against the limit of measures.
pub(crate) fn states_zero_duration(record: &UsageRecord) -> bool {
    record.duration_us == 0 && record.measures.get(ZERO_DURATION) == Some(&0)
}

/// Appends a start as field 4.
pub fn put_start(out: &mut Vec<u8>, start: Timestamp) {
    put_varint(out, 4 << 3 | 1);
    out.extend_from_slice(&start.0.to_le_bytes());
}

/// Appends the fields that most records do not have: identity, attributes, measures. If they are
/// given in sorted order, the result is canonical (P27): equal contents give equal bytes.
pub fn encode_extra<'a>(
    identity: &str,
    attributes: impl IntoIterator<Item = (&'a str, &'a str)>,
    measures: impl IntoIterator<Item = (&'a str, i64)>,
    out: &mut Vec<u8>,
) {
    if !identity.is_empty() {
        put_bytes(out, 7, identity.as_bytes());
    }
    let mut pair = Vec::new();
    for (name, text) in attributes {
        pair.clear();
        put_bytes(&mut pair, 1, name.as_bytes());
        put_bytes(&mut pair, 2, text.as_bytes());
        put_bytes(out, 8, &pair);
    }
    for (name, number) in measures {
        pair.clear();
        put_bytes(&mut pair, 1, name.as_bytes());
        put_number(&mut pair, 2, number.cast_unsigned());
        put_bytes(out, 9, &pair);
    }
}

/// The fields that [`encode_extra`] wrote in canonical form, without the identity.
pub fn extra_without_identity(extra: &[u8]) -> &[u8] {
    // The canonical form begins with the identity.
    let mut fields = Fields::new(extra);
    match fields.next_field() {
        Ok(Some((7, _))) => fields.rest(),
        _ => extra,
    }
}

/// The identity in the fields that [`encode_extra`] wrote in canonical form; empty for none.
///
/// # Errors
/// [`WireError`] when the bytes are not extra fields. Without an identity the record would have
/// another deduplication key.
pub fn extra_identity(extra: &[u8]) -> Result<&str, WireError> {
    // The canonical form begins with the identity.
    match Fields::new(extra).next_field()? {
        Some((7, value)) => value.text(7),
        _ => Ok(""),
    }
}

/// Whether the fields that [`encode_extra`] wrote contain the measure by which a record states a
/// duration of zero.
///
/// # Errors
/// [`WireError`] when the bytes are not extra fields.
pub fn extra_states_zero_duration(extra: &[u8]) -> Result<bool, WireError> {
    let mut fields = Fields::new(extra);
    while let Some((field, value)) = fields.next_field()? {
        if field != 9 {
            continue;
        }
        let (name, number) = entry(value.bytes(9)?)?;
        if name == ZERO_DURATION {
            return Ok(number.map_or(Ok(0), |value| value.varint(2))? == 0);
        }
    }
    Ok(false)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use prost::Message as _;

    use super::*;

    fn sample() -> UsageRecord {
        UsageRecord {
            record_id: "r-1".to_owned(),
            account: AccountNumber(42),
            identity: String::new(),
            usage_type: "octets".to_owned(),
            start: Timestamp(-5),
            duration_us: 7,
            quantity: Some(0),
            measures: [("b".to_owned(), 2), ("a".to_owned(), 1)].into(),
            attributes: [("status".to_owned(), "200".to_owned())].into(),
        }
    }

    #[test]
    fn a_record_means_the_same_to_us_and_to_any_protobuf_library() {
        let mut ours = Vec::new();
        encode(&sample(), &mut ours);
        let theirs = crate::ingest::v1::UsageRecord::decode(ours.as_slice()).unwrap();
        assert_eq!(theirs, crate::ingest::v1::UsageRecord::from(sample()));
        let bytes = theirs.encode_to_vec();
        let mut batch = RecordBatch::default();
        batch.push(&bytes);
        let record = batch.records()[0].unwrap();
        let view = batch.view(&record);
        assert_eq!(view.record_id, "r-1");
        assert_eq!(view.measures, [("a", 1), ("b", 2)]);
        assert_eq!(view.attribute("status"), Some("200"));
        assert_eq!(view.quantity, Some(0));
        assert_eq!(peek(&bytes).unwrap().account, AccountNumber(42));
        assert_eq!(peek(&bytes).unwrap().start, Timestamp(-5));
    }

    #[test]
    fn p27_an_identity_that_cannot_be_read_is_an_error_and_not_none() {
        let mut extra = Vec::new();
        encode_extra("ip:192.0.2.1", [("a", "b")], [], &mut extra);
        assert_eq!(extra_identity(&extra), Ok("ip:192.0.2.1"));
        let damaged = |place: usize, byte: u8| {
            let mut extra = extra.clone();
            extra[place] = byte;
            extra_identity(&extra).unwrap_err()
        };
        assert_eq!(damaged(2, 0xff), WireError::NotText(7));
        assert_eq!(damaged(1, 0x7f), WireError::Truncated);
        let mut without = Vec::new();
        encode_extra("", [("a", "b")], [], &mut without);
        assert_eq!((extra_identity(&without), extra_identity(&[])), (Ok(""), Ok("")));
    }

    #[test]
    #[should_panic(expected = "mid > len")]
    fn a_record_of_another_batch_is_not_viewed_without_its_measures() {
        let mut bytes = Vec::new();
        encode(&sample(), &mut bytes);
        let mut batch = RecordBatch::default();
        batch.push(&bytes);
        let record = batch.records()[0].unwrap();
        RecordBatch::default().view(&record);
    }

    /// A call that was not answered has a duration of zero. A record without the field states no
    /// duration.
    #[test]
    fn a_duration_of_zero_is_distinguished_from_an_absent_one() {
        let decoded = |duration_us: Option<i64>, quantity: Option<i64>| {
            let message = crate::ingest::v1::UsageRecord {
                duration_us,
                quantity,
                ..crate::ingest::v1::UsageRecord::from(UsageRecord {
                    measures: BTreeMap::new(),
                    ..sample()
                })
            };
            let bytes = message.encode_to_vec();
            let mut batch = RecordBatch::default();
            batch.push(&bytes);
            let record = batch.records()[0].unwrap();
            let view = batch.view(&record);
            (view.duration_us, view.measure("duration"), view.measures.len())
        };
        assert_eq!(decoded(None, None), (0, None, 0));
        assert_eq!(decoded(Some(0), None), (0, Some(0), 1));
        assert_eq!(decoded(None, Some(1)), (0, None, 0));
        assert_eq!(decoded(Some(0), Some(1)), (0, Some(0), 1));
        assert_eq!(decoded(Some(7), None), (7, Some(7), 0));
    }

    /// The sender's measure named `duration` is kept. If it contradicts a stated duration of zero,
    /// the record has no duration.
    #[test]
    fn a_stated_zero_is_kept_beside_other_measures_and_counts_against_no_limit() {
        let decoded = |measures: &[(&str, i64)], duration_us: Option<i64>| {
            let message = crate::ingest::v1::UsageRecord {
                duration_us,
                measures: measures.iter().map(|&(name, value)| (name.to_owned(), value)).collect(),
                ..crate::ingest::v1::UsageRecord::from(sample())
            };
            let bytes = message.encode_to_vec();
            let mut batch = RecordBatch::default();
            batch.push(&bytes);
            batch.push_stored(&bytes);
            let both = [batch.records()[0], batch.records()[1]];
            both.map(|record| record.map(|record| batch.view(&record).measure("duration")))
        };
        assert_eq!(decoded(&[("octets", 5)], None), [Ok(None); 2]);
        assert_eq!(decoded(&[("octets", 5)], Some(0)), [Ok(Some(0)); 2]);
        assert_eq!(decoded(&[("octets", 5), (ZERO_DURATION, 0)], None), [Ok(Some(0)); 2]);
        assert_eq!(decoded(&[(ZERO_DURATION, 60)], Some(0)), [Ok(None); 2]);
        let names: Vec<String> = (0..=limits::ATTRIBUTES_MAX).map(|n| format!("m{n}")).collect();
        let many: Vec<(&str, i64)> = names.iter().map(|name| (name.as_str(), 1)).collect();
        let most = &many[..limits::ATTRIBUTES_MAX];
        assert_eq!(decoded(most, Some(0)), [Ok(Some(0)); 2]);
        assert_eq!(decoded(&many, Some(0)), [Err(RejectReason::TooLarge); 2]);
    }

    #[test]
    fn a_stated_zero_goes_over_the_wire_as_the_field() {
        let mut record = UsageRecord { duration_us: 0, ..sample() };
        let absent = crate::ingest::v1::UsageRecord::from(record.clone());
        assert_eq!((absent.duration_us, absent.measures.len()), (None, 2));
        record.state_duration(Some(0));
        let message = crate::ingest::v1::UsageRecord::from(record.clone());
        assert_eq!((message.duration_us, message.measures.len()), (Some(0), 2));
        let mut ours = Vec::new();
        encode(&record, &mut ours);
        assert_eq!(crate::ingest::v1::UsageRecord::decode(ours.as_slice()).unwrap(), message);
        assert_eq!(UsageRecord::from(message), record);
    }

    #[test]
    fn of_a_name_given_twice_the_last_one_counts() {
        let mut bytes = Vec::new();
        encode(&sample(), &mut bytes);
        encode_extra("", [("status", "500"), ("zone", "x")], [], &mut bytes);
        put_number(&mut bytes, 1, 43);
        let mut batch = RecordBatch::default();
        batch.push(&bytes);
        let record = batch.records()[0].unwrap();
        assert_eq!(batch.view(&record).attributes, [("status", "500"), ("zone", "x")]);
        assert_eq!(record.fixed.account, AccountNumber(43));
        assert_eq!(peek(&bytes).unwrap().account, AccountNumber(43));
    }

    #[test]
    fn each_fault_of_a_record_has_its_reason() {
        let reason = |change: &dyn Fn(&mut UsageRecord)| {
            let mut record = sample();
            change(&mut record);
            let mut bytes = Vec::new();
            encode(&record, &mut bytes);
            let mut batch = RecordBatch::default();
            batch.push(&bytes);
            batch.records()[0].err()
        };
        assert_eq!(reason(&|_| {}), None);
        assert_eq!(reason(&|r| r.record_id.clear()), Some(RejectReason::BadRecordId));
        assert_eq!(reason(&|r| r.record_id = "x".repeat(129)), Some(RejectReason::BadRecordId));
        assert_eq!(reason(&|r| r.usage_type.clear()), Some(RejectReason::NoUsageType));
        let reserved = Some(RejectReason::ReservedUsageType);
        assert_eq!(reason(&|r| r.usage_type = "turnpike.due".to_owned()), reserved);
        assert_eq!(reason(&|r| r.usage_type = "turnpikes".to_owned()), None);
        assert_eq!(reason(&|r| r.quantity = Some(-1)), Some(RejectReason::NegativeUsage));
        assert_eq!(reason(&|r| r.duration_us = -1), Some(RejectReason::NegativeUsage));
        assert_eq!(reason(&|r| r.account = AccountNumber(0)), Some(RejectReason::NoAccount));
        assert_eq!(reason(&|r| r.usage_type = "x".repeat(20_000)), Some(RejectReason::TooLarge));
    }

    #[test]
    fn a_record_under_another_spelling_of_its_identity_is_otherwise_the_same() {
        let of = |identity: &str| {
            let mut bytes = Vec::new();
            let account = AccountNumber(0);
            encode(&UsageRecord { identity: identity.to_owned(), account, ..sample() }, &mut bytes);
            bytes
        };
        let mut again = Vec::new();
        put_with_identity(&of("ip:2001:DB8::1"), "ip:2001:db8::1", &mut again).unwrap();
        let as_ours = |bytes: &[u8]| crate::ingest::v1::UsageRecord::decode(bytes).unwrap();
        assert_eq!(as_ours(&again), as_ours(&of("ip:2001:db8::1")));
        assert!(put_with_identity(&[0xff], "user:x", &mut Vec::new()).is_err());
        let mut extra = Vec::new();
        encode_extra("user:x", [("a", "b")], [("c", 1)], &mut extra);
        let mut plain = Vec::new();
        encode_extra("", [("a", "b")], [("c", 1)], &mut plain);
        assert_eq!(extra_without_identity(&extra), plain);
        assert_eq!(extra_without_identity(&plain), plain);
    }

    #[test]
    fn cut_and_changed_bytes_never_panic() {
        let mut bytes = Vec::new();
        encode(&sample(), &mut bytes);
        for at in 0..bytes.len() {
            for flip in [0x00, 0x01, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] ^= flip;
                let _ = peek(&changed);
                let mut batch = RecordBatch::default();
                batch.push(&changed);
                batch.push(&changed[..at]);
                assert_eq!(batch.records().len(), 2);
            }
        }
    }
}
