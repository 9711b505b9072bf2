//! Buckets of granted units and the order in which they are used
//! (docs/plan-semantics.md section 4). Only buckets that are valid at the unit's instant are used:
//! the earliest expiry first, then the higher priority, then the earlier grant.
//!
//! The validity of a grant begins and ends with local dates. So the same grants are valid for all
//! units before the next date on which a bucket begins or expires.

use std::cmp::Reverse;

use jiff::civil::Date;
use smallvec::SmallVec;
use turnpike_types::{DAY_US, Must, SuspenseReason};

use crate::calendar::period::Period;
use crate::calendar::periods::{Calendared, date_of, days_on, period_of};
use crate::machine::code::Evaluation;
use crate::machine::state::{StateEntry, VariableId};
use crate::machine::stream::{PORTIONS_MAX, SPANS_MAX, Span, Stream, UnitFlow};

/// A bucket of an allowance, as declared in the plan.
pub(crate) struct Bucket {
    pub(crate) kind: Kind,
    /// The number of units of each grant; 0 for a bucket of bought units.
    pub(crate) grant: i128,
    pub(crate) priority: i64,
    /// The number of units used, by period or by subscription. For bought units, the number of
    /// units left, by the date on which they expire.
    pub(crate) variable: VariableId,
}

pub(crate) enum Kind {
    /// Units are granted for each period, and are valid in that period and in `rollover` further
    /// periods.
    Every { calendared: Calendared, rollover: usize },
    /// Units are granted when the subscription begins, for `valid` days; `None` for no expiry.
    Once { valid: Option<i32> },
    /// Units that arrive at the input `topup` are granted, for `valid` days. `since` holds, for
    /// each date of expiry, the first date on which those units are valid.
    Bought { valid: i32, since: VariableId },
}

/// A grant that is valid at an instant, and the units left of it.
struct Lot {
    /// The first date on which the grant is no longer valid, in days since 1970.
    expires: i32,
    priority: Reverse<i64>,
    granted: i32,
    /// The index of the bucket.
    place: usize,
    period: Period,
    left: i128,
}

type Lots = SmallVec<[Lot; 8]>;

/// The use of an allowance by one record.
pub(crate) struct Drawing<'b> {
    buckets: &'b [Bucket],
    /// State values that the record has changed so far.
    changed: SmallVec<[StateEntry; 8]>,
    lots: Lots,
}

impl<'b> Drawing<'b> {
    pub(crate) fn new(buckets: &'b [Bucket]) -> Self {
        Self { buckets, changed: SmallVec::new(), lots: SmallVec::new() }
    }

    /// Adds bought units to the bucket with the index `place`.
    pub(crate) fn fill(
        &mut self,
        place: usize,
        run: &mut Evaluation<'_>,
        flow: UnitFlow,
        stream: &Stream,
    ) -> Result<(), SuspenseReason> {
        let Some(Bucket { kind: Kind::Bought { valid, since }, variable, .. }) =
            self.buckets.get(place)
        else {
            return Ok(());
        };
        for span in &stream.spans {
            let mut unit = span.first;
            while unit < span.end {
                let today = run.period(Calendared::Day, flow.instant(unit));
                let end = flow.units_before(today.to).clamp(unit + 1, span.end);
                let count = Span { first: unit, end, ..*span }.count();
                let date = date_of(today.period);
                let expires = days_on(date, *valid);
                if expires <= date {
                    return Err(SuspenseReason::Overflow);
                }
                let expires = period_of(expires);
                let left = self.value(run, *variable, expires);
                let begins = if left > 0 {
                    self.value(run, *since, expires).min(today.period.0.into())
                } else {
                    today.period.0.into()
                };
                let more = count.and_then(|count| left.max(0).checked_add(count));
                self.set(*variable, expires, more.ok_or(SuspenseReason::Overflow)?)?;
                self.set(*since, expires, begins)?;
                unit = end;
            }
        }
        Ok(())
    }

    /// Splits units into those that the buckets cover and the rest.
    pub(crate) fn draw(
        &mut self,
        run: &mut Evaluation<'_>,
        flow: UnitFlow,
        stream: &Stream,
        covered: &mut Stream,
        rest: &mut Stream,
    ) -> Result<(), SuspenseReason> {
        if stream.zero_quantity {
            self.open(run, flow.start, flow.start)?;
            // A record of quantity zero takes the output that a first unit would take.
            if self.lots.is_empty() {
                rest.zero_quantity = true
            } else {
                covered.zero_quantity = true
            }
        }
        let last = stream.spans.last().map_or(flow.start, |span| flow.instant(span.end - 1));
        let mut until = i64::MIN;
        for span in &stream.spans {
            let mut unit = span.first;
            while unit < span.end {
                let at = flow.instant(unit);
                if at >= until {
                    until = self.open(run, at, last)?;
                }
                let end = flow.units_before(until).clamp(unit + 1, span.end);
                self.take(Span { first: unit, end, ..*span }, covered, rest)?;
                if covered.spans.len().max(rest.spans.len()) > SPANS_MAX {
                    return Err(SuspenseReason::Overflow);
                }
                unit = end;
            }
        }
        Ok(())
    }

    /// Writes the changed values to the state.
    pub(crate) fn keep(self, run: &mut Evaluation<'_>) -> Result<(), SuspenseReason> {
        self.changed.iter().try_for_each(|entry| run.set(entry.variable, entry.period, entry.value))
    }

    fn value(&self, run: &Evaluation<'_>, variable: VariableId, period: Period) -> i128 {
        let mine = |entry: &&StateEntry| entry.variable == variable && entry.period == period;
        let changed = self.changed.iter().find(mine);
        changed.map_or_else(|| run.value(variable, period), |entry| entry.value)
    }

    fn set(
        &mut self,
        variable: VariableId,
        period: Period,
        value: i128,
    ) -> Result<(), SuspenseReason> {
        let mine = |entry: &&mut StateEntry| entry.variable == variable && entry.period == period;
        if let Some(entry) = self.changed.iter_mut().find(mine) {
            entry.value = value;
            return Ok(());
        }
        if self.changed.len() >= PORTIONS_MAX {
            return Err(SuspenseReason::Overflow);
        }
        self.changed.push(StateEntry { variable, period, value });
        Ok(())
    }

    /// Finds the lots (the valid grants with the units left) at the instant `at`, in the order of
    /// their use. Returns the instant up to which the list holds. The caller needs no instant after
    /// `last`.
    fn open(
        &mut self,
        run: &mut Evaluation<'_>,
        at: i64,
        last: i64,
    ) -> Result<i64, SuspenseReason> {
        let day = run.period(Calendared::Day, at);
        let today = date_of(day.period);
        let mut lots = std::mem::take(&mut self.lots);
        lots.clear();
        let mut holds = Date::MAX;
        for place in 0..self.buckets.len() {
            holds = holds.min(self.open_bucket(place, run, today, &mut lots)?);
        }
        lots.sort_unstable_by_key(|lot| (lot.expires, lot.priority, lot.granted, lot.place));
        let soonest = lots.first().map_or(Date::MAX, |lot| date_of(Period(lot.expires)));
        self.lots = lots;
        let holds = holds.min(soonest);
        if last < day.to || holds == Date::MAX {
            return Ok(i64::MAX);
        }
        Ok(run.scratch.calendar.first_instant(holds))
    }

    /// Adds to `lots` the grants of a bucket that are valid on a date. Returns the next date on
    /// which a grant of the bucket may begin or expire.
    fn open_bucket(
        &self,
        place: usize,
        run: &mut Evaluation<'_>,
        today: Date,
        lots: &mut Lots,
    ) -> Result<Date, SuspenseReason> {
        let bucket = &self.buckets[place];
        let mut add = |granted: Date, expires: Date, period, left| {
            if left > 0 {
                let [expires, granted] = [expires, granted].map(|date| period_of(date).0);
                let priority = Reverse(bucket.priority);
                lots.push(Lot { expires, priority, granted, place, period, left });
            }
        };
        Ok(match bucket.kind {
            Kind::Every { calendared, rollover } => {
                let dates = firsts_around(run, calendared, today, rollover);
                for valid in dates.windows(rollover + 2) {
                    let (granted, next, expires) = (valid[0], valid[1], valid[rollover + 1]);
                    if next > today || reaches(run, next) {
                        let period = period_of(granted);
                        let drawn = self.value(run, bucket.variable, period);
                        add(granted, expires, period, bucket.grant.saturating_sub(drawn));
                    }
                }
                // `None` at the end of the calendar.
                dates.get(rollover + 1).copied().unwrap_or(Date::MAX)
            }
            Kind::Once { valid } => {
                let period = Period::of_subscription(run.since);
                let left = bucket.grant.saturating_sub(self.value(run, bucket.variable, period));
                if left <= 0 {
                    return Ok(Date::MAX);
                }
                let granted = match run.since {
                    i64::MIN => Date::MIN,
                    since => run.scratch.calendar.date(since),
                };
                let expires = valid.map_or(Date::MAX, |days| days_on(granted, days));
                if today < expires {
                    add(granted, expires, period, left);
                }
                Date::MAX
            }
            Kind::Bought { since, .. } => {
                let mut later = Date::MAX;
                let tomorrow = Period(period_of(today).0.saturating_add(1));
                let known = run.state.between(bucket.variable, tomorrow, Period(i32::MAX)).iter();
                let fresh = self.changed.iter().filter(|entry| {
                    entry.variable == bucket.variable
                        && entry.period > period_of(today)
                        && run.state.get(entry.variable, entry.period).is_none()
                });
                for entry in known.chain(fresh) {
                    let left = self.value(run, bucket.variable, entry.period);
                    let granted = self.value(run, since, entry.period);
                    let granted = i32::try_from(granted).map_err(|_| SuspenseReason::Overflow)?;
                    let granted = date_of(Period(granted));
                    // The units were bought after the instant of the record, because the record
                    // arrived late.
                    if granted > today {
                        later = later.min(granted);
                    } else {
                        add(granted, date_of(entry.period), entry.period, left);
                    }
                }
                later
            }
        })
    }

    /// Uses the valid grants for the units of a span, and assigns the units to `covered` or `rest`.
    fn take(
        &mut self,
        run: Span,
        covered: &mut Stream,
        rest: &mut Stream,
    ) -> Result<(), SuspenseReason> {
        let mut lots = std::mem::take(&mut self.lots);
        let mut unit = run.first;
        // The number of copies of `unit` that earlier grants have covered. A `Weigher` makes
        // several copies of a unit.
        let mut within = 0i128;
        for lot in lots.iter_mut().filter(|lot| lot.left > 0) {
            let before = lot.left;
            if within > 0 {
                let more = lot.left.min(run.copies - within);
                (lot.left, within) = (lot.left - more, within + more);
                if within == run.copies {
                    covered.push(Span { first: unit, end: unit + 1, ..run });
                    (unit, within) = (unit + 1, 0);
                }
            }
            if within == 0 && unit < run.end {
                let fit = if run.copies == 1 { lot.left } else { lot.left / run.copies };
                let wanted = run.end - unit;
                let whole = i64::try_from(fit.min(wanted.into())).must("at most the wanted units");
                if whole > 0 {
                    covered.push(Span { first: unit, end: unit + whole, ..run });
                    (unit, lot.left) = (unit + whole, lot.left - i128::from(whole) * run.copies);
                }
                if unit < run.end {
                    (within, lot.left) = (lot.left, 0);
                }
            }
            if lot.left < before {
                let bucket = &self.buckets[lot.place];
                let value = match bucket.kind {
                    Kind::Bought { .. } => lot.left,
                    _ => bucket.grant - lot.left,
                };
                self.set(bucket.variable, lot.period, value)?;
            }
            if unit == run.end {
                break;
            }
        }
        if within > 0 {
            let single = Span { first: unit, end: unit + 1, ..run };
            covered.push(Span { copies: within, ..single });
            let (copies, skip) = (run.copies - within, run.skip.checked_add(within));
            rest.push(Span { copies, skip: skip.ok_or(SuspenseReason::Overflow)?, ..single });
            unit += 1;
        }
        if unit < run.end {
            rest.push(Span { first: unit, ..run });
        }
        self.lots = lots;
        Ok(())
    }
}

/// The first dates of 2 * `rollover` + 2 consecutive periods: the periods whose grants are valid on
/// `today`, and the periods at whose beginning these grants expire.
fn firsts_around(
    run: &Evaluation<'_>,
    calendared: Calendared,
    today: Date,
    rollover: usize,
) -> SmallVec<[Date; 8]> {
    let calendar = &run.scratch.calendar;
    let mut first = calendar.first_of(calendared, today);
    for _ in 0..rollover {
        first = calendar.first_of(calendared, days_on(first, -1));
    }
    let next = |date: &Date| Some(calendar.next_first(calendared, *date));
    std::iter::successors(Some(first), next).take(2 * rollover + 2).collect()
}

/// Whether the subscription began before the date `next`. A period that ended before the
/// subscription began has no grant.
fn reaches(run: &Evaluation<'_>, next: Date) -> bool {
    // A local date differs from the UTC date by at most a day, so a comparison in UTC suffices
    // unless both instants are close together.
    let begins = i64::from(period_of(next).0).saturating_mul(DAY_US);
    if begins.saturating_sub(run.since).unsigned_abs() > 2 * DAY_US.unsigned_abs() {
        return begins > run.since;
    }
    run.scratch.calendar.first_instant(next) > run.since
}
