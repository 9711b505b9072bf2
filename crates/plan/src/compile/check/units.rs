//! The measure and unit of each flow, and the source of the usage type of its units.
//!
//! Primitives that are joined by usage or level links carry the same measure; `measures.rs`
//! determines its unit.

use super::groups::Groups;
use super::measures::units;
use super::wiring::{LinkSource, WiredPrimitive, Wiring};
use crate::language::document::Document;
use crate::language::findings::{Cause, Findings};
use crate::language::graph::Primitive;
use crate::language::measure::Unit;
use crate::language::spec::{Carries, Role};

/// The measures, units and usage types of the flows through each primitive, by index.
pub(crate) struct Flows {
    /// The measure that each input carries: an index into [`Wiring::measures`], or a larger number
    /// for the rounded-up measure that a `UsageIncrement` creates; 0 where no usage flows.
    pub(crate) inputs: Vec<Vec<usize>>,
    /// The measure that leaves each primitive, numbered as in `inputs`. It differs from the
    /// incoming measure only for a `UsageIncrement`.
    pub(crate) leaving: Vec<usize>,
    /// The number of measures: those of the record, and one for each `UsageIncrement`.
    pub(crate) count: usize,
    pub(crate) unit: Vec<Unit>,
    /// The primitive that derived the usage type; `None` if the usage type is the record's own.
    pub(crate) label: Vec<Option<usize>>,
}

impl Flows {
    pub(super) fn of(
        document: &Document,
        primitives: &[Primitive],
        wiring: &Wiring,
        order: &[usize],
        findings: &mut Findings,
    ) -> Self {
        let nodes = wiring.nodes.len();
        let mut flows = Self {
            inputs: wiring.nodes.iter().map(|node| vec![0; node.inputs.len()]).collect(),
            leaving: vec![0; nodes],
            count: wiring.measures.len(),
            unit: Vec::new(),
            label: vec![None; nodes],
        };
        let mut groups = Groups::singles(nodes);
        let mut leaving: Vec<Option<usize>> = vec![None; nodes];
        for &place in order {
            let Some((node, primitive)) = wiring.nodes.get(place).zip(primitives.get(place)) else {
                continue;
            };
            let own = flows.enter(place, node, primitive, wiring, &mut groups, &leaving, findings);
            flows.label[place] = flows.labelled(place, node, primitive, wiring, findings);
            leaving[place] = match node.spec.role {
                Role::Recounts if own.is_some() => {
                    flows.count += 1;
                    Some(flows.count - 1)
                }
                _ => own,
            };
        }
        let time = measured_in_time(wiring, &leaving, &flows);
        flows.unit = units(document, primitives, wiring, &mut groups, &time, findings);
        flows.leaving = leaving.into_iter().map(|count| count.unwrap_or(0)).collect();
        flows
    }

    /// Determines the measure of each input. Returns the first one found, as the measure of the
    /// primitive.
    #[allow(clippy::too_many_arguments)]
    fn enter(
        &mut self,
        place: usize,
        node: &WiredPrimitive,
        primitive: &Primitive,
        wiring: &Wiring,
        groups: &mut Groups,
        leaving: &[Option<usize>],
        findings: &mut Findings,
    ) -> Option<usize> {
        let mut own: Option<usize> = None;
        for (index, (spec, ends)) in node.spec.inputs.iter().zip(&node.inputs).enumerate() {
            if spec.carries == Carries::Charge {
                continue;
            }
            let mut mine = if spec.apart { None } else { own };
            for end in ends {
                let theirs = match *end {
                    LinkSource::Source(source) => Some(source),
                    LinkSource::Port { node, .. } => {
                        groups.join(place, node);
                        leaving.get(node).copied().flatten()
                    }
                };
                if let (Some(one), Some(other)) = (mine, theirs)
                    && one != other
                {
                    let message = format!(
                        "units of {} and {} meet here, which are different measures: link them to different primitives",
                        name_of(wiring, one),
                        name_of(wiring, other)
                    );
                    findings.error(primitive.line, Some(&primitive.id), Cause::WrongUnit, message);
                }
                mine = mine.or(theirs);
            }
            self.inputs[place][index] = mine.unwrap_or(0);
            own = own.or(mine);
        }
        own
    }

    /// The primitive that derived the usage type of the incoming units.
    fn labelled(
        &self,
        place: usize,
        node: &WiredPrimitive,
        primitive: &Primitive,
        wiring: &Wiring,
        findings: &mut Findings,
    ) -> Option<usize> {
        let inputs = node.spec.inputs.iter().zip(&node.inputs);
        let usage = inputs.filter(|(spec, _)| spec.carries == Carries::Usage);
        let mut said = usage.flat_map(|(_, ends)| ends).map(|end| match *end {
            LinkSource::Source(_) => None,
            LinkSource::Port { node, .. } => {
                match wiring.nodes.get(node).map(|node| node.spec.role) {
                    Some(Role::Relabels) => Some(node),
                    _ => self.label.get(node).copied().flatten(),
                }
            }
        });
        let first = said.next().flatten();
        if said.any(|other| other != first) && place < wiring.nodes.len() {
            let message = "units with a derived usage type meet units whose type was not derived, or was derived by another primitive: link them to different primitives";
            findings.error(primitive.line, Some(&primitive.id), Cause::WrongUnit, message);
        }
        first
    }
}

fn name_of(wiring: &Wiring, count: usize) -> String {
    match wiring.measures.get(count) {
        Some(measure) => format!("record.{measure}"),
        None => "a new count of units".to_owned(),
    }
}

/// For each primitive, whether `record.duration` or units derived from it flow through it.
fn measured_in_time(wiring: &Wiring, leaving: &[Option<usize>], flows: &Flows) -> Vec<bool> {
    let duration = wiring.measures.iter().position(|measure| measure == "duration");
    let is_duration = |count: Option<usize>| count.is_some() && count == duration;
    let of_input = |place: usize| {
        let inputs = flows.inputs.get(place).into_iter().flatten().copied();
        let node = wiring.nodes.get(place);
        let usage = node.into_iter().flat_map(|node| node.spec.inputs.iter().zip(&node.inputs));
        usage.zip(inputs).any(|((spec, ends), count)| {
            spec.carries == Carries::Usage && !ends.is_empty() && is_duration(Some(count))
        })
    };
    let measured = leaving.iter().enumerate();
    measured.map(|(place, count)| is_duration(*count) || of_input(place)).collect()
}
