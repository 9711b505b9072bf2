//! Discount: a percentage off charges; a negative percentage is a surcharge
//! (docs/plan-semantics.md sections 3 and 8).

use turnpike_types::{LineKind, SuspenseReason};

use crate::compile::definition::Definition;
use crate::language::spec::{CHARGE_OUT, Role, Spec, charge_in, required};
use crate::machine::code::{Evaluation, Op};
use crate::machine::evaluation::places::ChargeOut;

use super::parts::charges::{
    Percent, SIGNED_PERCENT, beside, component, for_each_line, is_charge, line, money,
};

pub(super) static DEFINITION: Definition = Definition {
    spec: Spec {
        name: "Discount",
        help: "Takes a percentage off charges; a negative percentage is a surcharge.",
        inputs: &[charge_in("in")],
        outputs: &[CHARGE_OUT],
        properties: &[required("percent", SIGNED_PERCENT, "the percentage, from -1000 to 100")],
        children: &[],
        role: Role::Plain,
    },
    build: |primitive, builder| {
        let (at, id) = (primitive.line, primitive.id.as_str());
        let written = builder.property(primitive, "percent")?;
        let price = format!("{written} % off");
        let op = Discount {
            percent: builder.read(at, "percent", Percent::parse(written))?,
            component: component(builder, at, (id, id), LineKind::Discount, price)?,
            digits: builder.digits(),
            slots: builder.charges("in"),
            out: builder.charge_out("charge"),
        };
        builder.op(op);
        Ok(())
    },
};

struct Discount {
    percent: Percent,
    component: u16,
    digits: u32,
    slots: Box<[usize]>,
    out: ChargeOut,
}

impl Op for Discount {
    fn run(&self, run: &mut Evaluation<'_>) -> Result<(), SuspenseReason> {
        for_each_line(run, &self.slots, |run, number| {
            run.pass_on(self.out, number);
            if !is_charge(run, number)? {
                return Ok(());
            }
            let part = self.percent.part(line(run, number)?.amount, self.digits)?;
            let off = money(part.nanos().checked_neg())?;
            let off = beside(run, number, self.component, off)?;
            run.book(self.out, off).map(drop)
        })
    }
}
