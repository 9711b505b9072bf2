//! Usage types: the record's own, or the type derived by the nearest classifier upstream.

use turnpike_plan::{Child, Plan, Primitive};
use turnpike_types::UsageRecord;

use super::naive::base;

/// The usage type of the units that reach a primitive.
pub(crate) fn type_at<'a>(plan: &'a Plan, record: &'a UsageRecord, at: &Primitive) -> &'a str {
    let link = &at.links("in")[0];
    if link.is_source() {
        return &record.usage_type;
    }
    let from = plan.primitive(&link.from).unwrap();
    let so_far = type_at(plan, record, from);
    if from.kind != "UsageTypeClassifier" {
        return so_far;
    }
    let rule = from.children.iter().find(|rule| holds(rule, record, so_far));
    rule.map_or_else(|| from.property("default"), |rule| rule.property("as")).unwrap()
}

fn holds(rule: &Child, record: &UsageRecord, so_far: &str) -> bool {
    let among = |words: &str, value: &str| words.split_whitespace().any(|word| word == value);
    let by_type = rule.property("type").is_none_or(|types| among(types, so_far));
    let by_text = rule.property("attribute").is_none_or(|name| {
        let value = record.attributes.get(name);
        value.is_some_and(|value| match rule.property("like") {
            Some(pattern) => is_like(value, pattern),
            None => among(rule.property("is").unwrap(), value),
        })
    });
    let by_measure = rule.property("measure").is_none_or(|name| {
        let value = match name {
            "duration" => Some(record.duration_us),
            "quantity" => record.quantity,
            name => record.measures.get(name).copied(),
        };
        value.map(i128::from).is_some_and(|value| {
            rule.property("above").is_none_or(|limit| value > base(limit))
                && rule.property("upto").is_none_or(|limit| value <= base(limit))
        })
    });
    by_type && by_text && by_measure
}

/// Whether a text matches a pattern. Tries every length of text that a star can match.
fn is_like(value: &str, pattern: &str) -> bool {
    let (Some(first), tail) = (pattern.chars().next(), pattern.get(1..).unwrap_or_default()) else {
        return value.is_empty();
    };
    match first {
        '*' => (0..=value.len()).any(|taken| is_like(&value[taken..], tail)),
        '?' => !value.is_empty() && is_like(&value[1..], tail),
        _ => value.starts_with(first) && is_like(&value[1..], tail),
    }
}
