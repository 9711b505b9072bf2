//! Determines the unit of the measure that flows through each primitive: time, bytes or a count.
//!
//! `record.duration` is in microseconds. For other measures the plan may declare the unit
//! (`<measure name="octets" unit="bytes"/>`). Without a declaration, the first quantity in a
//! property of a primitive that the measure reaches, such as `upto="5 GB"`, determines the unit. In
//! that case, the quantity must not be a time where `record.quantity`, or a measure named after
//! octets or bytes, flows: the counts would be read as microseconds.

use std::collections::BTreeMap;

use super::groups::Groups;
use super::wiring::{LinkSource, Wiring};
use crate::language::document::Document;
use crate::language::findings::{Cause, Findings};
use crate::language::graph::Primitive;
use crate::language::measure::{Quantity, Unit, is_of_bytes, plural};
use crate::language::spec::{PropertySpec, Value};

/// The unit of a group of primitives that are joined by links, and the reason for this unit, for
/// messages.
#[derive(Clone)]
struct Known {
    unit: Unit,
    why: String,
}

/// The unit that flows through each primitive, by index.
pub(super) fn units(
    document: &Document,
    primitives: &[Primitive],
    wiring: &Wiring,
    groups: &mut Groups,
    time: &[bool],
    findings: &mut Findings,
) -> Vec<Unit> {
    let mut flows =
        Flows { known: vec![None; primitives.len()], timeless: vec![None; primitives.len()] };
    for (place, &is_time) in time.iter().enumerate() {
        if is_time && let Some(slot) = flows.known.get_mut(groups.of(place)) {
            *slot = Some(Known { unit: Unit::Microsecond, why: "record.duration".to_owned() });
        }
    }
    for (place, primitive) in primitives.iter().enumerate() {
        for measure in sources(wiring, place) {
            flows.source(document, primitive, groups.of(place), measure, findings);
        }
    }
    for (place, primitive) in primitives.iter().enumerate() {
        let Some(node) = wiring.nodes.get(place) else { continue };
        let group = groups.of(place);
        for (name, text) in quantities(node.spec.properties, &primitive.properties) {
            flows.mention(primitive, group, (primitive.line, name, text), findings);
        }
        for child in &primitive.children {
            if let Some(known) = node.spec.children.iter().find(|spec| spec.name == child.kind) {
                for (name, text) in quantities(known.properties, &child.properties) {
                    flows.mention(primitive, group, (child.line, name, text), findings);
                }
            }
        }
    }
    flows.check_measures(primitives, wiring, groups, findings);
    let unit = |place| flows.known(groups.of(place)).map_or(Unit::One, |known| known.unit);
    (0..primitives.len()).map(unit).collect()
}

/// The measures that feed a primitive.
fn sources(wiring: &Wiring, place: usize) -> impl Iterator<Item = &str> {
    let ends = wiring.nodes.get(place).into_iter().flat_map(|node| node.inputs.iter().flatten());
    ends.filter_map(|end| match end {
        LinkSource::Source(measure) => wiring.measures.get(*measure).map(String::as_str),
        LinkSource::Port { .. } => None,
    })
}

fn quantities<'a>(
    specs: &'a [PropertySpec],
    values: &'a BTreeMap<String, String>,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    let specs = specs.iter().filter(|spec| matches!(spec.value, Value::Quantity));
    specs.filter_map(|spec| Some((spec.name, values.get(spec.name)?.as_str())))
}

/// What is known about each group of primitives that are joined by links, by group index.
struct Flows {
    known: Vec<Option<Known>>,
    /// A measure that feeds the group and does not count time.
    timeless: Vec<Option<String>>,
}

impl Flows {
    fn known(&self, group: usize) -> Option<&Known> {
        self.known.get(group).and_then(Option::as_ref)
    }

    /// Records a measure that feeds a group.
    fn source(
        &mut self,
        document: &Document,
        primitive: &Primitive,
        group: usize,
        measure: &str,
        findings: &mut Findings,
    ) {
        let Some(declared) = document.measures.get(measure) else {
            let timeless = measure == "quantity" || is_of_bytes(measure);
            if timeless && let Some(slot) = self.timeless.get_mut(group) {
                slot.get_or_insert_with(|| measure.to_owned());
            }
            return;
        };
        let why = format!("measure {measure}, declared on line {}", declared.line);
        match self.known.get_mut(group) {
            Some(slot @ None) => *slot = Some(Known { unit: declared.unit, why }),
            Some(Some(known)) if known.unit != declared.unit => {
                let message = format!(
                    "record.{measure} is declared in {}, but the units here are in {} ({})",
                    plural(declared.unit),
                    plural(known.unit),
                    known.why
                );
                findings.error(primitive.line, Some(&primitive.id), Cause::WrongUnit, message);
            }
            _ => {}
        }
    }

    /// Takes the unit of a quantity in a property as the unit of the primitive's group, or reports
    /// an error if it differs from the group's unit.
    fn mention(
        &mut self,
        primitive: &Primitive,
        group: usize,
        (line, name, text): (u32, &str, &str),
        findings: &mut Findings,
    ) {
        let Ok(quantity) = Quantity::parse(text) else { return };
        let Some(slot) = self.known.get_mut(group) else { return };
        match slot {
            None => {
                let timeless = self.timeless.get(group).and_then(Option::as_ref);
                if let Some(measure) = timeless.filter(|_| quantity.unit == Unit::Microsecond) {
                    let message = format!("{name}=\"{text}\" is a time, {}", no_time(measure));
                    findings.refuse_since(line, Some(&primitive.id), Cause::WrongUnit, message);
                }
                let why = format!("{name}=\"{text}\" on line {line}");
                *slot = Some(Known { unit: quantity.unit, why });
            }
            Some(known) if known.unit == quantity.unit => {}
            Some(known) => {
                let message = format!(
                    "{name}=\"{text}\" is in {}, but the units here are in {} ({})",
                    plural(quantity.unit),
                    plural(known.unit),
                    known.why
                );
                findings.error(line, Some(&primitive.id), Cause::WrongUnit, message);
            }
        }
    }

    /// Checks that each measure has one unit in the whole plan. Bare counts are exempt, and so is
    /// `record.quantity`: its unit depends on the usage type.
    fn check_measures(
        &self,
        primitives: &[Primitive],
        wiring: &Wiring,
        groups: &mut Groups,
        findings: &mut Findings,
    ) {
        let mut units: BTreeMap<&str, &Known> = BTreeMap::new();
        for (place, primitive) in primitives.iter().enumerate() {
            let known = self.known(groups.of(place)).filter(|known| known.unit != Unit::One);
            let Some(known) = known else { continue };
            for measure in sources(wiring, place).filter(|name| !matches!(*name, "quantity")) {
                let first = *units.entry(measure).or_insert(known);
                if first.unit != known.unit {
                    let message = format!(
                        "record.{measure} is in {} here ({}), and in {} elsewhere ({}): a measure has one unit",
                        plural(known.unit),
                        known.why,
                        plural(first.unit),
                        first.why
                    );
                    findings.refuse_since(
                        primitive.line,
                        Some(&primitive.id),
                        Cause::WrongUnit,
                        message,
                    );
                }
            }
        }
    }
}

/// The part of an error message that says why a property can't be a time where this measure flows.
pub(crate) fn no_time(measure: &str) -> String {
    match measure {
        "quantity" => "but record.quantity is no duration: link it to record.duration, or declare <measure name=\"quantity\" unit=\"time\"/> if records count microseconds".to_owned(),
        _ => format!("but record.{measure} counts bytes: write a size such as 1 GB, or link it to record.duration"),
    }
}
