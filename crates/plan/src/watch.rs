//! Watching a record go through the primitives one by one.

use turnpike_types::{SuspenseReason, Suspension, Timestamp};

use crate::code::Placed;
use crate::primitives::find;
use crate::rater::Line;
use crate::run::Run;
use crate::spec::Role;
use crate::state::StateEntry;
use crate::stream::{Flow, Stream};

/// Is told what each primitive did, in the order in which they run.
pub trait Watch {
    /// A primitive has run.
    fn step(&mut self, step: &Step<'_>);
}

/// What one primitive did with a record.
#[derive(Clone, Debug)]
pub struct Step<'a> {
    /// Index into the plans that were rated by.
    pub plan: u16,
    /// The primitive's id.
    pub id: &'a str,
    /// Its type.
    pub kind: &'a str,
    /// Its line in the plan's XML.
    pub line: u32,
    /// What came in by its usage inputs.
    pub inputs: Vec<Carried<'a>>,
    /// What left by the outputs that something takes.
    pub outputs: Vec<Carried<'a>>,
    /// Lines that it booked, by their indexes in the outcome.
    pub lines: std::ops::Range<usize>,
    /// All lines so far: a primitive may change where earlier ones post.
    pub booked: &'a [Line],
    /// Variables that it set: before, and after.
    pub changes: Vec<(StateEntry, StateEntry)>,
    /// Why it sent the record to suspense, if it did.
    pub refused: Option<Suspension>,
}

/// What one port carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried<'a> {
    /// The port.
    pub port: &'a str,
    /// Runs of units: from, to before, how many times each.
    pub spans: Vec<(i64, i64, i128)>,
    /// A record without units passed.
    pub empty_record: bool,
    /// How the units lie in time; `None` where nobody asked: of what left a primitive that counts
    /// anew, the next one tells.
    pub in_time: Option<InTime>,
}

/// How units lie in time: the record's, or those that it was counted anew as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InTime {
    /// All units of the record.
    pub units: i64,
    /// When the first one happens.
    pub start: Timestamp,
    /// From the first to the end of the last one.
    pub duration_us: i64,
}

impl InTime {
    /// When a unit happens; of the one past the last, when the record ends.
    pub fn instant(&self, unit: i64) -> Timestamp {
        Timestamp(self.flow().instant(unit))
    }

    /// Is each unit a microsecond of use?
    pub const fn counts_time(&self) -> bool {
        self.units == self.duration_us && self.units > 0
    }

    const fn flow(&self) -> Flow {
        Flow { quantity: self.units, start: self.start.micros(), duration: self.duration_us }
    }

    const fn of(flow: &Flow) -> Self {
        Self { units: flow.quantity, start: Timestamp(flow.start), duration_us: flow.duration }
    }
}

/// Runs one operation and tells what it did.
pub(crate) fn watched(
    placed: &Placed,
    run: &mut Run<'_>,
    watch: &mut dyn Watch,
) -> Result<(), SuspenseReason> {
    let code = run.code;
    let Some(node) = code.nodes.get(placed.node) else {
        return placed.op.run(run);
    };
    let mut inputs = Vec::with_capacity(node.inputs.len());
    for (port, input) in &node.inputs {
        let is_fed = !input.slots.is_empty();
        // A measure that the record lacks is told when the primitive asks for it itself.
        let Ok(stream) = run.take(input) else { continue };
        if is_fed {
            inputs.push(carried(port, &stream, Some(InTime::of(&run.flow(input)))));
        }
        run.give(input, stream);
    }
    let counts_anew = find(node.kind).is_some_and(|spec| spec.role == Role::Recounts);
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
    watch.step(&Step {
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

fn carried<'a>(port: &'a str, stream: &Stream, in_time: Option<InTime>) -> Carried<'a> {
    Carried {
        port,
        in_time,
        spans: stream.spans.iter().map(|span| (span.first, span.end, span.copies)).collect(),
        empty_record: stream.ghost,
    }
}
