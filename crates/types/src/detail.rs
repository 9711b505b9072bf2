//! The detail of a suspense reason: the measure, attribute, number or plan that is missing.

use std::fmt::{self, Write as _};

use crate::limits::DETAIL_BYTES_MAX;
use crate::{AccountNumber, SuspenseReason};

/// A short text that accompanies a suspense reason, such as `record.duration` or `USD->CHF`; empty
/// for none.
///
/// At most [`DETAIL_BYTES_MAX`] bytes: a longer text is cut between characters and ends with `…`.
/// It contains no control characters, so that it fits on one line of a terminal or a CSV file.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Detail(Option<Box<str>>);

impl Detail {
    /// No detail.
    pub const NONE: Self = Self(None);

    /// Formats `text` and cuts it to the limit. Allocates at most [`DETAIL_BYTES_MAX`] bytes,
    /// however long the text is.
    pub fn new(text: impl fmt::Display) -> Self {
        let mut bounded = Bounded::default();
        // An error only means that the limit was reached.
        let _ = write!(bounded, "{text}");
        let text = bounded.finish();
        Self((!text.is_empty()).then(|| text.into_boxed_str()))
    }

    /// The text; empty for none.
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }

    /// Whether there is no detail.
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

/// The beginning of the detail of a record that was reassigned. Logs contain this text, so it never
/// changes.
const REASSIGNED: &str = "reassigned to account ";
/// What follows the account if it refused the record. Logs hold it: it never changes.
const REFUSES: &str = ", which refuses it: ";

impl Detail {
    /// The detail of a record that is suspended in the partition of the identity's first holder,
    /// and is to be rated for `account` (P28).
    pub fn reassigned(account: AccountNumber) -> Self {
        Self::new(format_args!("{REASSIGNED}{account}"))
    }

    /// The detail of a record that was reassigned to `account`, which refused it for `reason`, the
    /// word of a rejection.
    pub fn refused(account: AccountNumber, reason: &str) -> Self {
        Self::new(format_args!("{REASSIGNED}{account}{REFUSES}{reason}"))
    }

    /// The account of a detail made by [`Detail::reassigned`] or [`Detail::refused`]; `None` for any
    /// other detail.
    pub fn reassigned_to(&self) -> Option<AccountNumber> {
        let rest = self.as_str().strip_prefix(REASSIGNED)?;
        let number = rest.split_once(REFUSES).map_or(rest, |(number, _)| number);
        number.parse().ok().filter(|number| *number != 0).map(AccountNumber)
    }
}

impl fmt::Debug for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Collects text up to the limit.
#[derive(Default)]
struct Bounded {
    text: String,
    is_cut: bool,
}

const CUT: char = '…';

impl Bounded {
    fn finish(self) -> String {
        let mut text = self.text;
        if self.is_cut {
            while text.len() + CUT.len_utf8() > DETAIL_BYTES_MAX {
                text.pop();
            }
            text.push(CUT);
        }
        assert!(text.len() <= DETAIL_BYTES_MAX, "a detail is longer than its bound");
        text
    }
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        for letter in more.chars() {
            let letter = if letter.is_control() { ' ' } else { letter };
            if self.text.len() + letter.len_utf8() > DETAIL_BYTES_MAX {
                self.is_cut = true;
                return Err(fmt::Error);
            }
            self.text.push(letter);
        }
        Ok(())
    }
}

/// Why a record is in suspense: the reason and its detail.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Suspension {
    /// The reason, by which records are listed and counted.
    pub reason: SuspenseReason,
    /// The missing or invalid item; empty if the reason alone is sufficient.
    pub detail: Detail,
}

impl Suspension {
    /// A suspension with a detail.
    pub fn new(reason: SuspenseReason, detail: impl fmt::Display) -> Self {
        Self { reason, detail: Detail::new(detail) }
    }
}

impl From<SuspenseReason> for Suspension {
    fn from(reason: SuspenseReason) -> Self {
        Self { reason, detail: Detail::NONE }
    }
}

impl fmt::Display for Suspension {
    /// Writes `missing-input: record.duration`; only the reason if there is no detail.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.detail.is_empty() {
            true => f.write_str(self.reason.word()),
            false => write!(f, "{}: {}", self.reason, self.detail),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detail_is_bounded_in_bytes_and_cut_between_characters() {
        let short = Detail::new("record.duration");
        assert_eq!(short.as_str(), "record.duration");
        for letter in ["x", "é", "€", "🦀"] {
            for extra in 0..4 {
                let text = "y".repeat(extra) + &letter.repeat(1_000);
                let detail = Detail::new(&text);
                assert!(detail.as_str().len() <= DETAIL_BYTES_MAX, "{detail}");
                assert!(detail.as_str().len() > DETAIL_BYTES_MAX - 8, "{detail}");
                assert!(detail.as_str().ends_with('…'), "{detail}");
            }
        }
        let exact = "z".repeat(DETAIL_BYTES_MAX);
        assert_eq!(Detail::new(&exact).as_str(), exact);
    }

    /// P28: logs hold both forms of the decision.
    #[test]
    fn the_account_of_a_decision_is_read_from_both_forms_of_its_detail() {
        let account = AccountNumber(18_446_744_073_709_551_615);
        let plain = Detail::reassigned(account);
        assert_eq!(plain.as_str(), "reassigned to account 18446744073709551615");
        assert_eq!(plain.reassigned_to(), Some(account));
        let refused = Detail::refused(AccountNumber(8), "too-old");
        assert_eq!(refused.as_str(), "reassigned to account 8, which refuses it: too-old");
        for reason in ["", "too-old", &"x".repeat(500), ", which refuses it: 9", "é\n"] {
            assert_eq!(Detail::refused(account, reason).reassigned_to(), Some(account), "{reason}");
        }
        for other in [
            "",
            "reassigned to account ",
            "reassigned to account 0",
            "user:a",
            "reassigned to account 8, x",
        ] {
            assert_eq!(Detail::new(other).reassigned_to(), None, "{other}");
        }
        assert_eq!(Detail::refused(AccountNumber(0), "too-old").reassigned_to(), None);
    }

    #[test]
    fn a_detail_is_one_line() {
        assert_eq!(Detail::new("a\nb\tc\0d").as_str(), "a b c d");
        assert!(Detail::new("").is_empty());
    }

    #[test]
    fn a_suspension_is_written_with_its_detail() {
        let plain = Suspension::from(SuspenseReason::NoPlan);
        assert_eq!(plain.to_string(), "no-plan");
        let told = Suspension::new(SuspenseReason::NoRate, "USD->CHF");
        assert_eq!(told.to_string(), "no-rate: USD->CHF");
    }
}
