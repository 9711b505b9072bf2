//! Tentative lines: the lines of alternatives, which count in no total, and their sums
//! (docs/plan-semantics.md section 6).
//!
//! There is one pair of sums for each offer, plan and cycle. Amounts are added only while the cycle
//! is open, and the close sets the sums to zero. So each sum is billed once, even if commands are
//! backdated.

use smallvec::SmallVec;
use turnpike_types::{LineKind, Money, Posting, SuspenseReason};

use crate::calendar::period::Period;
use crate::calendar::periods::{Calendared, PeriodSpan, date_of};
use crate::machine::code::Evaluation;
use crate::machine::evaluation::event::Event;
use crate::machine::in_force::{OfferId, OptionInForce};
use crate::machine::lines::ChargeLine;
use crate::machine::state::plan_number;

/// The destination of a line of a plan that belongs to an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counts {
    /// Posted, like a line of a plain subscription.
    Posted,
    /// Added to the alternative's sums for a cycle.
    In(Period),
    /// Neither posted nor added: the line refunds a charge that was never billed.
    Nowhere,
}

/// The sums of an alternative's lines for each cycle, in billionths: usage and recurring charges,
/// then one-time charges.
type Sums = SmallVec<[(Period, i128, i128); 1]>;

/// Marks the lines that an alternative just booked as tentative, and adds them to the alternative's
/// sums. For a plan that the client kept, this applies to refunds only, because its other lines are
/// posted.
pub(crate) fn keep(
    run: &mut Evaluation<'_>,
    first_line: usize,
    option: OptionInForce<'_>,
) -> Result<(), SuspenseReason> {
    if option.is_kept && !is_credit(run) {
        return Ok(());
    }
    let mut sums = Sums::new();
    for number in first_line..run.lines.len() {
        match run.lines[number].posting {
            Posting::Account => {}
            Posting::Second(_) if option.is_kept => {}
            // The record is refused, because the posting would have to wait for the close, and the
            // owner of the other account does not know the option.
            Posting::Second(account) => {
                let about = format_args!("plan {} posts to {account}", run.code.plan_id());
                return Err(run.refuse(SuspenseReason::PostsElsewhere, about));
            }
            Posting::Nobody | Posting::Replaced | Posting::Tentative => continue,
        }
        match counts(run, number, option) {
            Counts::Posted => {}
            Counts::Nowhere => run.lines[number].posting = Posting::Tentative,
            Counts::In(cycle) => {
                add(run, number, cycle, &mut sums)?;
                run.lines[number].posting = Posting::Tentative;
            }
        }
    }
    for (cycle, running, once) in sums {
        let tentative = run.code.tentative;
        for (variable, more) in [(tentative.running, running), (tentative.once, once)] {
            let variable = variable.of(option.offer.0);
            if more != 0 {
                let sum = run.value(variable, cycle).checked_add(more);
                let sum = sum.and_then(Money::from_nanos).ok_or(SuspenseReason::Overflow)?;
                run.set(variable, cycle, sum.nanos())?;
            }
        }
    }
    Ok(())
}

fn add(
    run: &Evaluation<'_>,
    number: usize,
    cycle: Period,
    sums: &mut Sums,
) -> Result<(), SuspenseReason> {
    let place = sums.iter().position(|(period, ..)| *period == cycle).unwrap_or_else(|| {
        sums.push((cycle, 0, 0));
        sums.len() - 1
    });
    let (_, running, once) = &mut sums[place];
    let sum = if is_once(run, number) { once } else { running };
    let more = run.lines[number].amount.nanos();
    *sum = sum.checked_add(more).ok_or(SuspenseReason::Overflow)?;
    Ok(())
}

/// Whether the event refunds unused days at the end of a subscription. No other charge falls due at
/// that instant.
fn is_credit(run: &Evaluation<'_>) -> bool {
    matches!(run.event, Event::Due { at, .. } if *at == run.cancelled)
}

fn counts(run: &mut Evaluation<'_>, number: usize, option: OptionInForce<'_>) -> Counts {
    let given_back =
        if is_credit(run) { first_of(run, number).map(|line| line.period) } else { None };
    let Some(period) = given_back.filter(|period| *period != Period::EVER) else {
        return if option.is_kept {
            Counts::Posted
        } else {
            in_open_cycle(run, number, option.offer)
        };
    };
    // A refund is assigned to the cycle of the refunded charge.
    let charged = run.scratch.calendar.first_instant(date_of(period)).max(run.since);
    let cycle = run.period(Calendared::Cycle, charged);
    if option.is_kept && option.is_chosen_for(cycle.to) {
        return Counts::Posted;
    }
    let billed = run.state.get(option.offer.billed(), cycle.period);
    match billed {
        Some(plan) if plan == plan_number(run.code.plan_id()) => Counts::Posted,
        Some(_) => Counts::Nowhere,
        None if is_closed(run, option.offer, cycle) => Counts::Nowhere,
        None => Counts::In(cycle.period),
    }
}

/// The destination of a line. Late usage of a closed cycle is added to the open cycle. A charge
/// that falls due in a closed cycle comes from a plan version that was published after the close.
/// The cycle was billed without that charge, so the charge is dropped unless it is a one-time
/// charge.
fn in_open_cycle(run: &mut Evaluation<'_>, number: usize, offer: OfferId) -> Counts {
    let cycle = run.posting_cycle();
    let open = offer.first_open(run.state, run.account.cycle_day);
    match open.filter(|open| cycle.period < *open) {
        None => Counts::In(cycle.period),
        Some(open) if *run.event == Event::Usage || is_once(run, number) => Counts::In(open),
        Some(_) => Counts::Nowhere,
    }
}

fn is_closed(run: &Evaluation<'_>, offer: OfferId, cycle: PeriodSpan) -> bool {
    offer.is_closed(run.state, run.account.cycle_day, cycle.period)
}

fn is_once(run: &Evaluation<'_>, number: usize) -> bool {
    let component = |line: &ChargeLine| run.code.components.get(usize::from(line.component));
    let kind = first_of(run, number).and_then(component).map(|component| component.kind);
    kind == Some(LineKind::OneTime)
}

/// The line from which a line is ultimately derived: a discount or surcharge on a one-time charge
/// is a one-time charge too.
fn first_of<'r>(run: &'r Evaluation<'_>, mut number: usize) -> Option<&'r ChargeLine> {
    // Each line derives from an earlier one, so the loop ends.
    while let Some(of) = run.lines.get(number)?.of {
        number = of as usize;
    }
    run.lines.get(number)
}
