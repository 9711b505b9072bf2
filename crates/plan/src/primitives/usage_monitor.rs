//! UsageMonitor: books an event, once per period, when a level passes a limit
//! (docs/plan-semantics.md section 8).

use turnpike_types::{LineKind, Money, SuspenseReason};

use crate::compile::build::Builder;
use crate::compile::definition::{Built, Definition};
use crate::language::findings::Cause;
use crate::language::graph::Primitive;
use crate::language::measure::{Quantity, Unit};
use crate::language::spec::{
    CHARGE_OUT, InputSpec, LEVEL_IN, Role, Spec, Value, required, usage_in, usage_out,
};
use crate::machine::code::{Component, Evaluation, Op};
use crate::machine::evaluation::places::{ChargeOut, StepPortion, Total, UsageInput};
use crate::machine::ladder::Sorter;
use crate::machine::level;
use crate::machine::lines::ChargeLine;
use crate::machine::meaning::BOOKED;
use crate::machine::state::{Keep, VariableId};
use crate::machine::stream::Stream;

pub(super) static DEFINITION: Definition = Definition {
    spec: Spec {
        name: "UsageMonitor",
        help: "Books an event without charge when a level passes a limit, once in each of its periods.",
        inputs: &[usage_in("in"), InputSpec { required: true, ..LEVEL_IN }],
        outputs: &[usage_out("out"), CHARGE_OUT],
        properties: &[
            required("limit", Value::Quantity, "the highest level without an event"),
            required("message", Value::Text, "the text of the event"),
        ],
        children: &[],
        role: Role::Plain,
    },
    build,
};

fn build(primitive: &Primitive, builder: &mut Builder<'_>) -> Built {
    let Some(total) = builder.total("level") else {
        let message = "level: nothing feeds it: write level=\"A.total\" of an accumulator A";
        return Err(builder.refuse(primitive.line, Cause::OpenInput, message));
    };
    let limit = builder.property(primitive, "limit")?;
    let limit = builder.read(primitive.line, "limit", Quantity::parse(limit))?.base;
    let event = Component {
        primitive: primitive.id.clone(),
        component: primitive.id.clone(),
        kind: LineKind::Event,
        price: builder.property(primitive, "message")?.to_owned(),
        unit: builder.unit(),
        level: Some(total.variable),
        currency: builder.currency()?,
    };
    let op = UsageMonitor {
        bounds: [Some(limit), None],
        total,
        reported: builder.remember(None, Unit::One, Keep::Horizon, BOOKED)?,
        event: builder.component(primitive.line, event)?,
        input: builder.input("in"),
        passed: builder.output("out"),
        out: builder.charge_out("charge"),
    };
    builder.op(op);
    Ok(())
}

struct UsageMonitor {
    /// The ends of two steps: the first ends at the limit, the second has no end.
    bounds: [Option<i128>; 2],
    total: Total,
    /// The variable that records, for each period, whether the event was booked.
    reported: VariableId,
    event: u16,
    input: UsageInput,
    passed: Option<usize>,
    out: ChargeOut,
}

impl Op for UsageMonitor {
    fn run(&self, run: &mut Evaluation<'_>) -> Result<(), SuspenseReason> {
        let stream = run.take(&self.input)?;
        if let Some(passed) = self.passed {
            run.scratch.streams[passed].copy_from(&stream);
        }
        if !stream.is_empty() {
            let mut parts = std::mem::take(&mut run.scratch.parts);
            let mut rest = Stream::default();
            parts.clear();
            let mut sorter = Sorter { bounds: &self.bounds, parts: &mut parts, rest: &mut rest };
            let sort = |span, ladder, period| sorter.sort(span, ladder, period);
            level::by_total(self.total, run, &self.input, &stream, sort)?;
            let past = parts.iter().filter(|part| part.step == 1);
            past.into_iter().try_for_each(|part| self.report_limit(run, part))?;
            run.scratch.parts = parts;
        }
        run.give(&self.input, stream);
        Ok(())
    }
}

impl UsageMonitor {
    /// Books the event with the first unit above the limit, without charge.
    fn report_limit(
        &self,
        run: &mut Evaluation<'_>,
        part: &StepPortion,
    ) -> Result<(), SuspenseReason> {
        let line = |run: &Evaluation<'_>| ChargeLine {
            level_before: part.before,
            level_after: part.after,
            ..run.fixed(self.event, Money::ZERO, part.period, part.first_unit)
        };
        run.charge_once(self.reported, part.period, self.out, line)
    }
}
