//! Reads examples from `<example>` elements. Each error names the line of the element at fault.

use std::collections::{BTreeMap, BTreeSet};

use turnpike_types::{AccountNumber, UsageRecord};

use super::types::{
    EXAMPLES_MAX, Example, ExampleAccount, ExampleBody, ExampleRecord, ExampleSettings,
    Expectation, Expected, ExpectedQuantity, ExpectedTotal, InlineExample, Subject,
};
use super::value;
use crate::calendar::zone::{Zone, first_instant_of};
use crate::language::document::Document;
use crate::language::elements::{check_listed, only, only_elements, read_value};
use crate::language::findings::{Cause, Findings};
use crate::language::values;
use crate::language::xml::Element;

const NAMES: &[&str] = &[
    "name",
    "usage",
    "expect",
    "zone",
    "cycle-day",
    "currency",
    "since",
    "cancelled",
    "until",
    "tolerance",
];
const RECORD: &[&str] = &["id", "type", "start", "end", "duration", "quantity", "account"];
const EXPECT: &[&str] =
    &["record", "due", "component", "posting", "quantity", "amount", "late", "suspended"];
const TOTAL: &[&str] = &["account", "amount"];

/// The account of the records of an example that declares no account.
const THE_ACCOUNT: AccountNumber = AccountNumber(1);

/// Reads a plan's examples. The document's head and parameters must be read before.
pub(crate) fn read(
    elements: &[&Element],
    document: &Document,
    findings: &mut Findings,
) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    for (place, element) in elements.iter().enumerate() {
        if place >= EXAMPLES_MAX {
            let message =
                format!("more than {EXAMPLES_MAX} examples: keep the most important ones");
            findings.error(element.line, None, Cause::TooLarge, message);
            break;
        }
        let number = place + 1;
        let Some(example) = example(element, number, document, findings) else { continue };
        if let Some(other) = examples.iter().find(|known| known.name == example.name) {
            let (name, line) = (&other.name, other.line);
            let message =
                format!("the example on line {line} is also called \"{name}\": rename one");
            findings.error(element.line, None, Cause::DuplicateId, message);
        }
        examples.push(example);
    }
    examples
}

fn example(
    element: &Element,
    number: usize,
    document: &Document,
    findings: &mut Findings,
) -> Option<Example> {
    let (parameters, others) = prefixed(element, "parameter.");
    refuse_unknown(element, &others, NAMES, "parameter.ID", findings);
    let name = optional(element, "name", value::name, findings)?;
    let settings = settings(element, parameters, document, findings)?;
    let tolerance = optional(element, "tolerance", value::tolerance, findings)?;
    let body = match (element.attribute("usage"), element.attribute("expect")) {
        (None, None) => ExampleBody::Inline(inline(element, findings)?),
        _ => {
            only_elements(element, &[], None, findings);
            let usage = read_value(element, "usage", "usage.csv", value::usage_file, findings);
            let expect =
                read_value(element, "expect", "expected.csv", value::expect_file, findings);
            ExampleBody::Files { usage: usage?, expect: expect? }
        }
    };
    Some(Example {
        name: name.unwrap_or_else(|| format!("example {number}")),
        line: element.line,
        settings,
        tolerance: tolerance.unwrap_or_default(),
        body,
    })
}

fn settings(
    element: &Element,
    parameters: BTreeMap<String, String>,
    document: &Document,
    findings: &mut Findings,
) -> Option<ExampleSettings> {
    for (id, text) in &parameters {
        let known = document.parameters.iter().find(|parameter| parameter.id == *id);
        let fits = known.map(|parameter| values::fits(&parameter.kind, text));
        let (cause, why) = match fits {
            Some(Ok(())) => continue,
            Some(Err(why)) => (Cause::BadValue, why),
            None => (Cause::UnknownParameter, "the plan has no such parameter".to_owned()),
        };
        findings.error(element.line, None, cause, format!("parameter.{id}: {why}"));
    }
    let zone = optional(element, "zone", value::zone, findings)?.unwrap_or_else(Zone::utc);
    let cycle_day = optional(element, "cycle-day", value::cycle_day, findings)?;
    let currency = optional(element, "currency", values::currency, findings)?;
    check_listed(element, currency, findings);
    let since = optional(element, "since", values::date, findings)?;
    let cancelled = optional(element, "cancelled", values::date, findings)?;
    let until = optional(element, "until", values::date, findings)?;
    let empty = since.zip(cancelled).is_some_and(|(since, cancelled)| {
        first_instant_of(&zone, cancelled) <= first_instant_of(&zone, since)
    });
    if empty {
        let message =
            "cancelled is not after since: write the first day that is no longer subscribed";
        findings.error(element.line, None, Cause::BadValue, message);
        return None;
    }
    Some(ExampleSettings {
        zone,
        cycle_day: cycle_day.unwrap_or(1),
        currency: currency.unwrap_or(document.currency),
        since,
        cancelled,
        until,
        parameters,
    })
}

fn inline(element: &Element, findings: &mut Findings) -> Option<InlineExample> {
    only_elements(element, &["account", "record", "expect", "total"], None, findings);
    let of = |name: &'static str| element.elements().filter(move |child| child.name == name);
    let mut reading = Reading::default();
    for child in of("account") {
        reading.account(child, findings);
    }
    for child in of("record") {
        reading.record(child, findings);
    }
    if of("record").next().is_none() && element.attribute("until").is_none() {
        let message = "the example has no usage: write <record>, or usage=\"FILE\" expect=\"FILE\"; \
                       or until=\"DATE\", for what falls due without usage";
        findings.error(element.line, None, Cause::MissingProperty, message);
        return None;
    }
    for child in of("expect") {
        reading.expectation(child, findings);
    }
    for child in of("total") {
        reading.total(child, findings);
    }
    Some(reading.example)
}

/// The key of expected lines: a component, and a posting if one is given.
type Lines = (String, Option<&'static str>);

/// An inline example that is being read, and the ids already used in it.
#[derive(Default)]
struct Reading {
    example: InlineExample,
    accounts: BTreeSet<AccountNumber>,
    records: BTreeSet<String>,
    /// The line number of each expectation in the document, by its subject and the key of its
    /// charge lines. The key is `None` if the record is expected to be suspended.
    expected: BTreeMap<(Subject, Option<Lines>), u32>,
    totals: BTreeSet<AccountNumber>,
}

impl Reading {
    fn account(&mut self, element: &Element, findings: &mut Findings) {
        only_elements(element, &[], None, findings);
        let Some(number) = read_value(element, "number", "42", value::account, findings) else {
            return;
        };
        if !self.accounts.insert(number) {
            return twice(element, &format!("account {number}"), findings);
        }
        let others = element.attributes.iter().filter(|(name, _)| name != "number");
        let attributes = others.cloned().collect();
        self.example.accounts.push(ExampleAccount { number, line: element.line, attributes });
    }

    fn record(&mut self, element: &Element, findings: &mut Findings) {
        only_elements(element, &[], None, findings);
        let Some(record) = usage(element, &self.example, findings) else { return };
        if !self.records.insert(record.record_id.clone()) {
            return twice(element, &format!("record {}", record.record_id), findings);
        }
        self.example.records.push(ExampleRecord { line: element.line, record });
    }

    fn expectation(&mut self, element: &Element, findings: &mut Findings) {
        only(element, EXPECT, None, findings);
        only_elements(element, &[], None, findings);
        let of = subject(element, findings);
        let late = optional(element, "late", value::yes_or_no, findings);
        let expected = expected(element, findings);
        let (Some(of), Some(late), Some(expected)) = (of, late, expected) else { return };
        if let Subject::Record(record) = &of
            && !self.records.contains(record)
        {
            let has = listed(&self.records);
            let message = format!("the example has no record {record}: it has {has}");
            findings.error(element.line, None, Cause::UnknownReference, message);
            return;
        }
        if let Some(line) = self.said(&of, &expected, element.line) {
            let message = format!("line {line} already has an expectation for {of}: keep one");
            findings.error(element.line, None, Cause::DuplicateId, message);
            return;
        }
        let line = element.line.into();
        self.example.expectations.push(Expectation { line, of, late, expected });
    }

    /// The line of an earlier expectation that has the same key, or that contradicts this
    /// expectation: a record can't both have lines and be suspended. Due charges of one date are
    /// several events, some of which may be suspended.
    fn said(&mut self, of: &Subject, expected: &Expected, line: u32) -> Option<u32> {
        let suspended = (of.clone(), None);
        let (key, other) = match expected {
            Expected::Lines { component, posting, .. } => {
                let key = (of.clone(), Some((component.clone(), *posting)));
                (key, self.expected.get(&suspended).copied())
            }
            Expected::Suspended(_) => {
                let next = self.expected.range(suspended.clone()..).next();
                let other = next.filter(|((known, _), _)| known == of);
                (suspended, other.map(|(_, line)| *line))
            }
        };
        let other = other.filter(|_| matches!(of, Subject::Record(_)));
        other.or_else(|| {
            let known = self.expected.get(&key).copied();
            self.expected.entry(key).or_insert(line);
            known
        })
    }

    fn total(&mut self, element: &Element, findings: &mut Findings) {
        only(element, TOTAL, None, findings);
        only_elements(element, &[], None, findings);
        let amount = read_value(element, "amount", "31.00", value::parse_amount, findings);
        let account = account_of(element, &self.example, findings);
        let (Some(account), Some(amount)) = (account, amount) else { return };
        if !self.totals.insert(account) {
            return twice(element, &format!("the total of account {account}"), findings);
        }
        self.example.totals.push(ExpectedTotal { line: element.line, account, amount });
    }
}

fn usage(
    element: &Element,
    example: &InlineExample,
    findings: &mut Findings,
) -> Option<UsageRecord> {
    let (attributes, others) = prefixed(element, "attribute.");
    let (measures, _) = prefixed(element, "measure.");
    let others: Vec<&str> = others
        .into_iter()
        .filter(|name| name.strip_prefix("measure.").is_none_or(str::is_empty))
        .collect();
    refuse_unknown(element, &others, RECORD, "attribute.NAME measure.NAME", findings);
    let record_id = read_value(element, "id", "r1", value::record_id, findings);
    let usage_type = read_value(element, "type", "connect-time", value::usage_type, findings);
    let start = read_value(element, "start", "2026-03-01T18:00:00Z", value::instant, findings);
    let end = optional(element, "end", value::instant, findings)?;
    let duration = optional(element, "duration", value::duration, findings)?;
    let quantity = optional(element, "quantity", values::whole, findings)?;
    let mut numbers = BTreeMap::new();
    for measure in measures.into_keys() {
        let name = format!("measure.{measure}");
        numbers.insert(measure, read_value(element, &name, "1", values::whole, findings)?);
    }
    let account = account_of(element, example, findings)?;
    let start = start?;
    let duration_us = match (end, duration) {
        (None, duration) => Ok(duration),
        (Some(end), None) => {
            let micros = end.micros().checked_sub(start.micros());
            micros.filter(|micros| *micros >= 0).map(Some).ok_or(())
        }
        (Some(_), Some(_)) => Err(()),
    };
    let Ok(duration_us) = duration_us else {
        let message = "its end is before its start, or it has an end and a duration: write one end at or after the start, or a duration";
        findings.error(element.line, None, Cause::BadValue, message);
        return None;
    };
    let mut record = UsageRecord {
        record_id: record_id?,
        account,
        identity: String::new(),
        usage_type: usage_type?,
        start,
        duration_us: 0,
        quantity,
        measures: numbers,
        attributes,
    };
    record.state_duration(duration_us);
    Some(record)
}

/// The account that a record names, or the example's only account.
fn account_of(
    element: &Element,
    example: &InlineExample,
    findings: &mut Findings,
) -> Option<AccountNumber> {
    if let Some(number) = optional(element, "account", value::account, findings)? {
        return Some(number);
    }
    match example.accounts.as_slice() {
        [] => Some(THE_ACCOUNT),
        [only] => Some(only.number),
        several => {
            let message =
                format!("the example has {} accounts: write account=\"NUMBER\"", several.len());
            findings.error(element.line, None, Cause::MissingProperty, message);
            None
        }
    }
}

/// The record, or the date on which charges fall due.
fn subject(element: &Element, findings: &mut Findings) -> Option<Subject> {
    if element.attribute("due").is_none() {
        return read_value(element, "record", "r1", value::record_id, findings)
            .map(Subject::Record);
    }
    if element.attribute("record").is_some() {
        let message = "it has both record and due, but a record does not fall due: write record, or due with a date";
        findings.error(element.line, None, Cause::BadValue, message);
        return None;
    }
    read_value(element, "due", "2026-02-01", values::date, findings).map(Subject::Due)
}

fn expected(element: &Element, findings: &mut Findings) -> Option<Expected> {
    let posting = optional(element, "posting", value::posting, findings)?;
    let quantity = optional(element, "quantity", ExpectedQuantity::parse, findings)?;
    let amount = optional(element, "amount", value::parse_amount, findings)?;
    let Some(reason) = optional(element, "suspended", value::reason, findings)? else {
        let component = read_value(element, "component", "peak", value::component, findings)?;
        return Some(Expected::Lines { component, posting, quantity, amount });
    };
    let lines = ["component", "posting", "quantity", "amount", "late"];
    if lines.iter().any(|name| element.attribute(name).is_some()) {
        let message = "a suspended record has no lines: write suspended, or component with quantity and amount";
        findings.error(element.line, None, Cause::BadValue, message);
        return None;
    }
    Some(Expected::Suspended(reason))
}

fn twice(element: &Element, what: &str, findings: &mut Findings) {
    let message = format!("{what} occurs twice in this example: keep one");
    findings.error(element.line, None, Cause::DuplicateId, message);
}

fn listed(ids: &BTreeSet<String>) -> String {
    const SHOWN_MAX: usize = 10;
    let shown: Vec<&str> = ids.iter().map(String::as_str).take(SHOWN_MAX).collect();
    let more = if ids.len() > SHOWN_MAX { " …" } else { "" };
    format!("{}{more}", shown.join(" "))
}

/// The value of an optional attribute: `Some(None)` when it is absent; `None`, with a finding, when
/// it is wrong.
#[allow(clippy::option_option)]
fn optional<T>(
    element: &Element,
    name: &str,
    parse: fn(&str) -> Result<T, String>,
    findings: &mut Findings,
) -> Option<Option<T>> {
    if element.attribute(name).is_none() {
        return Some(None);
    }
    read_value(element, name, "", parse, findings).map(Some)
}

/// The attributes whose names start with a prefix, by the rest of the name; and the names of all
/// other attributes.
fn prefixed<'e>(element: &'e Element, prefix: &str) -> (BTreeMap<String, String>, Vec<&'e str>) {
    let mut found = BTreeMap::new();
    let mut others = Vec::new();
    for (name, value) in &element.attributes {
        match name.strip_prefix(prefix) {
            Some(rest) if !rest.is_empty() => {
                found.insert(rest.to_owned(), value.clone());
            }
            _ => others.push(name.as_str()),
        }
    }
    (found, others)
}

fn refuse_unknown(
    element: &Element,
    names: &[&str],
    known: &[&str],
    also: &str,
    findings: &mut Findings,
) {
    for name in names.iter().filter(|name| !known.contains(name)) {
        let tag = &element.name;
        let message = format!("<{tag}> has no property {name}: it has {} {also}", known.join(" "));
        findings.error(element.line, None, Cause::UnknownProperty, message);
    }
}
