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

use turnpike_types::limits::CLOSE_GRACE_US;
use turnpike_types::{AccountNumber, SuspenseReason, Timestamp, UsageView};

use crate::calendar::{Calendared, INSTANTS, Span as PeriodSpan, date_of};
use crate::options::option_closed;
use crate::rater::{AccountContext, Occasion, PlanInForce, Rated, Rater};
use crate::run::{DueQuery, Event};
use crate::state::{AccountState, Period, StateEntry, VariableId};

/// The usage type of what fell due, where it is logged as a record of nothing.
pub const DUE_USAGE_TYPE: &str = "turnpike.due";

/// A stretch of time in which an account's settings and its subscriptions' plan versions stay the
/// same.
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
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Charge,
    Close(PeriodSpan),
    Option(PeriodSpan),
}

impl Due {
    /// What it is, for people: `charge`, `close` or `option`.
    pub const fn word(&self) -> &'static str {
        match self.what {
            What::Charge => "charge",
            What::Close(_) => "close",
            What::Option(_) => "option",
        }
    }

    /// Of equal instants charges come first, then what closes, then what is compared.
    const fn rank(&self) -> (Timestamp, u8, usize, usize) {
        let rank = match self.what {
            What::Charge => 0,
            What::Close(_) => 1,
            What::Option(_) => 2,
        };
        (self.at, rank, self.stretch, self.plan)
    }
}

impl Rater {
    /// The first thing that falls due: a charge at or before `due_through`, or a cycle whose grace
    /// is over at `now`, which is logged time. `stretches` are an account's, in order of time.
    pub fn next_due(
        &mut self,
        stretches: &[Stretch<'_>],
        state: &AccountState,
        due_through: Timestamp,
        now: Timestamp,
    ) -> Option<Due> {
        let mut first: Option<Due> = None;
        for (place, stretch) in stretches.iter().enumerate() {
            let mut consider = |due: Option<Due>| {
                if let Some(due) = due
                    && first.is_none_or(|first| due.rank() < first.rank())
                {
                    first = Some(due);
                }
            };
            for plan in 0..stretch.plans.len() {
                consider(self.next_charge(place, stretch, plan, state, due_through));
                consider(self.next_close(place, stretch, plan, state, now));
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
        let stretch = stretches.get(due.stretch).ok_or(SuspenseReason::NoPlan)?;
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
                from: stretch.from.micros(),
                until: stretch.until.micros(),
            },
            What::Close(cycle) | What::Option(cycle) => Event::Close(cycle),
        };
        let account = stretch.account;
        let occasion = Occasion { account, state, record: &nothing, event, now: now.micros() };
        self.outcome(|rater| {
            rater.scratch.calendar.enter(&account.zone, account.cycle_day);
            match due.what {
                What::Charge => rater.run_plan(stretch.plans, due.plan, occasion, None),
                What::Close(cycle) => {
                    rater.run_plan(stretch.plans, due.plan, occasion, None)?;
                    let next = rater.period_after(cycle);
                    let variable = closed_variable(&stretch.plans[due.plan]);
                    rater.rated.changes.push(StateEntry {
                        variable,
                        period: Period::EVER,
                        value: next.0.into(),
                    });
                    Ok(())
                }
                What::Option(cycle) => {
                    let next = rater.period_after(cycle);
                    match stretch.plans[due.plan].option {
                        Some(option) => {
                            rater.post_winner(stretch.plans, option, cycle, next, occasion)
                        }
                        None => Ok(()),
                    }
                }
            }
        })
    }

    fn period_after(&mut self, cycle: PeriodSpan) -> Period {
        self.scratch.calendar.period(Calendared::Cycle, cycle.to).period
    }

    fn next_charge(
        &mut self,
        place: usize,
        stretch: &Stretch<'_>,
        plan: usize,
        state: &AccountState,
        through: Timestamp,
    ) -> Option<Due> {
        let by = &stretch.plans[plan];
        if !by.code.is_swept || stretch.from > through {
            return None;
        }
        let calendar = &mut self.scratch.calendar;
        calendar.enter(&stretch.account.zone, stretch.account.cycle_day);
        let mut query = DueQuery {
            calendar,
            state,
            since: by.since.micros(),
            cancelled: by.until.micros(),
            from: stretch.from.micros(),
            until: stretch.until.micros(),
        };
        let dues = by.code.ops.iter().filter_map(|placed| placed.op.next_due(&mut query));
        let at = Timestamp(dues.min()?);
        (at <= through).then_some(Due { at, stretch: place, plan, what: What::Charge })
    }

    /// The first cycle that is not closed yet and whose last instant under this subscription lies
    /// in the stretch, if its grace is over.
    fn next_close(
        &mut self,
        place: usize,
        stretch: &Stretch<'_>,
        plan: usize,
        state: &AccountState,
        now: Timestamp,
    ) -> Option<Due> {
        let by = &stretch.plans[plan];
        // An option closes once, after its alternatives: its first one stands for it.
        let first_of_option = by.option.filter(|option| {
            let before = stretch.plans[..plan].iter();
            !before.filter_map(|plan| plan.option).any(|other| other.name == option.name)
        });
        let mut due: Option<Due> = None;
        let variables = [
            by.code.closes.then(|| (closed_variable(by), false)),
            first_of_option.map(|option| (option_closed(option.name), true)),
        ];
        for (variable, is_option) in variables.into_iter().flatten() {
            let Some(cycle) = self.open_cycle(stretch, by, state.get(variable, Period::EVER))
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

    fn open_cycle(
        &mut self,
        stretch: &Stretch<'_>,
        plan: &PlanInForce<'_>,
        closed: Option<i128>,
    ) -> Option<PeriodSpan> {
        let calendar = &mut self.scratch.calendar;
        calendar.enter(&stretch.account.zone, stretch.account.cycle_day);
        let (from, until) = (stretch.from.micros(), stretch.until.micros());
        let begin = plan.since.micros().max(from).max(INSTANTS.start);
        let open = closed.and_then(|days| i32::try_from(days).ok());
        let open = open.map_or(i64::MIN, |days| calendar.first_instant(date_of(Period(days))));
        // Cycles from before this stretch were closed by it, or had nothing to close.
        let cycle = calendar.period(Calendared::Cycle, open.max(begin));
        if plan.until.micros() <= cycle.from || open >= plan.until.micros() {
            return None;
        }
        let last = cycle.to.min(plan.until.micros()) - 1;
        (from <= last && last < until).then_some(cycle)
    }
}

fn closed_variable(plan: &PlanInForce<'_>) -> VariableId {
    plan.code.trial.closed
}
