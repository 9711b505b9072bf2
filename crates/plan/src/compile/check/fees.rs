//! Warns if one record may be charged two connection fees.
//!
//! Each rater that receives units of a record charges its fee. Filters split a record between
//! raters, so a call that continues into peak time may be charged the fees of two raters. The
//! plan's author states by `fee-per` whether that is intended.

use super::paths::Certain;
use super::wiring::{WiredPrimitive, Wiring};
use crate::language::findings::Findings;
use crate::language::graph::Primitive;
use crate::language::measure::Decimal;

/// The property by which the author states whether each rater of a call charges its fee.
pub(crate) const PROPERTY: &str = "fee-per";

/// A rater that may charge a fee once per record.
struct FeeRater<'a> {
    place: usize,
    primitive: &'a Primitive,
}

impl FeeRater<'_> {
    fn says(&self) -> Option<&str> {
        self.primitive.property(PROPERTY)
    }
}

pub(super) fn check(
    primitives: &[Primitive],
    wiring: &Wiring,
    labels: &[Option<usize>],
    certain: &[Certain],
    findings: &mut Findings,
) {
    let all = primitives.iter().zip(&wiring.nodes).enumerate();
    let raters: Vec<FeeRater<'_>> = all
        .filter(|(_, (primitive, node))| may_charge(primitive, node))
        .map(|(place, (primitive, _))| FeeRater { place, primitive })
        .collect();
    for (later, rater) in raters.iter().enumerate() {
        if rater.primitive.kind == "StepRater" && rater.says().is_none() {
            warn_of_steps(rater.primitive, findings);
        }
        let earlier = raters.iter().take(later);
        let meets = |one: &FeeRater<'_>| -> Option<String> {
            let (mine, theirs) = (certain.get(rater.place)?, certain.get(one.place)?);
            // Usage types that different classifiers derive can't be compared.
            let same = labels.get(rater.place) == labels.get(one.place);
            let theirs = if same { theirs.clone() } else { theirs.without_types() };
            if mine.excludes_record(&theirs, |place| parts_records(primitives, place)) {
                return None;
            }
            message(rater, one, mine.excludes(&theirs))
        };
        // One warning per rater is enough.
        if let Some(message) = earlier.filter_map(meets).next() {
            findings.warn(rater.primitive.line, Some(&rater.primitive.id), message);
        }
    }
}

/// Whether the primitive may charge a fee once per record. The fees of a dial plan may change with
/// each version of its table, so a dial plan rater always may.
fn may_charge(primitive: &Primitive, node: &WiredPrimitive) -> bool {
    match node.spec.name {
        "E164DialPlanRater" => true,
        "StepRater" => primitive.links("level").is_empty() && constants(primitive).count() > 0,
        _ => false,
    }
}

/// The ids of the steps whose constant is not zero.
fn constants(primitive: &Primitive) -> impl Iterator<Item = &str> {
    let is_fee = |text: &str| Decimal::parse(text).is_ok_and(|amount| amount.digits != 0);
    let steps = primitive.children.iter();
    let charging = steps.filter(move |step| step.property("constant").is_some_and(is_fee));
    charging.filter_map(|step| step.property("id"))
}

/// Whether all units of a record leave this primitive by the same port.
fn parts_records(primitives: &[Primitive], place: usize) -> bool {
    primitives.get(place).is_some_and(|primitive| match primitive.kind.as_str() {
        "UsageTypeSelector" => true,
        "ThresholdFilter" => primitive.property("on") == Some("record"),
        _ => false,
    })
}

/// The warning for two raters that may both receive units of one record.
fn message(rater: &FeeRater<'_>, other: &FeeRater<'_>, never_one_unit: bool) -> Option<String> {
    let name = &other.primitive.id;
    match (rater.says(), other.says()) {
        (Some("call"), Some("call")) if never_one_unit => None,
        (Some("call"), Some("call")) => Some(format!(
            "a record's first unit may reach both this rater and \"{name}\", and both charge their fee (setup, constant) for it: link the two to different ports of one filter, or write fee-per=\"rater\" if both fees are intended"
        )),
        (Some(_), Some(_)) => None,
        _ => Some(format!(
            "units of one record may reach both this rater and \"{name}\", and each charges its own fee (setup, constant): write fee-per=\"call\" in both to charge one fee per call, or fee-per=\"rater\" in both if both are intended"
        )),
    }
}

/// Warns that one record may be charged the constants of several steps. Without a level, the
/// constant of each step that a record reaches is charged.
fn warn_of_steps(primitive: &Primitive, findings: &mut Findings) {
    let mut steps = constants(primitive);
    if let (Some(first), Some(second)) = (steps.next(), steps.next()) {
        let message = format!(
            "a record that reaches step {second} is charged the constants of {first} and {second}: write fee-per=\"call\" to charge only the constant of the step in which it begins, or fee-per=\"rater\" if each is intended"
        );
        findings.warn(primitive.line, Some(&primitive.id), message);
    }
}
