//! Options: which offers, picks and opt-outs are valid (docs/plan-semantics.md section 6).
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use turnpike_account::{AccountChange, PartitionState};
use turnpike_plan::{OfferId, Period, StateEntry};
use turnpike_segment::head::{Cancellation, Change, Offer, OptOut, Pick, Settings, Subscription};
use turnpike_types::{AccountNumber, Timestamp};

const ACCOUNT: AccountNumber = AccountNumber(7);
const DAY: i64 = 86_400_000_000;
/// 2026-07-15 and 2026-08-15, in days since 1970.
const JULY: i32 = 20_649;
const AUGUST: i32 = JULY + 31;

/// The id of the offer that begins on a day.
fn phone(day: i32) -> OfferId {
    OfferId::of("phone", Timestamp(midnight(day)))
}

const fn midnight(day: i32) -> i64 {
    day as i64 * DAY
}

fn opened() -> PartitionState {
    let mut state = PartitionState::default();
    let settings = Settings {
        from_us: i64::MIN,
        zone: "UTC".to_owned(),
        cycle_day: 15,
        currency: "USD".to_owned(),
        ..Settings::default()
    };
    state.change(ACCOUNT, &Change::Opened(settings));
    state
}

fn offer(plans: &[&str], from_us: i64) -> Change {
    Change::Offered(Offer {
        option: "phone".to_owned(),
        plans: plans.iter().map(|&plan| plan.to_owned()).collect(),
        fee: "2.500000000".to_owned(),
        from_us,
        priority: 3,
    })
}

fn pick(plan_id: &str, cycle: i32) -> Change {
    Change::Picked(Pick { option: "phone".to_owned(), plan_id: plan_id.to_owned(), cycle })
}

fn opt_out(plan_id: &str, at_us: i64) -> Change {
    Change::OptedOut(OptOut { option: "phone".to_owned(), plan_id: plan_id.to_owned(), at_us })
}

fn subscribe(plan_id: &str, from_us: i64) -> Change {
    Change::Subscribed(Subscription {
        plan_id: plan_id.to_owned(),
        from_us,
        until_us: i64::MAX,
        priority: 3,
        ..Subscription::default()
    })
}

/// Checks a change, and applies it if it is valid, as an owner does.
fn done(state: &mut PartitionState, change: &Change) -> AccountChange {
    let judged = state.judge(ACCOUNT, change);
    if judged == AccountChange::Changes {
        state.change(ACCOUNT, change);
    }
    judged
}

fn why(state: &PartitionState, change: &Change) -> String {
    match state.judge(ACCOUNT, change) {
        AccountChange::Refused(why) => why,
        other => panic!("{other:?}"),
    }
}

/// (plan, option, fee) in force at `at`, in the order in which they rate.
fn in_force(state: &PartitionState, at: i64) -> Vec<(String, String, String)> {
    let profile = state.profiles().get(state.account(ACCOUNT).unwrap().profile).unwrap();
    let in_force = profile.subscriptions_at(Timestamp(at));
    let shown = |s: &Subscription| match s.is_alternative_at(at) {
        true => (s.plan_id.clone(), s.option.clone(), s.fee.clone()),
        false => (s.plan_id.clone(), String::new(), String::new()),
    };
    in_force.map(shown).collect()
}

#[test]
fn an_offer_makes_a_subscription_of_each_plan_in_the_order_of_the_list() {
    let mut state = opened();
    let offer = offer(&["small", "large"], midnight(JULY));
    assert_eq!(done(&mut state, &offer), AccountChange::Changes);
    assert_eq!(done(&mut state, &offer), AccountChange::Already);
    let alternative = |plan: &str| (plan.to_owned(), "phone".to_owned(), "2.500000000".to_owned());
    // Of equally cheap alternatives the first listed wins, so the position matters, not the name.
    let both = [alternative("small"), alternative("large")];
    assert_eq!(in_force(&state, midnight(JULY)), both);
    assert_eq!(in_force(&state, midnight(JULY) - 1), []);
}

#[test]
fn an_offer_does_not_overlap_what_is_in_force() {
    let mut state = opened();
    done(&mut state, &subscribe("large", midnight(JULY)));
    let overlapping = why(&state, &offer(&["small", "large"], midnight(AUGUST)));
    assert!(overlapping.contains("large") && overlapping.contains("cancel"), "{overlapping}");
    let plan_id = "large".to_owned();
    done(&mut state, &Change::Cancelled(Cancellation { plan_id, at_us: midnight(AUGUST) }));
    let from_august = offer(&["small", "large"], midnight(AUGUST));
    assert_eq!(done(&mut state, &from_august), AccountChange::Changes);
    let other_terms = why(&state, &offer(&["large", "small"], midnight(AUGUST)));
    assert!(other_terms.contains("opt out"), "{other_terms}");
    let alternative = why(&state, &subscribe("small", midnight(AUGUST)));
    assert!(alternative.contains("small"), "a plain subscription is another: {alternative}");
}

#[test]
fn a_pick_names_an_alternative_in_one_cycle_and_may_be_changed() {
    let mut state = opened();
    done(&mut state, &offer(&["small", "large"], midnight(JULY)));
    let held = |state: &PartitionState, plan: &str| {
        let variable = phone(JULY).choice();
        let value = state.account(ACCOUNT).unwrap().state.get(variable, Period(JULY));
        value == Some(turnpike_plan::plan_number(plan))
    };
    assert_eq!(done(&mut state, &pick("large", JULY)), AccountChange::Changes);
    assert!(held(&state, "large"));
    assert_eq!(done(&mut state, &pick("large", JULY)), AccountChange::Already);
    assert_eq!(done(&mut state, &pick("small", JULY)), AccountChange::Changes);
    assert!(held(&state, "small"));
    assert_eq!(state.judge(ACCOUNT, &pick("small", AUGUST)), AccountChange::Changes);
    let unknown = why(&state, &pick("huge", JULY));
    assert!(unknown.contains("small, large"), "{unknown}");
    let no_cycle = why(&state, &pick("small", JULY + 1));
    assert!(no_cycle.contains("2026-07-16") && no_cycle.contains("day 15"), "{no_cycle}");
    let before = why(&state, &pick("small", JULY - 61));
    assert!(before.contains("no option phone"), "{before}");
}

#[test]
fn a_cycle_day_of_31_is_the_last_day_of_a_short_month() {
    let mut state = opened();
    let settings = Settings {
        from_us: midnight(JULY),
        zone: "UTC".to_owned(),
        cycle_day: 31,
        currency: "USD".to_owned(),
        ..Settings::default()
    };
    done(&mut state, &Change::SettingsChanged(settings));
    done(&mut state, &offer(&["small", "large"], midnight(JULY)));
    let days_to = |days: i32| pick("small", JULY + days);
    // 2026-07-31, 2026-09-30 and 2027-02-28.
    for cycle in [16, 77, 228] {
        assert_eq!(state.judge(ACCOUNT, &days_to(cycle)), AccountChange::Changes, "{cycle}");
    }
    for no_cycle in [15, 46, 227, 229] {
        let refusal = why(&state, &days_to(no_cycle));
        assert!(refusal.contains("no billing cycle of the account begins"), "{no_cycle}");
    }
}

#[test]
fn opting_out_keeps_one_alternative_as_a_plain_subscription() {
    let mut state = opened();
    let (july, august) = (midnight(JULY), midnight(AUGUST));
    done(&mut state, &offer(&["small", "large"], july));
    assert!(why(&state, &opt_out("huge", august)).contains("small, large"));
    assert!(why(&state, &opt_out("large", july)).contains("begins later"));
    let end = opt_out("large", august);
    assert_eq!(done(&mut state, &end), AccountChange::Changes);
    assert_eq!(done(&mut state, &end), AccountChange::Already);
    assert_eq!(in_force(&state, august - 1).len(), 2);
    assert_eq!(in_force(&state, august), [("large".to_owned(), String::new(), String::new())]);
    // A retry of the original offer is recognized, although the option has ended.
    let offer_again = offer(&["small", "large"], july);
    assert_eq!(state.judge(ACCOUNT, &offer_again), AccountChange::Already);
    let too_late = why(&state, &opt_out("small", august + 1));
    assert!(too_late.contains("no option phone"), "{too_late}");
    // The option's name, and the plan that was dropped, can be offered again.
    let anew = offer(&["small", "middle"], august);
    assert_eq!(state.judge(ACCOUNT, &anew), AccountChange::Changes);
}

#[test]
fn a_cancelled_alternative_does_not_continue_past_its_end() {
    let mut state = opened();
    let (july, august) = (midnight(JULY), midnight(AUGUST));
    done(&mut state, &offer(&["small", "large"], july));
    let cancel = Cancellation { plan_id: "large".to_owned(), at_us: august };
    done(&mut state, &Change::Cancelled(cancel));
    assert_eq!(done(&mut state, &opt_out("large", july + DAY)), AccountChange::Changes);
    assert_eq!(in_force(&state, august - 1).len(), 1);
    assert_eq!(in_force(&state, august), []);
}

#[test]
fn accounts_that_are_not_open_have_no_options() {
    let state = PartitionState::default();
    for change in [offer(&["a", "b"], 0), pick("a", JULY), opt_out("a", 5)] {
        assert!(why(&state, &change).contains("not open"));
    }
}

/// Closes the cycles of the option that was offered on day `offered`, up to the cycle that begins
/// on day `open`.
fn close(state: &mut PartitionState, offered: i32, open: i32) {
    let closed = phone(offered).closed();
    let entry = StateEntry { variable: closed, period: Period(15), value: open.into() };
    state.set_variables(ACCOUNT, [entry], Timestamp(midnight(open)), Timestamp::MIN);
}

#[test]
fn nothing_is_dated_into_a_cycle_that_was_billed_and_the_earliest_date_is_named() {
    let mut state = opened();
    let (july, august) = (midnight(JULY), midnight(AUGUST));
    done(&mut state, &offer(&["small", "large"], july));
    close(&mut state, JULY, AUGUST);
    let cancel = |at_us| Change::Cancelled(Cancellation { plan_id: "small".to_owned(), at_us });
    let settings = |from_us| {
        let (zone, currency) = ("Asia/Tokyo".to_owned(), "USD".to_owned());
        Change::SettingsChanged(Settings {
            from_us,
            zone,
            cycle_day: 1,
            currency,
            ..Settings::default()
        })
    };
    for too_early in [opt_out("large", august - 1), cancel(august - 1), settings(august - 1)] {
        let why = why(&state, &too_early);
        assert!(why.contains("option phone") && why.contains("2026-08-15T00:00:00Z"), "{why}");
    }
    for in_time in [opt_out("large", august), cancel(august), settings(august)] {
        assert_eq!(state.judge(ACCOUNT, &in_time), AccountChange::Changes);
    }
    // The same option offered again is a new offer, without closed cycles.
    done(&mut state, &opt_out("large", august + DAY));
    close(&mut state, JULY, AUGUST + 31);
    let again = why(&state, &offer(&["small", "middle"], august + 2 * DAY));
    assert!(again.contains("2026-09-15T00:00:00Z"), "{again}");
    let next = offer(&["small", "middle"], midnight(AUGUST + 31));
    assert_eq!(state.judge(ACCOUNT, &next), AccountChange::Changes);
    let Change::Offered(other) = offer(&["small", "middle"], august + 2 * DAY) else { panic!() };
    let other = Change::Offered(Offer { option: "data".to_owned(), ..other });
    assert_eq!(state.judge(ACCOUNT, &other), AccountChange::Changes);
}

#[test]
fn alternatives_end_in_the_order_of_the_commands() {
    let mut state = opened();
    done(&mut state, &offer(&["small", "large"], midnight(JULY)));
    let cancel =
        |plan: &str, at_us| Change::Cancelled(Cancellation { plan_id: plan.to_owned(), at_us });
    done(&mut state, &cancel("small", midnight(JULY + 5)));
    // If the large plan ended before the small one, usage that only the large plan has rated since
    // would never be billed.
    let why = why(&state, &cancel("large", midnight(JULY + 3)));
    assert!(why.contains("2026-07-20T00:00:00Z"), "{why}");
    let in_order = cancel("large", midnight(JULY + 5));
    assert_eq!(state.judge(ACCOUNT, &in_order), AccountChange::Changes);
}

#[test]
fn an_opt_out_is_the_choice_for_its_cycle_and_later_picks_are_refused() {
    let mut state = opened();
    done(&mut state, &offer(&["small", "large"], midnight(JULY)));
    done(&mut state, &opt_out("large", midnight(JULY + 5)));
    let refused = why(&state, &pick("small", JULY));
    assert!(refused.contains("opted out") && refused.contains("large"), "{refused}");
    // The same name offered again within the cycle is a new offer with separate picks.
    done(&mut state, &offer(&["small", "middle"], midnight(JULY + 6)));
    assert_eq!(done(&mut state, &pick("small", JULY)), AccountChange::Changes);
    let account = state.account(ACCOUNT).unwrap();
    let picked = |offered| account.state.get(phone(offered).choice(), Period(JULY));
    assert_eq!(picked(JULY + 6), Some(turnpike_plan::plan_number("small")));
}

/// The tz database of another release may have zones that this one does not know.
#[test]
fn options_of_an_account_whose_zone_is_unknown_do_not_change_instead_of_counting_as_not_billed() {
    let mut state = opened();
    assert_eq!(done(&mut state, &offer(&["a", "b"], midnight(JULY))), AccountChange::Changes);
    let opt_out = opt_out("a", midnight(JULY + 3));
    assert_eq!(state.judge(ACCOUNT, &opt_out), AccountChange::Changes, "in a known zone");
    let moved = Settings {
        from_us: midnight(JULY + 1),
        zone: "Mars/Base".to_owned(),
        cycle_day: 15,
        currency: "USD".to_owned(),
        ..Settings::default()
    };
    state.change(ACCOUNT, &Change::SettingsChanged(moved));
    for change in [opt_out, pick("a", JULY)] {
        let why = why(&state, &change);
        assert!(why.contains("Mars/Base") && why.contains("newer release"), "{why}");
    }
}
