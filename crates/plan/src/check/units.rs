//! One measure and one unit for each flow.
//!
//! Primitives joined by usage or level links count the same thing. `record.duration` is in
//! microseconds; what any other measure counts is told by the units written along its flow.

use super::wiring::{End, Wiring};
use crate::error::{Cause, Findings};
use crate::graph::Primitive;
use crate::measure::{Quantity, Unit, plural};
use crate::spec::{Carries, PropertySpec, Value};

/// What flows through each primitive, by its place.
pub(crate) struct Flows {
    /// The measure, by its place in [`Wiring::measures`]; 0 where no usage flows.
    pub(crate) measure: Vec<usize>,
    pub(crate) unit: Vec<Unit>,
}

impl Flows {
    pub(super) fn of(
        primitives: &[Primitive],
        wiring: &Wiring,
        order: &[usize],
        findings: &mut Findings,
    ) -> Self {
        let mut groups = Groups((0..wiring.nodes.len()).collect());
        let mut measure: Vec<Option<usize>> = vec![None; wiring.nodes.len()];
        for &place in order {
            let Some((node, primitive)) = wiring.nodes.get(place).zip(primitives.get(place)) else {
                continue;
            };
            let inputs = node.spec.inputs.iter().zip(&node.inputs);
            let ends = inputs
                .filter(|(spec, _)| spec.carries != Carries::Charge)
                .flat_map(|(_, ends)| ends);
            let mut mine: Option<usize> = None;
            for end in ends {
                let theirs = match *end {
                    End::Source(source) => Some(source),
                    End::Port { node, .. } => {
                        groups.join(place, node);
                        measure.get(node).copied().flatten()
                    }
                };
                if let (Some(one), Some(other)) = (mine, theirs)
                    && one != other
                {
                    let name = |at: usize| wiring.measures.get(at).map_or("", String::as_str);
                    let message = format!(
                        "units of record.{} and record.{} meet here: each measure has units of its own, keep them apart",
                        name(one),
                        name(other)
                    );
                    findings.error(primitive.line, Some(&primitive.id), Cause::WrongUnit, message);
                }
                mine = mine.or(theirs);
            }
            if let Some(slot) = measure.get_mut(place) {
                *slot = mine;
            }
        }
        let unit = units(primitives, wiring, &mut groups, &measure, findings);
        Self { measure: measure.into_iter().map(|m| m.unwrap_or(0)).collect(), unit }
    }
}

/// What is known of a group's unit, and from where.
#[derive(Clone)]
struct Known {
    unit: Unit,
    why: String,
}

fn units(
    primitives: &[Primitive],
    wiring: &Wiring,
    groups: &mut Groups,
    measure: &[Option<usize>],
    findings: &mut Findings,
) -> Vec<Unit> {
    let mut known: Vec<Option<Known>> = vec![None; primitives.len()];
    for (place, source) in measure.iter().enumerate() {
        let is_time =
            source.and_then(|at| wiring.measures.get(at)).is_some_and(|m| m == "duration");
        if is_time && let Some(slot) = known.get_mut(groups.of(place)) {
            *slot = Some(Known { unit: Unit::Microsecond, why: "record.duration".to_owned() });
        }
    }
    for (place, primitive) in primitives.iter().enumerate() {
        let Some(node) = wiring.nodes.get(place) else {
            continue;
        };
        let Some(slot) = known.get_mut(groups.of(place)) else {
            continue;
        };
        let mut mention = |line: u32, name: &str, text: &str| {
            let Ok(quantity) = Quantity::parse(text) else {
                return;
            };
            match slot {
                None => {
                    let why = format!("{name}=\"{text}\" on line {line}");
                    *slot = Some(Known { unit: quantity.unit, why });
                }
                Some(known) if known.unit == quantity.unit => {}
                Some(known) => {
                    let message = format!(
                        "{name}=\"{text}\" is in {}, but what flows here is in {} ({})",
                        plural(quantity.unit),
                        plural(known.unit),
                        known.why
                    );
                    findings.error(line, Some(&primitive.id), Cause::WrongUnit, message);
                }
            }
        };
        for (spec, text) in quantities(node.spec.properties, &primitive.properties) {
            mention(primitive.line, spec, text);
        }
        for child in &primitive.children {
            if let Some(known) = node.spec.children.iter().find(|spec| spec.name == child.kind) {
                for (spec, text) in quantities(known.properties, &child.properties) {
                    mention(child.line, spec, text);
                }
            }
        }
    }
    let unit =
        |place| known.get(groups.of(place)).and_then(Option::as_ref).map_or(Unit::One, |k| k.unit);
    (0..primitives.len()).map(unit).collect()
}

fn quantities<'a>(
    specs: &'a [PropertySpec],
    values: &'a std::collections::BTreeMap<String, String>,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    let specs = specs.iter().filter(|spec| matches!(spec.value, Value::Quantity));
    specs.filter_map(|spec| Some((spec.name, values.get(spec.name)?.as_str())))
}

/// Disjoint sets of primitives.
struct Groups(Vec<usize>);

impl Groups {
    fn of(&mut self, mut place: usize) -> usize {
        while let Some(&above) = self.0.get(place)
            && above != place
        {
            // Shorten the way for the next one.
            let next = self.0.get(above).copied().unwrap_or(above);
            if let Some(slot) = self.0.get_mut(place) {
                *slot = next;
            }
            place = above;
        }
        place
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.of(one), self.of(other));
        if let Some(slot) = self.0.get_mut(one) {
            *slot = other;
        }
    }
}
