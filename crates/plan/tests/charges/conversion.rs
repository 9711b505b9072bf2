//! Charges in another currency (docs/plan-semantics.md sections 2, 3 and 6).

use turnpike_plan::{ACCOUNT_CURRENCY, compile, parse};
use turnpike_types::SuspenseReason;

use super::{Subscription, UNITS, cents, overrides, pairs};
use crate::support::plan;

const RATES: &str = "\
# turnpike-table id=daily kind=exchange-rates version=1 starts=2026-01-01
from,to,rate,since
USD,EUR,0.9,2026-03-01
USD,EUR,0.8,2026-03-15
USD,CHF,0.777,
";

fn converted(to: &str) -> String {
    plan(&format!(
        r#"{UNITS}
        <CurrencyConverter id="convert" in="units.charge" to="{to}" table="daily"/>
        <AccountFinalizer id="post" in="convert.charge"/>"#
    ))
}

fn billed_in(mut account: Subscription, currency: &str) -> Subscription {
    account.account.currency = currency.parse().unwrap();
    account
}

/// docs/plan-semantics.md section 3: a charge is converted at the exchange rate in force at the
/// record's start, and rounded once.
#[test]
fn a_charge_is_converted_at_the_rate_of_its_day() {
    let mut account = billed_in(Subscription::new(&converted("EUR"), &[RATES]), "EUR");
    assert_eq!(account.code.posts().as_str(), "EUR");
    assert_eq!(account.posted(&cents(1000, 14)), pairs(&[("convert", "9")]));
    assert_eq!(account.posted(&cents(1000, 15)), pairs(&[("convert", "8")]));
    let rated = account.rate(&cents(1000, 14)).unwrap();
    assert_eq!(account.shown(&rated)[0].2, "replaced");
    let line = rated.lines[1];
    // The rows of the table are numbered in order of currency pairs and dates. The pair with CHF is
    // row 0.
    assert_eq!((line.of, line.row), (Some(0), Some(1)));
    let currencies: Vec<_> = rated
        .lines
        .iter()
        .map(|line| account.code.components()[usize::from(line.component)].currency.to_string())
        .collect();
    assert_eq!(currencies, ["USD", "EUR"]);
}

/// The date of an exchange rate is a date in the account's time zone.
#[test]
fn the_day_of_a_rate_is_the_accounts() {
    let mut account = billed_in(Subscription::new(&converted("EUR"), &[RATES]), "EUR");
    account.account.zone = turnpike_plan::Zone::parse("Pacific/Auckland").unwrap();
    assert_eq!(account.posted(&cents(1000, 14)), pairs(&[("convert", "8")]));
}

/// docs/plan-semantics.md section 3: without an exchange rate, the record is suspended.
#[test]
fn without_a_rate_the_record_waits() {
    let mut account = billed_in(Subscription::new(&converted("GBP"), &[RATES]), "GBP");
    assert_eq!(account.rate(&cents(1, 1)), Err(SuspenseReason::NoRate));
    assert_eq!(account.lines(&cents(0, 1)), []);
    let mut account = billed_in(Subscription::new(&converted("EUR"), &[]), "EUR");
    assert_eq!(account.rate(&cents(1, 1)), Err(SuspenseReason::NoTable));
    let early = RATES.replace("2026-03-01", "2026-03-02");
    let mut account = billed_in(Subscription::new(&converted("EUR"), &[&early]), "EUR");
    assert_eq!(account.rate(&cents(1, 1)), Err(SuspenseReason::NoRate));
}

/// docs/plan-semantics.md section 3: a record is suspended if the currency of its account differs
/// from the currency in which the plan posts.
#[test]
fn an_account_in_another_currency_than_the_plan_posts_is_suspended() {
    let mut account = Subscription::new(&converted("EUR"), &[RATES]);
    assert_eq!(account.rate(&cents(1, 1)), Err(SuspenseReason::CurrencyMismatch));
}

#[test]
fn a_plan_may_convert_into_the_billing_currency_of_the_account() {
    let plan = parse(&converted("account")).unwrap();
    assert!(plan.converts_to_account());
    assert!(!parse(&converted("EUR")).unwrap().converts_to_account());
    for (currency, component, amount) in
        [("EUR", "convert", "9"), ("CHF", "convert", "7.77"), ("USD", "units", "10")]
    {
        let code = compile(&plan, &overrides(&[(ACCOUNT_CURRENCY, currency)])).unwrap();
        let mut account = billed_in(Subscription::of(code, &[RATES]), currency);
        assert_eq!(account.posted(&cents(1000, 1)), pairs(&[(component, amount)]));
    }
    // If the account's currency is unknown, the plan's own currency is used.
    assert_eq!(compile(&plan, &overrides(&[])).unwrap().posts().as_str(), "USD");
}

#[test]
fn a_currency_from_a_parameter_is_required_too() {
    let parameter = r#"<parameter id="to" type="text" value="EUR"/><graph>"#;
    let xml = converted("$to").replace("<graph>", parameter);
    let plan = parse(&xml).unwrap();
    assert!(plan.converts_to_account());
    let said = overrides(&[("to", "account"), (ACCOUNT_CURRENCY, "CHF")]);
    assert_eq!(compile(&plan, &said).unwrap().posts().as_str(), "CHF");
}

/// Discounts on converted charges, and the minimum to which they are topped up, are in the target
/// currency.
#[test]
fn lines_derived_from_converted_charges_are_in_their_currency() {
    let xml = plan(&format!(
        r#"{UNITS}
        <CurrencyConverter id="convert" in="units.charge" to="EUR" table="daily"/>
        <Discount id="off" in="convert.charge" percent="10"/>
        <Adder id="sum" in="off.charge"/>
        <Minimum id="least" in="sum.charge" amount="9"/>
        <AccountFinalizer id="post" in="least.charge"/>"#
    ));
    let mut account = billed_in(Subscription::new(&xml, &[RATES]), "EUR");
    let posted = account.posted(&cents(1000, 1));
    assert_eq!(posted, pairs(&[("convert", "9"), ("off", "-0.9"), ("least", "0.9")]));
    let components = account.code.components().iter();
    let euros =
        components.filter(|known| known.primitive != "units" && known.primitive != "option");
    assert!(euros.into_iter().all(|known| known.currency.as_str() == "EUR"));
}
