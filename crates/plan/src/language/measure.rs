//! Units, decimals and quantities in the syntax of plans: `100 h`, `0.05`, `1 GB`.

use std::fmt;
use turnpike_types::Must;

use crate::language::nearest::hint;

/// The unit in which usage is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    /// A microsecond of use.
    Microsecond,
    /// A byte carried.
    Byte,
    /// A bare count: an event, a page, a point, a charge.
    One,
}

impl Unit {
    /// `us`, `byte` or `one`. Part of a variable's key, so it never changes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Microsecond => "us",
            Self::Byte => "byte",
            Self::One => "one",
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A decimal number as written: `digits / 10^scale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decimal {
    pub(crate) digits: i128,
    pub(crate) scale: u32,
}

/// The maximum number of digits. The product of `digits`, a price's scale and a rounding scale then
/// fits 128 bits.
const DIGITS_MAX: usize = 27;

impl Decimal {
    /// Parses `12`, `0.05`, `1.00`: digits with at most one decimal point, no sign, no exponent.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (whole, part) = match text.split_once('.') {
            Some((whole, part)) => (whole, part),
            None => (text, ""),
        };
        let digits_only = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
        let point_without_digits = text.contains('.') && part.is_empty();
        if whole.is_empty() || point_without_digits || !digits_only(whole) || !digits_only(part) {
            let hint = if text.starts_with('-') { ", never negative" } else { "" };
            return Err(format!("\"{text}\" is not a number: write digits such as 0.05{hint}"));
        }
        let part = part.trim_end_matches('0');
        let whole = whole.trim_start_matches('0');
        if whole.len() + part.len() > DIGITS_MAX {
            return Err(format!("\"{text}\" has more than {DIGITS_MAX} digits"));
        }
        let digits = whole
            .bytes()
            .chain(part.bytes())
            .fold(0i128, |sum, digit| sum * 10 + i128::from(digit - b'0'));
        Ok(Self {
            digits,
            scale: u32::try_from(part.len()).must("there are at most DIGITS_MAX digits"),
        })
    }
}

/// A quantity in base units, and the unit that it was written in; [`Unit::One`] for a bare count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quantity {
    pub(crate) base: i128,
    pub(crate) unit: Unit,
}

const NAMES: &[(&str, Unit, i128)] = &[
    ("us", Unit::Microsecond, 1),
    ("ms", Unit::Microsecond, 1_000),
    ("s", Unit::Microsecond, 1_000_000),
    ("min", Unit::Microsecond, 60_000_000),
    ("h", Unit::Microsecond, 3_600_000_000),
    ("d", Unit::Microsecond, 86_400_000_000),
    ("B", Unit::Byte, 1),
    ("kB", Unit::Byte, 1_000),
    ("MB", Unit::Byte, 1_000_000),
    ("GB", Unit::Byte, 1_000_000_000),
    ("TB", Unit::Byte, 1_000_000_000_000),
    ("PB", Unit::Byte, 1_000_000_000_000_000),
    ("KiB", Unit::Byte, 1 << 10),
    ("MiB", Unit::Byte, 1 << 20),
    ("GiB", Unit::Byte, 1 << 30),
    ("TiB", Unit::Byte, 1 << 40),
    ("PiB", Unit::Byte, 1 << 50),
];

impl Quantity {
    /// Parses `100 h`, `1.5 GB`, `100`; the result must be a whole number of base units.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (number, name) = match text.find(|c: char| !c.is_ascii_digit() && c != '.') {
            Some(end) if end > 0 => text.split_at(end),
            _ => (text, ""),
        };
        let decimal = Decimal::parse(number)?;
        let (unit, factor) = match name.trim() {
            "" => (Unit::One, 1),
            name => match NAMES.iter().find(|known| known.0 == name) {
                Some(&(_, unit, factor)) => (unit, factor),
                None => return Err(unknown_unit(name)),
            },
        };
        let too_large = || format!("\"{text}\" is too large");
        let scaled = decimal.digits.checked_mul(factor).ok_or_else(too_large)?;
        let one = 10i128.pow(decimal.scale);
        if scaled % one != 0 {
            return Err(format!("\"{text}\" is not a whole number of {}", plural(unit)));
        }
        Ok(Self { base: scaled / one, unit })
    }
}

fn unknown_unit(name: &str) -> String {
    let names: Vec<&str> = NAMES.iter().map(|known| known.0).collect();
    let hint = hint(name, names.iter().copied());
    format!("unknown unit \"{name}\"{hint}: write one of {}, or a bare count", names.join(" "))
}

/// The unit's plural in messages.
pub(crate) const fn plural(unit: Unit) -> &'static str {
    match unit {
        Unit::Microsecond => "microseconds",
        Unit::Byte => "bytes",
        Unit::One => "counts",
    }
}

/// Whether the measure's name contains a word for bytes, as `octets`, `bytes_out`, `bytesUp` and
/// `ifInOctets` do.
pub(crate) fn is_of_bytes(measure: &str) -> bool {
    let name = measure.to_ascii_lowercase();
    name.contains("octet") || name.contains("byte")
}

/// A time of day in microseconds since midnight, from `HH:MM` or `HH:MM:SS`; `24:00` is the end of
/// the day.
pub(crate) fn time_of_day(text: &str) -> Result<i64, String> {
    let wrong = || format!("\"{text}\" is not a time of day: write HH:MM, from 00:00 to 24:00");
    let parts: Vec<&str> = text.split(':').collect();
    let two_digits = |part: &&str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
    if !(2..=3).contains(&parts.len()) || !parts.iter().all(two_digits) {
        return Err(wrong());
    }
    let number = |at: usize| parts.get(at).map_or(Ok(0), |part| part.parse::<i64>());
    let (hours, minutes, seconds) = match (number(0), number(1), number(2)) {
        (Ok(hours), Ok(minutes), Ok(seconds)) => (hours, minutes, seconds),
        _ => return Err(wrong()),
    };
    let total = (hours * 60 + minutes) * 60 + seconds;
    if minutes > 59 || seconds > 59 || total > 86_400 {
        return Err(wrong());
    }
    Ok(total * 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantity(text: &str) -> Option<(i128, Unit)> {
        Quantity::parse(text).ok().map(|quantity| (quantity.base, quantity.unit))
    }

    #[test]
    fn units_are_decimal_or_binary_by_their_names() {
        assert_eq!(quantity("100 h"), Some((360_000_000_000, Unit::Microsecond)));
        assert_eq!(quantity("1 MB"), Some((1_000_000, Unit::Byte)));
        assert_eq!(quantity("1 MiB"), Some((1 << 20, Unit::Byte)));
        assert_eq!(quantity("1.5 GB"), Some((1_500_000_000, Unit::Byte)));
        assert_eq!(quantity("100"), Some((100, Unit::One)));
        assert_eq!(quantity("1 PB"), Some((10i128.pow(15), Unit::Byte)));
    }

    #[test]
    fn a_quantity_that_is_no_whole_number_of_units_is_refused() {
        for wrong in ["0.5", "1.5 us", "", "h", "1 fortnight", "-1 h", "1e3", "1.", ".5", "1 m"] {
            assert_eq!(quantity(wrong), None, "{wrong}");
        }
        assert_eq!(quantity("99999999999999999999999999999999 PB"), None);
    }

    #[test]
    fn the_last_time_of_day_is_24_00() {
        assert_eq!(time_of_day("00:00"), Ok(0));
        assert_eq!(time_of_day("19:00"), Ok(68_400_000_000));
        assert_eq!(time_of_day("24:00"), Ok(86_400_000_000));
        for wrong in ["24:01", "7:00", "12:60", "12", "noon", "12:00:00:00", "+1:00", "１２:００"]
        {
            assert!(time_of_day(wrong).is_err(), "{wrong}");
        }
    }
}
