//! What falls due without usage: charges in advance, credits, the close of billing cycles
//! (PLANS section 5).
//!
//! Nothing is remembered here. How far each charge was booked, and how far cycles were closed, are
//! variables of the account that only move forward (P34), so that what is asked twice is booked
//! once, whoever asks. An owner asks before it rates a record, and when it sweeps:
//!
//! ```text
//!  while let Some(due) = rater.next_due(stretches, state, record's start or now, now) {
//!      rated = rater.fall_due(stretches, &due, state, now)
//!      log the lines, apply the changes
//!  }
//! ```

use std::cmp::Reverse;

use jiff::civil::Date;
use smallvec::SmallVec;
use turnpike_types::limits::CLOSE_GRACE_US;
use turnpike_types::{AccountNumber, SuspenseReason, Timestamp, UsageView};

use crate::calendar::{Calendared, INSTANTS, Span as PeriodSpan, date_of};
use crate::options::{OfferId, OptionInForce, beginning, check_apart, end_of, sums_of};
use crate::rater::{AccountContext, Occasion, PlanInForce, Rated, Rater};
use crate::run::{DueQuery, Event};
use crate::state::{AccountState, Period, StateEntry, VariableId};
use crate::watch::Watch;
use crate::zone::Zone;

const DAY_US: i64 = 86_400_000_000;
/// Days from the first date of a cycle, in UTC, that pass before it ends anywhere.
const CYCLE_DAYS_MIN: i64 = 28 - 2;

/// The usage type of what fell due, where it is logged as a record of nothing.
pub const DUE_USAGE_TYPE: &str = "turnpike.due";

/// A stretch of time in which an account's settings and its subscriptions' plan versions stay the
/// same. Versions of tables need not cut it: only [`Rater::fall_due`] reads them, in the stretch
/// of what falls due.
#[derive(Clone, Copy, Debug)]
pub struct Stretch<'a> {
    /// From this instant.
    pub from: Timestamp,
    /// To just before this one.
    pub until: Timestamp,
    /// The settings in force.
    pub account: &'a AccountContext,
    /// The plans in force, highest priority first.
    pub plans: &'a [PlanInForce<'a>],
}

/// Something that falls due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// When.
    pub at: Timestamp,
    /// The stretch, by its place, whose plans book it; the lines' plans are indexes into its plans.
    pub stretch: usize,
    /// The plan, by its place in the stretch.
    pub plan: usize,
    pub(crate) what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Charge,
    Close(PeriodSpan),
    Option(PeriodSpan),
    /// An option's sums in a cycle in which it was not in force: a command was dated back past
    /// what had been rated, or a record came late.
    Leftover(PeriodSpan),
    /// What bonuses exceed the cycle's charges by is carried on, when all of them stand.
    Offset(PeriodSpan),
}

impl Due {
    /// What it is, for people: `charge`, `close`, `option` or `offset`.
    pub const fn word(&self) -> &'static str {
        match self.what {
            What::Charge => "charge",
            What::Close(_) => "close",
            What::Option(_) | What::Leftover(_) => "option",
            What::Offset(_) => "offset",
        }
    }

    /// The instant whose versions of tables book it, in a stretch of these bounds: when a charge
    /// falls due; of a cycle, its last instant in the stretch.
    pub fn tables_at(&self, from: Timestamp, until: Timestamp) -> Timestamp {
        let at = match self.what {
            What::Charge => self.at.micros(),
            What::Close(cycle)
            | What::Option(cycle)
            | What::Leftover(cycle)
            | What::Offset(cycle) => cycle.to.saturating_sub(1),
        };
        Timestamp(at.min(until.micros().saturating_sub(1)).max(from.micros()))
    }

    /// Of equal instants charges come first, then what closes, then what is compared, then what
    /// bonuses are set off against. A cycle is closed by the last stretch that had a part in it.
    const fn rank(&self) -> (Timestamp, u8, Reverse<usize>, usize, usize) {
        let (rank, last) = match self.what {
            What::Charge => (0, Reverse(0)),
            What::Close(_) => (1, Reverse(self.stretch)),
            What::Option(_) => (2, Reverse(self.stretch)),
            What::Leftover(_) => (3, Reverse(self.stretch)),
            What::Offset(_) => (4, Reverse(self.stretch)),
        };
        (self.at, rank, last, self.stretch, self.plan)
    }
}

impl Rater {
    /// The first thing that falls due: a charge at or before `due_through`, or a cycle whose grace
    /// is over at `now`, which is logged time. `stretches` are an account's, in order of time.
    ///
    /// What fell due before a cycle closes is booked before it, whatever `due_through` says: so what
    /// a cycle comes to is the same whoever asks, and when.
    pub fn next_due(
        &mut self,
        stretches: &[Stretch<'_>],
        state: &AccountState,
        due_through: Timestamp,
        now: Timestamp,
    ) -> Option<Due> {
        let earlier = |first: Option<Due>, due: Due| match first {
            Some(first) if first.rank() <= due.rank() => Some(first),
            _ => Some(due),
        };
        let mut first: Option<Due> = None;
        for place in 0..stretches.len() {
            for plan in 0..stretches[place].plans.len() {
                let due = self.next_close(stretches, place, plan, state, now);
                first = due.map_or(first, |due| earlier(first, due));
            }
        }
        let left = self.next_leftover(stretches, state, now);
        first = left.map_or(first, |due| earlier(first, due));
        let offset = self.next_offset(stretches, state, now);
        first = offset.map_or(first, |due| earlier(first, due));
        let through = first.map_or(due_through, |close| close.at.max(due_through));
        for place in 0..stretches.len() {
            for plan in 0..stretches[place].plans.len() {
                let due = self.next_charge(stretches, place, plan, state, through);
                first = due.map_or(first, |due| earlier(first, due));
            }
        }
        first
    }

    /// Books what [`Rater::next_due`] found. Reads `state` and does not change it.
    ///
    /// # Errors
    /// As [`Rater::rate`]; the account's sweep then waits until what is missing is there.
    pub fn fall_due(
        &mut self,
        stretches: &[Stretch<'_>],
        due: &Due,
        state: &AccountState,
        now: Timestamp,
    ) -> Result<&Rated, SuspenseReason> {
        self.book(stretches, due, state, now, None)
    }

    /// As [`Rater::fall_due`], telling `watch` what each primitive does.
    ///
    /// # Errors
    /// As [`Rater::fall_due`].
    pub fn fall_due_watched(
        &mut self,
        stretches: &[Stretch<'_>],
        due: &Due,
        state: &AccountState,
        now: Timestamp,
        watch: &mut dyn Watch,
    ) -> Result<&Rated, SuspenseReason> {
        self.book(stretches, due, state, now, Some(watch))
    }

    fn book(
        &mut self,
        stretches: &[Stretch<'_>],
        due: &Due,
        state: &AccountState,
        now: Timestamp,
        watch: Option<&mut dyn Watch>,
    ) -> Result<&Rated, SuspenseReason> {
        let stretch = stretches.get(due.stretch).ok_or(SuspenseReason::NoPlan)?;
        if due.plan >= stretch.plans.len() {
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
            What::Charge => Event::Due {
                at: due.at.micros(),
                from: begin(stretch, &stretch.plans[due.plan]),
                until: stretch.until.micros(),
                reached: self.reached(stretches, due.stretch),
            },
            What::Close(cycle)
            | What::Option(cycle)
            | What::Leftover(cycle)
            | What::Offset(cycle) => Event::Close(cycle),
        };
        // It posts to the cycle in which it falls due, which is not closed before: `next_due` sees
        // to that, however late the sweep is.
        let (account, now) = (stretch.account, due.at.min(now).micros());
        let held = match due.what {
            What::Close(_) => held(stretches, stretch.plans[due.plan].code.trial.closed),
            What::Charge | What::Option(_) | What::Leftover(_) | What::Offset(_) => Vec::new(),
        };
        let occasion =
            Occasion { account, state, record: &nothing, event: &event, held: &held, now };
        self.outcome(|rater| match due.what {
            What::Offset(cycle) => rater.carry_on(stretches, due, cycle, state),
            _ => {
                rater.book_posting(stretches, due, &occasion, watch)?;
                rater.count(stretch.plans, &occasion)
            }
        })
    }

    /// Books what counts in the totals of its cycle.
    fn book_posting(
        &mut self,
        stretches: &[Stretch<'_>],
        due: &Due,
        occasion: &Occasion<'_>,
        watch: Option<&mut dyn Watch>,
    ) -> Result<(), SuspenseReason> {
        let Occasion { account, state, .. } = *occasion;
        let stretch = &stretches[due.stretch];
        self.scratch.calendar.enter(&account.zone, account.cycle_day);
        let plan = &stretch.plans[due.plan];
        if let Some(option) = plan.alternative() {
            check_apart(stretch.plans, option.offer)?;
        }
        let (cycle, variable) = match due.what {
            What::Charge => return self.run_plan(stretch.plans, due.plan, *occasion, watch),
            What::Close(cycle) => {
                self.run_plan(stretch.plans, due.plan, *occasion, watch)?;
                (cycle, plan.code.trial.closed)
            }
            What::Option(cycle) => {
                let Some(option) = plan.alternative() else { return Ok(()) };
                self.post_winner(stretches, (stretch, option), cycle, (true, state))?;
                (cycle, option.offer.closed())
            }
            What::Leftover(cycle) => {
                let Some(option) = plan.alternative() else { return Ok(()) };
                let close = (false, state);
                return self.post_winner(stretches, (stretch, option), cycle, close);
            }
            What::Offset(_) => return Ok(()),
        };
        let next = self.scratch.calendar.period(Calendared::Cycle, cycle.to).period;
        let (period, value) = (closed_by(account), next.0.into());
        self.rated.changes.push(StateEntry { variable, period, value });
        self.rated.moves_dues = true;
        Ok(())
    }

    fn next_charge(
        &mut self,
        stretches: &[Stretch<'_>],
        place: usize,
        plan: usize,
        state: &AccountState,
        through: Timestamp,
    ) -> Option<Due> {
        let stretch = &stretches[place];
        let by = &stretch.plans[plan];
        if !by.code.is_swept || stretch.from > through {
            return None;
        }
        let reached = self.reached(stretches, place);
        let calendar = &mut self.scratch.calendar;
        calendar.enter(&stretch.account.zone, stretch.account.cycle_day);
        let mut query = DueQuery {
            calendar,
            state,
            since: by.since.micros(),
            cancelled: by.until.micros(),
            from: begin(stretch, by),
            until: stretch.until.micros(),
            reached,
        };
        let dues = by.code.ops.iter().filter_map(|placed| placed.op.next_due(&mut query));
        let at = Timestamp(dues.min()?);
        (at <= through).then_some(Due { at, stretch: place, plan, what: What::Charge })
    }

    /// The last date that began before a stretch, where another zone was in force then.
    fn reached(&mut self, stretches: &[Stretch<'_>], place: usize) -> Option<Date> {
        let (before, stretch) = (stretches.get(place.checked_sub(1)?)?, stretches.get(place)?);
        if before.until != stretch.from || before.account.zone == stretch.account.zone {
            return None;
        }
        self.scratch.calendar.enter(&before.account.zone, before.account.cycle_day);
        Some(self.scratch.calendar.date(stretch.from.micros() - 1))
    }

    /// The first cycle that is not closed yet and whose last instant under this subscription lies
    /// in the stretch, if its grace is over.
    fn next_close(
        &mut self,
        stretches: &[Stretch<'_>],
        place: usize,
        plan: usize,
        state: &AccountState,
        now: Timestamp,
    ) -> Option<Due> {
        let stretch = &stretches[place];
        let by = &stretch.plans[plan];
        let mut due: Option<Due> = None;
        let closes = by.code.closes.then_some((by.code.trial.closed, by.since, by.until, false));
        for (variable, since, until, is_option) in
            closes.into_iter().chain(option_of(stretch, plan))
        {
            let closed = state.get(variable, closed_by(stretch.account));
            let begin = since.micros().max(begin(stretch, by));
            let Some(cycle) = self.open_cycle(stretches, place, (begin, until.micros()), closed)
            else {
                continue;
            };
            let at = Timestamp(cycle.to.saturating_add(CLOSE_GRACE_US));
            if at > now {
                continue;
            }
            let what = if is_option { What::Option(cycle) } else { What::Close(cycle) };
            let found = Due { at, stretch: place, plan, what };
            if due.is_none_or(|due| found.rank() < due.rank()) {
                due = Some(found);
            }
        }
        due
    }

    /// The first cycle with sums of an option that is over at `now`, whoever closes it; the last
    /// stretch of the offer speaks for it.
    fn next_leftover(
        &mut self,
        stretches: &[Stretch<'_>],
        state: &AccountState,
        now: Timestamp,
    ) -> Option<Due> {
        let mut first: Option<Due> = None;
        let mut seen: SmallVec<[OfferId; 2]> = SmallVec::new();
        for (stretch, plans) in stretches.iter().map(|stretch| stretch.plans).enumerate().rev() {
            let met = seen.len();
            for (plan, by) in plans.iter().enumerate() {
                let Some(option) = by.alternative().filter(|o| !seen[..met].contains(&o.offer))
                else {
                    continue;
                };
                if !seen.contains(&option.offer) {
                    seen.push(option.offer);
                }
                for cycle in self.sums_left(stretches, by, state, now) {
                    let at = Timestamp(cycle.to.saturating_add(CLOSE_GRACE_US));
                    let due = Due { at, stretch, plan, what: What::Leftover(cycle) };
                    if first.is_none_or(|first| due.rank() < first.rank()) {
                        first = Some(due);
                    }
                }
            }
        }
        first
    }

    /// The cycles that are over at `now` in which an alternative has sums.
    fn sums_left(
        &mut self,
        stretches: &[Stretch<'_>],
        plan: &PlanInForce<'_>,
        state: &AccountState,
        now: Timestamp,
    ) -> SmallVec<[PeriodSpan; 2]> {
        let closed = now.micros().saturating_sub(CLOSE_GRACE_US);
        let mut cycles = SmallVec::new();
        for variable in sums_of(plan).into_iter().flatten() {
            let held = state.between(variable, Period::EVER, Period(i32::MAX));
            for entry in held.iter().filter(|entry| entry.value != 0) {
                // Of most that are open no more has to be asked.
                if i64::from(entry.period.0).saturating_add(CYCLE_DAYS_MIN) > closed / DAY_US {
                    continue;
                }
                let cycle = self.longest_cycle(stretches, entry.period);
                if cycle.to <= closed {
                    cycles.push(cycle);
                }
            }
        }
        cycles
    }

    /// The cycle that begins with a date by whichever settings make it last longest: none of those
    /// that count in it closes it later. Settings that nobody has any more may have made it.
    pub(crate) fn longest_cycle(&mut self, stretches: &[Stretch<'_>], first: Period) -> PeriodSpan {
        let calendar = &mut self.scratch.calendar;
        let day = u8::try_from(date_of(first).day()).unwrap_or(1);
        let mut longest: Option<PeriodSpan> = None;
        let mut last: Option<(&Zone, u8)> = None;
        for AccountContext { zone, cycle_day, .. } in stretches.iter().map(|s| s.account) {
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

    /// The first cycle, by the calendar of a stretch, that is not closed and ends with it or in it
    /// for what is in force from `begin` to before `end`.
    fn open_cycle(
        &mut self,
        stretches: &[Stretch<'_>],
        place: usize,
        (begin, end): (i64, i64),
        closed: Option<i128>,
    ) -> Option<PeriodSpan> {
        let stretch = stretches.get(place)?;
        let calendar = &mut self.scratch.calendar;
        calendar.enter(&stretch.account.zone, stretch.account.cycle_day);
        let (from, until) = (stretch.from.micros(), stretch.until.micros());
        let open = closed.and_then(|days| i32::try_from(days).ok());
        let open = open.map_or(i64::MIN, |days| calendar.first_instant(date_of(Period(days))));
        // Cycles from before this stretch were closed by it, or had nothing to close.
        let cycle = calendar.period(Calendared::Cycle, open.max(begin).max(INSTANTS.start));
        if end <= cycle.from || open >= end.min(until) {
            return None;
        }
        // Where cycles begin on another day from then on, this one goes no further.
        let day = stretch.account.cycle_day;
        let is_cut = stretches.get(place + 1).is_some_and(|next| next.account.cycle_day != day);
        let end = if is_cut { end.min(until) } else { end };
        let last = cycle.to.min(end) - 1;
        (from <= last && last < until).then_some(cycle)
    }
}

/// From when a version is in force. Nobody knew it before its first date, whatever is said of the
/// account.
fn begin(stretch: &Stretch<'_>, plan: &PlanInForce<'_>) -> i64 {
    match stretch.from {
        Timestamp::MIN => plan.code.starts_at(&stretch.account.zone).micros(),
        Timestamp(from) => from,
    }
}

/// The subscriptions whose cycles close by a variable: from, and to before, in order.
fn held(stretches: &[Stretch<'_>], closed: VariableId) -> Vec<(i64, i64)> {
    let plans = stretches.iter().flat_map(|stretch| stretch.plans);
    let same = plans.filter(|plan| plan.code.trial.closed == closed);
    let mut held: Vec<_> = same.map(|plan| (plan.since.micros(), plan.until.micros())).collect();
    held.sort_unstable();
    held.dedup();
    held
}

/// What an option closes by, from when and to before when it stands: its first alternative in the
/// stretch speaks for all.
fn option_of(
    stretch: &Stretch<'_>,
    plan: usize,
) -> Option<(VariableId, Timestamp, Timestamp, bool)> {
    let OptionInForce { offer, .. } = stretch.plans.get(plan)?.alternative()?;
    let is_first = !stretch.plans[..plan].iter().any(|plan| plan.is_of(offer));
    let all = stretch.plans.iter().filter(|plan| plan.is_of(offer));
    let since = all.map(|plan| plan.since).min()?;
    is_first.then(|| (offer.closed(), since, end_of(stretch.plans, offer), true))
}

/// Where it stands how far cycles are closed: apart for each day on which they begin, since one
/// that a change of that day cuts short ends after the first that it brings.
fn closed_by(account: &AccountContext) -> Period {
    Period(account.cycle_day.into())
}
