//! Compares the rated records and due charges with the expectations: every expected charge line
//! must occur, and every charge line that occurs must be expected, except replaced and tentative
//! lines.

use std::collections::BTreeMap;

use turnpike_plan::{Expectation, Expected, ExpectedQuantity, Plan, Subject, Tolerance};
use turnpike_types::Money;

use super::case::Case;
use super::found::{ExampleResults, FoundLines, Sum};
use super::report::{Difference, ExampleReport};

/// With `tolerance="per-line"`, the permitted difference of a sum for each of its lines, in half
/// units of the ninth decimal: rounding changes a line by at most half a unit.
const HALF_NANOS_PER_LINE: u128 = 1;

pub(crate) fn compare(
    plan: &Plan,
    case: &Case<'_>,
    found: &ExampleResults,
    report: &mut ExampleReport,
) {
    let mut claims = Claims::of(case, found);
    for (place, expectation) in case.expectations.iter().enumerate() {
        let at = case.place(expectation.line);
        let mut differs = |component: Option<&String>, expected: String, found: String| {
            let difference = Difference::at(at.clone(), Some(&expectation.of));
            let component = component.cloned();
            report.differs(Difference { component, expected, found, ..difference });
        };
        let came = found.subjects.get(&expectation.of);
        if let Some(wrong) = came.and_then(|came| wrong_lateness(expectation, came)) {
            differs(None, wrong.0, wrong.1);
        }
        match &expectation.expected {
            Expected::Suspended(reason) => {
                let outcome = came.map_or_else(|| nothing(&expectation.of), outcome);
                if came.and_then(|came| came.suspended) != Some(*reason) {
                    differs(None, format!("suspended, {reason}"), outcome);
                }
            }
            Expected::Lines { component, quantity, amount, .. } => match claims.sum(place) {
                Some(sum) => {
                    let tolerance = case.example.tolerance;
                    for (expected, came) in different(&sum, quantity.as_ref(), *amount, tolerance) {
                        differs(Some(component), expected, came);
                    }
                }
                None => {
                    let why = match came {
                        Some(came) => missing(plan, came, component),
                        None => nothing(&expectation.of),
                    };
                    differs(Some(component), said(quantity.as_ref(), *amount), why);
                }
            },
        }
    }
    claims.unexpected(case, report);
    totals(case, found, report);
}

/// The text for a record that is not in the usage, or a date without due charges.
fn nothing(of: &Subject) -> String {
    match of {
        Subject::Record(_) => "no such record in the usage".to_owned(),
        Subject::Due(_) => "nothing that fell due".to_owned(),
    }
}

/// The expected and the found lateness of a record; `None` if they are equal or none is expected.
fn wrong_lateness(expectation: &Expectation, came: &FoundLines) -> Option<(String, String)> {
    let word = |late: bool| if late { "late" } else { "in time" };
    let expected = expectation.late.filter(|expected| *expected != came.late)?;
    Some((format!("it to be {}", word(expected)), format!("it is {}", word(came.late))))
}

/// The expectations that were matched with sums of charge lines.
struct Claims<'a> {
    /// The sum that each expectation matches, by the index of the expectation.
    sums: Vec<Option<Sum>>,
    unclaimed: Vec<(&'a Subject, &'a FoundLines, &'a Sum)>,
    found: &'a ExampleResults,
}

/// An expectation of lines: its index, component and posting.
type Wanted<'e> = (usize, &'e str, Option<&'static str>);

impl<'a> Claims<'a> {
    fn of(case: &Case<'_>, found: &'a ExampleResults) -> Self {
        let mut by_subject: BTreeMap<&Subject, Vec<Wanted<'_>>> = BTreeMap::new();
        for (place, Expectation { of, expected, .. }) in case.expectations.iter().enumerate() {
            if let Expected::Lines { component, posting, .. } = expected {
                by_subject.entry(of).or_default().push((place, component, *posting));
            }
        }
        let mut claims =
            Self { sums: vec![None; case.expectations.len()], unclaimed: Vec::new(), found };
        for (subject, lines) in &found.subjects {
            let expected = by_subject.get(subject).map_or(&[][..], Vec::as_slice);
            for sum in &lines.sums {
                let places = claimants(expected, sum);
                if places.is_empty() && sum.stands() {
                    claims.unclaimed.push((subject, lines, sum));
                }
                places.into_iter().for_each(|place| claims.claim(place, sum));
            }
        }
        claims
    }

    fn claim(&mut self, place: usize, sum: &Sum) {
        if let Some(held) = self.sums.get_mut(place) {
            *held = Some(match held.take() {
                Some(held) => held.with(sum),
                None => sum.clone(),
            });
        }
    }

    fn sum(&mut self, place: usize) -> Option<Sum> {
        self.sums.get_mut(place)?.take()
    }

    /// Reports lines and suspended records that no expectation matches.
    fn unexpected(&self, case: &Case<'_>, report: &mut ExampleReport) {
        for (subject, lines, sum) in &self.unclaimed {
            report.differs(Difference {
                component: Some(qualified(sum)),
                expected: "nothing".to_owned(),
                found: shown(sum),
                ..Difference::at(lines.at.clone(), Some(subject))
            });
        }
        for (subject, lines) in &self.found.subjects {
            let named = case.expectations.iter().any(|expectation| {
                expectation.of == *subject
                    && (matches!(subject, Subject::Record(_))
                        || matches!(expectation.expected, Expected::Suspended(_)))
            });
            if lines.suspended.is_some() && !named {
                let expected = match subject {
                    Subject::Record(_) => "it to be rated",
                    Subject::Due(_) => "it to be booked",
                };
                report.differs(Difference {
                    expected: expected.to_owned(),
                    found: outcome(lines),
                    ..Difference::at(lines.at.clone(), Some(subject))
                });
            }
        }
    }
}

/// The indices of the expectations that match a sum. Expectations in the form PRIMITIVE/COMPONENT
/// take precedence over those that name only the component.
fn claimants(expected: &[Wanted<'_>], sum: &Sum) -> Vec<usize> {
    let by_name = |name: &str| -> Vec<usize> {
        let fits = |posting: Option<&str>| match posting {
            Some(posting) => posting == sum.posting,
            None => sum.stands(),
        };
        let named =
            expected.iter().filter(|(_, wanted, posting)| *wanted == name && fits(*posting));
        named.map(|(place, ..)| *place).collect()
    };
    let full = by_name(&qualified(sum));
    if full.is_empty() { by_name(&sum.component) } else { full }
}

fn qualified(sum: &Sum) -> String {
    if sum.primitive == sum.component {
        return sum.component.clone();
    }
    format!("{}/{}", sum.primitive, sum.component)
}

/// The differences, each with the expected and the found value.
fn different(
    sum: &Sum,
    quantity: Option<&ExpectedQuantity>,
    amount: Option<Money>,
    tolerance: Tolerance,
) -> Vec<(String, String)> {
    let mut differences = Vec::new();
    if let Some(expected) = quantity.filter(|expected| !same_quantity(expected, sum)) {
        differences.push((format!("quantity {}", expected.text), shown_quantity(sum)));
    }
    if let Some(expected) = amount.filter(|expected| !same_amount(*expected, sum, tolerance)) {
        differences.push((format!("amount {expected}"), shown_amount(sum)));
    }
    differences
}

const TOO_LARGE: &str = "more than 128 bits";

/// Whether an expected quantity equals a sum's quantity. Zero is equal in all units.
fn same_quantity(expected: &ExpectedQuantity, sum: &Sum) -> bool {
    let unit = expected.base == 0 || expected.unit.is_none_or(|unit| unit == sum.unit);
    unit && sum.quantity == Some(expected.base)
}

fn same_amount(expected: Money, sum: &Sum, tolerance: Tolerance) -> bool {
    let half_nanos = match tolerance {
        Tolerance::Exact => 0,
        Tolerance::PerLine => HALF_NANOS_PER_LINE * u128::from(sum.lines),
    };
    // An amount has at most 38 digits, so twice a tolerable difference never overflows.
    let difference = sum.nanos.and_then(|nanos| nanos.checked_sub(expected.nanos()));
    difference.is_some_and(|nanos| nanos.unsigned_abs().saturating_mul(2) <= half_nanos)
}

fn totals(case: &Case<'_>, found: &ExampleResults, report: &mut ExampleReport) {
    let currency = case.example.settings.currency;
    for (total, sums) in case.totals.iter().zip(&found.totals) {
        let came = sums.iter().find(|(known, _)| *known == currency);
        let came = came.map_or(Some(Money::ZERO), |(_, sum)| *sum);
        if came != Some(total.amount) {
            let found = came.map_or_else(|| TOO_LARGE.to_owned(), |sum| sum.to_string());
            let expected = format!("a total of {1} for account {0}", total.account, total.amount);
            report.fails(Some(&case.place(total.line.into())), expected, found);
        }
    }
}

/// The reason why an expected line is missing, as text.
fn missing(plan: &Plan, came: &FoundLines, component: &str) -> String {
    if came.suspended.is_some() {
        return outcome(came);
    }
    let (primitive, step) = match component.split_once('/') {
        Some((primitive, step)) => (Some(primitive), step),
        None => (None, component),
    };
    let names = |p: &turnpike_plan::Primitive| {
        let own = p.id == step || p.children.iter().any(|c| c.property("id") == Some(step));
        primitive.map_or(own, |id| p.id == id)
    };
    if plan.primitives().iter().any(names) {
        "no line".to_owned()
    } else {
        "no line: the plan has no such step or charge".to_owned()
    }
}

fn outcome(came: &FoundLines) -> String {
    match came.suspended {
        Some(reason) => format!("suspended, {reason}"),
        None => "rated".to_owned(),
    }
}

/// An expectation as text.
fn said(quantity: Option<&ExpectedQuantity>, amount: Option<Money>) -> String {
    let quantity = quantity.map(|quantity| format!("quantity {}", quantity.text));
    let amount = amount.map(|amount| format!("amount {amount}"));
    let parts: Vec<String> = quantity.into_iter().chain(amount).collect();
    if parts.is_empty() { "a line".to_owned() } else { parts.join(", ") }
}

fn shown(sum: &Sum) -> String {
    format!("quantity {}, amount {}", shown_quantity(sum), shown_amount(sum))
}

fn shown_amount(sum: &Sum) -> String {
    let money = sum.nanos.and_then(Money::from_nanos);
    money.map_or_else(|| "more than 38 digits".to_owned(), |money| money.to_string())
}

fn shown_quantity(sum: &Sum) -> String {
    let shown = sum.quantity.map(|base| sum.unit.shown(base));
    shown.unwrap_or_else(|| TOO_LARGE.to_owned())
}

#[cfg(test)]
mod tests {
    use turnpike_plan::Unit;

    use super::*;

    fn sum(nanos: i128, lines: u32) -> Sum {
        let (primitive, component) = ("p".to_owned(), "c".to_owned());
        let (quantity, nanos) = (Some(3_600_000_001), Some(nanos));
        let (posting, unit) = ("account", Unit::Microsecond);
        Sum { primitive, component, posting, unit, quantity, nanos, lines }
    }

    /// The test vectors permit a difference of half a unit of the ninth decimal for each line.
    #[test]
    fn three_lines_may_differ_by_one_and_a_half_units_where_an_example_says_so() {
        let one = Money::from_nanos(1_000).unwrap();
        let same = |nanos, lines, tolerance| same_amount(one, &sum(nanos, lines), tolerance);
        assert!(same(1_000, 1, Tolerance::Exact) && !same(1_001, 3, Tolerance::Exact));
        assert!(same(1_001, 3, Tolerance::PerLine) && same(999, 2, Tolerance::PerLine));
        assert!(!same(1_001, 1, Tolerance::PerLine) && !same(1_002, 3, Tolerance::PerLine));
    }

    #[test]
    fn quantities_are_the_same_in_whatever_unit_they_were_written() {
        let same = |text: &str| same_quantity(&ExpectedQuantity::parse(text).unwrap(), &sum(0, 1));
        assert!(same("3600.000001 s") && same("3600000001 us") && same("3600000001"));
        assert!(!same("3600 s") && !same("3600000001 B"));
    }
}
