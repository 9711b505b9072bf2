//! Cached conversion of instants to the account's local time and periods, so that most records need
//! no look-up in the time-zone database.
//!
//! For each of the last few zones, the cache holds two intervals of constant UTC offset and one
//! period of each kind. Records of a partition are close together in time, so most of them hit the
//! cache.

#[cfg(test)]
mod tests;

use jiff::civil::Date;
use turnpike_types::{Must, Timestamp};

use crate::calendar::period::Period;
use crate::calendar::zone::{Zone, first_instant_of};

/// An interval of constant UTC offset in a zone: instants `from <= t < to`, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OffsetInterval {
    pub(crate) from: i64,
    pub(crate) to: i64,
    /// Local time minus UTC, in microseconds.
    pub(crate) offset_us: i64,
}

/// A period of an account: instants `from <= t < to`, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PeriodSpan {
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) period: Period,
}

/// The kinds of period for accumulators and charges (docs/plan-semantics.md section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase", const_into_str)]
pub(crate) enum Calendared {
    /// The account's calendar month.
    Month,
    /// The account's billing cycle.
    #[strum(serialize = "billing cycle")]
    Cycle,
    /// A week that starts on this day: 1 (Monday) to 7 (Sunday), as in ISO 8601.
    Week(i8),
    /// A local date.
    Day,
}

impl Calendared {
    /// The name of the period in messages.
    pub(crate) const fn word(self) -> &'static str {
        self.into_str()
    }

    const fn index(self) -> usize {
        match self {
            Self::Month => 0,
            Self::Cycle => 1,
            Self::Week(_) => 2,
            Self::Day => 3,
        }
    }
}

#[derive(Debug)]
struct Known {
    zone: Zone,
    /// The interval that was used last, and the one used before it. Both are needed near a clock
    /// change.
    interval: OffsetInterval,
    other_interval: OffsetInterval,
    /// The period of each kind that was used last, indexed by [`Calendared::index`].
    spans: [PeriodSpan; 4],
    /// The cycle day and the first day of the week for which `spans` were computed.
    cycle_day: u8,
    week_day: i8,
}

impl Known {
    #[inline(never)]
    fn change_interval(&mut self, at: i64) {
        std::mem::swap(&mut self.interval, &mut self.other_interval);
        if at < self.interval.from || at >= self.interval.to {
            self.interval = look_up_interval(&self.zone, at);
        }
    }
}

/// The maximum number of zones in the cache. The accounts of one partition mostly share a few
/// zones.
const ZONES_MAX: usize = 8;

/// The instants that the calendar can represent, in microseconds: years -9999 to 9999.
pub(crate) const INSTANTS: std::ops::Range<i64> = -377_705_023_201_000_000..253_402_207_200_000_000;

const NO_SPAN: PeriodSpan = PeriodSpan { from: 0, to: 0, period: Period::EVER };

/// A cache of the calendars of the zones used last.
#[derive(Debug, Default)]
pub(crate) struct Calendar {
    known: Vec<Known>,
    current: usize,
    next_out: usize,
    cycle_day: u8,
}

impl Calendar {
    /// Selects the zone for the following calls, and the day (1 to 31) on which billing cycles
    /// start.
    #[inline]
    pub(crate) fn enter(&mut self, zone: &Zone, cycle_day: u8) {
        self.cycle_day = cycle_day.clamp(1, 31);
        if !self.known.get(self.current).is_some_and(|known| known.zone == *zone) {
            self.change_zone(zone);
        }
    }

    #[inline(never)]
    fn change_zone(&mut self, zone: &Zone) {
        if let Some(found) = self.known.iter().position(|known| known.zone == *zone) {
            self.current = found;
            return;
        }
        let nothing = OffsetInterval { from: 0, to: 0, offset_us: 0 };
        let fresh = Known {
            zone: zone.clone(),
            interval: nothing,
            other_interval: nothing,
            spans: [NO_SPAN; 4],
            cycle_day: 0,
            week_day: 0,
        };
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

    /// The interval of constant UTC offset that contains an instant.
    #[inline]
    pub(crate) fn offset_interval(&mut self, at: i64) -> OffsetInterval {
        let Some(known) = self.known.get_mut(self.current) else {
            return OffsetInterval { from: i64::MIN, to: i64::MAX, offset_us: 0 };
        };
        if at < known.interval.from || at >= known.interval.to {
            known.change_interval(at);
        }
        known.interval
    }

    /// The account's period that contains an instant (docs/plan-semantics.md section 4).
    #[inline(always)]
    pub(crate) fn period(&mut self, calendared: Calendared, at: i64) -> PeriodSpan {
        // Fast path: nearly every record is in the same month as the one before.
        if calendared == Calendared::Month
            && let Some(known) = self.known.get(self.current)
        {
            let month = known.spans[Calendared::Month.index()];
            if month.from <= at && at < month.to {
                return month;
            }
        }
        self.find_period(calendared, at)
    }

    fn find_period(&mut self, calendared: Calendared, at: i64) -> PeriodSpan {
        let Some(known) = self.known.get_mut(self.current) else {
            return PeriodSpan { from: i64::MIN, to: i64::MAX, period: Period::EVER };
        };
        match calendared {
            Calendared::Cycle if known.cycle_day != self.cycle_day => {
                known.cycle_day = self.cycle_day;
                known.spans[calendared.index()] = NO_SPAN;
            }
            Calendared::Week(day) if known.week_day != day => {
                known.week_day = day;
                known.spans[calendared.index()] = NO_SPAN;
            }
            _ => {}
        }
        let span = &mut known.spans[calendared.index()];
        if at < span.from || at >= span.to {
            *span = look_up_period(&known.zone, calendared, self.cycle_day, at);
        }
        *span
    }

    /// The local date of an instant. A date that has begun does not end when a clock goes back over
    /// midnight.
    pub(crate) fn date(&mut self, at: i64) -> Date {
        date_of(self.period(Calendared::Day, at).period)
    }

    /// The first instant of a local date.
    pub(crate) fn first_instant(&self, date: Date) -> i64 {
        let known = self.known.get(self.current);
        known.map_or(i64::MIN, |known| first_instant_of(&known.zone, date).micros())
    }

    /// The first date of the period that follows the period of `date`.
    pub(crate) fn next_first(&self, calendared: Calendared, date: Date) -> Date {
        next_first(calendared, self.cycle_day, first_of(calendared, self.cycle_day, date))
    }

    /// The first date of the period that contains `date`.
    pub(crate) fn first_of(&self, calendared: Calendared, date: Date) -> Date {
        first_of(calendared, self.cycle_day, date)
    }
}

fn instant(at: i64) -> jiff::Timestamp {
    let last = INSTANTS.end - 1;
    let at = jiff::Timestamp::from_microsecond(at.clamp(INSTANTS.start, last));
    at.must("INSTANTS lies within the calendar")
}

fn look_up_interval(zone: &Zone, at: i64) -> OffsetInterval {
    let now = instant(at);
    let rules = zone.rules();
    let offset_us = i64::from(rules.to_offset(now).seconds()) * 1_000_000;
    // Transitions are whole seconds. `preceding` excludes the given instant, so look up one
    // microsecond later.
    let just_after = instant(at.saturating_add(1));
    let from =
        rules.preceding(just_after).next().map_or(i64::MIN, |t| t.timestamp().as_microsecond());
    let to = rules.following(now).next().map_or(i64::MAX, |t| t.timestamp().as_microsecond());
    OffsetInterval { from, to, offset_us }
}

fn look_up_period(zone: &Zone, calendared: Calendared, cycle_day: u8, at: i64) -> PeriodSpan {
    let local = zone.rules().to_datetime(instant(at)).date();
    let mut first = first_of(calendared, cycle_day, local);
    loop {
        let span = span_from(zone, first, next_first(calendared, cycle_day, first));
        // If a clock goes back over the end of a period, the last date of that period appears again
        // on the clock. The next period has already begun at its first instant, and continues.
        if at < span.to || span.to == i64::MAX {
            return span;
        }
        first = next_first(calendared, cycle_day, first);
    }
}

fn span_from(zone: &Zone, first: Date, next: Date) -> PeriodSpan {
    let to = if next == first { i64::MAX } else { first_instant_of(zone, next).micros() };
    let Timestamp(from) = first_instant_of(zone, first);
    PeriodSpan { from, to, period: period_of(first) }
}

/// The first date of the period that contains a local date.
fn first_of(calendared: Calendared, cycle_day: u8, date: Date) -> Date {
    match calendared {
        Calendared::Month => date.first_of_month(),
        Calendared::Day => date,
        Calendared::Week(day) => {
            let since = (date.weekday().to_monday_one_offset() - day).rem_euclid(7);
            days_on(date, -i32::from(since))
        }
        Calendared::Cycle => {
            let this = on_cycle_day(date.first_of_month(), cycle_day);
            if this <= date {
                return this;
            }
            let before = date_or(date.first_of_month().yesterday(), Date::MIN);
            on_cycle_day(before.first_of_month(), cycle_day)
        }
    }
}

/// The first date of the period after the one that begins with `first`. Returns `first` itself at
/// the end of the calendar.
fn next_first(calendared: Calendared, cycle_day: u8, first: Date) -> Date {
    match calendared {
        Calendared::Month => next_month(first),
        Calendared::Day => days_on(first, 1),
        Calendared::Week(_) => days_on(first, 7),
        Calendared::Cycle => {
            let next = next_month(first.first_of_month());
            if next == first.first_of_month() { first } else { on_cycle_day(next, cycle_day) }
        }
    }
}

/// The cycle day in a month, clamped to the month's last day. Day 31 gives 29 February in a leap
/// year, and 31 March again (docs/plan-semantics.md section 4).
fn on_cycle_day(first_of_month: Date, cycle_day: u8) -> Date {
    let last = first_of_month.days_in_month();
    let day = cycle_day.clamp(1, last.unsigned_abs()).cast_signed();
    let date = Date::new(first_of_month.year(), first_of_month.month(), day);
    date.must("the day lies within the month")
}

/// The date; `edge` if it would be outside the calendar.
fn date_or(date: Result<Date, jiff::Error>, edge: Date) -> Date {
    match date {
        Ok(date) => date,
        Err(_) => edge,
    }
}

/// The date plus a number of days. Returns the date itself if the result is outside the calendar.
pub(crate) fn days_on(date: Date, days: i32) -> Date {
    date_or(date.checked_add(jiff::Span::new().days(days)), date)
}

/// The first date of the next month; `first` itself in the last month of the calendar.
fn next_month(first: Date) -> Date {
    let (year, month) = (first.year(), first.month());
    let next = if month == 12 { Date::new(year + 1, 1, 1) } else { Date::new(year, month + 1, 1) };
    date_or(next, first)
}

/// The first date of a period; [`Date::MIN`] if its number is no date.
pub(crate) fn date_of(period: Period) -> Date {
    let days = jiff::Span::new().try_days(period.0);
    let date = days.and_then(|days| Date::constant(1970, 1, 1).checked_add(days));
    date_or(date, Date::MIN)
}

/// The period that starts on a local date.
pub(crate) fn period_of(first: Date) -> Period {
    let epoch = Date::constant(1970, 1, 1);
    let since = first.since(epoch).must("days between two dates fit a span");
    Period(since.get_days())
}
