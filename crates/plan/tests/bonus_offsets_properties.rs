//! For any events and any times of sweeps: no bonus takes a cycle below zero, none is lost or
//! granted twice, and a new owner books the same lines after a takeover
//! (docs/plan-semantics.md section 5, P25 and P34).

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support;

use std::collections::BTreeMap;

use proptest::prelude::*;
use support::due::{Contract, Ledger, Subscription, plan_of};
use support::event;
use turnpike_plan::{Cycle, Period, Rater, Zone};
use turnpike_types::{Posting, Timestamp};

const DAY: i64 = 86_400_000_000;
/// 2026-01-01 in UTC.
const BEGIN: i64 = 20_454 * DAY;

fn at(day: i64) -> Timestamp {
    Timestamp(BEGIN + day * DAY)
}

fn on(day: i64) -> String {
    jiff::Timestamp::from_microsecond(at(day).micros()).unwrap().to_string()
}

/// A contract whose plans charge calls at 1 per unit. Only the first plan also grants a bonus of 1
/// for each ad.
fn contract(change: Option<i64>, cancelled: Option<i64>, cycle_day: Option<(i64, u8)>) -> Contract {
    let ads = r#"<UsageTypeSelector id="ads" in="record.quantity" types="ad"/>
        <StepRater id="show" in="ads.pass"><step id="ad" price="2" per="1"/></StepRater>
        <CostResponsibilityMatrix id="who" in="show.charge"><party id="ad" account="902"/><row shares="ad=1"/></CostResponsibilityMatrix>
        <BonusCredit id="reward" in="who.others"><grant from="902" to="self" percent="50"/></BonusCredit>
        <SecondAccountFinalizer id="theirs" in="reward.charge"/>"#;
    let calls = r#"<UsageTypeSelector id="calls" in="record.quantity" types="call"/>
        <StepRater id="call" in="calls.pass"><step id="used" price="1" per="1"/></StepRater>
        <BillingCycleRecurringCharge id="fee" amount="3"/>
        <AccountFinalizer id="mine" in="call.charge fee.charge"/>"#;
    let rewarded = plan_of("rewarded", 1, "2026-01-01", &format!("{ads}{calls}"));
    let plain = plan_of("plain", 1, "2026-01-01", calls);
    let mut contract = Contract::in_zone("UTC").with(Subscription::to(&rewarded, &on(0)));
    if let Some(change) = change {
        contract.subscriptions[0].until = at(change);
        contract = contract.with(Subscription::to(&plain, &on(change)));
    }
    if let Some(end) = cancelled {
        for subscription in &mut contract.subscriptions {
            subscription.until = subscription.until.min(at(end));
        }
    }
    match cycle_day {
        Some((from, day)) => contract.then_settings(&on(from), "UTC", day),
        None => contract,
    }
}

/// A record of ads or calls that starts on a day and arrives some days later.
#[derive(Clone, Copy, Debug)]
struct Usage {
    day: i64,
    is_ad: bool,
    quantity: i64,
    later: i64,
}

fn usage() -> impl Strategy<Value = Usage> {
    let later = prop_oneof![4 => Just(0i64), 1 => 0i64..40];
    (0i64..150, any::<bool>(), 1i64..9, later).prop_map(|(day, is_ad, quantity, later)| Usage {
        day,
        is_ad,
        quantity,
        later,
    })
}

/// Rates usage as it arrives. `visited` returns whether a sweep and then a takeover follow the
/// usage of the given day.
fn booked(contract: &Contract, usage: &[Usage], visited: impl Fn(i64) -> bool) -> Ledger {
    let mut ledger = Ledger::new();
    for day in 0..300 {
        for usage in usage.iter().filter(|usage| usage.day + usage.later == day) {
            let kind = if usage.is_ad { "ad" } else { "call" };
            let record = event(kind, &on(usage.day), usage.quantity);
            // After the last subscription, or if the plan has no ads, the record is suspended.
            let _ = ledger.rate(contract, &record, at(day));
        }
        if visited(day) {
            ledger.sweep_to(contract, at(day));
            ledger.rater = Rater::new();
        }
    }
    ledger.sweep_to(contract, at(300));
    ledger
}

/// The amounts posted to the account, by cycle.
fn totals(ledger: &Ledger) -> BTreeMap<Period, i128> {
    let utc = Zone::parse("UTC").unwrap();
    let mut totals = BTreeMap::new();
    for line in ledger.lines.iter().filter(|line| line.posting == Posting::Account) {
        let cycle = match line.by.as_str() {
            "offset" => line.period,
            _ => Cycle::at(&utc, 1, line.at).first,
        };
        *totals.entry(cycle).or_default() += line.amount.nanos();
    }
    totals
}

fn sum(ledger: &Ledger, component: &str) -> i128 {
    ledger.sum(component).nanos()
}

proptest! {
    #![proptest_config(test_cases::cases(200))]

    #[test]
    fn no_cycle_total_is_negative_and_no_bonus_is_lost(
        usage in proptest::collection::vec(usage(), 0..30),
        change in proptest::option::of(1i64..150),
        cancelled in proptest::option::of(1i64..200),
    ) {
        // All records arrive without delay, so that each line belongs to the cycle of its date.
        let usage: Vec<Usage> = usage.iter().map(|usage| Usage { later: 0, ..*usage }).collect();
        let contract = contract(change, cancelled, None);
        let ledger = booked(&contract, &usage, |_| false);
        let totals = totals(&ledger);
        let closed = totals.iter().filter(|(cycle, _)| **cycle < Period(20_454 + 243));
        for (cycle, total) in closed {
            prop_assert!(*total >= 0, "{cycle:?} {total} {:?}", ledger.shown());
        }
        prop_assert_eq!(
            sum(&ledger, "bonus-carried-forward"), -sum(&ledger, "bonus-brought-forward")
        );
        // The posted amounts are all charges and bonuses, corrected by the bonuses that lapsed.
        let charged = sum(&ledger, "used") + sum(&ledger, "fee") + sum(&ledger, "credit");
        let posted: i128 = totals.values().sum();
        prop_assert_eq!(posted, charged + sum(&ledger, "bonus-lapsed"));
        prop_assert!(cancelled.is_some() || sum(&ledger, "bonus-lapsed") == 0);
    }

    /// P34: sweeps and takeovers at any times book the same lines and give the same variables.
    #[test]
    fn offsets_do_not_depend_on_when_the_sweep_runs(
        usage in proptest::collection::vec(usage(), 0..20),
        change in proptest::option::of(1i64..150),
        cancelled in proptest::option::of(1i64..200),
        cycle_day in proptest::option::of((1i64..150, 1u8..=31)),
        visits in proptest::collection::btree_set(0i64..300, 0..40),
    ) {
        let contract = contract(change, cancelled, cycle_day);
        let daily = booked(&contract, &usage, |_| true);
        let now_and_then = booked(&contract, &usage, |day| visits.contains(&day));
        let sorted = |ledger: &Ledger| {
            let line = |l: &support::due::Booked| (l.at, l.by.clone(), l.component.clone(), l.period, l.amount);
            let mut lines: Vec<_> = ledger.lines.iter().map(line).collect();
            lines.sort();
            lines
        };
        prop_assert_eq!(sorted(&daily), sorted(&now_and_then));
        prop_assert_eq!(daily.state, now_and_then.state);
    }
}
