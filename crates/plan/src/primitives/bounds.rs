//! Minimum, Cap, Commitment: they correct the sum of charges to an agreed amount
//! (docs/plan-semantics.md sections 5 and 8).

use turnpike_types::{LineKind, Money, Posting, SuspenseReason};

use crate::calendar::period::Period;
use crate::calendar::periods::Calendared;
use crate::compile::build::Builder;
use crate::compile::definition::Definition;
use crate::language::findings::Refused;
use crate::language::graph::Primitive;
use crate::language::measure::Unit;
use crate::language::spec::{CHARGE_OUT, PropertySpec, Role, Spec, Value, charge_in, required};
use crate::machine::code::{Evaluation, Op};
use crate::machine::evaluation::event::Event;
use crate::machine::evaluation::places::ChargeOut;
use crate::machine::meaning::{Holds, Meaning, Per};
use crate::machine::state::{Keep, VariableId};

use super::parts::charges::{beside, component, for_each_line, instant, is_charge, line, money};

const AMOUNT: PropertySpec =
    required("amount", Value::Money, "the bound on the sum of the charges");

pub(super) static MINIMUM: Definition = Definition {
    spec: Spec {
        name: "Minimum",
        help: "Tops up the charges of a record to an amount.",
        inputs: &[charge_in("in")],
        outputs: &[CHARGE_OUT],
        properties: &[AMOUNT],
        children: &[],
        role: Role::Plain,
    },
    build: |primitive, builder| {
        let bound = Bound::read(primitive, builder, "at least", "record")?;
        builder.op(Minimum { bound });
        Ok(())
    },
};

pub(super) static CAP: Definition = Definition {
    spec: Spec {
        name: "Cap",
        help: "Credits the part of charges that exceeds an amount, in each record or period.",
        inputs: &[charge_in("in")],
        outputs: &[CHARGE_OUT],
        properties: &[
            AMOUNT,
            required(
                "per",
                Value::Choice(&["record", "day", "week", "month", "billing-cycle"]),
                "the record or the period over which charges are added up",
            ),
        ],
        children: &[],
        role: Role::Plain,
    },
    build: |primitive, builder| {
        let per = match builder.property(primitive, "per")? {
            "day" => Some(Calendared::Day),
            "week" => Some(Calendared::Week(1)),
            "month" => Some(Calendared::Month),
            "billing-cycle" => Some(Calendared::Cycle),
            _ => None,
        };
        let word = per.map_or("record", Calendared::word);
        let bound = Bound::read(primitive, builder, "at most", word)?;
        let sum = match per {
            Some(calendared) => Some((calendared, sum(builder)?)),
            None => None,
        };
        builder.op(Cap { bound, sum });
        Ok(())
    },
};

pub(super) static COMMITMENT: Definition = Definition {
    spec: Spec {
        name: "Commitment",
        help: "Tops up the charges of each billing cycle to an amount when the cycle closes.",
        inputs: &[charge_in("in")],
        outputs: &[CHARGE_OUT],
        properties: &[AMOUNT],
        children: &[],
        role: Role::Plain,
    },
    build: |primitive, builder| {
        let bound = Bound::read(primitive, builder, "at least", Calendared::Cycle.word())?;
        let sum = sum(builder)?;
        builder.closes();
        builder.op(Commitment { bound, sum });
        Ok(())
    },
};

/// The variable that holds the sum of the charges of a period so far.
fn sum(builder: &mut Builder<'_>) -> Result<VariableId, Refused> {
    let meaning = Meaning::new(Holds::Money(builder.charged()), Per::Date);
    builder.remember(None, Unit::One, Keep::Horizon, meaning)
}

/// What Minimum, Cap and Commitment have in common.
struct Bound {
    amount: i128,
    component: u16,
    slots: Box<[usize]>,
    out: ChargeOut,
}

impl Bound {
    fn read(
        primitive: &Primitive,
        builder: &mut Builder<'_>,
        words: &str,
        period: &str,
    ) -> Result<Self, Refused> {
        let (at, id) = (primitive.line, primitive.id.as_str());
        // A sum over the lines of several accounts would belong to no account.
        builder.only_own("in")?;
        let written = builder.property(primitive, "amount")?;
        let price = format!("{words} {written} per {period}");
        Ok(Self {
            amount: builder.money(at, "amount", written)?.nanos(),
            component: component(builder, at, (id, id), LineKind::Adjustment, price)?,
            slots: builder.charges("in"),
            out: builder.charge_out("charge"),
        })
    }

    /// Passes every line on. Returns the number of the first charge among them, and the sum of all
    /// charges; `None` without a charge.
    fn pass(&self, run: &mut Evaluation<'_>) -> Result<Option<(u32, i128)>, SuspenseReason> {
        let mut passed: Option<(u32, i128)> = None;
        for_each_line(run, &self.slots, |run, number| {
            run.pass_on(self.out, number);
            if !is_own_charge(run, number)? {
                return Ok(());
            }
            let (first, sum) = passed.unwrap_or((number, 0));
            passed = Some((first, add(sum, line(run, number)?.amount.nanos())?));
            Ok(())
        })?;
        Ok(passed)
    }
}

/// Whether the line is a charge to the record's own account. A bonus has two lines, of which one
/// belongs to another account.
fn is_own_charge(run: &Evaluation<'_>, number: u32) -> Result<bool, SuspenseReason> {
    Ok(is_charge(run, number)? && line(run, number)?.posting == Posting::Account)
}

fn add(sum: i128, more: i128) -> Result<i128, SuspenseReason> {
    sum.checked_add(more).ok_or(SuspenseReason::Overflow)
}

struct Minimum {
    bound: Bound,
}

impl Op for Minimum {
    fn run(&self, run: &mut Evaluation<'_>) -> Result<(), SuspenseReason> {
        let Some((first, sum)) = self.bound.pass(run)? else { return Ok(()) };
        if sum >= self.bound.amount {
            return Ok(());
        }
        let missing = money(self.bound.amount.checked_sub(sum))?;
        let missing = run.made_of(first, self.bound.component, missing);
        run.book(self.bound.out, missing).map(drop)
    }
}

struct Cap {
    bound: Bound,
    /// The uncapped sum of the charges of each period so far; `None` if the cap applies to each
    /// record alone.
    sum: Option<(Calendared, VariableId)>,
}

impl Op for Cap {
    fn run(&self, run: &mut Evaluation<'_>) -> Result<(), SuspenseReason> {
        let kept = self.sum.map(|(calendared, variable)| {
            let at = instant(run);
            (variable, run.period(calendared, at).period)
        });
        let before = kept.map_or(0, |(variable, period)| run.value(variable, period));
        let mut sum = before;
        for_each_line(run, &self.bound.slots, |run, number| {
            run.pass_on(self.bound.out, number);
            if !is_own_charge(run, number)? {
                return Ok(());
            }
            let amount = line(run, number)?.amount.nanos();
            let after = add(sum, amount)?;
            // A credit first reduces the part above the cap, then the part that is paid.
            let change = after.min(self.bound.amount).checked_sub(sum.min(self.bound.amount));
            sum = after;
            let correction = money(change.and_then(|change| change.checked_sub(amount)))?;
            if correction == Money::ZERO {
                return Ok(());
            }
            let correction = beside(run, number, self.bound.component, correction)?;
            run.book(self.bound.out, correction).map(drop)
        })?;
        match kept {
            Some((variable, period)) if sum != before => run.set(variable, period, sum),
            _ => Ok(()),
        }
    }
}

struct Commitment {
    bound: Bound,
    /// The sum of the charges so far, by the billing cycle to which they are posted.
    sum: VariableId,
}

impl Op for Commitment {
    fn run(&self, run: &mut Evaluation<'_>) -> Result<(), SuspenseReason> {
        let passed = self.bound.pass(run)?.map_or(0, |(_, sum)| sum);
        let period: Period = run.posting_cycle().period;
        let before = run.value(self.sum, period);
        let sum = add(before, passed)?;
        if sum != before {
            run.set(self.sum, period, sum)?;
        }
        // Charges that other primitives make at the close are already in the sum.
        if !matches!(*run.event, Event::Close(_)) || sum >= self.bound.amount {
            return Ok(());
        }
        let missing = money(self.bound.amount.checked_sub(sum))?;
        let missing = run.fixed(self.bound.component, missing, period, 0);
        run.book(self.bound.out, missing).map(drop)
    }
}
