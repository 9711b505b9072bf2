//! PercentileRater bills at the close of a cycle; UsageMonitor only reports
//! (docs/plan-semantics.md sections 5 and 8).

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support::{self, cycles, refused};

use cycles::{Billed, lines};
use proptest::prelude::*;
use refused::refused;
use support::{Subscriber, event, micros, plan, session};
use turnpike_plan::{Cause, StateEntry};
use turnpike_types::{LineKind, Money, SuspenseReason, Timestamp, UsageRecord};

const MINUTE: i64 = 60_000_000;
const HOUR: i64 = 60 * MINUTE;

/// A plan that bills bandwidth. A rate of 0.008 kbit/s is 300 bytes in five minutes.
const BANDWIDTH: &str = r#"<PercentileRater id="p" in="record.octets-in" other="record.octets-out">
      <step id="first" upto="1 Mbit/s" price="10" per="1 Mbit/s"/><step id="more" price="6" per="1 Mbit/s"/>
    </PercentileRater>
    <AccountFinalizer id="post" in="p.charge"/>"#;
const MBIT: i128 = 37_500_000;

fn bandwidth() -> Billed {
    Billed::new(&plan(BANDWIDTH), "UTC").since("2026-01-01T00:00:00Z")
}

fn traffic(start: &str, minutes: i64, into: i64, out: i64) -> UsageRecord {
    let mut record = session("t", start, start);
    record.duration_us = minutes * MINUTE;
    record.measures.insert("octets-in".to_owned(), into);
    record.measures.insert("octets-out".to_owned(), out);
    record
}

/// docs/plan-semantics.md section 5: the rate of an interval without usage is 0; the floor(0.05*N)
/// highest of the N rates are dropped, and the next one is billed.
#[test]
fn the_highest_twentieth_of_a_cycle_is_not_billed() {
    // February 2026: 28 * 288 = 8,064 intervals, of which 403 are dropped.
    let mut account = bandwidth();
    let hours = |count: i64| count * 12;
    // 403 intervals are 33 hours and 7 intervals. Their rate is 3 Mbit/s.
    let burst = hours(33) + 7;
    let record = traffic("2026-02-03T00:00:00Z", burst * 5, burst * 3 * MBIT as i64, 0);
    assert_eq!(account.rate(&record).unwrap().lines, []);
    let mut free = account;
    assert_eq!(free.closed("2026-03-03T00:00:00Z"), lines(&[]));
    // With one more interval of traffic, its rate of 2.5 Mbit/s is billed.
    let mut account = bandwidth();
    account.rate(&record).unwrap();
    let one_more = traffic("2026-02-20T00:00:00Z", 5, MBIT as i64 * 5 / 2, 0);
    account.rate(&one_more).unwrap();
    let expected = lines(&[("first", MBIT, "10"), ("more", MBIT * 3 / 2, "9")]);
    assert_eq!(account.closed("2026-03-03T00:00:00Z"), expected);
}

/// docs/plan-semantics.md section 5: each direction is counted separately, and the greater one is
/// billed.
#[test]
fn the_greater_direction_counts() {
    let mut account = bandwidth();
    // Three days in each direction, at different times: the directions are not added.
    let intervals = 3 * 288;
    let half = MBIT as i64 / 2;
    account.rate(&traffic("2026-02-03T00:00:00Z", intervals * 5, intervals * half, 0)).unwrap();
    account.rate(&traffic("2026-02-10T00:00:00Z", intervals * 5, 0, intervals * half / 5)).unwrap();
    let expected = lines(&[("first", MBIT / 2, "5")]);
    assert_eq!(account.closed("2026-03-03T00:00:00Z"), expected);
}

/// docs/plan-semantics.md section 1: a record's bytes are distributed evenly over its time, and
/// each byte counts in the interval in which it happens.
#[test]
fn bytes_fall_into_the_intervals_in_which_they_happen() {
    let mut account = bandwidth();
    // The record lasts from 23:58 to 00:08. A fifth of its bytes is in the first interval, a half
    // in the second, and three tenths in the third.
    account.rate(&traffic("2026-02-03T23:58:00Z", 10, 1000, 10)).unwrap();
    account.rate(&traffic("2026-02-04T00:00:00Z", 0, 7, 0)).unwrap();
    let first = micros("2026-02-03T23:55:00Z") / (5 * MINUTE);
    let variable = |name: &str| {
        let mut known = account.code.variables().iter();
        known.find(|variable| variable.primitive == name).unwrap().id
    };
    let of = |name: &str| -> Vec<(i64, i128)> {
        let entries = account.state.iter().filter(|entry| entry.variable == variable(name));
        entries.map(|entry| (i64::from(entry.period.0) - first, entry.value)).collect()
    };
    assert_eq!(of("p/in"), [(0, 200), (1, 507), (2, 300)]);
    assert_eq!(of("p/other"), [(0, 2), (1, 5), (2, 3)]);
}

/// docs/plan-semantics.md section 5: N is the number of five-minute intervals that really exist, so
/// March has an hour less of them in Zurich.
#[test]
fn a_cycle_with_a_clock_change_has_fewer_intervals() {
    // 31 days are 8,928 intervals, less 12, so that 445 are dropped, not 446.
    let billed = |zone: &str, intervals: i64| {
        let mut account = Billed::new(&plan(BANDWIDTH), zone).since("2026-01-01T00:00:00Z");
        let octets = intervals * MBIT as i64;
        account.rate(&traffic("2026-03-10T00:00:00Z", intervals * 5, octets, 0)).unwrap();
        account.closed("2026-04-04T00:00:00Z").len()
    };
    assert_eq!([billed("Europe/Zurich", 445), billed("Europe/Zurich", 446)], [0, 1]);
    assert_eq!([billed("UTC", 446), billed("UTC", 447)], [0, 1]);
}

/// docs/plan-semantics.md section 5: N is the number of five-minute intervals that really exist, so
/// October has an hour more of them in Zurich.
#[test]
fn a_cycle_with_a_clock_put_back_has_more_intervals() {
    // 31 days are 8,928 intervals, plus 12, so that 447 are dropped, not 446.
    let billed = |zone: &str, intervals: i64| {
        let mut account = Billed::new(&plan(BANDWIDTH), zone).since("2026-01-01T00:00:00Z");
        let octets = intervals * MBIT as i64;
        account.rate(&traffic("2026-10-10T00:00:00Z", intervals * 5, octets, 0)).unwrap();
        account.closed("2026-11-04T00:00:00Z").len()
    };
    assert_eq!([billed("Europe/Zurich", 447), billed("Europe/Zurich", 448)], [0, 1]);
    assert_eq!([billed("UTC", 446), billed("UTC", 447)], [0, 1]);
}

/// docs/plan-semantics.md section 5: the charge is booked after the grace period; later records
/// change no closed cycle.
#[test]
fn bandwidth_is_billed_when_grace_is_over_and_only_once() {
    let mut account = bandwidth();
    let record = traffic("2026-02-03T00:00:00Z", 3000, 600 * MBIT as i64, 0);
    account.rate(&record).unwrap();
    assert_eq!(account.sweep("2026-03-02T23:59:59Z"), []);
    let closed = account.sweep("2026-03-03T00:00:00Z");
    assert_eq!(closed[0].0, Timestamp(micros("2026-03-03T00:00:00Z")));
    assert_eq!(account.shown(&closed[0].1), lines(&[("first", MBIT, "10")])[0]);
    account.rate(&record).unwrap();
    assert_eq!(account.sweep("2026-03-20T00:00:00Z"), []);
}

/// A record sets a variable for each five-minute interval in which it has usage. A record of more
/// intervals than the maximum number of variables is suspended as a whole.
#[test]
fn a_record_of_weeks_is_an_error() {
    let mut account = bandwidth();
    let long = traffic("2026-02-03T00:00:00Z", 1025 * 5, 1_000_000, 0);
    assert_eq!(account.rate(&long), Err(SuspenseReason::Overflow));
    assert!(account.rate(&traffic("2026-02-03T00:00:00Z", 1024 * 5, 1_000_000, 0)).is_ok());
    // Each direction sets its own variables, so 513 intervals in both directions exceed the limit
    // too.
    let both = traffic("2026-02-03T00:00:00Z", 513 * 5, 1_000_000, 1_000_000);
    assert_eq!(account.rate(&both), Err(SuspenseReason::Overflow));
    account.state = account.state.iter().map(|e| StateEntry { value: i128::MAX, ..*e }).collect();
    let one = traffic("2026-02-03T00:00:00Z", 0, 1, 0);
    assert_eq!(account.rate(&one), Err(SuspenseReason::Overflow));
}

#[test]
fn a_percentile_or_rate_that_can_not_be() {
    let rater = |attributes: &str, step: &str| {
        format!(
            "<PercentileRater id=\"p\" in=\"record.octets\" {attributes}>\n{step}\n</PercentileRater>"
        )
    };
    let post = r#"<AccountFinalizer id="post" in="p.charge"/>"#;
    let sound = r#"<step id="s" price="1" per="1 Mbit/s"/>"#;
    for wrong in ["0", "101", "-5", "95.5"] {
        let percentile = format!("percentile=\"{wrong}\"");
        refused(&[&rater(&percentile, sound), post], 3, "p", Cause::BadValue);
    }
    for (step, cause) in [
        (r#"<step id="s" price="1" per="1 MB"/>"#, Cause::BadValue),
        (r#"<step id="s" price="1" per="0 Mbit/s"/>"#, Cause::BadValue),
        (r#"<step id="s" upto="fast" price="1" per="1 Mbit/s"/>"#, Cause::BadValue),
        (r#"<step id="s" upto="1 Gbit/s" price="1" per="1 Mbit/s"/>"#, Cause::BadTiers),
        (r#"<step id="s" from="1 kbit/s" price="1" per="1 Mbit/s"/>"#, Cause::BadTiers),
    ] {
        refused(&[&rater("", step), post], 4, "p", cause);
    }
    let time = rater("", sound).replace("octets", "duration");
    refused(&[&time, post], 3, "p", Cause::WrongUnit);
    let both = rater("other=\"record.duration\"", sound);
    refused(&[&both, post], 3, "p", Cause::WrongUnit);
}

const MONITORED: &str = r#"<MonthlyAccumulator id="a" in="record.quantity"/>
    <UsageMonitor id="watch" in="a.out" level="a.total" limit="100" message="100 units used"/>
    <StepRater id="r" in="watch.out"><step id="s" price="1" per="1"/></StepRater>
    <AccountFinalizer id="post" in="r.charge watch.charge"/>"#;

/// docs/plan-semantics.md section 8: when the level exceeds the limit, an event without a charge is
/// booked, once per period.
#[test]
fn a_limit_that_is_passed_is_reported_once_a_month() {
    let mut account = Subscriber::new(&plan(MONITORED), "UTC");
    let told = |account: &mut Subscriber, at: &str, units: i64| -> Vec<(i64, i128, i128)> {
        let rated = account.rate(&event("t", at, units)).unwrap();
        let events = rated.lines.iter().filter(|line| account.shown(line).0 == "watch");
        events
            .inspect(|line| assert_eq!((line.amount, line.quantity), (Money::ZERO, 0)))
            .map(|line| (line.first_unit, line.level_before, line.level_after))
            .collect()
    };
    let (may, june) = ("2026-05-04T09:00:00Z", "2026-06-04T09:00:00Z");
    assert_eq!(told(&mut account, may, 60), []);
    // The hundredth unit does not exceed the limit.
    assert_eq!(told(&mut account, may, 40), []);
    assert_eq!(told(&mut account, may, 3), [(0, 100, 103)]);
    assert_eq!(told(&mut account, may, 50), []);
    assert_eq!(told(&mut account, june, 150), [(100, 100, 150)]);
    let component = account.plans[0].components().iter().find(|c| c.component == "watch").unwrap();
    assert_eq!((component.kind, component.price.as_str()), (LineKind::Event, "100 units used"));
}

/// One record can exceed the limit in two periods; its units pass unchanged.
#[test]
fn a_record_over_two_months_can_pass_both_limits() {
    let mut account = Subscriber::new(&plan(MONITORED), "UTC");
    let mut record = event("t", "2026-05-31T00:00:00Z", 480);
    record.duration_us = 48 * HOUR;
    let expected = lines(&[("watch", 0, "0"), ("watch", 0, "0"), ("s", 480, "480")]);
    let mut found = account.lines(&record);
    found.sort_by_key(|line| line.1);
    assert_eq!(found, expected);
}

#[test]
fn a_monitor_without_level_limit_or_message() {
    let count = r#"<MonthlyAccumulator id="a" in="record.quantity"/>"#;
    let rest = r#"<Ignore id="i" in="w.out"/>"#;
    let post = r#"<AccountFinalizer id="post" in="w.charge"/>"#;
    for (attributes, cause) in [
        (r#"limit="1" message="m""#, Cause::OpenInput),
        (r#"level="a.total" message="m""#, Cause::MissingProperty),
        (r#"level="a.total" limit="1""#, Cause::MissingProperty),
        (r#"level="a.total" limit="much" message="m""#, Cause::BadValue),
        (r#"level="a.total" limit="1" message="""#, Cause::BadValue),
    ] {
        let monitor = format!(r#"<UsageMonitor id="w" in="a.out" {attributes}/>"#);
        refused(&[count, &monitor, rest, post], 4, "w", cause);
    }
}

proptest! {
    #![proptest_config(test_cases::cases(64))]

    /// The percentile equals that of a model that assigns bytes to intervals one by one and sorts
    /// all intervals (docs/plan-semantics.md section 5).
    #[test]
    fn the_percentile_is_that_of_all_intervals_sorted(
        records in proptest::collection::vec((0i64..40_320, 0i64..300, 0i64..400, 0i64..400), 0..12),
        percentile in prop::sample::select(vec![95usize, 100, 99, 50]),
    ) {
        let xml = plan(&BANDWIDTH.replacen("id=\"p\"", &format!("id=\"p\" percentile=\"{percentile}\""), 1));
        let mut account = Billed::new(&xml, "UTC").since("2026-01-01T00:00:00Z");
        let february = micros("2026-02-01T00:00:00Z");
        let mut intervals = [vec![0i128; 8064], vec![0i128; 8064]];
        for (minute, minutes, into, out) in records {
            let mut record = traffic("2026-02-01T00:00:00Z", minutes, into, out);
            record.start = Timestamp(february + minute * MINUTE);
            account.rate(&record).unwrap();
            for (direction, bytes) in [into, out].into_iter().enumerate() {
                for byte in 0..bytes {
                    let at = record.start.micros() + byte * record.duration_us / bytes;
                    let place = (at - february) / (5 * MINUTE);
                    if let Some(slot) = intervals[direction].get_mut(place as usize) {
                        *slot += 1;
                    }
                }
            }
        }
        let dropped = (100 - percentile) * 8064 / 100;
        let billed = intervals.iter_mut().map(|bytes| {
            bytes.sort_unstable_by(|a, b| b.cmp(a));
            bytes[dropped]
        });
        let billed = billed.max().unwrap();
        let found: i128 = account.closed("2026-03-03T00:00:00Z").iter().map(|line| line.1).sum();
        prop_assert_eq!(found, billed);
    }

    /// The monitor reports the first unit beyond the limit, which the test finds one by one.
    #[test]
    fn a_monitor_reports_at_the_first_unit_past_its_limit(
        limit in 0i64..60, records in proptest::collection::vec(0i64..30, 1..8),
    ) {
        let xml = plan(&MONITORED.replace("limit=\"100\"", &format!("limit=\"{limit}\"")));
        let mut account = Subscriber::new(&xml, "UTC");
        let mut total = 0;
        for units in records {
            let rated = account.rate(&event("t", "2026-05-04T09:00:00Z", units)).unwrap();
            let told: Vec<i64> = rated.lines.iter()
                .filter(|line| account.shown(line).0 == "watch").map(|line| line.first_unit).collect();
            let expected: Vec<i64> = (0..units).filter(|unit| total + unit == limit).collect();
            prop_assert_eq!(told, expected);
            total += units;
        }
    }
}
