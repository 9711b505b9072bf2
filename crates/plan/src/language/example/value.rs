//! The syntax of single values in examples.

use turnpike_types::{AccountNumber, Money, SuspenseReason, Timestamp, limits};

use super::types::{ExpectedQuantity, POSTINGS, Tolerance};
use crate::language::measure::{Decimal, Quantity, Unit};

/// Maximum length of an example's name, in bytes.
const NAME_BYTES_MAX: usize = 200;
/// Maximum length of a file name, in bytes.
const FILE_NAME_BYTES_MAX: usize = 128;

impl ExpectedQuantity {
    /// Parses `3600 s`, `1.5 GB`, or a bare number of base units. A leading `-` is allowed, since
    /// corrections have negative quantities.
    ///
    /// # Errors
    /// A message with the problem and the text to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (sign, digits) = signed(text);
        let Quantity { base, unit } = Quantity::parse(digits)?;
        let bare = unit == Unit::One;
        let (text, unit) = (text.trim().to_owned(), (!bare).then_some(unit));
        Ok(Self { text, base: sign * base, unit })
    }
}

/// Parses an expected amount such as `1.00` or `-0.25`.
///
/// # Errors
/// A message with the problem and the text to write instead.
pub fn parse_amount(text: &str) -> Result<Money, String> {
    let (sign, digits) = signed(text);
    let Decimal { digits, scale } = Decimal::parse(digits)?;
    let Some(finer) = Money::SCALE.checked_sub(scale) else {
        let max = Money::SCALE;
        return Err(format!(
            "\"{text}\" is finer than an amount can hold: write at most {max} decimals"
        ));
    };
    let nanos = digits.checked_mul(10i128.pow(finer)).map(|nanos| sign * nanos);
    nanos.and_then(Money::from_nanos).ok_or_else(|| format!("\"{text}\" has more than 38 digits"))
}

/// The sign and the digits. Multiplying by the sign can't overflow, since parsed digits have at
/// most 127 bits.
fn signed(text: &str) -> (i128, &str) {
    let text = text.trim();
    text.strip_prefix('-').map_or((1, text), |digits| (-1, digits))
}

pub(super) fn name(text: &str) -> Result<String, String> {
    if text.trim().is_empty() || text.len() > NAME_BYTES_MAX {
        return Err(format!("write 1 to {NAME_BYTES_MAX} bytes that say what the example shows"));
    }
    Ok(text.trim().to_owned())
}

/// A file in the plan's directory: examples must not refer to other directories.
fn file_name(text: &str, endings: &[&str]) -> Result<String, String> {
    let ok = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let plain = text.len() <= FILE_NAME_BYTES_MAX
        && !text.starts_with('.')
        && text.bytes().all(ok)
        && endings.iter().any(|ending| text.len() > ending.len() && text.ends_with(ending));
    if !plain {
        return Err(format!(
            "\"{text}\" is no file beside the plan: write a name without directories, of letters, \
             digits, - _ and dots, that ends in {}",
            endings.join(" or ")
        ));
    }
    Ok(text.to_owned())
}

pub(super) fn usage_file(text: &str) -> Result<String, String> {
    file_name(text, &[".csv", ".jsonl", ".ndjson"])
}

pub(super) fn expect_file(text: &str) -> Result<String, String> {
    file_name(text, &[".csv"])
}

pub(super) fn zone(text: &str) -> Result<crate::calendar::zone::Zone, String> {
    crate::calendar::zone::Zone::parse(text).map_err(|error| error.to_string())
}

pub(super) fn cycle_day(text: &str) -> Result<u8, String> {
    let day = text.parse::<u8>().ok().filter(|day| (1..=31).contains(day));
    day.ok_or_else(|| format!("\"{text}\" is no cycle day: write 1 to 31"))
}

pub(super) fn tolerance(text: &str) -> Result<Tolerance, String> {
    match text {
        "exact" => Ok(Tolerance::Exact),
        "per-line" => Ok(Tolerance::PerLine),
        _ => Err(format!("\"{text}\" is unknown: write exact or per-line")),
    }
}

pub(super) fn account(text: &str) -> Result<AccountNumber, String> {
    match text.parse::<u64>() {
        Ok(number) if number != 0 => Ok(AccountNumber(number)),
        _ => Err(format!("\"{text}\" is no account number: write a whole number from 1")),
    }
}

pub(super) fn record_id(text: &str) -> Result<String, String> {
    sized(text, limits::RECORD_ID_BYTES_MAX)
}

pub(super) fn usage_type(text: &str) -> Result<String, String> {
    if text.starts_with(limits::RESERVED_USAGE_TYPE) {
        return Err(format!(
            "\"{text}\" is reserved for the cluster: choose a name that begins otherwise"
        ));
    }
    sized(text, limits::USAGE_TYPE_BYTES_MAX)
}

fn sized(text: &str, bytes_max: usize) -> Result<String, String> {
    if text.is_empty() || text.len() > bytes_max {
        return Err(format!("it has {} bytes: write 1 to {bytes_max}", text.len()));
    }
    Ok(text.to_owned())
}

pub(super) fn component(text: &str) -> Result<String, String> {
    text.split('/').try_for_each(|part| crate::language::values::id(part).map(drop))?;
    if text.matches('/').count() > 1 {
        return Err(format!("\"{text}\" is no component: write STEP, or PRIMITIVE/STEP"));
    }
    Ok(text.to_owned())
}

pub(super) fn instant(text: &str) -> Result<Timestamp, String> {
    let instant: jiff::Timestamp = text.parse().map_err(|_| match past_the_last_year(text) {
        true => format!(
            "\"{text}\" is past the last instant of the calendar: write one until 9999-12-30T22:00:00Z"
        ),
        false => format!(
            "\"{text}\" is no instant: write it with its offset, such as 2026-03-01T18:00:00Z"
        ),
    })?;
    if instant.as_nanosecond() % 1_000 != 0 {
        return Err(format!("\"{text}\" is finer than a microsecond: write at most six decimals"));
    }
    Ok(Timestamp(instant.as_microsecond()))
}

/// Whether the text is a time on one of the last days of the year 9999, which the calendar can't
/// represent for every UTC offset.
fn past_the_last_year(text: &str) -> bool {
    let date = text.get(..10).and_then(|date| date.parse::<jiff::civil::Date>().ok());
    let has_time = text.get(10..).is_some_and(|time| time.starts_with(['T', 't', ' ']));
    has_time && date.is_some_and(|date| date >= jiff::civil::date(9999, 12, 30))
}

/// A duration in microseconds, from a time with its unit.
pub(super) fn duration(text: &str) -> Result<i64, String> {
    let quantity = Quantity::parse(text)?;
    let micros = i64::try_from(quantity.base).ok().filter(|_| quantity.unit == Unit::Microsecond);
    micros.ok_or_else(|| format!("\"{text}\" is no time: write it with its unit, such as 90 s"))
}

pub(super) fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("\"{text}\" is neither true nor false: write one of them")),
    }
}

pub(super) fn posting(text: &str) -> Result<&'static str, String> {
    let known = POSTINGS.into_iter().find(|word| *word == text);
    known.ok_or_else(|| format!("\"{text}\" is no posting: write one of {}", POSTINGS.join(" ")))
}

pub(super) fn reason(text: &str) -> Result<SuspenseReason, String> {
    let known = SuspenseReason::ALL.iter().find(|reason| reason.word() == text);
    known.copied().ok_or_else(|| {
        let words: Vec<&str> = SuspenseReason::ALL.iter().map(|reason| reason.word()).collect();
        format!("\"{text}\" is no reason: write one of {}", words.join(" "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expected_quantity_carries_its_unit_or_counts_base_units() {
        let read = |text: &str| ExpectedQuantity::parse(text).map(|q| (q.base, q.unit));
        assert_eq!(read("3600 s"), Ok((3_600_000_000, Some(Unit::Microsecond))));
        assert_eq!(read("-1 kB"), Ok((-1_000, Some(Unit::Byte))));
        assert_eq!(read("22"), Ok((22, None)));
        for wrong in ["", "-", "--1", "1 m", "0.5"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_expected_amount_has_at_most_nine_decimals_and_may_be_negative() {
        let nanos = |text: &str| parse_amount(text).map(Money::nanos);
        assert_eq!(nanos("1.00"), Ok(1_000_000_000));
        assert_eq!(nanos("-0.000000001"), Ok(-1));
        assert_eq!(nanos("342000.0000000000000"), Ok(342_000_000_000_000));
        for wrong in ["", "-", "1,00", "0.0000000001", "1e3", "+1"] {
            assert!(nanos(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_file_must_be_beside_the_plan() {
        assert!(usage_file("fig6b_usage.csv").is_ok() && usage_file("a.b.jsonl").is_ok());
        for wrong in [
            "/etc/usage.csv",
            "../usage.csv",
            "dir/usage.csv",
            "C:\\u.csv",
            ".csv",
            "usage",
            "..csv",
            "a b.csv",
            "",
        ] {
            assert!(usage_file(wrong).is_err(), "{wrong}");
        }
        assert!(expect_file("expected.jsonl").is_err());
    }
}
