//! Differences between the examples of two plans, with the names used in the XML.

use std::collections::BTreeMap;

use turnpike_plan::{
    Example, ExampleBody, ExampleSettings, Expectation, Expected, InlineExample, Plan, Tolerance,
    Unit, Zone,
};
use turnpike_types::{AccountNumber, UsageRecord};

use super::plan_diff::{Changed, PlanChange};
use super::structure::{changed, changes};

pub(super) fn examples(before: &Plan, after: &Plan) -> Vec<PlanChange> {
    fn all(plan: &Plan) -> impl Iterator<Item = (String, &Example)> {
        plan.examples().iter().map(|example| (example.name.clone(), example))
    }
    let details = |old: Option<&&Example>, new: Option<&&Example>| -> Vec<Changed> {
        match (old, new) {
            (Some(old), Some(new)) => changed(said(old), said(new)),
            _ => Vec::new(),
        }
    };
    changes(all(before), all(after), |_| "example".to_owned(), details)
}

/// The settings, records and expectations of an example as pairs of name and value, without line
/// numbers.
fn said(example: &Example) -> Vec<(String, String)> {
    let mut said = settings(&example.settings);
    if example.tolerance == Tolerance::PerLine {
        said.push(("tolerance".to_owned(), "per-line".to_owned()));
    }
    match &example.body {
        ExampleBody::Files { usage, expect } => {
            said.push(("usage".to_owned(), usage.clone()));
            said.push(("expect".to_owned(), expect.clone()));
        }
        ExampleBody::Inline(inline) => said.extend(written_out(inline, &example.settings.zone)),
    }
    said
}

fn settings(settings: &ExampleSettings) -> Vec<(String, String)> {
    let ExampleSettings { zone, cycle_day, currency, since, cancelled, until, parameters } =
        settings;
    let mut said = vec![
        ("zone".to_owned(), zone.name().to_owned()),
        ("cycle-day".to_owned(), cycle_day.to_string()),
        ("currency".to_owned(), currency.to_string()),
    ];
    for (name, date) in [("since", since), ("cancelled", cancelled), ("until", until)] {
        said.extend(date.map(|date| (name.to_owned(), date.to_string())));
    }
    let parameters = parameters.iter();
    said.extend(parameters.map(|(name, value)| (format!("parameter {name}"), value.clone())));
    said
}

fn written_out(inline: &InlineExample, zone: &Zone) -> Vec<(String, String)> {
    let accounts = inline.accounts.iter();
    let accounts = accounts.map(|a| (format!("account {}", a.number), pairs(&a.attributes)));
    let records = inline.records.iter().map(|placed| &placed.record);
    let records = records.map(|r| (format!("record {}", r.record_id), record(r, zone)));
    let expected = inline.expectations.iter().map(expectation);
    let totals = inline.totals.iter();
    let totals = totals.map(|t| (format!("total of account {}", t.account), t.amount.to_string()));
    numbered(accounts.chain(records).chain(expected).chain(totals))
}

/// Makes the names unique: appends a number to a name that occurred before.
fn numbered(said: impl Iterator<Item = (String, String)>) -> Vec<(String, String)> {
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    let told = said.map(|(name, value)| {
        let count = counts.entry(name.clone()).or_insert(0);
        *count += 1;
        (if *count > 1 { format!("{name} #{count}") } else { name }, value)
    });
    told.collect()
}

fn record(record: &UsageRecord, zone: &Zone) -> String {
    let mut said = vec![record.usage_type.clone()];
    if record.account != AccountNumber(0) {
        said.push(format!("account {}", record.account));
    }
    if !record.identity.is_empty() {
        said.push(record.identity.clone());
    }
    said.push(format!("start {}", zone.show(record.start)));
    if record.duration_us != 0 {
        let duration = Unit::Microsecond.shown(i128::from(record.duration_us));
        said.push(format!("duration {duration}"));
    }
    said.extend(record.quantity.map(|quantity| format!("quantity {quantity}")));
    said.extend(record.measures.iter().map(|(name, number)| format!("{name} {number}")));
    if !record.attributes.is_empty() {
        said.push(pairs(&record.attributes));
    }
    said.join(", ")
}

fn expectation(expectation: &Expectation) -> (String, String) {
    let mut said = Vec::new();
    let mut of = format!("expect {}", expectation.of);
    match &expectation.expected {
        Expected::Suspended(reason) => said.push(format!("suspended {reason}")),
        Expected::Lines { component, posting, quantity, amount } => {
            of = format!("{of} {component}");
            said.extend(posting.map(|posting| format!("posting {posting}")));
            let quantity = quantity.as_ref();
            said.extend(quantity.map(|quantity| format!("quantity {}", quantity.text)));
            said.extend(amount.map(|amount| format!("amount {amount}")));
        }
    }
    said.extend(expectation.late.map(|late| format!("late {late}")));
    (of, said.join(", "))
}

fn pairs(of: &BTreeMap<String, String>) -> String {
    of.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect::<Vec<_>>().join(" ")
}
