//! The syntax of single values, and the substitution of parameters.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use turnpike_types::Currency;

use crate::language::document::Document;
use crate::language::findings::{Cause, Findings};
use crate::language::graph::Primitive;
use crate::language::measure::{Decimal, Quantity, time_of_day};
use crate::language::nearest::hint;
use crate::language::spec::{Presence, PropertySpec, Value};
use crate::primitives;

/// Maximum length of an id, in bytes.
const ID_BYTES_MAX: usize = 64;

pub(crate) fn id(text: &str) -> Result<String, String> {
    let ok = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let starts = text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric());
    if !starts || text.len() > ID_BYTES_MAX || !text.bytes().all(ok) {
        return Err(format!(
            "\"{text}\" is no id: write up to {ID_BYTES_MAX} letters, digits, - and _, a letter or digit first"
        ));
    }
    Ok(text.to_owned())
}

pub(crate) fn version(text: &str) -> Result<u32, String> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(number) if number >= 1 && digits => Ok(number),
        _ => Err(format!("\"{text}\" is no version: write a whole number from 1")),
    }
}

pub(crate) fn date(text: &str) -> Result<Date, String> {
    let shape = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let date = if shape { text.parse().ok() } else { None };
    date.ok_or_else(|| format!("\"{text}\" is no date: write YYYY-MM-DD"))
}

pub(crate) fn currency(text: &str) -> Result<Currency, String> {
    text.parse().map_err(|error: turnpike_types::CurrencyError| error.to_string())
}

/// A currency in use by ISO 4217. Earlier releases accepted any three capital letters.
pub(crate) fn listed_currency(text: &str) -> Result<Currency, String> {
    Currency::listed(text).map_err(|error| error.to_string())
}

/// The rounding of amounts (docs/plan-semantics.md section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rounding {
    /// The number of decimals, from 0 to 9.
    pub(crate) digits: u32,
    /// Whether each line books the difference of rounded running totals.
    pub(crate) running: bool,
}

/// Parses `9 half-even`, `running`, `2 running`. Amounts have nine decimals, so more digits are
/// refused (docs/architecture.md section 8).
pub(crate) fn round(text: &str) -> Result<Rounding, String> {
    if let Some(digits) = text.strip_suffix("running") {
        let digits = if digits.is_empty() { "9 " } else { digits };
        let digits = round(&format!("{digits}half-even"))?.digits;
        return Ok(Rounding { digits, running: true });
    }
    let digits = text.strip_suffix(" half-even").unwrap_or_default();
    match digits.parse::<u32>() {
        Ok(digits @ 0..=9) => Ok(Rounding { digits, running: false }),
        Ok(finer) => {
            Err(format!("{finer} decimals are finer than an amount can hold: write at most 9"))
        }
        Err(_) => Err(format!(
            "\"{text}\" is no rounding: write \"N half-even\" or \"N running\", N from 0 to 9"
        )),
    }
}

pub(crate) fn parameter_kind(text: &str) -> Result<String, String> {
    match text {
        "money" | "quantity" | "count" | "time" | "text" => Ok(text.to_owned()),
        _ => {
            let hint = hint(text, ["money", "quantity", "count", "time", "text"]);
            Err(format!("\"{text}\" is no type{hint}: write money, quantity, count, time or text"))
        }
    }
}

/// Checks that a parameter of this kind can have this value.
pub(crate) fn fits(kind: &str, value: &str) -> Result<(), String> {
    match kind {
        "money" => Decimal::parse(value).map(drop),
        "quantity" => Quantity::parse(value).map(drop),
        "count" => whole(value).map(drop),
        "time" => time_of_day(value).map(drop),
        _ if value.starts_with('$') => {
            Err("a parameter's value can't refer to another parameter".to_owned())
        }
        _ => Ok(()),
    }
}

/// Checks the syntax of a reference to an attribute, such as `target`, `record.target`,
/// `account.service-level` or `geo.location`.
pub(crate) fn attribute(text: &str) -> Result<(), String> {
    let name = text.split_once('.').map_or(text, |(_, name)| name);
    if name.is_empty() || text.starts_with('.') || text.contains(char::is_whitespace) {
        return Err(format!(
            "\"{text}\" is no attribute: write a name, account.NAME, or PRIMITIVE.NAME"
        ));
    }
    Ok(())
}

pub(crate) fn whole(text: &str) -> Result<i64, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = if digits { text.parse().ok() } else { None };
    number.ok_or_else(|| format!("\"{text}\" is no whole number: write digits, 0 or more"))
}

/// Characters that authors write between the words of a list by mistake; lists use spaces.
pub(crate) const SEPARATORS: [char; 3] = [',', ';', '|'];

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

/// The key of the override that gives [`compile`](crate::compile) the currency in which the account
/// is billed. It can't be the id of a parameter, because ids contain no dot.
pub const ACCOUNT_CURRENCY: &str = "account.currency";

/// The target currency of a converter that means the currency in which the account is billed.
pub(crate) const ACCOUNT: &str = "account";

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
        let Some(spec) = primitives::find(&primitive.kind) else {
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
