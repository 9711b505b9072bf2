//! Alternatives: an option is several subscriptions of one name, of which one is billed each cycle
//! (PLANS section 6).

use jiff::ToSpan as _;
use jiff::civil::{Date, date};
use turnpike_plan::{
    AccountState, Period, StateEntry, Zone, first_instant_of, is_cycle_closed, option_choice,
    plan_number,
};
use turnpike_segment::head::{Offer, OptOut, Pick, Settings, Subscription};
use turnpike_types::Timestamp;

use crate::changes::{AccountChange, is_as_asked, occupied};
use crate::profiles::Profile;

/// A cycle is no longer than that.
const CYCLE_DAYS_MAX: i64 = 31;
const DAY_US: i64 = 86_400_000_000;

/// What a pick sets.
pub(crate) fn choice(pick: &Pick) -> StateEntry {
    StateEntry {
        variable: option_choice(&pick.option),
        period: Period(pick.cycle),
        value: plan_number(&pick.plan_id),
    }
}

/// The subscriptions that an offer makes.
pub(crate) fn alternatives(offer: &Offer) -> impl Iterator<Item = Subscription> {
    (0u32..).zip(&offer.plans).map(|(place, plan_id)| Subscription {
        plan_id: plan_id.clone(),
        from_us: offer.from_us,
        until_us: i64::MAX,
        priority: offer.priority,
        parameters: Default::default(),
        option: offer.option.clone(),
        fee: offer.fee.clone(),
        place,
    })
}

pub(crate) fn judge_offer(profile: &Profile, offer: &Offer) -> AccountChange {
    let of_option = || profile.subscriptions.iter().filter(|s| s.option == offer.option);
    let held = of_option().filter(|s| s.from_us == offer.from_us).count();
    let is_held = |new: Subscription| of_option().any(|old| is_as_asked(old, &new));
    if held > 0 && held == offer.plans.len() && alternatives(offer).all(is_held) {
        return AccountChange::Already;
    }
    if of_option().any(|old| offer.from_us < old.until_us) {
        return AccountChange::Refused(format!(
            "option {} is in force then, with other alternatives or terms: opt out of it first",
            offer.option
        ));
    }
    match alternatives(offer).find(|new| profile.overlapping(new).is_some()) {
        Some(new) => occupied(&new.plan_id),
        None => AccountChange::Changes,
    }
}

pub(crate) fn judge_pick(profile: &Profile, state: &AccountState, pick: &Pick) -> AccountChange {
    let Some(cycle) = cycle_of(profile, pick.cycle) else {
        let day = profile.settings.last().map_or(1, |settings| settings.cycle_day);
        return AccountChange::Refused(format!(
            "{} begins no billing cycle of the account: its cycles begin on day {day} of a month",
            date_of(pick.cycle).map_or_else(|| pick.cycle.to_string(), |date| date.to_string())
        ));
    };
    let in_cycle = |s: &&Subscription| {
        s.option == pick.option && s.from_us < cycle.1.0 && cycle.0.0 < s.until_us
    };
    let offered = || profile.subscriptions.iter().filter(in_cycle);
    if !offered().any(|s| s.plan_id == pick.plan_id) {
        return no_alternative(&pick.option, &pick.plan_id, "in that cycle", offered());
    }
    let choice = choice(pick);
    if state.get(choice.variable, choice.period) == Some(choice.value) {
        return AccountChange::Already;
    }
    if is_cycle_closed(&pick.option, state, cycle.2, Period(pick.cycle)) {
        return AccountChange::Refused(format!(
            "the cycle of option {} that begins on {} is closed: it was billed, and can't be chosen \
             for any more",
            pick.option,
            date_of(pick.cycle).map_or_else(|| pick.cycle.to_string(), |date| date.to_string())
        ));
    }
    AccountChange::Changes
}

pub(crate) fn judge_opt_out(profile: &Profile, end: &OptOut) -> AccountChange {
    if running(profile, end).any(|s| s.plan_id == end.plan_id) {
        return AccountChange::Changes;
    }
    let of_option = || profile.subscriptions.iter().filter(|s| s.option == end.option);
    let ended = of_option().any(|s| s.plan_id == end.plan_id && s.until_us == end.at_us);
    let goes_on = profile
        .subscriptions
        .iter()
        .any(|s| s.option.is_empty() && s.plan_id == end.plan_id && s.from_us == end.at_us);
    if ended && goes_on {
        return AccountChange::Already;
    }
    if of_option().any(|s| s.from_us >= end.at_us) {
        return AccountChange::Refused(format!("option {} begins later than that", end.option));
    }
    no_alternative(&end.option, &end.plan_id, "at that instant", running(profile, end))
}

/// Ends the option; one of its plans goes on as a plain subscription, for as long as it would have
/// as an alternative.
pub(crate) fn opt_out(profile: &mut Profile, end: &OptOut) {
    let Some(kept) = running(profile, end).find(|s| s.plan_id == end.plan_id) else { return };
    let kept = Subscription {
        from_us: end.at_us,
        option: String::new(),
        fee: String::new(),
        place: 0,
        ..kept.clone()
    };
    for alternative in profile.subscriptions.iter_mut().filter(|s| is_running(s, end)) {
        alternative.until_us = end.at_us;
    }
    profile.subscribe(kept);
}

fn running<'a>(profile: &'a Profile, end: &'a OptOut) -> impl Iterator<Item = &'a Subscription> {
    profile.subscriptions.iter().filter(|s| is_running(s, end))
}

/// Is it an alternative of the option, in force just before its end?
fn is_running(subscription: &Subscription, end: &OptOut) -> bool {
    subscription.option == end.option
        && subscription.from_us < end.at_us
        && end.at_us < subscription.until_us
}

fn no_alternative<'a>(
    option: &str,
    plan_id: &str,
    when: &str,
    offered: impl Iterator<Item = &'a Subscription>,
) -> AccountChange {
    let offered: Vec<&str> = offered.map(|s| s.plan_id.as_str()).collect();
    AccountChange::Refused(if offered.is_empty() {
        format!("no option {option} is in force {when}: `account show` lists the options")
    } else {
        let offered = offered.join(", ");
        format!("{plan_id} is no alternative of option {option} {when}: choose one of {offered}")
    })
}

/// From when and, at the latest, to when the cycle lasts that begins on this day, and on which day of
/// months its like begin; `None` when none of the account's does.
fn cycle_of(profile: &Profile, first_day: i32) -> Option<(Timestamp, Timestamp, u8)> {
    let first = date_of(first_day)?;
    let settings = profile.settings.iter().enumerate();
    // Settings may change within a cycle: whichever holds in it may have begun it.
    let mut cycles = settings.filter_map(|(at, settings)| {
        let start = start_of(settings, first)?;
        let end = start.saturating_add((CYCLE_DAYS_MAX + 1) * DAY_US);
        let until = profile.settings.get(at + 1).map_or(i64::MAX, |next| next.from_us);
        let day = u8::try_from(settings.cycle_day).ok()?;
        (settings.from_us < end.0 && start.0 < until).then_some((start, end, day))
    });
    cycles.next()
}

/// When `first` begins, if it is a cycle's first day by these settings: the cycle day, or the last
/// of a month that is too short for it (PLANS section 4).
fn start_of(settings: &Settings, first: Date) -> Option<Timestamp> {
    let day = u32::from(first.day().unsigned_abs());
    let last = u32::from(first.days_in_month().unsigned_abs());
    let zone = Zone::parse(&settings.zone).ok()?;
    (day == settings.cycle_day.min(last)).then(|| first_instant_of(&zone, first))
}

fn date_of(days: i32) -> Option<Date> {
    const EPOCH: Date = date(1970, 1, 1);
    EPOCH.checked_add(0.days().try_days(days).ok()?).ok()
}
