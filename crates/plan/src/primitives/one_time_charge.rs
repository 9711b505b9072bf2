//! OneTimeCharge: an amount once per subscription, across all plan versions
//! (docs/plan-semantics.md section 5).

use turnpike_types::{LineKind, Money, SuspenseReason};

use crate::calendar::period::Period;
use crate::compile::definition::Definition;
use crate::language::measure::Unit;
use crate::language::spec::{CHARGE_OUT, Role, Spec, Value, required};
use crate::machine::code::{Component, Evaluation, Op};
use crate::machine::evaluation::event::{DueQuery, Event};
use crate::machine::evaluation::places::{ChargeOut, UsageInput};
use crate::machine::meaning::CHARGED_ONCE;
use crate::machine::state::{Keep, VariableId};

use super::parts::charging::{CURRENCY, DUE, TRIGGER, is_due_with_use};

pub(super) static DEFINITION: Definition = Definition {
    spec: Spec {
        name: "OneTimeCharge",
        help: "Charges an amount once per subscription, when it begins or with its first usage.",
        inputs: TRIGGER,
        outputs: &[CHARGE_OUT],
        properties: &[
            required("amount", Value::Money, "the amount that is charged"),
            DUE,
            CURRENCY,
        ],
        children: &[],
        role: Role::Plain,
    },
    build: |primitive, builder| {
        let with_use = is_due_with_use(primitive, builder)?;
        let written = builder.property(primitive, "amount")?;
        let amount = builder.money(primitive.line, "amount", written)?;
        let component = Component {
            primitive: primitive.id.clone(),
            component: primitive.id.clone(),
            kind: LineKind::OneTime,
            price: format!("{written} once"),
            unit: Unit::One,
            level: None,
            currency: builder.currency()?,
        };
        let op = OneTimeCharge {
            variable: builder.remember(None, Unit::One, Keep::Ever, CHARGED_ONCE)?,
            component: builder.component(primitive.line, component)?,
            amount,
            out: builder.charge_out("charge"),
            trigger: with_use.then(|| builder.input("trigger")),
        };
        if !with_use {
            builder.is_due_by(op.variable);
            builder.is_swept();
        }
        builder.op(op);
        Ok(())
    },
};

struct OneTimeCharge {
    /// The variable that records, for each subscription, whether the amount was charged.
    variable: VariableId,
    component: u16,
    amount: Money,
    out: ChargeOut,
    /// The usage that triggers the charge; `None` if the start of the subscription triggers it.
    trigger: Option<UsageInput>,
}

impl Op for OneTimeCharge {
    fn run(&self, run: &mut Evaluation<'_>) -> Result<(), SuspenseReason> {
        match (&self.trigger, *run.event) {
            (Some(trigger), _) => {
                run.read(trigger)?;
                match run.single(trigger) {
                    Some(span) => self.charge(run, span.first),
                    None => self.charge_with_any(run, trigger),
                }
            }
            // A credit for a subscription that never began falls due at its start too, but outside
            // of the interval.
            (None, Event::Due { at, until, .. }) if at == run.since && at < until => {
                self.charge(run, 0)
            }
            _ => Ok(()),
        }
    }

    fn next_due(&self, query: &mut DueQuery<'_>) -> Option<i64> {
        let begins_here = query.from <= query.since && query.since < query.until;
        if self.trigger.is_some() || query.since == i64::MIN || !begins_here {
            return None;
        }
        let subscription = Period::of_subscription(query.since);
        let charged = query.state.get(self.variable, subscription).is_some_and(|value| value != 0);
        (!charged).then_some(query.since)
    }
}

impl OneTimeCharge {
    /// Handles the general case of several ranges of units: charges with the first unit.
    #[inline(never)]
    fn charge_with_any(
        &self,
        run: &mut Evaluation<'_>,
        trigger: &UsageInput,
    ) -> Result<(), SuspenseReason> {
        let stream = run.take(trigger)?;
        let first = stream.spans.first().map_or(0, |span| span.first);
        let charged = if stream.is_empty() { Ok(()) } else { self.charge(run, first) };
        run.give(trigger, stream);
        charged
    }

    #[inline]
    fn charge(&self, run: &mut Evaluation<'_>, first_unit: i64) -> Result<(), SuspenseReason> {
        let subscription = Period::of_subscription(run.since);
        let line =
            |run: &Evaluation<'_>| run.fixed(self.component, self.amount, Period::EVER, first_unit);
        run.charge_once(self.variable, subscription, self.out, line)
    }
}
