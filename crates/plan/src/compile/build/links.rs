//! Resolution of links at compile time: the streams that a primitive reads and fills, and derived
//! attributes.

use super::builder::Builder;
use crate::compile::check::LinkSource;
use crate::language::findings::{Cause, Refused};
use crate::language::graph::SOURCE;
use crate::language::measure::Unit;
use crate::language::nearest::hint;
use crate::language::spec::{Carries, Role};
use crate::machine::code::Accepts;
use crate::machine::evaluation::places::{Attribute, Total, TypeOf, UsageInput};

impl Builder<'_> {
    /// The stream that a usage link reads.
    pub(super) fn slot(&self, end: &LinkSource) -> usize {
        match *end {
            LinkSource::Source(measure) => measure,
            LinkSource::Port { node, output } => self.streams[node][output],
        }
    }

    /// The streams that feed a usage input, and the index of the measure that they carry.
    pub(crate) fn input(&self, name: &str) -> UsageInput {
        self.input_of(self.place, name)
    }

    pub(super) fn input_of(&self, place: usize, name: &str) -> UsageInput {
        let node = &self.checked.wiring.nodes[place];
        let index = node.spec.input(name);
        let ends = index.and_then(|index| node.inputs.get(index));
        let slots = ends.into_iter().flatten().map(|end| self.slot(end)).collect();
        let flows = &self.checked.flows.inputs[place];
        let flow = index.map_or(0, |index| flows[index]);
        UsageInput { slots, flow }
    }

    /// The stream of a usage output; `None` when no primitive consumes it.
    pub(crate) fn output(&self, name: &str) -> Option<usize> {
        let node = &self.checked.wiring.nodes[self.place];
        let output = node.spec.output(name)?;
        let taken = node.takers.get(output).is_some_and(|takers| !takers.is_empty());
        if taken { self.streams[self.place].get(output).copied() } else { None }
    }

    /// Whether any link feeds the input.
    pub(crate) fn is_fed(&self, name: &str) -> bool {
        !self.primitive.links(name).is_empty()
    }

    /// The id of a primitive upstream of an input whose type is not in `types`; `None` when every
    /// upstream primitive has one of these types.
    pub(crate) fn upstream_other_than(&self, name: &str, types: &[&str]) -> Option<String> {
        let nodes = &self.checked.wiring.nodes;
        let feeders = |place: usize, index: usize| {
            let ends = nodes.get(place).and_then(|node| node.inputs.get(index));
            ends.into_iter().flatten().filter_map(|end| match *end {
                LinkSource::Port { node, .. } => Some(node),
                LinkSource::Source(_) => None,
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
                return self.document.primitives.get(place).map(|node| node.id.clone());
            }
            let usage = spec.inputs.iter().enumerate().filter(|(_, i)| i.carries == Carries::Usage);
            ahead.extend(usage.flat_map(|(index, _)| feeders(place, index)));
        }
        None
    }

    /// The source of the usage type of the incoming units: the record, or a classifier.
    pub(crate) fn type_of(&self) -> TypeOf {
        self.checked.flows.label[self.place].map_or(TypeOf::Record, TypeOf::Derived)
    }

    /// The index of the measure that leaves a primitive with the role [`Role::Recounts`].
    pub(crate) fn leaving(&self) -> usize {
        self.checked.flows.leaving[self.place]
    }

    /// Makes `output` an alias of the stream that feeds `input`, for a primitive that passes all
    /// units on unchanged, so that no units are copied. Returns `false` if several links feed the
    /// input, because their units are then in several streams.
    pub(crate) fn share(&mut self, input: &str, output: &str) -> bool {
        let (UsageInput { slots, .. }, output) =
            (self.input(input), self.checked.wiring.nodes[self.place].spec.output(output));
        let (&[slot], Some(output)) = (&*slots, output) else { return false };
        self.streams[self.place][output] = slot;
        true
    }

    /// Whether these usage types are the only ones that the plan accepts. If so, a record of
    /// another type never reaches the plan.
    pub(crate) fn accepts_only(&self, types: &[Box<str>]) -> bool {
        match &self.code.accepts {
            Accepts::Everything => false,
            Accepts::Types(accepted) => accepted.iter().all(|known| types.contains(known)),
        }
    }

    /// The unit that the primitive counts in.
    pub(crate) fn unit(&self) -> Unit {
        self.checked.flows.unit[self.place]
    }

    /// The total that a level input reads; `None` when the input is not connected.
    pub(crate) fn total(&self, name: &str) -> Option<Total> {
        let node = &self.checked.wiring.nodes[self.place];
        match node.spec.input(name).and_then(|index| node.inputs.get(index)?.first()) {
            Some(&LinkSource::Port { node, .. }) => self.totals.get(node).copied().flatten(),
            _ => None,
        }
    }

    /// Whether any primitive reads the level output of this primitive.
    pub(crate) fn is_read(&self) -> bool {
        let node = &self.checked.wiring.nodes[self.place];
        let levels = node.spec.outputs.iter().zip(&node.takers);
        levels
            .into_iter()
            .any(|(output, takers)| output.carries == Carries::Level && !takers.is_empty())
    }

    /// Resolves a reference to an attribute: `NAME` or `record.NAME`, `account.NAME`, or
    /// `PRIMITIVE.NAME` for an attribute that another primitive derives. `name` is the property
    /// that holds `text`.
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
            (Some(place), Some(Role::Derives(derived))) if derived == attribute => {
                let role = self.checked.wiring.nodes[self.place].spec.role;
                // A primitive later in the order is not built yet, and its attribute may depend on
                // the attribute of this primitive.
                if matches!(role, Role::Derives(_)) && self.code.derived[place].is_none() {
                    let message = format!(
                        "{name}: \"{whose}\" does not precede this primitive, so {whose}.{attribute} is unknown here: link it before this primitive"
                    );
                    return Err(self.refuse(line, Cause::Cycle, message));
                }
                Ok(Attribute::Derived(place))
            }
            _ => {
                let nodes = self.checked.wiring.nodes.iter().zip(&self.document.primitives);
                let derived: Vec<String> = nodes
                    .filter_map(|(node, primitive)| match node.spec.role {
                        Role::Derives(derived) => Some(format!("{}.{derived}", primitive.id)),
                        _ => None,
                    })
                    .collect();
                let hint = hint(text, derived.iter().map(String::as_str));
                let message = format!(
                    "{name}: no primitive \"{whose}\" derives {attribute}{hint}: write record.{text} for an attribute of the record"
                );
                Err(self.refuse(line, Cause::UnknownReference, message))
            }
        }
    }
}
