//! Charges that fall due without usage, and the close of billing cycles
//! (docs/plan-semantics.md section 5): charges in advance, credits, closes.
//!
//! This module keeps no state. Variables of the account record up to which date each charge was
//! booked, and which cycles were closed. These variables only move forward (P34), so an event is
//! booked once, even when several callers query it. An owner calls this module before it rates a
//! record, and in its sweep:
//!
//! ```text
//!  while let Some(due) = rater.next_due(intervals, state, record's start or now, now) {
//!      rated = rater.fall_due(intervals, &due, state, now)
//!      log the lines, apply the changes
//!  }
//! ```

mod closes;
pub(crate) mod due;

use jiff::civil::Date;
use turnpike_types::{AccountNumber, SuspenseReason, Timestamp, UsageView};

use crate::calendar::periods::Calendared;
use crate::machine::evaluation::event::{DueQuery, Event};
use crate::machine::in_force::{DueInterval, begin};
use crate::machine::options::check_apart;
use crate::machine::rater::{Occasion, Rated, Rater};
use crate::machine::state::{AccountState, StateEntry};
use crate::machine::watch::Watch;
use closes::{closed_by, held};
use due::{DUE_USAGE_TYPE, Due, DueKind};

impl Rater {
    /// The first due event: a charge at or before `due_through`, or a cycle whose grace period has
    /// ended at logged time `now`. `intervals` are the account's intervals, in order of time, after
    /// the empty ones.
    ///
    /// Charges that fall due before a cycle closes come before the close, whatever `due_through`
    /// is. So the total of a cycle does not depend on the caller or the time of the call.
    pub fn next_due(
        &mut self,
        intervals: &[DueInterval<'_>],
        state: &AccountState,
        due_through: Timestamp,
        now: Timestamp,
    ) -> Option<Due> {
        let earlier = |first: Option<Due>, due: Due| match first {
            Some(first) if first.rank() <= due.rank() => Some(first),
            _ => Some(due),
        };
        let mut first: Option<Due> = None;
        for place in 0..intervals.len() {
            for plan in 0..intervals[place].plans.len() {
                let due = self.next_close(intervals, place, plan, state, now);
                first = due.map_or(first, |due| earlier(first, due));
            }
        }
        let left = self.next_leftover(intervals, state, now);
        first = left.map_or(first, |due| earlier(first, due));
        let offset = self.next_offset(intervals, state, now);
        first = offset.map_or(first, |due| earlier(first, due));
        let through = first.map_or(due_through, |close| close.at.max(due_through));
        for place in 0..intervals.len() {
            for plan in 0..intervals[place].plans.len() {
                let due = self.next_charge(intervals, place, plan, state, through);
                first = due.map_or(first, |due| earlier(first, due));
            }
        }
        first
    }

    /// Books the event that [`Rater::next_due`] returned. `state` is not changed.
    ///
    /// # Errors
    /// As [`Rater::rate`]. The account's sweep then waits until the missing table or plan is
    /// available.
    pub fn fall_due(
        &mut self,
        intervals: &[DueInterval<'_>],
        due: &Due,
        state: &AccountState,
        now: Timestamp,
    ) -> Result<&Rated, SuspenseReason> {
        self.book(intervals, due, state, now, None)
    }

    /// As [`Rater::fall_due`], and reports each primitive's work to `watch`.
    ///
    /// # Errors
    /// As [`Rater::fall_due`].
    pub fn fall_due_watched(
        &mut self,
        intervals: &[DueInterval<'_>],
        due: &Due,
        state: &AccountState,
        now: Timestamp,
        watch: &mut dyn Watch,
    ) -> Result<&Rated, SuspenseReason> {
        self.book(intervals, due, state, now, Some(watch))
    }

    fn book(
        &mut self,
        intervals: &[DueInterval<'_>],
        due: &Due,
        state: &AccountState,
        now: Timestamp,
        watch: Option<&mut dyn Watch>,
    ) -> Result<&Rated, SuspenseReason> {
        let interval = intervals.get(due.interval).ok_or(SuspenseReason::NoPlan)?;
        if due.plan >= interval.plans.len() {
            return Err(SuspenseReason::NoPlan);
        }
        let nothing = UsageView {
            record_id: "",
            account: AccountNumber(0),
            usage_type: DUE_USAGE_TYPE,
            start: due.at,
            duration_us: 0,
            quantity: None,
            measures: &[],
            attributes: &[],
        };
        let event = match due.what {
            DueKind::Charge => Event::Due {
                at: due.at.micros(),
                from: begin(interval, &interval.plans[due.plan]),
                until: interval.until.micros(),
                reached: self.reached(intervals, due.interval),
            },
            DueKind::Close(cycle)
            | DueKind::Option(cycle)
            | DueKind::Leftover(cycle)
            | DueKind::Offset(cycle) => Event::Close(cycle),
        };
        // The event posts to the cycle in which it falls due. `next_due` returns the event before
        // the close of that cycle, however late the sweep runs, so the cycle is still open.
        let (account, now) = (interval.account, due.at.min(now).micros());
        let held = match due.what {
            DueKind::Close(_) => held(intervals, interval.plans[due.plan].code.tentative.closed),
            DueKind::Charge | DueKind::Option(_) | DueKind::Leftover(_) | DueKind::Offset(_) => {
                Vec::new()
            }
        };
        let occasion =
            Occasion { account, state, record: &nothing, event: &event, held: &held, now };
        self.outcome(|rater| match due.what {
            DueKind::Offset(cycle) => rater.carry_on(intervals, due, cycle, state),
            _ => {
                rater.book_posting(intervals, due, &occasion, watch)?;
                rater.count(interval.plans, &occasion)
            }
        })
    }

    /// Books an event whose lines count in the totals of its cycle.
    fn book_posting(
        &mut self,
        intervals: &[DueInterval<'_>],
        due: &Due,
        occasion: &Occasion<'_>,
        watch: Option<&mut dyn Watch>,
    ) -> Result<(), SuspenseReason> {
        let Occasion { account, state, .. } = *occasion;
        let interval = &intervals[due.interval];
        self.scratch.calendar.enter(&account.zone, account.cycle_day);
        let plan = &interval.plans[due.plan];
        if let Some(option) = plan.alternative() {
            check_apart(interval.plans, option.offer)?;
        }
        let (cycle, variable) = match due.what {
            DueKind::Charge => return self.run_plan(interval.plans, due.plan, *occasion, watch),
            DueKind::Close(cycle) => {
                self.run_plan(interval.plans, due.plan, *occasion, watch)?;
                (cycle, plan.code.tentative.closed)
            }
            DueKind::Option(cycle) => {
                let Some(option) = plan.alternative() else { return Ok(()) };
                self.post_winner(intervals, (interval, option), cycle, (true, state))?;
                (cycle, option.offer.closed())
            }
            DueKind::Leftover(cycle) => {
                let Some(option) = plan.alternative() else { return Ok(()) };
                let close = (false, state);
                return self.post_winner(intervals, (interval, option), cycle, close);
            }
            DueKind::Offset(_) => return Ok(()),
        };
        let next = self.scratch.calendar.period(Calendared::Cycle, cycle.to).period;
        let (period, value) = (closed_by(account), next.0.into());
        self.rated.changes.push(StateEntry { variable, period, value });
        self.rated.moves_dues = true;
        Ok(())
    }

    fn next_charge(
        &mut self,
        intervals: &[DueInterval<'_>],
        place: usize,
        plan: usize,
        state: &AccountState,
        through: Timestamp,
    ) -> Option<Due> {
        let interval = &intervals[place];
        let by = &interval.plans[plan];
        if !by.code.is_swept || interval.from > through {
            return None;
        }
        let reached = self.reached(intervals, place);
        let calendar = &mut self.scratch.calendar;
        calendar.enter(&interval.account.zone, interval.account.cycle_day);
        let mut query = DueQuery {
            calendar,
            state,
            since: by.since.micros(),
            cancelled: by.until.micros(),
            from: begin(interval, by),
            until: interval.until.micros(),
            reached,
        };
        let dues = by.code.ops.iter().filter_map(|placed| placed.op.next_due(&mut query));
        let at = Timestamp(dues.min()?);
        (at <= through).then_some(Due { at, interval: place, plan, what: DueKind::Charge })
    }

    /// The last date that began before an interval, if another zone was in force until its start;
    /// otherwise `None`.
    fn reached(&mut self, intervals: &[DueInterval<'_>], place: usize) -> Option<Date> {
        let interval = intervals.get(place)?;
        let mut earlier = intervals.get(..place)?.iter().rev();
        let before = earlier.find(|before| !before.is_empty())?;
        if before.until != interval.from || before.account.zone == interval.account.zone {
            return None;
        }
        self.scratch.calendar.enter(&before.account.zone, before.account.cycle_day);
        Some(self.scratch.calendar.date(interval.from.micros() - 1))
    }
}
