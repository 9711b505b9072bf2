//! Calendars and windows as PLANS has them, from the time zone's own answers alone.

use jiff::civil::{Date, DateTime, Weekday, date};
use turnpike_plan::{AccountContext, Period, Primitive, Zone, first_instant_of};
use turnpike_types::Timestamp;

/// The table `h` of random plans, as (date, place).
pub(crate) const HOLIDAYS: &[(&str, &str)] = &[
    ("2026-03-29", ""),
    ("--11-01", ""),
    ("2026-03-08", "a"),
    ("--12-31", "b"),
    ("2011-12-29", "a"),
    ("--02-28", "c"),
];

/// What the wall clock shows.
fn reading(zone: &Zone, at: i64) -> DateTime {
    let rules = jiff::tz::TimeZone::get(zone.name()).unwrap();
    jiff::Timestamp::from_microsecond(at).unwrap().to_zoned(rules).datetime()
}

/// The last date that has begun: a day begins at its first instant and stays begun.
pub(crate) fn local_date(zone: &Zone, at: i64) -> Date {
    let shown = reading(zone, at).date();
    let next = shown.tomorrow().unwrap();
    if first_instant_of(zone, next) <= Timestamp(at) { next } else { shown }
}

/// The period of an accumulator or charge of this kind that an instant falls into.
pub(crate) fn period_of(account: &AccountContext, primitive: &Primitive, at: i64) -> Period {
    let mut first = local_date(&account.zone, at);
    let starts = |first: Date| match primitive.kind.as_str() {
        kind if kind.starts_with("Monthly") => first.day() == 1,
        kind if kind.starts_with("Daily") => true,
        kind if kind.starts_with("Weekly") => {
            first.weekday() == weekday(primitive.property("starts").unwrap())
        }
        _ => first.day() == (account.cycle_day as i8).min(first.days_in_month()),
    };
    while !starts(first) {
        first = first.yesterday().unwrap();
    }
    Period(first.since(date(1970, 1, 1)).unwrap().get_days())
}

fn weekday(name: &str) -> Weekday {
    let names = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    let place = names.iter().position(|known| *known == name).unwrap();
    Weekday::from_monday_zero_offset(place as i8).unwrap()
}

fn seconds(text: &str) -> i64 {
    text.split(':').fold(0, |sum, part| sum * 60 + part.parse::<i64>().unwrap()) * 60
}

fn clock(reading: DateTime) -> i64 {
    let parts = [reading.hour(), reading.minute(), reading.second()].map(i64::from);
    (parts[0] * 60 + parts[1]) * 60 + parts[2]
}

/// By the wall clock's reading.
pub(crate) fn in_daily_window(zone: &Zone, primitive: &Primitive, at: i64) -> bool {
    let clock = clock(reading(zone, at));
    let (from, to) = (primitive.property("from").unwrap(), primitive.property("to").unwrap());
    let (from, to) = (seconds(from), seconds(to));
    if from < to { from <= clock && clock < to } else { clock >= from || clock < to }
}

/// By the wall clock's reading and the day of its date; what wraps belongs to the day it starts on.
pub(crate) fn in_weekly_window(zone: &Zone, primitive: &Primitive, at: i64) -> bool {
    let reading = reading(zone, at);
    let (today, clock) = (reading.weekday(), clock(reading));
    primitive.children.iter().any(|window| {
        let of = |name| seconds(window.property(name).unwrap());
        let (from, to) = (of("from"), of("to"));
        let mut days = window.property("days").unwrap().split_whitespace().flat_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let mut days = vec![weekday(first)];
            while *days.last().unwrap() != weekday(last) {
                days.push(days.last().unwrap().next());
            }
            days
        });
        days.any(|day| {
            if from < to {
                today == day && from <= clock && clock < to
            } else {
                (today == day && clock >= from) || (today == day.next() && clock < to)
            }
        })
    })
}

/// Is the local date among the days written in the plan, or those of the table at a place?
pub(crate) fn is_special(zone: &Zone, primitive: &Primitive, place: Option<&str>, at: i64) -> bool {
    let date = local_date(zone, at);
    let is = |written: &str| {
        let shown = date.to_string();
        shown == written
            || written.strip_prefix("--").is_some_and(|day| shown.ends_with(&format!("-{day}")))
    };
    let own = primitive.children.iter().any(|day| is(day.property("date").unwrap()));
    let listed = primitive.property("table").is_some()
        && HOLIDAYS.iter().any(|(day, at)| is(day) && (at.is_empty() || Some(*at) == place));
    own || listed
}
