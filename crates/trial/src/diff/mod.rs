//! The differences between two plans, by primitive id (docs/plan-semantics.md section 6).
//!
//! Effective values are compared: parameters and omitted properties have their defaults. So a
//! changed default appears at the parameter and at every price that depends on it.

mod examples;
mod state;
mod structure;
mod text;

use serde::Serialize;
use turnpike_plan::{ExpectedQuantity, ObjectCode, Plan, parse_amount};

/// The differences between two plans.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PlanDiff {
    /// `ID version N`, the first plan.
    pub before: String,
    /// `ID version N`, the second plan.
    pub after: String,
    /// Differences of the plan element: id, version, starts, currency, round, state, supersedes.
    pub head: Vec<Changed>,
    /// Differences of parameters, which a subscription may override.
    pub parameters: Vec<PlanChange>,
    /// Differences of primitives, by id.
    pub primitives: Vec<PlanChange>,
    /// Differences of unit prices and fixed amounts, with the parameters' defaults.
    pub prices: Vec<PriceChange>,
    /// Differences of examples, by name.
    pub examples: Vec<PlanChange>,
    /// Whether the documents differ only in comments, in order, or in the notation of examples.
    pub text_only: bool,
    /// Warnings of state of the first plan that the second plan would lose: counters, and variables
    /// that record booked charges. If both are versions of one plan, also warnings of subscribed
    /// accounts that the second plan would not rate.
    pub warnings: Vec<String>,
}

/// An element with an id that was added, removed or changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlanChange {
    /// The id of the element.
    pub id: String,
    /// The type; if it changed, the new type.
    pub kind: String,
    /// `added`, `removed` or `changed`.
    pub how: &'static str,
    /// The changed values; all values of an added or removed element.
    pub details: Vec<Changed>,
}

/// A changed value; `None` for a plan that does not have the value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// The name of the value, such as `upto of step free`.
    pub what: String,
    /// The value in the first plan.
    pub before: Option<String>,
    /// The value in the second plan.
    pub after: Option<String>,
}

/// A changed price; `None` for a plan that does not have the price.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PriceChange {
    /// The id of the primitive that has the price.
    pub primitive: String,
    /// The id of the step or of the charge that has the price.
    pub component: String,
    /// The price in the first plan, such as `1.00 per 1 h`.
    pub before: Option<String>,
    /// The price in the second plan.
    pub after: Option<String>,
}

impl PlanDiff {
    /// Whether no element of the plans differs. Their documents may still differ
    /// ([`PlanDiff::text_only`]).
    pub fn is_empty(&self) -> bool {
        let Self { head, parameters, primitives, prices, examples, .. } = self;
        head.is_empty()
            && parameters.is_empty()
            && primitives.is_empty()
            && prices.is_empty()
            && examples.is_empty()
    }
}

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
