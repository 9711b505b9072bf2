//! Plans that the primitives on charges refuse, with the primitive and the line of each error.
//! Graphs begin on line 3.

use turnpike_plan::{Cause, parse};

use super::UNITS;
use crate::support::plan;

const POST: &str = r#"<AccountFinalizer id="post" in="it.charge"/>"#;

fn errors(lines: &[&str]) -> Vec<(u32, String, Cause)> {
    let errors = parse(&plan(&lines.join("\n"))).expect_err("the plan must be refused").0;
    let named = |error: turnpike_plan::PlanError| {
        (error.line, error.primitive.unwrap_or_default(), error.cause)
    };
    errors.into_iter().map(named).collect()
}

#[track_caller]
fn refused(lines: &[&str], line: u32, primitive: &str, cause: Cause) {
    assert_eq!(errors(lines), [(line, primitive.to_owned(), cause)]);
}

/// Asserts that a primitive with the id `it` on line 4, linked to the charges of line 3, is
/// refused.
#[track_caller]
fn it_refused(name: &str, properties: &str, cause: Cause) {
    let it = format!("<{name} id=\"it\" in=\"units.charge\" {properties}/>");
    refused(&[UNITS, &it, POST], 4, "it", cause);
}

#[test]
fn missing_properties_are_refused() {
    for (name, properties) in [
        ("TaxCalculator", ""),
        ("CurrencyConverter", "to=\"EUR\""),
        ("CurrencyConverter", "table=\"daily\""),
        ("Discount", ""),
        ("Minimum", ""),
        ("Cap", "amount=\"1\""),
        ("Cap", "per=\"day\""),
        ("Commitment", ""),
        ("BonusCredit", ""),
    ] {
        it_refused(name, properties, Cause::MissingProperty);
    }
}

#[test]
fn invalid_values_are_refused() {
    for percent in ["", "ten", "101", "-1001", "5%", "--5", "1e1"] {
        it_refused("Discount", &format!("percent=\"{percent}\""), Cause::BadValue);
    }
    for (name, properties) in [
        ("Minimum", "amount=\"-1\""),
        ("Cap", "amount=\"1\" per=\"year\""),
        ("Cap", "amount=\"much\" per=\"day\""),
        ("Commitment", "amount=\"\""),
        ("TaxCalculator", "table=\"t\" prices=\"net\""),
        ("TaxCalculator", "table=\"\""),
        ("TaxCalculator", "table=\"t\" place=\"account.\""),
        ("CurrencyConverter", "to=\"euro\" table=\"t\""),
    ] {
        it_refused(name, properties, Cause::BadValue);
    }
}

#[test]
fn a_place_that_no_primitive_provides_is_refused() {
    it_refused("TaxCalculator", "table=\"t\" place=\"units.place\"", Cause::UnknownReference);
}

/// docs/plan-semantics.md section 2: charges in different currencies can't be linked to one input,
/// and one plan can't post in different currencies.
#[test]
fn converted_charges_beside_others() {
    let convert = r#"<CurrencyConverter id="it" in="units.charge" to="EUR" table="t"/>"#;
    let fee = r#"<OneTimeCharge id="fee" amount="1"/>"#;
    let post = r#"<AccountFinalizer id="post" in="it.charge fee.charge"/>"#;
    refused(&[UNITS, convert, fee, post], 6, "post", Cause::MixedCurrencies);
    let euros = r#"<OneTimeCharge id="fee" amount="1" currency="EUR"/>"#;
    let second = r#"<SecondAccountFinalizer id="post" in="fee.charge" account="7"/>"#;
    let own = r#"<AccountFinalizer id="own" in="units.charge"/>"#;
    refused(&[UNITS, euros, second, own], 5, "post", Cause::MixedCurrencies);
}

const OWN: &str = r#"<AccountFinalizer id="own" in="it.own"/>"#;
const OTHERS: &str = r#"<SecondAccountFinalizer id="others" in="it.others"/>"#;

/// A matrix with these elements, one per line from line 5.
fn matrix(elements: &[&str]) -> String {
    format!(
        "<CostResponsibilityMatrix id=\"it\" in=\"units.charge\">\n{}\n</CostResponsibilityMatrix>",
        elements.join("\n")
    )
}

const ME: &str = r#"<party id="me" account="self"/>"#;
const AD: &str = r#"<party id="ad" account="902"/>"#;

#[track_caller]
fn matrix_refused(elements: &[&str], line: u32, cause: Cause) {
    refused(&[UNITS, &matrix(elements), OWN, OTHERS], line, "it", cause);
}

#[test]
fn a_matrix_that_shares_nothing() {
    for shares in ["", "me", "me=0", "me=-1", "me=0.5", "me=1 me=1", "me=60,ad=40"] {
        let row = format!("<row shares=\"{shares}\"/>");
        let found = errors(&[UNITS, &matrix(&[ME, AD, &row]), OWN, OTHERS]);
        assert!(found.contains(&(7, "it".to_owned(), Cause::BadValue)), "{shares}: {found:?}");
    }
    let both = r#"<row shares="me=1 ad=1"/>"#;
    matrix_refused(&[ME, AD, both, r#"<row shares="you=1"/>"#], 8, Cause::UnknownReference);
    matrix_refused(&[ME, ME, AD, both], 6, Cause::DuplicateId);
    matrix_refused(&[ME, AD, both, r#"<row target="" shares="me=1"/>"#], 8, Cause::BadValue);
    matrix_refused(&[ME, AD, both, r#"<row status="2xx|" shares="me=1"/>"#], 8, Cause::BadValue);
    let wrong = r#"<party id="x" account="0"/>"#;
    matrix_refused(&[ME, AD, wrong, both], 7, Cause::BadValue);
    let told = r#"<party id="x" account="units.account"/>"#;
    matrix_refused(&[ME, AD, told, both], 7, Cause::UnknownReference);
}

#[test]
fn a_matrix_without_parties_or_rows() {
    let row = r#"<row shares="nobody"/>"#;
    let found = errors(&[UNITS, &matrix(&[row])]);
    assert_eq!(found, [(4, "it".to_owned(), Cause::MissingProperty)]);
    let found = errors(&[UNITS, &matrix(&[ME])]);
    assert_eq!(found, [(4, "it".to_owned(), Cause::MissingProperty)]);
}

/// An output may stay open only if no unit or charge can leave by it.
#[test]
fn an_output_that_nothing_takes() {
    let both = r#"<row shares="me=1 ad=1"/>"#;
    refused(&[UNITS, &matrix(&[ME, AD, both]), OWN], 4, "it", Cause::OpenCharge);
    refused(&[UNITS, &matrix(&[ME, AD, both]), OTHERS], 4, "it", Cause::OpenCharge);
    parse(&plan(&[UNITS, &matrix(&[ME, AD, r#"<row shares="me=1"/>"#]), OWN].join("\n"))).unwrap();
    parse(&plan(&[UNITS, &matrix(&[ME, AD, r#"<row shares="ad=1"/>"#]), OTHERS].join("\n")))
        .unwrap();
    let idle =
        parse(&plan(&[UNITS, &matrix(&[ME, r#"<row shares="me=1"/>"#]), OWN, OTHERS].join("\n")));
    let warnings = idle.unwrap().warnings().to_vec();
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].message.contains("nothing ever leaves by others"), "{}", warnings[0]);
}

#[test]
fn unreachable_rows_give_a_warning() {
    let rows = [ME, r#"<row shares="me=1"/>"#, r#"<row target="a" shares="me=1"/>"#];
    let read = parse(&plan(&[UNITS, &matrix(&rows), OWN].join("\n"))).unwrap();
    let lines: Vec<u32> = read.warnings().iter().map(|warning| warning.line).collect();
    assert_eq!(lines, [7]);
}

/// docs/plan-semantics.md section 2: charges of other accounts are not posted to the record's
/// account, and the account's own charges are not posted to other accounts.
#[test]
fn charges_that_reach_the_wrong_accounts_finalizer() {
    let both = matrix(&[ME, AD, r#"<row shares="me=1 ad=1"/>"#]);
    let bonus = r#"<BonusCredit id="b" in="it.others"><grant from="902" to="901" percent="5"/></BonusCredit>"#;
    let sum = r#"<Adder id="sum" in="b.charge"/>"#;
    let post = r#"<AccountFinalizer id="post" in="sum.charge it.own"/>"#;
    refused(&[UNITS, &both, bonus, sum, post], 11, "post", Cause::WrongAccount);
    let swapped = r#"<SecondAccountFinalizer id="second" in="it.own it.others"/>"#;
    refused(&[UNITS, &both, swapped], 9, "second", Cause::WrongAccount);
    let nobody = r#"<SecondAccountFinalizer id="second" in="units.charge"/>"#;
    refused(&[UNITS, nobody], 4, "second", Cause::WrongAccount);
    for primitive in [
        r#"<Minimum id="bound" in="it.others" amount="1"/>"#,
        r#"<Cap id="bound" in="it.others" amount="1" per="day"/>"#,
        r#"<Commitment id="bound" in="it.others" amount="1"/>"#,
    ] {
        let post = r#"<SecondAccountFinalizer id="post" in="bound.charge"/>"#;
        refused(&[UNITS, &both, OWN, primitive, post], 10, "bound", Cause::WrongAccount);
    }
}

#[test]
fn an_invalid_second_account_is_refused() {
    for account in ["", "0", "two words", ".x", "99999999999999999999"] {
        let post = format!(
            "<SecondAccountFinalizer id=\"post\" in=\"units.charge\" account=\"{account}\"/>"
        );
        refused(&[UNITS, &post], 4, "post", Cause::BadValue);
    }
    let told = r#"<SecondAccountFinalizer id="post" in="units.charge" account="units.payer"/>"#;
    refused(&[UNITS, told], 4, "post", Cause::UnknownReference);
}

#[test]
fn invalid_grants_are_refused() {
    let grant_refused = |grant: &str, cause| {
        let it = format!("<BonusCredit id=\"it\" in=\"units.charge\">\n{grant}\n</BonusCredit>");
        refused(&[UNITS, &it, POST], 5, "it", cause);
    };
    grant_refused(r#"<grant from="self" to="901"/>"#, Cause::MissingProperty);
    grant_refused(r#"<grant from="self" percent="5"/>"#, Cause::MissingProperty);
    grant_refused(r#"<grant from="self" to="901" percent="-5"/>"#, Cause::BadValue);
    grant_refused(r#"<grant from="self" to="901" percent="101"/>"#, Cause::BadValue);
    grant_refused(r#"<grant from="self" to="0" percent="5"/>"#, Cause::BadValue);
    grant_refused(r#"<grant source="" from="self" to="901" percent="5"/>"#, Cause::BadValue);
    grant_refused(r#"<grant from="units.x" to="901" percent="5"/>"#, Cause::UnknownReference);
}
