//! Telephone numbers as dialled -> E.164, by the dialler's home plan
//! (docs/plan-semantics.md section 8).

use std::fmt;

use super::dial_plan::DIGITS_MAX;

/// How numbers are dialled where a subscriber is at home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HomePlan {
    /// `44`.
    country_code: Box<str>,
    /// What goes before a number of another country: `00`, `011`.
    international_prefix: Box<str>,
    /// What goes before a number of the same country: `0`, `1`, or nothing.
    national_prefix: Box<str>,
    /// Is it part of the number?
    keeps_national_prefix: bool,
}

/// The country code of Italy, whose numbers keep their 0.
const ITALY: &str = "39";

impl HomePlan {
    /// A country that drops its national prefix in international numbers, except Italy.
    pub(crate) fn new(
        country_code: &str,
        international_prefix: &str,
        national_prefix: &str,
    ) -> Result<Self, String> {
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(country_code) || !(1..=3).contains(&country_code.len()) {
            return Err(format!(
                "\"{country_code}\" is no country code: write 1 to 3 digits, such as 44"
            ));
        }
        if country_code.starts_with('0') {
            return Err(format!("\"{country_code}\" is no country code: none begins with 0"));
        }
        if !digits(international_prefix) || !(1..=8).contains(&international_prefix.len()) {
            return Err(format!(
                "\"{international_prefix}\" is no international prefix: write 1 to 8 digits, such as 00"
            ));
        }
        if !digits(national_prefix) || national_prefix.len() > 8 {
            return Err(format!(
                "\"{national_prefix}\" is no national prefix: write up to 8 digits, such as 0, or nothing"
            ));
        }
        if national_prefix.starts_with(international_prefix) {
            return Err(format!(
                "the national prefix {national_prefix} begins with the international one, {international_prefix}: no national number could be dialled"
            ));
        }
        Ok(Self {
            country_code: country_code.into(),
            international_prefix: international_prefix.into(),
            national_prefix: national_prefix.into(),
            keeps_national_prefix: country_code == ITALY,
        })
    }

    /// The same, but for whether its national prefix is part of the number.
    pub(crate) fn keeping_national_prefix(self, keeps: bool) -> Self {
        Self { keeps_national_prefix: keeps, ..self }
    }
}

/// The digits of an E.164 number: 1 to 15, the country code first.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digits {
    bytes: [u8; DIGITS_MAX],
    len: usize,
}

impl Digits {
    const NONE: Self = Self { bytes: [0; DIGITS_MAX], len: 0 };

    /// The digits, without `+`.
    pub(crate) fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..self.len).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }

    fn push(&mut self, digit: u8) -> Result<(), BadNumber> {
        let place = self.bytes.get_mut(self.len).ok_or(BadNumber::TooLong)?;
        *place = digit;
        self.len += 1;
        Ok(())
    }

    fn push_all(&mut self, digits: impl IntoIterator<Item = u8>) -> Result<(), BadNumber> {
        digits.into_iter().try_for_each(|digit| self.push(digit))
    }
}

impl fmt::Debug for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Not a telephone number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadNumber {
    #[error("it has no digits past its prefix")]
    Empty,
    #[error("it has more than {DIGITS_MAX} digits with its country code")]
    TooLong,
    #[error("{0:?} has no place in a telephone number")]
    Character(char),
}

/// The E.164 number that a number as dialled in `home` reaches.
pub(crate) fn normalise(number: &str, home: &HomePlan) -> Result<Digits, BadNumber> {
    let mut dialled = number.chars().filter(|c| !matches!(c, ' ' | '.' | '-' | '(' | ')'));
    let international = dialled.clone().next() == Some('+');
    if international {
        dialled.next();
    }
    if let Some(strange) = dialled.clone().find(|c| !c.is_ascii_digit()) {
        return Err(BadNumber::Character(strange));
    }
    let dialled = dialled.filter_map(|c| u8::try_from(c).ok());
    let mut digits = Digits::NONE;
    if international {
        digits.push_all(dialled)?;
    } else if let Some(rest) = without(dialled.clone(), &home.international_prefix) {
        digits.push_all(rest)?;
    } else {
        let national = match without(dialled.clone(), &home.national_prefix) {
            Some(rest) if !home.keeps_national_prefix => rest,
            _ => dialled,
        };
        if national.clone().next().is_some() {
            digits.push_all(home.country_code.bytes().chain(national))?;
        }
    }
    if digits.len == 0 { Err(BadNumber::Empty) } else { Ok(digits) }
}

/// What follows a prefix; `None` where it does not begin so.
fn without<I: Iterator<Item = u8>>(mut digits: I, prefix: &str) -> Option<I> {
    prefix.bytes().all(|expected| digits.next() == Some(expected)).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(country: &str, international: &str, national: &str) -> HomePlan {
        HomePlan::new(country, international, national).unwrap()
    }

    fn digits(number: &str, home: &HomePlan) -> String {
        normalise(number, home).unwrap().as_str().to_owned()
    }

    #[test]
    fn a_number_is_read_as_its_country_dials() {
        let britain = home("44", "00", "0");
        assert_eq!(digits("020 7946 0000", &britain), "442079460000");
        assert_eq!(digits("(020) 7946-0000", &britain), "442079460000");
        assert_eq!(digits("2079460000", &britain), "442079460000");
        assert_eq!(digits("00 1 212 555 0100", &britain), "12125550100");
        assert_eq!(digits("+1.212.555.0100", &britain), "12125550100");
        let america = home("1", "011", "1");
        assert_eq!(digits("1 (212) 555-0100", &america), "12125550100");
        assert_eq!(digits("212 555 0100", &america), "12125550100");
        assert_eq!(digits("011 44 20 7946 0000", &america), "442079460000");
        let denmark = home("45", "00", "");
        assert_eq!(digits("32 12 34 56", &denmark), "4532123456");
    }

    /// docs/plan-semantics.md section 8: Italy keeps its 0.
    #[test]
    fn italy_keeps_its_0_unless_told_otherwise() {
        let italy = home("39", "00", "0");
        assert_eq!(digits("06 698 1234", &italy), "39066981234");
        assert_eq!(digits("347 123 4567", &italy), "393471234567");
        assert_eq!(digits("0044 20 7946 0000", &italy), "442079460000");
        assert_eq!(digits("06 698", &italy.keeping_national_prefix(false)), "396698");
        let kept = home("44", "00", "0").keeping_national_prefix(true);
        assert_eq!(digits("020", &kept), "44020");
    }

    #[test]
    fn a_plus_wins_over_every_prefix() {
        assert_eq!(digits("+0044", &home("44", "00", "0")), "0044");
        assert_eq!(digits(" (+1) 1", &home("1", "011", "1")), "11");
    }

    #[test]
    fn what_is_no_number_is_refused_by_name() {
        let britain = home("44", "00", "0");
        for empty in ["", "+", "00", "0", " - ", "()."] {
            assert_eq!(normalise(empty, &britain), Err(BadNumber::Empty), "{empty}");
        }
        assert!(normalise("+123456789012345", &britain).is_ok());
        assert_eq!(normalise("+1234567890123456", &britain), Err(BadNumber::TooLong));
        assert_eq!(normalise("12345678901234", &britain), Err(BadNumber::TooLong));
        for (text, strange) in [("44+1", '+'), ("++44", '+'), ("1-800-FLY", 'F'), ("٣", '٣')] {
            assert_eq!(normalise(text, &britain), Err(BadNumber::Character(strange)), "{text}");
        }
    }

    #[test]
    fn a_home_plan_that_no_country_has_is_refused() {
        for (country, international, national) in [
            ("", "00", "0"),
            ("4444", "00", "0"),
            ("044", "00", "0"),
            ("+44", "00", "0"),
            ("44", "", "0"),
            ("44", "+", "0"),
            ("44", "00", "o"),
            ("44", "0", "0"),
            ("44", "00", "001"),
        ] {
            assert!(HomePlan::new(country, international, national).is_err(), "{country}");
        }
    }
}
