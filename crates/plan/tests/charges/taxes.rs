//! Taxes added to a price or included in it (docs/plan-semantics.md section 3), and discounts.

use turnpike_types::{LineKind, SuspenseReason};

use super::{Subscription, cents, pairs};

const TAXES: &str = "\
# turnpike-table id=taxes kind=tax version=1 starts=2026-01-01
place,tax,rate,category,compound
CH,VAT,8.1,,
CA,GST,5,,
CA/QC,QST,9.975,,yes
US,State,6,,
US/NY,Books,2,books,
XX,a,1,,
XX,b,1,,
XX,c,1,,
XX,d,1,,
XX,e,1,,
XX,f,1,,
XX,g,1,,
XX,h,1,,
XX/Y,i,1,,
";

fn taxed(properties: &str, place: &str) -> Subscription {
    let graph =
        format!("<TaxCalculator id=\"tax\" in=\"units.charge\" table=\"taxes\" {properties}/>");
    let mut account = Subscription::behind_units(&graph, "tax", &[TAXES]);
    account.account.attributes.insert("tax-place".to_owned(), place.to_owned());
    account
}

/// docs/plan-semantics.md section 3: each tax has a line, which is computed from the rounded line
/// that is taxed, and rounded once.
#[test]
fn taxes_come_on_top_each_on_a_line_of_its_own() {
    let mut account = taxed("", "CH");
    assert_eq!(account.posted(&cents(10_000, 1)), pairs(&[("units", "100"), ("tax", "8.1")]));
    let rated = account.rate(&cents(10_000, 1)).unwrap();
    let tax = rated.lines[1];
    assert_eq!((tax.of, tax.quantity), (Some(0), 0));
    let known = &account.code.components()[usize::from(tax.component)];
    assert_eq!((known.kind, known.primitive.as_str()), (LineKind::Tax, "tax"));
}

/// docs/plan-semantics.md section 3: a compound tax applies to the amount plus the taxes before it.
/// The taxes of the larger place, here Canada, come before those of the place within it, Quebec.
#[test]
fn a_tax_that_compounds_is_on_the_amount_and_the_taxes_before_it() {
    let mut account = taxed("", "CA/QC");
    assert_eq!(
        account.posted(&cents(10_000, 1)),
        pairs(&[("units", "100"), ("tax", "5"), ("tax", "10.47375")])
    );
    // The charge lines name the rows of the tax table, which are numbered in order of places.
    let rated = account.rate(&cents(10_000, 1)).unwrap();
    let rows: Vec<_> = rated.lines.iter().map(|line| line.row).collect();
    assert_eq!(rows, [None, Some(0), Some(1)]);
}

/// docs/plan-semantics.md section 3: where a price includes its tax, the tax is rounded, and the
/// net amount is the difference.
#[test]
fn taxes_within_a_price_leave_the_net() {
    let mut account = taxed("prices=\"inclusive\"", "CH");
    let lines = account.lines(&cents(10_000, 1));
    let expected = [
        ("units", "100", "replaced"),
        ("net", "92.50693802", "account"),
        ("tax", "7.49306198", "account"),
    ];
    assert_eq!(lines, expected.map(|(name, amount, to)| (name.to_owned(), amount.to_owned(), to)));
    // For a net amount N, the gross amount is N + 0.05 N + 0.09975 * 1.05 N.
    let mut account = taxed("prices=\"inclusive\"", "CA/QC");
    assert_eq!(
        account.posted(&cents(1_154_738, 1)),
        pairs(&[("net", "10000.004329989"), ("tax", "500.000216499"), ("tax", "1047.375453512")])
    );
}

#[test]
fn an_amount_of_zero_is_taxed_with_zero_and_a_credit_with_a_credit() {
    let graph = r#"<Discount id="off" in="units.charge" percent="100"/>
        <TaxCalculator id="tax" in="off.charge" table="taxes"/>"#;
    let mut account = Subscription::behind_units(graph, "tax", &[TAXES]);
    account.account.attributes.insert("tax-place".to_owned(), "CH".to_owned());
    assert_eq!(
        account.posted(&cents(10_000, 1)),
        pairs(&[("units", "100"), ("off", "-100"), ("tax", "8.1"), ("tax", "-8.1")])
    );
    let free = r#"<StepRater id="free" in="record.quantity"><step id="free" price="0" per="1"/></StepRater>
        <TaxCalculator id="tax" in="free.charge units.charge" table="taxes"/>"#;
    let mut account = Subscription::behind_units(free, "tax", &[TAXES]);
    account.account.attributes.insert("tax-place".to_owned(), "CH".to_owned());
    assert_eq!(
        account.posted(&cents(100, 1)),
        pairs(&[("units", "1"), ("free", "0"), ("tax", "0.081"), ("tax", "0")])
    );
}

#[test]
fn a_category_bears_its_own_taxes_and_those_of_every_category() {
    let taxes = |category: &str| taxed(category, "US/NY").posted(&cents(10_000, 1));
    assert_eq!(taxes(""), pairs(&[("units", "100"), ("tax", "6")]));
    assert_eq!(taxes("category=\"books\""), pairs(&[("units", "100"), ("tax", "6"), ("tax", "2")]));
    assert_eq!(
        taxed("category=\"books\" prices=\"inclusive\"", "US/NY").posted(&cents(10_800, 1)),
        pairs(&[("net", "100"), ("tax", "6"), ("tax", "2")])
    );
}

#[test]
fn a_place_that_is_unknown_or_missing_suspends_the_record() {
    assert_eq!(taxed("", "DE").rate(&cents(1, 1)), Err(SuspenseReason::NoTaxPlace));
    let mut nowhere = taxed("place=\"country\"", "CH");
    assert_eq!(nowhere.rate(&cents(1, 1)), Err(SuspenseReason::NoTaxPlace));
    let mut told = cents(100, 1);
    told.attributes.insert("country".to_owned(), "CH".to_owned());
    assert_eq!(nowhere.posted(&told), pairs(&[("units", "1"), ("tax", "0.081")]));
    // A record without a charge line needs no place of taxation.
    assert_eq!(taxed("", "DE").lines(&cents(0, 1)), []);
    let mut tableless = taxed("", "CH");
    tableless.tables = vec![None];
    assert_eq!(tableless.rate(&cents(1, 1)), Err(SuspenseReason::NoTable));
    assert_eq!(tableless.lines(&cents(0, 1)), []);
}

#[test]
fn more_than_eight_taxes_on_a_line_are_too_many() {
    assert_eq!(taxed("", "XX").posted(&cents(100, 1)).len(), 9);
    assert_eq!(taxed("", "XX/Y").rate(&cents(100, 1)), Err(SuspenseReason::Overflow));
}

/// docs/plan-semantics.md section 3: each discount has a line, which is computed from the rounded
/// line that it reduces, and rounded once.
#[test]
fn a_discount_is_a_line_beside_the_line_that_it_reduces() {
    let mut off = Subscription::behind_units(
        r#"<Discount id="off" in="units.charge" percent="33.3333333333"/>"#,
        "off",
        &[],
    );
    assert_eq!(off.posted(&cents(1000, 1)), pairs(&[("units", "10"), ("off", "-3.333333333")]));
    let mut on = Subscription::behind_units(
        r#"<Discount id="on" in="units.charge" percent="-2.5"/>"#,
        "on",
        &[],
    );
    assert_eq!(on.posted(&cents(1000, 1)), pairs(&[("units", "10"), ("on", "0.25")]));
    assert_eq!(on.lines(&cents(0, 1)), []);
}

/// Lines derived from another party's share are posted to that party.
#[test]
fn taxes_and_discounts_of_a_share_are_its_partys() {
    let graph = format!(
        r#"{}<CostResponsibilityMatrix id="m" in="units.charge"><party id="p" account="7"/><row shares="p=1"/></CostResponsibilityMatrix>
        <Discount id="off" in="m.others" percent="10"/>
        <TaxCalculator id="tax" in="off.charge" table="taxes" prices="inclusive"/>
        <SecondAccountFinalizer id="post" in="tax.charge"/>"#,
        super::UNITS
    );
    let mut account = Subscription::new(&crate::support::plan(&graph), &[TAXES]);
    account.account.attributes.insert("tax-place".to_owned(), "CH".to_owned());
    let lines = account.lines(&cents(1081, 1));
    let to: Vec<_> = lines.iter().map(|line| (line.0.as_str(), line.2)).collect();
    let (gone, theirs) = ("replaced", "second-account");
    assert_eq!(
        to,
        [
            ("units", gone),
            ("p", gone),
            ("off", gone),
            ("net", theirs),
            ("tax", theirs),
            ("net", theirs),
            ("tax", theirs)
        ]
    );
}
