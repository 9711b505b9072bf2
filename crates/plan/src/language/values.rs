//! The syntax of single values.

use jiff::civil::Date;
use turnpike_types::Currency;

use crate::language::measure::{Decimal, Quantity, time_of_day};
use crate::language::nearest::hint;

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

/// The key of the override that gives [`compile`](fn@crate::compile) the currency in which the
/// account is billed. It can't be the id of a parameter, because ids contain no dot.
pub const ACCOUNT_CURRENCY: &str = "account.currency";

/// The target currency of a converter that means the currency in which the account is billed.
pub(crate) const ACCOUNT: &str = "account";
