//! Bonuses that exceed a billing cycle's charges are carried into the next cycle.
//!
//! docs/plan-semantics.md section 5: bonuses never take a cycle below zero, and the excess is
//! carried on when the cycle closes, after commitments and the comparison of alternatives.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support;

use support::due::{Booked, Contract, Ledger, Subscription, at, period, plan_of};
use support::event;
use turnpike_types::Posting;

/// An advertiser pays 2 for each ad. The account that views the ad is granted half of that as a
/// bonus.
const ADS: &str = r#"<UsageTypeSelector id="ads" in="record.quantity" types="ad"/>
    <StepRater id="show" in="ads.pass"><step id="ad" price="2" per="1"/></StepRater>
    <CostResponsibilityMatrix id="who" in="show.charge"><party id="advertiser" account="902"/><row shares="advertiser=1"/></CostResponsibilityMatrix>
    <BonusCredit id="reward" in="who.others"><grant from="902" to="self" percent="50"/></BonusCredit>
    <SecondAccountFinalizer id="theirs" in="reward.charge"/>"#;

/// Primitives for calls at 1 per unit, and for a monthly fee that is prorated by days.
fn calls(fee: &str) -> String {
    format!(
        r#"<UsageTypeSelector id="calls" in="record.quantity" types="call"/>
    <StepRater id="call" in="calls.pass"><step id="used" price="1" per="1"/></StepRater>
    <MonthlyRecurringCharge id="fee" amount="{fee}" prorate="day"/>
    <AccountFinalizer id="mine" in="call.charge fee.charge"/>"#
    )
}

fn rewarded(id: &str, fee: &str) -> String {
    plan_of(id, 1, "2026-01-01", &format!("{ADS}{}", calls(fee)))
}

fn ads_only() -> String {
    plan_of("ads", 1, "2026-01-01", ADS)
}

fn plain(id: &str, fee: &str) -> String {
    plan_of(id, 1, "2026-01-01", &calls(fee))
}

fn contract(fee: &str) -> Contract {
    Contract::in_zone("UTC").with(Subscription::to(&rewarded("p", fee), "2026-01-01"))
}

/// Rates usage that arrives without delay.
fn used(contract: &Contract, usage: &[(&str, &str, i64)]) -> Ledger {
    let mut ledger = Ledger::new();
    more(&mut ledger, contract, usage);
    ledger
}

fn more(ledger: &mut Ledger, contract: &Contract, usage: &[(&str, &str, i64)]) {
    for (kind, on, quantity) in usage {
        let record = event(kind, on, *quantity);
        ledger.rate(contract, &record, record.start).unwrap();
    }
}

/// The lines of bonus offsets, as `DATE component amount`.
fn offsets(ledger: &Ledger) -> Vec<String> {
    let booked = ledger.lines.iter().filter(|line| line.component.starts_with("bonus-"));
    booked.map(Booked::shown).collect()
}

const IN_JANUARY: &str = "2026-01-10T12:00:00Z";
const IN_FEBRUARY: &str = "2026-02-10T12:00:00Z";

#[test]
fn excess_bonus_is_carried_into_the_next_cycle() {
    let contract = contract("5");
    let mut ledger = used(&contract, &[("call", IN_JANUARY, 3), ("ad", IN_JANUARY, 10)]);
    // The cycle closes two days after its end, and not before.
    ledger.sweep(&contract, "2026-02-02T23:59:59Z");
    assert!(offsets(&ledger).is_empty());
    ledger.sweep(&contract, "2026-02-03");
    // The charges of January are 5 + 3, and the bonuses 10.
    assert_eq!(
        offsets(&ledger),
        ["2026-02-03 bonus-carried-forward 2", "2026-02-03 bonus-brought-forward -2"]
    );
    let of: Vec<_> = ledger.lines.iter().rev().take(2).map(|line| line.period).collect();
    assert_eq!(of, ["2026-02-01", "2026-01-01"].map(period));
    assert!(ledger.lines.iter().rev().take(2).all(|line| line.by == "offset"));
}

#[test]
fn a_bonus_not_above_the_charges_is_not_carried() {
    let contract = contract("5");
    for ads in [4, 5] {
        let mut ledger = used(&contract, &[("ad", IN_JANUARY, ads)]);
        ledger.sweep(&contract, "2026-05-05");
        assert!(offsets(&ledger).is_empty(), "{ads}");
    }
}

#[test]
fn charges_before_the_first_bonus_count_as_those_after_it() {
    let contract = contract("0");
    let before = [("call", IN_JANUARY, 7), ("ad", "2026-01-11T12:00:00Z", 10)];
    let after = [("ad", IN_JANUARY, 10), ("call", "2026-01-11T12:00:00Z", 7)];
    for usage in [before, after] {
        let mut ledger = used(&contract, &usage);
        ledger.sweep(&contract, "2026-02-03");
        assert_eq!(
            offsets(&ledger),
            ["2026-02-03 bonus-carried-forward 3", "2026-02-03 bonus-brought-forward -3"]
        );
    }
}

#[test]
fn an_excess_bonus_is_carried_until_it_is_used_up() {
    let contract = contract("5");
    let mut ledger = used(&contract, &[("ad", IN_JANUARY, 17)]);
    ledger.sweep(&contract, "2026-12-31");
    assert_eq!(
        offsets(&ledger),
        [
            "2026-02-03 bonus-carried-forward 12",
            "2026-02-03 bonus-brought-forward -12",
            "2026-03-03 bonus-carried-forward 7",
            "2026-03-03 bonus-brought-forward -7",
            "2026-04-03 bonus-carried-forward 2",
            "2026-04-03 bonus-brought-forward -2",
        ]
    );
}

#[test]
fn carried_and_new_bonuses_are_offset_together() {
    let contract = contract("5");
    let usage = [("ad", IN_JANUARY, 8), ("ad", IN_FEBRUARY, 4), ("call", IN_FEBRUARY, 1)];
    let mut ledger = used(&contract, &usage);
    ledger.sweep(&contract, "2026-03-03");
    // January: fee 5 - bonus 8 = -3, carried. February: fee 5 + call 1 - carried 3 - bonus 4 = -1.
    assert_eq!(
        offsets(&ledger)[2..],
        ["2026-03-03 bonus-carried-forward 1", "2026-03-03 bonus-brought-forward -1"]
    );
}

/// However late the sweep is, the earlier cycle is closed first, since its excess is carried into
/// the later one.
#[test]
fn cycles_that_are_over_are_closed_in_their_order() {
    let contract = contract("0");
    let mut ledger = used(&contract, &[("ad", IN_JANUARY, 10), ("ad", "2026-02-02T12:00:00Z", 3)]);
    ledger.sweep(&contract, "2026-03-31");
    assert_eq!(
        offsets(&ledger),
        [
            "2026-02-03 bonus-carried-forward 10",
            "2026-02-03 bonus-brought-forward -10",
            "2026-03-03 bonus-carried-forward 13",
            "2026-03-03 bonus-brought-forward -13",
        ]
    );
}

/// docs/plan-semantics.md section 5: a late record posts to the open cycle.
#[test]
fn a_late_record_leaves_its_closed_cycle_as_it_is_and_counts_in_the_open_one() {
    let contract = contract("0");
    let mut ledger = used(&contract, &[("ad", IN_JANUARY, 10)]);
    let late = event("call", "2026-01-20T12:00:00Z", 4);
    assert_eq!(ledger.rate(&contract, &late, at("2026-02-20")), Ok(true));
    ledger.sweep(&contract, "2026-03-03");
    assert_eq!(
        offsets(&ledger),
        [
            "2026-02-03 bonus-carried-forward 10",
            "2026-02-03 bonus-brought-forward -10",
            "2026-03-03 bonus-carried-forward 6",
            "2026-03-03 bonus-brought-forward -6",
        ]
    );
}

/// A refund after a cancellation is no bonus: it may take a cycle below zero.
#[test]
fn credits_that_are_no_bonuses_are_not_held_back() {
    for (ads, carried) in [(0, None), (3, Some("3"))] {
        let mut contract = Contract::in_zone("UTC")
            .cycle_day(15)
            .with(Subscription::to(&ads_only(), "2026-01-01"))
            .with(Subscription::to(&plain("calls", "31"), "2026-01-01"));
        let mut ledger = used(&contract, &[("ad", "2026-01-18T12:00:00Z", ads)]);
        // The cancellation is known on the 25th: twelve days of January are refunded.
        contract.subscriptions[1].until = at("2026-01-20");
        ledger.sweep(&contract, "2026-01-25");
        assert_eq!(ledger.shown().last().unwrap(), "2026-01-20 fee-unused -12");
        ledger.sweep(&contract, "2026-02-17");
        let expected = carried.map(|carried| format!("2026-02-17 bonus-carried-forward {carried}"));
        assert_eq!(offsets(&ledger).first(), expected.as_ref());
    }
}

#[test]
fn a_bonus_of_one_plan_is_offset_against_the_charges_of_all_plans_of_the_account() {
    let contract = Contract::in_zone("UTC")
        .with(Subscription::to(&plain("calls", "5"), "2026-01-01"))
        .with(Subscription::to(&ads_only(), "2026-01-01"));
    let usage = [("call", IN_JANUARY, 6), ("ad", IN_JANUARY, 10), ("ad", IN_FEBRUARY, 9)];
    let mut ledger = used(&contract, &usage);
    ledger.sweep(&contract, "2026-03-03");
    assert_eq!(
        offsets(&ledger),
        ["2026-03-03 bonus-carried-forward 4", "2026-03-03 bonus-brought-forward -4"]
    );
    assert_eq!(ledger.lines.last().unwrap().plan, "ads", "under the plan that grants");
}

#[test]
fn after_a_change_to_a_plan_without_bonuses_the_rest_is_set_off_against_its_charges() {
    let change = "2026-02-15";
    let contract = Contract::in_zone("UTC")
        .with(Subscription::to(&rewarded("p", "0"), "2026-01-01").until(change))
        .with(Subscription::to(&plain("q", "4"), change));
    let usage = [("ad", IN_JANUARY, 10), ("call", "2026-02-20T12:00:00Z", 1)];
    let mut ledger = used(&contract, &usage);
    ledger.sweep(&contract, "2026-12-31");
    assert_eq!(
        offsets(&ledger),
        [
            "2026-02-03 bonus-carried-forward 10",
            "2026-02-03 bonus-brought-forward -10",
            // The charges of February are a call and half of the monthly fee, 3 in total.
            "2026-03-03 bonus-carried-forward 7",
            "2026-03-03 bonus-brought-forward -7",
            "2026-04-03 bonus-carried-forward 3",
            "2026-04-03 bonus-brought-forward -3",
        ]
    );
    let by: Vec<&str> =
        ledger.lines.iter().filter(|l| l.by == "offset").map(|l| &*l.plan).collect();
    assert_eq!(by, ["p", "p", "q", "q", "q", "q"], "under the plan in force when the cycle ended");
}

#[test]
fn what_is_left_when_the_last_subscription_has_ended_lapses() {
    // The subscription is cancelled within February, with 19 days charged, or at the end of
    // February.
    for (until, lapsed) in [("2026-02-20", 13), ("2026-03-01", 4)] {
        let mut contract = contract("28");
        contract.subscriptions[0].until = at(until);
        let mut ledger = used(&contract, &[("ad", IN_JANUARY, 60)]);
        ledger.sweep(&contract, "2026-12-31");
        assert_eq!(
            offsets(&ledger),
            [
                "2026-02-03 bonus-carried-forward 32".to_owned(),
                "2026-02-03 bonus-brought-forward -32".to_owned(),
                format!("2026-03-03 bonus-lapsed {lapsed}"),
            ]
        );
    }
}

#[test]
fn a_bonus_is_carried_through_a_gap_between_subscriptions() {
    let contract = Contract::in_zone("UTC")
        .with(Subscription::to(&rewarded("p", "0"), "2026-01-01").until("2026-02-01"))
        .with(Subscription::to(&plain("q", "50"), "2026-03-15"));
    let mut ledger = used(&contract, &[("ad", IN_JANUARY, 10)]);
    ledger.sweep(&contract, "2026-12-31");
    assert_eq!(
        offsets(&ledger),
        [
            "2026-02-03 bonus-carried-forward 10",
            "2026-02-03 bonus-brought-forward -10",
            "2026-03-03 bonus-carried-forward 10",
            "2026-03-03 bonus-brought-forward -10",
        ]
    );
}

/// The cycle of the old cycle day ends on 31 March. The cycle of the new day, into which the excess
/// is carried, starts on 15 March.
#[test]
fn after_a_new_cycle_day_the_rest_goes_into_the_current_cycle() {
    let contract = contract("0").then_settings("2026-03-20", "UTC", 15);
    let mut ledger =
        used(&contract, &[("ad", "2026-03-05T12:00:00Z", 10), ("call", "2026-04-05T12:00:00Z", 4)]);
    ledger.sweep(&contract, "2026-05-01");
    assert_eq!(
        offsets(&ledger),
        [
            "2026-04-03 bonus-carried-forward 10",
            "2026-04-03 bonus-brought-forward -10",
            "2026-04-17 bonus-carried-forward 6",
            "2026-04-17 bonus-brought-forward -6",
        ]
    );
}

/// The new cycle day applies from the end of the cycle on, so the next cycle is the one that
/// started on 15 March.
#[test]
fn the_next_cycle_is_that_of_the_settings_in_force_when_it_begins() {
    let contract = contract("0").then_settings("2026-04-01", "UTC", 15);
    let mut ledger = used(&contract, &[("ad", "2026-03-05T12:00:00Z", 10)]);
    ledger.sweep(&contract, "2026-04-18");
    let of: Vec<_> = ledger.lines.iter().filter(|l| l.by == "offset").map(|l| l.period).collect();
    assert_eq!(of, ["2026-03-01", "2026-03-15", "2026-03-15", "2026-04-15"].map(period));
}

/// In a gap between subscriptions, the cycles follow the earlier settings.
#[test]
fn a_gap_has_the_cycles_of_the_settings_before_it() {
    let contract = Contract::in_zone("UTC")
        .with(Subscription::to(&rewarded("p", "0"), "2026-01-01").until("2026-02-01"))
        .with(Subscription::to(&plain("q", "0"), "2026-03-20"))
        .then_settings("2026-03-20", "UTC", 20);
    let mut ledger = used(&contract, &[("ad", IN_JANUARY, 10)]);
    ledger.sweep(&contract, "2026-02-28");
    let of: Vec<_> = ledger.lines.iter().filter(|l| l.by == "offset").map(|l| l.period).collect();
    assert_eq!(of, ["2026-01-01", "2026-02-01"].map(period));
}

/// The lines of the offset belong to the remaining subscription, although it began after the bonus
/// was granted.
#[test]
fn a_bonus_of_a_subscription_that_is_cancelled_from_its_beginning_is_carried_on_all_the_same() {
    let mut contract = contract("0").with(Subscription::to(&plain("q", "4"), "2026-02-01"));
    let mut ledger = used(&contract, &[("ad", IN_JANUARY, 10)]);
    contract.subscriptions[0].until = contract.subscriptions[0].since;
    ledger.sweep(&contract, "2026-02-03");
    assert_eq!(
        offsets(&ledger),
        ["2026-02-03 bonus-carried-forward 10", "2026-02-03 bonus-brought-forward -10"]
    );
}

/// A discount on a bonus is carried as part of the bonus. Its negative percentage increases the
/// bonus from 10 to 12.
#[test]
fn lines_derived_from_a_bonus_are_carried_with_it() {
    let discounted = ADS.replace(
        "<SecondAccountFinalizer id=\"theirs\" in=\"reward.charge\"/>",
        "<Discount id=\"more\" in=\"reward.charge\" percent=\"-20\"/><SecondAccountFinalizer id=\"theirs\" in=\"more.charge\"/>",
    );
    let xml = plan_of("p", 1, "2026-01-01", &discounted);
    let contract = Contract::in_zone("UTC").with(Subscription::to(&xml, "2026-01-01"));
    let mut ledger = used(&contract, &[("ad", IN_JANUARY, 10)]);
    ledger.sweep(&contract, "2026-02-03");
    let carried = "2026-02-03 bonus-carried-forward 12";
    assert_eq!(offsets(&ledger), [carried, "2026-02-03 bonus-brought-forward -12"]);
}

/// A bonus for another account is not offset against the charges of the record's account.
#[test]
fn a_bonus_for_another_account_is_not_offset_here() {
    let xml = rewarded("p", "0").replace("to=\"self\"", "to=\"901\"");
    let contract = Contract::in_zone("UTC").with(Subscription::to(&xml, "2026-01-01"));
    let mut ledger = used(&contract, &[("ad", IN_JANUARY, 10), ("call", IN_JANUARY, 1)]);
    ledger.sweep(&contract, "2026-12-31");
    assert!(offsets(&ledger).is_empty());
    assert!(ledger.lines.iter().any(|line| matches!(line.posting, Posting::Second(_))));
}

/// An account whose plans grant no bonus keeps no totals.
#[test]
fn an_account_that_can_have_no_bonus_keeps_no_totals() {
    let others = Contract::in_zone("UTC").with(Subscription::to(&plain("q", "0"), "2026-01-01"));
    let state =
        |contract: &Contract| used(contract, &[("call", IN_JANUARY, 3)]).state.entries().len();
    assert_eq!(state(&contract("0")), state(&others) + 1);
}

/// docs/plan-semantics.md section 5: alternatives are compared before the offset, and the posted
/// sum counts as a charge.
#[test]
fn the_sum_of_the_chosen_alternative_counts_as_a_charge() {
    let alternative =
        |id, fee| Subscription::to(&plain(id, fee), "2026-01-01").in_option("choice", "0.5");
    let contract = Contract::in_zone("UTC")
        .with(Subscription::to(&ads_only(), "2026-01-01"))
        .with(alternative("dear", "9"))
        .with(alternative("cheap", "3"));
    let mut ledger = used(&contract, &[("ad", IN_JANUARY, 10), ("call", IN_JANUARY, 2)]);
    ledger.sweep(&contract, "2026-02-03");
    let posted = ledger.posted();
    // The charges are 3 + 2 + 0.5, and the bonuses 10.
    assert_eq!(
        posted[posted.len() - 4..],
        [
            "2026-02-03 sum 5",
            "2026-02-03 fee 0.5",
            "2026-02-03 bonus-carried-forward 4.5",
            "2026-02-03 bonus-brought-forward -4.5",
        ]
    );
}

/// docs/plan-semantics.md section 5: a commitment is topped up before bonuses are offset.
#[test]
fn what_a_commitment_adds_at_the_close_is_a_charge_of_the_cycle() {
    let committed = calls("0").replace(
        "<AccountFinalizer id=\"mine\" in=\"call.charge fee.charge\"/>",
        "<Commitment id=\"at-least\" in=\"call.charge fee.charge\" amount=\"8\"/><AccountFinalizer id=\"mine\" in=\"at-least.charge\"/>",
    );
    let xml = plan_of("p", 1, "2026-01-01", &format!("{ADS}{committed}"));
    let contract = Contract::in_zone("UTC").with(Subscription::to(&xml, "2026-01-01"));
    let mut ledger = used(&contract, &[("ad", IN_JANUARY, 10), ("call", IN_JANUARY, 2)]);
    ledger.sweep(&contract, "2026-02-03");
    assert_eq!(
        ledger.posted()[ledger.posted().len() - 3..],
        [
            "2026-02-03 at-least 6",
            "2026-02-03 bonus-carried-forward 2",
            "2026-02-03 bonus-brought-forward -2",
        ]
    );
}
