//! A trial books charges and closes that fall due without usage, like the owner of an account
//! (docs/plan-semantics.md section 5).
#![allow(clippy::unwrap_used, missing_docs)]

use crate::support;

use support::{account, at, due, parsed, rated, session, settings};
use turnpike_plan::Plan;
use turnpike_trial::{
    Trial, TrialAccount, TrialAccounts, TrialCatalogue, TrialError, TrialOutcome, TrialSubscription,
};
use turnpike_types::{AccountNumber, Money};

const ONE: AccountNumber = AccountNumber(1);

/// A plan with a monthly fee in advance and a price for each hour.
fn monthly(id: &str, fee: &str, hour: &str) -> Plan {
    parsed(&format!(
        r#"<plan xmlns="urn:turnpike:plan:1" id="{id}" version="1" starts="2026-01-01" currency="USD">
  <graph>
    <UsageTypeSelector id="online" in="record.duration" types="connect-time"/>
    <MonthlyRecurringCharge id="monthly" amount="{fee}"/>
    <StepRater id="rate" in="online.pass"><step id="hour" price="{hour}" per="1 h"/></StepRater>
    <Adder id="sum" in="monthly.charge rate.charge"/>
    <AccountFinalizer id="post" in="sum.charge"/>
  </graph>
</plan>"#
    ))
}

fn trial(account: TrialAccount) -> Trial {
    let mut accounts = TrialAccounts::none();
    accounts.open(ONE, account).unwrap();
    Trial::new(TrialCatalogue::new([monthly("small", "5.00", "1.00")]), accounts)
}

fn balance(trial: &Trial) -> String {
    let balance = trial.balance(ONE).next();
    balance.map_or_else(String::new, |(_, sum)| sum.unwrap().to_string())
}

fn since(from: &str, until: &str) -> TrialSubscription {
    TrialSubscription { from: at(from), until: at(until), ..TrialSubscription::to("small") }
}

#[test]
fn charges_due_at_or_before_a_record_are_booked_before_it() {
    let mut trial = trial(account("UTC").with(TrialSubscription::to("small")));
    // The plan starts on 1 January, so the first fee falls due on that date.
    rated(trial.rate(&session(1, "a", "2026-03-01T00:00:00Z", 1), 1).unwrap());
    let months = ["2026-01-01", "2026-02-01", "2026-03-01"];
    let expected = months.map(|date| format!("{date} charge: monthly 0 h 5.000000000"));
    assert_eq!(due(&mut trial), expected);
    assert_eq!(balance(&trial), "16.000000000");
    // A second record in March does not book the fee for March again.
    rated(trial.rate(&session(1, "b", "2026-03-31T23:59:59Z", 1), 2).unwrap());
    assert!(due(&mut trial).is_empty());
}

#[test]
fn time_advances_without_usage_and_never_goes_back() {
    let mut trial = trial(
        account("America/New_York").with(since("2026-01-01T05:00:00Z", "2026-03-01T05:00:00Z")),
    );
    // One second before February begins in New York.
    trial.advance(at("2026-02-01T04:59:59Z")).unwrap();
    assert_eq!(due(&mut trial), ["2026-01-01 charge: monthly 0 h 5.000000000"]);
    trial.advance(at("2026-02-01T05:00:00Z")).unwrap();
    assert_eq!(due(&mut trial), ["2026-02-01 charge: monthly 0 h 5.000000000"]);
    // The subscription ended on 1 March, so no fee for March falls due.
    trial.advance(at("2026-12-01T00:00:00Z")).unwrap();
    trial.advance(at("2026-01-01T00:00:00Z")).unwrap();
    assert!(due(&mut trial).is_empty());
    assert_eq!(balance(&trial), "10.000000000");
}

#[test]
fn only_accounts_that_are_known_are_swept() {
    let everyone = TrialAccounts::all_alike(account("UTC").with(TrialSubscription::to("small")));
    let mut trial = Trial::new(TrialCatalogue::new([monthly("small", "5.00", "1.00")]), everyone);
    trial.advance(at("2026-02-01T00:00:00Z")).unwrap();
    assert!(due(&mut trial).is_empty());
    rated(trial.rate(&session(1, "a", "2026-02-01T00:00:00Z", 1), 1).unwrap());
    trial.advance(at("2026-03-01T00:00:00Z")).unwrap();
    assert_eq!(due(&mut trial).len(), 3);
}

/// Logged time is the latest start of a record. So records in the order of their starts are never
/// late, however long they last.
#[test]
fn usage_is_late_when_its_cycle_was_closed_by_later_usage() {
    let mut trial = trial(account("UTC").with(TrialSubscription::to("small")));
    let mut is_late = |id: &str, start: &str| {
        let hours = 24 * 40;
        match trial.rate(&session(1, id, start, hours), 0).unwrap() {
            TrialOutcome::Rated(charges) => charges.is_late(),
            other => panic!("{other:?}"),
        }
    };
    assert!(!is_late("a", "2026-01-31T00:00:00Z"));
    assert!(!is_late("b", "2026-02-02T23:59:59Z"));
    assert!(!is_late("c", "2026-01-31T00:00:00Z"), "grace is two days");
    assert!(!is_late("d", "2026-02-03T00:00:01Z"));
    assert!(is_late("e", "2026-01-31T00:00:00Z"));
}

/// docs/plan-semantics.md section 6: tentative lines count in no total. The close posts the sums of
/// the cheapest alternative, and the fee of the option.
#[test]
fn of_alternatives_the_cheapest_is_posted_when_the_cycle_closes() {
    let mut accounts = TrialAccounts::none();
    let fee = Money::from_nanos(500_000_000).unwrap();
    let from = at("2026-01-01T00:00:00Z");
    let offered = account("UTC").with_option("best", fee, from, ["small", "large"]);
    accounts.open(ONE, offered).unwrap();
    let plans = [monthly("small", "5.00", "1.00"), monthly("large", "20.00", "0.10")];
    let mut trial = Trial::new(TrialCatalogue::new(plans), accounts);
    let lines = rated(trial.rate(&session(1, "a", "2026-01-10T00:00:00Z", 30), 1).unwrap());
    assert_eq!(lines, ["hour 30 h 30.000000000", "hour 30 h 3.000000000"]);
    assert_eq!(balance(&trial), "", "on trial");
    // The monthly fee of each alternative is also a tentative line.
    assert_eq!(due(&mut trial).len(), 2);
    trial.advance(at("2026-02-02T23:59:59Z")).unwrap();
    assert_eq!(balance(&trial), "");
    trial.advance(at("2026-02-03T00:00:00Z")).unwrap();
    assert_eq!(balance(&trial), "23.500000000");
    let posted = due(&mut trial);
    assert!(posted.iter().any(|line| line.starts_with("2026-02-03 option: ")), "{posted:?}");
}

#[test]
fn the_number_of_due_items_is_bounded() {
    let mut trial = trial(account("UTC").with(TrialSubscription::to("small"))).with_dues_max(11);
    let error = trial.advance(at("2026-12-01T00:00:00Z")).unwrap_err();
    assert_eq!(error, TrialError::TooManyDues { account: ONE, max: 11 });
}

/// If one plan of an account has no version in force, usage is suspended, but the due charges of
/// the other plans are booked.
#[test]
fn a_missing_plan_delays_only_usage() {
    let both = account("UTC").with_all(["small", "unheard-of"]);
    let mut trial = trial(both);
    let outcome = trial.rate(&session(1, "a", "2026-01-10T00:00:00Z", 1), 1).unwrap();
    assert!(matches!(outcome, TrialOutcome::Suspended(_)), "{outcome:?}");
    assert_eq!(due(&mut trial).len(), 1);
}

#[test]
fn other_settings_from_an_instant_on_rate_and_charge_from_there() {
    let mut later = settings("America/New_York");
    later.cycle_day = 15;
    let moved = account("UTC").with_settings_from(at("2026-02-10T00:00:00Z"), later);
    let mut trial = trial(moved.with(TrialSubscription::to("small")));
    trial.advance(at("2026-03-01T00:00:00Z")).unwrap();
    assert_eq!(due(&mut trial).len(), 2, "the month has not begun in New York");
    trial.advance(at("2026-03-01T05:00:00Z")).unwrap();
    assert_eq!(due(&mut trial), ["2026-03-01 charge: monthly 0 h 5.000000000"]);
}
