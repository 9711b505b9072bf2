//! Differences in structure: the plan element, parameters, primitives and their children.

use std::collections::BTreeMap;

use turnpike_plan::{Child, Parameter, Plan, Primitive};

use super::plan_diff::{Changed, PlanChange};

/// Pairs the values of both plans by key: first the keys of the first plan, then those that only
/// the second plan has, each in the order of its plan.
pub(super) fn pairs<K: Ord + Clone, V>(
    before: Vec<(K, V)>,
    after: Vec<(K, V)>,
) -> Vec<(K, Option<V>, Option<V>)> {
    let order: Vec<K> = after.iter().map(|(key, _)| key.clone()).collect();
    let mut after: BTreeMap<K, V> = after.into_iter().collect();
    let mut pairs: Vec<_> = before
        .into_iter()
        .map(|(key, old)| {
            let new = after.remove(&key);
            (key, Some(old), new)
        })
        .collect();
    pairs.extend(order.into_iter().filter_map(|key| {
        let new = after.remove(&key)?;
        Some((key, None, Some(new)))
    }));
    pairs
}

/// The named values that differ.
pub(super) fn changed(before: Vec<(String, String)>, after: Vec<(String, String)>) -> Vec<Changed> {
    let both = pairs(before, after).into_iter();
    both.filter(|(_, before, after)| before != after)
        .map(|(what, before, after)| Changed { what, before, after })
        .collect()
}

/// The elements that differ, compared by type and values.
pub(super) fn changes<T>(
    before: impl Iterator<Item = (String, T)>,
    after: impl Iterator<Item = (String, T)>,
    kind: impl Fn(&T) -> String,
    details: impl Fn(Option<&T>, Option<&T>) -> Vec<Changed>,
) -> Vec<PlanChange> {
    let both = pairs(before.collect(), after.collect()).into_iter();
    both.filter_map(|(id, old, new)| {
        let how = match (&old, &new) {
            (None, _) => "added",
            (_, None) => "removed",
            _ => "changed",
        };
        let details = details(old.as_ref(), new.as_ref());
        let kind = new.as_ref().or(old.as_ref()).map(&kind).unwrap_or_default();
        (how != "changed" || !details.is_empty()).then_some(PlanChange { id, kind, how, details })
    })
    .collect()
}

fn named(values: &[(&str, String)]) -> Vec<(String, String)> {
    values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

pub(super) fn head(before: &Plan, after: &Plan) -> Vec<Changed> {
    let values = |plan: &Plan| {
        let mut values = named(&[
            ("id", plan.id().to_owned()),
            ("version", plan.version().to_string()),
            ("starts", plan.starts().to_string()),
            ("currency", plan.currency().to_string()),
            ("round", round(plan)),
            ("state", plan.state_of().to_owned()),
        ]);
        values.extend(plan.supersedes().map(|older| ("supersedes".to_owned(), older.to_string())));
        values
    };
    changed(values(before), values(after))
}

/// The rounding in the notation of a plan: `9 half-even`, `2 running`.
fn round(plan: &Plan) -> String {
    let how = if plan.rounds_running() { "running" } else { "half-even" };
    format!("{} {how}", plan.round_digits())
}

pub(super) fn parameters(before: &Plan, after: &Plan) -> Vec<PlanChange> {
    fn all(plan: &Plan) -> impl Iterator<Item = (String, &Parameter)> {
        plan.parameters().iter().map(|parameter| (parameter.id.clone(), parameter))
    }
    let values = |parameter: Option<&&Parameter>| {
        parameter.map_or_else(Vec::new, |p| {
            named(&[("type", p.kind.clone()), ("value", p.value.clone())])
        })
    };
    let details =
        |old: Option<&&Parameter>, new: Option<&&Parameter>| changed(values(old), values(new));
    changes(all(before), all(after), |_| "parameter".to_owned(), details)
}

pub(super) fn primitives(before: &Plan, after: &Plan) -> Vec<PlanChange> {
    fn all(plan: &Plan) -> impl Iterator<Item = (String, &Primitive)> {
        plan.primitives().iter().map(|primitive| (primitive.id.clone(), primitive))
    }
    let details = |old: Option<&&Primitive>, new: Option<&&Primitive>| {
        let mut details = changed(values(old), values(new));
        details.extend(children(old, new));
        details
    };
    changes(all(before), all(after), |primitive| primitive.kind.clone(), details)
}

/// The type, links and properties of a primitive, as pairs of name and value.
fn values(primitive: Option<&&Primitive>) -> Vec<(String, String)> {
    let Some(primitive) = primitive else { return Vec::new() };
    let kind = ("type".to_owned(), primitive.kind.clone());
    let inputs = primitive.inputs.iter().filter(|input| !input.links.is_empty()).map(|input| {
        let links = input.links.iter().map(|link| format!("{}.{}", link.from, link.port));
        (input.port.clone(), links.collect::<Vec<_>>().join(" "))
    });
    let properties = primitive.properties.iter().map(|(name, value)| (name.clone(), value.clone()));
    std::iter::once(kind).chain(inputs).chain(properties).collect()
}

/// The differences between the children of a primitive, matched by id, else by value or position.
fn children(old: Option<&&Primitive>, new: Option<&&Primitive>) -> Vec<Changed> {
    let (old, new) = (keyed(old), keyed(new));
    let order = reordered(&old, &new);
    let mut details = Vec::new();
    for (key, old, new) in pairs(old, new) {
        match (old, new) {
            (Some(old), Some(new)) => {
                let both = changed(properties(old), properties(new)).into_iter();
                details.extend(
                    both.map(|change| Changed {
                        what: format!("{} of {key}", change.what),
                        ..change
                    }),
                );
            }
            (old, new) => {
                details.push(Changed {
                    what: key,
                    before: old.map(written),
                    after: new.map(written),
                });
            }
        }
    }
    details.extend(order);
    details
}

fn keyed<'p>(primitive: Option<&&'p Primitive>) -> Vec<(String, &'p Child)> {
    let Some(primitive) = primitive else { return Vec::new() };
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    let key = |child: &'p Child| {
        let own = child.property("id").or_else(|| child.property("value"));
        let mut key = own.map_or_else(|| child.kind.clone(), |own| format!("{} {own}", child.kind));
        let count = counts.entry(key.clone()).or_insert(0);
        *count += 1;
        if *count > 1 || own.is_none() {
            key = format!("{key} #{count}");
        }
        (key, child)
    };
    primitive.children.iter().map(key).collect()
}

/// A change in the order of children; the order of steps and rules is significant.
fn reordered(old: &[(String, &Child)], new: &[(String, &Child)]) -> Option<Changed> {
    let in_both = |these: &[(String, &Child)], those: &[(String, &Child)]| -> Vec<String> {
        let known: std::collections::BTreeSet<&String> = those.iter().map(|(key, _)| key).collect();
        these.iter().map(|(key, _)| key).filter(|key| known.contains(key)).cloned().collect()
    };
    let (before, after) = (in_both(old, new), in_both(new, old));
    let text = |keys: &[String]| Some(keys.join(", "));
    let what = "order".to_owned();
    (before != after).then(|| Changed { what, before: text(&before), after: text(&after) })
}

fn properties(child: &Child) -> Vec<(String, String)> {
    child.properties.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn written(child: &Child) -> String {
    let properties = child.properties.iter().filter(|(name, _)| *name != "id");
    properties.map(|(name, value)| format!("{name}=\"{value}\"")).collect::<Vec<_>>().join(" ")
}
