//! What became of a record.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::AccountNumber;

/// The logged outcome of a record; a retry gets it again (I5, P31).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// Rated: its charge lines stand in the same segment.
    Rated,
    /// Rated after its billing cycle was closed: its lines post to the open cycle
    /// (docs/plan-semantics.md section 4).
    RatedLate,
    /// No usage: something fell due by itself, a charge or the close of a cycle
    /// (docs/plan-semantics.md section 5). Its lines stand in the same segment.
    FellDue,
    /// No usage: a line of another account that is posted to this one (P33).
    Posted,
    /// Waiting in suspense until it is recycled.
    Suspended(SuspenseReason),
}

/// Where a charge line's amount goes (docs/plan-semantics.md section 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Posting {
    /// To the record's own account.
    #[default]
    Account,
    /// To this account instead, in its own log (P33).
    Second(AccountNumber),
    /// To nobody: it is said what was used, and nobody pays.
    Nobody,
    /// Nowhere: lines that were made of it stand in its place, such as shares.
    Replaced,
    /// Nowhere yet: one of several alternatives, compared when the cycle closes
    /// (docs/plan-semantics.md section 6).
    Trial,
}

impl Posting {
    /// The word that people filter by.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Second(_) => "second-account",
            Self::Nobody => "nobody",
            Self::Replaced => "replaced",
            Self::Trial => "trial",
        }
    }
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
        /// A table that the plan reads has no version in force at the record's start.
        NoTable = 11, "no-table";
        /// The exchange rates in force do not hold the pair of currencies.
        NoRate = 12, "no-rate";
        /// No prefix of the dial plan in force begins the number.
        NoPrefix = 13, "no-prefix";
        /// The tax table in force does not hold the place.
        NoTaxPlace = 14, "no-tax-place";
        /// An attribute holds something else than the plan reads: no number, no address.
        BadAttribute = 15, "bad-attribute";
        /// No row of the matrix says whose charge it is.
        NoParty = 16, "no-party";
        /// A level was stated for an instant before the last statement.
        OutOfOrder = 17, "out-of-order";
        /// Two alternatives of an option carry on one and the same state.
        SharedState = 18, "shared-state";
        /// An alternative of an option would post to a second account.
        PostsElsewhere = 19, "posts-elsewhere";
        /// It is late, and the option whose alternatives would rate it has ended and is closed.
        AfterClose = 20, "after-close";
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
        /// It ends more than five minutes after logged time (P26).
        InTheFuture = 6, "in-the-future";
        /// The same key came before with other content.
        Conflict = 7, "conflict";
        /// A field is longer than its limit.
        TooLarge = 8, "too-large";
        /// It has no usage type.
        NoUsageType = 9, "no-usage-type";
        /// Its usage type begins with `turnpike.`, which is the cluster's own.
        ReservedUsageType = 10, "reserved-usage-type";
        /// Its identity is no address, no telephone number, or names more than one address.
        BadIdentity = 11, "bad-identity";
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
