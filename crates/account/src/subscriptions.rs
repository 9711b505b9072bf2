//! Subscriptions: which ones an account may begin and end.
//!
//! A subscription ends at the instant of its cancellation. A cancellation at its start leaves an
//! empty interval: the subscription never began, and its start may be corrected by another one. An
//! end moves to an earlier instant only, because charges after it may not have been booked.

use turnpike_plan::AccountState;
use turnpike_segment::head::{Cancellation, EndMove, Subscription};
use turnpike_types::AccountNumber;

use crate::changes::AccountChange;
use crate::options::{self, instant};
use crate::profiles::Profile;

const MINUTE_US: i64 = 60_000_000;

pub(crate) fn judge_subscription(
    number: AccountNumber,
    profile: &Profile,
    state: &AccountState,
    new: &Subscription,
) -> AccountChange {
    if profile.subscriptions.contains(new) {
        return AccountChange::Already;
    }
    match profile.overlapping(new) {
        // The request repeats the original form of a subscription that was cancelled or kept later.
        Some(old) if is_as_asked(old, new) => AccountChange::Already,
        Some(old) => occupied(number, state, old, new.from_us),
        None => match why_not_again(profile, state, new) {
            Some(why) => AccountChange::Refused(why),
            None => AccountChange::Changes,
        },
    }
}

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
    } else if from_us == old.from_us && is_booked(state, from_us) {
        let later = next_minute(from_us);
        format!(
            "{has}, with another priority or other parameters: cancel it at a later instant ({}), \
             then subscribe from {} on",
            cancel(later),
            instant(later)
        )
    } else {
        format!("{has}: cancel it at that instant ({}), then send this again", cancel(from_us))
    })
}

/// The reason why `new` can't have its start: a subscription to the plan with this start was
/// cancelled before it began, and charges of it are booked. Charges are booked once for each start,
/// to the minute; those of unused days are given back, and would not be charged again.
pub(crate) fn why_not_again(
    profile: &Profile,
    state: &AccountState,
    new: &Subscription,
) -> Option<String> {
    let minute = |from_us: i64| from_us.div_euclid(MINUTE_US);
    let mut never_began = profile.subscriptions.iter().filter(|old| !old.is_ever_in_force());
    let is_again = never_began
        .any(|old| old.plan_id == new.plan_id && minute(old.from_us) == minute(new.from_us));
    (is_again && is_booked(state, new.from_us)).then(|| {
        format!(
            "charges of a subscription that began at {from} are booked, and are not booked again for \
             another one with this start: choose another start, such as {next}",
            from = instant(new.from_us),
            next = instant(next_minute(new.from_us)),
        )
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

/// The subscriptions to a plan that are in force at some instant.
fn of_plan<'a>(profile: &'a Profile, plan_id: &'a str) -> impl Iterator<Item = &'a Subscription> {
    profile.subscriptions.iter().filter(move |s| s.plan_id == plan_id && s.is_ever_in_force())
}

/// The subscription that a cancellation ends, or has ended: the one in force just before the
/// instant, else the one that begins at it.
fn ending<'a>(profile: &'a Profile, end: &'a Cancellation) -> Option<&'a Subscription> {
    let is_before = |s: &&Subscription| s.from_us < end.at_us && end.at_us <= s.until_us;
    let before = of_plan(profile, &end.plan_id).find(is_before);
    before.or_else(|| of_plan(profile, &end.plan_id).find(|s| s.from_us == end.at_us))
}

/// The move of an end that a cancellation asks for: the subscription ends later already. `None` for
/// an alternative, whose end is part of its option.
pub(crate) fn end_move(profile: &Profile, end: &Cancellation) -> Option<EndMove> {
    let ending = ending(profile, end)?;
    let is_moved = ending.until_us < i64::MAX && end.at_us < ending.until_us;
    (is_moved && ending.option.is_empty()).then(|| EndMove {
        plan_id: end.plan_id.clone(),
        from_us: ending.from_us,
        until_us: end.at_us,
    })
}

pub(crate) fn judge_cancellation(
    number: AccountNumber,
    profile: &Profile,
    state: &AccountState,
    end: &Cancellation,
) -> AccountChange {
    let (plan, at_us) = (&end.plan_id, end.at_us);
    if at_us == i64::MAX {
        return AccountChange::Refused("a cancellation needs an instant".to_owned());
    }
    let Some(ending) = ending(profile, end) else {
        let never_began = |s: &Subscription| s.plan_id == *plan && s.from_us == at_us;
        return match profile.subscriptions.iter().any(never_began) {
            true => AccountChange::Already,
            false => AccountChange::Refused(why_none_ends(number, profile, end)),
        };
    };
    if ending.until_us == at_us {
        return AccountChange::Already;
    }
    if ending.until_us < i64::MAX {
        let until = instant(ending.until_us);
        return AccountChange::Refused(match ending.option.as_str() {
            "" => format!("the subscription to {plan} has an end already, {until}"),
            option => format!(
                "{plan} ended at {until} as an alternative of option {option}, and this end does \
                 not move"
            ),
        });
    }
    if ending.from_us == at_us && !ending.option.is_empty() {
        return AccountChange::Refused(format!(
            "{plan} is an alternative of option {} that begins at that instant: choose a later one",
            ending.option
        ));
    }
    match options::why_not_ended(profile, state, ending, at_us) {
        Some(why) => AccountChange::Refused(why),
        None => AccountChange::Changes,
    }
}

/// Why no subscription to the plan can end at the instant.
fn why_none_ends(number: AccountNumber, profile: &Profile, end: &Cancellation) -> String {
    let plan = &end.plan_id;
    let later = of_plan(profile, plan).filter(|s| end.at_us < s.from_us);
    if let Some(later) = later.min_by_key(|s| s.from_us) {
        let from = instant(later.from_us);
        return match later.option.is_empty() {
            true => format!(
                "the subscription to {plan} begins at {from}, later than that: cancel it at its \
                 start, so that it never begins (turnpike account cancel {number} --plan {plan} --at \
                 {from}), or later"
            ),
            false => format!(
                "{plan}, an alternative of option {}, begins at {from}, later than that: choose an \
                 instant after it",
                later.option
            ),
        };
    }
    match of_plan(profile, plan).map(|s| s.until_us).max() {
        Some(until_us) => format!(
            "the subscription to {plan} ended at {until}, and an end moves to an earlier instant \
             only: subscribe again from there (turnpike account subscribe {number} --plan {plan} \
             --from {until})",
            until = instant(until_us)
        ),
        None => format!("account {number} has no subscription to {plan}"),
    }
}

pub(crate) fn judge_end_move(profile: &Profile, end: &EndMove) -> AccountChange {
    let EndMove { plan_id, from_us, until_us } = end;
    match profile.subscriptions.iter().find(|s| is_moved(s, end)) {
        Some(old) if old.until_us < i64::MAX && from_us <= until_us => AccountChange::Changes,
        _ => AccountChange::Refused(format!(
            "no plain subscription to {plan_id} from {} ends after {}",
            instant(*from_us),
            instant(*until_us)
        )),
    }
}

pub(crate) fn move_end(profile: &mut Profile, end: &EndMove) {
    if let Some(moved) = profile.subscriptions.iter_mut().find(|s| is_moved(s, end)) {
        moved.until_us = end.until_us;
    }
}

/// Whether this is the subscription whose end moves.
fn is_moved(subscription: &Subscription, end: &EndMove) -> bool {
    subscription.plan_id == end.plan_id
        && subscription.option.is_empty()
        && subscription.from_us == end.from_us
        && end.until_us < subscription.until_us
}
