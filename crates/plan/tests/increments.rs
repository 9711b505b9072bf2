//! Increments, which lengthen a whole record. Graphs begin on line 3 of the document.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support;

use proptest::prelude::*;
use support::{Subscriber, causes, compiled, event, micros, plan, session, warnings};
use turnpike_plan::Cause;
use turnpike_types::{SuspenseReason, Timestamp, UsageRecord};

const AT: &str = "2026-05-01T09:00:00Z";
const SECOND: i128 = 1_000_000;
const HOUR: i128 = 3_600 * SECOND;

/// An account whose plan has an increment in front of a filter for peak time, 19:00 to 24:00.
fn incremented(first: &str, then: &str) -> Subscriber {
    let graph = format!(
        r#"<UsageTypeSelector id="calls" in="record.duration" types="call"/>
        <UsageIncrement id="i" in="calls.pass" first="{first}" then="{then}"/>
        <DailyTimeFilter id="f" in="i.out" from="19:00" to="24:00"/>
        <MonthlyAccumulator id="a" in="f.rest"/>
        <StepRater id="peak" in="f.pass"><step id="peak" price="1" per="1 min"/></StepRater>
        <StepRater id="day" in="a.out" level="a.total"><step id="day" price="0.50" per="1 min"/></StepRater>
        <AccountFinalizer id="post" in="peak.charge day.charge"/>"#
    );
    Subscriber::new(&plan(&graph), "Europe/Zurich")
}

fn seconds(account: &mut Subscriber, start: &str, millis: i64) -> Vec<(String, i128)> {
    let record = UsageRecord { duration_us: millis * 1000, ..session("call", start, start) };
    let lines = account.lines(&record).into_iter();
    lines.map(|(component, units, _)| (component, units / SECOND)).collect()
}

/// docs/plan-semantics.md section 4: increments of 60/60 and 30/6 seconds lengthen a record once,
/// at its end. A zero-quantity record is not lengthened.
#[test]
fn a_call_is_charged_in_whole_increments() {
    let (mut minutes, mut sixes) = (incremented("60 s", "60 s"), incremented("30 s", "6 s"));
    let noon = "2026-05-01T12:00:00+02:00";
    let mut day = |millis| [&mut minutes, &mut sixes].map(|account| seconds(account, noon, millis));
    let of = |units: i128| vec![("day".to_owned(), units)];
    assert_eq!(day(0), [vec![], vec![]]);
    assert_eq!(day(1), [of(60), of(30)]);
    assert_eq!(day(30_000), [of(60), of(30)]);
    assert_eq!(day(30_001), [of(60), of(36)]);
    assert_eq!(day(60_000), [of(60), of(60)]);
    assert_eq!(day(60_001), [of(120), of(66)]);
    // Accumulators count the lengthened units.
    assert_eq!(minutes.state.entries()[0].value, (60 * 4 + 120) * SECOND);
}

/// docs/plan-semantics.md section 4: a record is lengthened before it is split, so the added time
/// is where the call would have continued.
#[test]
fn the_added_time_lies_behind_the_records_end() {
    let mut account = incremented("60 s", "60 s");
    let found = seconds(&mut account, "2026-05-01T18:59:30+02:00", 10_000);
    assert_eq!(found, [("peak".to_owned(), 30), ("day".to_owned(), 30)]);
    // The record is lengthened once and then split; it is not lengthened on both sides of the
    // split.
    let found = seconds(&mut account, "2026-05-01T18:58:30+02:00", 91_000);
    assert_eq!(found, [("peak".to_owned(), 30), ("day".to_owned(), 90)]);
}

/// If the measure is not time, the record keeps its duration D: of the Q' units after rounding up,
/// unit k happens floor(k*D/Q') microseconds after the start.
#[test]
fn a_quantity_grows_within_the_records_time() {
    let xml = plan(
        r#"<UsageIncrement id="i" in="record.octets" first="10 B" then="10 B"/>
        <DailyTimeFilter id="f" in="i.out" from="12:00" to="24:00"/>
        <StepRater id="am" in="f.rest"><step id="am" price="1" per="1 B"/></StepRater>
        <StepRater id="pm" in="f.pass"><step id="pm" price="1" per="1 B"/></StepRater>
        <AccountFinalizer id="post" in="am.charge pm.charge"/>"#,
    );
    let mut record = session("t", "2026-05-01T09:00:00Z", "2026-05-01T14:00:00Z");
    record.measures.insert("octets".to_owned(), 11);
    let units = |record: &UsageRecord| -> Vec<(String, i128)> {
        let lines = Subscriber::new(&xml, "UTC").lines(record);
        lines.into_iter().map(|line| (line.0, line.1)).collect()
    };
    let of = |am: i128, pm: i128| vec![("am".to_owned(), am), ("pm".to_owned(), pm)];
    assert_eq!(units(&record), of(12, 8));
    record.duration_us = 0;
    assert_eq!(units(&record), [("am".to_owned(), 20)]);
    record.measures.insert("octets".to_owned(), 1_000_000_000_000_001);
    assert_eq!(units(&record), [("am".to_owned(), 1_000_000_000_000_010)]);
    record.measures.insert("octets".to_owned(), 0);
    assert_eq!(units(&record), []);
}

#[test]
fn an_increment_past_the_numbers_there_are_suspends_the_record() {
    let xml = plan(
        r#"<UsageIncrement id="i" in="record.quantity" first="10" then="10"/><Ignore id="x" in="i.out"/>"#,
    );
    let record = event("t", AT, i64::MAX);
    assert_eq!(Subscriber::new(&xml, "UTC").rate(&record), Err(SuspenseReason::Overflow));
    let long = xml.replace("quantity", "duration").replace("\"10\"", "\"3660000 d\"");
    let record = session("t", AT, "2026-05-01T09:00:01Z");
    assert_eq!(Subscriber::new(&long, "UTC").rate(&record), Err(SuspenseReason::Overflow));
}

/// docs/plan-semantics.md section 4: an increment applies once, before any split. So it is refused
/// behind a primitive that may split records.
#[test]
fn an_increment_behind_a_primitive_that_may_split_records_is_refused() {
    let increment = |before: &str, from: &str| {
        plan(&format!(
            "{before}\n<UsageIncrement id=\"i\" in=\"{from}\" first=\"60\" then=\"60\"/>\n<Ignore id=\"x\" in=\"i.out\"/>"
        ))
    };
    let rest = r#"<StepRater id="f" in="record.quantity"><step id="s" upto="5" price="1" per="1"/></StepRater><AccountFinalizer id="post" in="f.charge"/>"#;
    let cases = [
        (
            r#"<DailyTimeFilter id="f" in="record.quantity" from="19:00" to="24:00"/><Ignore id="r" in="f.rest"/>"#,
            "f.pass",
        ),
        (
            r#"<WeeklyTimeFilter id="f" in="record.quantity"><window days="Sun"/></WeeklyTimeFilter><Ignore id="r" in="f.rest"/>"#,
            "f.pass",
        ),
        (
            r#"<SpecialDaysTimeFilter id="f" in="record.quantity" table="h"/><Ignore id="r" in="f.pass"/>"#,
            "f.rest",
        ),
        (
            r#"<ThresholdFilter id="f" in="record.quantity" above="9"/><Ignore id="r" in="f.rest"/>"#,
            "f.pass",
        ),
        (
            r#"<Weigher id="f" in="record.quantity" attribute="w" default="2"><weight value="x" weight="1"/></Weigher>"#,
            "f.out",
        ),
        (r#"<MonthlyAccumulator id="f" in="record.quantity"/>"#, "f.out"),
        (r#"<UsageIncrement id="f" in="record.quantity" first="30" then="6"/>"#, "f.out"),
        (rest, "f.rest"),
        (
            r#"<DailyTimeFilter id="f" in="record.quantity" from="19:00" to="24:00"/><UsageTypeSelector id="s" in="f.pass f.rest" types="t"/><Ignore id="r" in="s.rest"/>"#,
            "s.pass",
        ),
    ];
    for (before, from) in cases {
        assert_eq!(
            causes(&increment(before, from)),
            [(4, "i".to_owned(), Cause::Misplaced)],
            "{before}"
        );
    }
    let whole = r#"<UsageTypeSelector id="s" in="record.quantity" types="t"/><UsageTypeClassifier id="c" in="s.pass" default="u"><rule as="v" measure="quantity" above="9"/></UsageTypeClassifier><UsageTypeSelector id="v" in="c.out" types="v"/>"#;
    compiled(&increment(whole, "v.pass v.rest"));
}

#[test]
fn invalid_increments_are_refused() {
    let xml = |first: &str, then: &str| {
        plan(&format!(
            "<UsageIncrement id=\"i\" in=\"record.duration\" first=\"{first}\" then=\"{then}\"/><Ignore id=\"x\" in=\"i.out\"/>"
        ))
    };
    let refused = |first: &str, then: &str, cause: Cause| {
        assert_eq!(causes(&xml(first, then)), [(3, "i".to_owned(), cause)], "{first} {then}");
    };
    refused("60 s", "0 s", Cause::BadValue);
    refused("60 s", "6", Cause::WrongUnit);
    refused("soon", "6 s", Cause::BadValue);
    assert!(warnings(&xml("1 us", "1 us")).iter().any(|text| text.contains("nothing changes")));
    // The lengthened units and the record's own units are two different measures. The links into
    // one input must not carry both.
    let mixed = plan(
        r#"<UsageIncrement id="i" in="record.duration" first="60 s" then="60 s"/><Ignore id="x" in="i.out record.duration"/>"#,
    );
    assert_eq!(causes(&mixed), [(3, "x".to_owned(), Cause::WrongUnit)]);
}

proptest! {
    #![proptest_config(test_cases::cases(128))]

    /// A call with increments costs as much as a call of the lengthened duration without
    /// increments.
    #[test]
    fn an_increment_is_a_longer_call(
        minutes in 0i64..3_000, micro in 0i64..400_000_000, first in 0i64..120, then in 1i64..90,
    ) {
        let start = Timestamp(micros("2026-03-28T12:00:00Z") + minutes * 60_000_000);
        let record = UsageRecord { start, duration_us: micro, ..session("call", AT, AT) };
        let mut longer = if micro == 0 { 0 } else { first * 1_000_000 };
        while longer < micro {
            longer += then * 1_000_000;
        }
        let mut account = incremented(&format!("{first} s"), &format!("{then} s"));
        let mut plain = incremented("0 us", "1 us");
        let found = account.lines(&record);
        prop_assert_eq!(&found, &plain.lines(&UsageRecord { duration_us: longer, ..record }));
        prop_assert_eq!(found.iter().map(|line| line.1).sum::<i128>(), i128::from(longer));
        prop_assert!(i128::from(longer) < HOUR);
    }
}
