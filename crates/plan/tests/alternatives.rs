//! Alternatives of an option, and the close of billing cycles (docs/plan-semantics.md sections 5
//! and 6).

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support;

use proptest::prelude::*;
use support::due::{Contract, Ledger, Subscription, at, period, plan_of, sums};
use support::{event, session};
use turnpike_plan::{OptionInForce, StateEntry, comparison};
use turnpike_types::{Money, Posting, SuspenseReason, Timestamp};

/// A plan of calls at a price per hour, with a monthly fee and a one-time fee.
fn calls(id: &str, price: &str, monthly: &str, setup: &str) -> String {
    let graph = format!(
        r#"<UsageTypeSelector id="calls" in="record.duration" types="call"/>
        <OneTimeCharge id="setup" amount="{setup}"/>
        <MonthlyRecurringCharge id="month" amount="{monthly}"/>
        <StepRater id="rate" in="calls.pass"><step id="hours" price="{price}" per="1 h"/></StepRater>
        <AccountFinalizer id="post" in="setup.charge month.charge rate.charge"/>"#
    );
    plan_of(id, 1, "2026-01-01", &graph)
}

/// A plan of calls at a price per hour, with a monthly fee, and messages at 0.10 each.
fn calls_and_messages(id: &str, price: &str, monthly: &str) -> String {
    let messages = r#"<UsageTypeSelector id="sms" in="record.quantity" types="sms"/>
        <StepRater id="send" in="sms.pass"><step id="sent" price="0.10" per="1"/></StepRater>"#;
    calls(id, price, monthly, "0")
        .replace("<AccountFinalizer", &format!("{messages}<AccountFinalizer"))
        .replace("rate.charge", "rate.charge send.charge")
}

fn offered(plans: &[&str], since: &str, fee: &str) -> Contract {
    let alternative = |xml: &&str| Subscription::to(xml, since).in_option("choice", fee);
    let contract = Contract::in_zone("UTC");
    plans.iter().map(alternative).fold(contract, Contract::with)
}

fn call(start: &str, hours: i64) -> turnpike_types::UsageRecord {
    let mut record = session("call", start, start);
    record.duration_us = hours * 3_600_000_000;
    record
}

/// Rates calls that arrive without delay.
fn used(contract: &Contract, calls: &[(&str, i64)]) -> Ledger {
    let mut ledger = Ledger::new();
    for (start, hours) in calls {
        let record = call(start, *hours);
        ledger.rate(contract, &record, record.start).unwrap();
    }
    ledger
}

/// docs/plan-semantics.md section 6: each alternative rates everything to tentative lines that
/// count in no total; the close posts the winner's sums, with the option's fee.
#[test]
fn of_two_alternatives_the_cheaper_one_is_billed() {
    let (talker, saver) = (calls("talker", "1", "20", "0"), calls("saver", "5", "2", "0"));
    let contract = offered(&[&talker, &saver], "2026-01-01", "0.5");
    let mut ledger = used(&contract, &[("2026-01-05T10:00:00Z", 10)]);
    assert!(ledger.lines.iter().all(|line| line.posting == Posting::Tentative));
    // The talker costs 20 + 10 * 1, and the saver costs 2 + 10 * 5.
    let trial = [
        "trial 2026-01-01 setup 0",
        "trial 2026-01-01 month 20",
        "trial 2026-01-01 setup 0",
        "trial 2026-01-01 month 2",
        "trial 2026-01-05 hours 10",
        "trial 2026-01-05 hours 50",
    ];
    assert_eq!(ledger.shown(), trial);
    // The cycle closes two days after its end, and not before.
    ledger.sweep(&contract, "2026-02-02T23:59:59Z");
    assert_eq!(ledger.posted(), Vec::<String>::new());
    ledger.sweep(&contract, "2026-02-03");
    assert_eq!(ledger.posted(), ["2026-02-03 sum 30", "2026-02-03 fee 0.5"]);
    let posted = ledger.lines.iter().find(|line| line.component == "sum").unwrap();
    assert_eq!((posted.plan.as_str(), posted.period), ("talker", period("2026-01-01")));
    // February has no calls, so the saver is cheaper in that month.
    ledger.sweep(&contract, "2026-03-10");
    assert_eq!(ledger.posted()[2..], ["2026-03-03 sum 2", "2026-03-03 fee 0.5"]);
}

/// As the sum of nothing, it would be the cheapest, and be billed.
#[test]
fn a_stored_sum_that_is_no_amount_stops_the_close() {
    let (talker, saver) = (calls("talker", "1", "20", "0"), calls("saver", "5", "2", "0"));
    let contract = offered(&[&talker, &saver], "2026-01-01", "0.5");
    let mut ledger = used(&contract, &[("2026-01-05T10:00:00Z", 10)]);
    let mut sums = ledger.state.iter().filter(|entry| entry.value == 52_000_000_000);
    let of_saver = *sums.next().unwrap();
    ledger.state.apply(&[StateEntry { value: i128::MAX, ..of_saver }]);
    let booked = ledger.book_due(&contract, at("2026-02-03"), at("2026-02-03"));
    assert_eq!(booked.unwrap_err(), SuspenseReason::Overflow);
    assert_eq!(ledger.posted(), Vec::<String>::new());
}

/// docs/plan-semantics.md section 6: the cheapest of three alternatives wins; of equally cheap
/// ones, the first in the list.
#[test]
fn the_cheapest_of_three_wins_and_of_equals_the_first_listed() {
    let plans = [calls("a", "3", "0", "0"), calls("b", "2", "10", "0"), calls("c", "1", "20", "0")];
    let winner = |order: [usize; 3], hours| {
        let contract = offered(&order.map(|n| plans[n].as_str()), "2026-01-01", "0");
        let mut ledger = used(&contract, &[("2026-01-05T10:00:00Z", hours)]);
        ledger.sweep(&contract, "2026-02-03");
        let sum = ledger.lines.iter().find(|line| line.component == "sum").unwrap();
        (sum.plan.clone(), sum.amount.to_string())
    };
    assert_eq!(winner([0, 1, 2], 5), ("a".to_owned(), "15.000000000".to_owned()));
    assert_eq!(winner([0, 1, 2], 12), ("c".to_owned(), "32.000000000".to_owned()));
    // At ten hours, each of the three alternatives costs 30.
    assert_eq!(winner([0, 1, 2], 10).0, "a");
    assert_eq!(winner([1, 0, 2], 10).0, "b");
    assert_eq!(winner([2, 1, 0], 10).0, "c");
}

/// docs/plan-semantics.md section 6: the comparison includes recurring charges and excludes
/// one-time charges; the one-time charges of the winner are posted.
#[test]
fn one_time_charges_are_posted_for_the_winner_and_not_compared() {
    let (dear, cheap) = (calls("dear", "1", "0", "100"), calls("cheap", "2", "0", "7"));
    let contract = offered(&[&cheap, &dear], "2026-01-01", "0");
    let mut ledger = used(&contract, &[("2026-01-05T10:00:00Z", 3)]);
    ledger.sweep(&contract, "2026-02-03");
    assert_eq!(ledger.posted(), ["2026-02-03 sum 3", "2026-02-03 one-time 100"]);
}

/// docs/plan-semantics.md section 6: the client may choose another alternative until the close.
#[test]
fn the_client_picks_another_alternative_for_a_cycle() {
    let (talker, saver) = (calls("talker", "1", "20", "0"), calls("saver", "5", "2", "0"));
    let contract = offered(&[&talker, &saver], "2026-01-01", "0");
    let mut ledger = Ledger::new();
    ledger.pick("choice", "talker", "2026-01-01");
    // This plan is not an alternative, so the choice has no effect.
    ledger.pick("choice", "nobody", "2026-02-01");
    ledger.sweep(&contract, "2026-03-10");
    assert_eq!(ledger.posted(), ["2026-02-03 sum 20", "2026-03-03 sum 2"]);
}

/// docs/plan-semantics.md section 5: a record that arrives after the close of its cycle posts to
/// the open cycle, and is marked late.
#[test]
fn a_late_record_counts_in_the_comparison_of_the_open_cycle() {
    let (talker, saver) = (calls("talker", "1", "20", "0"), calls("saver", "5", "2", "0"));
    let contract = offered(&[&talker, &saver], "2026-01-01", "0");
    let mut ledger = Ledger::new();
    let january = call("2026-01-31T10:00:00Z", 10);
    // A record that arrives within the grace period still counts in January.
    assert_eq!(ledger.rate(&contract, &january, at("2026-02-02T23:00:00Z")), Ok(false));
    assert_eq!(ledger.rate(&contract, &january, at("2026-02-03")), Ok(true));
    ledger.sweep(&contract, "2026-03-03");
    assert_eq!(ledger.posted(), ["2026-02-03 sum 30", "2026-03-03 sum 30"]);
}

/// docs/plan-semantics.md section 6: a plan that does not accept a record has no line for it.
#[test]
fn alternatives_of_different_usage_types_rate_what_they_accept() {
    let (both, only) = (calls_and_messages("both", "1", "5"), calls("only", "1", "0", "0"));
    let contract = offered(&[&only, &both], "2026-01-01", "0");
    let mut ledger = Ledger::new();
    for record in [event("sms", "2026-01-05T10:00:00Z", 30), call("2026-01-05T11:00:00Z", 2)] {
        ledger.rate(&contract, &record, record.start).unwrap();
    }
    let used: Vec<(&str, &str)> = ledger
        .lines
        .iter()
        .filter(|line| line.by == "r")
        .map(|line| (line.plan.as_str(), line.component.as_str()))
        .collect();
    assert_eq!(used, [("both", "sent"), ("only", "hours"), ("both", "hours")]);
    let fax = event("fax", "2026-01-05T12:00:00Z", 1);
    assert_eq!(ledger.rate(&contract, &fax, fax.start), Err(SuspenseReason::NotAccepted));
}

/// docs/plan-semantics.md section 6: an add-on of higher priority rates the units that it accepts;
/// the option rates the rest.
#[test]
fn an_add_on_before_the_option_is_posted_at_once() {
    let pass = plan_of(
        "pass",
        1,
        "2026-01-01",
        r#"<UsageTypeSelector id="s" in="record.quantity" types="sms"/>
        <StepRater id="r" in="s.pass"><step id="sms" price="0.2" per="1"/></StepRater><AccountFinalizer id="post" in="r.charge"/>"#,
    );
    let (a, b) = (calls_and_messages("a", "1", "0"), calls_and_messages("b", "2", "0"));
    let mut contract = offered(&[&a, &b], "2026-01-01", "0");
    contract.subscriptions.insert(0, Subscription::to(&pass, "2026-01-01"));
    let mut ledger = Ledger::new();
    for record in [event("sms", "2026-01-05T10:00:00Z", 5), call("2026-01-05T11:00:00Z", 2)] {
        ledger.rate(&contract, &record, record.start).unwrap();
    }
    assert_eq!(ledger.posted(), ["2026-01-05 sms 1"]);
    ledger.sweep(&contract, "2026-02-03");
    assert_eq!(ledger.posted()[1..], ["2026-02-03 sum 2"]);
}

/// docs/plan-semantics.md section 5: every cycle closes after its end and a grace period, also the
/// last one of a cancelled subscription.
#[test]
fn every_cycle_closes_once_in_order_the_last_one_too() {
    let (a, b) = (calls("a", "1", "20", "0"), calls("b", "5", "2", "0"));
    let mut contract = offered(&[&a, &b], "2026-01-10", "0.5").cycle_day(15);
    for subscription in &mut contract.subscriptions {
        subscription.until = at("2026-03-20T12:00:00Z");
    }
    let mut ledger = Ledger::new();
    ledger.sweep(&contract, "2026-12-31");
    let closes: Vec<(Timestamp, _)> =
        ledger.lines.iter().filter(|l| l.component == "fee").map(|l| (l.at, l.period)).collect();
    let due = [
        ("2026-01-17", "2025-12-15"),
        ("2026-02-17", "2026-01-15"),
        ("2026-03-17", "2026-02-15"),
        ("2026-04-17", "2026-03-15"),
    ];
    assert_eq!(closes, due.map(|(on, of)| (at(on), period(of))));
    let before = ledger.lines.len();
    ledger.sweep(&contract, "2027-12-31");
    assert_eq!(ledger.lines.len(), before);
}

/// An alternative that was withdrawn within the cycle is not compared. An alternative that was
/// added within the cycle is compared.
#[test]
fn alternatives_in_force_at_the_cycles_end_are_compared() {
    let plans = [calls("a", "1", "0", "0"), calls("b", "5", "0", "0"), calls("c", "3", "0", "0")];
    let mut contract = offered(&[&plans[0], &plans[1], &plans[2]], "2026-01-01", "0");
    contract.subscriptions[0].until = at("2026-01-10");
    contract.subscriptions[2].since = at("2026-01-04");
    let mut ledger = used(&contract, &[("2026-01-05T00:00:00Z", 1), ("2026-01-20T00:00:00Z", 1)]);
    ledger.sweep(&contract, "2026-02-03");
    assert_eq!(ledger.posted(), ["2026-02-03 sum 6"]);
}

/// docs/plan-semantics.md section 5: a cycle that a change of the cycle day cuts short is closed
/// like any other.
#[test]
fn a_cycle_cut_short_is_compared_too() {
    let (a, b) = (calls("a", "1", "0", "0"), calls("b", "5", "0", "0"));
    let contract = offered(&[&a, &b], "2026-01-01", "0").then_settings("2026-03-10", "UTC", 15);
    let mut ledger = used(
        &contract,
        &[
            ("2026-02-05T00:00:00Z", 1),
            ("2026-03-05T00:00:00Z", 2),
            ("2026-03-12T00:00:00Z", 4),
            ("2026-03-20T00:00:00Z", 8),
        ],
    );
    ledger.sweep(&contract, "2026-05-01");
    assert_eq!(
        ledger.posted(),
        [
            "2026-02-03 sum 0",
            "2026-03-03 sum 1",
            "2026-03-17 sum 4",
            "2026-04-03 sum 2",
            "2026-04-17 sum 8"
        ]
    );
}

/// The close of a cycle waits for the charges that fall due in the cycle, so a late sweep books the
/// same lines as a sweep in time.
#[test]
fn charges_due_in_a_cycle_are_compared_however_late_the_sweep() {
    let (a, b) = (calls("a", "1", "20", "0"), calls("b", "5", "2", "0"));
    let contract = offered(&[&a, &b], "2026-01-01", "0");
    let mut ledger = Ledger::new();
    // A record of January arrives in March, before any sweep.
    assert_eq!(
        ledger.rate(&contract, &call("2026-01-20T00:00:00Z", 1), at("2026-03-05")),
        Ok(true)
    );
    ledger.sweep(&contract, "2026-03-05");
    assert_eq!(ledger.posted(), ["2026-02-03 sum 2", "2026-03-03 sum 2"]);
    ledger.sweep(&contract, "2026-04-03");
    assert_eq!(ledger.posted()[2..], ["2026-04-03 sum 7"]);
}

/// docs/plan-semantics.md section 6: alternatives are rated side by side, so each needs its own
/// state.
#[test]
fn alternatives_that_carry_on_one_state_are_refused() {
    let of = |id| calls(id, "1", "20", "0").replace("version=", "state=\"family\" version=");
    let contract = offered(&[&of("a"), &of("b")], "2026-01-01", "0");
    let [a, b] = [0, 1].map(|n: usize| &contract.subscriptions[n].versions[0]);
    assert!(a.shares_state_with(b) && a.plan_id() != b.plan_id());
    let mut ledger = Ledger::new();
    let record = call("2026-01-20T00:00:00Z", 1);
    assert_eq!(ledger.rate(&contract, &record, record.start), Err(SuspenseReason::SharedState));
    assert_eq!((ledger.lines, ledger.state), (Vec::new(), Ledger::new().state));
}

/// The sums of the alternatives so far in a cycle, which clients can query.
#[test]
fn the_comparison_so_far_is_shown() {
    let (a, b) = (calls("a", "1", "20", "9"), calls("b", "5", "2", "0"));
    let contract = offered(&[&a, &b], "2026-01-01", "0");
    let ledger = used(&contract, &[("2026-01-05T00:00:00Z", 3)]);
    let mut plan = turnpike_plan::PlanInForce::always(&contract.subscriptions[0].versions[0]);
    plan.option = Some(OptionInForce::new("choice", Money::ZERO, Timestamp(0)));
    let so_far = comparison(&plan, &ledger.state, period("2026-01-01"));
    assert_eq!(
        (so_far.running.to_string(), so_far.once.to_string()),
        ("23.000000000".to_owned(), "9.000000000".to_owned())
    );
}

proptest! {
    #![proptest_config(test_cases::cases(96))]

    /// For any calls, late ones included, and any steps of the sweep, each cycle posts the smallest
    /// of the amounts that the plans alone would have posted.
    #[test]
    fn each_cycle_costs_as_much_as_under_the_cheapest_plan_alone(
        mut calls_made in proptest::collection::vec((0i64..88 * 24, 0i64..30, 0i64..40 * 24), 0..12),
        steps in proptest::collection::vec(0i64..120 * 24, 0..6),
        cycle_day in 1u8..32,
    ) {
        const HOUR_US: i64 = 3_600_000_000;
        let plans = [calls("a", "3", "0", "1"), calls("b", "2", "10", "0"), calls("c", "1", "20", "4")];
        let start = at("2026-01-01").micros();
        let mut events: Vec<(i64, Option<(i64, i64)>)> = steps.iter().map(|at| (*at, None)).collect();
        calls_made.iter_mut().for_each(|(begun, hours, late)| events.push((*begun + *late, Some((*begun, *hours)))));
        events.sort_unstable();
        let run = |contract: &Contract| {
            let mut ledger = Ledger::new();
            let mut late_hours = Vec::new();
            for (hour, record) in &events {
                let now = Timestamp(start + hour * HOUR_US);
                match record {
                    None => ledger.sweep_to(contract, now),
                    Some((begun, hours)) => {
                        let mut record = call("2026-01-01T00:00:00Z", *hours);
                        record.start = Timestamp(start + begun * HOUR_US);
                        late_hours.push(ledger.rate(contract, &record, now).unwrap());
                    }
                }
            }
            ledger.sweep(contract, "2026-08-01");
            (ledger, late_hours)
        };
        let option = offered(&[&plans[0], &plans[1], &plans[2]], "2026-01-01", "0").cycle_day(cycle_day);
        let (together, late) = run(&option);
        let trial = sums(&together.lines);
        let posted: i128 = trial.iter().filter(|((_, is_trial), _)| !is_trial).map(|(_, sum)| sum).sum();
        // Each plan is rated alone, as an option with a single alternative, which is always billed.
        let mut cycles = Vec::new();
        for plan in &plans {
            let (ledger, alone_late) = run(&offered(&[plan], "2026-01-01", "0").cycle_day(cycle_day));
            prop_assert_eq!(&late, &alone_late);
            let of = |component: &str| -> std::collections::BTreeMap<_, i128> {
                ledger.lines.iter().filter(|line| line.component == component)
                    .map(|line| (line.period, line.amount.nanos())).collect()
            };
            cycles.push((of("sum"), of("one-time")));
        }
        let mut expected = 0;
        for period in cycles[0].0.keys() {
            let cheapest = cycles.iter().min_by_key(|(running, _)| running[period]).unwrap();
            expected += cheapest.0[period] + cheapest.1.get(period).copied().unwrap_or(0);
        }
        prop_assert_eq!(posted, expected);
        // The closes bill every tentative line of the months before July, and possibly some of
        // July's.
        for (plan, (running, once)) in plans.iter().zip(&cycles) {
            let lines = run(&offered(&[plan], "2026-01-01", "0").cycle_day(cycle_day)).0.lines;
            let all: i128 = lines.iter().filter(|l| l.posting == Posting::Tentative && l.at < at("2026-07-01")).map(|l| l.amount.nanos()).sum();
            let july: i128 = lines.iter().filter(|l| l.posting == Posting::Tentative && l.at >= at("2026-07-01")).map(|l| l.amount.nanos()).sum();
            let closed = running.values().sum::<i128>() + once.values().sum::<i128>();
            prop_assert!(all <= closed && closed <= all + july);
        }
    }
}

/// docs/plan-semantics.md section 6: one-time charges are excluded from the comparison, also after
/// discounts.
#[test]
fn discounts_on_one_time_charges_are_not_compared() {
    let waived = |id: &str, monthly: &str| {
        let graph = format!(
            r#"<OneTimeCharge id="setup" amount="100"/>
            <Discount id="waived" in="setup.charge" percent="100"/>
            <MonthlyRecurringCharge id="month" amount="{monthly}"/>
            <AccountFinalizer id="post" in="waived.charge month.charge"/>"#
        );
        plan_of(id, 1, "2026-01-01", &graph)
    };
    let (dear, cheap) = (waived("dear", "60"), calls("cheap", "1", "30", "0"));
    let contract = offered(&[&dear, &cheap], "2026-01-01", "0");
    let mut ledger = Ledger::new();
    ledger.sweep(&contract, "2026-02-03");
    let sum = ledger.lines.iter().find(|line| line.component == "sum").unwrap();
    assert_eq!((sum.plan.as_str(), sum.amount.to_string().as_str()), ("cheap", "30.000000000"));
}

/// A record is suspended if an alternative would post its charge to another account. The posting
/// would have to wait for the close, and the owner of the other account does not know the option.
#[test]
fn an_alternative_that_would_post_to_a_second_account_waits_in_suspense() {
    let elsewhere = calls("elsewhere", "1", "0", "0").replace(
        "<AccountFinalizer id=\"post\" in=\"setup.charge month.charge rate.charge\"/>",
        "<AccountFinalizer id=\"post\" in=\"setup.charge month.charge\"/><SecondAccountFinalizer id=\"sponsor\" in=\"rate.charge\" account=\"901\"/>",
    );
    let plain = calls("plain", "1", "0", "0");
    let contract = offered(&[&elsewhere, &plain], "2026-01-01", "0");
    let record = call("2026-01-05T10:00:00Z", 1);
    let rated = Ledger::new().rate(&contract, &record, record.start);
    assert_eq!(rated.map(drop), Err(SuspenseReason::PostsElsewhere));
}

/// docs/plan-semantics.md section 6: a late record is suspended if its option has ended and all
/// cycles of the option are closed, because no later close would bill the record.
#[test]
fn a_late_record_of_an_option_that_has_ended_waits_in_suspense() {
    let (a, b) = (calls("a", "1", "0", "0"), calls("b", "2", "0", "0"));
    let contract = [&a, &b].into_iter().fold(Contract::in_zone("UTC"), |contract, xml| {
        let alternative = Subscription::to(xml, "2026-01-01").until("2026-01-20");
        contract.with(alternative.in_option("choice", "0"))
    });
    let mut ledger = Ledger::new();
    ledger.sweep(&contract, "2026-02-10");
    let record = call("2026-01-15T10:00:00Z", 1);
    let late = ledger.rate(&contract, &record, at("2026-02-10"));
    assert_eq!(late.map(drop), Err(SuspenseReason::AfterClose));
}
