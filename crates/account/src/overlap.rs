//! A subscription that is in force when another one of its plan is to begin.

use turnpike_plan::AccountState;
use turnpike_tariff::{Profile, Subscription};
use turnpike_types::AccountNumber;

use crate::judgement::{AccountChange, instant};

const MINUTE_US: i64 = 60_000_000;

/// Whether `old` is the subscription requested by `new`. The ends of the subscription and of its
/// option are not compared.
pub(crate) fn is_as_asked(old: &Subscription, new: &Subscription) -> bool {
    let (until_us, kept_from_us) = (new.until_us, new.kept_from_us);
    Subscription { until_us, kept_from_us, ..old.clone() } == *new
}

/// The refusal of a subscription from `from_us` on: `old` is in force then or later. It names the
/// command that makes room.
pub(crate) fn occupied(
    number: AccountNumber,
    profile: &Profile,
    state: &AccountState,
    old: &Subscription,
    from_us: i64,
) -> AccountChange {
    let plan = &old.plan_id;
    let has = format!("account {number} has a subscription to {plan} {}", interval(old));
    if !old.option.is_empty() {
        return AccountChange::Refused(format!(
            "{has}, as an alternative of option {option}: end the option first (turnpike account \
             opt-out {number} --option {option}, with the plan to keep and the instant)",
            option = old.option
        ));
    }
    let cancel =
        |at_us| format!("turnpike account cancel {number} --plan {plan} --at {}", instant(at_us));
    AccountChange::Refused(if from_us < old.from_us {
        format!(
            "{has}: to begin earlier, cancel it at its start ({}), then send this again",
            cancel(old.from_us)
        )
    } else if from_us == old.from_us && is_booked(state, from_us)
        || never_began_at(profile, plan, from_us)
    {
        let later = next_minute(from_us);
        format!(
            "{has}, and charges may be booked for a start at {}: cancel it at a later instant ({}), \
             then subscribe from {} on",
            instant(from_us),
            cancel(later),
            instant(later)
        )
    } else {
        format!("{has}: cancel it at that instant ({}), then send this again", cancel(from_us))
    })
}

/// Whether a charge of a subscription with this start is booked. Such charges are stored under the
/// minute of the start.
fn is_booked(state: &AccountState, from_us: i64) -> bool {
    let minute = i32::try_from(from_us.div_euclid(MINUTE_US));
    minute.is_ok_and(|minute| state.iter().any(|entry| entry.period.0 == minute))
}

const fn next_minute(at_us: i64) -> i64 {
    at_us.div_euclid(MINUTE_US).saturating_add(1).saturating_mul(MINUTE_US)
}

/// The interval of a subscription in words.
fn interval(subscription: &Subscription) -> String {
    let from = instant(subscription.from_us);
    match subscription.until_us {
        i64::MAX => format!("from {from} on"),
        until_us => format!("from {from} until {}", instant(until_us)),
    }
}

/// Whether a subscription to the plan was cancelled at this instant, its start.
pub(crate) fn never_began_at(profile: &Profile, plan_id: &str, at_us: i64) -> bool {
    let mut never_began = profile.subscriptions.iter().filter(|s| !s.is_ever_in_force());
    never_began.any(|s| s.plan_id == plan_id && s.from_us == at_us)
}
