//! Errors that end a trial, because it could not compute a correct bill.

use turnpike_plan::PlanErrors;
use turnpike_types::AccountNumber;

/// The reason why a trial ends. A fault of a single record is a
/// [`TrialOutcome`](crate::TrialOutcome), not an error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrialError {
    /// A subscription's parameter values do not fit the plan.
    #[error("account {account}: plan {plan}: {errors}")]
    Parameters {
        /// The subscribed account.
        account: AccountNumber,
        /// The id of the plan.
        plan: String,
        /// The errors of the plan with these parameters.
        errors: PlanErrors,
    },
    /// An account's settings have an unknown time zone.
    #[error("account {account}: {zone:?} is not a time zone; write a name of the IANA database")]
    Zone {
        /// The account with these settings.
        account: AccountNumber,
        /// The unknown name.
        zone: String,
    },
    /// An account is listed twice.
    #[error("account {0} is listed twice; remove one of the entries")]
    AccountTwice(AccountNumber),
    /// An identity is bound to two accounts.
    #[error(
        "identity {identity} is bound to accounts {first} and {second}; remove one of the bindings"
    )]
    IdentityTwice {
        /// The identity that is bound twice.
        identity: String,
        /// The account of the first binding.
        first: AccountNumber,
        /// The account of the second binding.
        second: AccountNumber,
    },
    /// More records than a trial can keep for deduplication.
    #[error("more than {max} records in one trial; rate them in several")]
    TooManyRecords {
        /// The maximum number of records.
        max: usize,
    },
    /// More due charges than a trial books, because a plan began long ago or the rated time ends
    /// far in the future.
    #[error(
        "more than {max} charges fall due, most recently for account {account}; let the subscription \
         begin later, or the rated time end earlier"
    )]
    TooManyDues {
        /// The account whose charges were being booked.
        account: AccountNumber,
        /// The maximum number of due charges and closes.
        max: usize,
    },
}
