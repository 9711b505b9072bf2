//! Refunds after a backdated cancellation: the unused days of each booked period are refunded once
//! (docs/plan-semantics.md section 5).

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support;

use proptest::prelude::*;
use support::due::{Contract, Ledger, Subscription, at, money, period, plan_of};
use turnpike_types::Timestamp;

fn fee(kind: &str, amount: &str) -> String {
    let graph = format!(
        "<{kind} id=\"fee\" amount=\"{amount}\" prorate=\"day\"/>\n<Ignore id=\"i\" in=\"record.duration\"/>\n<AccountFinalizer id=\"post\" in=\"fee.charge\"/>"
    );
    plan_of("p", 1, "2026-01-01", &graph)
}

fn monthly(amount: &str, since: &str) -> Contract {
    Contract::in_zone("Europe/Zurich")
        .with(Subscription::to(&fee("MonthlyRecurringCharge", amount), since))
}

/// All charges less all refunds, in billionths.
fn kept(ledger: &Ledger) -> i128 {
    (ledger.sum("fee").nanos()) + ledger.sum("fee-unused").nanos()
}

#[test]
fn a_cancellation_dated_back_over_several_months_gives_each_of_them_back() {
    let mut contract = monthly("31", "2026-01-01T00:00:00+01:00");
    let mut ledger = Ledger::new();
    ledger.sweep(&contract, "2026-04-05");
    contract.subscriptions[0].until = at("2026-01-11T15:00:00+01:00");
    for now in ["2026-04-06", "2026-05-01", "2026-12-31"] {
        ledger.sweep(&contract, now);
    }
    assert_eq!(
        ledger.shown()[4..],
        [
            "2026-01-11 fee-unused -21",
            "2026-01-11 fee-unused -31",
            "2026-01-11 fee-unused -31",
            "2026-01-11 fee-unused -31",
        ]
    );
    // The period of each credit is the period that it refunds.
    let of: Vec<_> = ledger.lines[4..].iter().map(|line| line.period).collect();
    assert_eq!(of, ["2026-01-01", "2026-02-01", "2026-03-01", "2026-04-01"].map(period));
    assert_eq!(kept(&ledger), money("10").nanos());
}

#[test]
fn an_earlier_cancellation_afterwards_gives_back_the_difference_only() {
    let mut contract = monthly("31", "2026-01-01T00:00:00+01:00");
    let mut ledger = Ledger::new();
    ledger.sweep(&contract, "2026-03-05");
    for (until, now) in
        [("2026-02-15T12:00:00Z", "2026-03-06"), ("2026-01-11T12:00:00Z", "2026-03-07")]
    {
        contract.subscriptions[0].until = at(until);
        ledger.sweep(&contract, now);
        ledger.sweep(&contract, now);
    }
    assert_eq!(
        ledger.shown()[3..],
        [
            // The first cancellation refunds 14 of the 28 days of February, and all of March.
            "2026-02-15 fee-unused -15.5",
            "2026-02-15 fee-unused -31",
            // The second cancellation refunds 21 days of January, and the other 14 days of
            // February.
            "2026-01-11 fee-unused -21",
            "2026-01-11 fee-unused -15.5",
        ]
    );
}

/// Ten thirds is no finite decimal, and a refund in two steps must still equal a refund at once.
#[test]
fn refunds_in_steps_equal_one_refund() {
    let given_back = |untils: &[&str]| {
        let mut contract = monthly("10", "2026-01-01T00:00:00+01:00");
        let mut ledger = Ledger::new();
        ledger.sweep(&contract, "2026-02-05");
        for until in untils {
            contract.subscriptions[0].until = at(until);
            ledger.sweep(&contract, "2026-02-06");
        }
        ledger.sum("fee-unused")
    };
    let steps = [
        "2026-02-04T12:00:00Z",
        "2026-01-27T12:00:00Z",
        "2026-01-20T12:00:00Z",
        "2026-01-04T12:00:00Z",
    ];
    assert_eq!(given_back(&steps), given_back(&steps[3..]));
}

/// A following subscription has its own bookings, which a refund for the first one leaves
/// unchanged.
#[test]
fn a_second_cancellation_of_the_first_subscription_leaves_charges_of_the_next_one_unchanged() {
    let mut contract = monthly("31", "2026-01-01T00:00:00+01:00");
    let mut ledger = Ledger::new();
    ledger.sweep(&contract, "2026-03-05");
    contract.subscriptions[0].until = at("2026-02-15T12:00:00Z");
    let again = Subscription::to(&fee("MonthlyRecurringCharge", "31"), "2026-03-01T00:00:00+01:00");
    contract.subscriptions.push(again);
    ledger.sweep(&contract, "2026-04-05");
    contract.subscriptions[0].until = at("2026-01-11T12:00:00Z");
    ledger.sweep(&contract, "2026-04-06");
    // Ten days of January, and all of March and April, remain charged.
    assert_eq!(kept(&ledger), money("72").nanos());
}

proptest! {
    #![proptest_config(test_cases::cases(48))]

    /// For any calendar, price and sequence of ever earlier cancellations, the amount kept equals
    /// the charge with the last cancellation known from the start, within one rounding per period.
    /// A takeover in between changes neither the lines nor the state.
    #[test]
    fn the_amount_kept_equals_the_charge_with_the_last_cancellation(
        kind in 0usize..3, nanos in 1i128..50_000_000_000, cycle_day in 1u8..32,
        begins in 0i64..40 * 24, ends in proptest::collection::vec(0i64..200 * 24, 1..4),
    ) {
        const HOUR: i64 = 3_600_000_000;
        let kind = ["MonthlyRecurringCharge", "BillingCycleRecurringCharge", "WeeklyRecurringCharge"][kind];
        let amount = format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
        let start = at("2026-01-01").micros();
        let mut subscription = Subscription::to(&fee(kind, &amount), "2026-01-01");
        subscription.since = Timestamp(start + begins * HOUR);
        let mut contract = Contract::in_zone("America/New_York").cycle_day(cycle_day).with(subscription);
        let mut ends: Vec<i64> = ends.iter().map(|hours| start + (begins + 1 + hours) * HOUR).collect();
        ends.sort_unstable_by(|a, b| b.cmp(a));
        // A cancellation may take effect a few hours after `now`; its refund is booked after that
        // instant.
        let (now, later) = (at("2026-08-20"), at("2026-09-10"));
        let run = |contract: &mut Contract, takeover: bool| {
            let mut ledger = Ledger::new();
            contract.subscriptions[0].until = Timestamp::MAX;
            ledger.sweep_to(contract, now);
            for &end in &ends {
                contract.subscriptions[0].until = Timestamp(end);
                if takeover {
                    ledger.rater = turnpike_plan::Rater::new();
                }
                ledger.sweep_to(contract, now);
                ledger.sweep_to(contract, now);
            }
            ledger.sweep_to(contract, later);
            ledger
        };
        let (found, taken_over) = (run(&mut contract, false), run(&mut contract, true));
        prop_assert_eq!(&found.lines, &taken_over.lines);
        prop_assert_eq!(&found.state, &taken_over.state);
        let mut known = Ledger::new();
        known.sweep_to(&contract, later);
        prop_assert!((kept(&found) - kept(&known)).abs() <= 1, "{:?}", found.shown());
        prop_assert!(found.sum("fee-unused") <= turnpike_types::Money::ZERO);
    }
}

/// The cancellation is known an hour before it takes effect, and its refund is booked after it took
/// effect.
#[test]
fn an_end_in_the_hour_after_a_sweep_is_credited_once_it_has_passed() {
    let subscription =
        Subscription::to(&fee("MonthlyRecurringCharge", "31"), "2026-08-01T04:00:00Z");
    let mut contract = Contract::in_zone("America/New_York").with(subscription);
    let mut ledger = Ledger::new();
    ledger.sweep_to(&contract, at("2026-08-20T00:00:00Z"));
    contract.subscriptions[0].until = at("2026-08-20T01:00:00Z");
    ledger.sweep_to(&contract, at("2026-08-20T00:00:00Z"));
    let before = kept(&ledger);
    ledger.sweep_to(&contract, at("2026-08-20T02:00:00Z"));
    let mut known = Ledger::new();
    known.sweep_to(&contract, at("2026-08-20T02:00:00Z"));
    assert_eq!(before, money("31").nanos());
    assert_eq!(kept(&ledger), kept(&known));
    assert!(kept(&known) < before, "part of the month is given back");
}
