//! Encodes generated records directly to protobuf: no allocation per record, and one copy.

use clap::ValueEnum;
use turnpike_client::Batch;
use turnpike_proto::frame::{BatchFrame, push_record};
use turnpike_proto::record::encode_extra;
use turnpike_proto::wire::{put_bytes, put_number, put_varint};
use turnpike_types::{AccountRange, Must};

/// The kind of usage to generate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum UsageKind {
    /// Connect time, priced by time of day and by day of the week
    #[default]
    Fig6b,
    /// Octets, priced in tiers
    Octets,
}

/// Bits of a random number that give the duration of a session beyond its first second, in
/// microseconds: up to about 18 minutes.
const DURATION_MASK: u64 = 0x3fff_ffff;

/// The duration of the longest record, in microseconds.
pub(crate) const LONGEST_US: i64 = 1_000_000 + DURATION_MASK.cast_signed();

/// The pool of attributes: a record carries the first `GeneratorOptions::attributes` of them.
const ATTRIBUTES: [(&str, &str); 8] = [
    ("access", "fibre"),
    ("class", "gold"),
    ("device", "router"),
    ("method", "GET"),
    ("region", "north"),
    ("service-level", "2"),
    ("status", "200"),
    ("tariff-zone", "4"),
];

/// The specification of a stream's records; the same specification gives the same bytes.
#[derive(Clone, Debug)]
pub(crate) struct GeneratorOptions<'a> {
    pub(crate) kind: UsageKind,
    pub(crate) run: &'a str,
    pub(crate) stream: u16,
    pub(crate) accounts: AccountRange,
    pub(crate) batch_records: u32,
    pub(crate) attributes: u8,
    /// The start of every record, in microseconds since 1970.
    pub(crate) start_us: i64,
}

/// The number of records that one of the streams sends. It depends on the arguments only, so that a
/// run can be repeated.
pub(crate) fn share(records: u64, stream: u16, streams: u16) -> u64 {
    let streams = u64::from(streams.max(1));
    records / streams + u64::from(u64::from(stream) < records % streams)
}

/// Generates the batches of one stream.
#[derive(Debug)]
pub(crate) struct Generator {
    kind: UsageKind,
    source: String,
    /// The prefix of every record id of this stream.
    prefix: Vec<u8>,
    first_account: u64,
    /// The number of accounts.
    accounts: u64,
    batch_records: u32,
    attributes: usize,
    start_us: i64,
    made: u64,
    batches: u64,
    chance: u64,
    record: Vec<u8>,
    body_bytes: usize,
}

impl Generator {
    pub(crate) fn new(spec: &GeneratorOptions<'_>) -> Self {
        let GeneratorOptions { run, stream, .. } = *spec;
        let mut seed = 0xcbf2_9ce4_8422_2325;
        for byte in run.bytes().chain(stream.to_le_bytes()) {
            seed = (seed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Self {
            kind: spec.kind,
            source: format!("load-{run}"),
            prefix: format!("{run}-{stream}-").into_bytes(),
            first_account: spec.accounts.first().0,
            // A range has fewer than 2^64 accounts, because it begins at 1 or later.
            accounts: spec.accounts.last().0 - spec.accounts.first().0 + 1,
            batch_records: spec.batch_records,
            attributes: usize::from(spec.attributes),
            start_us: spec.start_us,
            made: 0,
            batches: 0,
            chance: seed,
            record: Vec::with_capacity(512),
            body_bytes: 0,
        }
    }

    /// The next batch, with at most `left` records; `None` when none are left.
    pub(crate) fn next_batch(&mut self, left: &mut u64) -> Option<Batch<()>> {
        let records = u64::from(self.batch_records).min(*left);
        if records == 0 {
            return None;
        }
        *left -= records;
        self.batches += 1;
        let mut body = Vec::with_capacity(self.body_bytes + 64);
        put_bytes(&mut body, 1, self.source.as_bytes());
        put_number(&mut body, 2, self.batches);
        for _ in 0..records {
            self.make();
            push_record(&mut body, &self.record);
        }
        self.body_bytes = body.len();
        let records = u32::try_from(records).must("at most `batch_records` were made");
        Some(Batch { number: self.batches, records, frame: BatchFrame::from(body), tag: () })
    }

    /// Encodes one record into `self.record`.
    fn make(&mut self) {
        let chance = self.random();
        let account = self.first_account + (chance >> 16) % self.accounts;
        let id = self.record_id();
        let record = &mut self.record;
        record.clear();
        put_number(record, 1, account);
        put_varint(record, 2 << 3 | 2);
        put_varint(record, (self.prefix.len() + id.len()) as u64);
        record.extend_from_slice(&self.prefix);
        record.extend_from_slice(&id);
        let usage_type: &[u8] = match self.kind {
            UsageKind::Fig6b => b"connect-time",
            UsageKind::Octets => b"octets",
        };
        put_bytes(record, 3, usage_type);
        // Field 4 has wire type 1: 64 bits, little endian.
        put_varint(record, 4 << 3 | 1);
        record.extend_from_slice(&self.start_us.to_le_bytes());
        match self.kind {
            // The duration: one second to about 18 minutes.
            UsageKind::Fig6b => put_number(record, 5, 1_000_000 + (chance & DURATION_MASK)),
            // The quantity: up to about 268 megabytes.
            UsageKind::Octets => put_number(record, 6, 200 + (chance & 0xfff_ffff)),
        }
        if let Some(attributes) = ATTRIBUTES.get(..self.attributes).filter(|some| !some.is_empty())
        {
            encode_extra("", attributes.iter().copied(), [], record);
        }
        self.made += 1;
    }

    /// The record's number in its stream, as ten digits.
    fn record_id(&self) -> [u8; 10] {
        let (mut digits, mut number) = ([b'0'; 10], self.made);
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + u8::try_from(number % 10).must("the last digit is less than 10");
            number /= 10;
        }
        digits
    }

    /// The next number of the generator xorshift64*, which is fast, and deterministic for a run.
    fn random(&mut self) -> u64 {
        self.chance ^= self.chance >> 12;
        self.chance ^= self.chance << 25;
        self.chance ^= self.chance >> 27;
        self.chance.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::HashSet;

    use prost::Message as _;
    use turnpike_proto::ingest::v1::UsageRecord;

    use super::*;

    fn spec(first: u64, last: u64) -> GeneratorOptions<'static> {
        GeneratorOptions {
            kind: UsageKind::Octets,
            run: "drill",
            stream: 3,
            accounts: AccountRange::new(first, last).unwrap(),
            batch_records: 100,
            attributes: 2,
            start_us: 1_000_000,
        }
    }

    #[test]
    fn records_are_for_the_accounts_up_to_the_largest_number_and_no_others() {
        let mut generator = Generator::new(&spec(u64::MAX - 2, u64::MAX));
        let batch = generator.next_batch(&mut 100).unwrap();
        let mut accounts = HashSet::new();
        let decode = |bytes: &[u8]| {
            accounts.insert(UsageRecord::decode(bytes).unwrap().account_number);
        };
        batch.frame.walk(decode).unwrap();
        assert_eq!(accounts, HashSet::from([u64::MAX - 2, u64::MAX - 1, u64::MAX]));
    }

    #[test]
    fn batches_are_messages_that_any_client_could_have_sent() {
        let mut generator = Generator::new(&spec(1, 10));
        let (mut left, mut ids) = (250, HashSet::new());
        let mut sizes = Vec::new();
        while let Some(batch) = generator.next_batch(&mut left) {
            let mut records = Vec::new();
            let decode = |bytes: &[u8]| records.push(UsageRecord::decode(bytes).unwrap());
            let head = batch.frame.walk(decode).unwrap();
            assert_eq!((head.batch_number, head.source), (batch.number, "load-drill"));
            sizes.push(records.len());
            for record in records {
                assert!((1..=10).contains(&record.account_number));
                assert_eq!(record.attributes.len(), 2);
                assert!(record.quantity.unwrap() > 0 && record.duration_us.is_none());
                assert!(ids.insert(record.record_id));
            }
        }
        assert_eq!(sizes, [100, 100, 50]);
    }

    #[test]
    fn shares_add_up_to_the_whole() {
        for (records, streams) in [(10, 4), (3, 4), (0, 1), (1_000_001, 7)] {
            let sum: u64 = (0..streams).map(|stream| share(records, stream, streams)).sum();
            assert_eq!(sum, records);
        }
    }

    #[test]
    fn a_run_repeats_itself_to_the_byte() {
        let frames = || {
            let mut generator = Generator::new(&spec(1, 10));
            let mut left = 150;
            std::iter::from_fn(move || generator.next_batch(&mut left).map(|batch| batch.frame))
                .collect::<Vec<_>>()
        };
        assert_eq!(frames(), frames());
    }
}
