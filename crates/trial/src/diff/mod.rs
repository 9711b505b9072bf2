//! The differences between two plans, by primitive id (docs/plan-semantics.md section 6).
//!
//! Effective values are compared: parameters and omitted properties have their defaults. So a
//! changed default appears at the parameter and at every price that depends on it.

mod examples;
mod plan_diff;
mod state;
mod structure;
mod text;

use turnpike_plan::{ExpectedQuantity, ObjectCode, Plan, parse_amount};

pub use plan_diff::{Changed, PlanChange, PlanDiff, PriceChange};

/// Compares two plans.
pub fn diff(before: &Plan, after: &Plan) -> PlanDiff {
    let mut diff = PlanDiff {
        before: format!("{} version {}", before.id(), before.version()),
        after: format!("{} version {}", after.id(), after.version()),
        head: structure::head(before, after),
        parameters: structure::parameters(before, after),
        primitives: structure::primitives(before, after),
        examples: examples::examples(before, after),
        ..PlanDiff::default()
    };
    let compile = |plan: &Plan| turnpike_plan::compile(plan, &[].into());
    match (compile(before), compile(after)) {
        (Ok(old), Ok(new)) => {
            diff.prices = prices((before, &old), (after, &new));
            diff.warnings = state::warnings((before, &old), (after, &new));
        }
        (Err(errors), _) | (_, Err(errors)) => {
            diff.warnings.push(format!("prices and state could not be compared: {errors}"));
        }
    }
    if before.id() == after.id() {
        let losses = turnpike_plan::subscriber_losses(before, after);
        diff.warnings.extend(losses.iter().map(ToString::to_string));
    }
    diff.text_only = diff.is_empty() && before.content_hash() != after.content_hash();
    diff
}

/// The key of a component: primitive, component, and a number that distinguishes a step's unit
/// price from its constant, because both have the same ids.
type Key = (String, String, usize);

/// A price as written, and its currency.
type Price = (String, turnpike_types::Currency);

/// The prices of the plan's own primitives. The object code also has components for options and
/// bonuses, which belong to no primitive of the plan.
fn priced(plan: &Plan, code: &ObjectCode) -> Vec<(Key, Price)> {
    let mut counts = std::collections::BTreeMap::new();
    let key = |component: &turnpike_plan::Component| {
        let ids = (component.primitive.clone(), component.component.clone());
        let count = counts.entry(ids.clone()).or_insert(0);
        *count += 1;
        ((ids.0, ids.1, *count), (component.price.clone(), component.currency))
    };
    let own = code.components().iter();
    own.filter(|component| plan.primitive(&component.primitive).is_some()).map(key).collect()
}

fn prices(old: (&Plan, &ObjectCode), new: (&Plan, &ObjectCode)) -> Vec<PriceChange> {
    let both = structure::pairs(priced(old.0, old.1), priced(new.0, new.1));
    let changed = both.into_iter().filter(|(_, old, new)| match (old, new) {
        (Some(old), Some(new)) => old.1 != new.1 || !same_price(&old.0, &new.0),
        _ => true,
    });
    let named =
        |((primitive, component, _), before, after): (Key, Option<Price>, Option<Price>)| {
            let currencies = before.as_ref().zip(after.as_ref()).map(|(old, new)| (old.1, new.1));
            let moves = currencies.is_some_and(|(old, new)| old != new);
            // Prices are shown with their currency only if the currency changed.
            let told = |(price, currency): Price| match moves {
                true => format!("{currency} {price}"),
                false => price,
            };
            PriceChange { primitive, component, before: before.map(told), after: after.map(told) }
        };
    changed.map(named).collect()
}

/// Compares prices by value: `0.05 per 1 kB` equals `50.00 per 1 MB`.
fn same_price(one: &str, other: &str) -> bool {
    let read = |price: &str| {
        let (amount, per) = price.split_once(" per ")?;
        let per = ExpectedQuantity::parse(per).ok()?;
        Some((parse_amount(amount).ok()?.nanos(), per.base, per.unit))
    };
    let exact = read(one).zip(read(other)).and_then(|(one, other)| {
        let (left, right) = (one.0.checked_mul(other.1)?, other.0.checked_mul(one.1)?);
        Some(one.2 == other.2 && left == right)
    });
    exact.unwrap_or(one == other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_prices_in_other_units_are_no_difference() {
        assert!(same_price("0.05 per 1 kB", "50.00 per 1 MB"));
        assert!(same_price("20.00 per month", "20.00 per month"));
        for (one, other) in [
            ("1.00 per 1 h", "1.20 per 1 h"),
            ("1.00 per 1 h", "1.00 per 3600"),
            ("1.00 per 1", "1.00 once"),
        ] {
            assert!(!same_price(one, other), "{one} {other}");
        }
    }
}
