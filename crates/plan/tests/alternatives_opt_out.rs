//! Opting out of an option: the plan that the client keeps continues with its state, and is billed
//! from the current cycle on as a plain subscription (docs/plan-semantics.md section 6).

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support;

use proptest::prelude::*;
use support::due::{Contract, Ledger, Subscription, at, plan_of};
use support::session;
use turnpike_types::{Posting, SuspenseReason};

/// A plan of calls with ten free hours per month, a monthly fee and a one-time fee.
fn calls(id: &str, price: &str, monthly: &str, setup: &str) -> String {
    let graph = format!(
        r#"<UsageTypeSelector id="calls" in="record.duration" types="call"/>
        <OneTimeCharge id="setup" amount="{setup}"/>
        <MonthlyRecurringCharge id="month" amount="{monthly}" prorate="day"/>
        <MonthlyAccumulator id="hours" in="calls.pass"/>
        <StepRater id="rate" in="hours.out" level="hours.total" mode="graduated">
          <step id="free" upto="10 h" price="0" per="1 h"/>
          <step id="paid" price="{price}" per="1 h"/>
        </StepRater>
        <AccountFinalizer id="post" in="setup.charge month.charge rate.charge"/>"#
    );
    plan_of(id, 1, "2026-01-01", &graph)
}

fn offered(plans: &[&str], fee: &str) -> Contract {
    plans.iter().fold(Contract::in_zone("UTC"), |contract, xml| {
        contract.with(Subscription::to(xml, "2026-01-01").in_option("choice", fee))
    })
}

fn rate(
    ledger: &mut Ledger,
    contract: &Contract,
    start: &str,
    hours: i64,
    now: &str,
) -> Result<bool, SuspenseReason> {
    let mut record = session("call", start, start);
    record.duration_us = hours * 3_600_000_000;
    ledger.rate(contract, &record, at(now))
}

fn total(ledger: &Ledger) -> i128 {
    let posted = ledger.lines.iter().filter(|line| line.posting == Posting::Account);
    posted.map(|line| line.amount.nanos()).sum()
}

#[test]
fn opting_out_bills_the_kept_plan_for_the_whole_cycle_and_nothing_twice() {
    let (dear, cheap) = (calls("dear", "2", "31", "9"), calls("cheap", "1", "3.1", "0"));
    let mut contract = offered(&[&cheap, &dear], "0");
    let mut ledger = Ledger::new();
    rate(&mut ledger, &contract, "2026-01-05T00:00:00Z", 8, "2026-01-05").unwrap();
    contract.opt_out(1, "2026-01-10");
    // Two of the ten free hours are left, so three of these five hours are paid.
    rate(&mut ledger, &contract, "2026-01-20T00:00:00Z", 5, "2026-01-20").unwrap();
    ledger.sweep(&contract, "2026-02-03");
    let posted = [
        "2026-01-20 free 0",
        "2026-01-20 paid 6",
        "2026-02-01 month 31",
        "2026-02-03 sum 31",
        "2026-02-03 one-time 9",
    ];
    assert_eq!(ledger.posted(), posted);
    let billed = ledger.lines.iter().filter(|line| line.posting == Posting::Account);
    assert!(billed.map(|line| line.plan.as_str()).all(|plan| plan == "dear"));
    ledger.sweep(&contract, "2026-03-02");
    assert_eq!(ledger.posted()[5..], ["2026-03-01 month 31"], "and so it goes on");
}

#[test]
fn an_opt_out_dated_back_is_the_choice_for_every_cycle_since() {
    let (dear, cheap) = (calls("dear", "2", "31", "9"), calls("cheap", "1", "3.1", "0"));
    let mut contract = offered(&[&cheap, &dear], "0.5");
    let mut ledger = Ledger::new();
    rate(&mut ledger, &contract, "2026-01-05T00:00:00Z", 8, "2026-01-05").unwrap();
    rate(&mut ledger, &contract, "2026-02-01T00:00:00Z", 12, "2026-02-01").unwrap();
    // The opt-out arrives on 2 February, before January closes.
    contract.opt_out(1, "2026-01-20");
    ledger.sweep(&contract, "2026-03-03");
    let posted = [
        "2026-02-03 sum 31",
        "2026-02-03 one-time 9",
        "2026-03-01 month 31",
        // The monthly fee of February, and two hours beyond the ten free hours.
        "2026-03-03 sum 35",
    ];
    assert_eq!(ledger.posted(), posted);
}

/// The option's fee is for the choice among several plans, so it is not due after an opt-out.
#[test]
fn a_cycle_for_which_the_client_opted_out_has_no_fee_for_choosing() {
    let (dear, cheap) = (calls("dear", "2", "31", "0"), calls("cheap", "1", "3.1", "0"));
    let fees = |opted_out: &str| {
        let mut contract = offered(&[&cheap, &dear], "0.5");
        let mut ledger = Ledger::new();
        ledger.sweep(&contract, "2026-02-05");
        contract.opt_out(1, opted_out);
        ledger.sweep(&contract, "2026-06-05");
        let fees = ledger.posted().into_iter().filter(|line| line.contains(" fee "));
        fees.collect::<Vec<_>>()
    };
    // January was already billed, so the opt-out applies from February on.
    assert_eq!(fees("2026-02-10"), ["2026-02-03 fee 0.5"]);
    // The client could choose until the end of February, when the opt-out takes effect.
    assert_eq!(fees("2026-03-01"), ["2026-02-03 fee 0.5", "2026-03-03 fee 0.5"]);
}

#[test]
fn the_days_after_an_opt_out_are_not_given_back_and_charged_anew() {
    let (dear, cheap) = (calls("dear", "2", "31", "9"), calls("cheap", "1", "3.1", "0"));
    let mut contract = offered(&[&cheap, &dear], "0");
    let mut ledger = Ledger::new();
    ledger.sweep(&contract, "2026-01-05");
    contract.opt_out(1, "2026-01-11");
    // A later cancellation refunds the unused days as for a plain subscription.
    contract.subscriptions[1].until = at("2026-01-22");
    ledger.sweep(&contract, "2026-12-31");
    let posted = ["2026-01-22 month-unused -10", "2026-02-03 sum 31", "2026-02-03 one-time 9"];
    assert_eq!(ledger.posted(), posted);
}

#[test]
fn charges_of_a_plan_that_was_not_billed_are_not_refunded() {
    let (dear, cheap) = (calls("dear", "2", "31", "0"), calls("cheap", "1", "3.1", "0"));
    let mut contract = offered(&[&cheap, &dear], "0").cycle_day(15);
    let mut ledger = Ledger::new();
    // The month's charge falls due on 1 January, in the cycle that closes on 17 January. The cheap
    // alternative is billed for that cycle.
    ledger.sweep(&contract, "2026-01-18");
    assert_eq!(ledger.posted(), ["2026-01-17 sum 3.1"]);
    contract.opt_out(1, "2026-01-20");
    contract.subscriptions[1].until = at("2026-01-25");
    ledger.sweep(&contract, "2026-12-31");
    // The unused days of the cheap alternative, which was billed, are refunded. The charge of the
    // other alternative was never billed, so no day of it is refunded.
    let posted = ["2026-01-17 sum 3.1", "2026-01-20 month-unused -1.2", "2026-02-17 sum 0"];
    assert_eq!(ledger.posted(), posted);
}

#[test]
fn a_late_record_of_an_option_that_was_opted_out_of_is_rated_by_the_plan_kept() {
    let (dear, cheap) = (calls("dear", "2", "31", "9"), calls("cheap", "1", "3.1", "0"));
    let mut contract = offered(&[&cheap, &dear], "0");
    contract.opt_out(1, "2026-01-10");
    let mut ledger = Ledger::new();
    ledger.sweep(&contract, "2026-02-10");
    let late = rate(&mut ledger, &contract, "2026-01-05T00:00:00Z", 12, "2026-02-10");
    assert_eq!(late, Ok(true));
    assert_eq!(ledger.posted()[3..], ["2026-01-05 free 0", "2026-01-05 paid 4"]);
    ledger.sweep(&contract, "2026-02-27");
    assert_eq!(ledger.posted().len(), 5);
}

proptest! {
    #![proptest_config(test_cases::cases(64))]

    /// The bill of a client that opts out in the first cycle equals the bill of one that never had
    /// a choice.
    #[test]
    fn opting_out_costs_as_much_as_the_plan_alone(
        mut calls_made in proptest::collection::vec((0i64..88 * 24, 0i64..30, 0i64..40 * 24), 0..12),
        out in 1i64..31 * 24,
        said_days_later in 0i64..20,
        cancelled in proptest::option::of(32i64 * 24..70 * 24),
    ) {
        const HOUR_US: i64 = 3_600_000_000;
        let start = at("2026-01-01").micros();
        let instant = |hours: i64| turnpike_types::Timestamp(start + hours * HOUR_US);
        let plans = [calls("a", "1", "3.1", "0"), calls("b", "2", "31", "9"), calls("c", "3", "2", "1")];
        let mut option = offered(&[&plans[0], &plans[1], &plans[2]], "0");
        let mut alone = Contract::in_zone("UTC").with(Subscription::to(&plans[1], "2026-01-01"));
        let said = (out + said_days_later * 24).min(33 * 24 - 1);
        calls_made.sort_by_key(|(begun, _, late)| begun + late);
        let (mut with, mut without) = (Ledger::new(), Ledger::new());
        let mut is_said = false;
        let mut say = |contract: &mut Contract, hour: i64| {
            if !is_said && hour >= said {
                is_said = true;
                let from = jiff::Timestamp::from_microsecond(instant(out).micros()).unwrap();
                contract.opt_out(1, &from.to_string());
            }
        };
        for (begun, hours, late) in &calls_made {
            say(&mut option, begun + late);
            let mut record = session("call", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z");
            record.start = instant(*begun);
            record.duration_us = hours * HOUR_US;
            let now = instant(begun + late);
            prop_assert_eq!(with.rate(&option, &record, now), without.rate(&alone, &record, now));
        }
        say(&mut option, i64::MAX);
        if let Some(cancelled) = cancelled {
            let all = calls_made.last().map_or(0, |(begun, _, late)| begun + late);
            let until = instant(cancelled.max(all).max(said));
            option.subscriptions[1].until = until;
            alone.subscriptions[0].until = until;
        }
        with.sweep(&option, "2026-08-01");
        without.sweep(&alone, "2026-08-01");
        prop_assert_eq!(total(&with), total(&without));
    }
}
