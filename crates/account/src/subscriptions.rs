//! Subscriptions: which ones an account may begin and end.
//!
//! A subscription ends at the instant of its cancellation. A cancellation at its start leaves an
//! empty interval: the subscription never began, and its start may be corrected by another one. An
//! end moves to an earlier instant only, because charges after it may not have been booked.

use turnpike_plan::AccountState;
use turnpike_segment::head::{Cancellation, EndMove};
use turnpike_tariff::{Profile, Subscription};
use turnpike_types::AccountNumber;

use crate::judgement::{AccountChange, instant};
use crate::options;
use crate::overlap::{is_as_asked, never_began_at, occupied};

pub(crate) fn judge_subscription(
    number: AccountNumber,
    profile: &Profile,
    state: &AccountState,
    new: &Subscription,
) -> AccountChange {
    if profile.subscriptions.contains(new) {
        return AccountChange::Already;
    }
    // The request repeats the original form of a subscription that was cancelled or kept later, also
    // if another one began after it.
    let mut begun = profile.subscriptions.iter().filter(|old| old.is_ever_in_force());
    if begun.any(|old| is_as_asked(old, new)) {
        return AccountChange::Already;
    }
    match profile.overlapping(new) {
        Some(old) => occupied(number, profile, state, old, new.from_us),
        None => AccountChange::Changes,
    }
}

/// The subscriptions to a plan that are in force at some instant.
fn of_plan<'a>(profile: &'a Profile, plan_id: &'a str) -> impl Iterator<Item = &'a Subscription> {
    profile.subscriptions.iter().filter(move |s| s.plan_id == plan_id && s.is_ever_in_force())
}

/// Whether the cancellation repeats one at the start of a subscription that never began. The
/// subscription that took its place and is in force then, `ending`, must not end by that.
fn is_repeated(profile: &Profile, end: &Cancellation, ending: &Subscription) -> bool {
    ending.from_us < end.at_us && never_began_at(profile, &end.plan_id, end.at_us)
}

/// The subscription that a cancellation ends, or has ended: the one in force just before the
/// instant, else the one that begins at it.
fn ending<'a>(profile: &'a Profile, end: &'a Cancellation) -> Option<&'a Subscription> {
    let is_before = |s: &&Subscription| s.from_us < end.at_us && end.at_us <= s.until_us;
    let before = of_plan(profile, &end.plan_id).find(is_before);
    before.or_else(|| of_plan(profile, &end.plan_id).find(|s| s.from_us == end.at_us))
}

/// The move of an end that a cancellation asks for: the subscription ends later already, or it never
/// began. `None` for an alternative, whose end is part of its option.
///
/// An earlier release reaches the same state by a cancellation at the start, but does not give the
/// charges back before it charges the same days to another subscription. So this cancellation is
/// logged as a kind of change that it refuses to read.
pub(crate) fn end_move(profile: &Profile, end: &Cancellation) -> Option<EndMove> {
    let ending = ending(profile, end)?;
    let never_began = end.at_us == ending.from_us;
    let is_moved = (ending.until_us < i64::MAX || never_began)
        && end.at_us < ending.until_us
        && !is_repeated(profile, end, ending);
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
        return match never_began_at(profile, plan, at_us) {
            true => AccountChange::Already,
            false => AccountChange::Refused(why_none_ends(number, profile, end)),
        };
    };
    if ending.until_us == at_us || is_repeated(profile, end, ending) {
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
        Some(old) if is_end(old, end) => AccountChange::Changes,
        _ => AccountChange::Refused(format!(
            "no plain subscription to {plan_id} from {} ends after {}",
            instant(*from_us),
            instant(*until_us)
        )),
    }
}

/// Whether the move gives the subscription a valid end: it has an end already, or never begins.
const fn is_end(old: &Subscription, end: &EndMove) -> bool {
    end.from_us <= end.until_us && (old.until_us < i64::MAX || end.until_us == end.from_us)
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
