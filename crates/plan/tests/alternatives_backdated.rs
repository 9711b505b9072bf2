//! Sums of alternatives after backdated commands, and at the boundaries of cycles: each sum is
//! billed once, by a close (docs/plan-semantics.md section 6).

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support;

use support::due::{Contract, Ledger, Subscription, at, plan_of};
use support::session;

/// A plan of calls at a price per hour.
fn calls(id: &str, price: &str, more: &str) -> String {
    let graph = format!(
        r#"<UsageTypeSelector id="calls" in="record.duration" types="call"/>{more}
        <StepRater id="rate" in="calls.pass"><step id="hours" price="{price}" per="1 h"/></StepRater>
        <AccountFinalizer id="post" in="rate.charge {}"/>"#,
        if more.is_empty() { "" } else { "week.charge" }
    );
    plan_of(id, 1, "2026-01-01", &graph)
}

/// An option whose alternatives cost 1, 5 and 25 per hour.
fn offered(plans: &[&str], since: &str, fee: &str) -> Contract {
    let prices = ["1", "5", "25"];
    plans.iter().zip(prices).fold(Contract::in_zone("UTC"), |contract, (id, price)| {
        let subscription = Subscription::to(&calls(id, price, ""), since);
        contract.with(subscription.in_option("choice", fee))
    })
}

fn end_all(contract: &mut Contract, until: &str) {
    contract.subscriptions.iter_mut().for_each(|subscription| subscription.until = at(until));
}

fn rate(ledger: &mut Ledger, contract: &Contract, start: &str, hours: i64, now: &str) {
    let mut record = session("call", start, start);
    record.duration_us = hours * 3_600_000_000;
    ledger.rate(contract, &record, at(now)).unwrap();
}

/// The total of the sums that closes posted: the usage of all records at the cheapest price, if
/// each record is billed once.
fn hours_posted(ledger: &Ledger) -> String {
    ledger.sum("sum").to_string()
}

#[test]
fn sums_that_a_cancellation_dated_back_leaves_behind_are_billed_by_their_cycles_close() {
    let mut contract = offered(&["a", "b"], "2026-01-01", "0.5");
    let mut ledger = Ledger::new();
    rate(&mut ledger, &contract, "2026-01-05T00:00:00Z", 2, "2026-01-05");
    rate(&mut ledger, &contract, "2026-02-01T10:00:00Z", 1, "2026-02-01");
    // The cancellation arrives on 2 February, before January is closed.
    end_all(&mut contract, "2026-01-20");
    ledger.sweep(&contract, "2026-03-02T23:59:59Z");
    assert_eq!(ledger.posted(), ["2026-02-03 sum 2", "2026-02-03 fee 0.5"]);
    // The option was not in force in February, so there is no fee for it.
    ledger.sweep(&contract, "2026-12-31");
    assert_eq!(ledger.posted()[2..], ["2026-03-03 sum 1"]);
}

#[test]
fn sums_of_cycles_that_a_new_cycle_day_dated_back_does_away_with_are_billed_at_their_end() {
    let contract = offered(&["a", "b"], "2026-01-01", "0");
    let mut ledger = Ledger::new();
    rate(&mut ledger, &contract, "2026-02-05T00:00:00Z", 1, "2026-02-05");
    let contract = contract.then_settings("2026-02-01", "UTC", 15);
    rate(&mut ledger, &contract, "2026-02-16T00:00:00Z", 4, "2026-02-16");
    ledger.sweep(&contract, "2026-03-03");
    assert_eq!(ledger.posted()[2..], ["2026-03-03 sum 1"]);
    ledger.sweep(&contract, "2026-12-31");
    assert_eq!(hours_posted(&ledger), "5.000000000");
}

#[test]
fn the_sums_of_a_former_cycle_day_are_billed_too() {
    let contract = offered(&["a", "b"], "2026-02-10", "0").cycle_day(31);
    let mut ledger = Ledger::new();
    // The record belongs to the cycle from 31 January to 28 February.
    rate(&mut ledger, &contract, "2026-02-12T00:00:00Z", 1, "2026-02-12");
    let contract = contract.then_settings("2026-02-05", "UTC", 5);
    ledger.sweep(&contract, "2026-12-31");
    assert_eq!(hours_posted(&ledger), "1.000000000");
}

#[test]
fn an_option_offered_again_within_a_cycle_closes_each_set_by_itself() {
    let mut contract = offered(&["a", "b"], "2026-01-01", "0.5");
    end_all(&mut contract, "2026-01-10");
    for (id, price) in [("c", "3"), ("a", "2")] {
        let plan = calls(id, price, "");
        contract = contract.with(
            Subscription::to(&plan, "2026-01-10").in_option("choice", "0.7").offered("2026-01-10"),
        );
    }
    let mut ledger = Ledger::new();
    rate(&mut ledger, &contract, "2026-01-05T00:00:00Z", 1, "2026-01-05");
    rate(&mut ledger, &contract, "2026-01-20T00:00:00Z", 10, "2026-01-20");
    ledger.sweep(&contract, "2026-02-03");
    let mut posted = ledger.posted();
    posted.sort();
    let both =
        ["2026-02-03 fee 0.5", "2026-02-03 fee 0.7", "2026-02-03 sum 1", "2026-02-03 sum 20"];
    assert_eq!(posted, both);
}

/// docs/plan-semantics.md section 6: a record is rated by the settings at its start, so the cycles
/// of those settings determine whether it is late.
#[test]
fn a_late_record_under_a_former_cycle_day_is_billed_at_the_end_of_the_cycle_open_by_that_day() {
    let contract = offered(&["a", "b"], "2026-01-01", "0").then_settings("2026-01-10", "UTC", 15);
    let mut ledger = Ledger::new();
    rate(&mut ledger, &contract, "2026-01-05T00:00:00Z", 1, "2026-04-10");
    ledger.sweep(&contract, "2026-12-31");
    assert_eq!(hours_posted(&ledger), "1.000000000");
}

/// By the time zone in force at its start, the record belongs to January, which was already closed
/// under the former zone.
#[test]
fn usage_of_a_cycle_closed_in_the_former_zone_is_billed_in_the_next() {
    let contract = offered(&["a", "b"], "2026-01-01", "0");
    let contract = contract.then_settings("2026-02-01", "America/New_York", 1);
    let mut ledger = Ledger::new();
    ledger.sweep(&contract, "2026-02-03T00:30:00Z");
    assert_eq!(ledger.posted(), ["2026-02-03 sum 0"]);
    rate(&mut ledger, &contract, "2026-02-01T02:00:00Z", 1, "2026-02-03T01:00:00Z");
    ledger.sweep(&contract, "2026-03-05");
    assert_eq!(ledger.posted()[1..], ["2026-03-03 sum 1"]);
}

const WEEK: &str = r#"<WeeklyRecurringCharge id="week" amount="7" prorate="day"/>"#;

/// A weekly charge that is prorated by days, and its refund after a cancellation, count in the same
/// cycle.
#[test]
fn a_refund_at_the_end_of_a_cycle_counts_in_that_cycle() {
    // 2026-02-01 is a Sunday.
    let mut contract = [("a", "1"), ("b", "5")].into_iter().fold(
        Contract::in_zone("UTC"),
        |contract, (id, price)| {
            let plan = calls(id, price, WEEK);
            contract.with(Subscription::to(&plan, "2026-01-26").in_option("choice", "0"))
        },
    );
    let mut ledger = Ledger::new();
    ledger.sweep(&contract, "2026-01-27");
    end_all(&mut contract, "2026-02-01");
    ledger.sweep(&contract, "2026-12-31");
    assert_eq!(ledger.posted(), ["2026-02-03 sum 6"]);
}

/// A charge that was billed is refunded, even when the cycle that billed it is closed.
#[test]
fn a_refund_of_a_billed_cycle_is_posted() {
    let mut contract = [("a", "1"), ("b", "5")]
        .into_iter()
        .fold(Contract::in_zone("UTC"), |contract, (id, price)| {
            let plan = calls(id, price, WEEK);
            contract.with(Subscription::to(&plan, "2026-01-26").in_option("choice", "0"))
        })
        .cycle_day(30);
    let mut ledger = Ledger::new();
    // The charge for the week from 26 January belongs to the cycle that ends on 30 January and
    // closes on 1 February.
    ledger.sweep(&contract, "2026-02-01T12:00:00Z");
    assert_eq!(ledger.posted(), ["2026-02-01 sum 7"]);
    end_all(&mut contract, "2026-01-31");
    ledger.sweep(&contract, "2026-12-31");
    assert_eq!(ledger.posted()[1..], ["2026-01-31 week-unused -2", "2026-03-02 sum 0"]);
}

/// Usage after an alternative was withdrawn counts only in the sums of the other alternatives.
#[test]
fn a_withdrawn_alternative_is_not_compared_in_a_shortened_cycle() {
    let mut contract = offered(&["a", "b"], "2026-01-01", "0");
    contract.subscriptions[0].until = at("2026-02-02");
    let mut ledger = Ledger::new();
    rate(&mut ledger, &contract, "2026-02-05T00:00:00Z", 1, "2026-02-05");
    // The change of the cycle day arrives after the record. The cycle that began on 1 February then
    // ends at the instant at which the cheap alternative was withdrawn.
    let contract = contract.then_settings("2026-02-02", "UTC", 15);
    ledger.sweep(&contract, "2026-12-31");
    assert_eq!(hours_posted(&ledger), "5.000000000");
}
