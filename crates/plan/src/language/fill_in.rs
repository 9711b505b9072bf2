//! Fills in parameters and defaults, and checks the syntax of each value.

use std::collections::{BTreeMap, BTreeSet};

use crate::language::document::Document;
use crate::language::findings::{Cause, Findings};
use crate::language::graph::Primitive;
use crate::language::measure::{Decimal, Quantity, time_of_day};
use crate::language::nearest::hint;
use crate::language::spec::{Presence, PropertySpec, Value};
use crate::language::values::{
    ACCOUNT, ACCOUNT_CURRENCY, SEPARATORS, attribute, currency, fits, id, listed_currency, whole,
};

/// The document's primitives with parameters and defaults filled in and the syntax of each value
/// checked.
pub(crate) fn fill_in(
    document: &Document,
    overrides: &BTreeMap<String, String>,
    findings: &mut Findings,
) -> Vec<Primitive> {
    let mut filler = Filler { document, overrides, used: BTreeSet::new(), findings };
    filler.check_overrides();
    let filled = document.primitives.iter().map(|primitive| filler.primitive(primitive)).collect();
    filler.warn_of_unused();
    filled
}

struct Filler<'a> {
    document: &'a Document,
    overrides: &'a BTreeMap<String, String>,
    used: BTreeSet<&'a str>,
    findings: &'a mut Findings,
}

impl<'a> Filler<'a> {
    fn check_overrides(&mut self) {
        for (id, value) in self.overrides {
            if id == ACCOUNT_CURRENCY {
                continue;
            }
            let known = self.document.parameters.iter().find(|parameter| parameter.id == *id);
            let Some(parameter) = known else {
                let ids = self.document.parameters.iter().map(|parameter| parameter.id.as_str());
                let message = format!("the plan has no parameter {id}{}", hint(id, ids));
                self.findings.error(0, None, Cause::UnknownParameter, message);
                continue;
            };
            if let Err(why) = fits(&parameter.kind, value) {
                let message = format!("parameter {id}: {why}");
                self.findings.error(0, None, Cause::BadValue, message);
            }
        }
    }

    fn primitive(&mut self, primitive: &Primitive) -> Primitive {
        let mut filled = primitive.clone();
        let Some(spec) = self.document.vocabulary.find(&primitive.kind) else {
            return filled;
        };
        let at = (primitive.line, primitive.id.as_str());
        self.properties(&mut filled.properties, spec.properties, at, spec.name);
        for child in &mut filled.children {
            let at = (child.line, primitive.id.as_str());
            if let Some(known) = spec.children.iter().find(|known| known.name == child.kind) {
                self.properties(&mut child.properties, known.properties, at, known.name);
            }
        }
        for known in spec.children {
            let count = filled.children.iter().filter(|child| child.kind == known.name).count();
            if count < known.at_least {
                let message = format!(
                    "{} holds no <{}>: write at least {}",
                    spec.name, known.name, known.at_least
                );
                self.findings.error(at.0, Some(at.1), Cause::MissingProperty, message);
            }
        }
        filled
    }

    fn properties(
        &mut self,
        values: &mut BTreeMap<String, String>,
        specs: &[PropertySpec],
        (line, id): (u32, &str),
        owner: &str,
    ) {
        for spec in specs {
            let written = values.get(spec.name).map(String::as_str);
            let value = match (written, spec.presence) {
                (Some(text), _) => self.resolve(text, line, id),
                (None, Presence::Default(text)) => Some(text.to_owned()),
                (None, Presence::Optional) => continue,
                (None, Presence::Required) => {
                    let message = format!("<{owner}> has no {}: it is required", spec.name);
                    self.findings.error(line, Some(id), Cause::MissingProperty, message);
                    continue;
                }
            };
            let Some(mut value) = value else { continue };
            if matches!(spec.value, Value::TargetCurrency) && value == ACCOUNT {
                // Without a subscription, the plan's currency is used instead of the account's
                // currency.
                let billed = self.overrides.get(ACCOUNT_CURRENCY).cloned();
                value = billed.unwrap_or_else(|| self.document.currency.to_string());
            }
            if let Err((cause, why)) = check(spec.value, &value) {
                self.findings.error(line, Some(id), cause, format!("{}: {why}", spec.name));
            }
            let newer = listed(spec.value, &value)
                .or_else(|| no_table(spec, &value))
                .or_else(|| unlisted(spec.value, &value));
            if let Some(why) = newer {
                let message = format!("{}: {why}", spec.name);
                self.findings.refuse_since(line, Some(id), Cause::BadValue, message);
            }
            values.insert(spec.name.to_owned(), value);
        }
    }

    /// The value of the parameter `$id`, or the text itself.
    fn resolve(&mut self, text: &str, line: u32, id: &str) -> Option<String> {
        let Some(name) = text.strip_prefix('$') else {
            return Some(text.to_owned());
        };
        let known = self.document.parameters.iter().find(|parameter| parameter.id == name);
        let Some(parameter) = known else {
            let ids = self.document.parameters.iter().map(|parameter| parameter.id.as_str());
            let hint = hint(name, ids);
            let message = format!(
                "parameter ${name} is not declared{hint}: write <parameter id=\"{name}\" .../>"
            );
            self.findings.error(line, Some(id), Cause::UnknownParameter, message);
            return None;
        };
        self.used.insert(&parameter.id);
        Some(self.overrides.get(name).unwrap_or(&parameter.value).clone())
    }

    fn warn_of_unused(&mut self) {
        for parameter in &self.document.parameters {
            if !self.used.contains(parameter.id.as_str()) {
                let message = format!("parameter {} is not used", parameter.id);
                self.findings.warn(parameter.line, None, message);
            }
        }
    }
}

/// The error for a list that is not separated by spaces. The usage type `call,sms` is one word, and
/// no record has such a type.
fn listed(value: Value, text: &str) -> Option<String> {
    let Value::Types = value else { return None };
    let word = text.split_whitespace().find(|word| word.contains(SEPARATORS))?;
    let apart: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || SEPARATORS.contains(&c))
        .filter(|word| !word.is_empty())
        .collect();
    Some(format!(
        "\"{word}\" is one word: usage types are separated by spaces: write \"{}\"",
        apart.join(" ")
    ))
}

/// The error for a property that names a table by an invalid id, such as `vat,gst`.
fn no_table(spec: &PropertySpec, text: &str) -> Option<String> {
    let names_a_table = spec.name == "table" && matches!(spec.value, Value::Text);
    if names_a_table && !text.is_empty() { id(text).err() } else { None }
}

/// The error for three capital letters that are not the code of a currency in use.
fn unlisted(value: Value, text: &str) -> Option<String> {
    let is_currency = matches!(value, Value::Currency | Value::TargetCurrency);
    if is_currency && currency(text).is_ok() { listed_currency(text).err() } else { None }
}

/// Checks that a text has a value's syntax.
fn check(value: Value, text: &str) -> Result<(), (Cause, String)> {
    let bad = |why: String| (Cause::BadValue, why);
    match value {
        Value::Text if text.is_empty() => Err(bad("it is empty".to_owned())),
        Value::Words | Value::Types if text.trim().is_empty() => {
            Err((Cause::NothingPasses, "it names nothing, so nothing can pass".to_owned()))
        }
        Value::Text | Value::Words | Value::Types => Ok(()),
        Value::Id => id(text).map(drop).map_err(bad),
        Value::Money => Decimal::parse(text).map(drop).map_err(bad),
        Value::Quantity => Quantity::parse(text).map(drop).map_err(bad),
        Value::TimeOfDay => time_of_day(text).map(drop).map_err(bad),
        Value::Whole => whole(text).map(drop).map_err(bad),
        Value::Currency | Value::TargetCurrency => currency(text).map(drop).map_err(bad),
        Value::Choice(known) if known.contains(&text) => Ok(()),
        Value::Choice(known) => {
            let hint = hint(text, known.iter().copied());
            Err(bad(format!("\"{text}\" is unknown{hint}: write {}", known.join(" or "))))
        }
        Value::Attribute => attribute(text).map_err(bad),
        Value::Of(of) => (of.check)(text).map_err(bad),
    }
}
