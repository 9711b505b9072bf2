//! The kinds of charge lines.

macro_rules! kinds {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $number:literal, $word:literal;)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant,)+ }

        impl $name {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The number in segments; it never changes its meaning.
            pub const fn number(self) -> u32 {
                match self { $(Self::$variant => $number,)+ }
            }

            /// The kind with this number.
            pub const fn from_number(number: u32) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)+ _ => None }
            }

            /// The word on receipts and in the feed.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }
    };
}

kinds! {
    /// The kind of a charge line.
    LineKind {
        /// Usage: units times a price.
        Usage = 0, "usage";
        /// A charge made once for a subscription.
        OneTime = 1, "one-time";
        /// A charge made once in each period.
        Recurring = 2, "recurring";
        /// A tax on another line.
        Tax = 3, "tax";
        /// A discount on other lines; mostly negative.
        Discount = 4, "discount";
        /// A party's share of another line. The shares of all parties together replace that line.
        Share = 5, "share";
        /// Another line converted into another currency.
        Conversion = 6, "conversion";
        /// A correction of other lines: volume tiers, caps, minimums, commitments, prorated
        /// credits.
        Adjustment = 7, "adjustment";
        /// A credited bonus.
        Bonus = 8, "bonus";
        /// An event that a usage monitor reports; its amount is zero.
        Event = 9, "event";
        /// A line of an option: its fee, or the lines of the alternative that is billed
        /// (docs/plan-semantics.md section 6).
        Option = 10, "option";
        /// A line of another account that was posted to this account (P33).
        Posting = 11, "posting";
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
}
