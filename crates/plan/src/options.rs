//! Alternatives of an option: rated side by side, compared when the cycle closes
//! (docs/plan-semantics.md section 6).
//!
//! Each alternative's lines are trial lines, which count in no total. What they come to is kept in
//! two variables for each offer, plan and cycle ([`crate::trial`]): what recurs and what was used, by
//! which alternatives are compared, and what is charged once. The cycle's close posts the winner's
//! sums and the fee, and takes the sums of all away; the trial lines are their receipts.
//!
//! An offer is one agreement on alternatives, known by the option's name and when it began. The same
//! option offered anew is another: its sums, picks and closes are its own, also within one cycle.

use turnpike_types::{Money, Posting, SuspenseReason, Timestamp};

use crate::calendar::{Calendar, Calendared, Span as PeriodSpan, date_of, period_of};
use crate::rater::{Line, PlanInForce, Rater};
use crate::state::{AccountState, Keep, Period, StateEntry, VariableId, plan_number};
use crate::sweep::Stretch;
use crate::zone::Zone;

/// Names an offer within an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OfferId(pub(crate) u64);

const CHOICE: VariableId = VariableId::numbered(1, Keep::Horizon);
const CLOSED: VariableId = VariableId::numbered(2, Keep::Ever);
const BILLED: VariableId = VariableId::numbered(3, Keep::Year);

impl OfferId {
    /// The offer of the option `name` that begins at `from`.
    pub fn of(name: &str, from: Timestamp) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"turnpike-offer\0").update(name.as_bytes()).update(b"\0");
        hasher.update(&from.micros().to_le_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        Self(u64::from_le_bytes(first))
    }

    /// Which alternative the client picked, by cycle: its value in the cycle's period is the
    /// [`plan_number`] of the plan.
    pub const fn choice(self) -> VariableId {
        CHOICE.of(self.0)
    }

    /// The first cycle that is not closed, by the day on which cycles begin: one that a change of
    /// that day cuts short ends after the first that it brings.
    pub const fn closed(self) -> VariableId {
        CLOSED.of(self.0)
    }

    /// The [`plan_number`] of the plan that a closed cycle was billed by.
    pub(crate) const fn billed(self) -> VariableId {
        BILLED.of(self.0)
    }

    /// The first cycle of the account that is not closed, of those that begin on `cycle_day`; `None`
    /// before any is.
    pub fn first_open(self, state: &AccountState, cycle_day: u8) -> Option<Period> {
        let open = state.get(self.closed(), Period(cycle_day.into()))?;
        i32::try_from(open).ok().map(Period)
    }

    /// Was the cycle closed that begins with `cycle`? `cycle_day` is the account's then.
    pub fn is_closed(self, state: &AccountState, cycle_day: u8, cycle: Period) -> bool {
        let is_billed = state.get(self.billed(), cycle).is_some();
        is_billed || self.first_open(state, cycle_day).is_some_and(|open| cycle < open)
    }
}

/// An option: alternatives of which the best one is billed when the cycle closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionInForce<'a> {
    /// Its name, unique among the options in force.
    pub name: &'a str,
    /// What choosing costs for each cycle.
    pub fee: Money,
    /// The offer.
    pub offer: OfferId,
    /// When the client opted out of the option for this alternative, which is its choice for the
    /// cycle then running, too; [`Timestamp::MAX`] when it did not.
    pub kept_from: Timestamp,
    /// It is past that: the plan is a plain subscription now, which goes on as it was.
    pub is_kept: bool,
}

impl<'a> OptionInForce<'a> {
    /// An option that was offered from `from` on.
    pub fn new(name: &'a str, fee: Money, from: Timestamp) -> Self {
        let offer = OfferId::of(name, from);
        Self { name, fee, offer, kept_from: Timestamp::MAX, is_kept: false }
    }

    /// The same, of the alternative that the client keeps from `kept_from` on, as it is at `at`.
    #[must_use]
    pub fn kept(self, kept_from: Timestamp, at: Timestamp) -> Self {
        Self { kept_from, is_kept: kept_from <= at, ..self }
    }

    /// Did the client choose it for good for a cycle that ends before `to`?
    pub(crate) fn is_chosen_for(&self, to: i64) -> bool {
        self.kept_from.micros() < to
    }
}

/// One of an account's billing cycles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// Its first date.
    pub first: Period,
    /// Its first instant.
    pub from: Timestamp,
    /// The first one after it.
    pub to: Timestamp,
}

impl Cycle {
    /// The cycle around an instant.
    pub fn at(zone: &Zone, cycle_day: u8, at: Timestamp) -> Self {
        let mut calendar = Calendar::default();
        calendar.enter(zone, cycle_day);
        Self::of(calendar.period(Calendared::Cycle, at.micros()))
    }

    /// The cycle that begins with a date; `None` when none does.
    pub fn beginning(zone: &Zone, cycle_day: u8, first: Period) -> Option<Self> {
        let mut calendar = Calendar::default();
        calendar.enter(zone, cycle_day);
        beginning(&mut calendar, first).map(Self::of)
    }

    fn of(span: PeriodSpan) -> Self {
        Self { first: span.period, from: Timestamp(span.from), to: Timestamp(span.to) }
    }
}

/// The cycle of the calendar that begins with a date.
pub(crate) fn beginning(calendar: &mut Calendar, first: Period) -> Option<PeriodSpan> {
    let date = date_of(first);
    if period_of(calendar.first_of(Calendared::Cycle, date)) != first {
        return None;
    }
    let next = calendar.next_first(Calendared::Cycle, date);
    let (from, to) = (calendar.first_instant(date), calendar.first_instant(next));
    (from < to).then_some(PeriodSpan { from, to, period: first })
}

/// What an alternative comes to in a cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// What recurs and what was used: by this alternatives are compared.
    pub running: Money,
    /// What is charged once; the winner's is posted too.
    pub once: Money,
}

impl Comparison {
    /// Nothing at all.
    pub const NOTHING: Self = Self { running: Money::ZERO, once: Money::ZERO };
}

/// What the alternative `plan` comes to so far in the cycle that begins with `cycle`.
pub fn comparison(plan: &PlanInForce<'_>, state: &AccountState, cycle: Period) -> Comparison {
    let Some([running, once]) = sums_of(plan) else { return Comparison::NOTHING };
    let sum = |variable| {
        let nanos = state.get(variable, cycle).unwrap_or(0);
        // Sums are checked when they are kept.
        Money::from_nanos(nanos).unwrap_or(Money::ZERO)
    };
    Comparison { running: sum(running), once: sum(once) }
}

/// The variables of an alternative's sums.
pub(crate) fn sums_of(plan: &PlanInForce<'_>) -> Option<[VariableId; 2]> {
    let offer = plan.option?.offer;
    let trial = plan.code.trial;
    Some([trial.running.of(offer.0), trial.once.of(offer.0)])
}

/// Of an offer's alternatives, in the order in which they were offered, the one that is billed for a
/// cycle: what the client opted out for, or else picked, or else the cheapest, of equals the first.
///
/// One that was withdrawn within the cycle while others went on is not compared: what was used since
/// is in their sums only.
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

/// Alternatives run side by side on the state as it was before all of them, so each needs its own.
pub(crate) fn check_apart(plans: &[PlanInForce<'_>], offer: OfferId) -> Result<(), SuspenseReason> {
    let all = || plans.iter().filter(|plan| plan.is_of(offer));
    let shared = all().enumerate().any(|(place, plan)| {
        all().skip(place + 1).any(|other| plan.code.shares_state_with(other.code))
    });
    if shared { Err(SuspenseReason::SharedState) } else { Ok(()) }
}

/// When the last of an offer's alternatives stops being one.
pub(crate) fn end_of(plans: &[PlanInForce<'_>], offer: OfferId) -> Timestamp {
    let alternatives = plans.iter().filter(|plan| plan.is_of(offer));
    alternatives.filter_map(ends).max().unwrap_or(Timestamp::MIN)
}

/// When a plan stops being an alternative.
fn ends(plan: &PlanInForce<'_>) -> Option<Timestamp> {
    Some(plan.until.min(plan.option?.kept_from))
}

impl Rater {
    /// Posts the winner of an offer's cycle, with the fee where the option was in force in it and
    /// the client could choose until its close, and takes away the sums of all alternatives: none is
    /// billed again.
    pub(crate) fn post_winner(
        &mut self,
        stretches: &[Stretch<'_>],
        (stretch, option): (&Stretch<'_>, OptionInForce<'_>),
        cycle: PeriodSpan,
        (fee, state): (bool, &AccountState),
    ) -> Result<(), SuspenseReason> {
        let plans = stretch.plans.iter().enumerate();
        let alternatives: Vec<(usize, &PlanInForce<'_>)> =
            plans.filter(|(_, plan)| plan.is_of(option.offer)).collect();
        let Some(place) = winner(&alternatives, state, Cycle::of(cycle)) else { return Ok(()) };
        let plan = &stretch.plans[place];
        let comes_to = comparison(plan, state, cycle.period);
        let trial = plan.code.trial;
        // Who opted out for a plan has nothing left to decide in the cycle.
        let is_decided = plan.option.is_some_and(|option| option.is_chosen_for(cycle.to));
        let fee = if fee && !is_decided { option.fee } else { Money::ZERO };
        let amounts =
            [(trial.sum, comes_to.running), (trial.one_time, comes_to.once), (trial.fee, fee)];
        for (component, amount) in amounts {
            if component == trial.sum || amount != Money::ZERO {
                let plan = u16::try_from(place).map_err(|_| SuspenseReason::Overflow)?;
                self.rated.lines.push(posted(plan, component, cycle.period, amount));
            }
        }
        let entry = |variable, value| StateEntry { variable, period: cycle.period, value };
        let billed = entry(option.offer.billed(), plan_number(plan.code.plan_id()));
        self.rated.changes.push(billed);
        let all = stretches.iter().flat_map(|stretch| stretch.plans);
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

/// A line that a close books.
pub(crate) const fn posted(plan: u16, component: u16, period: Period, amount: Money) -> Line {
    Line {
        plan,
        component,
        quantity: 0,
        first_unit: 0,
        period,
        level_before: 0,
        level_after: 0,
        amount,
        of: None,
        row: None,
        posting: Posting::Account,
    }
}
