//! What became of a record.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The logged outcome of a record; a retry gets it again (I5, P31).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// Rated: its charge lines stand in the same segment.
    Rated,
    /// Waiting in suspense until it is recycled.
    Suspended(SuspenseReason),
}

macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $code:literal, $word:literal;)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[repr(u8)]
        pub enum $name { $($(#[$vdoc])* $variant = $code,)+ }

        impl $name {
            /// Every reason there is.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The number that stands in segments and on the wire; it never changes meaning.
            pub const fn code(self) -> u8 {
                self as u8
            }

            /// The reason with this number.
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)+ _ => None }
            }

            /// The word that people filter by.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.word())
            }
        }
    };
}

reasons! {
    /// Why a record waits in suspense: it was taken, and can't be rated yet.
    SuspenseReason {
        /// The account was never opened.
        UnknownAccount = 1, "unknown-account";
        /// The account has no subscription in force at the record's start.
        NoPlan = 2, "no-plan";
        /// Subscriptions are in force, and none accepts the record's usage type.
        NotAccepted = 3, "not-accepted";
        /// A number outgrew 128 bits, or money 38 digits.
        Overflow = 4, "overflow";
        /// No account is bound to the identity at the record's start.
        UnboundIdentity = 5, "unbound-identity";
        /// No partition covers the account number.
        NoPartition = 6, "no-partition";
        /// The plan reads a measure or attribute that the record does not carry.
        MissingInput = 7, "missing-input";
        /// A subscription names a plan, or a date before its first version, that the catalogue
        /// does not hold.
        UnknownPlan = 8, "unknown-plan";
        /// The account's currency differs from the plan's.
        CurrencyMismatch = 9, "currency-mismatch";
        /// A weigher has no weight for what the record names.
        NoWeight = 10, "no-weight";
    }
}

reasons! {
    /// Why a record was refused: nothing of it is kept, the sender must mend it.
    RejectReason {
        /// The bytes are not a usage record.
        Malformed = 1, "malformed";
        /// No record id, or one that is too long.
        BadRecordId = 2, "bad-record-id";
        /// It names neither an account nor an identity, or an identity of no known kind.
        NoAccount = 3, "no-account";
        /// Its end is before its start, or a quantity is negative.
        NegativeUsage = 4, "negative-usage";
        /// It starts before the acceptance horizon (P26).
        TooOld = 5, "too-old";
        /// It starts more than five minutes ahead of logged time (P26).
        InTheFuture = 6, "in-the-future";
        /// The same key came before with other content.
        Conflict = 7, "conflict";
        /// A field is longer than its limit.
        TooLarge = 8, "too-large";
        /// It has no usage type.
        NoUsageType = 9, "no-usage-type";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_comes_back_from_its_code() {
        for &reason in SuspenseReason::ALL {
            assert_eq!(SuspenseReason::from_code(reason.code()), Some(reason));
        }
        for &reason in RejectReason::ALL {
            assert_eq!(RejectReason::from_code(reason.code()), Some(reason));
        }
        assert_eq!(SuspenseReason::from_code(0), None);
    }
}
