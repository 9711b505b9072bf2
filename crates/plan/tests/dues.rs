//! Charges that fall due without usage: recurring and one-time charges
//! (docs/plan-semantics.md section 5, P34).

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support;

use proptest::prelude::*;
use support::due::{Booked, Contract, Ledger, Subscription, at, period, plan_of};
use support::{plan, session};
use turnpike_plan::{Cause, PlanErrors, StateEntry, parse};
use turnpike_types::{Money, SuspenseReason, Timestamp};

/// A plan whose only charge is a primitive of the given type.
fn charging(kind: &str, properties: &str) -> String {
    plan(&charges(kind, properties))
}

fn charges(kind: &str, properties: &str) -> String {
    format!(
        "<{kind} id=\"fee\" {properties}/>\n<Ignore id=\"i\" in=\"record.duration\"/>\n<AccountFinalizer id=\"post\" in=\"fee.charge\"/>"
    )
}

fn monthly(properties: &str) -> String {
    charging("MonthlyRecurringCharge", properties)
}

/// The lines that one sweep at `now` books for a contract.
fn swept(contract: &Contract, now: &str) -> Vec<String> {
    let mut ledger = Ledger::new();
    ledger.sweep(contract, now);
    ledger.shown()
}

fn zurich(subscription: Subscription) -> Contract {
    Contract::in_zone("Europe/Zurich").with(subscription)
}

/// docs/plan-semantics.md section 5: a charge falls due at the start of each period, also without
/// usage.
#[test]
fn a_monthly_charge_falls_due_when_the_month_begins_without_usage() {
    let contract =
        zurich(Subscription::to(&monthly(r#"amount="20""#), "2026-01-01T00:00:00+01:00"));
    let mut ledger = Ledger::new();
    ledger.sweep(&contract, "2026-03-31T22:00:00Z");
    let due: Vec<(Timestamp, _)> = ledger.lines.iter().map(|line| (line.at, line.period)).collect();
    let months = [
        ("2026-01-01T00:00:00+01:00", "2026-01-01"),
        ("2026-02-01T00:00:00+01:00", "2026-02-01"),
        ("2026-03-01T00:00:00+01:00", "2026-03-01"),
        ("2026-04-01T00:00:00+02:00", "2026-04-01"),
    ];
    assert_eq!(due, months.map(|(due, of)| (at(due), period(of))));
    assert!(ledger.lines.iter().all(|line| line.amount.nanos() == 20_000_000_000));
}

/// Without the date, the charges since the start would be booked a second time.
#[test]
fn a_stored_date_that_is_none_stops_the_charge_instead_of_booking_it_again() {
    let contract =
        zurich(Subscription::to(&monthly(r#"amount="20""#), "2026-01-01T00:00:00+01:00"));
    let mut ledger = Ledger::new();
    ledger.sweep(&contract, "2026-02-15T00:00:00Z");
    assert_eq!(ledger.lines.len(), 2);
    let next = i128::from(period("2026-03-01").0);
    let mut booked = ledger.state.iter().filter(|entry| entry.value == next);
    let of_fee = *booked.next().unwrap();
    ledger.state.apply(&[StateEntry { value: i128::MAX, ..of_fee }]);
    let now = at("2026-04-15T00:00:00Z");
    assert_eq!(ledger.book_due(&contract, now, now), Err(SuspenseReason::Overflow));
    assert_eq!(ledger.lines.len(), 2);
}

/// docs/plan-semantics.md section 4: with cycle day 31, a cycle of a shorter month starts on the
/// last day of the month.
#[test]
fn a_cycle_charge_of_day_31_falls_due_at_the_months_ends() {
    let fee = charging("BillingCycleRecurringCharge", r#"amount="5""#);
    let contract = zurich(Subscription::to(&fee, "2026-01-10")).cycle_day(31);
    assert_eq!(
        swept(&contract, "2026-05-01"),
        [
            "2026-01-10 fee 5",
            "2026-01-31 fee 5",
            "2026-02-28 fee 5",
            "2026-03-31 fee 5",
            "2026-04-30 fee 5"
        ]
    );
}

/// docs/plan-semantics.md section 4: weeks start on Monday, or on another day.
#[test]
fn a_weekly_charge_falls_due_on_its_day() {
    let fee = |starts| charging("WeeklyRecurringCharge", &format!("amount=\"1\"{starts}"));
    let contract = |starts| zurich(Subscription::to(&fee(starts), "2026-03-25T08:00:00Z"));
    assert_eq!(
        swept(&contract(""), "2026-04-07"),
        ["2026-03-25 fee 1", "2026-03-30 fee 1", "2026-04-06 fee 1"]
    );
    assert_eq!(
        swept(&contract(" starts=\"Sun\""), "2026-04-07"),
        ["2026-03-25 fee 1", "2026-03-29 fee 1", "2026-04-05 fee 1"]
    );
}

/// docs/plan-semantics.md section 5: a charge due at or before a record's start is booked before
/// that record.
#[test]
fn charges_due_at_a_records_start_are_booked_before_it() {
    let graph = r#"<MonthlyRecurringCharge id="fee" amount="20"/>
        <StepRater id="r" in="record.duration"><step id="use" price="1" per="1 h"/></StepRater>
        <AccountFinalizer id="post" in="fee.charge r.charge"/>"#;
    let contract = zurich(Subscription::to(&plan(graph), "2026-01-15T00:00:00+01:00"));
    let mut ledger = Ledger::new();
    let mut rate = |start: &str, end: &str| {
        ledger.rate(&contract, &session("t", start, end), at(end)).unwrap();
    };
    rate("2026-01-31T23:00:00+01:00", "2026-02-01T00:00:00+01:00");
    rate("2026-02-01T00:00:00+01:00", "2026-02-01T01:00:00+01:00");
    // A late record is rated in the order of its arrival; earlier bookings stay.
    rate("2026-01-20T00:00:00+01:00", "2026-01-20T01:00:00+01:00");
    assert_eq!(
        ledger.shown(),
        [
            "2026-01-15 fee 20",
            "2026-01-31 use 1",
            "2026-02-01 fee 20",
            "2026-02-01 use 1",
            "2026-01-20 use 1"
        ]
    );
}

/// docs/plan-semantics.md section 5: the start date is charged, and the cancellation date is not.
#[test]
fn by_days_a_month_costs_the_days_on_which_the_subscription_is_active() {
    let fee = monthly(r#"amount="31" prorate="day""#);
    let contract = zurich(Subscription::to(&fee, "2026-03-10T23:59:00+01:00"));
    assert_eq!(swept(&contract, "2026-04-15"), ["2026-03-10 fee 22", "2026-04-01 fee 31"]);
    // In this contract, the cancellation was known when the month began.
    let known = zurich(
        Subscription::to(&fee, "2026-03-10T23:59:00+01:00").until("2026-03-20T00:01:00+01:00"),
    );
    assert_eq!(swept(&known, "2026-04-15"), ["2026-03-10 fee 10"]);
}

/// docs/plan-semantics.md section 5: a prorated charge is an exact fraction of the month's charge.
/// February has 29 days in a leap year.
#[test]
fn days_are_exact_fractions_of_the_month_that_they_are_in() {
    let on = |since: &str| {
        let fee = plan_of(
            "p",
            1,
            "2024-01-01",
            &charges("MonthlyRecurringCharge", r#"amount="10" prorate="day""#),
        );
        swept(&zurich(Subscription::to(&fee, since)), since)
    };
    assert_eq!(on("2024-02-29T12:00:00Z"), ["2024-02-29 fee 0.344827586"]);
    assert_eq!(on("2026-02-28T12:00:00Z"), ["2026-02-28 fee 0.357142857"]);
    // A date of 23 hours and a date of 25 hours each count as one day.
    assert_eq!(on("2026-03-29T12:00:00Z"), ["2026-03-29 fee 0.967741935"]);
    assert_eq!(on("2026-10-25T12:00:00Z"), ["2026-10-25 fee 2.258064516"]);
}

/// docs/plan-semantics.md section 5: without prorate, a month that has begun is charged in full,
/// and there is no refund.
#[test]
fn whole_months_are_charged_and_kept_whole() {
    let contract = zurich(
        Subscription::to(&monthly(r#"amount="20""#), "2026-01-31T20:00:00Z").until("2026-02-02"),
    );
    assert_eq!(swept(&contract, "2026-06-01"), ["2026-01-31 fee 20", "2026-02-01 fee 20"]);
}

/// docs/plan-semantics.md section 5: a cancellation within a month refunds the unused days, once.
#[test]
fn a_cancellation_gives_the_unused_days_back_once() {
    let fee = monthly(r#"amount="31" prorate="day""#);
    let mut contract = zurich(Subscription::to(&fee, "2026-03-01T00:00:00+01:00"));
    let mut ledger = Ledger::new();
    ledger.sweep(&contract, "2026-03-05");
    contract.subscriptions[0].until = at("2026-03-10T15:00:00+01:00");
    for now in ["2026-03-09", "2026-03-10T14:00:00Z", "2026-03-11", "2026-04-02", "2026-12-31"] {
        ledger.sweep(&contract, now);
    }
    assert_eq!(ledger.shown(), ["2026-03-01 fee 31", "2026-03-10 fee-unused -22"]);
    let credit = &ledger.lines[1];
    assert_eq!((credit.at, credit.period), (at("2026-03-10T14:00:00Z"), period("2026-03-01")));
}

/// docs/plan-semantics.md section 5: the bill does not depend on whether the cancellation was known
/// when the month began.
#[test]
fn after_a_cancellation_is_withdrawn_or_moved_the_active_days_are_charged() {
    let fee = monthly(r#"amount="31" prorate="day""#);
    let mut contract =
        zurich(Subscription::to(&fee, "2026-03-01T00:00:00+01:00").until("2026-03-10T12:00:00Z"));
    let mut ledger = Ledger::new();
    ledger.sweep(&contract, "2026-03-05");
    contract.subscriptions[0].until = at("2026-03-20T12:00:00Z");
    ledger.sweep(&contract, "2026-03-15");
    contract.subscriptions[0].until = Timestamp::MAX;
    ledger.sweep(&contract, "2026-04-15");
    assert_eq!(
        ledger.shown(),
        ["2026-03-01 fee 9", "2026-03-10 fee 10", "2026-03-20 fee 12", "2026-04-01 fee 31"]
    );
}

#[test]
fn a_subscription_cancelled_before_a_period_is_not_charged_for_it() {
    let whole = monthly(r#"amount="31""#);
    let days = monthly(r#"amount="31" prorate="day""#);
    for (fee, until, now) in [
        (&whole, "2026-04-01T00:00:00+02:00", "2026-05-01"),
        (&days, "2026-04-01T00:00:00+02:00", "2026-05-01"),
        // The cancellation date is not charged, even if its morning was used.
        (&days, "2026-04-01T12:00:00+02:00", "2026-05-01"),
    ] {
        let contract = zurich(Subscription::to(fee, "2026-03-01T00:00:00+01:00").until(until));
        assert_eq!(swept(&contract, now), ["2026-03-01 fee 31"], "{until}");
    }
    // A subscription that is cancelled on the day on which it began is charged for no day.
    let none = Subscription::to(&days, "2026-03-10T08:00:00Z").until("2026-03-10T20:00:00Z");
    assert_eq!(swept(&zurich(none), "2026-05-01"), Vec::<String>::new());
}

/// docs/plan-semantics.md section 5: the day of a plan change belongs to the new plan.
#[test]
fn a_plan_change_gives_back_the_old_plans_days_and_charges_the_new_plans() {
    let of = |id: &str, amount: &str| {
        let properties = format!("amount=\"{amount}\" prorate=\"day\"");
        plan_of(id, 1, "2026-01-01", &charges("MonthlyRecurringCharge", &properties))
    };
    let change = "2026-03-11T16:00:00+01:00";
    let mut contract = zurich(Subscription::to(&of("old", "31"), "2026-01-01T00:00:00+01:00"));
    let mut ledger = Ledger::new();
    ledger.sweep(&contract, "2026-03-10");
    contract.subscriptions[0].until = at(change);
    contract.subscriptions.push(Subscription::to(&of("new", "62"), change));
    ledger.sweep(&contract, "2026-04-10");
    assert_eq!(
        ledger.shown()[2..],
        [
            "2026-03-01 fee 31",
            "2026-03-11 fee-unused -21",
            "2026-03-11 fee 42",
            "2026-04-01 fee 62"
        ]
    );
}

/// docs/plan-semantics.md section 6: plans with the same `state` can succeed each other; each
/// subscription is charged separately.
#[test]
fn a_change_between_plans_of_one_state_charges_the_new_plans_days() {
    let of = |id: &str| {
        plan_of(
            id,
            1,
            "2026-01-01",
            &charges("MonthlyRecurringCharge", r#"amount="31" prorate="day""#),
        )
        .replace("version=", "state=\"family\" version=")
    };
    let mut contract = zurich(Subscription::to(&of("a"), "2026-03-01T00:00:00+01:00"));
    let mut ledger = Ledger::new();
    ledger.sweep(&contract, "2026-03-02");
    contract.subscriptions[0].until = at("2026-03-11T12:00:00Z");
    contract.subscriptions.push(Subscription::to(&of("b"), "2026-03-11T12:00:00Z"));
    ledger.sweep(&contract, "2026-03-20");
    assert_eq!(
        ledger.shown(),
        ["2026-03-01 fee 31", "2026-03-11 fee-unused -21", "2026-03-11 fee 21"]
    );
}

/// docs/plan-semantics.md section 5: another version of the same plan sets the price from the next
/// period on.
#[test]
fn a_new_version_prices_from_the_next_period_a_charge_that_is_new_too() {
    let two = format!(
        "<MonthlyRecurringCharge id=\"extra\" amount=\"3\"/>\n<MonthlyRecurringCharge id=\"days\" amount=\"31\" prorate=\"day\"/>\n{}",
        charges("MonthlyRecurringCharge", r#"amount="25""#)
            .replace("fee.charge", "fee.charge extra.charge days.charge")
    );
    let contract = zurich(
        Subscription::to(&monthly(r#"amount="20""#), "2026-01-15T00:00:00+01:00")
            .and_version(&plan_of("p", 2, "2026-02-10", &two)),
    );
    assert_eq!(
        swept(&contract, "2026-03-20"),
        [
            "2026-01-15 fee 20",
            "2026-02-01 fee 20",
            "2026-03-01 extra 3",
            "2026-03-01 days 31",
            "2026-03-01 fee 25"
        ]
    );
}

/// docs/plan-semantics.md section 5: a version that starts together with a period sets the price of
/// that period.
#[test]
fn a_version_of_the_first_of_the_month_prices_that_month() {
    let contract = zurich(
        Subscription::to(&monthly(r#"amount="20""#), "2026-01-01T00:00:00+01:00").and_version(
            &plan_of("p", 2, "2026-02-01", &charges("MonthlyRecurringCharge", r#"amount="25""#)),
        ),
    );
    assert_eq!(swept(&contract, "2026-02-20"), ["2026-01-01 fee 20", "2026-02-01 fee 25"]);
}

#[test]
fn a_version_without_the_charge_leaves_its_months_out_and_a_later_one_charges_again() {
    let version = |number, starts: &str, kind: &str, properties: &str| {
        plan_of("p", number, starts, &charges(kind, properties))
    };
    for prorate in ["", " prorate=\"day\""] {
        let fee = format!("amount=\"20\"{prorate}");
        let contract = zurich(
            Subscription::to(&monthly(&fee), "2026-01-01T00:00:00+01:00")
                .and_version(
                    &version(2, "2026-02-10", "OneTimeCharge", r#"amount="1""#)
                        .replace("id=\"fee\"", "id=\"f\"")
                        .replace("fee.", "f."),
                )
                .and_version(&version(3, "2026-04-02", "MonthlyRecurringCharge", &fee)),
        );
        assert_eq!(
            swept(&contract, "2026-06-10"),
            ["2026-01-01 fee 20", "2026-02-01 fee 20", "2026-05-01 fee 20", "2026-06-01 fee 20"]
        );
    }
}

/// docs/plan-semantics.md section 6: settings are dated. No month is charged twice or skipped when
/// midnight moves.
#[test]
fn a_change_of_zone_neither_repeats_nor_skips_a_month() {
    let cases = [
        // April had begun in Zurich already, but not in New York.
        ("America/New_York", "2026-04-01T02:00:00Z", "Europe/Zurich", "2026-04-01T02:00:00Z"),
        // In the reverse direction, April is charged once, when it begins in Zurich.
        ("Europe/Zurich", "2026-04-01T02:00:00Z", "America/New_York", "2026-03-31T22:00:00Z"),
        ("Europe/Zurich", "2026-03-20T02:00:00Z", "America/New_York", "2026-04-01T04:00:00Z"),
    ];
    for prorate in ["", " prorate=\"day\""] {
        for (before, change, after, due) in cases {
            let fee = monthly(&format!("amount=\"20\"{prorate}"));
            let contract = Contract::in_zone(before)
                .with(Subscription::to(&fee, "2026-02-01T12:00:00Z"))
                .then_settings(change, after, 1);
            let mut ledger = Ledger::new();
            ledger.sweep(&contract, "2026-05-15");
            let april: Vec<Timestamp> = ledger
                .lines
                .iter()
                .filter(|l| l.period == period("2026-04-01"))
                .map(|l| l.at)
                .collect();
            assert_eq!(april, [at(due)], "{before} {after}");
            assert_eq!(ledger.lines.len(), 4, "{:?}", ledger.shown());
        }
    }
}

/// docs/plan-semantics.md section 5: when the cycle day changes, the days in between are charged by
/// day, and a charge without prorate waits for the next cycle. No day is charged twice.
#[test]
fn a_change_of_the_cycle_day_charges_no_day_twice() {
    let contract = |prorate: &str| {
        let fee = charging("BillingCycleRecurringCharge", &format!("amount=\"31\"{prorate}"));
        zurich(Subscription::to(&fee, "2026-03-01T00:00:00+01:00")).then_settings(
            "2026-03-10T00:00:00+01:00",
            "Europe/Zurich",
            15,
        )
    };
    assert_eq!(swept(&contract(""), "2026-05-01"), ["2026-03-01 fee 31", "2026-04-15 fee 31"]);
    assert_eq!(
        swept(&contract(" prorate=\"day\""), "2026-05-01"),
        ["2026-03-01 fee 31", "2026-04-01 fee 14", "2026-04-15 fee 31"]
    );
}

/// If the start of the subscription is unknown, recurring charges begin with the plan's first
/// version, and one-time charges are not charged.
#[test]
fn a_subscription_from_the_beginning_of_time_is_charged_from_the_plans_start() {
    let mut subscription = Subscription::to(&monthly(r#"amount="20""#), "2026-01-01");
    subscription.since = Timestamp::MIN;
    let contract = zurich(subscription);
    assert_eq!(swept(&contract, "2026-02-10"), ["2026-01-01 fee 20", "2026-02-01 fee 20"]);
    let mut once = Subscription::to(&charging("OneTimeCharge", r#"amount="5""#), "2026-01-01");
    once.since = Timestamp::MIN;
    assert_eq!(swept(&zurich(once), "2026-02-10"), Vec::<String>::new());
}

/// docs/plan-semantics.md section 5: a one-time charge is made once per subscription, so a second
/// subscription pays it again, as well as its own days.
#[test]
fn subscribing_again_charges_the_fee_again_and_months_anew() {
    let graph = r#"<OneTimeCharge id="setup" amount="10"/>
        <MonthlyRecurringCharge id="fee" amount="31" prorate="day"/>
        <Ignore id="i" in="record.duration"/>
        <AccountFinalizer id="post" in="setup.charge fee.charge"/>"#;
    let contract = zurich(
        Subscription::to(&plan(graph), "2026-01-01T00:00:00+01:00").until("2026-03-11T12:00:00Z"),
    )
    .with(Subscription::to(&plan(graph), "2026-03-21T12:00:00Z").until("2026-04-05T12:00:00Z"))
    .with(Subscription::to(&plan(graph), "2026-07-01T00:00:00+02:00"));
    assert_eq!(
        swept(&contract, "2026-07-20"),
        [
            "2026-01-01 setup 10",
            "2026-01-01 fee 31",
            "2026-02-01 fee 31",
            "2026-03-01 fee 10",
            "2026-03-21 setup 10",
            "2026-03-21 fee 11",
            "2026-04-01 fee 4.133333333",
            "2026-07-01 setup 10",
            "2026-07-01 fee 31",
        ]
    );
}

/// docs/plan-semantics.md section 5: a OneTimeCharge is charged once per subscription, also if the
/// plan version or the zone changes.
#[test]
fn a_one_time_charge_is_charged_once_whatever_the_versions_and_the_zone() {
    let first_use = |number, amount: &str| {
        plan_of(
            "p",
            number,
            if number == 1 { "2026-01-01" } else { "2026-02-01" },
            &charges(
                "OneTimeCharge",
                &format!("trigger=\"record.duration\" due=\"first-use\" amount=\"{amount}\""),
            ),
        )
    };
    let in_advance = |number, amount: &str| {
        plan_of(
            "p",
            number,
            if number == 1 { "2026-01-01" } else { "2026-02-01" },
            &charges("OneTimeCharge", &format!("amount=\"{amount}\"")),
        )
    };
    let contract = |of: &dyn Fn(u32, &str) -> String| {
        zurich(Subscription::to(&of(1, "10"), "2026-01-05T23:30:00Z").and_version(&of(2, "12")))
            .then_settings("2026-02-10", "Pacific/Auckland", 1)
    };
    let used = |contract: &Contract, at_instants: &[&str]| {
        let mut ledger = Ledger::new();
        for instant in at_instants {
            ledger.rate(contract, &session("t", instant, instant), at(instant)).unwrap();
        }
        ledger.shown()
    };
    let instants = ["2026-01-20T00:00:00Z", "2026-02-05T00:00:00Z", "2026-02-20T00:00:00Z"];
    assert_eq!(used(&contract(&first_use), &instants), ["2026-01-20 fee 10"]);
    assert_eq!(used(&contract(&first_use), &instants[1..]), ["2026-02-05 fee 12"]);
    assert_eq!(used(&contract(&in_advance), &instants), ["2026-01-06 fee 10"]);
    // A charge that only a later version has is not charged to earlier subscriptions.
    let late = zurich(
        Subscription::to(&monthly(r#"amount="1""#), "2026-01-31T00:00:00Z")
            .and_version(&in_advance(2, "12")),
    );
    assert_eq!(swept(&late, "2026-04-01"), ["2026-01-31 fee 1"]);
}

/// docs/plan-semantics.md section 5: with `due="first-use"`, a month is charged by its first
/// record. Months without usage are not charged, with or without sweeps.
#[test]
fn first_use_leaves_skipped_months_skipped() {
    let fee = monthly(r#"trigger="record.duration" due="first-use" amount="20""#);
    let contract = zurich(Subscription::to(&fee, "2026-01-01"));
    let mut ledger = Ledger::new();
    for day in ["2026-01-20", "2026-01-21", "2026-04-02"] {
        let start = format!("{day}T00:00:00Z");
        ledger.rate(&contract, &session("t", &start, &start), at(&start)).unwrap();
        ledger.sweep_to(&contract, at(&start));
    }
    assert_eq!(ledger.shown(), ["2026-01-20 fee 20", "2026-04-02 fee 20"]);
}

/// docs/plan-semantics.md section 3: an amount is rounded once, by the plan's rule.
#[test]
fn days_round_by_the_plans_rule() {
    let fee = monthly(r#"amount="10" prorate="day""#)
        .replace("currency=", "round=\"2 half-even\" currency=");
    let mut contract = zurich(Subscription::to(&fee, "2026-03-02T00:00:00+01:00"));
    let mut ledger = Ledger::new();
    ledger.sweep(&contract, "2026-03-05");
    contract.subscriptions[0].until = at("2026-03-12T12:00:00Z");
    ledger.sweep(&contract, "2026-03-15");
    // The charge is 10 for 30 of 31 days, and the refund is 20 of these 30 days.
    assert_eq!(ledger.shown(), ["2026-03-02 fee 9.68", "2026-03-12 fee-unused -6.45"]);
}

/// Parses a plan that must be refused. Returns (line, primitive, cause) of every error.
fn refused(graph: &str) -> Vec<(u32, String, Cause)> {
    let PlanErrors(errors) = parse(&plan(graph)).expect_err("the plan must be refused");
    errors.into_iter().map(|e| (e.line, e.primitive.unwrap_or_default(), e.cause)).collect()
}

#[test]
fn charges_that_can_not_be_are_refused_by_name_and_line() {
    let with_use = r#"trigger="record.duration" due="first-use""#;
    for (kind, properties, cause) in [
        ("MonthlyRecurringCharge", r#"amount="1" due="first-use""#, Cause::OpenInput),
        ("OneTimeCharge", r#"amount="1" due="first-use""#, Cause::OpenInput),
        (
            "WeeklyRecurringCharge",
            &format!("{with_use} amount=\"1\" prorate=\"day\""),
            Cause::BadValue,
        ),
        ("BillingCycleRecurringCharge", r#"amount="1" prorate="hour""#, Cause::BadValue),
        ("WeeklyRecurringCharge", r#"amount="1" starts="Monday""#, Cause::BadValue),
        ("MonthlyRecurringCharge", r#"amount="-1""#, Cause::BadValue),
        ("MonthlyRecurringCharge", "", Cause::MissingProperty),
        ("OneTimeCharge", r#"amount="1" prorate="day""#, Cause::UnknownProperty),
        ("MonthlyRecurringCharge", r#"amount="1" due="arrears""#, Cause::BadValue),
    ] {
        assert_eq!(
            refused(&charges(kind, properties)),
            [(3, "fee".to_owned(), cause)],
            "{kind} {properties}"
        );
    }
}

#[test]
fn an_unused_trigger_gives_a_warning() {
    let plan = parse(&monthly(r#"trigger="record.duration" amount="1""#)).unwrap();
    assert_eq!(plan.warnings().len(), 1);
    assert_eq!(plan.warnings()[0].line, 3);
}

/// A contract with all kinds of changes: versions, cancellations, zones, a pause.
fn eventful(prorate: bool, zone: &'static str) -> Contract {
    let by_day = if prorate { " prorate=\"day\"" } else { "" };
    let graph = |amount: &str| {
        format!(
            "<OneTimeCharge id=\"setup\" amount=\"10\"/>\n<MonthlyRecurringCharge id=\"month\" amount=\"{amount}\"{by_day}/>\n<WeeklyRecurringCharge id=\"week\" amount=\"0.7\"{by_day}/>\n<BillingCycleRecurringCharge id=\"cycle\" amount=\"31\"{by_day}/>\n<Ignore id=\"i\" in=\"record.duration\"/>\n<Adder id=\"sum\" in=\"setup.charge month.charge week.charge cycle.charge\"/>\n<AccountFinalizer id=\"post\" in=\"sum.charge\"/>"
        )
    };
    let version = |number, starts: &str, amount: &str| plan_of("p", number, starts, &graph(amount));
    Contract::in_zone(zone)
        .cycle_day(31)
        .with(
            Subscription::to(&version(1, "2026-01-01", "20"), "2026-01-17T13:00:00Z")
                .and_version(&version(2, "2026-02-10", "25"))
                .until("2026-04-11T09:00:00Z"),
        )
        .with(Subscription::to(&version(1, "2026-01-01", "20"), "2026-05-03T10:00:00Z"))
        .then_settings("2026-06-01T02:00:00Z", "Asia/Kolkata", 31)
        .then_settings("2026-07-01T02:00:00Z", "America/New_York", 12)
}

fn ran(contract: &Contract, instants: &[i64], fresh_rater: bool) -> (Vec<Booked>, Ledger) {
    let mut ledger = Ledger::new();
    for &instant in instants {
        ledger.sweep_to(contract, Timestamp(instant));
        if fresh_rater {
            // A new owner takes over, with the state restored from the log.
            ledger.rater = turnpike_plan::Rater::new();
        }
    }
    ledger.sweep(contract, "2026-09-20");
    (ledger.lines.clone(), ledger)
}

proptest! {
    #![proptest_config(test_cases::cases(64))]

    /// P34: a charge that falls due is booked once, by any number of sweeps at any times. Sweeps in
    /// steps, with takeovers in between, book the same lines as a single sweep at the end.
    #[test]
    fn any_steps_of_sweeping_book_the_same_lines(
        prorate: bool, fresh: bool, zone in 0usize..4,
        steps in proptest::collection::vec(0i64..260 * 24, 0..12),
    ) {
        let zone = ["Europe/Zurich", "America/New_York", "Pacific/Auckland", "Asia/Kathmandu"][zone];
        let contract = eventful(prorate, zone);
        let start = at("2026-01-01").micros();
        let mut steps: Vec<i64> = steps.iter().map(|hour| start + hour * 3_600_000_000).collect();
        steps.sort_unstable();
        let (once, one) = ran(&contract, &[], false);
        let (stepped, other) = ran(&contract, &steps, fresh);
        prop_assert_eq!(&once, &stepped);
        prop_assert_eq!(&one.state, &other.state);
        // Each charge is booked once, and lines are booked in order of time.
        let mut charged: Vec<_> = once.iter().filter(|line| !line.component.ends_with("-unused"))
            .map(|line| (&line.component, line.at)).collect();
        let all = charged.len();
        charged.sort();
        charged.dedup();
        prop_assert_eq!(charged.len(), all);
        prop_assert!(once.windows(2).all(|pair| pair[0].at <= pair[1].at));
    }

    /// docs/plan-semantics.md section 5: if plans of the same price follow each other within a
    /// month, the charges add up to the month's price, within one rounding per part, whether or not
    /// the change was known beforehand.
    #[test]
    fn the_parts_of_a_month_cut_by_a_plan_change_add_up_to_it(
        nanos in 0i128..100_000_000_000, month in 1u8..13, day in 1u8..29, hour in 0u8..24, known: bool,
    ) {
        let amount = format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
        let of = |id: &str| plan_of(id, 1, "2026-01-01",
            &charges("MonthlyRecurringCharge", &format!("amount=\"{amount}\" prorate=\"day\"")));
        let first = format!("2026-{month:02}-01T00:00:00Z");
        let change = format!("2026-{month:02}-{day:02}T{hour:02}:30:00Z");
        let mut contract = Contract::in_zone("UTC").with(Subscription::to(&of("a"), &first));
        let mut ledger = Ledger::new();
        if !known {
            ledger.sweep(&contract, &first);
        }
        contract.subscriptions[0].until = at(&change);
        contract.subscriptions.push(Subscription::to(&of("b"), &change));
        ledger.sweep(&contract, &format!("2026-{month:02}-28T23:59:59Z"));
        let all = ledger.sum("fee").nanos() + ledger.sum("fee-unused").nanos();
        let parts = if known { 2 } else { 3 };
        prop_assert!((all - nanos).abs() <= parts, "{all} of {nanos}: {:?}", ledger.shown());
        prop_assert!(ledger.sum("fee-unused") <= Money::ZERO);
    }
}
