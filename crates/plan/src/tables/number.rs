//! Conversion of dialled telephone numbers to E.164, by the dialling rules of the caller's country
//! (docs/plan-semantics.md section 8).

use std::fmt;

use smallvec::SmallVec;
use turnpike_types::Must;

use super::countries::{DIGITS_MAX, begins_with_zero, country};

#[cfg(test)]
mod tests;

/// The dialling rules of a subscriber's home country.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HomePlan {
    /// The country code, such as `44`.
    country_code: Box<str>,
    /// The prefix before a number of another country, such as `00` or `011`.
    international_prefix: Box<str>,
    /// The prefix before a number of the same country, such as `0`, `1`, or empty.
    national_prefix: Box<str>,
    /// Whether the national prefix is part of the number in international form.
    keeps_national_prefix: bool,
    /// Whether a number without any prefix is national although it may be international.
    is_national_if_ambiguous: bool,
}

/// The country code of North America, whose callers dial ten digits, with or without the prefix 1.
const NORTH_AMERICA: &str = "1";
/// The most digits of an Italian number that does not begin with 0.
const ITALIAN_WITHOUT_0_MAX: usize = 10;
/// The country code of Italy, whose numbers keep their leading 0 in international form.
const ITALY: &str = "39";

impl HomePlan {
    /// The rules of a country. International numbers drop the national prefix, except in Italy.
    pub(crate) fn new(
        country_code: &str,
        international_prefix: &str,
        national_prefix: &str,
    ) -> Result<Self, String> {
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(country_code) || !(1..=3).contains(&country_code.len()) {
            return Err(format!(
                "\"{country_code}\" is not a country code: write 1 to 3 digits, such as 44"
            ));
        }
        if country_code.starts_with('0') {
            return Err(format!(
                "\"{country_code}\" is not a country code: no country code begins with 0"
            ));
        }
        if !digits(international_prefix) || !(1..=8).contains(&international_prefix.len()) {
            return Err(format!(
                "\"{international_prefix}\" is not an international prefix: write 1 to 8 digits, such as 00"
            ));
        }
        if !digits(national_prefix) || national_prefix.len() > 8 {
            return Err(format!(
                "\"{national_prefix}\" is not a national prefix: write up to 8 digits, such as 0, or nothing"
            ));
        }
        if national_prefix.starts_with(international_prefix) {
            return Err(format!(
                "the national prefix {national_prefix} begins with the international prefix {international_prefix}, so no national number could be dialled: write other prefixes"
            ));
        }
        Ok(Self {
            country_code: country_code.into(),
            international_prefix: international_prefix.into(),
            national_prefix: national_prefix.into(),
            keeps_national_prefix: country_code == ITALY,
            is_national_if_ambiguous: false,
        })
    }

    /// Sets whether the national prefix is part of the number in international form.
    pub(crate) fn keeping_national_prefix(self, keeps: bool) -> Self {
        Self { keeps_national_prefix: keeps, ..self }
    }

    /// Reads a number without any prefix as national, also if it may be international.
    pub(crate) fn national_if_ambiguous(self) -> Self {
        Self { is_national_if_ambiguous: true, ..self }
    }
}

/// The interpretation of a number without `+`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NumberReading {
    /// The number is read as dialled in the home country.
    Dialled(HomePlan),
    /// The number is read as dialled in the home country, without a check of its length by country.
    /// Plans that earlier releases published read numbers in this way, so that their prices do not
    /// change.
    Unchecked(HomePlan),
    /// The number begins with its country code. An international prefix before the country code is
    /// accepted if it begins with 0, because no country code begins with 0.
    International {
        /// The international prefix: `00`, `011`, or empty.
        prefix: Box<str>,
    },
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
        std::str::from_utf8(self.as_bytes()).must("digits are ASCII")
    }

    fn as_bytes(&self) -> &[u8] {
        let (digits, _) = self.bytes.split_at(self.len);
        digits
    }

    fn push(&mut self, digit: u8) -> Result<(), BadNumber> {
        assert!(digit.is_ascii_digit(), "{digit:#04x} is not a digit");
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

/// The reason why a text is not a telephone number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadNumber {
    #[error("it has no digits after its prefix")]
    Empty,
    #[error("it has more than {DIGITS_MAX} digits with its country code")]
    TooLong,
    #[error("{0:?} is not part of a telephone number")]
    Character(char),
    #[error("it ends like a decimal number of a spreadsheet: keep the column as text")]
    Decimal,
    #[error("no country code is a prefix of {0:?}")]
    NoCountry(Digits),
    #[error("{}", wrong_length(.0, *.1))]
    Length(Digits, usize),
    /// A 0 follows the country code, whose length is the second value.
    #[error("{}", national_prefix_inside(.0, *.1))]
    PrefixInside(Digits, usize),
    /// The notations that are not ambiguous.
    #[error("national or international? write {0}")]
    Ambiguous(Box<str>),
}

fn national_prefix_inside(digits: &Digits, code: usize) -> String {
    let (country_code, national) = digits.as_str().split_at_checked(code).unwrap_or_default();
    let without = national.strip_prefix('0').unwrap_or(national);
    format!(
        "the 0 after the country code {country_code} is not part of it: write +{country_code}{without}"
    )
}

fn wrong_length(digits: &Digits, code: usize) -> String {
    let (country_code, national) = digits.as_str().split_at_checked(code).unwrap_or_default();
    let lengths = country(digits.as_bytes()).map_or_else(String::new, |(_, known)| known.words());
    format!("as +{country_code} {national} it has {} digits, not {lengths}", national.len())
}

/// A number in international form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Number {
    /// A number whose length is possible in its country.
    Whole(Digits),
    /// A number that was dialled in its home country and is shorter than all numbers there, with
    /// the country code before it. It may be a service number such as 118118. Otherwise the number
    /// must be refused with the fault.
    Service(Digits, BadNumber),
}

/// The least number of digits of a service number.
const SERVICE_DIGITS_MIN: usize = 3;

/// Reads a number, and checks that its length is possible in its country.
pub(crate) fn read(number: &str, reading: &NumberReading) -> Result<Number, BadNumber> {
    if let NumberReading::Unchecked(home) = reading {
        return unchecked(number, home).map(Number::Whole);
    }
    let dialled = Dialled::of(number)?;
    let (digits, home) = match reading {
        NumberReading::Dialled(home) | NumberReading::Unchecked(home) => {
            normalised(&dialled, home)?
        }
        NumberReading::International { prefix } => {
            let rest = match prefix.starts_with('0') {
                true => without(dialled.digits.iter().copied(), prefix),
                false => None,
            };
            let digits = match rest {
                Some(rest) if !dialled.plus => international(rest, None)?,
                _ => international(dialled.digits.iter().copied(), None)?,
            };
            (digits, None)
        }
    };
    if digits.len == 0 {
        return Err(BadNumber::Empty);
    }
    let (code, lengths) = country(digits.as_bytes()).ok_or(BadNumber::NoCountry(digits))?;
    let national = digits.len - code;
    let is_length_with_prefix =
        lengths.holds(national) || lengths.holds(national.saturating_sub(1));
    if is_length_with_prefix && has_prefix_inside(&digits, code, reading) {
        return Err(BadNumber::PrefixInside(digits, code));
    }
    if lengths.holds(national) {
        return match home.and_then(|home| home.ambiguous(&dialled, &digits)) {
            Some(notations) => Err(BadNumber::Ambiguous(notations)),
            None => Ok(Number::Whole(digits)),
        };
    }
    let fault = BadNumber::Length(digits, code);
    match home {
        Some(_) if (SERVICE_DIGITS_MIN..lengths.min()).contains(&national) => {
            Ok(Number::Service(digits, fault))
        }
        _ => Err(fault),
    }
}

/// Whether a 0 follows the country code of a country whose numbers do not begin so. Where numbers
/// have many lengths, such a number would be as valid as the right one, and priced by another row.
fn has_prefix_inside(digits: &Digits, code: usize, reading: &NumberReading) -> bool {
    let (country_code, national) = digits.as_str().split_at_checked(code).unwrap_or_default();
    let is_kept = match reading {
        NumberReading::Dialled(home) | NumberReading::Unchecked(home) => {
            home.keeps_national_prefix && *home.country_code == *country_code
        }
        NumberReading::International { .. } => false,
    };
    national.starts_with('0') && !is_kept && !begins_with_zero(country_code, national)
}

/// Reads a number as earlier releases did. This must not change, because published versions of
/// plans price calls by the result.
fn unchecked(number: &str, home: &HomePlan) -> Result<Digits, BadNumber> {
    let mut dialled = number.chars().filter(|c| !matches!(c, ' ' | '.' | '-' | '(' | ')'));
    let is_international = dialled.clone().next() == Some('+');
    if is_international {
        dialled.next();
    }
    if let Some(strange) = dialled.clone().find(|c| !c.is_ascii_digit()) {
        return Err(BadNumber::Character(strange));
    }
    let dialled = dialled.filter_map(|c| u8::try_from(c).ok());
    let mut digits = Digits::NONE;
    if is_international {
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

impl HomePlan {
    /// The notations to choose from, if a number that was dialled without a prefix is valid in the
    /// home country and also as it is, with a country code first: `447700900123` is a British
    /// mobile number, and may be a German one. Only callers of a country with a national prefix
    /// dial something before national numbers, so that both readings are plausible. `national` is
    /// the number as one of the home country, in international form.
    fn ambiguous(&self, dialled: &Dialled, national: &Digits) -> Option<Box<str>> {
        let code = self.country_code.len();
        let as_dialled = national.as_str().get(code..).unwrap_or_default();
        if self.national_prefix.is_empty()
            || self.is_national_if_ambiguous
            || self.is_usual_without_prefix(as_dialled)
        {
            return None;
        }
        let abroad = international(dialled.digits.iter().copied(), Some(self)).ok()?;
        let (foreign, lengths) = country(abroad.as_bytes())?;
        if !lengths.holds(abroad.len.checked_sub(foreign)?) {
            return None;
        }
        let (abroad, prefix) = (abroad.as_str(), &self.international_prefix);
        let home = match self.keeps_national_prefix {
            true => format!("+{}", national.as_str()),
            false => format!("{}{as_dialled}", self.national_prefix),
        };
        Some(format!("+{abroad}, {prefix}{abroad} or {home}").into())
    }

    /// Whether callers in the home country usually dial such a number without a prefix. In North
    /// America these are all numbers: an area code and an exchange of three digits, which begin
    /// with 2 to 9, and four more digits. In Italy these are mobile and service numbers.
    fn is_usual_without_prefix(&self, national: &str) -> bool {
        let first = |part: &str, digits: std::ops::RangeInclusive<u8>| {
            part.bytes().next().is_some_and(|digit| digits.contains(&digit))
        };
        match &*self.country_code {
            NORTH_AMERICA => national.split_at_checked(3).is_some_and(|(area, exchange)| {
                national.len() == 10 && first(area, b'2'..=b'9') && first(exchange, b'2'..=b'9')
            }),
            ITALY if self.keeps_national_prefix => {
                let begins = ["1", "3", "5", "7", "8"].iter().any(|one| national.starts_with(one));
                begins && national.len() <= ITALIAN_WITHOUT_0_MAX
            }
            _ => false,
        }
    }
}

/// The digits of a dialled number; a prefix in parentheses such as `(0)` is stored as one digit.
#[derive(Debug)]
struct Dialled {
    plus: bool,
    digits: SmallVec<[u8; 32]>,
}

/// A national prefix in parentheses, as in `+44 (0)20 7946 0000`.
const TRUNK: u8 = b'(';

/// The most digits of a dialled number with all its prefixes.
const DIALLED_MAX: usize = 32;

impl Dialled {
    fn of(number: &str) -> Result<Self, BadNumber> {
        if is_decimal(number) {
            return Err(BadNumber::Decimal);
        }
        let mut dialled = Self { plus: false, digits: SmallVec::new() };
        let mut rest = number;
        while let Some(c) = rest.chars().next() {
            if dialled.digits.len() >= DIALLED_MAX {
                return Err(BadNumber::TooLong);
            }
            if let Some(after) = rest.strip_prefix("(0)").filter(|_| !dialled.digits.is_empty()) {
                dialled.digits.push(TRUNK);
                rest = after;
                continue;
            }
            (_, rest) = rest.split_at(c.len_utf8());
            match c {
                ' ' | '.' | '-' | '(' | ')' => {}
                '+' if !dialled.plus && dialled.digits.is_empty() => dialled.plus = true,
                '0'..='9' => dialled.digits.extend(u8::try_from(c)),
                strange => return Err(BadNumber::Character(strange)),
            }
        }
        Ok(dialled)
    }
}

/// Whether a text is a number with one decimal point and only zeros after it: `447700900123.0`.
fn is_decimal(number: &str) -> bool {
    let number = number.trim();
    let Some((whole, part)) = number.strip_prefix('+').unwrap_or(number).split_once('.') else {
        return false;
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits(whole) && !part.is_empty() && part.bytes().all(|byte| byte == b'0')
}

/// The international form of a dialled number. The home plan is returned too if the number was
/// dialled without a prefix and read as a number of the home country.
fn normalised<'h>(
    dialled: &Dialled,
    home: &'h HomePlan,
) -> Result<(Digits, Option<&'h HomePlan>), BadNumber> {
    let all = dialled.digits.iter().copied();
    if dialled.plus {
        return Ok((international(all, Some(home))?, None));
    }
    if let Some(rest) = without(all.clone(), &home.international_prefix) {
        return Ok((international(rest, Some(home))?, None));
    }
    let mut digits = Digits::NONE;
    let stripped = without(all.clone(), &home.national_prefix);
    let stripped = stripped.filter(|_| !home.keeps_national_prefix);
    let bare = stripped.is_none() || home.national_prefix.is_empty();
    let mut add = |national: &mut dyn Iterator<Item = u8>| {
        let mut national = national.map(|byte| if byte == TRUNK { b'0' } else { byte }).peekable();
        if national.peek().is_none() {
            return Ok(());
        }
        digits.push_all(home.country_code.bytes().chain(national))
    };
    match stripped {
        Some(mut rest) => add(&mut rest)?,
        None => add(&mut all.clone())?,
    }
    Ok((digits, bare.then_some(home)))
}

/// The digits of a number that begins with its country code. A national prefix in parentheses after
/// the country code is dropped, except if it is part of the number.
fn international(
    dialled: impl IntoIterator<Item = u8>,
    home: Option<&HomePlan>,
) -> Result<Digits, BadNumber> {
    let mut digits = Digits::NONE;
    for digit in dialled {
        if digit != TRUNK {
            digits.push(digit)?;
            continue;
        }
        let behind_code = country(digits.as_bytes()).is_some_and(|(code, _)| code == digits.len);
        let code = digits.as_str();
        let own = home.filter(|home| *home.country_code == *code);
        let kept = own.map_or(code == ITALY, |home| home.keeps_national_prefix);
        if !behind_code || kept {
            digits.push(b'0')?;
        }
    }
    Ok(digits)
}

/// The E.164 form of a number that was dialled in `home`. Does not check its length.
#[cfg(test)]
fn normalise(number: &str, home: &HomePlan) -> Result<Digits, BadNumber> {
    let (digits, _) = normalised(&Dialled::of(number)?, home)?;
    if digits.len == 0 { Err(BadNumber::Empty) } else { Ok(digits) }
}

/// The digits after a prefix; `None` if the digits do not begin with it.
fn without<I: Iterator<Item = u8>>(mut digits: I, prefix: &str) -> Option<I> {
    prefix.bytes().all(|expected| digits.next() == Some(expected)).then_some(digits)
}
