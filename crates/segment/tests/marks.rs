//! Lines that were derived from other lines, or that post to other accounts: what the plan language
//! needs of a segment (docs/plan-semantics.md sections 2 and 3, P33).
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use turnpike_segment::head::{
    Change, ComponentHead, Offer, OptOut, Pick, PostingCursor, Subscription,
};
use turnpike_segment::{
    ComponentIndex, LineKind, NewLine, NewRecord, SealContext, SealedSegment, Segment,
    SegmentBuilder, SegmentError,
};
use turnpike_types::{
    AccountNumber, Epoch, Money, Outcome, PartitionId, Posting, SegmentHash, SegmentNumber,
    SuspenseReason, Timestamp, UsageView,
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
const PARENT: AccountNumber = AccountNumber(7_000_042);

fn money(nanos: i128) -> Money {
    Money::from_nanos(nanos).unwrap()
}

fn component(builder: &mut SegmentBuilder, kind: LineKind) -> ComponentIndex {
    let head = ComponentHead {
        plan_id: "shared".to_owned(),
        plan_version: 1,
        primitive: kind.word().to_owned(),
        component: "x".to_owned(),
        kind: kind.number(),
        currency: "USD".to_owned(),
        ..ComponentHead::default()
    };
    builder.add_component(head, "USD".parse().unwrap()).unwrap()
}

const fn line(component: ComponentIndex, amount: Money) -> NewLine {
    NewLine {
        component,
        quantity: 1,
        first_unit: 0,
        period: i32::MIN,
        level_before: 0,
        level_after: 0,
        amount,
        of: None,
        posting: Posting::Account,
        row: None,
    }
}

fn record(builder: &mut SegmentBuilder, id: &str, outcome: Outcome) {
    let view = UsageView {
        record_id: id,
        account: AccountNumber(42),
        usage_type: "octets",
        start: Timestamp(1_750_000_000_000_000),
        duration_us: 0,
        quantity: Some(1),
        measures: &[],
        attributes: &[],
    };
    builder.push_record(&NewRecord { view, identity: "", outcome }).unwrap();
}

/// A charge of 10 that is shared with a parent account and taxed, a tentative line, and a credit
/// that fell due.
fn sample() -> SealedSegment {
    let mut builder = SegmentBuilder::new();
    let [usage, share, tax, discount] =
        [LineKind::Usage, LineKind::Share, LineKind::Tax, LineKind::Discount]
            .map(|kind| component(&mut builder, kind));
    entries(&mut builder);
    record(&mut builder, "plain", Outcome::Rated);
    builder.push_line(&line(usage, money(5)));
    record(&mut builder, "shared", Outcome::RatedLate);
    let shared = builder.line_count();
    builder.push_line(&NewLine { posting: Posting::Replaced, ..line(usage, money(10)) });
    let of = Some(shared);
    builder.push_line(&NewLine { of, ..line(share, money(4)) });
    let second = Posting::Second(PARENT);
    builder.push_line(&NewLine { of, posting: second, ..line(share, money(5)) });
    builder.push_line(&NewLine { of, posting: Posting::Nobody, ..line(share, money(1)) });
    builder.push_line(&NewLine { of: Some(shared + 2), posting: second, ..line(tax, money(2)) });
    record(&mut builder, "trial", Outcome::Rated);
    builder.push_line(&NewLine { posting: Posting::Tentative, ..line(usage, money(99)) });
    record(&mut builder, "fell-due", Outcome::FellDue);
    builder.push_line(&line(discount, money(-7)));
    record(&mut builder, "posted", Outcome::Posted);
    record(&mut builder, "waits", Outcome::Suspended(SuspenseReason::NoRate));
    assert!(builder.has_postings());
    builder.seal(&CONTEXT).unwrap()
}

fn entries(builder: &mut SegmentBuilder) {
    let cursor = PostingCursor { sender: 9, segment: 88, ordinal: 3, hash: vec![6; 32] };
    builder.push_entry(AccountNumber(0), Change::PostingsTaken(cursor));
    let option = || "phone".to_owned();
    let offer = Offer {
        option: option(),
        plans: vec!["small".to_owned(), "large".to_owned()],
        fee: "2.500000000".to_owned(),
        from_us: 5,
        priority: 3,
    };
    builder.push_entry(AccountNumber(42), Change::Offered(offer));
    let pick = Pick { option: option(), plan_id: "large".to_owned(), cycle: -20 };
    builder.push_entry(AccountNumber(42), Change::Picked(pick));
    let end = OptOut { option: option(), plan_id: "large".to_owned(), at_us: 50 };
    builder.push_entry(AccountNumber(42), Change::OptedOut(end));
    let alternative = Subscription {
        plan_id: "small".to_owned(),
        option: option(),
        fee: "2.500000000".to_owned(),
        place: 1,
        ..Subscription::default()
    };
    builder.push_entry(AccountNumber(42), Change::Subscribed(alternative));
}

fn assert_is_sample(segment: &Segment) {
    let outcomes: Vec<Outcome> = segment.records().map(|(_, row)| row.outcome).collect();
    let waits = Outcome::Suspended(SuspenseReason::NoRate);
    let [rated, late] = [Outcome::Rated, Outcome::RatedLate];
    assert_eq!(outcomes, [rated, late, rated, Outcome::FellDue, Outcome::Posted, waits]);
    let marks: Vec<_> = segment.lines().map(|line| (line.of, line.posting)).collect();
    let second = Posting::Second(PARENT);
    assert_eq!(
        marks,
        [
            (None, Posting::Account),
            (None, Posting::Replaced),
            (Some(1), Posting::Account),
            (Some(1), second),
            (Some(1), Posting::Nobody),
            (Some(3), second),
            (None, Posting::Tentative),
            (None, Posting::Account),
        ]
    );
    // Reading row by row gives the same as one pass.
    let by_row: Vec<_> = (0..segment.line_count()).map(|row| segment.line(row).unwrap()).collect();
    assert_eq!(by_row, segment.lines().collect::<Vec<_>>());
    assert_eq!(by_row[7].amount, money(-7));
    let posted: Vec<_> = segment.postings().map(|line| (line.record, line.amount)).collect();
    assert_eq!(posted, [(1, money(5)), (1, money(2))]);
    assert_eq!(segment.entries().len(), 5);
    let Some(Change::Picked(pick)) = &segment.entries()[2].change else { panic!("no pick") };
    assert_eq!((pick.plan_id.as_str(), pick.cycle), ("large", -20));
}

#[test]
fn a_line_states_its_source_line_and_its_posting() {
    let sealed = sample();
    assert_is_sample(&Segment::decode(&sealed.body).unwrap());
}

// docs/architecture.md section 8: all lines are counted, but the amounts of replaced and tentative
// lines, and of lines that post to no account, are not summed.
#[test]
fn control_totals_sum_what_posts_to_an_account() {
    let sealed = sample();
    let totals = &Segment::decode(&sealed.body).unwrap().header().totals.clone();
    assert_eq!(totals, &sealed.totals);
    assert_eq!((totals.lines, totals.postings), (8, 2));
    assert_eq!(totals.amounts[0].1, money(5 + 4 + 5 + 2 - 7));
}

/// Segments of earlier releases stay readable. `TURNPIKE_WRITE_GOLDEN=1` writes the golden file
/// again.
#[test]
fn golden_bytes_of_format_2_are_read() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/segment-2.bin");
    if std::env::var_os("TURNPIKE_WRITE_GOLDEN").is_some() {
        std::fs::write(path, sample().body).unwrap();
    }
    let bytes = Bytes::from(std::fs::read(path).unwrap());
    assert_is_sample(&Segment::decode(&bytes).unwrap());
}

#[test]
fn a_segment_without_marks_is_of_format_1() {
    let mut builder = SegmentBuilder::new();
    let usage = component(&mut builder, LineKind::Usage);
    record(&mut builder, "plain", Outcome::Rated);
    builder.push_line(&line(usage, money(5)));
    assert!(!builder.has_postings());
    assert_eq!(builder.seal(&CONTEXT).unwrap().body[7], 1);
    assert_eq!(sample().body[7], 2);
}

#[test]
fn a_segment_that_lost_its_marks_is_not_read_without_them() {
    let body = sample().body;
    for end in 0..body.len() {
        assert!(Segment::decode(&body.slice(..end)).is_err(), "cut at {end}");
    }
    let mut older = body.to_vec();
    older[7] = 1;
    assert!(matches!(Segment::decode(&older.into()), Err(SegmentError::TooLong)));
}

#[test]
fn a_segment_that_could_not_be_read_is_not_sealed() {
    let seal = |of, posting| {
        let mut builder = SegmentBuilder::new();
        let usage = component(&mut builder, LineKind::Usage);
        record(&mut builder, "first", Outcome::Rated);
        builder.push_line(&line(usage, money(5)));
        record(&mut builder, "second", Outcome::Rated);
        builder.push_line(&line(usage, money(5)));
        builder.push_line(&NewLine { of, posting, ..line(usage, money(5)) });
        builder.seal(&CONTEXT)
    };
    assert!(seal(Some(1), Posting::Account).is_ok());
    for (of, why) in [(0, "another record's"), (2, "itself"), (3, "a later one")] {
        let sealed = seal(Some(of), Posting::Account);
        assert!(matches!(sealed, Err(SegmentError::Pointer("marks.of"))), "{why}");
    }
    assert!(seal(None, Posting::Second(AccountNumber(0))).is_err(), "there is no account 0");
}

// Credits and discounts are negative. `fits` uses absolute amounts, so no order of lines can take
// the total beyond 38 digits.
#[test]
fn a_total_fits_or_not_whatever_its_sign() {
    let most = 10_i128.pow(38) - 1;
    for sign in [1, -1] {
        let mut builder = SegmentBuilder::new();
        let usage = component(&mut builder, LineKind::Usage);
        record(&mut builder, "r", Outcome::Rated);
        assert!(builder.fits(usage, most.unsigned_abs()));
        assert!(!builder.fits(usage, most.unsigned_abs() + 1));
        builder.push_line(&line(usage, money(sign * (most - 5))));
        assert!(builder.fits(usage, 5));
        assert!(!builder.fits(usage, 6), "a credit of 6 might as well be a charge");
        assert!(!builder.fits(usage, u128::MAX));
        builder.push_line(&line(usage, money(sign * 5)));
        let sealed = builder.seal(&CONTEXT).unwrap();
        assert_eq!(sealed.totals.amounts[0].1, money(sign * most));
        let segment = Segment::decode(&sealed.body).unwrap();
        assert_eq!(segment.line(0).unwrap().amount, money(sign * (most - 5)));
    }
}

proptest! {
    #[test]
    fn any_marks_are_read_as_they_were_pushed(
        records in vec(vec((any::<bool>(), 0u8..5, any::<i64>(), 0u32..9), 0..6), 1..12),
    ) {
        let mut builder = SegmentBuilder::new();
        let usage = component(&mut builder, LineKind::Usage);
        let mut pushed = Vec::new();
        for (at, lines) in records.iter().enumerate() {
            record(&mut builder, &at.to_string(), Outcome::Rated);
            let first = builder.line_count();
            for &(made, posting, nanos, back) in lines {
                let posting = match posting {
                    0 => Posting::Account,
                    1 => Posting::Second(AccountNumber(1 + u64::from(back))),
                    2 => Posting::Nobody,
                    3 => Posting::Replaced,
                    _ => Posting::Tentative,
                };
                let earlier = builder.line_count() - first;
                let of = (made && earlier > 0).then(|| first + back % earlier);
                let line = NewLine { of, posting, ..line(usage, money(i128::from(nanos))) };
                builder.push_line(&line);
                pushed.push((of, posting, i128::from(nanos)));
            }
        }
        let sealed = builder.seal(&CONTEXT).unwrap();
        let segment = Segment::decode(&sealed.body).unwrap();
        let read = segment.lines().map(|line| (line.of, line.posting, line.amount.nanos()));
        prop_assert_eq!(read.collect::<Vec<_>>(), pushed.clone());
        let counted = pushed.iter().filter(|(_, posting, _)| {
            matches!(posting, Posting::Account | Posting::Second(_))
        });
        let sum: i128 = counted.map(|(_, _, nanos)| nanos).sum();
        prop_assert_eq!(sealed.totals.amounts[0].1.nanos(), sum);
        prop_assert_eq!(segment.postings().count() as u64, segment.header().totals.postings);
        prop_assert_eq!(builder.has_postings(), segment.header().totals.postings > 0);
    }
}

// The data of a line may name the table row that a price was read from. If no line of the segment
// has a table row, the bytes are the same as before this field existed.
#[test]
fn a_line_names_the_row_of_the_table_that_its_price_comes_from() {
    let mut builder = SegmentBuilder::new();
    let usage = component(&mut builder, LineKind::Usage);
    record(&mut builder, "r", Outcome::Rated);
    builder.push_line(&line(usage, money(1)));
    builder.push_line(&NewLine { row: Some(0), ..line(usage, money(2)) });
    builder.push_line(&NewLine { of: Some(1), ..line(usage, money(3)) });
    let row = Some(u32::MAX);
    builder.push_line(&NewLine { row, of: Some(1), ..line(usage, money(4)) });
    let segment = Segment::decode(&builder.seal(&CONTEXT).unwrap().body).unwrap();
    let rows: Vec<_> = segment.lines().map(|line| (line.of, line.row)).collect();
    assert_eq!(rows, [(None, None), (None, Some(0)), (Some(1), None), (Some(1), row)]);
    assert_eq!(segment.line(1).unwrap().row, Some(0));
}
