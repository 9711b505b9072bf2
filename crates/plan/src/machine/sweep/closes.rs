//! Determines which billing cycles must be closed and when: for a plan's primitives, for an option,
//! and for sums that an option left in a cycle.

use smallvec::SmallVec;
use turnpike_types::limits::CLOSE_GRACE_US;
use turnpike_types::{DAY_US, Timestamp};

use super::due::{Due, DueKind};
use crate::calendar::period::Period;
use crate::calendar::periods::{Calendared, INSTANTS, PeriodSpan, date_of};
use crate::calendar::zone::Zone;
use crate::machine::account::AccountContext;
use crate::machine::in_force::{DueInterval, OfferId, OptionInForce, PlanInForce, begin};
use crate::machine::options::{beginning, end_of, sums_of};
use crate::machine::rater::Rater;
use crate::machine::state::{AccountState, VariableId};

/// In UTC, at least this many days pass from the first date of a cycle to its end in any zone.
const CYCLE_DAYS_MIN: i64 = 28 - 2;

impl Rater {
    /// The first cycle that is not closed, if its last instant under this subscription is in the
    /// interval and its grace period has ended.
    pub(super) fn next_close(
        &mut self,
        intervals: &[DueInterval<'_>],
        place: usize,
        plan: usize,
        state: &AccountState,
        now: Timestamp,
    ) -> Option<Due> {
        let interval = &intervals[place];
        let by = &interval.plans[plan];
        let mut due: Option<Due> = None;
        let closes =
            by.code.closes.then_some((by.code.tentative.closed, by.since, by.until, false));
        for (variable, since, until, is_option) in
            closes.into_iter().chain(option_of(interval, plan))
        {
            let closed = state.get(variable, closed_by(interval.account));
            let begin = since.micros().max(begin(interval, by));
            let Some(cycle) = self.open_cycle(intervals, place, (begin, until.micros()), closed)
            else {
                continue;
            };
            let at = Timestamp(cycle.to.saturating_add(CLOSE_GRACE_US));
            if at > now {
                continue;
            }
            let what = if is_option { DueKind::Option(cycle) } else { DueKind::Close(cycle) };
            let found = Due { at, interval: place, plan, what };
            if due.is_none_or(|due| found.rank() < due.rank()) {
                due = Some(found);
            }
        }
        due
    }

    /// The first ended cycle in which alternatives of an option have sums, whether or not a close
    /// of the option covers it. The last interval of the offer books the cycle.
    pub(super) fn next_leftover(
        &mut self,
        intervals: &[DueInterval<'_>],
        state: &AccountState,
        now: Timestamp,
    ) -> Option<Due> {
        let mut first: Option<Due> = None;
        let mut seen: SmallVec<[OfferId; 2]> = SmallVec::new();
        for (interval, plans) in intervals.iter().map(|interval| interval.plans).enumerate().rev() {
            let met = seen.len();
            for (plan, by) in plans.iter().enumerate() {
                let Some(option) = by.alternative().filter(|o| !seen[..met].contains(&o.offer))
                else {
                    continue;
                };
                if !seen.contains(&option.offer) {
                    seen.push(option.offer);
                }
                for cycle in self.sums_left(intervals, by, state, now) {
                    let at = Timestamp(cycle.to.saturating_add(CLOSE_GRACE_US));
                    let due = Due { at, interval, plan, what: DueKind::Leftover(cycle) };
                    if first.is_none_or(|first| due.rank() < first.rank()) {
                        first = Some(due);
                    }
                }
            }
        }
        first
    }

    /// The cycles that have ended at `now`, grace period included, in which an alternative has
    /// sums.
    fn sums_left(
        &mut self,
        intervals: &[DueInterval<'_>],
        plan: &PlanInForce<'_>,
        state: &AccountState,
        now: Timestamp,
    ) -> SmallVec<[PeriodSpan; 2]> {
        let closed = now.micros().saturating_sub(CLOSE_GRACE_US);
        let mut cycles = SmallVec::new();
        for variable in sums_of(plan).into_iter().flatten() {
            let held = state.between(variable, Period::EVER, Period(i32::MAX));
            for entry in held.iter().filter(|entry| entry.value != 0) {
                // This comparison excludes most open cycles at little cost.
                if i64::from(entry.period.0).saturating_add(CYCLE_DAYS_MIN) > closed / DAY_US {
                    continue;
                }
                let cycle = self.longest_cycle(intervals, entry.period);
                if cycle.to <= closed {
                    cycles.push(cycle);
                }
            }
        }
        cycles
    }

    /// The longest cycle that begins with a date under any of the account's settings, so that no
    /// cycle that begins with this date ends later. The settings under which the date was stored
    /// may no longer be in force.
    pub(crate) fn longest_cycle(
        &mut self,
        intervals: &[DueInterval<'_>],
        first: Period,
    ) -> PeriodSpan {
        let calendar = &mut self.scratch.calendar;
        let day = date_of(first).day().unsigned_abs();
        let mut longest: Option<PeriodSpan> = None;
        let mut last: Option<(&Zone, u8)> = None;
        for AccountContext { zone, cycle_day, .. } in intervals.iter().map(|s| s.account) {
            if last.replace((zone, *cycle_day)) == Some((zone, *cycle_day)) {
                continue;
            }
            for day in [*cycle_day, day] {
                calendar.enter(zone, day);
                let cycle = beginning(calendar, first);
                let further = cycle.filter(|cycle| longest.is_none_or(|l| l.to < cycle.to));
                longest = further.or(longest);
            }
        }
        longest.unwrap_or(PeriodSpan { from: i64::MAX, to: i64::MAX, period: first })
    }

    /// The first cycle that is not closed, in the calendar of an interval, for a subscription in
    /// force from `begin` to before `end`. `None` if the cycle does not end in the interval or at
    /// its end.
    fn open_cycle(
        &mut self,
        intervals: &[DueInterval<'_>],
        place: usize,
        (begin, end): (i64, i64),
        closed: Option<i128>,
    ) -> Option<PeriodSpan> {
        let interval = intervals.get(place)?;
        let calendar = &mut self.scratch.calendar;
        calendar.enter(&interval.account.zone, interval.account.cycle_day);
        let (from, until) = (interval.from.micros(), interval.until.micros());
        let open = closed.and_then(|days| i32::try_from(days).ok());
        let open = open.map_or(i64::MIN, |days| calendar.first_instant(date_of(Period(days))));
        // Earlier intervals closed the earlier cycles, or these cycles needed no close.
        let cycle = calendar.period(Calendared::Cycle, open.max(begin).max(INSTANTS.start));
        if end <= cycle.from || open >= end.min(until) {
            return None;
        }
        // A cycle ends early where the next interval has another cycle day.
        let day = interval.account.cycle_day;
        let next = intervals.iter().skip(place + 1).find(|next| !next.is_empty());
        let is_cut = next.is_some_and(|next| next.account.cycle_day != day);
        let end = if is_cut { end.min(until) } else { end };
        let last = cycle.to.min(end) - 1;
        (from <= last && last < until).then_some(cycle)
    }
}

/// The start and exclusive end of each subscription to the plans whose closes are recorded in the
/// variable `closed`, in order.
pub(super) fn held(intervals: &[DueInterval<'_>], closed: VariableId) -> Vec<(i64, i64)> {
    let plans = intervals.iter().flat_map(|interval| interval.plans);
    let same = plans.filter(|plan| plan.code.tentative.closed == closed);
    let begun = same.filter(|plan| plan.since < plan.until);
    let mut held: Vec<_> = begun.map(|plan| (plan.since.micros(), plan.until.micros())).collect();
    held.sort_unstable();
    held.dedup();
    held
}

/// The variable that records an option's closes, and the option's start and exclusive end. `None`
/// for all alternatives in the interval except the first.
fn option_of(
    interval: &DueInterval<'_>,
    plan: usize,
) -> Option<(VariableId, Timestamp, Timestamp, bool)> {
    let OptionInForce { offer, .. } = interval.plans.get(plan)?.alternative()?;
    let is_first = !interval.plans[..plan].iter().any(|plan| plan.is_of(offer));
    let all = interval.plans.iter().filter(|plan| plan.is_of(offer));
    let since = all.map(|plan| plan.since).min()?;
    is_first.then(|| (offer.closed(), since, end_of(interval.plans, offer), true))
}

/// The period under which the progress of closes is stored. It differs by cycle day, because a
/// cycle that is cut short by a change of the cycle day ends after the first cycle of the new day.
pub(super) fn closed_by(account: &AccountContext) -> Period {
    Period(account.cycle_day.into())
}
