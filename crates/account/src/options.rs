//! Options: an option is a set of alternative subscriptions under one name, of which one is billed
//! in each cycle (docs/plan-semantics.md section 6).

use std::collections::BTreeSet;

use jiff::ToSpan as _;
use jiff::civil::{Date, date};
use turnpike_plan::{
    AccountState, Cycle, OfferId, Period, StateEntry, Zone, first_instant_of, plan_number,
};
use turnpike_segment::head::{Offer, OptOut, Pick};
use turnpike_tariff::{Profile, Subscription};
use turnpike_types::{AccountNumber, Timestamp};

use crate::judgement::{AccountChange, instant};
use crate::overlap::{is_as_asked, occupied};

/// The maximum number of iterations in [`why_closed`]. Each iteration moves the proposed date of a
/// change past a closed cycle of one offer, possibly into a closed cycle of another offer.
const TURNS_MAX: usize = 64;

/// The offer that an alternative belongs to.
fn offer_of(alternative: &Subscription) -> OfferId {
    OfferId::of(&alternative.option, Timestamp(alternative.from_us))
}

/// The variables that a pick sets: one for each offer of the option in which the picked plan is an
/// alternative in that cycle.
pub(crate) fn choices(profile: &Profile, pick: &Pick) -> impl Iterator<Item = StateEntry> {
    let cycle = cycle_of(profile, Period(pick.cycle));
    let picked = profile.subscriptions.iter().filter(move |s| {
        let in_cycle = cycle.is_some_and(|(cycle, _)| is_in(s, &pick.option, cycle));
        in_cycle && s.plan_id == pick.plan_id
    });
    picked.map(|alternative| StateEntry {
        variable: offer_of(alternative).choice(),
        period: Period(pick.cycle),
        value: plan_number(&pick.plan_id),
    })
}

/// Whether the subscription is an alternative of the option at some instant of the cycle.
fn is_in(subscription: &Subscription, option: &str, cycle: Cycle) -> bool {
    subscription.option == option
        && subscription.from_us < cycle.to.0
        && cycle.from.0 < subscription.option_until_us()
}

/// The subscriptions that an offer creates.
pub fn alternatives(offer: &Offer) -> impl Iterator<Item = Subscription> {
    (0u32..).zip(&offer.plans).map(|(place, plan_id)| Subscription {
        plan_id: plan_id.clone(),
        from_us: offer.from_us,
        until_us: i64::MAX,
        priority: offer.priority,
        parameters: Default::default(),
        option: offer.option.clone(),
        fee: offer.fee.clone(),
        place,
        kept_from_us: None,
    })
}

pub(crate) fn judge_offer(
    number: AccountNumber,
    profile: &Profile,
    state: &AccountState,
    offer: &Offer,
) -> AccountChange {
    let of_option = || profile.subscriptions.iter().filter(|s| s.option == offer.option);
    let held = of_option().filter(|s| s.from_us == offer.from_us).count();
    let is_held = |new: Subscription| of_option().any(|old| is_as_asked(old, &new));
    if held > 0 && held == offer.plans.len() && alternatives(offer).all(is_held) {
        return AccountChange::Already;
    }
    if of_option().any(|old| offer.from_us < old.option_until_us()) {
        return AccountChange::Refused(format!(
            "option {} is in force at that time, with other alternatives or terms: opt out of it \
             first",
            offer.option
        ));
    }
    if let Some(old) = alternatives(offer).find_map(|new| profile.overlapping(&new)) {
        return occupied(number, profile, state, old, offer.from_us);
    }
    match why_closed(profile, state, of_option(), offer.from_us) {
        Some(why) => AccountChange::Refused(why),
        None => AccountChange::Changes,
    }
}

pub(crate) fn judge_pick(profile: &Profile, state: &AccountState, pick: &Pick) -> AccountChange {
    if let Some(why) = unreadable(profile) {
        return AccountChange::Refused(why);
    }
    let first_date =
        || date_of(pick.cycle).map_or_else(|| pick.cycle.to_string(), |date| date.to_string());
    let Some((cycle, day)) = cycle_of(profile, Period(pick.cycle)) else {
        let day = profile.settings.last().map_or(1, |settings| settings.cycle_day);
        return AccountChange::Refused(format!(
            "no billing cycle of the account begins on {}: its cycles begin on day {day} of a month",
            first_date()
        ));
    };
    let offered = || profile.subscriptions.iter().filter(|s| is_in(s, &pick.option, cycle));
    if !offered().any(|s| s.plan_id == pick.plan_id) {
        return no_alternative(&pick.option, &pick.plan_id, "in that cycle", offered());
    }
    let is_set = |choice: StateEntry| state.get(choice.variable, choice.period);
    if choices(profile, pick).all(|choice| is_set(choice) == Some(choice.value)) {
        return AccountChange::Already;
    }
    if offered().all(|s| offer_of(s).is_closed(state, day, cycle.first)) {
        return AccountChange::Refused(format!(
            "the cycle of option {} that begins on {} is closed: it was billed, so no alternative can \
             be picked for it",
            pick.option,
            first_date()
        ));
    }
    let kept = |s: &&Subscription| s.kept_from_us.is_some_and(|kept| kept < cycle.to.0);
    let mut picked = offered().filter(|s| s.plan_id == pick.plan_id).map(offer_of);
    let all_kept = picked.all(|offer| offered().filter(kept).any(|kept| offer_of(kept) == offer));
    match offered().find(kept).filter(|_| all_kept) {
        Some(kept) => AccountChange::Refused(format!(
            "the client opted out of option {} and kept {}, which also applies to that cycle",
            pick.option, kept.plan_id
        )),
        None => AccountChange::Changes,
    }
}

/// Checks an opt-out; `now` is the logged time.
pub(crate) fn judge_opt_out(
    profile: &Profile,
    state: &AccountState,
    end: &OptOut,
    now: Timestamp,
) -> AccountChange {
    let of_option = || profile.subscriptions.iter().filter(|s| s.option == end.option);
    if let Some(kept) = running(profile, end).find(|s| s.plan_id == end.plan_id) {
        let why = why_closed(profile, state, running(profile, end), end.at_us);
        // If the kept plan ended before another alternative, it did not rate the usage after its
        // end. The billed cycle would lack that usage.
        let is_over = kept.until_us <= now.0 && running(profile, end).any(|s| is_after(s, kept));
        return match why {
            Some(why) => AccountChange::Refused(why),
            None if is_over => AccountChange::Refused(format!(
                "{} ended before other alternatives of option {}: opt out and keep one of those",
                end.plan_id, end.option
            )),
            None => AccountChange::Changes,
        };
    }
    let is_kept = |s: &Subscription| s.plan_id == end.plan_id && s.kept_from_us == Some(end.at_us);
    if of_option().any(is_kept) {
        return AccountChange::Already;
    }
    if of_option().any(|s| s.from_us >= end.at_us) {
        return AccountChange::Refused(format!("option {} begins later than that", end.option));
    }
    no_alternative(&end.option, &end.plan_id, "at that instant", running(profile, end))
}

fn is_after(other: &Subscription, than: &Subscription) -> bool {
    other.until_us > than.until_us
}

/// Applies an opt-out: ends the option, and one of its plans continues as a plain subscription. The
/// end of that subscription does not change. Its start stays the start of the offer, so that
/// one-time charges and counters are kept.
pub(crate) fn opt_out(profile: &mut Profile, end: &OptOut) {
    if !running(profile, end).any(|s| s.plan_id == end.plan_id) {
        return;
    }
    for alternative in profile.subscriptions.iter_mut().filter(|s| is_running(s, end)) {
        if alternative.plan_id == end.plan_id {
            alternative.kept_from_us = Some(end.at_us);
        } else {
            alternative.until_us = end.at_us;
        }
    }
}

/// The reason why an alternative can't end at an instant; `None` if it can.
pub(crate) fn why_not_ended(
    profile: &Profile,
    state: &AccountState,
    ending: &Subscription,
    at_us: i64,
) -> Option<String> {
    if ending.option.is_empty() || ending.option_until_us() <= at_us {
        return None;
    }
    let offer = offer_of(ending);
    let siblings = profile.subscriptions.iter();
    let siblings =
        siblings.filter(|s| s.option == ending.option && offer_of(s) == offer && *s != ending);
    // The other alternatives of the offer did not rate the usage since their end. If this
    // alternative ended before that, this usage would never be billed.
    let ended = siblings.map(Subscription::option_until_us).filter(|&until| until < i64::MAX).max();
    let in_order = ended.map_or(at_us, |ended| ended.max(at_us));
    if in_order < ending.option_until_us()
        && let Some(why) = why_closed(profile, state, [ending], in_order)
    {
        return Some(why);
    }
    (at_us < in_order).then(|| {
        format!(
            "other alternatives of option {} ended later: {} may end from {} on",
            ending.option,
            ending.plan_id,
            instant(in_order)
        )
    })
}

/// The reason why settings can't change from an instant on; `None` if they can.
pub(crate) fn why_not_changed(
    profile: &Profile,
    state: &AccountState,
    from_us: i64,
) -> Option<String> {
    let alternatives = profile.subscriptions.iter().filter(|s| !s.option.is_empty());
    why_closed(profile, state, alternatives.filter(|s| from_us < s.option_until_us()), from_us)
}

/// The reason why a change of these alternatives can't take effect at `at_us`: the billing cycle
/// that contains `at_us` is closed and was billed. `None` if the change is allowed.
fn why_closed<'a>(
    profile: &Profile,
    state: &AccountState,
    alternatives: impl IntoIterator<Item = &'a Subscription>,
    at_us: i64,
) -> Option<String> {
    let offers: BTreeSet<(&str, OfferId)> =
        alternatives.into_iter().map(|s| (s.option.as_str(), offer_of(s))).collect();
    if !offers.is_empty()
        && let Some(why) = unreadable(profile)
    {
        return Some(why);
    }
    let mut earliest = at_us;
    let mut closed = None;
    for _ in 0..TURNS_MAX {
        // At the later date other settings may be in force, or another offer may have a closed
        // cycle. Therefore the later date is checked too.
        let later = offers.iter().filter_map(|(name, offer)| {
            Some((open_after(profile, state, *offer, earliest)?, *name))
        });
        let Some((later, name)) = later.max() else { break };
        earliest = later;
        closed = Some(name);
    }
    let name = closed?;
    Some(format!(
        "the cycle of option {name} at that time is closed and was billed: choose {} or later",
        instant(earliest)
    ))
}

/// Why the billing cycles of an account are not known; `None` if they are. A program with a newer
/// tz database may have stored a zone that this one does not know.
fn unreadable(profile: &Profile) -> Option<String> {
    let fault = profile.settings.iter().find_map(|settings| match Zone::parse(&settings.zone) {
        Err(error) => Some(error.to_string()),
        Ok(_) if u8::try_from(settings.cycle_day).is_err() => {
            Some(format!("cycle day {} is no day of a month", settings.cycle_day))
        }
        Ok(_) => None,
    })?;
    Some(format!(
        "this node can't read the account's billing cycles: {fault}; if a newer release stored \
         them, bring all nodes to that release, then send the command again"
    ))
}

/// The start of the first open cycle of an offer, if the cycle that contains `at_us` is closed;
/// `None` if that cycle is open.
fn open_after(profile: &Profile, state: &AccountState, offer: OfferId, at_us: i64) -> Option<i64> {
    let settings = profile.settings_at(Timestamp(at_us))?;
    let day = u8::try_from(settings.cycle_day).ok()?;
    let open = offer.first_open(state, day)?;
    let zone = Zone::parse(&settings.zone).ok()?;
    if open <= Cycle::at(&zone, day, Timestamp(at_us)).first {
        return None;
    }
    Some(first_instant_of(&zone, date_of(open.0)?).0)
}

fn running<'a>(profile: &'a Profile, end: &'a OptOut) -> impl Iterator<Item = &'a Subscription> {
    profile.subscriptions.iter().filter(|s| is_running(s, end))
}

/// Whether the subscription is an alternative of the option immediately before and after the
/// instant of the opt-out.
fn is_running(subscription: &Subscription, end: &OptOut) -> bool {
    subscription.option == end.option
        && subscription.from_us < end.at_us
        && end.at_us < subscription.option_until_us()
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
        format!(
            "{plan_id} is not an alternative of option {option} {when}: choose one of {offered}"
        )
    })
}

/// The billing cycle of the account whose first date is `first`, and the day of the month on which
/// billing cycles begin; `None` if the account has no such cycle among those that can be read
/// ([`unreadable`]).
fn cycle_of(profile: &Profile, first: Period) -> Option<(Cycle, u8)> {
    let settings = profile.settings.iter().enumerate();
    // Settings may change within a cycle, so each of the settings in force during the cycle is
    // tried.
    let mut cycles = settings.filter_map(|(at, settings)| {
        let day = u8::try_from(settings.cycle_day).ok()?;
        let cycle = Cycle::beginning(&Zone::parse(&settings.zone).ok()?, day, first)?;
        let until = profile.settings.get(at + 1).map_or(i64::MAX, |next| next.from_us);
        // Of several settings for one instant, only the last is ever in force.
        let holds = settings.from_us < until;
        (holds && settings.from_us < cycle.to.0 && cycle.from.0 < until).then_some((cycle, day))
    });
    cycles.next()
}

fn date_of(days: i32) -> Option<Date> {
    const EPOCH: Date = date(1970, 1, 1);
    EPOCH.checked_add(0.days().try_days(days).ok()?).ok()
}
