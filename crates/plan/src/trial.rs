//! Lines on trial: of alternatives, which count in no total, and what they come to
//! (docs/plan-semantics.md section 6).
//!
//! Sums stand apart for each offer, plan and cycle. One is only ever added to while its cycle is not
//! closed, and the close takes it away: so each is billed once, whatever was dated back in between.

use smallvec::SmallVec;
use turnpike_types::{Money, Posting, SuspenseReason};

use crate::calendar::{Calendared, Span as PeriodSpan, date_of};
use crate::code::ComponentKind;
use crate::options::{OfferId, OptionInForce};
use crate::rater::Line;
use crate::run::{Event, Run};
use crate::state::{Period, plan_number};

/// Where a line of a plan in an option counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counts {
    /// Posted, as a plain subscription's.
    Posted,
    /// In the comparison of a cycle.
    In(Period),
    /// Nowhere: it gives back what was never billed.
    Nowhere,
}

/// Billionths: what recurs and was used in a cycle, and what is charged once.
type Sums = SmallVec<[(Period, i128, i128); 1]>;

/// Turns the lines that an alternative just made into trial lines, and adds them to its sums. Of a
/// plan that the client kept, which is posted, this concerns only what it gives back.
pub(crate) fn keep(
    run: &mut Run<'_>,
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
            // It would have to wait for the close, in an account that knows nothing of the option.
            Posting::Second(account) => {
                let about = format_args!("plan {} posts to {account}", run.code.plan_id());
                return Err(run.refuse(SuspenseReason::PostsElsewhere, about));
            }
            Posting::Nobody | Posting::Replaced | Posting::Trial => continue,
        }
        match counts(run, number, option) {
            Counts::Posted => {}
            Counts::Nowhere => run.lines[number].posting = Posting::Trial,
            Counts::In(cycle) => {
                add(run, number, cycle, &mut sums)?;
                run.lines[number].posting = Posting::Trial;
            }
        }
    }
    for (cycle, running, once) in sums {
        let trial = run.code.trial;
        for (variable, more) in [(trial.running, running), (trial.once, once)] {
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

fn add(run: &Run<'_>, number: usize, cycle: Period, sums: &mut Sums) -> Result<(), SuspenseReason> {
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

/// Does a subscription end, and give unused days back? Nothing else falls due at its end.
fn is_credit(run: &Run<'_>) -> bool {
    matches!(run.event, Event::Due { at, .. } if *at == run.cancelled)
}

fn counts(run: &mut Run<'_>, number: usize, option: OptionInForce<'_>) -> Counts {
    let given_back =
        if is_credit(run) { first_of(run, number).map(|line| line.period) } else { None };
    let Some(period) = given_back.filter(|period| *period != Period::EVER) else {
        return if option.is_kept {
            Counts::Posted
        } else {
            in_open_cycle(run, number, option.offer)
        };
    };
    // What is given back counts where the charge did.
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

/// Usage of a cycle that is closed, whoever closed it, counts in the next that is open. What falls
/// due in one was not there when it closed, by a plan that was published since: that cycle was
/// billed without it. What is charged once is wanted all the same.
fn in_open_cycle(run: &mut Run<'_>, number: usize, offer: OfferId) -> Counts {
    let cycle = run.posting_cycle();
    let open = offer.first_open(run.state, run.account.cycle_day);
    match open.filter(|open| cycle.period < *open) {
        None => Counts::In(cycle.period),
        Some(open) if *run.event == Event::Usage || is_once(run, number) => Counts::In(open),
        Some(_) => Counts::Nowhere,
    }
}

fn is_closed(run: &Run<'_>, offer: OfferId, cycle: PeriodSpan) -> bool {
    offer.is_closed(run.state, run.account.cycle_day, cycle.period)
}

fn is_once(run: &Run<'_>, number: usize) -> bool {
    let component = |line: &Line| run.code.components.get(usize::from(line.component));
    let kind = first_of(run, number).and_then(component).map(|component| component.kind);
    kind == Some(ComponentKind::OneTime)
}

/// The line that a line was made of in the end: what is taken off a one-time charge, or added to
/// it, is no more recurring than the charge.
fn first_of<'r>(run: &'r Run<'_>, mut number: usize) -> Option<&'r Line> {
    // A line is made of an earlier one: this ends.
    while let Some(of) = run.lines.get(number)?.of {
        number = of as usize;
    }
    run.lines.get(number)
}
