//! OneTimeCharge: once per subscription, whatever its versions (PLANS section 5).

use turnpike_types::{Money, SuspenseReason};

use crate::code::{Component, ComponentKind};
use crate::measure::Unit;
use crate::run::{Input, Op, Run};
use crate::spec::{CHARGE_OUT, Spec, Value, optional, required, usage_in, with_default};
use crate::state::{Period, VariableId};

use super::monthly_recurring_charge::{DUE, refuse_unless_first_use};

pub(super) static SPEC: Spec = Spec {
    name: "OneTimeCharge",
    help: "Charges an amount once per subscription, with the first usage that reaches it.",
    inputs: &[usage_in("trigger")],
    outputs: &[CHARGE_OUT],
    properties: &[
        required("amount", Value::Money),
        with_default("due", DUE, "period-start"),
        optional("currency", Value::Currency),
    ],
    children: &[],
    build: |primitive, builder| {
        refuse_unless_first_use(primitive, builder)?;
        let written = builder.property(primitive, "amount")?;
        let amount = builder.money(primitive.line, "amount", written)?;
        let component = Component {
            primitive: primitive.id.clone(),
            component: primitive.id.clone(),
            kind: ComponentKind::OneTime,
            price: format!("{written} once"),
            unit: Unit::One,
            level: None,
        };
        let op = OneTimeCharge {
            variable: builder.variable(None, Unit::One)?,
            component: builder.component(primitive.line, component)?,
            amount,
            trigger: builder.input("trigger"),
        };
        builder.op(op);
        Ok(())
    },
};

struct OneTimeCharge {
    variable: VariableId,
    component: u16,
    amount: Money,
    trigger: Input,
}

impl Op for OneTimeCharge {
    fn run(&self, run: &mut Run<'_>) -> Result<(), SuspenseReason> {
        let stream = run.take(&self.trigger)?;
        if !stream.is_empty() {
            let first = stream.spans.first().map_or(0, |span| span.first);
            run.charge_once(self.variable, self.component, self.amount, Period::EVER, first);
        }
        run.give(&self.trigger, stream);
        Ok(())
    }
}
