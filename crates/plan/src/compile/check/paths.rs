//! Follows the paths through the graph. Charges that meet at an input must have the same currency.
//! A warning is given if one unit can reach an input by two paths
//! (docs/plan-semantics.md section 2).

use std::collections::BTreeSet;

use turnpike_types::Currency;

use super::wiring::{LinkSource, Wiring};
use crate::language::document::Document;
use crate::language::findings::{Cause, Findings};
use crate::language::graph::Primitive;
use crate::language::spec::{Carries, Role, Value};

/// The maximum number of links of one input that are compared pairwise.
const PAIRED_MAX: usize = 64;

/// Properties that all units at a port have.
#[derive(Clone, Debug, Default)]
pub(super) struct Certain {
    /// The filter outputs, as (primitive, output) indexes, that every unit at this port has passed.
    left_by: BTreeSet<(usize, usize)>,
    /// The usage types that the record can have; `None` for any.
    types: Option<BTreeSet<String>>,
}

impl Certain {
    /// The properties that the units of both ports have, for an input that both ports feed.
    fn either(self, other: &Self) -> Self {
        let types = match (self.types, &other.types) {
            (Some(one), Some(two)) => Some(one.union(two).cloned().collect()),
            _ => None,
        };
        Self { left_by: self.left_by.intersection(&other.left_by).copied().collect(), types }
    }

    /// Whether no unit can be at both ports.
    pub(super) fn excludes(&self, other: &Self) -> bool {
        self.excludes_types(other) || self.parted(other, |_| true)
    }

    /// Whether no record can have units at both ports. `parts_records` returns whether a primitive
    /// passes each record as a whole by one output.
    pub(super) fn excludes_record(
        &self,
        other: &Self,
        parts_records: impl Fn(usize) -> bool,
    ) -> bool {
        self.excludes_types(other) || self.parted(other, parts_records)
    }

    /// A copy without the usage types, for a comparison with types that another primitive derived.
    pub(super) fn without_types(&self) -> Self {
        Self { types: None, ..self.clone() }
    }

    fn excludes_types(&self, other: &Self) -> bool {
        matches!((&self.types, &other.types), (Some(one), Some(two)) if one.is_disjoint(two))
    }

    /// Whether the units of both ports left one primitive by different outputs. Only primitives for
    /// which `counts` returns true are considered.
    fn parted(&self, other: &Self, counts: impl Fn(usize) -> bool) -> bool {
        self.left_by.iter().filter(|(node, _)| counts(*node)).any(|&(node, output)| {
            other.left_by.range((node, 0)..=(node, usize::MAX)).any(|&(_, theirs)| theirs != output)
                && !other.left_by.contains(&(node, output))
        })
    }
}

/// The currency of the charges at a port, and whether a converter produced it.
type Denomination = (Currency, bool);

/// The results of the checks along paths.
pub(super) struct Paths {
    /// The properties of the units that enter each primitive, by index.
    pub(super) certain: Vec<Certain>,
    /// The currency of the charges that leave each primitive, by index.
    pub(super) charged: Vec<Currency>,
    /// The currency posted to the account: the same for every AccountFinalizer.
    pub(super) posts: Currency,
}

pub(super) fn check(
    document: &Document,
    primitives: &[Primitive],
    wiring: &Wiring,
    order: &[usize],
    findings: &mut Findings,
) -> Paths {
    let mut certain: Vec<Certain> = vec![Certain::default(); primitives.len()];
    let mut currencies: Vec<Option<Denomination>> = vec![None; primitives.len()];
    let mut posts: Option<Currency> = None;
    for &place in order {
        let Some((node, primitive)) = wiring.nodes.get(place).zip(primitives.get(place)) else {
            continue;
        };
        for (spec, ends) in node.spec.inputs.iter().zip(&node.inputs) {
            match spec.carries {
                Carries::Usage => {
                    let at = meet(ends, &certain, wiring, primitives, primitive, findings);
                    check_types(primitive, &at, findings);
                    // The outputs carry the units of the first input. An input that is `apart` may
                    // carry another measure, and its units do not reach the outputs.
                    if let Some(slot) = certain.get_mut(place).filter(|_| !spec.apart) {
                        *slot = at;
                    }
                }
                Carries::Charge => {
                    let found = gather(ends, &currencies, document, primitive, findings);
                    if let Some(slot) = currencies.get_mut(place) {
                        *slot = found;
                    }
                }
                Carries::Level => {}
            }
        }
        let own = |name| primitive.property(name).and_then(|text| text.parse().ok());
        let converts =
            node.spec.properties.iter().any(|p| matches!(p.value, Value::TargetCurrency));
        let stated = if converts { own("to").map(|to| (to, true)) } else { None };
        let stated = stated.or_else(|| own("currency").map(|own| (own, false)));
        if let (Some(stated), Some(slot)) = (stated, currencies.get_mut(place)) {
            *slot = Some(stated);
        }
        if matches!(node.spec.role, Role::Posts | Role::PostsElsewhere) {
            let (currency, converted) =
                currencies.get(place).copied().flatten().unwrap_or((document.currency, false));
            // Only postings to the record's account are compared, since the plan does not know the
            // currencies in which other accounts are billed.
            let own = node.spec.role == Role::Posts;
            let other = posts.filter(|other| own && *other != currency);
            if !converted && currency != document.currency {
                let message = format!(
                    "posts {currency}, but the plan is in {}: put a CurrencyConverter before it",
                    document.currency
                );
                mixed(primitive, message, findings);
            } else if let Some(other) = other {
                let message = format!("posts {currency} where another finalizer posts {other}");
                mixed(primitive, message, findings);
            }
            posts = posts.or(own.then_some(currency));
        }
    }
    let charged = currencies.iter().map(|known| known.map_or(document.currency, |(is, _)| is));
    let (charged, posts) = (charged.collect(), posts.unwrap_or(document.currency));
    Paths { certain, charged, posts }
}

fn mixed(primitive: &Primitive, message: String, findings: &mut Findings) {
    findings.error(primitive.line, Some(&primitive.id), Cause::MixedCurrencies, message);
}

/// Refuses a `UsageTypeSelector` if no unit at its input can have one of its types
/// (docs/architecture.md section 7).
fn check_types(primitive: &Primitive, certain: &Certain, findings: &mut Findings) {
    let (Some(taken), Some(known)) = (primitive.property("types"), &certain.types) else { return };
    if taken.split_whitespace().any(|taken| known.contains(taken)) || known.is_empty() {
        return;
    }
    let come: Vec<&str> = known.iter().map(String::as_str).collect();
    let message = format!(
        "types: only {} can reach this primitive, so no unit can pass: name one of them",
        come.join(", ")
    );
    findings.error(primitive.line, Some(&primitive.id), Cause::NothingPasses, message);
}

/// The properties of the units at an input. Warns when two of its links may bring the same unit.
fn meet(
    ends: &[LinkSource],
    certain: &[Certain],
    wiring: &Wiring,
    primitives: &[Primitive],
    primitive: &Primitive,
    findings: &mut Findings,
) -> Certain {
    let arrivals: Vec<Certain> =
        ends.iter().map(|end| leaving(*end, certain, wiring, primitives)).collect();
    // The comparison is quadratic in the links, so only the first `PAIRED_MAX` are compared.
    let twice = arrivals
        .iter()
        .take(PAIRED_MAX)
        .enumerate()
        .any(|(place, one)| arrivals.iter().skip(place + 1).any(|other| !one.excludes(other)));
    if twice {
        let message = "a unit can reach this input by two paths and is then counted twice";
        findings.warn(primitive.line, Some(&primitive.id), message);
    }
    let mut arrivals = arrivals.into_iter();
    let first = arrivals.next().unwrap_or_default();
    arrivals.fold(first, |all, one| all.either(&one))
}

fn leaving(
    end: LinkSource,
    certain: &[Certain],
    wiring: &Wiring,
    primitives: &[Primitive],
) -> Certain {
    let LinkSource::Port { node, output } = end else {
        return Certain::default();
    };
    let mut at = certain.get(node).cloned().unwrap_or_default();
    let Some((from, primitive)) = wiring.nodes.get(node).zip(primitives.get(node)) else {
        return at;
    };
    if from.spec.role == Role::Relabels {
        // A classifier replaces the usage type of the record by one of its own types.
        let said = primitive.children.iter().filter_map(|rule| rule.property("as"));
        let said = said.chain(primitive.property("default"));
        at.types = Some(said.map(str::to_owned).collect());
    }
    let usage_outputs = from.spec.outputs.iter().filter(|o| o.carries == Carries::Usage).count();
    if usage_outputs > 1 {
        at.left_by.insert((node, output));
    }
    let passes = from.spec.outputs.get(output).is_some_and(|o| o.name == "pass");
    if passes && let Some(types) = primitive.property("types") {
        let types: BTreeSet<String> = types.split_whitespace().map(str::to_owned).collect();
        at.types = Some(match at.types {
            Some(before) => before.intersection(&types).cloned().collect(),
            None => types,
        });
    }
    at
}

/// The currency of the charges that meet at an input. Records an error when there are two
/// currencies.
fn gather(
    ends: &[LinkSource],
    currencies: &[Option<Denomination>],
    document: &Document,
    primitive: &Primitive,
    findings: &mut Findings,
) -> Option<Denomination> {
    let of = |end: &LinkSource| match end {
        LinkSource::Port { node, .. } => currencies.get(*node).copied().flatten(),
        LinkSource::Source(_) => None,
    };
    let mut found = ends.iter().map(|end| of(end).unwrap_or((document.currency, false)));
    let first = found.next()?;
    if let Some((other, _)) = found.find(|(currency, _)| *currency != first.0) {
        let message =
            format!("charges in {} and {other} meet here: convert one of them first", first.0);
        mixed(primitive, message, findings);
    }
    Some(first)
}
