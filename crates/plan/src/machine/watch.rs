//! A trace of a record through the primitives.

use turnpike_types::{SuspenseReason, Suspension, Timestamp};

use crate::language::spec::Role;
use crate::machine::code::{Evaluation, Placed};
use crate::machine::lines::ChargeLine;
use crate::machine::state::StateEntry;
use crate::machine::stream::{Stream, UnitFlow};

/// Receives a report of each primitive, in the order of execution.
pub trait Watch {
    /// Called after a primitive has run.
    fn step(&mut self, step: &PrimitiveStep<'_>);
}

/// The work of one primitive on a record.
#[derive(Clone, Debug)]
pub struct PrimitiveStep<'a> {
    /// Index into the plans given to the rater.
    pub plan: u16,
    /// The primitive's id.
    pub id: &'a str,
    /// The type of the primitive.
    pub kind: &'a str,
    /// The line of the primitive in the plan's XML.
    pub line: u32,
    /// The units of the primitive's usage inputs.
    pub inputs: Vec<PortUnits<'a>>,
    /// The units of the primitive's usage outputs that have a consumer.
    pub outputs: Vec<PortUnits<'a>>,
    /// The lines that the primitive booked, as indexes into the result.
    pub lines: std::ops::Range<usize>,
    /// All lines so far: a primitive may change the destination of earlier lines.
    pub booked: &'a [ChargeLine],
    /// The variables that the primitive set: the entry before and the entry after.
    pub changes: Vec<(StateEntry, StateEntry)>,
    /// The reason, if the primitive put the record into suspense.
    pub refused: Option<Suspension>,
}

/// The units of one port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortUnits<'a> {
    /// The name of the port.
    pub port: &'a str,
    /// The units, as ranges: the first unit, the exclusive end, and how many times each unit
    /// counts.
    pub spans: Vec<(i64, i64, i128)>,
    /// Whether a zero-quantity record passed the port.
    pub empty_record: bool,
    /// The distribution of the units over time. `None` for the output of a `UsageIncrement`, which
    /// changes the distribution; the input of the next primitive has the new one.
    pub in_time: Option<UnitDistribution>,
}

/// The distribution over time of a measure: a measure of the record, or the rounded-up measure that
/// a `UsageIncrement` created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnitDistribution {
    /// The number of units of the measure in the record.
    pub units: i64,
    /// The instant of the first unit.
    pub start: Timestamp,
    /// The time from the first unit to the end of the last one.
    pub duration_us: i64,
}

impl UnitDistribution {
    /// The instant of a unit; for the unit past the last, the end of the record.
    pub fn instant(&self, unit: i64) -> Timestamp {
        Timestamp(self.flow().instant(unit))
    }

    /// Whether each unit is a microsecond of use.
    pub const fn counts_time(&self) -> bool {
        self.units == self.duration_us && self.units > 0
    }

    const fn flow(&self) -> UnitFlow {
        UnitFlow { quantity: self.units, start: self.start.micros(), duration: self.duration_us }
    }

    const fn of(flow: &UnitFlow) -> Self {
        Self { units: flow.quantity, start: Timestamp(flow.start), duration_us: flow.duration }
    }
}

/// Runs one operation and reports its work.
pub(crate) fn watched(
    placed: &Placed,
    run: &mut Evaluation<'_>,
    watch: &mut dyn Watch,
) -> Result<(), SuspenseReason> {
    let code = run.code;
    let Some(node) = code.nodes.get(placed.node) else {
        return placed.op.run(run);
    };
    let mut inputs = Vec::with_capacity(node.inputs.len());
    for (port, input) in &node.inputs {
        let is_fed = !input.slots.is_empty();
        // A measure that the record lacks is reported when the primitive itself reads it.
        let Ok(stream) = run.take(input) else { continue };
        if is_fed {
            inputs.push(carried(port, &stream, Some(UnitDistribution::of(&run.flow(input)))));
        }
        run.give(input, stream);
    }
    let counts_anew = node.role == Role::Recounts;
    let in_time = inputs.first().and_then(|input| input.in_time).filter(|_| !counts_anew);
    let (lines, changes) = (run.lines.len(), run.changes.len());
    let outcome = placed.op.run(run);
    let streams = &run.scratch.streams;
    let outputs = node.outputs.iter();
    let outputs =
        outputs.filter_map(|(port, slot)| Some(carried(port, streams.get(*slot)?, in_time)));
    let before = |entry: &StateEntry| StateEntry {
        value: run.state.get(entry.variable, entry.period).unwrap_or(0),
        ..*entry
    };
    let changed = run.changes.get(changes..).unwrap_or_default();
    watch.step(&PrimitiveStep {
        plan: run.plan,
        id: &node.id,
        kind: node.kind,
        line: node.line,
        inputs,
        outputs: outputs.collect(),
        lines: lines..run.lines.len(),
        booked: run.lines,
        changes: changed.iter().map(|entry| (before(entry), *entry)).collect(),
        refused: outcome
            .err()
            .map(|reason| Suspension { reason, detail: run.scratch.about.detail(reason) }),
    });
    outcome
}

fn carried<'a>(port: &'a str, stream: &Stream, in_time: Option<UnitDistribution>) -> PortUnits<'a> {
    PortUnits {
        port,
        in_time,
        spans: stream.spans.iter().map(|span| (span.first, span.end, span.copies)).collect(),
        empty_record: stream.zero_quantity,
    }
}
