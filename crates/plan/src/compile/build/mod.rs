//! Code generation: compiles a checked graph to object code. Streams are numbered first, then each
//! primitive builds its own code.
//!
//! ```text
//! build()        numbers streams and charge slots, then builds the primitives in topological order
//!   whole.rs     what belongs to the whole plan: accepted types, sums for comparing alternatives
//!   Builder      the interface that a primitive builds its code with
//!     links.rs     streams, levels and derived attributes
//!     charges.rs   charge slots (buffers of lines), and the accounts whose charges they hold
//!     values.rs    properties: prices, amounts, components; an error for a wrong value
//! ```

mod charges;
mod links;
mod values;
mod whole;

use crate::compile::check::Checked;
use crate::language::document::Document;
use crate::language::findings::{Cause, Findings};
use crate::language::graph::Primitive;
use crate::language::measure::Unit;
use crate::language::spec::{Carries, Refused};
use crate::machine::code::{Measure, NodeInfo, ObjectCode, Placed, Slots, TableName, Variable};
use crate::machine::evaluation::{Calendared, ChargeOut, DerivedAttribute, Op, TableRef, Total};
use crate::machine::remembered::{Holds, Meaning, Per};
use crate::machine::state::{Keep, VariableId};
use crate::tables::TableKind;

use charges::charge_places;
use whole::{accepts, bonus_parts, tentative_parts};

/// The interface by which a primitive builds its code.
pub(crate) struct Builder<'a> {
    document: &'a Document,
    checked: &'a Checked,
    findings: &'a mut Findings,
    /// Index of the primitive that is being built.
    place: usize,
    primitive: &'a Primitive,
    /// The number of the stream of each usage output, by primitive and output index.
    streams: Vec<Vec<usize>>,
    /// The destination of the charges of each output, by primitive and output index.
    charges: Vec<Vec<ChargeOut>>,
    totals: Vec<Option<Total>>,
    code: ObjectCode,
}

/// Compiles a checked graph. Returns `None`, with the errors in `findings`, when a primitive
/// refuses its properties.
pub(crate) fn build(
    document: &Document,
    primitives: &[Primitive],
    checked: &Checked,
    findings: &mut Findings,
) -> Option<ObjectCode> {
    let first = primitives.first()?;
    let measures = &checked.wiring.measures;
    let mut next = measures.len();
    let mut slot = || {
        next += 1;
        next - 1
    };
    // An output that carries no usage has no stream; its number 0 is never read.
    let mut slot_of = |output: &crate::language::spec::OutputSpec| match output.carries {
        Carries::Usage => slot(),
        Carries::Charge | Carries::Level => 0,
    };
    let nodes = checked.wiring.nodes.iter();
    let streams = nodes.map(|node| node.spec.outputs.iter().map(&mut slot_of).collect()).collect();
    let (charges, charge_places) = charge_places(checked);
    let mut components = Vec::new();
    let code = ObjectCode {
        plan_id: document.id.clone(),
        version: document.version,
        starts: document.starts,
        currency: document.currency,
        posts: checked.posts,
        tentative: tentative_parts(document, checked.posts, &mut components),
        bonus: bonus_parts(checked.posts, &mut components),
        components,
        variables: Vec::new(),
        accepts: accepts(primitives, checked),
        measures: measures.iter().map(|name| Measure::named(name)).collect(),
        counts: checked.flows.count,
        ops: Vec::new(),
        streams: next,
        traces: 0,
        charges: charge_places,
        derived: primitives.iter().map(|_| None).collect(),
        tables: Vec::new(),
        is_swept: false,
        due_by: Vec::new(),
        closes: false,
        nodes: Vec::new(),
    };
    let totals = vec![None; primitives.len()];
    let mut builder = Builder {
        document,
        checked,
        findings,
        place: 0,
        primitive: first,
        streams,
        charges,
        totals,
        code,
    };
    for &place in &checked.order {
        let Some((primitive, node)) = primitives.get(place).zip(checked.wiring.nodes.get(place))
        else {
            continue;
        };
        (builder.place, builder.primitive) = (place, primitive);
        // The error is already in `findings`. Continue, since later primitives may have errors too.
        let _refused = (node.spec.build)(primitive, &mut builder);
    }
    let nodes = primitives.iter().enumerate().map(|(at, p)| builder.node(at, p)).collect();
    builder.code.nodes = nodes;
    let Builder { code, findings, .. } = builder;
    findings.clean().then_some(code)
}

impl Builder<'_> {
    /// Adds the operation that the primitive runs for each record.
    pub(crate) fn op(&mut self, op: impl Op + 'static) {
        let node = &self.checked.wiring.nodes[self.place];
        let ends = node.spec.inputs.iter().zip(&node.inputs);
        let usage = ends.filter(|(spec, _)| spec.carries == Carries::Usage);
        let mut reads = Slots::default();
        usage.flat_map(|(_, ends)| ends).for_each(|end| reads.add(self.slot(end)));
        let reads_charges = node.spec.inputs.iter().any(|i| i.carries == Carries::Charge);
        if reads_charges || reads == Slots::default() {
            reads = Slots::ALL;
        }
        let outputs = node.spec.outputs.iter().zip(&self.streams[self.place]);
        let mut fills = Slots::default();
        let usage = outputs.filter(|(spec, _)| spec.carries == Carries::Usage);
        usage.for_each(|(_, &slot)| fills.add(slot));
        self.code.ops.push(Placed { node: self.place, op: Box::new(op), reads, fills });
    }

    /// Declares that the primitive derives an attribute from each record.
    pub(crate) fn derives(&mut self, attribute: impl DerivedAttribute + 'static) {
        self.code.derived[self.place] = Some(Box::new(attribute));
    }

    /// Declares that charges of this primitive fall due without usage.
    pub(crate) fn is_swept(&mut self) {
        self.code.is_swept = true;
    }

    /// Declares a variable that determines when the next charge falls due: a change of its value
    /// may move due dates.
    pub(crate) fn is_due_by(&mut self, variable: VariableId) {
        self.code.due_by.push(variable);
    }

    /// Declares that the primitive acts when a billing cycle closes.
    pub(crate) fn closes(&mut self) {
        self.code.closes = true;
    }

    /// Declares a component that grants bonuses. `is_own` is whether it may grant them to the
    /// account itself.
    pub(crate) fn grants(&mut self, component: u16, is_own: bool) {
        self.code.bonus.credits.push(component);
        self.code.bonus.is_own |= is_own;
    }

    /// A reference to a reference table. Adds the table to the list of tables that the plan reads.
    pub(crate) fn table(&mut self, kind: TableKind, id: &str) -> TableRef {
        let name = TableName { kind, id: id.to_owned() };
        let known = self.code.tables.iter().position(|known| *known == name);
        TableRef(known.unwrap_or_else(|| {
            self.code.tables.push(name);
            self.code.tables.len() - 1
        }))
    }

    fn node(&self, place: usize, primitive: &Primitive) -> NodeInfo {
        let node = &self.checked.wiring.nodes[place];
        let of = |carries| {
            move |spec: &&'static crate::language::spec::InputSpec| spec.carries == carries
        };
        let inputs = node.spec.inputs.iter().filter(of(Carries::Usage));
        let outputs = node.spec.outputs.iter().zip(&node.takers).zip(&self.streams[place]);
        let outputs = outputs
            .filter(|((spec, takers), _)| spec.carries == Carries::Usage && !takers.is_empty());
        NodeInfo {
            id: primitive.id.clone(),
            kind: node.spec.name,
            line: primitive.line,
            inputs: inputs.map(|spec| (spec.name, self.input_of(place, spec.name))).collect(),
            outputs: outputs.map(|((spec, _), &slot)| (spec.name, slot)).collect(),
        }
    }

    /// Records an error.
    pub(crate) fn refuse(
        &mut self,
        line: u32,
        cause: Cause,
        message: impl Into<String>,
    ) -> Refused {
        self.findings.error(line, Some(&self.primitive.id), cause, message);
        Refused
    }

    /// Records a violation of a rule that is newer than some published plans, see
    /// [`Findings::refuse_since`].
    pub(crate) fn refuse_since(&mut self, line: u32, cause: Cause, message: impl Into<String>) {
        self.findings.refuse_since(line, Some(&self.primitive.id), cause, message);
    }

    /// The unit of a measure, if the plan declares it.
    pub(crate) fn declared(&self, measure: &str) -> Option<Unit> {
        self.document.measures.get(measure).map(|declared| declared.unit)
    }

    /// Whether the plan was published by a release that did not check telephone numbers by country.
    pub(crate) fn has_unchecked_numbers(&self) -> bool {
        self.document.has_unchecked_numbers
    }

    /// Records a warning.
    pub(crate) fn warn(&mut self, line: u32, message: impl Into<String>) {
        self.findings.warn(line, Some(&self.primitive.id), message);
    }

    /// Declares a variable that counts units, for this primitive or, if `step` is given, for one of
    /// its steps.
    pub(crate) fn variable(
        &mut self,
        step: Option<&str>,
        unit: Unit,
        keep: Keep,
    ) -> Result<VariableId, Refused> {
        let per = if keep == Keep::Intervals { Per::Interval } else { Per::Date };
        self.remember(step, unit, keep, Meaning::new(Holds::Units, per))
    }

    /// As [`Builder::variable`], for a variable whose values have another meaning.
    pub(crate) fn remember(
        &mut self,
        step: Option<&str>,
        unit: Unit,
        keep: Keep,
        meaning: Meaning,
    ) -> Result<VariableId, Refused> {
        let id = &self.primitive.id;
        let primitive = step.map_or_else(|| id.clone(), |step| format!("{id}/{step}"));
        let id = VariableId::derive(&self.document.state, &primitive, unit, keep);
        if let Some(other) = self.code.variables.iter().find(|known| known.id == id) {
            let message = format!(
                "its state has the same key as that of \"{}\": choose another id",
                other.primitive
            );
            return Err(self.refuse(self.primitive.line, Cause::DuplicateId, message));
        }
        self.code.variables.push(Variable { id, primitive, unit, meaning });
        Ok(id)
    }

    /// Declares that the primitive is an accumulator, whose total other primitives may read.
    pub(crate) fn accumulator(&mut self, calendared: Calendared) -> Result<Total, Refused> {
        let variable = self.variable(None, self.unit(), Keep::Horizon)?;
        let counts = match *self.input("in").slots {
            [slot] => Some(slot),
            _ => None,
        };
        let total = Total { trace: self.code.traces, variable, calendared, counts };
        self.code.traces += 1;
        self.totals[self.place] = Some(total);
        Ok(total)
    }
}
