//! Calendars and windows as defined in docs/plan-semantics.md, computed with the time-zone library
//! alone.

use jiff::civil::{Date, DateTime, Weekday};
use turnpike_plan::{AccountContext, Child, Period, Primitive, Zone, first_instant_of};
use turnpike_types::Timestamp;

/// The rows of table `h` of random plans, as (date, place).
pub(crate) const HOLIDAYS: &[(&str, &str)] = &[
    ("2026-03-29", ""),
    ("--11-01", ""),
    ("2026-03-08", "a"),
    ("--12-31", "b"),
    ("2011-12-29", "a"),
    ("--02-28", "c"),
];

/// The wall-clock time of an instant in a zone.
fn reading(zone: &Zone, at: i64) -> DateTime {
    let rules = jiff::tz::TimeZone::get(zone.name()).unwrap();
    jiff::Timestamp::from_microsecond(at).unwrap().to_zoned(rules).datetime()
}

/// The date of an instant: the last date that has begun at that instant. A date begins at its first
/// instant, and does not end when the clock goes back.
pub(crate) fn local_date(zone: &Zone, at: i64) -> Date {
    let shown = reading(zone, at).date();
    let next = shown.tomorrow().unwrap();
    if first_instant_of(zone, next) <= Timestamp(at) { next } else { shown }
}

/// The kinds of periods.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Every {
    Month,
    Cycle,
    /// A week that starts on this day.
    Week(Weekday),
    Day,
}

impl Every {
    /// The period of an accumulator or a charge.
    pub(crate) fn of(primitive: &Primitive) -> Self {
        match primitive.kind.as_str() {
            kind if kind.starts_with("Monthly") => Self::Month,
            kind if kind.starts_with("Daily") => Self::Day,
            kind if kind.starts_with("Weekly") => {
                Self::Week(weekday(primitive.property("starts").unwrap()))
            }
            _ => Self::Cycle,
        }
    }

    /// The period of a bucket; `None` for a single grant.
    pub(crate) fn of_bucket(bucket: &Child) -> Option<Self> {
        Some(match bucket.property("every")? {
            "month" => Self::Month,
            "billing-cycle" => Self::Cycle,
            "week" => Self::Week(weekday(bucket.property("starts").unwrap_or("Mon"))),
            _ => Self::Day,
        })
    }

    fn starts_on(self, account: &AccountContext, date: Date) -> bool {
        match self {
            Self::Month => date.day() == 1,
            Self::Cycle => date.day() == (account.cycle_day as i8).min(date.days_in_month()),
            Self::Week(first) => date.weekday() == first,
            Self::Day => true,
        }
    }

    /// The first date of the period that contains a date.
    pub(crate) fn first_of(self, account: &AccountContext, mut date: Date) -> Date {
        while !self.starts_on(account, date) {
            date = date.yesterday().unwrap();
        }
        date
    }

    /// The first date of the period after one that begins on `first`.
    pub(crate) fn next_of(self, account: &AccountContext, first: Date) -> Date {
        let mut date = first.tomorrow().unwrap();
        while !self.starts_on(account, date) {
            date = date.tomorrow().unwrap();
        }
        date
    }
}

/// The period that contains an instant.
pub(crate) fn period_of(account: &AccountContext, every: Every, at: i64) -> Period {
    days_since_1970(every.first_of(account, local_date(&account.zone, at)))
}

/// The first date of a period.
pub(crate) fn date_of(period: Period) -> Date {
    jiff::civil::date(1970, 1, 1).checked_add(jiff::Span::new().days(period.0)).unwrap()
}

pub(crate) fn days_since_1970(date: Date) -> Period {
    Period(date.since(jiff::civil::date(1970, 1, 1)).unwrap().get_days())
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

/// Whether the wall-clock time of an instant is within the window.
pub(crate) fn in_daily_window(zone: &Zone, primitive: &Primitive, at: i64) -> bool {
    let clock = clock(reading(zone, at));
    let (from, to) = (primitive.property("from").unwrap(), primitive.property("to").unwrap());
    let (from, to) = (seconds(from), seconds(to));
    if from < to { from <= clock && clock < to } else { clock >= from || clock < to }
}

/// Whether the wall-clock time and the day of the week of an instant are within the window. A
/// window past midnight belongs to the day on which it starts.
pub(crate) fn in_window(zone: &Zone, window: &Child, at: i64) -> bool {
    let reading = reading(zone, at);
    let (today, clock) = (reading.weekday(), clock(reading));
    let of = |name, otherwise| seconds(window.property(name).unwrap_or(otherwise));
    let (from, to) = (of("from", "00:00"), of("to", "24:00"));
    let days = window.property("days").unwrap_or("Mon-Sun");
    let mut days = days.split_whitespace().flat_map(|range| {
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
}

/// Whether the local date of an instant is among the days that the plan lists, or among those of
/// the table at a place.
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
