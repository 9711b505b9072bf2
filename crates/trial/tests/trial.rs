//! A trial rates records like the owner of an account.
#![allow(clippy::unwrap_used, missing_docs)]

use crate::support;

use std::collections::BTreeMap;

use support::{account, at, hourly, lines, parsed, rated, session, settings};
use turnpike_collect::AccountRow;
use turnpike_plan::AccountState;
use turnpike_trial::{
    Trial, TrialAccounts, TrialCatalogue, TrialError, TrialOutcome, TrialSubscription,
};
use turnpike_types::{AccountNumber, SuspenseReason};

fn trial(accounts: TrialAccounts) -> Trial {
    let versions = [hourly(1, "2026-01-01", ""), hourly(2, "2026-02-01", "")];
    let second = versions[1].replace("price=\"0.50\"", "price=\"0.25\"");
    Trial::new(TrialCatalogue::new([parsed(&versions[0]), parsed(&second)]), accounts)
}

fn suspended(outcome: TrialOutcome<'_>) -> SuspenseReason {
    match outcome {
        TrialOutcome::Suspended(suspension) => suspension.reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn records_are_rated_in_order_and_what_they_change_is_kept() {
    let mut trial = trial(TrialAccounts::all_alike(account("UTC").with_all(["hourly"])));
    let first = session(1, "a", "2026-01-05T00:00:00Z", 9);
    assert_eq!(
        rated(trial.rate(&first, 1).unwrap()),
        ["setup 0 h 10.000000000", "first 9 h 9.000000000"]
    );
    let second = session(1, "b", "2026-01-06T00:00:00Z", 2);
    assert_eq!(
        rated(trial.rate(&second, 2).unwrap()),
        ["first 1 h 1.000000000", "more 1 h 0.500000000"]
    );
    let balance: Vec<_> = trial.balance(AccountNumber(1)).collect();
    assert_eq!(balance.len(), 1);
    assert_eq!(balance[0].1.unwrap().to_string(), "20.500000000");
    assert_eq!(trial.balance(AccountNumber(2)).count(), 0);
}

#[test]
fn a_record_given_twice_counts_once_and_with_other_content_not_at_all() {
    let mut trial = trial(TrialAccounts::all_alike(account("UTC").with_all(["hourly"])));
    let record = session(1, "a", "2026-01-05T00:00:00Z", 1);
    rated(trial.rate(&record, 7).unwrap());
    assert!(matches!(trial.rate(&record, 8).unwrap(), TrialOutcome::Duplicate(7)));
    let other = session(1, "a", "2026-01-05T00:00:00Z", 2);
    assert!(matches!(trial.rate(&other, 9).unwrap(), TrialOutcome::Conflict(7)));
    // A record id is unique within an account only, so this is another record.
    rated(trial.rate(&session(2, "a", "2026-01-05T00:00:00Z", 1), 10).unwrap());
}

/// docs/plan-semantics.md section 6: a record is rated by the plan version that is in force at its
/// start, in the account's zone.
#[test]
fn the_version_in_force_at_the_start_rates_the_whole_record() {
    let mut trial =
        trial(TrialAccounts::all_alike(account("America/New_York").with_all(["hourly"])));
    let long = session(1, "a", "2026-02-01T04:00:00Z", 12);
    let TrialOutcome::Rated(charges) = trial.rate(&long, 1).unwrap() else { panic!() };
    assert!(charges.iter().all(|charge| charge.code.version() == 1));
    let next = session(1, "b", "2026-02-01T05:00:00Z", 1);
    let TrialOutcome::Rated(charges) = trial.rate(&next, 2).unwrap() else { panic!() };
    assert!(charges.iter().all(|charge| charge.code.version() == 2));
    assert_eq!(lines(&charges), ["more 1 h 0.250000000"]);
}

#[test]
fn each_cause_of_suspense_is_reported() {
    let subscription = TrialSubscription {
        from: at("2026-01-02T00:00:00Z"),
        until: at("2026-01-03T00:00:00Z"),
        ..TrialSubscription::to("hourly")
    };
    let mut accounts = TrialAccounts::none();
    accounts.open(AccountNumber(1), account("UTC").with(subscription)).unwrap();
    accounts.open(AccountNumber(2), account("UTC").with_all(["unheard-of"])).unwrap();
    accounts.open(AccountNumber(3), account("UTC").with_all(["hourly"])).unwrap();
    let mut euros = settings("UTC");
    euros.currency = "EUR".parse().unwrap();
    let changed = account("UTC").with_settings_from(at("2026-01-03T00:00:00Z"), euros);
    accounts.open(AccountNumber(4), changed.with_all(["hourly"])).unwrap();
    accounts.bind("user:alice".to_owned(), AccountNumber(3)).unwrap();
    let mut trial = trial(accounts);
    let mut reason = |account: u64, id: &str, start: &str| {
        suspended(trial.rate(&session(account, id, start, 1), 0).unwrap())
    };
    assert_eq!(reason(1, "early", "2026-01-01T23:59:59Z"), SuspenseReason::NoPlan);
    assert_eq!(reason(1, "late", "2026-01-03T00:00:00Z"), SuspenseReason::NoPlan);
    assert_eq!(reason(2, "a", "2026-01-02T00:00:00Z"), SuspenseReason::UnknownPlan);
    assert_eq!(reason(3, "a", "2025-12-31T23:59:59Z"), SuspenseReason::UnknownPlan);
    assert_eq!(reason(4, "a", "2026-01-03T00:00:00Z"), SuspenseReason::CurrencyMismatch);
    assert_eq!(reason(9, "a", "2026-01-02T00:00:00Z"), SuspenseReason::UnknownAccount);
    rated(trial.rate(&session(1, "in", "2026-01-02T00:00:00Z", 1), 0).unwrap());
    rated(trial.rate(&session(4, "b", "2026-01-02T23:59:59Z", 1), 0).unwrap());
    let mut guided = session(0, "g", "2026-01-02T00:00:00Z", 1);
    guided.identity = "user:bob".to_owned();
    let nobody = trial.rate(&guided, 0).unwrap();
    assert_eq!(suspended(nobody), SuspenseReason::UnboundIdentity);
    guided.identity = "user:alice".to_owned();
    let TrialOutcome::Rated(charges) = trial.rate(&guided, 0).unwrap() else { panic!() };
    assert_eq!(charges.account(), AccountNumber(3));
}

#[test]
fn a_trial_can_begin_with_the_state_of_an_account() {
    let everyone = || TrialAccounts::all_alike(account("UTC").with_all(["hourly"]));
    let mut real = trial(everyone());
    rated(real.rate(&session(1, "a", "2026-01-05T00:00:00Z", 10), 1).unwrap());
    let state: AccountState = real.state(AccountNumber(1)).unwrap().clone();
    let mut what_if = trial(everyone());
    what_if.begin_with(AccountNumber(1), state);
    let next = session(1, "b", "2026-01-06T00:00:00Z", 1);
    assert_eq!(rated(what_if.rate(&next, 1).unwrap()), ["more 1 h 0.500000000"]);
}

#[test]
fn a_subscription_sets_the_plans_parameters() {
    let cheap = TrialSubscription {
        parameters: BTreeMap::from([("price".to_owned(), "0.10".to_owned())]),
        ..TrialSubscription::to("hourly")
    };
    let mut accounts = TrialAccounts::none();
    accounts.open(AccountNumber(1), account("UTC").with(cheap.clone())).unwrap();
    let wrong = BTreeMap::from([("colour".to_owned(), "red".to_owned())]);
    let wrong = TrialSubscription { parameters: wrong, ..cheap };
    accounts.open(AccountNumber(2), account("UTC").with(wrong)).unwrap();
    let mut trial = trial(accounts);
    let cheap = trial.rate(&session(1, "a", "2026-01-05T00:00:00Z", 1), 1).unwrap();
    assert_eq!(rated(cheap)[1], "first 1 h 0.100000000");
    let error = trial.rate(&session(2, "a", "2026-01-05T00:00:00Z", 1), 2).unwrap_err();
    assert!(error.to_string().contains("account 2: plan hourly"), "{error}");
}

/// docs/plan-semantics.md section 6: each unit goes to the subscription of highest priority that
/// accepts it.
#[test]
fn the_subscription_of_highest_priority_is_asked_first() {
    let dear = hourly(1, "2026-01-01", "").replace("id=\"hourly\"", "id=\"dear\"");
    let dear = parsed(&dear.replace("value=\"1.00\"", "value=\"9.00\""));
    let plans = || [parsed(&hourly(1, "2026-01-01", "")), dear.clone()];
    for (order, amount) in [(["hourly", "dear"], "1."), (["dear", "hourly"], "9.")] {
        let accounts = TrialAccounts::all_alike(account("UTC").with_all(order));
        let mut trial = Trial::new(TrialCatalogue::new(plans()), accounts);
        let lines = rated(trial.rate(&session(1, "a", "2026-01-05T00:00:00Z", 1), 1).unwrap());
        assert!(lines[1].starts_with(&format!("first 1 h {amount}")), "{lines:?}");
    }
}

fn row(account: u64) -> AccountRow {
    AccountRow {
        account: AccountNumber(account),
        zone: "UTC".to_owned(),
        cycle_day: 1,
        currency: "USD".parse().unwrap(),
        attributes: BTreeMap::new(),
        plans: vec!["hourly".to_owned()],
        plan_from: None,
        parameters: BTreeMap::new(),
        identities: vec![format!("user:{account}")],
    }
}

#[test]
fn a_list_of_accounts_that_contradicts_itself_is_refused() {
    let now = at("2026-01-05T00:00:00Z");
    assert!(TrialAccounts::from_rows([row(1), row(2)], now).is_ok());
    let twice = AccountRow { identities: Vec::new(), ..row(1) };
    let error = TrialAccounts::from_rows([row(1), twice], now).unwrap_err();
    assert_eq!(error, TrialError::AccountTwice(AccountNumber(1)));
    let bound = AccountRow { identities: vec!["user:1".to_owned()], ..row(2) };
    let error = TrialAccounts::from_rows([row(1), bound], now).unwrap_err();
    assert!(error.to_string().contains("user:1 is bound to accounts 1 and 2"), "{error}");
    let nowhere = AccountRow { zone: "Atlantis".to_owned(), ..row(3) };
    let error = TrialAccounts::from_rows([nowhere], now).unwrap_err();
    assert!(error.to_string().contains("account 3: \"Atlantis\""), "{error}");
}

/// A subscription without a start begins at the time of the import, as with `turnpike account
/// import`, and not in 1970.
#[test]
fn a_plan_without_a_start_begins_now() {
    let now = at("2026-01-05T00:00:00Z");
    let stated = AccountRow { plan_from: Some(at("2026-01-04T00:00:00Z")), ..row(2) };
    let accounts = TrialAccounts::from_rows([row(1), stated], now).unwrap();
    for (account, second, plans) in [
        (1, "2026-01-04T23:59:59Z", 0),
        (1, "2026-01-05T00:00:00Z", 1),
        (2, "2026-01-04T00:00:00Z", 1),
    ] {
        let account = accounts.get(AccountNumber(account)).unwrap();
        assert_eq!(account.subscriptions_at(at(second)).count(), plans, "{second}");
    }
}

#[test]
fn an_address_leads_to_the_account_with_the_longest_prefix_of_it_in_any_spelling() {
    let mut accounts = TrialAccounts::none();
    for (identity, number) in
        [("ip:198.51.100.0/24", 1), ("ip:198.51.100.8/29", 2), ("ip:2001:DB8:0::9", 3)]
    {
        accounts.bind(identity.to_owned(), AccountNumber(number)).unwrap();
    }
    for (identity, number) in [
        ("ip:198.51.100.7", Some(1)),
        ("ip:::ffff:198.51.100.9", Some(2)),
        ("ip:2001:db8::9", Some(3)),
        ("ip:2001:db8::8", None),
    ] {
        assert_eq!(accounts.guide(identity), number.map(AccountNumber), "{identity}");
    }
    let again = accounts.bind("ip:2001:db8:0:0::9".to_owned(), AccountNumber(4));
    assert!(again.is_err(), "two spellings of one identity");
}
