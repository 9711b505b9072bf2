//! Alternatives of an option: all are rated, and compared when the cycle closes
//! (docs/plan-semantics.md section 6).
//!
//! The lines of each alternative are tentative and count in no total. Their sums are kept in two
//! variables per offer, plan and cycle (tentative.rs): usage and recurring charges, by which the
//! alternatives are compared, and one-time charges. The close of the cycle posts the winner's sums
//! and the fee, and clears the sums of all alternatives; the tentative lines are the receipts.
//!
//! An offer is one agreement on alternatives, identified by the option's name and its start. The
//! same option offered again is another offer, with its own sums, choices and closes, even within
//! one cycle.

use turnpike_types::{Money, SuspenseReason, Timestamp};

use crate::calendar::period::Period;
use crate::calendar::periods::{Calendar, Calendared, PeriodSpan, date_of, period_of};
use crate::calendar::zone::Zone;
use crate::machine::in_force::{DueInterval, OfferId, OptionInForce, PlanInForce};
use crate::machine::lines::posted;
use crate::machine::rater::Rater;
use crate::machine::state::{AccountState, StateEntry, VariableId, plan_number};

/// A billing cycle of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// The first date of the cycle.
    pub first: Period,
    /// The first instant of the cycle.
    pub from: Timestamp,
    /// The first instant after the cycle.
    pub to: Timestamp,
}

impl Cycle {
    /// The cycle that contains an instant.
    pub fn at(zone: &Zone, cycle_day: u8, at: Timestamp) -> Self {
        let mut calendar = Calendar::default();
        calendar.enter(zone, cycle_day);
        Self::of(calendar.period(Calendared::Cycle, at.micros()))
    }

    /// The cycle that begins with a date; `None` when no cycle does.
    pub fn beginning(zone: &Zone, cycle_day: u8, first: Period) -> Option<Self> {
        let mut calendar = Calendar::default();
        calendar.enter(zone, cycle_day);
        beginning(&mut calendar, first).map(Self::of)
    }

    fn of(span: PeriodSpan) -> Self {
        Self { first: span.period, from: Timestamp(span.from), to: Timestamp(span.to) }
    }
}

/// The cycle of the calendar that begins with a date; `None` when no cycle does.
pub(crate) fn beginning(calendar: &mut Calendar, first: Period) -> Option<PeriodSpan> {
    let date = date_of(first);
    if period_of(calendar.first_of(Calendared::Cycle, date)) != first {
        return None;
    }
    let next = calendar.next_first(Calendared::Cycle, date);
    let (from, to) = (calendar.first_instant(date), calendar.first_instant(next));
    (from < to).then_some(PeriodSpan { from, to, period: first })
}

/// The sums of an alternative in a cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// Usage and recurring charges: the alternatives are compared by this sum.
    pub running: Money,
    /// One-time charges: posted for the winner, and not compared.
    pub once: Money,
}

impl Comparison {
    /// Sums of zero.
    pub const NOTHING: Self = Self { running: Money::ZERO, once: Money::ZERO };
}

/// The sums of the alternative `plan` so far in the cycle that begins with `cycle`. Sums that are
/// no amounts count as zero here; the cycle can't be billed with them ([`Rater::post_winner`]).
pub fn comparison(plan: &PlanInForce<'_>, state: &AccountState, cycle: Period) -> Comparison {
    match stored_sums(plan, state, cycle) {
        Ok(sums) => sums,
        Err(_) => Comparison::NOTHING,
    }
}

/// As [`comparison`].
///
/// # Errors
/// A stored sum is no amount. Sums are checked before they are stored, but another release may have
/// stored them.
fn stored_sums(
    plan: &PlanInForce<'_>,
    state: &AccountState,
    cycle: Period,
) -> Result<Comparison, SuspenseReason> {
    let Some([running, once]) = sums_of(plan) else { return Ok(Comparison::NOTHING) };
    let sum = |variable| {
        let nanos = state.get(variable, cycle).unwrap_or(0);
        Money::from_nanos(nanos).ok_or(SuspenseReason::Overflow)
    };
    Ok(Comparison { running: sum(running)?, once: sum(once)? })
}

/// The variables that hold an alternative's sums: of usage and recurring charges, and of one-time
/// charges. `None` if the plan is no alternative.
pub(crate) fn sums_of(plan: &PlanInForce<'_>) -> Option<[VariableId; 2]> {
    let offer = plan.option?.offer;
    let tentative = plan.code.tentative;
    Some([tentative.running.of(offer.0), tentative.once.of(offer.0)])
}

/// The alternative of an offer that is billed for a cycle: the plan that the client keeps after an
/// opt-out, else the plan that the client picked, else the cheapest one; of equally cheap ones the
/// first. `plans` are in the order of the offer.
///
/// An alternative that was withdrawn within the cycle while others continued is not compared: its
/// sums lack the usage since then.
pub fn winner(
    plans: &[(usize, &PlanInForce<'_>)],
    state: &AccountState,
    cycle: Cycle,
) -> Option<usize> {
    let (_, first) = plans.first()?;
    let last = plans.iter().filter_map(|(_, plan)| ends(plan)).max()?.min(cycle.to);
    let compared = || plans.iter().filter(|(_, plan)| ends(plan).is_some_and(|end| last <= end));
    let picked = state.get(first.option?.offer.choice(), cycle.first);
    let is_kept = |plan: &PlanInForce<'_>| {
        plan.option.is_some_and(|option| option.is_chosen_for(cycle.to.micros()))
    };
    let kept = compared().find(|(_, plan)| is_kept(plan));
    let chosen = || compared().find(|(_, plan)| picked == Some(plan_number(plan.code.plan_id())));
    let running = |plan| comparison(plan, state, cycle.first).running;
    let cheapest = || compared().min_by_key(|(_, plan)| running(plan));
    kept.or_else(chosen).or_else(cheapest).map(|(place, _)| *place)
}

/// Refuses alternatives that share state, because each alternative must read the state before the
/// record.
pub(crate) fn check_apart(plans: &[PlanInForce<'_>], offer: OfferId) -> Result<(), SuspenseReason> {
    let all = || plans.iter().filter(|plan| plan.is_of(offer));
    let shared = all().enumerate().any(|(place, plan)| {
        all().skip(place + 1).any(|other| plan.code.shares_state_with(other.code))
    });
    if shared { Err(SuspenseReason::SharedState) } else { Ok(()) }
}

/// The instant at which the last alternative of an offer ends.
pub(crate) fn end_of(plans: &[PlanInForce<'_>], offer: OfferId) -> Timestamp {
    let alternatives = plans.iter().filter(|plan| plan.is_of(offer));
    alternatives.filter_map(ends).max().unwrap_or(Timestamp::MIN)
}

/// The instant at which a plan ends as an alternative.
fn ends(plan: &PlanInForce<'_>) -> Option<Timestamp> {
    Some(plan.until.min(plan.option?.kept_from))
}

impl Rater {
    /// Posts the winner of an offer's cycle, and clears the sums of all alternatives, so that the
    /// cycle is billed once. The fee is posted too when the option was in force in the cycle and
    /// the client could choose until its close.
    pub(crate) fn post_winner(
        &mut self,
        intervals: &[DueInterval<'_>],
        (interval, option): (&DueInterval<'_>, OptionInForce<'_>),
        cycle: PeriodSpan,
        (fee, state): (bool, &AccountState),
    ) -> Result<(), SuspenseReason> {
        let plans = interval.plans.iter().enumerate();
        let alternatives: Vec<(usize, &PlanInForce<'_>)> =
            plans.filter(|(_, plan)| plan.is_of(option.offer)).collect();
        for (_, plan) in &alternatives {
            stored_sums(plan, state, cycle.period)?;
        }
        let Some(place) = winner(&alternatives, state, Cycle::of(cycle)) else { return Ok(()) };
        let plan = &interval.plans[place];
        let comes_to = stored_sums(plan, state, cycle.period)?;
        let tentative = plan.code.tentative;
        // After an opt-out the plan of the cycle is fixed: the option's fee is not due.
        let is_decided = plan.option.is_some_and(|option| option.is_chosen_for(cycle.to));
        let fee = if fee && !is_decided { option.fee } else { Money::ZERO };
        let amounts = [
            (tentative.sum, comes_to.running),
            (tentative.one_time, comes_to.once),
            (tentative.fee, fee),
        ];
        for (component, amount) in amounts {
            if component == tentative.sum || amount != Money::ZERO {
                let plan = u16::try_from(place).map_err(|_| SuspenseReason::Overflow)?;
                self.rated.lines.push(posted(plan, component, cycle.period, amount));
            }
        }
        let entry = |variable, value| StateEntry { variable, period: cycle.period, value };
        let billed = entry(option.offer.billed(), plan_number(plan.code.plan_id()));
        self.rated.changes.push(billed);
        let all = intervals.iter().flat_map(|interval| interval.plans);
        let all = all.filter(|plan| plan.is_of(option.offer)).filter_map(sums_of).flatten();
        for variable in all {
            let is_set = state.get(variable, cycle.period).is_some_and(|sum| sum != 0);
            if is_set && !self.rated.changes.iter().any(|change| change.variable == variable) {
                self.rated.changes.push(entry(variable, 0));
            }
        }
        Ok(())
    }
}
