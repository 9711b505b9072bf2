//! The account's wall clock and months, cheaply: the usual record asks the tz database nothing.
//!
//! For each of the last few zones it keeps the stretch of constant offset and the month that were
//! asked for last. Records of a partition lie close together in time, so the next one mostly falls
//! into the same two.

use jiff::civil::Date;
use turnpike_types::Timestamp;

use crate::state::Period;
use crate::zone::{Zone, first_instant_of};

/// A stretch of time in which a zone's offset is constant: instants `from <= t < to`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch {
    pub(crate) from: i64,
    pub(crate) to: i64,
    /// Local time minus UTC, in microseconds.
    pub(crate) offset_us: i64,
}

/// A period of an account: instants `from <= t < to`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) period: Period,
}

#[derive(Debug)]
struct Known {
    zone: Zone,
    stretch: Stretch,
    month: Span,
}

/// Zones remembered at once. Accounts of one partition mostly share a few.
const ZONES_MAX: usize = 8;

/// The instants the calendar can name, in microseconds: years -9999 to 9999.
pub(crate) const INSTANTS: std::ops::Range<i64> = -377_705_023_201_000_000..253_402_207_200_000_000;

/// Remembers the calendar of the zones used last.
#[derive(Debug, Default)]
pub(crate) struct Calendar {
    known: Vec<Known>,
    current: usize,
    next_out: usize,
}

impl Calendar {
    /// Makes `zone` the zone that the other methods speak of.
    pub(crate) fn enter(&mut self, zone: &Zone) {
        if self.known.get(self.current).is_some_and(|known| known.zone == *zone) {
            return;
        }
        if let Some(found) = self.known.iter().position(|known| known.zone == *zone) {
            self.current = found;
            return;
        }
        let nothing = Stretch { from: 0, to: 0, offset_us: 0 };
        let no_month = Span { from: 0, to: 0, period: Period::EVER };
        let fresh = Known { zone: zone.clone(), stretch: nothing, month: no_month };
        if self.known.len() < ZONES_MAX {
            self.current = self.known.len();
            self.known.push(fresh);
        } else {
            self.current = self.next_out;
            self.next_out = (self.next_out + 1) % ZONES_MAX;
            if let Some(place) = self.known.get_mut(self.current) {
                *place = fresh;
            }
        }
    }

    /// The stretch of constant offset around an instant.
    pub(crate) fn stretch(&mut self, at: i64) -> Stretch {
        let Some(known) = self.known.get_mut(self.current) else {
            return Stretch { from: i64::MIN, to: i64::MAX, offset_us: 0 };
        };
        if at < known.stretch.from || at >= known.stretch.to {
            known.stretch = look_up_stretch(&known.zone, at);
        }
        known.stretch
    }

    /// The account's calendar month around an instant (PLANS section 4).
    pub(crate) fn month(&mut self, at: i64) -> Span {
        let Some(known) = self.known.get_mut(self.current) else {
            return Span { from: i64::MIN, to: i64::MAX, period: Period::EVER };
        };
        if at < known.month.from || at >= known.month.to {
            known.month = look_up_month(&known.zone, at);
        }
        known.month
    }
}

fn instant(at: i64) -> jiff::Timestamp {
    let last = INSTANTS.end - 1;
    jiff::Timestamp::from_microsecond(at.clamp(INSTANTS.start, last)).unwrap_or_default()
}

fn look_up_stretch(zone: &Zone, at: i64) -> Stretch {
    let now = instant(at);
    let rules = zone.rules();
    let offset_us = i64::from(rules.to_offset(now).seconds()) * 1_000_000;
    // Transitions are whole seconds; `preceding` is strictly before, so ask a microsecond later.
    let just_after = instant(at.saturating_add(1));
    let from =
        rules.preceding(just_after).next().map_or(i64::MIN, |t| t.timestamp().as_microsecond());
    let to = rules.following(now).next().map_or(i64::MAX, |t| t.timestamp().as_microsecond());
    Stretch { from, to, offset_us }
}

fn look_up_month(zone: &Zone, at: i64) -> Span {
    let local = zone.rules().to_datetime(instant(at)).date();
    let mut first = local.first_of_month();
    loop {
        let span = month_from(zone, first);
        // A clock put back over a month's end shows the old date again in the new month: the
        // month began at its first instant and stays begun.
        if at < span.to || span.to == i64::MAX {
            return span;
        }
        first = next_month(first);
    }
}

fn month_from(zone: &Zone, first: Date) -> Span {
    let next = next_month(first);
    let to = if next == first { i64::MAX } else { first_instant_of(zone, next).micros() };
    let Timestamp(from) = first_instant_of(zone, first);
    Span { from, to, period: period_of(first) }
}

fn next_month(first: Date) -> Date {
    let (year, month) = (first.year(), first.month());
    let next = if month == 12 { Date::new(year + 1, 1, 1) } else { Date::new(year, month + 1, 1) };
    next.unwrap_or(first)
}

/// The period that starts on a local date.
pub(crate) fn period_of(first: Date) -> Period {
    let epoch = Date::constant(1970, 1, 1);
    let days = first.since(epoch).map_or(0, |span| span.get_days());
    Period(days)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(text: &str) -> i64 {
        text.parse::<jiff::Timestamp>().unwrap().as_microsecond()
    }

    fn calendar(zone: &str) -> Calendar {
        let mut calendar = Calendar::default();
        calendar.enter(&Zone::parse(zone).unwrap());
        calendar
    }

    #[test]
    fn a_stretch_ends_where_the_clocks_change() {
        let mut calendar = calendar("America/New_York");
        let change = micros("2026-03-08T07:00:00Z");
        let before = calendar.stretch(change - 1);
        assert_eq!((before.to, before.offset_us), (change, -5 * 3_600_000_000));
        let after = calendar.stretch(change);
        assert_eq!((after.from, after.offset_us), (change, -4 * 3_600_000_000));
    }

    #[test]
    fn a_month_is_the_accounts_not_utcs() {
        let mut calendar = calendar("Asia/Kolkata");
        let start = micros("2026-01-31T18:30:00Z");
        assert_eq!(calendar.month(start).period, period_of(Date::constant(2026, 2, 1)));
        assert_eq!(calendar.month(start - 1).period, period_of(Date::constant(2026, 1, 1)));
        assert_eq!(calendar.month(start - 1).to, start);
    }

    /// PLANS section 1: a day, and so a month, starts at its first instant.
    #[test]
    fn a_month_once_begun_stays_begun_when_clocks_go_back_over_its_first_midnight() {
        let mut calendar = calendar("America/St_Johns");
        let begun = micros("2009-11-01T02:30:00Z");
        let october_again = begun + 5 * 60_000_000;
        assert_eq!(calendar.month(begun - 1).period, period_of(Date::constant(2009, 10, 1)));
        assert_eq!(calendar.month(october_again).period, period_of(Date::constant(2009, 11, 1)));
    }

    #[test]
    fn more_zones_than_are_remembered_still_answer_rightly() {
        let names = ["UTC", "Asia/Kolkata", "Asia/Tokyo", "Europe/Paris", "Europe/London"];
        let more = ["America/Chicago", "America/Denver", "Asia/Dubai", "Asia/Kathmandu"];
        let mut shared = Calendar::default();
        for _ in 0..3 {
            for name in names.iter().chain(&more) {
                shared.enter(&Zone::parse(name).unwrap());
                let at = micros("2026-07-01T03:00:00Z");
                assert_eq!(shared.month(at).from, calendar(name).month(at).from, "{name}");
            }
        }
    }

    #[test]
    fn the_ends_of_time_do_not_panic() {
        let mut calendar = calendar("America/New_York");
        for at in [i64::MIN, INSTANTS.start, INSTANTS.end - 1, INSTANTS.end, i64::MAX] {
            calendar.stretch(at);
            calendar.month(at);
        }
    }
}
