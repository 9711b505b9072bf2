//! Filters by time of day, day of week and special days: the units that pass, and the plans that
//! are refused. Graphs begin on line 3 of the document.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support;

use std::sync::Arc;

use jiff::civil::date;
use proptest::prelude::*;
use support::{Subscriber, causes, event, micros, plan, session, warnings, with_view};
use turnpike_plan::{Cause, PlanInForce, Table, first_instant_of, parse_table};
use turnpike_types::{SuspenseReason, Timestamp, UsageRecord};

const MINUTE: i128 = 60_000_000;
const HOUR: i128 = 60 * MINUTE;

/// A plan with a filter `f`, and separate raters for its two outputs.
fn filtered(filter: &str) -> String {
    plan(&format!(
        r#"{filter}
        <StepRater id="in" in="f.pass"><step id="in" price="1" per="1 h"/></StepRater>
        <StepRater id="out" in="f.rest"><step id="out" price="1" per="1 h"/></StepRater>
        <AccountFinalizer id="post" in="in.charge out.charge"/>"#
    ))
}

fn daily(from: &str, to: &str) -> String {
    filtered(&format!(r#"<DailyTimeFilter id="f" in="record.duration" from="{from}" to="{to}"/>"#))
}

fn weekly(windows: &str) -> String {
    filtered(&format!(
        r#"<WeeklyTimeFilter id="f" in="record.duration">{windows}</WeeklyTimeFilter>"#
    ))
}

fn special(attributes: &str, days: &str) -> String {
    filtered(&format!(
        r#"<SpecialDaysTimeFilter id="f" in="record.duration" {attributes}>{days}</SpecialDaysTimeFilter>"#
    ))
}

/// The numbers of units of a session that pass and do not pass the filter.
fn split(xml: &str, zone: &str, start: &str, end: &str) -> (i128, i128) {
    let lines = Subscriber::new(xml, zone).lines(&session("t", start, end));
    let of = |name: &str| lines.iter().filter(|line| line.0 == name).map(|line| line.1).sum();
    (of("in"), of("out"))
}

/// docs/plan-semantics.md section 1: windows are half open, and 24:00 may be an end.
#[test]
fn a_unit_at_the_start_of_a_window_is_in_and_one_at_its_end_is_not() {
    let xml = daily("19:00", "24:00");
    let at = |start: &str| {
        let record = UsageRecord { duration_us: 1, ..session("t", start, start) };
        Subscriber::new(&xml, "Europe/Zurich").lines(&record)[0].0.clone()
    };
    assert_eq!(at("2026-05-01T18:59:59.999999+02:00"), "out");
    assert_eq!(at("2026-05-01T19:00:00+02:00"), "in");
    assert_eq!(at("2026-05-01T23:59:59.999999+02:00"), "in");
    assert_eq!(at("2026-05-02T00:00:00+02:00"), "out");
}

/// docs/plan-semantics.md section 1: a window whose start is later than its end goes past midnight.
#[test]
fn a_session_across_peak_and_midnight_is_split_at_both() {
    let night = daily("22:00", "06:00");
    let (start, end) = ("2026-05-01T20:00:00+02:00", "2026-05-02T07:00:00+02:00");
    assert_eq!(split(&night, "Europe/Zurich", start, end), (8 * HOUR, 3 * HOUR));
    let evening = daily("19:00", "24:00");
    assert_eq!(split(&evening, "Europe/Zurich", start, end), (4 * HOUR, 7 * HOUR));
}

/// docs/plan-semantics.md section 1: skipped time is not counted, repeated time is counted twice.
#[test]
fn clock_changes_both_ways_in_zurich_and_new_york() {
    let xml = daily("02:00", "03:00");
    let hours = |zone: &str, start: &str, end: &str| split(&xml, zone, start, end).0 / HOUR;
    let zurich = |start, end| hours("Europe/Zurich", start, end);
    assert_eq!(zurich("2026-03-29T00:00:00+01:00", "2026-03-29T12:00:00+02:00"), 0);
    assert_eq!(zurich("2026-10-25T00:00:00+02:00", "2026-10-25T12:00:00+01:00"), 2);
    let one = daily("01:00", "02:00");
    let york = |start, end| split(&one, "America/New_York", start, end).0 / HOUR;
    assert_eq!(york("2026-11-01T00:00:00-04:00", "2026-11-01T12:00:00-05:00"), 2);
    assert_eq!(
        hours("America/New_York", "2026-03-08T00:00:00-05:00", "2026-03-08T12:00:00-04:00"),
        0
    );
}

/// Time zones whose offsets are not whole hours; one of them changes its clocks.
#[test]
fn zones_that_are_not_on_the_hour() {
    let xml = daily("09:00", "17:00");
    // 09:00 is 03:30 UTC in Kolkata, and 03:15 UTC in Kathmandu.
    let at = |zone: &str| split(&xml, zone, "2026-05-01T03:00:00Z", "2026-05-01T04:00:00Z");
    assert_eq!(at("Asia/Kolkata"), (30 * MINUTE, 30 * MINUTE));
    assert_eq!(at("Asia/Kathmandu"), (45 * MINUTE, 15 * MINUTE));
    // Adelaide is at +10:30 until its clocks go back at 03:00 on 5 April 2026, then at +09:30.
    let repeated = daily("02:00", "03:00");
    let (start, end) = ("2026-04-04T12:00:00Z", "2026-04-05T00:00:00Z");
    assert_eq!(split(&repeated, "Australia/Adelaide", start, end).0, 2 * HOUR);
    let (start, end) = ("2026-10-03T12:00:00Z", "2026-10-04T00:00:00Z");
    assert_eq!(split(&repeated, "Australia/Adelaide", start, end).0, 0);
}

#[test]
fn office_hours_are_those_of_the_week_and_of_the_accounts_zone() {
    let xml = weekly(r#"<window days="Mon-Fri" from="08:00" to="18:00"/>"#);
    // The session lasts from Thursday to Tuesday. Ten hours each of Thursday, Friday and Monday
    // pass, and one hour of Tuesday.
    let (start, end) = ("2026-04-30T00:00:00+02:00", "2026-05-05T09:00:00+02:00");
    assert_eq!(split(&xml, "Europe/Zurich", start, end).0, 31 * HOUR);
    // In Kathmandu, Monday begins at 18:15 UTC on Sunday.
    let monday = weekly(r#"<window days="Mon"/>"#);
    let (start, end) = ("2026-05-03T18:00:00Z", "2026-05-03T19:00:00Z");
    assert_eq!(split(&monday, "Asia/Kathmandu", start, end), (45 * MINUTE, 15 * MINUTE));
    assert_eq!(split(&monday, "UTC", start, end), (0, HOUR));
}

/// A window past midnight belongs to the day on which it starts.
#[test]
fn a_night_belongs_to_the_day_on_which_it_starts() {
    let xml = weekly(r#"<window days="Sun" from="22:00" to="06:00"/>"#);
    let (start, end) = ("2026-05-02T12:00:00Z", "2026-05-04T12:00:00Z");
    assert_eq!(split(&xml, "UTC", start, end), (8 * HOUR, 40 * HOUR));
    let (start, end) = ("2026-05-04T22:00:00Z", "2026-05-05T06:00:00Z");
    assert_eq!(split(&xml, "UTC", start, end).0, 0);
}

#[test]
fn windows_may_overlap_and_ranges_go_round_the_week() {
    let (start, end) = ("2026-05-04T00:00:00Z", "2026-05-11T00:00:00Z");
    let twice = weekly(
        r#"<window days="Fri-Mon" from="12:00"/><window days="Sun Mon" from="08:00" to="13:00"/>"#,
    );
    assert_eq!(split(&twice, "UTC", start, end).0, (4 * 12 + 2 * 4) * HOUR);
}

#[test]
fn special_days_are_local_dates_of_one_year_or_of_every_year() {
    let xml = special("", r#"<day date="2026-12-25"/><day date="--01-01"/>"#);
    let of = |zone: &str, start: &str, end: &str| split(&xml, zone, start, end);
    let christmas = ("2026-12-24T12:00:00+05:45", "2026-12-26T12:00:00+05:45");
    assert_eq!(of("Asia/Kathmandu", christmas.0, christmas.1), (24 * HOUR, 24 * HOUR));
    let years = ("2026-12-31T23:00:00Z", "2027-01-02T01:00:00Z");
    assert_eq!(of("UTC", years.0, years.1), (24 * HOUR, 2 * HOUR));
    let later = ("2027-12-25T00:00:00Z", "2027-12-26T00:00:00Z");
    assert_eq!(of("UTC", later.0, later.1), (0, 24 * HOUR));
}

/// docs/plan-semantics.md section 1: a date with a clock change has 23 or 25 hours.
#[test]
fn a_special_day_has_23_or_25_hours_where_the_clocks_change() {
    let xml = special("", r#"<day date="2026-03-29"/><day date="2026-10-25"/>"#);
    let whole = |start, end| split(&xml, "Europe/Zurich", start, end).0;
    assert_eq!(whole("2026-03-28T00:00:00Z", "2026-03-31T00:00:00Z"), 23 * HOUR);
    assert_eq!(whole("2026-10-24T00:00:00Z", "2026-10-27T00:00:00Z"), 25 * HOUR);
}

#[test]
fn the_29th_of_february_is_special_in_leap_years() {
    let xml = special("", r#"<day date="--02-29"/>"#);
    let days = |start, end| split(&xml, "UTC", start, end).0 / HOUR;
    assert_eq!(days("2024-02-28T12:00:00Z", "2024-03-01T12:00:00Z"), 24);
    assert_eq!(days("2026-02-28T00:00:00Z", "2026-03-02T00:00:00Z"), 0);
}

fn holidays() -> Arc<Table> {
    let table = "# turnpike-table id=days kind=holidays version=1 starts=2026-01-01\ndate,name,place\n--08-01,National Day,CH\n2026-09-10,Jeune,CH/GE\n--05-01,Labour Day,\n";
    Arc::new(parse_table(table).unwrap())
}

fn by_table(
    xml: &str,
    table: Option<Arc<Table>>,
    record: &UsageRecord,
) -> Result<String, SuspenseReason> {
    let mut account = Subscriber::new(xml, "Europe/Zurich");
    account.account.attributes.insert("home".to_owned(), "CH/GE".to_owned());
    let tables = [table];
    let plans = [PlanInForce { tables: &tables, ..PlanInForce::always(&account.plans[0]) }];
    let (rater, state) = (&mut account.rater, &account.state);
    let rated = with_view(record, |view| {
        rater.rate(&plans, &account.account, state, view, Timestamp::MIN).cloned()
    })?;
    let component = usize::from(rated.lines[0].component);
    Ok(account.plans[0].components()[component].component.clone())
}

#[test]
fn a_table_lists_days_everywhere_and_days_of_places() {
    let noon = |day: &str| {
        let at = format!("2026-{day}T10:00:00Z");
        UsageRecord { duration_us: 1, ..session("t", &at, &at) }
    };
    let everywhere = special(r#"table="days""#, "");
    let at_home = special(r#"table="days" place="account.home""#, r#"<day date="--08-02"/>"#);
    let rate = |xml: &str, day: &str| by_table(xml, Some(holidays()), &noon(day)).unwrap();
    let found = |xml: &str| ["05-01", "08-01", "08-02", "09-10", "09-11"].map(|day| rate(xml, day));
    assert_eq!(found(&everywhere), ["in", "out", "out", "out", "out"]);
    assert_eq!(found(&at_home), ["in", "in", "in", "in", "out"]);
}

#[test]
fn without_the_table_or_the_place_that_it_reads_a_record_is_suspended() {
    let at = "2026-08-01T10:00:00Z";
    let record = UsageRecord { duration_us: 1, ..session("t", at, at) };
    let of_place = special(r#"table="days" place="site""#, "");
    assert_eq!(by_table(&of_place, Some(holidays()), &record), Err(SuspenseReason::MissingInput));
    let everywhere = special(r#"table="days""#, "");
    assert_eq!(by_table(&everywhere, None, &record), Err(SuspenseReason::NoTable));
    let other = "# turnpike-table id=days kind=tax version=1 starts=2026-01-01\nplace,tax,rate\nCH,VAT,8.1\n";
    let other = Arc::new(parse_table(other).unwrap());
    assert_eq!(by_table(&everywhere, Some(other), &record), Err(SuspenseReason::NoTable));
    // Usage that does not reach the filter needs no table, so it is rated without one.
    let elsewhere = everywhere.replace(
        r#"<SpecialDaysTimeFilter id="f" in="record.duration""#,
        r#"<UsageTypeSelector id="s" in="record.duration" types="u"/><StepRater id="in2" in="s.rest"><step id="in2" price="1" per="1 h"/></StepRater><SpecialDaysTimeFilter id="f" in="s.pass""#,
    );
    let elsewhere = elsewhere.replace("in.charge", "in.charge in2.charge");
    assert_eq!(by_table(&elsewhere, None, &record), Ok("in2".to_owned()));
}

/// docs/plan-semantics.md section 1: all units of a record without duration are at its start.
#[test]
fn a_record_without_duration_is_entirely_where_it_starts() {
    let xml = filtered(
        r#"<WeeklyTimeFilter id="f" in="record.octets"><window days="Sat"/></WeeklyTimeFilter>"#,
    )
    .replace("1 h", "1 MB");
    let mut record = event("t", "2026-05-01T23:59:59Z", 0);
    record.measures.insert("octets".to_owned(), 1_000_000_000_000_000);
    let lines = Subscriber::new(&xml, "UTC").lines(&record);
    assert_eq!(lines, [("out".to_owned(), 10i128.pow(15), "1000000000.000000000".to_owned())]);
    record.start = Timestamp(micros("2026-05-02T00:00:00Z"));
    assert_eq!(Subscriber::new(&xml, "UTC").lines(&record)[0].0, "in");
}

/// docs/plan-semantics.md section 1: the number of units before an instant is exact, also for a
/// petabyte.
#[test]
fn a_petabyte_is_split_to_the_byte() {
    let xml = filtered(r#"<DailyTimeFilter id="f" in="record.octets" from="19:00" to="24:00"/>"#)
        .replace("1 h", "1 GB");
    let mut record = session("t", "2026-05-01T17:00:00Z", "2026-05-02T00:00:00Z");
    let petabyte = 1_000_000_000_000_000i64;
    record.measures.insert("octets".to_owned(), petabyte);
    let lines = Subscriber::new(&xml, "UTC").lines(&record);
    let before = (i128::from(petabyte) * 2 + 6) / 7;
    let units: Vec<i128> = lines.iter().map(|line| line.1).collect();
    assert_eq!(units, [i128::from(petabyte) - before, before]);
}

#[test]
fn impossible_and_invalid_windows_are_refused() {
    let refused = |window: &str, cause: Cause| {
        let xml = weekly(&format!("\n{window}\n"));
        assert_eq!(causes(&xml), [(4, "f".to_owned(), cause)], "{window}");
    };
    refused(r#"<window days="Mon" from="08:00" to="08:00"/>"#, Cause::NothingPasses);
    refused(r#"<window days="Mon" from="24:00" to="08:00"/>"#, Cause::BadValue);
    for days in ["", "Monday", "Mon;Tue", "Mon-", "1-5"] {
        refused(&format!("<window days=\"{days}\"/>"), Cause::BadValue);
    }
    refused(r#"<window from="08:00"/>"#, Cause::MissingProperty);
    refused(r#"<window days="Mon" to="25:00"/>"#, Cause::BadValue);
    assert_eq!(causes(&weekly("")), [(3, "f".to_owned(), Cause::MissingProperty)]);
}

#[test]
fn windows_that_everything_passes_are_a_warning() {
    let warned = |xml: &str| warnings(xml).iter().any(|text| text.contains("ever leaves by rest"));
    assert!(warned(&weekly(r#"<window days="Mon-Sun"/>"#)));
    assert!(warned(&weekly(
        r#"<window days="Mon-Sun" from="06:00"/><window days="Sun-Sat" from="20:00" to="07:00"/>"#
    )));
    assert!(!warned(&weekly(r#"<window days="Mon-Sat"/>"#)));
    assert!(warned(&daily("00:00", "24:00")));
}

#[test]
fn invalid_special_days_are_refused() {
    assert_eq!(causes(&special("", "")), [(3, "f".to_owned(), Cause::MissingProperty)]);
    for date in ["25.12.2026", "2026-02-29", "--02-30", "--2-3", "2026-13-01", ""] {
        let xml = special("", &format!("\n<day date=\"{date}\"/>"));
        assert_eq!(causes(&xml), [(4, "f".to_owned(), Cause::BadValue)], "{date}");
    }
    let place = special(r#"place="account.home""#, r#"<day date="--01-01"/>"#);
    assert_eq!(causes(&place), [(3, "f".to_owned(), Cause::BadValue)]);
    let nobody = special(r#"table="days" place="geo.location""#, "");
    assert_eq!(causes(&nobody), [(3, "f".to_owned(), Cause::UnknownReference)]);
    let twice = special("", r#"<day date="--01-01"/><day date="--01-01"/>"#);
    assert!(warnings(&twice).iter().any(|text| text.contains("written twice")));
}

/// The number of a record's minutes for which `is_in` holds, counted one by one.
fn counted(start: i64, minutes: i64, is_in: impl Fn(jiff::Zoned) -> bool, zone: &str) -> i128 {
    let zone = jiff::tz::TimeZone::get(zone).unwrap();
    let at = |n: i64| jiff::Timestamp::from_microsecond(start + n * 60_000_000).unwrap();
    let passing = (0..minutes).filter(|&n| is_in(at(n).to_zoned(zone.clone())));
    passing.count() as i128
}

const ZONES: &[&str] =
    &["Europe/Zurich", "America/New_York", "Asia/Kathmandu", "Australia/Adelaide"];

proptest! {
    #![proptest_config(test_cases::cases(64))]

    /// A record of whole minutes is split by the wall-clock time of each minute.
    #[test]
    fn units_pass_by_the_local_time_of_each_unit(
        zone in prop::sample::select(ZONES), autumn: bool, hours in 0i64..240, minutes in 1i64..9_000,
        from in 0i64..24, to in 0i64..24, first in 0usize..7, last in 0usize..7,
    ) {
        let spring = if autumn { "2026-10-22T00:00:00Z" } else { "2026-03-26T00:00:00Z" };
        let start = micros(spring) + hours * 3_600_000_000;
        let mut record = session("t", spring, spring);
        record.start = Timestamp(start);
        record.duration_us = minutes * 60_000_000;
        record.measures.insert("minutes".to_owned(), minutes);
        let of = |xml: String| {
            let xml = xml.replace("record.duration", "record.minutes").replace("1 h", "1");
            let lines = Subscriber::new(&xml, zone).lines(&record);
            lines.iter().filter(|line| line.0 == "in").map(|line| line.1).sum::<i128>()
        };
        let hour = |at: &jiff::Zoned| i64::from(at.hour());
        let (opens, closes) = (format!("{from:02}:00"), format!("{to:02}:00"));
        if from != to {
            let expected = counted(start, minutes, |at| {
                if from < to { from <= hour(&at) && hour(&at) < to } else { hour(&at) >= from || hour(&at) < to }
            }, zone);
            prop_assert_eq!(of(daily(&opens, &closes)), expected);
            let names = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
            let window = format!("<window days=\"{}-{}\" from=\"{opens}\" to=\"{closes}\"/>", names[first], names[last]);
            let starts = |day: i8| (day as usize + 7 - first) % 7 <= (last + 7 - first) % 7;
            let expected = counted(start, minutes, |at| {
                let day = at.weekday().to_monday_zero_offset();
                let before = (day + 6) % 7;
                if from < to { starts(day) && from <= hour(&at) && hour(&at) < to }
                else { (starts(day) && hour(&at) >= from) || (starts(before) && hour(&at) < to) }
            }, zone);
            prop_assert_eq!(of(weekly(&window)), expected);
        }
        let expected = counted(start, minutes, |at| at.date() == date(2026, 3, 29) || at.day() == 1, zone);
        let days: String = (1..=12).map(|month| format!("<day date=\"--{month:02}-01\"/>")).collect();
        prop_assert_eq!(of(special("", &format!("<day date=\"2026-03-29\"/>{days}"))), expected);
    }
}

/// docs/plan-semantics.md section 1: a day starts at its first instant that exists, and does not
/// end when the clock goes back.
#[test]
fn a_special_day_without_midnight_starts_at_its_first_instant() {
    let xml = special("", r#"<day date="2018-11-04"/>"#);
    let zone = turnpike_plan::Zone::parse("America/Sao_Paulo").unwrap();
    assert_eq!(
        first_instant_of(&zone, date(2018, 11, 4)),
        Timestamp(micros("2018-11-04T03:00:00Z"))
    );
    let (start, end) = ("2018-11-04T02:00:00Z", "2018-11-05T03:00:00Z");
    assert_eq!(split(&xml, "America/Sao_Paulo", start, end), (23 * HOUR, 2 * HOUR));
}
