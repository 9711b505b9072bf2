//! The outcomes of records.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::AccountNumber;

/// The logged outcome of a record. A retry gets the same outcome (I5, P31).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// Rated: its charge lines are in the same segment.
    Rated,
    /// Rated after its billing cycle was closed: its lines post to the open cycle
    /// (docs/plan-semantics.md section 4).
    RatedLate,
    /// Not a usage record: a charge or the close of a cycle that fell due (docs/plan-semantics.md
    /// section 5). Its lines are in the same segment.
    FellDue,
    /// Not a usage record: a line of another account that is posted to this one (P33).
    Posted,
    /// In suspense until it is recycled.
    Suspended(SuspenseReason),
}

/// The destination of the amount of a charge line (docs/plan-semantics.md section 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Posting {
    /// To the record's own account.
    #[default]
    Account,
    /// To this other account, in the log of its partition (P33).
    Second(AccountNumber),
    /// Not posted: the line documents the usage, and no account is charged.
    Nobody,
    /// Not posted: lines that were derived from this line, such as shares, replace it.
    Replaced,
    /// Not posted yet: a tentative line of one of several alternatives, which are compared when the
    /// cycle closes (docs/plan-semantics.md section 6).
    Tentative,
}

impl Posting {
    /// The word that is shown to users, and by which lines are filtered.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Second(_) => "second-account",
            Self::Nobody => "nobody",
            Self::Replaced => "replaced",
            Self::Tentative => "trial",
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
            /// All reasons.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The number in segments and on the wire; it never changes its meaning.
            pub const fn code(self) -> u8 {
                self as u8
            }

            /// The reason with this number.
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)+ _ => None }
            }

            /// The word that is shown to users, and by which records are filtered.
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
    /// The reason why a record is in suspense: it was taken, but can't be rated yet.
    SuspenseReason {
        /// The account was never opened.
        UnknownAccount = 1, "unknown-account";
        /// The account has no subscription in force at the record's start.
        NoPlan = 2, "no-plan";
        /// Subscriptions are in force, but none accepts the record's usage type.
        NotAccepted = 3, "not-accepted";
        /// A number exceeded 128 bits, or an amount exceeded 38 digits.
        Overflow = 4, "overflow";
        /// No account is bound to the identity at the record's start.
        UnboundIdentity = 5, "unbound-identity";
        /// No partition covers the account number.
        NoPartition = 6, "no-partition";
        /// The plan reads a measure or attribute that the record does not have.
        MissingInput = 7, "missing-input";
        /// A subscription names a plan that the catalogue does not hold, or that has no version in
        /// force at the date.
        UnknownPlan = 8, "unknown-plan";
        /// The account's currency differs from the plan's.
        CurrencyMismatch = 9, "currency-mismatch";
        /// A `Weigher` of the plan has no weight for the value in the record.
        NoWeight = 10, "no-weight";
        /// A table that the plan reads has no version in force at the record's start.
        NoTable = 11, "no-table";
        /// The exchange rates in force have no rate for the pair of currencies.
        NoRate = 12, "no-rate";
        /// The dial plan in force has no prefix of the number.
        NoPrefix = 13, "no-prefix";
        /// The tax table in force has no entry for the place.
        NoTaxPlace = 14, "no-tax-place";
        /// The value of an attribute has the wrong form for the plan: it is not a number or an
        /// address, for example.
        BadAttribute = 15, "bad-attribute";
        /// No row of the plan's matrix determines the party to charge.
        NoParty = 16, "no-party";
        /// The record states a level, such as the storage in use, for an instant before the last
        /// statement.
        OutOfOrder = 17, "out-of-order";
        /// Two alternatives of an option would use the same state.
        SharedState = 18, "shared-state";
        /// An alternative of an option would post to a second account.
        PostsElsewhere = 19, "posts-elsewhere";
        /// The record is late, and the option whose alternatives would rate it has ended and is
        /// closed: its cycles were billed.
        AfterClose = 20, "after-close";
    }
}

reasons! {
    /// The reason why a record was rejected: no part of it is kept, and the sender must correct it.
    RejectReason {
        /// The bytes are not a usage record.
        Malformed = 1, "malformed";
        /// The record has no record id, or its record id is too long.
        BadRecordId = 2, "bad-record-id";
        /// The record names neither an account nor an identity, or an identity of an unknown kind.
        NoAccount = 3, "no-account";
        /// The record ends before it starts, or has a negative quantity.
        NegativeUsage = 4, "negative-usage";
        /// The record starts before the acceptance horizon (P26).
        TooOld = 5, "too-old";
        /// The record ends more than five minutes after logged time (P26).
        InTheFuture = 6, "in-the-future";
        /// A record with the same key and other content was taken before.
        Conflict = 7, "conflict";
        /// A field of the record is longer than its limit.
        TooLarge = 8, "too-large";
        /// The record has no usage type.
        NoUsageType = 9, "no-usage-type";
        /// The usage type of the record begins with `turnpike.`, which is reserved for the cluster.
        ReservedUsageType = 10, "reserved-usage-type";
        /// The identity of the record is not a valid address or telephone number, or names several
        /// addresses.
        BadIdentity = 11, "bad-identity";
        /// A text of the record has a control character, such as NUL or a line break.
        BadText = 12, "bad-text";
        /// The sender may not send records of this account, or from this source.
        NotPermitted = 13, "not-permitted";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_read_back_from_its_code() {
        for &reason in SuspenseReason::ALL {
            assert_eq!(SuspenseReason::from_code(reason.code()), Some(reason));
        }
        for &reason in RejectReason::ALL {
            assert_eq!(RejectReason::from_code(reason.code()), Some(reason));
        }
        assert_eq!(SuspenseReason::from_code(0), None);
    }
}
