//! What kind of charge a line is.

macro_rules! kinds {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $number:literal, $word:literal;)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant,)+ }

        impl $name {
            /// Every kind there is.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The number that stands in segments; it never changes meaning.
            pub const fn number(self) -> u32 {
                match self { $(Self::$variant => $number,)+ }
            }

            /// The kind with this number.
            pub const fn from_number(number: u32) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)+ _ => None }
            }

            /// The word on receipts.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }
    };
}

kinds! {
    /// What kind of charge a line is.
    LineKind {
        /// Units times a price.
        Usage = 0, "usage";
        /// Once in a subscription's life.
        OneTime = 1, "one-time";
        /// Once a period.
        Recurring = 2, "recurring";
        /// A tax on another line.
        Tax = 3, "tax";
        /// Taken off other lines; mostly below zero.
        Discount = 4, "discount";
        /// One party's part of another line, which it replaces together with its like.
        Share = 5, "share";
        /// Another line in another currency.
        Conversion = 6, "conversion";
        /// What corrects other lines: volume tiers, caps, minimums, commitments, prorated credits.
        Adjustment = 7, "adjustment";
        /// A bonus credited.
        Bonus = 8, "bonus";
        /// What a usage monitor noticed; it costs nothing.
        Event = 9, "event";
        /// Of an option: the fee, or the lines of the alternative that won
        /// (docs/plan-semantics.md section 6).
        Option = 10, "option";
        /// A line of another account that was posted to this one (P33).
        Posting = 11, "posting";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_comes_back_from_its_number() {
        for &kind in LineKind::ALL {
            assert_eq!(LineKind::from_number(kind.number()), Some(kind));
        }
        assert_eq!(LineKind::from_number(LineKind::ALL.len() as u32), None);
    }
}
