//! What is different between two plans, by primitive id (docs/plan-semantics.md section 6).
//!
//! Values are compared as they are in force: parameters filled in with their defaults, omitted
//! properties at theirs. So another default shows at the parameter and at every price it makes.

mod examples;
mod state;
mod structure;
mod text;

use serde::Serialize;
use turnpike_plan::{ExpectedQuantity, ObjectCode, Plan, parse_amount};

/// Everything that is different between two plans.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PlanDiff {
    /// `ID version N`, the first plan.
    pub before: String,
    /// `ID version N`, the second plan.
    pub after: String,
    /// Of the plan itself: id, version, starts, currency, round, state, supersedes.
    pub head: Vec<Changed>,
    /// What a subscription may override.
    pub parameters: Vec<Change>,
    /// Nodes of the graph.
    pub primitives: Vec<Change>,
    /// Prices of a unit and fixed amounts, with the parameters' defaults.
    pub prices: Vec<PriceChange>,
    /// Examples, by name.
    pub examples: Vec<Change>,
    /// The documents differ only in comments, in their order, or in how examples are written.
    pub text_only: bool,
    /// What the second plan will not know of what the first one counted and charged.
    pub warnings: Vec<String>,
}

/// Something with an id that was added, removed or changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Its id.
    pub id: String,
    /// Its type, or the new one.
    pub kind: String,
    /// `added`, `removed` or `changed`.
    pub how: &'static str,
    /// What of it; for what was added or removed everything.
    pub details: Vec<Changed>,
}

/// One value that changed; `None` where there was, or is, none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// Which: `upto of step free`.
    pub what: String,
    /// In the first plan.
    pub before: Option<String>,
    /// In the second plan.
    pub after: Option<String>,
}

/// A price that changed; `None` where there was, or is, none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PriceChange {
    /// The primitive.
    pub primitive: String,
    /// Its step, or the charge's own id.
    pub component: String,
    /// In the first plan: `1.00 per 1 h`.
    pub before: Option<String>,
    /// In the second plan.
    pub after: Option<String>,
}

impl PlanDiff {
    /// Do both plans charge the same and remember the same? Their documents may still differ
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

/// What is different in `after`.
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
            diff.prices = prices(&old, &new);
            diff.warnings = state::warnings((before, &old), (after, &new));
        }
        (Err(errors), _) | (_, Err(errors)) => {
            diff.warnings.push(format!("prices and state could not be compared: {errors}"));
        }
    }
    diff.text_only = diff.is_empty() && before.content_hash() != after.content_hash();
    diff
}

/// A component's key: a step's unit price and its constant share ids, so their order tells.
type Key = (String, String, usize);

/// A price as written, and the currency that it is in.
type Price = (String, turnpike_types::Currency);

fn priced(code: &ObjectCode) -> Vec<(Key, Price)> {
    let mut counts = std::collections::BTreeMap::new();
    let key = |component: &turnpike_plan::Component| {
        let ids = (component.primitive.clone(), component.component.clone());
        let count = counts.entry(ids.clone()).or_insert(0);
        *count += 1;
        ((ids.0, ids.1, *count), (component.price.clone(), component.currency))
    };
    code.components().iter().map(key).collect()
}

fn prices(old: &ObjectCode, new: &ObjectCode) -> Vec<PriceChange> {
    let both = structure::pairs(priced(old), priced(new));
    let changed = both.into_iter().filter(|(_, old, new)| match (old, new) {
        (Some(old), Some(new)) => old.1 != new.1 || !same_price(&old.0, &new.0),
        _ => true,
    });
    let named =
        |((primitive, component, _), before, after): (Key, Option<Price>, Option<Price>)| {
            let currencies = before.as_ref().zip(after.as_ref()).map(|(old, new)| (old.1, new.1));
            let moves = currencies.is_some_and(|(old, new)| old != new);
            // The currency is said where it is another one.
            let told = |(price, currency): Price| match moves {
                true => format!("{currency} {price}"),
                false => price,
            };
            PriceChange { primitive, component, before: before.map(told), after: after.map(told) }
        };
    changed.map(named).collect()
}

/// `0.05 per 1 kB` is `50.00 per 1 MB`.
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
    fn a_price_is_what_it_comes_to() {
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
