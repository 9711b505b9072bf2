//! ThresholdFilter: passes units by their level, or whole records by their quantity
//! (docs/plan-semantics.md section 4).

use turnpike_types::SuspenseReason;

use crate::compile::build::Builder;
use crate::compile::definition::{Built, Definition};
use crate::language::findings::Cause;
use crate::language::graph::Primitive;
use crate::language::measure::Quantity;
use crate::language::spec::{LEVEL_IN, Role, Spec, Value, required, usage_in, with_default};
use crate::machine::code::{Evaluation, Op};
use crate::machine::evaluation::places::Total;
use crate::machine::ladder::split;
use crate::machine::level;
use crate::machine::stream::Stream;

use super::parts::filter::{FilterPorts, OUTPUTS};

pub(super) static DEFINITION: Definition = Definition {
    spec: Spec {
        name: "ThresholdFilter",
        help: "Passes units from a level on, or whole records above a quantity.",
        inputs: &[usage_in("in"), LEVEL_IN],
        outputs: OUTPUTS,
        properties: &[
            required("above", Value::Quantity, "the level from which units pass"),
            with_default(
                "on",
                Value::Choice(&["unit", "record"]),
                "unit",
                "what is tested: each unit by the level before it, or the record by its quantity",
            ),
        ],
        children: &[],
        role: Role::Plain,
    },
    build,
};

fn build(primitive: &Primitive, builder: &mut Builder<'_>) -> Built {
    let line = primitive.line;
    let above = builder.property(primitive, "above")?;
    let above = builder.read(line, "above", Quantity::parse(above))?.base;
    let total = builder.total("level");
    let test = if builder.property(primitive, "on")? == "record" {
        if builder.is_fed("level") {
            let message = "level: on=\"record\" tests the record's own quantity: leave level out, or write on=\"unit\"";
            return Err(builder.refuse(line, Cause::BadValue, message));
        }
        Test::Record
    } else {
        Test::Unit(total)
    };
    if above == 0 && matches!(test, Test::Unit(_)) {
        builder.warn(line, "every unit is at or above 0, so no unit ever leaves by rest");
    }
    let ports = FilterPorts::of(builder);
    builder.op(ThresholdFilter { above, test, ports });
    Ok(())
}

/// What the filter compares with the threshold.
enum Test {
    /// The level that each unit reads; for `None`, the count of units within the record before the
    /// unit.
    Unit(Option<Total>),
    /// The record's quantity, which decides for all units of the record.
    Record,
}

struct ThresholdFilter {
    above: i128,
    test: Test,
    ports: FilterPorts,
}

impl Op for ThresholdFilter {
    fn run(&self, run: &mut Evaluation<'_>) -> Result<(), SuspenseReason> {
        self.ports.divide(run, |run, stream, pass, rest| match self.test {
            Test::Record => {
                let quantity = i128::from(run.flow(&self.ports.input).quantity);
                let out = if quantity > self.above { pass } else { rest };
                out.copy_from(stream);
                Ok(())
            }
            Test::Unit(total) => self.by_level(total, run, stream, pass, rest),
        })
    }
}

impl ThresholdFilter {
    fn by_level(
        &self,
        total: Option<Total>,
        run: &mut Evaluation<'_>,
        stream: &Stream,
        pass: &mut Stream,
        rest: &mut Stream,
    ) -> Result<(), SuspenseReason> {
        let (above, input) = (self.above, &self.ports.input);
        if stream.zero_quantity {
            let passes = level::of_zero_quantity(total, run, input) >= above;
            if passes { pass.zero_quantity = true } else { rest.zero_quantity = true }
        }
        let sort = |span, ladder, _| split(span, ladder, above, rest, pass);
        match total {
            Some(total) => level::by_total(total, run, input, stream, sort),
            None => level::by_count(stream, sort),
        }
    }
}
