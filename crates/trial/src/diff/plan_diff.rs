//! The differences between two plans, as values.

use serde::Serialize;

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
