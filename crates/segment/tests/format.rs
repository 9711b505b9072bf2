//! A segment keeps everything that was pushed, and detects changed bytes.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use turnpike_segment::head::{Change, ComponentHead, EndMove, Settings, Subscription, SuspenseKey};
use turnpike_segment::{
    LineKind, NewLine, NewRecord, SealContext, SealedSegment, Segment, SegmentBuilder,
    SegmentError, hash_of,
};
use turnpike_types::{
    AccountNumber, Currency, Detail, Epoch, Money, Outcome, PartitionId, Posting, SegmentHash,
    SegmentNumber, SuspenseReason, Timestamp, UsageView,
};

const CONTEXT: SealContext = SealContext {
    partition: PartitionId(3),
    segment: SegmentNumber(17),
    epoch: Epoch::stored(5),
    prev_hash: SegmentHash([7; 32]),
    now: Timestamp(1_800_000_000_000_000),
    floor: Timestamp(1_700_000_000_000_000),
    catalogue_version: 11,
};

fn usd() -> Currency {
    "USD".parse().unwrap()
}

fn component(step: &str) -> ComponentHead {
    ComponentHead {
        plan_id: "octets".to_owned(),
        plan_version: 2,
        primitive: "tiers".to_owned(),
        component: step.to_owned(),
        kind: LineKind::Usage.number(),
        price: "0.05 per 1 GB".to_owned(),
        unit: "B".to_owned(),
        currency: "USD".to_owned(),
        level: Some(99),
    }
}

fn view<'a>(id: &'a str, attributes: &'a [(&'a str, &'a str)]) -> UsageView<'a> {
    UsageView {
        record_id: id,
        account: AccountNumber(42),
        usage_type: "octets",
        start: Timestamp(1_750_000_000_000_000),
        duration_us: 1_000_000,
        quantity: Some(1_500),
        measures: &[],
        attributes,
    }
}

/// A segment with at least one item of each kind.
fn sample() -> SealedSegment {
    let mut builder = SegmentBuilder::new();
    let settings = Settings {
        from_us: i64::MIN,
        zone: "UTC".to_owned(),
        cycle_day: 31,
        currency: "USD".to_owned(),
        attributes: [("level".to_owned(), "gold".to_owned())].into(),
    };
    let subscription = Subscription {
        plan_id: "octets".to_owned(),
        until_us: i64::MAX,
        ..Subscription::default()
    };
    builder.push_entry(AccountNumber(42), Change::Opened(settings));
    builder.push_entry(AccountNumber(42), Change::Subscribed(subscription));
    let rated = NewRecord {
        view: view("r1", &[("status", "200")]),
        identity: "ip:192.0.2.1",
        outcome: Outcome::Rated,
    };
    builder.push_record(&rated).unwrap();
    let first = builder.add_component(component("included"), usd()).unwrap();
    let second = builder.add_component(component("beyond"), usd()).unwrap();
    let line = NewLine {
        component: first,
        quantity: 1_000,
        first_unit: 0,
        period: 20_000,
        level_before: 0,
        level_after: 1_000,
        amount: Money::ZERO,
        of: None,
        posting: Posting::Account,
        row: None,
    };
    builder.push_line(&line);
    let amount = Money::from_nanos(-12_345_678_901).unwrap();
    builder.push_line(&NewLine { component: second, quantity: i128::MAX / 7, amount, ..line });
    builder.push_change(77, i32::MIN, 1).unwrap();
    let outcome = Outcome::Suspended(SuspenseReason::NoPlan);
    builder.push_record(&NewRecord { view: view("r2", &[]), identity: "", outcome }).unwrap();
    let key = SuspenseKey { record_id: "r0".to_owned(), revision: 3, ..SuspenseKey::default() };
    builder.push_entry(AccountNumber(42), Change::StillSuspended(SuspenseKey { reason: 2, ..key }));
    builder.seal(&CONTEXT).unwrap()
}

fn assert_is_sample(segment: &Segment) {
    let header = segment.header();
    assert_eq!((header.partition.0, header.segment.0, header.epoch.number()), (3, 17, 5));
    assert_eq!((header.now, header.floor), (CONTEXT.now, CONTEXT.floor));
    let totals = &header.totals;
    assert_eq!((totals.records, totals.suspended, totals.lines), (2, 1, 2));
    assert_eq!(totals.amounts, [(usd(), Money::from_nanos(-12_345_678_901).unwrap())]);
    let first = segment.record(0).unwrap();
    assert_eq!((first.account.0, first.record_id, first.usage_type), (42, "r1", "octets"));
    assert_eq!((first.duration_us, first.quantity), (1_000_000, Some(1_500)));
    assert_eq!(turnpike_proto::record::extra_identity(first.extra), Ok("ip:192.0.2.1"));
    assert_eq!(first.outcome, Outcome::Rated);
    let second = segment.record(1).unwrap();
    assert_eq!(second.outcome, Outcome::Suspended(SuspenseReason::NoPlan));
    assert!(second.extra.is_empty());
    assert!(segment.record(2).is_none());
    let lines: Vec<_> = segment.lines().collect();
    assert_eq!(lines[0].component.component, "included");
    assert_eq!((lines[0].level_before, lines[0].level_after), (0, 1_000));
    assert_eq!(lines[1].quantity, i128::MAX / 7);
    assert_eq!(lines[1].amount.to_string(), "-12.345678901");
    assert_eq!(lines[1].component.level, Some(99));
    let changes: Vec<_> = segment.changes().collect();
    assert_eq!((changes[0].record, changes[0].variable, changes[0].value), (0, 77, 1));
    let before: Vec<u32> = segment.entries().iter().map(|entry| entry.before_record).collect();
    assert_eq!(before, [0, 0, 2]);
}

#[test]
fn pushed_records_are_read_again() {
    let sealed = sample();
    assert_eq!(sealed.hash, hash_of(CONTEXT.prev_hash, &sealed.body));
    let segment = Segment::decode_checked(&sealed.body, CONTEXT.prev_hash, sealed.hash).unwrap();
    assert_is_sample(&segment);
}

/// Segments of earlier releases stay readable. To add the bytes of a new format version, run
/// `TURNPIKE_WRITE_GOLDEN=1 cargo test -p turnpike-segment golden`. The bytes of old versions are
/// kept.
#[test]
fn golden_bytes_of_format_1_are_read() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/segment-1.bin");
    if std::env::var_os("TURNPIKE_WRITE_GOLDEN").is_some() {
        std::fs::write(path, sample().body).unwrap();
    }
    let bytes = Bytes::from(std::fs::read(path).unwrap());
    assert_is_sample(&Segment::decode(&bytes).unwrap());
}

#[test]
fn i3_a_changed_byte_or_another_predecessor_is_noticed() {
    let sealed = sample();
    let other = SegmentHash([8; 32]);
    let wrong = Segment::decode_checked(&sealed.body, other, sealed.hash);
    assert!(matches!(wrong, Err(SegmentError::Hash)));
    let mut bytes = sealed.body.to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    let wrong = Segment::decode_checked(&bytes.into(), CONTEXT.prev_hash, sealed.hash);
    assert!(matches!(wrong, Err(SegmentError::Hash)));
}

#[test]
fn a_cut_segment_is_an_error_never_a_panic() {
    let sealed = sample();
    for end in 0..sealed.body.len() {
        assert!(Segment::decode(&sealed.body.slice(..end)).is_err(), "cut at {end}");
    }
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let mut bytes = sample().body.to_vec();
    bytes[7] = 3;
    assert!(matches!(Segment::decode(&bytes.into()), Err(SegmentError::Format)));
}

proptest! {
    #[test]
    fn totals_are_the_sums_of_the_rows(
        rows in vec((1u64..9, 0usize..3, any::<i64>(), any::<bool>()), 0..60),
    ) {
        let mut builder = SegmentBuilder::new();
        let component = builder.add_component(component("x"), usd()).unwrap();
        for (at, (account, lines, nanos, suspended)) in rows.iter().enumerate() {
            let id = at.to_string();
            let view = UsageView { account: AccountNumber(*account), ..view(&id, &[]) };
            let outcome = match suspended {
                true => Outcome::Suspended(SuspenseReason::Overflow),
                false => Outcome::Rated,
            };
            builder.push_record(&NewRecord { view, identity: "", outcome }).unwrap();
            for _ in 0..*lines {
                builder.push_line(&NewLine {
                    component,
                    quantity: 1,
                    first_unit: 0,
                    period: 0,
                    level_before: 0,
                    level_after: 1,
                    amount: Money::from_nanos(i128::from(*nanos)).unwrap(),
                    of: None,
                    posting: Posting::Account,
                    row: None,
                });
            }
        }
        let sealed = builder.seal(&CONTEXT).unwrap();
        let segment = Segment::decode(&sealed.body).unwrap();
        let totals = &segment.header().totals;
        prop_assert_eq!(totals, &sealed.totals);
        prop_assert_eq!(totals.records as usize, rows.len());
        prop_assert_eq!(totals.lines as usize, segment.lines().count());
        let sum: i128 = segment.lines().map(|line| line.amount.nanos()).sum();
        prop_assert_eq!(totals.amounts[0].1.nanos(), sum);
        let accounts: Vec<u64> = segment.records().map(|(_, row)| row.account.0).collect();
        prop_assert_eq!(accounts, rows.iter().map(|row| row.0).collect::<Vec<_>>());
    }
}

/// A segment of suspended records: two share a detail text, one has none.
fn with_details() -> SealedSegment {
    let mut builder = SegmentBuilder::new();
    for (id, detail) in
        [("r1", "record.duration"), ("r2", ""), ("r3", "record.duration"), ("r4", "USD->CHF")]
    {
        let outcome = Outcome::Suspended(SuspenseReason::MissingInput);
        builder.push_record(&NewRecord { view: view(id, &[]), identity: "", outcome }).unwrap();
        builder.push_detail(&Detail::new(detail));
        let row = u32::try_from(builder.records() - 1).unwrap();
        assert_eq!(builder.record(row).unwrap().detail, detail, "while it is open (P5)");
    }
    let key = SuspenseKey { record_id: "r0".to_owned(), reason: 7, ..SuspenseKey::default() };
    let key = SuspenseKey { detail: "record.quantity".to_owned(), ..key };
    builder.push_entry(AccountNumber(42), Change::StillSuspended(key));
    builder.seal(&CONTEXT).unwrap()
}

fn assert_has_details(segment: &Segment) {
    let details: Vec<&str> = segment.records().map(|(_, record)| record.detail).collect();
    assert_eq!(details, ["record.duration", "", "record.duration", "USD->CHF"]);
    let Some(Change::StillSuspended(key)) = &segment.entries()[0].change else { panic!() };
    assert_eq!(key.detail, "record.quantity");
}

#[test]
fn details_of_suspense_reasons_are_kept_and_each_text_once() {
    let sealed = with_details();
    assert_has_details(&Segment::decode(&sealed.body).unwrap());
    let count = |text: &[u8]| sealed.body.windows(text.len()).filter(|at| *at == text).count();
    assert_eq!(count(b"record.duration"), 1);
}

/// Details are fields of the head. An older program reads the segment without the details, and this
/// program reads segments of older programs, as the other tests of golden bytes show.
#[test]
fn golden_bytes_with_details_are_read() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/segment-1-details.bin");
    if std::env::var_os("TURNPIKE_WRITE_GOLDEN").is_some() {
        std::fs::write(path, with_details().body).unwrap();
    }
    assert_has_details(&Segment::decode(&Bytes::from(std::fs::read(path).unwrap())).unwrap());
}

/// An end that moved, and a subscription that never began.
fn with_moved_ends() -> SealedSegment {
    let mut builder = SegmentBuilder::new();
    for (from_us, until_us) in [(5, 9), (20, 20)] {
        let end = EndMove { plan_id: "octets".to_owned(), from_us, until_us };
        builder.push_entry(AccountNumber(42), Change::EndMoved(end));
    }
    builder.seal(&CONTEXT).unwrap()
}

#[test]
fn golden_bytes_with_moved_ends_are_read() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/segment-1-moved-ends.bin");
    if std::env::var_os("TURNPIKE_WRITE_GOLDEN").is_some() {
        std::fs::write(path, with_moved_ends().body).unwrap();
    }
    let segment = Segment::decode(&Bytes::from(std::fs::read(path).unwrap())).unwrap();
    let ends: Vec<_> = segment
        .entries()
        .iter()
        .map(|entry| match &entry.change {
            Some(Change::EndMoved(end)) => (entry.account, end.from_us, end.until_us),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ends, [(42, 5, 9), (42, 20, 20)]);
}

/// A correction of settings beyond the range of dates.
#[test]
fn golden_bytes_with_corrected_settings_are_read() {
    let path =
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/segment-1-corrected-settings.bin");
    let settings =
        Settings { from_us: 5, zone: "UTC".to_owned(), cycle_day: 15, ..Settings::default() };
    if std::env::var_os("TURNPIKE_WRITE_GOLDEN").is_some() {
        let mut builder = SegmentBuilder::new();
        builder.push_entry(AccountNumber(42), Change::SettingsCorrected(settings.clone()));
        std::fs::write(path, builder.seal(&CONTEXT).unwrap().body).unwrap();
    }
    let segment = Segment::decode(&Bytes::from(std::fs::read(path).unwrap())).unwrap();
    let [entry] = segment.entries() else { panic!("{:?}", segment.entries()) };
    assert_eq!((entry.account, &entry.change), (42, &Some(Change::SettingsCorrected(settings))));
}
