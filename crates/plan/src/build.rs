//! A checked graph -> object code: places for streams, then each primitive builds its own code.

use crate::check::{Checked, End};
use crate::code::{
    Accepts, Component, ComponentKind, Measure, NodeInfo, ObjectCode, Placed, Slots, TableName,
    TrialParts, Variable,
};
use crate::document::Document;
use crate::error::{Cause, Findings};
use crate::graph::{Child, Primitive, SOURCE};
use crate::measure::{Decimal, Quantity, Unit};
use crate::price::{Price, fixed};
use crate::run::{Attribute, Calendared, ChargeOut, Input, Op, TableRef, Tell, Total, TypeOf};
use crate::spec::{Carries, OTHERS, Open, Refused, Role};
use crate::state::{Keep, VariableId};
use crate::tables::TableKind;
use turnpike_types::{Currency, Money};

/// Components of one plan: steps, constants and fixed charges.
const COMPONENTS_MAX: usize = 4096;

/// Whose charges come together somewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Whose {
    pub(crate) own: bool,
    pub(crate) others: bool,
}

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
    /// The place for the charges of each primitive's outputs, where somebody looks at them.
    charges: Vec<Vec<ChargeOut>>,
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
    // A place for what carries no usage would never be looked at.
    let mut slot_of = |output: &crate::spec::OutputSpec| match output.carries {
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
        trial: trial_parts(document, checked.posts, &mut components),
        components,
        variables: Vec::new(),
        accepts: accepts(primitives, checked),
        measures: measures.iter().map(|name| Measure::named(name)).collect(),
        counts: checked.flows.count,
        ops: Vec::new(),
        streams: next,
        traces: 0,
        charges: charge_places,
        told: primitives.iter().map(|_| None).collect(),
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
    builder.code.nodes = primitives.iter().enumerate().map(|(at, p)| builder.node(at, p)).collect();
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

/// Where the charges of each output go: to a place of their own when anything but adders stands
/// between them and the finalizer; and how many places there are.
fn charge_places(checked: &Checked) -> (Vec<Vec<ChargeOut>>, usize) {
    let nodes = &checked.wiring.nodes;
    let mut looked_at = vec![false; nodes.len()];
    // Takers stand later in the order, so backwards each knows its takers.
    for &place in checked.order.iter().rev() {
        let takers = nodes[place].takers.iter().flatten();
        looked_at[place] = takers.into_iter().any(|&taker| match nodes[taker].spec.role {
            Role::Gathers => looked_at[taker],
            Role::Posts => false,
            _ => nodes[taker].spec.inputs.iter().any(|input| input.carries == Carries::Charge),
        });
    }
    let mut count = 0;
    let mut of = |place: usize, output: &crate::spec::OutputSpec| {
        if output.carries != Carries::Charge || !looked_at[place] {
            return ChargeOut::Account;
        }
        count += 1;
        ChargeOut::Slot(count - 1)
    };
    let places = nodes.iter().enumerate();
    let outs = places
        .map(|(place, node)| node.spec.outputs.iter().map(|output| of(place, output)).collect())
        .collect();
    (outs, count)
}

/// What every plan has, in case that it becomes an alternative.
fn trial_parts(
    document: &Document,
    posts: Currency,
    components: &mut Vec<Component>,
) -> TrialParts {
    let mut component = |name: &str, price: &str| {
        components.push(Component {
            primitive: "option".to_owned(),
            component: name.to_owned(),
            kind: ComponentKind::Option,
            price: price.to_owned(),
            unit: Unit::One,
            level: None,
            currency: posts,
        });
        u16::try_from(components.len() - 1).unwrap_or(0)
    };
    let (sum, one_time) = (
        component("sum", "sum of its trial lines"),
        component("one-time", "sum of its one-time lines"),
    );
    let fee = component("fee", "fee per billing cycle");
    // Not names that a primitive can have: ids hold no slash at their end.
    let derive = |name, keep| VariableId::derive(&document.id, name, Unit::One, keep);
    TrialParts {
        running: derive("trial/", Keep::Horizon),
        once: derive("trial-once/", Keep::Horizon),
        state: VariableId::derive(&document.state, "state/", Unit::One, Keep::Ever),
        closed: derive("closed/", Keep::Ever),
        sum,
        one_time,
        fee,
    }
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

    /// Says what the primitive tells about a record.
    pub(crate) fn tells(&mut self, tell: impl Tell + 'static) {
        self.code.told[self.place] = Some(Box::new(tell));
    }

    /// Something of this primitive falls due by itself.
    pub(crate) fn is_swept(&mut self) {
        self.code.is_swept = true;
    }

    /// The primitive reads a variable to say what falls due next: whatever changes it moves dues.
    pub(crate) fn is_due_by(&mut self, variable: VariableId) {
        self.code.due_by.push(variable);
    }

    /// The primitive does something when a billing cycle closes.
    pub(crate) fn closes(&mut self) {
        self.code.closes = true;
    }

    /// A reference table that the primitive reads.
    pub(crate) fn table(&mut self, kind: TableKind, id: &str) -> TableRef {
        let name = TableName { kind, id: id.to_owned() };
        let known = self.code.tables.iter().position(|known| *known == name);
        TableRef(known.unwrap_or_else(|| {
            self.code.tables.push(name);
            self.code.tables.len() - 1
        }))
    }

    /// Where a text stands that the property `name` names.
    pub(crate) fn attribute(
        &mut self,
        line: u32,
        name: &str,
        text: &str,
    ) -> Result<Attribute, Refused> {
        let Some((whose, attribute)) = text.split_once('.') else {
            return Ok(Attribute::Record(text.into()));
        };
        match whose {
            SOURCE => return Ok(Attribute::Record(attribute.into())),
            "account" => return Ok(Attribute::Account(attribute.into())),
            _ => {}
        }
        let place = self.checked.wiring.places.get(whose).copied();
        let role = place.and_then(|at| Some(self.checked.wiring.nodes.get(at)?.spec.role));
        match (place, role) {
            (Some(place), Some(Role::Tells(told))) if told == attribute => {
                let tells = self.checked.wiring.nodes[self.place].spec.role;
                // What stands later in the order has not been built yet: it may ask back.
                if matches!(tells, Role::Tells(_)) && self.code.told[place].is_none() {
                    let message = format!(
                        "{name}: \"{whose}\" tells {attribute} by what comes after it, or by itself: link it before this primitive"
                    );
                    return Err(self.refuse(line, Cause::Cycle, message));
                }
                Ok(Attribute::Told(place))
            }
            _ => {
                let message = format!(
                    "{name}: no primitive \"{whose}\" tells {attribute}: write record.{text} for an attribute of the record"
                );
                Err(self.refuse(line, Cause::UnknownReference, message))
            }
        }
    }

    /// Who says of what type the units are that come in.
    pub(crate) fn type_of(&self) -> TypeOf {
        self.checked.flows.label[self.place].map_or(TypeOf::Record, TypeOf::Told)
    }

    /// The count of what leaves a primitive that counts units anew.
    pub(crate) fn leaving(&self) -> usize {
        self.checked.flows.leaving[self.place]
    }

    /// Where the charges of an output go.
    pub(crate) fn charge_out(&self, name: &str) -> ChargeOut {
        let node = &self.checked.wiring.nodes[self.place];
        let output = node.spec.output(name);
        let out = output.and_then(|output| self.charges[self.place].get(output));
        out.copied().unwrap_or(ChargeOut::Account)
    }

    /// The places of the charges that reach an input, through adders.
    pub(crate) fn charges(&self, name: &str) -> Box<[usize]> {
        let node = &self.checked.wiring.nodes[self.place];
        let mut slots = Vec::new();
        if let Some(index) = node.spec.input(name) {
            self.gather(self.place, index, &mut slots);
        }
        slots.sort_unstable();
        slots.into()
    }

    fn gather(&self, place: usize, input: usize, slots: &mut Vec<usize>) {
        // There is no cycle, and a charge is taken once: this ends.
        for end in self.checked.wiring.nodes[place].inputs.get(input).into_iter().flatten() {
            let End::Port { node, output } = *end else { continue };
            let spec = self.checked.wiring.nodes[node].spec;
            if spec.role == Role::Gathers {
                for (index, input) in spec.inputs.iter().enumerate() {
                    if input.carries == Carries::Charge {
                        self.gather(node, index, slots);
                    }
                }
            } else if let ChargeOut::Slot(slot) = self.charges[node][output] {
                slots.push(slot);
            }
        }
    }

    /// Whose charges reach an input: are some the account's own, and some those of other accounts?
    pub(crate) fn whose(&self, name: &str) -> Whose {
        let mut whose = Whose::default();
        if let Some(index) = self.checked.wiring.nodes[self.place].spec.input(name) {
            self.ask_whose(self.place, index, &mut whose);
        }
        whose
    }

    fn ask_whose(&self, place: usize, input: usize, whose: &mut Whose) {
        // There is no cycle, and a charge is taken once: this ends.
        for end in self.checked.wiring.nodes[place].inputs.get(input).into_iter().flatten() {
            let End::Port { node, output } = *end else { continue };
            let spec = self.checked.wiring.nodes[node].spec;
            let port = spec.outputs.get(output).map(|output| output.name);
            let passes = spec.inputs.iter().any(|input| input.carries == Carries::Charge);
            if spec.role == Role::Shares {
                *(if port == Some(OTHERS) { &mut whose.others } else { &mut whose.own }) = true;
            } else if passes {
                for (index, input) in spec.inputs.iter().enumerate() {
                    if input.carries == Carries::Charge {
                        self.ask_whose(node, index, whose);
                    }
                }
            } else {
                whose.own = true;
            }
        }
    }

    /// Refuses charges of other accounts at an input.
    pub(crate) fn only_own(&mut self, name: &str) -> Result<(), Refused> {
        if !self.whose(name).others {
            return Ok(());
        }
        let message = format!(
            "{name}: charges of other accounts come here, and only the account's own may: lead port {OTHERS} to a SecondAccountFinalizer"
        );
        Err(self.refuse(self.primitive.line, Cause::WrongAccount, message))
    }

    /// The currency of the charges that leave the primitive.
    pub(crate) fn charged(&self) -> Currency {
        self.checked.charged.get(self.place).copied().unwrap_or(self.document.currency)
    }

    /// The currency of the charges that the primitive makes of nothing but usage and time.
    pub(crate) fn currency(&mut self) -> Result<Currency, Refused> {
        match self.primitive.property("currency") {
            None => Ok(self.document.currency),
            Some(text) => self.read(self.primitive.line, "currency", crate::values::currency(text)),
        }
    }

    /// Decimals of the plan's rounding.
    pub(crate) fn digits(&self) -> u32 {
        self.document.rounding.digits
    }

    /// Do lines book differences of rounded running totals?
    pub(crate) fn rounds_running(&self) -> bool {
        self.document.rounding.running
    }

    /// The stream that a usage link brings.
    fn slot(&self, end: &End) -> usize {
        match *end {
            End::Source(measure) => measure,
            End::Port { node, output } => self.streams[node][output],
        }
    }

    fn node(&self, place: usize, primitive: &Primitive) -> NodeInfo {
        let node = &self.checked.wiring.nodes[place];
        let of = |carries| move |spec: &&'static crate::spec::InputSpec| spec.carries == carries;
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
        self.input_of(self.place, name)
    }

    /// Is anything linked to an input?
    pub(crate) fn is_fed(&self, name: &str) -> bool {
        !self.primitive.links(name).is_empty()
    }

    /// The id of a primitive that usage passes on its way to an input, of a type that is none of
    /// these; `None` when there is none.
    pub(crate) fn upstream_other_than(&self, name: &str, types: &[&str]) -> Option<String> {
        let nodes = &self.checked.wiring.nodes;
        let feeders = |place: usize, index: usize| {
            let ends = nodes.get(place).and_then(|node| node.inputs.get(index));
            ends.into_iter().flatten().filter_map(|end| match *end {
                End::Port { node, .. } => Some(node),
                End::Source(_) => None,
            })
        };
        let mut seen = vec![false; nodes.len()];
        let mut ahead: Vec<usize> =
            feeders(self.place, nodes.get(self.place)?.spec.input(name)?).collect();
        while let Some(place) = ahead.pop() {
            if std::mem::replace(seen.get_mut(place)?, true) {
                continue;
            }
            let spec = nodes.get(place)?.spec;
            if !types.contains(&spec.name) {
                return self.code.nodes.get(place).map(|node| node.id.clone());
            }
            let usage = spec.inputs.iter().enumerate().filter(|(_, i)| i.carries == Carries::Usage);
            ahead.extend(usage.flat_map(|(index, _)| feeders(place, index)));
        }
        None
    }

    fn input_of(&self, place: usize, name: &str) -> Input {
        let node = &self.checked.wiring.nodes[place];
        let index = node.spec.input(name);
        let ends = index.and_then(|index| node.inputs.get(index));
        let slots = ends.into_iter().flatten().map(|end| self.slot(end)).collect();
        let flows = &self.checked.flows.inputs[place];
        let flow = index.and_then(|index| flows.get(index)).copied().unwrap_or(0);
        Input { slots, flow }
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
        keep: Keep,
    ) -> Result<VariableId, Refused> {
        let id = &self.primitive.id;
        let primitive = step.map_or_else(|| id.clone(), |step| format!("{id}/{step}"));
        let id = VariableId::derive(&self.document.state, &primitive, unit, keep);
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
        let variable = self.variable(None, self.unit(), Keep::Horizon)?;
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
        let price = Price::new(amount, per.base, self.digits());
        price.ok_or_else(|| {
            self.refuse(line, Cause::BadValue, "price: it does not fit 128 bits per unit")
        })
    }

    /// A fixed amount, rounded by the plan's rule.
    pub(crate) fn money(&mut self, line: u32, name: &str, amount: &str) -> Result<Money, Refused> {
        let amount = self.read(line, name, Decimal::parse(amount))?;
        let money = fixed(amount, self.digits());
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
