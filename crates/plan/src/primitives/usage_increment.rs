//! UsageIncrement: rounds a record up to whole increments, once, before any split
//! (docs/plan-semantics.md section 4).

use turnpike_types::SuspenseReason;

use crate::calendar::periods::INSTANTS;
use crate::compile::build::Builder;
use crate::compile::definition::{Built, Definition};
use crate::language::findings::Cause;
use crate::language::graph::Primitive;
use crate::language::measure::Quantity;
use crate::language::spec::{Role, Spec, Value, required, usage_in, usage_out};
use crate::machine::code::{Evaluation, Measure, Op};
use crate::machine::evaluation::places::UsageInput;
use crate::machine::stream::{Span, UnitFlow};

pub(super) static DEFINITION: Definition = Definition {
    spec: Spec {
        name: "UsageIncrement",
        help: "Rounds a record up to a first increment, and beyond it to whole further increments.",
        inputs: &[usage_in("in")],
        outputs: &[usage_out("out")],
        properties: &[
            required("first", Value::Quantity, "the least quantity of a record that is not empty"),
            required(
                "then",
                Value::Quantity,
                "the size of the further increments; at least one unit",
            ),
        ],
        children: &[],
        role: Role::Recounts,
    },
    build,
};

/// The primitives that pass a record whole or not at all.
const WHOLE: &[&str] = &["UsageTypeSelector", "UsageTypeClassifier"];

fn build(primitive: &Primitive, builder: &mut Builder<'_>) -> Built {
    let line = primitive.line;
    if let Some(id) = builder.upstream_other_than("in", WHOLE) {
        let message = format!(
            "\"{id}\" is before it, but only whole records can be rounded up: link it to the record, directly or through {} only",
            WHOLE.join(" and ")
        );
        return Err(builder.refuse(line, Cause::Misplaced, message));
    }
    let mut quantity = |name: &str| {
        let text = builder.property(primitive, name)?;
        builder.read(line, name, Quantity::parse(text)).map(|quantity| quantity.base)
    };
    let (first, then) = (quantity("first")?, quantity("then")?);
    if then == 0 {
        let message = "then: an increment is at least one unit, not 0";
        return Err(builder.refuse(line, Cause::BadValue, message));
    }
    if first <= 1 && then == 1 {
        builder.warn(line, "every record is a whole number of units already: nothing changes");
    }
    let op = UsageIncrement {
        first,
        then,
        input: builder.input("in"),
        out: builder.output("out"),
        leaving: builder.leaving(),
    };
    builder.op(op);
    Ok(())
}

struct UsageIncrement {
    first: i128,
    then: i128,
    input: UsageInput,
    out: Option<usize>,
    leaving: usize,
}

impl Op for UsageIncrement {
    fn run(&self, run: &mut Evaluation<'_>) -> Result<(), SuspenseReason> {
        let stream = run.take(&self.input)?;
        if let Some(out) = self.out
            && !stream.is_empty()
        {
            let flow = self.lengthened(run).ok_or(SuspenseReason::Overflow)?;
            run.set_flow(self.leaving, flow);
            let out = &mut run.scratch.streams[out];
            out.zero_quantity = stream.zero_quantity;
            // The record is not split here, so one span holds all its units.
            for span in &stream.spans {
                out.push(Span { end: flow.quantity, ..*span });
            }
        }
        run.give(&self.input, stream);
        Ok(())
    }
}

impl UsageIncrement {
    /// The quantity and duration of the rounded-up record. `None` if the quantity overflows, or if
    /// the end is past the end of the calendar.
    fn lengthened(&self, run: &Evaluation<'_>) -> Option<UnitFlow> {
        let flow = run.flow(&self.input);
        let quantity = increments(flow.quantity, self.first, self.then)?;
        let measure = run.code.measures.get(self.input.flow);
        if measure.is_none_or(|measure| *measure != Measure::Duration) {
            return Some(UnitFlow { quantity, ..flow });
        }
        // The measure is time, so the added time follows the record's end.
        let end = flow.start.checked_add(quantity)?;
        INSTANTS.contains(&end).then_some(UnitFlow { quantity, duration: quantity, ..flow })
    }
}

/// A quantity rounded up to whole increments; zero stays zero. `None` on overflow.
fn increments(quantity: i64, first: i128, then: i128) -> Option<i64> {
    let units = i128::from(quantity);
    let further = units - first;
    let lengthened = match (units, further) {
        (0, _) => 0,
        (_, 1..) => {
            let steps = further / then + i128::from(further % then != 0);
            first.checked_add(steps.checked_mul(then)?)?
        }
        _ => first,
    };
    i64::try_from(lengthened).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// docs/plan-semantics.md section 4: a call is rounded up to the first increment, and from
    /// there in further increments, such as 60/60 or 30/6 seconds.
    #[test]
    fn a_record_grows_to_the_first_increment_and_then_in_steps() {
        let by = |first, then| move |units| increments(units, first, then).unwrap();
        let (minutes, sixes) = (by(60, 60), by(30, 6));
        assert_eq!([0, 1, 59, 60, 61, 120, 121].map(minutes), [0, 60, 60, 60, 120, 120, 180]);
        assert_eq!([0, 1, 30, 31, 36, 37].map(sixes), [0, 30, 30, 36, 36, 42]);
        assert_eq!([0, 1, 5].map(by(0, 5)), [0, 5, 5]);
        assert_eq!(increments(i64::MAX, 60, 60), None);
        assert_eq!(increments(i64::MAX, 1, i128::MAX), None);
        assert_eq!(increments(1, i128::MAX, 1), None);
    }

    proptest! {
        #[test]
        fn increments_are_the_least_that_hold_the_record(
            units in 1i64..500, first in 0i128..200, then in 1i128..50,
        ) {
            let mut least = first;
            while least < i128::from(units) {
                least += then;
            }
            prop_assert_eq!(increments(units, first, then).map(i128::from), Some(least));
        }
    }
}
