//! Weigher: weights by an attribute's value, or by time (docs/plan-semantics.md section 8).

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support::{self, refused};

use proptest::prelude::*;
use refused::refused;
use support::{Subscriber, event, micros, plan, session};
use turnpike_plan::Cause;
use turnpike_types::{SuspenseReason, Timestamp, UsageRecord};

const RATE: &str = r#"<StepRater id="r" in="w.out"><step id="s" price="1" per="1 us"/></StepRater>
    <AccountFinalizer id="post" in="r.charge"/>"#;
const MINUTE: i128 = 60_000_000;

fn by_time(attributes: &str, weights: &str, zone: &str) -> Subscriber {
    let graph =
        format!(r#"<Weigher id="w" in="record.duration" {attributes}>{weights}</Weigher>{RATE}"#);
    Subscriber::new(&plan(&graph), zone)
}

fn units(subscriber: &mut Subscriber, record: &UsageRecord) -> i128 {
    subscriber.lines(record).iter().map(|line| line.1).sum()
}

/// docs/plan-semantics.md section 1: windows are half open, in the account's wall-clock time.
#[test]
fn a_unit_is_weighed_by_its_time_of_day() {
    let weights = r#"<weight from="19:00" to="24:00" weight="2"/>"#;
    let mut account = by_time("default=\"1\"", weights, "Europe/Zurich");
    let evening = session("t", "2026-05-04T18:00:00+02:00", "2026-05-04T20:00:00+02:00");
    assert_eq!(units(&mut account, &evening), 60 * MINUTE + 2 * 60 * MINUTE);
    let night = session("t", "2026-05-04T23:30:00+02:00", "2026-05-05T00:30:00+02:00");
    assert_eq!(units(&mut account, &night), 2 * 30 * MINUTE + 30 * MINUTE);
}

/// The first matching window determines the weight; units of weight zero are dropped.
#[test]
fn the_first_window_that_holds_the_time_counts() {
    let weights = r#"<weight from="12:00" to="13:00" weight="0"/><weight from="08:00" to="18:00" weight="3"/>"#;
    let mut account = by_time("default=\"1\"", weights, "UTC");
    let day = session("t", "2026-05-04T07:00:00Z", "2026-05-04T19:00:00Z");
    assert_eq!(units(&mut account, &day), (2 + 9 * 3) * 60 * MINUTE);
    let lunch = session("t", "2026-05-04T12:00:00Z", "2026-05-04T13:00:00Z");
    assert_eq!(account.lines(&lunch), []);
}

/// A window past midnight belongs to the day on which it starts.
#[test]
fn a_window_of_some_days_wraps_into_the_next() {
    // 2026-05-08 is a Friday.
    let weights = r#"<weight from="22:00" to="06:00" days="Fri" weight="10"/>"#;
    let mut account = by_time("default=\"1\"", weights, "UTC");
    let mut hour = |start: &str, end: &str| units(&mut account, &session("t", start, end)) / MINUTE;
    assert_eq!(hour("2026-05-08T05:00:00Z", "2026-05-08T06:00:00Z"), 60);
    assert_eq!(hour("2026-05-08T22:00:00Z", "2026-05-08T23:00:00Z"), 600);
    assert_eq!(hour("2026-05-09T05:30:00Z", "2026-05-09T06:30:00Z"), 330);
    assert_eq!(hour("2026-05-09T22:00:00Z", "2026-05-09T23:00:00Z"), 60);
    let weekend = r#"<weight days="Sat-Mon, Wed" weight="0"/>"#;
    let mut account = by_time("default=\"1\"", weekend, "UTC");
    let week = session("t", "2026-05-04T00:00:00Z", "2026-05-11T00:00:00Z");
    assert_eq!(units(&mut account, &week), 3 * 24 * 60 * MINUTE);
}

/// docs/plan-semantics.md section 1: repeated time is counted twice, skipped time not at all.
#[test]
fn weights_on_time_follow_a_change_of_the_clocks() {
    let weights = r#"<weight from="02:00" to="03:00" weight="2"/>"#;
    let mut account = by_time("default=\"1\"", weights, "Europe/Zurich");
    let spring = session("t", "2026-03-29T00:00:00+01:00", "2026-03-29T06:00:00+02:00");
    assert_eq!(units(&mut account, &spring), 5 * 60 * MINUTE);
    let autumn = session("t", "2026-10-25T00:00:00+02:00", "2026-10-25T06:00:00+01:00");
    assert_eq!(units(&mut account, &autumn), (5 + 2 * 2) * 60 * MINUTE);
}

/// A record is suspended if a unit's time has no weight. For a zero-quantity record, the time is
/// its start.
#[test]
fn a_time_without_weight_suspends_the_record() {
    let weights = r#"<weight from="08:00" to="18:00" weight="3"/>"#;
    let mut account = by_time("", weights, "UTC");
    let late = session("t", "2026-05-04T17:00:00Z", "2026-05-04T18:00:01Z");
    assert_eq!(account.rate(&late), Err(SuspenseReason::NoWeight));
    let in_time = session("t", "2026-05-04T17:00:00Z", "2026-05-04T18:00:00Z");
    assert_eq!(units(&mut account, &in_time), 180 * MINUTE);
    let empty = session("t", "2026-05-04T19:00:00Z", "2026-05-04T19:00:00Z");
    assert_eq!(account.rate(&empty), Err(SuspenseReason::NoWeight));
}

/// docs/plan-semantics.md section 5: a zero-quantity record counts as usage at its start, unless
/// the weight at its start is zero.
#[test]
fn a_record_without_units_weighs_as_its_start_does() {
    let graph = r#"<Weigher id="w" in="record.duration" default="1"><weight from="00:00" to="06:00" weight="0"/></Weigher>
        <OneTimeCharge id="fee" trigger="w.out" amount="5" due="first-use"/>
        <AccountFinalizer id="post" in="fee.charge"/>"#;
    let mut account = Subscriber::new(&plan(graph), "UTC");
    let at = |time: &str| session("t", time, time);
    assert_eq!(account.lines(&at("2026-05-04T05:00:00Z")).len(), 0);
    assert_eq!(account.lines(&at("2026-05-04T06:00:00Z")).len(), 1);
}

#[test]
fn a_record_of_many_lifetimes_is_an_error() {
    let weights = r#"<weight from="08:00" to="18:00" weight="1"/>"#;
    let mut account = by_time("default=\"1\"", weights, "UTC");
    let mut record = session("t", "1900-01-01T00:00:00Z", "1900-01-01T00:00:00Z");
    record.duration_us = 200 * 366 * 86_400_000_000;
    assert_eq!(account.rate(&record), Err(SuspenseReason::Overflow));
}

const POST: &str = r#"<AccountFinalizer id="post" in="r.charge"/>"#;
const SUM: &str = r#"<StepRater id="r" in="w.out"><step id="s" price="1" per="1"/></StepRater>"#;

fn weights_refused(attributes: &str, weights: &[&str], line: u32, cause: Cause) {
    let weigher = format!(
        "<Weigher id=\"w\" in=\"record.quantity\" {attributes}>\n{}\n</Weigher>",
        weights.join("\n")
    );
    refused(&[&weigher, SUM, POST], line, "w", cause);
}

#[test]
fn weights_by_value_and_by_time_do_not_mix() {
    let (value, time) =
        (r#"<weight value="a" weight="2"/>"#, r#"<weight from="08:00" weight="3"/>"#);
    weights_refused("attribute=\"f\"", &[value, time], 5, Cause::BadValue);
    weights_refused("attribute=\"f\"", &[time, value], 5, Cause::BadValue);
    let both = r#"<weight value="a" days="Mon" weight="2"/>"#;
    weights_refused("attribute=\"f\"", &[both], 4, Cause::BadValue);
}

#[test]
fn an_attribute_that_is_missing_or_that_nothing_reads() {
    weights_refused("", &[r#"<weight value="a" weight="2"/>"#], 3, Cause::MissingProperty);
    weights_refused("attribute=\"f\"", &[r#"<weight to="08:00" weight="2"/>"#], 3, Cause::BadValue);
}

#[test]
fn windows_that_hold_no_time() {
    let cases = [
        (r#"<weight from="08:00" to="08:00" weight="2"/>"#, Cause::NothingPasses),
        (r#"<weight from="24:00" to="08:00" weight="2"/>"#, Cause::BadValue),
        (r#"<weight from="25:00" weight="2"/>"#, Cause::BadValue),
        (r#"<weight days="Freitag" weight="2"/>"#, Cause::BadValue),
        (r#"<weight days="Mon-" weight="2"/>"#, Cause::BadValue),
        (r#"<weight days=" " weight="2"/>"#, Cause::BadValue),
        (r#"<weight days="Mon" weight="1.5"/>"#, Cause::BadValue),
    ];
    for (weight, cause) in cases {
        weights_refused("", &[weight], 4, cause);
    }
}

proptest! {
    #![proptest_config(test_cases::cases(256))]

    /// The weighed units equal those of units that are pushed one by one, each by its own
    /// wall-clock time and day (docs/plan-semantics.md section 1).
    #[test]
    fn weights_on_time_are_those_of_each_unit(
        zone in prop::sample::select(vec!["UTC", "Europe/Zurich", "Australia/Lord_Howe", "Asia/Kathmandu"]),
        at in prop::sample::select(vec!["2026-03-29T00:00:00Z", "2026-10-24T22:00:00Z", "2026-10-03T10:00:00Z", "2026-05-08T18:00:00Z"]),
        before in 0i64..5_000, units in 0i64..120, minutes in 0i64..5_000,
        windows in proptest::collection::vec((0i64..48, 0i64..48, 1u8..0x80, 0i128..4), 1..4),
        default in 0i128..4,
    ) {
        const NAMES: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
        let windows: Vec<_> = windows.into_iter().filter(|w| w.0 != w.1).collect();
        let mut xml = String::new();
        for (from, to, days, weight) in &windows {
            let clock = |half: i64| format!("{:02}:{:02}", half / 2, half % 2 * 30);
            let days: Vec<_> = (0..7).filter(|day| days >> day & 1 == 1).map(|day| NAMES[day]).collect();
            xml += &format!("<weight from=\"{}\" to=\"{}\" days=\"{}\" weight=\"{weight}\"/>", clock(*from), clock(*to), days.join(" "));
        }
        prop_assume!(!xml.is_empty());
        let graph = format!(r#"<Weigher id="w" in="record.quantity" default="{default}">{xml}</Weigher>{SUM}{POST}"#);
        let mut account = Subscriber::new(&plan(&graph), zone);
        let mut record = event("t", at, units);
        record.start = Timestamp(micros(at) - before * 60_000_000);
        record.duration_us = minutes * 60_000_000;
        let weight_of = |unit: i64| -> i128 {
            let instant = record.start.micros() + unit * record.duration_us / units;
            let local = jiff::Timestamp::from_microsecond(instant).unwrap();
            let local = local.to_zoned(jiff::tz::TimeZone::get(zone).unwrap());
            let half = i64::from(local.hour()) * 2 + i64::from(local.minute()) / 30;
            let today = local.weekday().to_monday_zero_offset();
            let on = |days: u8, day: i8| days >> day.rem_euclid(7) & 1 == 1;
            let found = windows.iter().find(|(from, to, days, _)| {
                if from < to { *from <= half && half < *to && on(*days, today) }
                else { (half >= *from && on(*days, today)) || (half < *to && on(*days, today - 1)) }
            });
            found.map_or(default, |window| window.3)
        };
        let expected: i128 = (0..units).map(weight_of).sum();
        let found: i128 = account.lines(&record).iter().map(|line| line.1).sum();
        prop_assert_eq!(found, expected);
    }
}
