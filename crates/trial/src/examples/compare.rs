//! What records came to, against what they must come to: everything expected comes, and
//! everything that comes is expected.

use turnpike_plan::{Expectation, Expected, ExpectedQuantity, Plan, Tolerance, Unit};
use turnpike_types::Money;

use super::case::Case;
use super::found::{Found, FoundRecord, Sum};
use super::report::{Difference, ExampleReport};

/// Half units of the ninth decimal by which a sum may differ for each of its lines, where an
/// example says `tolerance="per-line"`: each line was rounded by half a unit at most.
const HALF_NANOS_PER_LINE: u128 = 1;

pub(crate) fn compare(plan: &Plan, case: &Case<'_>, found: &Found, report: &mut ExampleReport) {
    let mut claims = Claims::of(case, found);
    for (place, expectation) in case.expectations.iter().enumerate() {
        let at = case.place(expectation.line);
        let mut differs = |component: Option<&String>, expected: String, found: String| {
            let record = Some(expectation.record.clone());
            let component = component.cloned();
            report.differs(Difference { at: at.clone(), record, component, expected, found });
        };
        let record = found.records.get(&expectation.record);
        match &expectation.expected {
            Expected::Suspended(reason) => {
                let came = record.map_or_else(|| NO_RECORD.to_owned(), outcome);
                if record.and_then(|record| record.suspended) != Some(*reason) {
                    differs(None, format!("suspended, {reason}"), came);
                }
            }
            Expected::Lines { component, quantity, amount } => match claims.sum(place) {
                Some(sum) => {
                    let tolerance = case.example.tolerance;
                    for (expected, came) in different(&sum, quantity.as_ref(), *amount, tolerance) {
                        differs(Some(component), expected, came);
                    }
                }
                None => {
                    let came = missing(plan, record, component);
                    differs(Some(component), said(quantity.as_ref(), *amount), came);
                }
            },
        }
    }
    claims.unexpected(case, report);
    totals(case, found, report);
}

const NO_RECORD: &str = "no such record in the usage";

/// Which expectation each sum belongs to.
struct Claims<'a> {
    /// By place of the expectation.
    sums: Vec<Option<Sum>>,
    unclaimed: Vec<(&'a str, &'a FoundRecord, &'a Sum)>,
    found: &'a Found,
}

impl<'a> Claims<'a> {
    fn of(case: &Case<'_>, found: &'a Found) -> Self {
        let mut by_record: std::collections::BTreeMap<&str, Vec<(usize, &str)>> = [].into();
        for (place, expectation) in case.expectations.iter().enumerate() {
            if let Expectation { record, expected: Expected::Lines { component, .. }, .. } =
                expectation
            {
                by_record.entry(record).or_default().push((place, component));
            }
        }
        let mut claims =
            Self { sums: vec![None; case.expectations.len()], unclaimed: Vec::new(), found };
        for (id, record) in &found.records {
            let expected = by_record.get(id.as_str()).map_or(&[][..], Vec::as_slice);
            for sum in &record.sums {
                match claimant(expected, sum) {
                    Some(place) => claims.claim(place, sum),
                    None => claims.unclaimed.push((id, record, sum)),
                }
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

    /// Tells of lines, and of suspended records, that no expectation speaks of.
    fn unexpected(&self, case: &Case<'_>, report: &mut ExampleReport) {
        for (id, record, sum) in &self.unclaimed {
            report.differs(Difference {
                at: record.at.clone(),
                record: Some((*id).to_owned()),
                component: Some(qualified(sum)),
                expected: "nothing".to_owned(),
                found: shown(sum),
            });
        }
        let named: std::collections::BTreeSet<&str> =
            case.expectations.iter().map(|expectation| expectation.record.as_str()).collect();
        for (id, record) in &self.found.records {
            if record.suspended.is_some() && !named.contains(id.as_str()) {
                report.differs(Difference {
                    at: record.at.clone(),
                    record: Some(id.clone()),
                    component: None,
                    expected: "it to be rated".to_owned(),
                    found: outcome(record),
                });
            }
        }
    }
}

/// The expectation that speaks of these lines: one that names the primitive too before one that
/// does not.
fn claimant(expected: &[(usize, &str)], sum: &Sum) -> Option<usize> {
    let full = qualified(sum);
    let by_name = |name: &str| expected.iter().find(|(_, component)| *component == name);
    by_name(&full).or_else(|| by_name(&sum.component)).map(|(place, _)| *place)
}

fn qualified(sum: &Sum) -> String {
    if sum.primitive == sum.component {
        return sum.component.clone();
    }
    format!("{}/{}", sum.primitive, sum.component)
}

/// What differs, each with what is expected and what came.
fn different(
    sum: &Sum,
    quantity: Option<&ExpectedQuantity>,
    amount: Option<Money>,
    tolerance: Tolerance,
) -> Vec<(String, String)> {
    let mut differences = Vec::new();
    if let Some(expected) = quantity.filter(|expected| !same_quantity(expected, sum)) {
        let found =
            sum.quantity.map_or_else(|| TOO_LARGE.to_owned(), |q| shown_quantity(q, sum.unit));
        differences.push((format!("quantity {}", expected.text), found));
    }
    if let Some(expected) = amount.filter(|expected| !same_amount(*expected, sum, tolerance)) {
        differences.push((format!("amount {expected}"), shown_amount(sum)));
    }
    differences
}

const TOO_LARGE: &str = "more than 128 bits";

/// Nothing is the same of every unit.
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

fn totals(case: &Case<'_>, found: &Found, report: &mut ExampleReport) {
    let currency = case.example.settings.currency;
    for (total, sums) in case.totals.iter().zip(&found.totals) {
        let came = sums.iter().find(|(known, _)| *known == currency);
        let came = came.map_or(Some(Money::ZERO), |(_, sum)| *sum);
        if came != Some(total.amount) {
            let found = came.map_or_else(|| TOO_LARGE.to_owned(), |sum| sum.to_string());
            let expected = format!("account {} to come to {}", total.account, total.amount);
            report.fails(Some(&case.place(total.line.into())), expected, found);
        }
    }
}

/// Why lines that were expected are not there.
fn missing(plan: &Plan, record: Option<&FoundRecord>, component: &str) -> String {
    let Some(record) = record else { return NO_RECORD.to_owned() };
    if record.suspended.is_some() {
        return outcome(record);
    }
    let (primitive, step) = match component.split_once('/') {
        Some((primitive, step)) => (Some(primitive), step),
        None => (None, component),
    };
    let names = |p: &turnpike_plan::Primitive| {
        let own = p.id == step || p.children.iter().any(|c| c.property("id") == Some(step));
        own && primitive.is_none_or(|id| p.id == id)
    };
    if plan.primitives().iter().any(names) {
        "no line".to_owned()
    } else {
        "no line: the plan has no such step or charge".to_owned()
    }
}

fn outcome(record: &FoundRecord) -> String {
    match record.suspended {
        Some(reason) => format!("suspended, {reason}"),
        None => "it rated".to_owned(),
    }
}

/// What an expectation says.
fn said(quantity: Option<&ExpectedQuantity>, amount: Option<Money>) -> String {
    let quantity = quantity.map(|quantity| format!("quantity {}", quantity.text));
    let amount = amount.map(|amount| format!("amount {amount}"));
    let parts: Vec<String> = quantity.into_iter().chain(amount).collect();
    if parts.is_empty() { "a line".to_owned() } else { parts.join(", ") }
}

fn shown(sum: &Sum) -> String {
    let quantity =
        sum.quantity.map_or_else(|| TOO_LARGE.to_owned(), |q| shown_quantity(q, sum.unit));
    format!("quantity {quantity}, amount {}", shown_amount(sum))
}

fn shown_amount(sum: &Sum) -> String {
    let money = sum.nanos.and_then(Money::from_nanos);
    money.map_or_else(|| "more than 38 digits".to_owned(), |money| money.to_string())
}

/// As its author would have written it: time in seconds, octets in bytes.
fn shown_quantity(base: i128, unit: Unit) -> String {
    match unit {
        Unit::Microsecond => {
            let sign = if base < 0 { "-" } else { "" };
            let (whole, part) = (base.unsigned_abs() / 1_000_000, base.unsigned_abs() % 1_000_000);
            let part = format!(".{part:06}");
            format!("{sign}{whole}{} s", part.trim_end_matches('0').trim_end_matches('.'))
        }
        Unit::Byte => format!("{base} B"),
        Unit::One => base.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(nanos: i128, lines: u32) -> Sum {
        let (primitive, component) = ("p".to_owned(), "c".to_owned());
        let (quantity, nanos) = (Some(3_600_000_001), Some(nanos));
        Sum { primitive, component, unit: Unit::Microsecond, quantity, nanos, lines }
    }

    /// The vectors' rule: half a unit of the ninth decimal for each line.
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
        assert_eq!(shown_quantity(3_600_000_001, Unit::Microsecond), "3600.000001 s");
        assert_eq!(shown_quantity(-7_200_000_000, Unit::Microsecond), "-7200 s");
        assert_eq!(shown_quantity(5, Unit::Byte), "5 B");
    }
}
