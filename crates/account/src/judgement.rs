//! The result of checking a change, and checks that changes of subscriptions and of options share.

use turnpike_segment::head::Subscription;

/// The result of checking a change of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountChange {
    /// The change is valid and changes the account.
    Changes,
    /// The account is already in this state.
    Already,
    /// The change is refused, with the reason.
    Refused(String),
}

/// Whether `old` is the subscription requested by `new`. The ends of the subscription and of its
/// option are not compared, because a cancellation or an opt-out may have changed them since.
pub(crate) fn is_as_asked(old: &Subscription, new: &Subscription) -> bool {
    let (until_us, kept_from_us) = (new.until_us, new.kept_from_us);
    Subscription { until_us, kept_from_us, ..old.clone() } == *new
}

pub(crate) fn occupied(plan_id: &str) -> AccountChange {
    AccountChange::Refused(format!(
        "a subscription to {plan_id} is in force at that time: cancel it first"
    ))
}
