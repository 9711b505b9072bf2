//! Where an account can't be charged or rated wholly, a trial does what the owner of the account
//! does.
#![allow(clippy::unwrap_used, missing_docs)]

use crate::support;

use std::collections::BTreeMap;

use support::{account, at, due, parsed, rated, session, settings};
use turnpike_plan::Plan;
use turnpike_trial::{
    Alternative, Trial, TrialAccount, TrialAccounts, TrialCatalogue, TrialOutcome,
    TrialSubscription,
};
use turnpike_types::{AccountNumber, Money, SuspenseReason, Suspension};

const ONE: AccountNumber = AccountNumber(1);

/// A version of a plan with a monthly fee in advance.
fn monthly(id: &str, version: u32, starts: &str, parameter: &str, fee: &str) -> Plan {
    parsed(&format!(
        r#"<plan xmlns="urn:turnpike:plan:1" id="{id}" version="{version}" starts="{starts}" currency="USD">
  {parameter}
  <graph>
    <UsageTypeSelector id="online" in="record.duration" types="connect-time"/>
    <MonthlyRecurringCharge id="monthly" amount="{fee}"/>
    <StepRater id="rate" in="online.pass"><step id="hour" price="1.00" per="1 h"/></StepRater>
    <Adder id="sum" in="monthly.charge rate.charge"/>
    <AccountFinalizer id="post" in="sum.charge"/>
  </graph>
</plan>"#
    ))
}

/// A plan whose fee needs a table of exchange rates.
fn converted() -> Plan {
    parsed(
        r#"<plan xmlns="urn:turnpike:plan:1" id="converted" version="1" starts="2026-01-01" currency="EUR">
  <graph>
    <MonthlyRecurringCharge id="fee" amount="10.00"/>
    <CurrencyConverter id="convert" in="fee.charge" table="daily" to="account"/>
    <AccountFinalizer id="post" in="convert.charge"/>
  </graph>
</plan>"#,
    )
}

fn trial(plans: impl IntoIterator<Item = Plan>, account: TrialAccount) -> Trial {
    let mut accounts = TrialAccounts::none();
    accounts.open(ONE, account).unwrap();
    Trial::new(TrialCatalogue::new(plans), accounts)
}

fn balance(trial: &Trial) -> String {
    let balance = trial.balance(ONE).next();
    balance.map_or_else(String::new, |(_, sum)| sum.unwrap().to_string())
}

#[track_caller]
fn suspended(outcome: TrialOutcome<'_>) -> Suspension {
    match outcome {
        TrialOutcome::Suspended(suspension) => suspension.clone(),
        other => panic!("{other:?}"),
    }
}

/// The charge comes before the record.
#[test]
fn a_record_after_a_charge_that_can_not_be_booked_is_suspended_and_one_before_it_is_rated() {
    let from = at("2026-02-01T00:00:00Z");
    let both = account("UTC")
        .with(TrialSubscription::to("small"))
        .with(TrialSubscription { from, ..TrialSubscription::to("converted") });
    let plans = [monthly("small", 1, "2026-01-01", "", "5.00"), converted()];
    let mut trial = trial(plans, both);
    assert_eq!(rated(trial.rate(&session(1, "a", "2026-01-31T23:00:00Z", 1), 1).unwrap()).len(), 1);
    assert_eq!(due(&mut trial), ["2026-01-01 charge: monthly 0 h 5.000000000"]);
    for id in ["b", "c"] {
        let after = suspended(trial.rate(&session(1, id, "2026-02-01T00:00:00Z", 1), 2).unwrap());
        assert_eq!(after.reason, SuspenseReason::NoTable, "{after}");
    }
    trial.advance(at("2026-02-02T00:00:00Z")).unwrap();
    let reported: Vec<_> = trial.take_due().iter().map(|due| due.charges().is_err()).collect();
    assert_eq!(reported.iter().filter(|is_stuck| **is_stuck).count(), 1, "it is reported once");
    assert_eq!(rated(trial.rate(&session(1, "d", "2026-01-31T22:00:00Z", 1), 4).unwrap()).len(), 1);
}

/// An option can't be compared without one of its alternatives: it is not charged, and the account
/// is not lost for that.
#[test]
fn an_option_with_an_alternative_that_can_not_rate_is_left_out_and_suspends_usage() {
    let parameter = r#"<parameter id="fee" type="money" value="5.00"/>"#;
    let plans = [
        monthly("small", 1, "2026-01-01", parameter, "$fee"),
        // The parameter of the subscription is unknown to this version.
        monthly("small", 2, "2026-03-01", "", "5.00"),
        monthly("large", 1, "2026-01-01", "", "20.00"),
    ];
    let from = at("2026-01-01T00:00:00Z");
    let fee = Money::from_nanos(500_000_000).unwrap();
    let alternative = |plan: &str, place, parameters| TrialSubscription {
        from,
        parameters,
        option: Some(Alternative { option: "best".to_owned(), fee, place }),
        ..TrialSubscription::to(plan)
    };
    let parameters = BTreeMap::from([("fee".to_owned(), "5.00".to_owned())]);
    let offered = account("UTC").with(alternative("small", 0, parameters)).with(alternative(
        "large",
        1,
        BTreeMap::new(),
    ));
    let mut trial = trial(plans, offered);
    trial.advance(at("2026-02-03T00:00:00Z")).unwrap();
    assert_eq!(balance(&trial), "5.500000000");
    trial.advance(at("2026-06-01T00:00:00Z")).unwrap();
    assert_eq!(balance(&trial), "11.000000000", "January and February");
    let waits = suspended(trial.rate(&session(1, "a", "2026-03-01T00:00:00Z", 1), 1).unwrap());
    assert_eq!(waits.reason, SuspenseReason::UnknownPlan);
    assert!(waits.detail.as_str().starts_with("small version 2: "), "{waits}");
    let notices = trial.take_notices();
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert!(notices[0].starts_with("plan small version 2: "), "{notices:?}");
}

#[test]
fn of_several_unknown_plans_the_one_of_highest_priority_is_named() {
    let mut trial = trial([], account("UTC").with_all(["first", "second"]));
    let waits = suspended(trial.rate(&session(1, "a", "2026-01-10T00:00:00Z", 1), 1).unwrap());
    assert_eq!(
        waits.to_string(),
        Suspension::new(SuspenseReason::UnknownPlan, "first").to_string()
    );
}

/// The settings of the account change each minute.
#[test]
fn charges_after_the_ten_thousandth_interval_are_not_booked_and_a_notice_says_so() {
    let begin = at("2026-01-01T00:00:00Z").micros();
    let mut restless = account("UTC").with(TrialSubscription::to("small"));
    for minute in 1..=10_000 {
        let from = turnpike_types::Timestamp(begin + minute * 60_000_000);
        restless = restless.with_settings_from(from, settings("UTC"));
    }
    let mut trial = trial([monthly("small", 1, "2026-01-01", "", "5.00")], restless);
    trial.advance(at("2026-03-01T00:00:00Z")).unwrap();
    assert_eq!(due(&mut trial), ["2026-01-01 charge: monthly 0 h 5.000000000"]);
    let notices = trial.take_notices();
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert!(notices[0].contains("(plans: small)"), "{notices:?}");
    assert!(notices[0].contains("2026-01-07T22:40:00+00:00"), "{notices:?}");
}
