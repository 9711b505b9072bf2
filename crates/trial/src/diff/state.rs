//! State of an old version that a new version would lose: counters, and variables that record
//! booked charges (docs/plan-semantics.md section 6). State is identified by plan id, primitive id
//! and unit, so a primitive with a new id starts without state.

use turnpike_plan::{ObjectCode, Plan, Primitive, Variable};
use turnpike_types::LineKind;

type Side<'a> = (&'a Plan, &'a ObjectCode);

pub(super) fn warnings(before: Side<'_>, after: Side<'_>) -> Vec<String> {
    if before.0.id() != after.0.id() {
        return other_plan(before, after);
    }
    before.1.variables().iter().filter_map(|variable| lost(variable, before, after)).collect()
}

fn other_plan(before: Side<'_>, after: Side<'_>) -> Vec<String> {
    if before.1.variables().is_empty() {
        return Vec::new();
    }
    let (old, new) = (before.0.id(), after.0.id());
    vec![format!(
        "these are two plans: {new} does not have the counters and charge marks of {old}, so every count \
         begins at zero and every charge is due again"
    )]
}

/// The reason why the new version loses this variable; `None` if the new version keeps it.
fn lost(variable: &Variable, before: Side<'_>, after: Side<'_>) -> Option<String> {
    let (id, step) = match variable.primitive.split_once('/') {
        Some((id, step)) => (id, Some(step)),
        None => (variable.primitive.as_str(), None),
    };
    let old = before.0.primitive(id)?;
    let begins = begins(before.1, id, step);
    if after.1.variables().iter().any(|known| known.id == variable.id) {
        if let Some(warning) = other_currency(variable, after.1) {
            return Some(warning);
        }
        let new = after.0.primitive(id)?;
        return (new.kind != old.kind).then(|| {
            let (was, is) = (&old.kind, &new.kind);
            format!("\"{id}\" is a {is} and was a {was}: where their periods differ, {begins}")
        });
    }
    let name = &variable.primitive;
    if let Some(known) = after.1.variables().iter().find(|known| known.primitive == *name) {
        let (was, is) = (variable.unit, known.unit);
        return Some(format!("\"{name}\" counts in {is} and counted in {was}: {begins}"));
    }
    if step.is_some() && after.0.primitive(id).is_some() {
        return Some(format!("\"{name}\" is removed; if it has another id now, {begins}"));
    }
    Some(match renamed(old, before.0, after.0) {
        Some(new) => format!(
            "\"{name}\" seems to be called \"{new}\" now: {begins}; call it \"{id}\" to keep its state"
        ),
        None => format!("\"{name}\" is removed; if it is added again under another id, {begins}"),
    })
}

/// The warning for a sum that would continue in another currency; `None` if the currency is the
/// same.
fn other_currency(variable: &Variable, after: &ObjectCode) -> Option<String> {
    let known = after.variables().iter().find(|known| known.id == variable.id)?;
    let (was, is) = variable.currency().zip(known.currency()).filter(|(was, is)| was != is)?;
    let name = &variable.primitive;
    Some(format!(
        "\"{name}\" sums in {is} and summed in {was}: the sum of a period that has begun continues \
         as if it were {is}; give \"{name}\" another id to begin at zero"
    ))
}

/// The consequence of lost state, as text.
fn begins(code: &ObjectCode, id: &str, step: Option<&str>) -> &'static str {
    let mut components = code.components().iter().filter(|component| component.primitive == id);
    match components.next().map(|component| component.kind) {
        Some(LineKind::OneTime | LineKind::Recurring) => {
            "its count begins at zero and it is charged again"
        }
        Some(LineKind::Usage) if step.is_some() => {
            "its count begins at zero and its constant is charged again"
        }
        _ => "its count begins at zero",
    }
}

/// The added primitive that probably is the removed primitive `old` under another id. Both have the
/// same type, and either they differ only in the id, or they are the only added and the only
/// removed primitive of this type.
fn renamed<'a>(old: &Primitive, before: &Plan, after: &'a Plan) -> Option<&'a str> {
    let of_kind = |these: &'a Plan, those: &Plan| -> Vec<&'a Primitive> {
        let added = these.primitives().iter().filter(|p| those.primitive(&p.id).is_none());
        added.filter(|p| p.kind == old.kind).collect()
    };
    let added = of_kind(after, before);
    let alike = added.iter().find(|new| {
        let children = |p: &Primitive| -> Vec<_> {
            p.children.iter().map(|child| child.properties.clone()).collect()
        };
        new.inputs == old.inputs
            && new.properties == old.properties
            && children(new) == children(old)
    });
    let removed = before.primitives().iter().filter(|p| after.primitive(&p.id).is_none());
    let alone = removed.filter(|p| p.kind == old.kind).count() == 1 && added.len() == 1;
    let only = added.first().filter(|_| alone);
    alike.or(only).map(|new| new.id.as_str())
}
