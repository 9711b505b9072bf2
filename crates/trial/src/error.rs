//! What makes a trial impossible: then no bill would be right.

use turnpike_plan::PlanErrors;
use turnpike_types::AccountNumber;

/// Why a trial can't go on. What is wrong with a single record is an
/// [`Outcome`](crate::Outcome), not an error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrialError {
    /// A subscription's values for the plan's parameters don't fit the plan.
    #[error("account {account}: plan {plan}: {errors}")]
    Parameters {
        /// Whose subscription.
        account: AccountNumber,
        /// The plan.
        plan: String,
        /// What is wrong.
        errors: PlanErrors,
    },
    /// The zone of an account's settings.
    #[error("account {account}: {zone:?} is no time zone; write a name of the IANA database")]
    Zone {
        /// Whose.
        account: AccountNumber,
        /// What stands there.
        zone: String,
    },
    /// An account was opened before.
    #[error("account {0} stands twice in the list of accounts; drop one")]
    AccountTwice(AccountNumber),
    /// An identity can lead to one account only.
    #[error("identity {identity} is bound to accounts {first} and {second}; drop one")]
    IdentityTwice {
        /// The identity.
        identity: String,
        /// Whose it was first.
        first: AccountNumber,
        /// Who claims it too.
        second: AccountNumber,
    },
    /// More records than a trial remembers.
    #[error("more than {max} records in one trial; rate them in several")]
    TooManyRecords {
        /// How many it remembers.
        max: usize,
    },
    /// More falls due than a trial books: a plan that began long ago, or time that goes on for long.
    #[error(
        "more than {max} charges fall due, now to account {account}; let the subscription begin \
         later, or time end sooner"
    )]
    TooManyDues {
        /// Whose turn it was.
        account: AccountNumber,
        /// How many it books.
        max: usize,
    },
}
