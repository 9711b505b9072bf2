//! MonthlyRecurringCharge: once per month of the account (PLANS section 5).

use turnpike_types::{Money, SuspenseReason};

use crate::build::Builder;
use crate::code::{Component, ComponentKind};
use crate::error::Cause;
use crate::graph::Primitive;
use crate::measure::Unit;
use crate::run::{Calendared, Input, Op, Run};
use crate::spec::{Built, CHARGE_OUT, Spec, Value, optional, required, usage_in, with_default};
use crate::state::{Period, VariableId};
use crate::stream::{PORTIONS_MAX, Stream};

/// When a charge falls due. Both values are read, so that the one not built yet, which is the
/// default, can be refused with the way out.
pub(super) const DUE: Value = Value::Choice(&["first-use", "period-start"], &[]);

pub(super) static SPEC: Spec = Spec {
    name: "MonthlyRecurringCharge",
    help: "Charges an amount for each calendar month, with the month's first usage.",
    inputs: &[usage_in("trigger")],
    outputs: &[CHARGE_OUT],
    properties: &[
        required("amount", Value::Money),
        with_default("due", DUE, "period-start"),
        optional("prorate", Value::Later),
        optional("currency", Value::Currency),
    ],
    children: &[],
    build: |primitive, builder| {
        let calendared = Calendared::Month;
        refuse_unless_first_use(primitive, builder)?;
        let written = builder.property(primitive, "amount")?;
        let amount = builder.money(primitive.line, "amount", written)?;
        let component = Component {
            primitive: primitive.id.clone(),
            component: primitive.id.clone(),
            kind: ComponentKind::Recurring,
            price: format!("{written} per {}", calendared.word()),
            unit: Unit::One,
            level: None,
        };
        let op = RecurringCharge {
            calendared,
            variable: builder.variable(None, Unit::One)?,
            component: builder.component(primitive.line, component)?,
            amount,
            trigger: builder.input("trigger"),
        };
        builder.op(op);
        Ok(())
    },
};

/// Charges without usage need the sweep, which this version does not have.
pub(super) fn refuse_unless_first_use(primitive: &Primitive, builder: &mut Builder<'_>) -> Built {
    if primitive.property("due") == Some("first-use") {
        return Ok(());
    }
    let message = "due=\"period-start\", the default, is not in this version of Turnpike: write due=\"first-use\"";
    Err(builder.refuse(primitive.line, Cause::NotInThisVersion, message))
}

struct RecurringCharge {
    calendared: Calendared,
    variable: VariableId,
    component: u16,
    amount: Money,
    trigger: Input,
}

impl Op for RecurringCharge {
    fn run(&self, run: &mut Run<'_>) -> Result<(), SuspenseReason> {
        let stream = run.take(&self.trigger)?;
        self.charge(run, &stream)?;
        run.give(&self.trigger, stream);
        Ok(())
    }
}

impl RecurringCharge {
    /// Once for each period that the units touch; a record without units touches its start.
    fn charge(&self, run: &mut Run<'_>, stream: &Stream) -> Result<(), SuspenseReason> {
        let flow = run.flow(&self.trigger);
        if stream.spans.is_empty() && stream.ghost {
            let period = run.period(self.calendared, flow.start).period;
            run.charge_once(self.variable, self.component, self.amount, period, 0);
        }
        let mut last = Period::EVER;
        for span in &stream.spans {
            let mut unit = span.first;
            while unit < span.end {
                let here = run.period(self.calendared, flow.instant(unit));
                if here.period != last {
                    if run.changes.len() >= PORTIONS_MAX {
                        return Err(SuspenseReason::Overflow);
                    }
                    last = here.period;
                    run.charge_once(self.variable, self.component, self.amount, last, unit);
                }
                unit = flow.units_before(here.to).max(unit + 1);
            }
        }
        Ok(())
    }
}
