//! The kinds of charge lines.

use strum::{FromRepr, IntoStaticStr, VariantArray};

/// The kind of a charge line, and of the component of a plan that the line belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromRepr, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
#[repr(u32)]
pub enum LineKind {
    /// Usage: units times a price, or a step's constant.
    Usage = 0,
    /// A charge made once for a subscription.
    OneTime = 1,
    /// A charge made once in each period.
    Recurring = 2,
    /// A tax on another line.
    Tax = 3,
    /// A percentage of other lines, as a discount or a surcharge; mostly negative.
    Discount = 4,
    /// A party's share of another line. The shares of all parties together replace that line.
    Share = 5,
    /// Another line converted into another currency.
    Conversion = 6,
    /// A correction of other lines: volume tiers, caps, minimums, commitments, prorated credits.
    Adjustment = 7,
    /// A credited bonus.
    Bonus = 8,
    /// An event that a usage monitor reports; its amount is zero.
    Event = 9,
    /// A line of an option: its fee, or the lines of the alternative that is billed
    /// (docs/plan-semantics.md section 6).
    Option = 10,
    /// A line of another account that was posted to this account (P33). No component of a plan has
    /// this kind.
    Posting = 11,
}

impl LineKind {
    /// All kinds.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// The number in segments; it never changes its meaning.
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// The kind with this number.
    pub const fn from_number(number: u32) -> Option<Self> {
        Self::from_repr(number)
    }

    /// The word on receipts and in the feed.
    pub fn word(self) -> &'static str {
        self.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read_back_from_its_number() {
        for &kind in LineKind::ALL {
            assert_eq!(LineKind::from_number(kind.number()), Some(kind));
        }
        assert_eq!(LineKind::from_number(LineKind::ALL.len() as u32), None);
    }

    /// Segments hold the numbers, and clients read the words.
    #[test]
    fn numbers_and_words_of_kinds_never_change() {
        let words = [
            "usage",
            "one-time",
            "recurring",
            "tax",
            "discount",
            "share",
            "conversion",
            "adjustment",
            "bonus",
            "event",
            "option",
            "posting",
        ];
        let listed = LineKind::ALL.iter().map(|kind| (kind.number(), kind.word()));
        assert!(listed.eq((0..).zip(words)));
    }
}
