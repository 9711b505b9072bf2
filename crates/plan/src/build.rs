//! A checked graph -> object code: places for streams, then each primitive builds its own code.

use crate::check::{Checked, End};
use crate::code::{Accepts, Component, ObjectCode, Variable};
use crate::document::Document;
use crate::error::{Cause, Findings};
use crate::graph::{Child, Primitive};
use crate::measure::{Decimal, Quantity, Unit};
use crate::price::{Price, fixed};
use crate::run::{Calendared, Input, Op, Total};
use crate::spec::{Carries, Open, Refused};
use crate::state::VariableId;
use turnpike_types::Money;

/// Components of one plan: steps, constants and fixed charges.
const COMPONENTS_MAX: usize = 4096;

/// What a primitive builds itself with.
pub(crate) struct Builder<'a> {
    document: &'a Document,
    checked: &'a Checked,
    findings: &'a mut Findings,
    /// The primitive being built.
    place: usize,
    primitive: &'a Primitive,
    /// The stream of each usage output of each primitive, by their places.
    streams: Vec<Vec<usize>>,
    totals: Vec<Option<Total>>,
    code: ObjectCode,
}

/// Compiles a checked graph; `None`, with findings, when a primitive refuses its properties.
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
    let nodes = checked.wiring.nodes.iter();
    let streams = nodes.map(|node| node.spec.outputs.iter().map(|_| slot()).collect()).collect();
    let code = ObjectCode {
        plan_id: document.id.clone(),
        version: document.version,
        starts: document.starts,
        currency: document.currency,
        components: Vec::new(),
        variables: Vec::new(),
        accepts: accepts(primitives, checked),
        measures: measures.iter().map(|name| name.as_str().into()).collect(),
        ops: Vec::new(),
        streams: next,
        traces: 0,
    };
    let totals = vec![None; primitives.len()];
    let mut builder =
        Builder { document, checked, findings, place: 0, primitive: first, streams, totals, code };
    for &place in &checked.order {
        let Some((primitive, node)) = primitives.get(place).zip(checked.wiring.nodes.get(place))
        else {
            continue;
        };
        (builder.place, builder.primitive) = (place, primitive);
        // A refusal is among the findings; the others may have more to say.
        let _refused = (node.spec.build)(primitive, &mut builder);
    }
    let Builder { code, findings, .. } = builder;
    findings.clean().then_some(code)
}

/// The usage types that the source's consumers take (PLANS section 2).
fn accepts(primitives: &[Primitive], checked: &Checked) -> Accepts {
    let mut types: Vec<Box<str>> = Vec::new();
    for (primitive, node) in primitives.iter().zip(&checked.wiring.nodes) {
        let fed = node.inputs.iter().flatten().any(|end| matches!(end, End::Source(_)));
        if !fed {
            continue;
        }
        let outputs = node.spec.outputs.iter().zip(&node.takers);
        let open = |(output, takers): (&crate::spec::OutputSpec, &Vec<usize>)| {
            matches!(output.open, Open::SourceFed) && takers.is_empty()
        };
        match primitive.property("types") {
            Some(taken) if outputs.into_iter().any(open) => {
                types.extend(taken.split_whitespace().map(Box::from));
            }
            _ => return Accepts::Everything,
        }
    }
    types.sort();
    types.dedup();
    Accepts::Types(types)
}

impl Builder<'_> {
    /// Adds the primitive's code.
    pub(crate) fn op(&mut self, op: impl Op + 'static) {
        self.code.ops.push(Box::new(op));
    }

    /// Says what is wrong.
    pub(crate) fn refuse(
        &mut self,
        line: u32,
        cause: Cause,
        message: impl Into<String>,
    ) -> Refused {
        self.findings.error(line, Some(&self.primitive.id), cause, message);
        Refused
    }

    /// Says what its author may not mean.
    pub(crate) fn warn(&mut self, line: u32, message: impl Into<String>) {
        self.findings.warn(line, Some(&self.primitive.id), message);
    }

    /// Where the units of a usage input come from.
    pub(crate) fn input(&self, name: &str) -> Input {
        let node = &self.checked.wiring.nodes[self.place];
        let ends = node.spec.input(name).and_then(|index| node.inputs.get(index));
        let slot = |end: &End| match *end {
            End::Source(measure) => measure,
            End::Port { node, output } => self.streams[node][output],
        };
        let slots = ends.into_iter().flatten().map(slot).collect();
        Input { slots, flow: self.checked.flows.measure[self.place] }
    }

    /// The stream of a usage output; `None` when nothing takes it.
    pub(crate) fn output(&self, name: &str) -> Option<usize> {
        let node = &self.checked.wiring.nodes[self.place];
        let output = node.spec.output(name)?;
        let taken = node.takers.get(output).is_some_and(|takers| !takers.is_empty());
        if taken { self.streams[self.place].get(output).copied() } else { None }
    }

    /// What one unit here is.
    pub(crate) fn unit(&self) -> Unit {
        self.checked.flows.unit[self.place]
    }

    /// A variable of this primitive, or with `step` of one of its steps.
    pub(crate) fn variable(
        &mut self,
        step: Option<&str>,
        unit: Unit,
    ) -> Result<VariableId, Refused> {
        let id = &self.primitive.id;
        let primitive = step.map_or_else(|| id.clone(), |step| format!("{id}/{step}"));
        let id = VariableId::derive(&self.document.id, &primitive, unit);
        if let Some(other) = self.code.variables.iter().find(|known| known.id == id) {
            let message = format!(
                "its state can't be told from that of \"{}\": choose another id",
                other.primitive
            );
            return Err(self.refuse(self.primitive.line, Cause::DuplicateId, message));
        }
        self.code.variables.push(Variable { id, primitive, unit });
        Ok(id)
    }

    /// Declares the primitive an accumulator: others may read its total.
    pub(crate) fn accumulator(&mut self, calendared: Calendared) -> Result<Total, Refused> {
        let variable = self.variable(None, self.unit())?;
        let total = Total { trace: self.code.traces, variable, calendared };
        self.code.traces += 1;
        self.totals[self.place] = Some(total);
        Ok(total)
    }

    /// Does anything read the primitive's level output?
    pub(crate) fn is_read(&self) -> bool {
        let node = &self.checked.wiring.nodes[self.place];
        let levels = node.spec.outputs.iter().zip(&node.takers);
        levels
            .into_iter()
            .any(|(output, takers)| output.carries == Carries::Level && !takers.is_empty())
    }

    /// The total that a level input reads; `None` when it is not connected.
    pub(crate) fn total(&self, name: &str) -> Option<Total> {
        let node = &self.checked.wiring.nodes[self.place];
        match node.spec.input(name).and_then(|index| node.inputs.get(index)?.first()) {
            Some(&End::Port { node, .. }) => self.totals.get(node).copied().flatten(),
            _ => None,
        }
    }

    /// Declares something that lines can be for.
    pub(crate) fn component(&mut self, line: u32, component: Component) -> Result<u16, Refused> {
        let index = self.code.components.len();
        let number = u16::try_from(index).ok().filter(|_| index < COMPONENTS_MAX);
        let Some(number) = number else {
            let message = format!("more than {COMPONENTS_MAX} steps and charges: split the plan");
            return Err(self.refuse(line, Cause::TooLarge, message));
        };
        self.code.components.push(component);
        Ok(number)
    }

    /// `amount` per `per`, as an exact price of one unit.
    pub(crate) fn price(&mut self, line: u32, amount: &str, per: &str) -> Result<Price, Refused> {
        let amount = self.read(line, "price", Decimal::parse(amount))?;
        let per = self.read(line, "per", Quantity::parse(per))?;
        if per.base == 0 {
            return Err(self.refuse(
                line,
                Cause::BadValue,
                "per: a price is per at least one unit, not 0",
            ));
        }
        let price = Price::new(amount, per.base, self.document.round_digits);
        price.ok_or_else(|| {
            self.refuse(line, Cause::BadValue, "price: it does not fit 128 bits per unit")
        })
    }

    /// A fixed amount, rounded by the plan's rule.
    pub(crate) fn money(&mut self, line: u32, name: &str, amount: &str) -> Result<Money, Refused> {
        let amount = self.read(line, name, Decimal::parse(amount))?;
        let money = fixed(amount, self.document.round_digits);
        money.ok_or_else(|| {
            self.refuse(line, Cause::BadValue, format!("{name}: it has more than 38 digits"))
        })
    }

    /// A value that was read, or a finding.
    pub(crate) fn read<T>(
        &mut self,
        line: u32,
        name: &str,
        read: Result<T, String>,
    ) -> Result<T, Refused> {
        read.map_err(|why| self.refuse(line, Cause::BadValue, format!("{name}: {why}")))
    }

    /// A required property of the primitive. Checked before, so absence is not the author's fault.
    pub(crate) fn property<'p>(
        &mut self,
        from: &'p Primitive,
        name: &str,
    ) -> Result<&'p str, Refused> {
        let found = from.property(name);
        found.ok_or_else(|| {
            self.refuse(from.line, Cause::MissingProperty, format!("{name} is missing"))
        })
    }

    /// A required property of an element within the primitive.
    pub(crate) fn child_property<'p>(
        &mut self,
        from: &'p Child,
        name: &str,
    ) -> Result<&'p str, Refused> {
        let found = from.property(name);
        found.ok_or_else(|| {
            self.refuse(from.line, Cause::MissingProperty, format!("{name} is missing"))
        })
    }
}
