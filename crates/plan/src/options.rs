//! Alternatives of an option: rated side by side, compared when the cycle closes (PLANS section 6,
//! claim 10 of the seed).
//!
//! Each alternative's lines are trial lines, which count in no total. What they come to is kept in
//! two variables for each plan and cycle: what recurs and what was used, by which alternatives are
//! compared, and what is charged once. The cycle's close posts the winner's sums and the fee; the
//! trial lines are their receipts.

use turnpike_types::{Money, Posting, SuspenseReason};

use crate::calendar::Span as PeriodSpan;
use crate::code::ComponentKind;
use crate::rater::{Line, Occasion, OptionInForce, PlanInForce, Rater};
use crate::run::Run;
use crate::state::{AccountState, Period, VariableId, option_choice, plan_number};

/// What an alternative comes to in a cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// What recurs and what was used: by this alternatives are compared.
    pub running: Money,
    /// What is charged once; the winner's is posted too.
    pub once: Money,
}

/// What the alternative `plan` comes to so far in the cycle that begins with `cycle`.
pub fn comparison(plan: &PlanInForce<'_>, state: &AccountState, cycle: Period) -> Comparison {
    let trial = plan.code.trial;
    let sum = |variable| {
        let nanos = state.get(variable, cycle).unwrap_or(0);
        // Sums are checked when they are kept.
        Money::from_nanos(nanos).unwrap_or(Money::ZERO)
    };
    Comparison { running: sum(trial.running), once: sum(trial.once) }
}

/// Of alternatives in the order in which they were offered, the one that is billed: what the client
/// picked, or else the cheapest, of equals the first.
pub fn winner(
    option: &str,
    plans: &[(usize, &PlanInForce<'_>)],
    state: &AccountState,
    cycle: Period,
) -> Option<usize> {
    let picked = state.get(option_choice(option), cycle);
    let chosen = plans.iter().find(|(_, plan)| picked == Some(plan_number(plan.code.plan_id())));
    let cheapest = || plans.iter().min_by_key(|(_, plan)| comparison(plan, state, cycle).running);
    chosen.or_else(cheapest).map(|(place, _)| *place)
}

/// Alternatives run side by side on the state as it was before all of them, so each needs its own.
pub(crate) fn check_apart(plans: &[PlanInForce<'_>], option: &str) -> Result<(), SuspenseReason> {
    let all = || plans.iter().filter(|plan| plan.option.is_some_and(|other| other.name == option));
    let shared = all().enumerate().any(|(place, plan)| {
        all().skip(place + 1).any(|other| plan.code.shares_state_with(other.code))
    });
    if shared { Err(SuspenseReason::SharedState) } else { Ok(()) }
}

/// Turns the lines that a plan just made into trial lines, and adds them to its sums.
pub(crate) fn keep_as_trial(run: &mut Run<'_>, first_line: usize) -> Result<(), SuspenseReason> {
    let code = run.code;
    let (mut running, mut once) = (0i128, 0i128);
    for number in first_line..run.lines.len() {
        match run.lines[number].posting {
            Posting::Account => {}
            // It would have to wait for the close, in an account that knows nothing of the option.
            Posting::Second(_) => return Err(SuspenseReason::PostsElsewhere),
            Posting::Nobody | Posting::Replaced | Posting::Trial => continue,
        }
        let sum = match first_kind(run, number) {
            Some(ComponentKind::OneTime) => &mut once,
            _ => &mut running,
        };
        let amount = run.lines[number].amount.nanos();
        *sum = sum.checked_add(amount).ok_or(SuspenseReason::Overflow)?;
        run.lines[number].posting = Posting::Trial;
    }
    let period = run.posting_cycle().period;
    for (variable, more) in [(code.trial.running, running), (code.trial.once, once)] {
        if more != 0 {
            let sum = run.value(variable, period).checked_add(more);
            let sum = sum.and_then(Money::from_nanos).ok_or(SuspenseReason::Overflow)?;
            run.set(variable, period, sum.nanos())?;
        }
    }
    Ok(())
}

/// The sort of charge that a line was made of in the end: what is taken off a one-time charge, or
/// added to it, is no more recurring than the charge.
fn first_kind(run: &Run<'_>, mut number: usize) -> Option<ComponentKind> {
    // A line is made of an earlier one: this ends.
    while let Some(of) = run.lines.get(number)?.of {
        number = of as usize;
    }
    let component = usize::from(run.lines.get(number)?.component);
    run.code.components.get(component).map(|component| component.kind)
}

/// Variable by which an option knows the first cycle that it has not closed, see
/// [`crate::sweep`].
pub(crate) fn closed_of(option: &str) -> VariableId {
    VariableId::derive("turnpike.option/closed", option, crate::Unit::One, crate::Keep::Ever)
}

/// Was the option's cycle that begins with `cycle` closed? `cycle_day` is the account's then.
pub fn is_cycle_closed(option: &str, state: &AccountState, cycle_day: u8, cycle: Period) -> bool {
    let open = state.get(closed_of(option), Period(cycle_day.into()));
    open.is_some_and(|open| i128::from(cycle.0) < open)
}

impl Rater {
    /// Posts the winner of an option's cycle, and the fee.
    pub(crate) fn post_winner(
        &mut self,
        plans: &[PlanInForce<'_>],
        option: OptionInForce<'_>,
        cycle: PeriodSpan,
        occasion: Occasion<'_>,
    ) -> Result<(), SuspenseReason> {
        let alternatives: Vec<(usize, &PlanInForce<'_>)> = plans
            .iter()
            .enumerate()
            .filter(|(_, plan)| plan.option.is_some_and(|other| other.name == option.name))
            .collect();
        let Some(place) = winner(option.name, &alternatives, occasion.state, cycle.period) else {
            return Ok(());
        };
        let plan = &plans[place];
        let comes_to = comparison(plan, occasion.state, cycle.period);
        let trial = plan.code.trial;
        let amounts = [
            (trial.sum, comes_to.running),
            (trial.one_time, comes_to.once),
            (trial.fee, option.fee),
        ];
        for (component, amount) in amounts {
            if component != trial.sum && amount == Money::ZERO {
                continue;
            }
            self.rated.lines.push(Line {
                plan: u16::try_from(place).map_err(|_| SuspenseReason::Overflow)?,
                component,
                quantity: 0,
                first_unit: 0,
                period: cycle.period,
                level_before: 0,
                level_after: 0,
                amount,
                of: None,
                row: None,
                posting: Posting::Account,
            });
        }
        Ok(())
    }
}
