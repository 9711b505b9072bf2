//! Accumulators and thresholds: the period in which units are counted, and the level from which
//! they pass. Graphs begin on line 3 of the document.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support;

use std::collections::BTreeMap;

use proptest::prelude::*;
use support::{Subscriber, causes, event, micros, plan, session, warnings};
use turnpike_plan::Cause;
use turnpike_types::{SuspenseReason, Timestamp, UsageRecord};

const DAY: i128 = 86_400_000_000;
const HOUR: i128 = 3_600_000_000;

/// A plan with a ThresholdFilter `f` behind the primitives `before`, and separate raters for its
/// two outputs.
fn threshold(before: &str, attributes: &str) -> String {
    plan(&format!(
        r#"{before}<ThresholdFilter id="f" {attributes}/>
        <StepRater id="over" in="f.pass"><step id="over" price="2" per="1"/></StepRater>
        <StepRater id="under" in="f.rest"><step id="under" price="1" per="1"/></StepRater>
        <AccountFinalizer id="post" in="over.charge under.charge"/>"#
    ))
}

/// The numbers of units of a record that are under and over the threshold.
fn split(account: &mut Subscriber, record: &UsageRecord) -> (i128, i128) {
    let lines = account.lines(record);
    let of = |name: &str| lines.iter().filter(|line| line.0 == name).map(|line| line.1).sum();
    (of("under"), of("over"))
}

const AT: &str = "2026-05-01T09:00:00Z";

/// Rates a record by a plan with an accumulator, and checks the totals before and after each line.
/// Returns (first date of the period, units) of each line.
fn counted(
    accumulator: &str,
    zone: &str,
    cycle_day: u8,
    record: &UsageRecord,
) -> Vec<(String, i128)> {
    let xml = plan(&format!(
        r#"<{accumulator} id="a" in="record.duration"/>
        <StepRater id="r" in="a.out" level="a.total"><step id="s" price="1" per="1 h"/></StepRater>
        <AccountFinalizer id="post" in="r.charge"/>"#
    ));
    let mut account = Subscriber::new(&xml, zone);
    account.account.cycle_day = cycle_day;
    let rated = account.rate(record).unwrap();
    assert_eq!(rated.lines.len(), rated.changes.len());
    let epoch = jiff::civil::date(1970, 1, 1);
    let first = |line: &turnpike_plan::ChargeLine| {
        epoch.checked_add(jiff::Span::new().days(line.period.0)).unwrap().to_string()
    };
    for (line, change) in rated.lines.iter().zip(&rated.changes) {
        assert_eq!(
            (line.period, line.level_before, line.level_after),
            (change.period, 0, change.value)
        );
    }
    rated.lines.iter().map(|line| (first(line), line.quantity)).collect()
}

fn periods(pairs: &[(&str, i128)]) -> Vec<(String, i128)> {
    pairs.iter().map(|(first, units)| ((*first).to_owned(), *units)).collect()
}

/// docs/plan-semantics.md section 4: calendar months are those of the account's zone, and half
/// open.
#[test]
fn a_session_across_a_months_end_counts_in_both_months() {
    let record = session("t", "2026-02-28T18:00:00Z", "2026-02-28T19:00:00Z");
    let found = counted("MonthlyAccumulator", "Asia/Kolkata", 1, &record);
    assert_eq!(found, periods(&[("2026-02-01", HOUR / 2), ("2026-03-01", HOUR / 2)]));
    let found = counted("MonthlyAccumulator", "Asia/Kathmandu", 1, &record);
    assert_eq!(found, periods(&[("2026-02-01", HOUR / 4), ("2026-03-01", HOUR * 3 / 4)]));
    let first = UsageRecord {
        duration_us: 1,
        ..session("t", "2026-03-01T00:00:00Z", "2026-03-01T00:00:00Z")
    };
    assert_eq!(counted("MonthlyAccumulator", "UTC", 1, &first), periods(&[("2026-03-01", 1)]));
}

/// docs/plan-semantics.md section 4: a billing cycle starts on the account's cycle day, or on the
/// last day of a shorter month: 31 January, 29 February, 31 March.
#[test]
fn billing_cycles_of_day_31_in_a_leap_year() {
    let record = session("t", "2024-01-30T00:00:00Z", "2024-04-30T12:00:00Z");
    let found = counted("BillingCycleAccumulator", "UTC", 31, &record);
    let expected = [
        ("2023-12-31", DAY),
        ("2024-01-31", 29 * DAY),
        ("2024-02-29", 31 * DAY),
        ("2024-03-31", 30 * DAY),
        ("2024-04-30", DAY / 2),
    ];
    assert_eq!(found, periods(&expected));
    let common = session("t", "2026-02-27T00:00:00Z", "2026-03-02T00:00:00Z");
    let found = counted("BillingCycleAccumulator", "UTC", 31, &common);
    assert_eq!(found, periods(&[("2026-01-31", DAY), ("2026-02-28", 2 * DAY)]));
}

/// docs/plan-semantics.md section 4: weeks start on Monday, or on the day that the property
/// `starts` names. Clock changes make weeks longer or shorter.
#[test]
fn weeks_start_on_monday_or_another_day() {
    let record = session("t", "2026-10-24T12:00:00+02:00", "2026-10-26T12:00:00+01:00");
    let found = counted("WeeklyAccumulator", "Europe/Zurich", 1, &record);
    assert_eq!(found, periods(&[("2026-10-19", 37 * HOUR), ("2026-10-26", 12 * HOUR)]));
    let found = counted("WeeklyAccumulator starts=\"Sun\"", "Europe/Zurich", 1, &record);
    assert_eq!(found, periods(&[("2026-10-18", 12 * HOUR), ("2026-10-25", 37 * HOUR)]));
}

#[test]
fn days_have_23_or_25_hours_where_the_clocks_change() {
    let spring = session("t", "2026-03-28T12:00:00+01:00", "2026-03-30T12:00:00+02:00");
    let found = counted("DailyAccumulator", "Europe/Zurich", 1, &spring);
    let expected =
        [("2026-03-28", 12 * HOUR), ("2026-03-29", 23 * HOUR), ("2026-03-30", 12 * HOUR)];
    assert_eq!(found, periods(&expected));
    let autumn = session("t", "2026-11-01T00:00:00-04:00", "2026-11-02T00:00:00-05:00");
    let found = counted("DailyAccumulator", "America/New_York", 1, &autumn);
    assert_eq!(found, periods(&[("2026-11-01", 25 * HOUR)]));
}

/// docs/plan-semantics.md section 3: overflow is an error; the number of periods that one record
/// may change is bounded.
#[test]
fn more_periods_than_a_record_may_touch_are_an_error() {
    let xml = plan(r#"<DailyAccumulator id="a" in="record.duration"/><Ignore id="i" in="a.out"/>"#);
    let record = session("t", "2020-01-01T00:00:00Z", "2026-01-01T00:00:00Z");
    assert_eq!(Subscriber::new(&xml, "UTC").rate(&record), Err(SuspenseReason::Overflow));
}

#[test]
fn a_week_that_starts_on_no_day_is_refused() {
    let xml = plan(
        r#"<WeeklyAccumulator id="a" in="record.quantity" starts="Monday"/><Ignore id="i" in="a.out"/>"#,
    );
    assert_eq!(causes(&xml), [(3, "a".to_owned(), Cause::BadValue)]);
}

/// docs/plan-semantics.md section 4: a ThresholdFilter tests each unit by the total before it.
#[test]
fn a_unit_passes_when_the_level_before_it_is_at_the_threshold() {
    let level = r#"<MonthlyAccumulator id="a" in="record.quantity"/>"#;
    let xml = threshold(level, r#"in="a.out" level="a.total" above="100""#);
    let mut account = Subscriber::new(&xml, "UTC");
    assert_eq!(split(&mut account, &event("t", AT, 99)), (99, 0));
    assert_eq!(split(&mut account, &event("t", AT, 3)), (1, 2));
    assert_eq!(split(&mut account, &event("t", AT, 5)), (0, 5));
    // In the next month the total restarts at 0.
    assert_eq!(split(&mut account, &event("t", "2026-06-01T00:00:00Z", 101)), (100, 1));
}

/// docs/plan-semantics.md section 2: without a level, units are counted within the record.
#[test]
fn without_a_level_units_count_within_the_record() {
    let mut account = Subscriber::new(&threshold("", r#"in="record.quantity" above="10""#), "UTC");
    for _ in 0..2 {
        assert_eq!(split(&mut account, &event("t", AT, 10)), (10, 0));
        assert_eq!(split(&mut account, &event("t", AT, 14)), (10, 4));
    }
}

/// docs/plan-semantics.md section 4: `on="record"` decides by the record's quantity. A record of up
/// to 3 MB leaves by `rest`.
#[test]
fn a_record_passes_whole_or_not_at_all() {
    let xml = threshold("", r#"in="record.octets" above="3 MB" on="record""#)
        .replace("per=\"1\"", "per=\"1 MB\"");
    let mut account = Subscriber::new(&xml, "UTC");
    let mut of = |octets: i64| {
        let mut record = session("t", AT, "2026-05-03T09:00:00Z");
        record.measures.insert("octets".to_owned(), octets);
        split(&mut account, &record)
    };
    assert_eq!(of(3_000_000), (3_000_000, 0));
    assert_eq!(of(3_000_001), (0, 3_000_001));
    assert_eq!(of(1_000_000_000_000_000), (0, 1_000_000_000_000_000));
    assert_eq!(of(0), (0, 0));
}

/// The record's whole quantity decides, even if few of its units reach the filter, and whatever
/// weight they have.
#[test]
fn a_filter_on_records_decides_by_the_whole_quantity() {
    let night = r#"<DailyTimeFilter id="n" in="record.quantity" from="22:00" to="06:00"/><Ignore id="i" in="n.rest"/><Weigher id="w" in="n.pass" attribute="f" default="9"><weight value="x" weight="1"/></Weigher>"#;
    let mut account =
        Subscriber::new(&threshold(night, r#"in="w.out" above="10" on="record""#), "UTC");
    let day = |quantity| UsageRecord {
        quantity: Some(quantity),
        ..session("t", "2026-05-01T12:00:00Z", "2026-05-02T12:00:00Z")
    };
    assert_eq!(split(&mut account, &day(12)), (0, 4 * 9));
    assert_eq!(split(&mut account, &day(9)), (3 * 9, 0));
}

/// docs/plan-semantics.md section 2: a weighed unit counts as several units, of which some may be
/// below and some above the threshold.
#[test]
fn the_copies_of_a_weighed_unit_pass_by_themselves() {
    let weigher = r#"<Weigher id="w" in="record.quantity" attribute="f" default="7"><weight value="x" weight="1"/></Weigher><MonthlyAccumulator id="a" in="w.out"/>"#;
    let mut account =
        Subscriber::new(&threshold(weigher, r#"in="a.out" level="a.total" above="10""#), "UTC");
    assert_eq!(split(&mut account, &event("t", AT, 2)), (10, 4));
    let mut account = Subscriber::new(&threshold(weigher, r#"in="a.out" above="10""#), "UTC");
    assert_eq!(split(&mut account, &event("t", AT, 2)), (10, 4));
}

/// A zero-quantity record leaves by the output by which its first unit would leave.
#[test]
fn a_record_without_units_passes_where_its_first_unit_would() {
    let level = r#"<MonthlyAccumulator id="a" in="record.quantity"/>"#;
    let xml = threshold(level, r#"in="a.out" level="a.total" above="10""#).replace(
        "<AccountFinalizer id=\"post\" in=\"",
        "<OneTimeCharge id=\"fee\" trigger=\"f.pass\" amount=\"1\" due=\"first-use\"/><AccountFinalizer id=\"post\" in=\"fee.charge ",
    );
    let mut account = Subscriber::new(&xml, "UTC");
    let fees = |account: &mut Subscriber, quantity| {
        let lines = account.lines(&event("t", AT, quantity));
        lines.iter().filter(|line| line.0 == "fee").count()
    };
    assert_eq!(fees(&mut account, 0), 0);
    assert_eq!(fees(&mut account, 10), 0);
    assert_eq!(fees(&mut account, 0), 1);
}

#[test]
fn thresholds_that_contradict_themselves_or_the_flow_are_refused() {
    let level = r#"<MonthlyAccumulator id="a" in="record.duration"/>"#;
    let xml = |attributes: &str| threshold(level, attributes).replace("per=\"1\"", "per=\"1 h\"");
    let refused = |attributes: &str, cause: Cause| {
        assert_eq!(causes(&xml(attributes)), [(3, "f".to_owned(), cause)], "{attributes}");
    };
    refused(r#"in="a.out" level="a.total" above="1 h" on="record""#, Cause::BadValue);
    refused(r#"in="a.out" above="1 MB""#, Cause::WrongUnit);
    refused(r#"in="a.out" above="-1 h""#, Cause::BadValue);
    refused(r#"in="a.out" above="1 h" on="month""#, Cause::BadValue);
    refused(r#"in="a.out""#, Cause::MissingProperty);
    refused(r#"in="a.out" level="a.out" above="1 h""#, Cause::UnknownReference);
    let warned = |attributes: &str| {
        warnings(&xml(attributes)).iter().any(|text| text.contains("ever leaves by rest"))
    };
    assert!(warned(r#"in="a.out" above="0 h""#));
    assert!(!warned(r#"in="a.out" above="0 h" on="record""#));
    assert!(!warned(r#"in="a.out" above="1 us""#));
}

proptest! {
    #![proptest_config(test_cases::cases(128))]

    /// Records in sequence are split as by a plain sum for each month.
    #[test]
    fn units_pass_by_a_running_sum(
        above in 0i64..300, records in proptest::collection::vec((0i64..90, 0i64..80, 1i64..4), 1..12),
    ) {
        let before = r#"<Weigher id="w" in="record.quantity" attribute="w"><weight value="1" weight="1"/><weight value="2" weight="2"/><weight value="3" weight="3"/></Weigher><MonthlyAccumulator id="a" in="w.out"/>"#;
        let xml = threshold(before, &format!("in=\"a.out\" level=\"a.total\" above=\"{above}\""));
        let mut account = Subscriber::new(&xml, "Asia/Kathmandu");
        let mut totals: BTreeMap<i8, i64> = BTreeMap::new();
        for (days, quantity, weight) in records {
            let start = micros("2026-01-15T18:15:00Z") + days * 86_400_000_000;
            let mut record = event("t", AT, quantity);
            record.start = Timestamp(start);
            record.attributes.insert("w".to_owned(), weight.to_string());
            let zone = jiff::tz::TimeZone::get("Asia/Kathmandu").unwrap();
            let month = jiff::Timestamp::from_microsecond(start).unwrap().to_zoned(zone).month();
            let total = totals.entry(month).or_default();
            let under = (above - *total).clamp(0, quantity * weight);
            *total += quantity * weight;
            let expected = (i128::from(under), i128::from(quantity * weight - under));
            prop_assert_eq!(split(&mut account, &record), expected);
        }
    }
}
