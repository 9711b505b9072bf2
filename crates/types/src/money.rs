//! Exact money: an integer number of billionths of a currency unit.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::iso_4217;
use crate::must::Must;

/// An amount in billionths (10^-9) of its currency's unit, the same scale as the `Decimal128(38,
/// 9)` columns of rated output.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Money(i128);

/// The largest amount that fits `Decimal128(38, 9)`.
const NANOS_MAX: i128 = 10i128.pow(38) - 1;

impl Money {
    /// The amount zero.
    pub const ZERO: Self = Self(0);
    /// The number of decimal places.
    pub const SCALE: u32 = 9;

    /// An amount of `nanos` billionths; `None` when it has more than 38 digits.
    pub const fn from_nanos(nanos: i128) -> Option<Self> {
        if nanos > NANOS_MAX || nanos < -NANOS_MAX { None } else { Some(Self(nanos)) }
    }

    /// The amount in billionths.
    pub const fn nanos(self) -> i128 {
        self.0
    }

    /// The sum; `None` when it has more than 38 digits.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Self::from_nanos(sum),
            None => None,
        }
    }
}

/// The text is not an amount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an amount: write a decimal with at most nine places, such as 12.50")]
pub struct MoneyError(pub String);

impl FromStr for Money {
    type Err = MoneyError;

    /// Parses a decimal with up to nine places, as [`fmt::Display`] writes it: `-12.345000000`,
    /// `5`.
    fn from_str(text: &str) -> Result<Self, MoneyError> {
        const PLACES: usize = Money::SCALE as usize;
        let wrong = || MoneyError(text.to_owned());
        let (sign, digits) = match text.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, text),
        };
        let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
        let plain = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !plain(whole) || !plain(part) || part.len() > PLACES {
            return Err(wrong());
        }
        let whole: i128 = whole.parse().map_err(|_| wrong())?;
        let part: i128 = format!("{part:0<PLACES$}").parse().map_err(|_| wrong())?;
        let nanos = whole.checked_mul(10i128.pow(Self::SCALE)).and_then(|n| n.checked_add(part));
        nanos.and_then(|nanos| Self::from_nanos(sign * nanos)).ok_or_else(wrong)
    }
}

impl fmt::Display for Money {
    /// Always nine decimal places: `10.000000000`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = 10u128.pow(Self::SCALE);
        let (whole, part) = (self.0.unsigned_abs() / unit, self.0.unsigned_abs() % unit);
        let sign = if self.0 < 0 { "-" } else { "" };
        f.pad(&format!("{sign}{whole}.{part:09}"))
    }
}

/// A currency: three capital letters. Stored data may hold codes that ISO 4217 does not list;
/// [`Currency::listed`] reads new input.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

/// The text is not a currency.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", not_a_currency(.0))]
pub struct CurrencyError(pub String);

impl CurrencyError {
    /// Whether the text is the code of a currency that was in use once.
    pub fn is_withdrawn(&self) -> bool {
        is_withdrawn(&self.0)
    }
}

fn is_withdrawn(text: &str) -> bool {
    iso_4217::WITHDRAWN.split(' ').any(|code| code == text)
}

fn not_a_currency(text: &str) -> String {
    match is_withdrawn(text) {
        true => format!(
            "{text:?} is not a currency in use: ISO 4217 no longer lists it; write the code of a \
             currency in use, such as EUR"
        ),
        false => format!(
            "{text:?} is not a currency: write its ISO 4217 code, three capital letters such as USD"
        ),
    }
}

impl Currency {
    /// Parses the code of a currency in use by ISO 4217.
    ///
    /// # Errors
    /// The text is not such a code.
    pub fn listed(text: &str) -> Result<Self, CurrencyError> {
        text.parse()
            .ok()
            .filter(|code: &Self| code.is_listed())
            .ok_or_else(|| text.to_owned())
            .map_err(CurrencyError)
    }

    /// Whether ISO 4217 lists the code as a currency in use.
    pub fn is_listed(self) -> bool {
        iso_4217::IN_USE.split(' ').any(|code| code.as_bytes() == self.0)
    }

    /// The three letters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).must("a currency has three capital letters")
    }

    /// The three letters as bytes.
    pub const fn bytes(self) -> [u8; 3] {
        self.0
    }
}

impl FromStr for Currency {
    type Err = CurrencyError;

    fn from_str(text: &str) -> Result<Self, CurrencyError> {
        match text.as_bytes() {
            [a, b, c] if [a, b, c].iter().all(|l| l.is_ascii_uppercase()) => Ok(Self([*a, *b, *c])),
            _ => Err(CurrencyError(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Currency {
    type Error = CurrencyError;

    fn try_from(text: String) -> Result<Self, CurrencyError> {
        text.parse()
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.as_str().to_owned()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_prints_nine_decimals_and_its_sign_even_below_one() {
        let print = |nanos| Money::from_nanos(nanos).map(|m| m.to_string());
        assert_eq!(print(10_000_000_000).as_deref(), Some("10.000000000"));
        assert_eq!(print(-1).as_deref(), Some("-0.000000001"));
        assert_eq!(print(0).as_deref(), Some("0.000000000"));
    }

    #[test]
    fn money_past_38_digits_is_refused_not_wrapped() {
        assert_eq!(Money::from_nanos(i128::MAX), None);
        let most = Money::from_nanos(NANOS_MAX).unwrap();
        assert_eq!(most.checked_add(Money::from_nanos(1).unwrap()), None);
    }

    #[test]
    fn amounts_are_read_as_they_are_written() {
        for text in ["10.000000000", "-0.000000001", "0.000000000"] {
            assert_eq!(text.parse::<Money>().map(|m| m.to_string()).as_deref(), Ok(text));
        }
        assert_eq!("1.5".parse(), Ok(Money(1_500_000_000)));
        for wrong in
            ["", "-", "+1", ".5", "5.", "1e3", "1.0000000001", "99999999999999999999999999999999"]
        {
            assert!(wrong.parse::<Money>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_currency_is_three_capital_letters() {
        assert!("USD".parse::<Currency>().is_ok());
        for wrong in ["usd", "US", "USDX", "", "U$D"] {
            assert!(wrong.parse::<Currency>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_currency_that_was_withdrawn_is_refused_as_such() {
        for code in ["HRK", "BGN", "DEM", "ANG"] {
            let told = Currency::listed(code).unwrap_err().to_string();
            assert!(told.contains("ISO 4217 no longer lists it"), "{told}");
        }
        let told = Currency::listed("ZZZ").unwrap_err().to_string();
        assert!(!told.contains("no longer"), "{told}");
        let mut in_use = iso_4217::IN_USE.split(' ');
        let both = in_use.find(|code| iso_4217::WITHDRAWN.split(' ').any(|old| old == *code));
        assert_eq!(both, None, "in one of the lists only");
    }

    #[test]
    fn only_currencies_in_use_are_listed() {
        let codes: Vec<&str> = iso_4217::IN_USE.split(' ').collect();
        assert_eq!(codes.len(), 176);
        assert!(codes.is_sorted_by(|a, b| a < b), "sorted, without doubles");
        for code in codes {
            assert_eq!(Currency::listed(code).map(|c| c.to_string()).as_deref(), Ok(code));
        }
        for wrong in [
            "ZZZ", "XXX", "XTS", "DEM", "BGN", "ANG", "HRK", "ZWL", "SLL", "usd", "US", "",
            "AED AFN", " US",
        ] {
            let told = Currency::listed(wrong).map_err(|error| error.to_string()).unwrap_err();
            assert!(told.contains("ISO 4217") && told.contains(wrong), "{told}");
        }
    }
}
