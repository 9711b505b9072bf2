//! Sharing among parties: the example of docs/plan-semantics.md section 9, exact to the billionth,
//! and the meaning of the matrix, the bonus and the `SecondAccountFinalizer`
//! (docs/plan-semantics.md sections 1, 2 and 8).

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support;

use std::collections::BTreeMap;

use proptest::prelude::*;
use support::{Subscriber, event, plan};
use turnpike_plan::Rated;
use turnpike_types::{AccountNumber, LineKind, Posting, SuspenseReason, UsageRecord};

const SHARING: &str = include_str!("data/sharing.xml");

const USAGE: &str = "\
record_id,account_number,usage_type,start_time,quantity,source,target,status
s01,9,octets,1996-10-01T08:10:20Z,2544,col_login.d2w/input,col_login.d2w/report,200
s02,9,octets,1996-10-01T08:10:23Z,2918,col_login.d2w/report,col_pc_add.d2w/input,200
s03,9,octets,1996-10-01T08:10:57Z,2433,col_pc_add.d2w/input,col_pc_add.d2w/report,200
s04,9,octets,1996-10-01T08:10:59Z,2928,col_pc_add.d2w/report,col_logoff.d2w/report,200
";

/// The amounts posted by the lines of account 9, in their order: (account, component, billionths).
fn posted(subscriber: &Subscriber, rated: &Rated) -> Vec<(u64, String, i128)> {
    let account = |posting| match posting {
        Posting::Account => Some(9),
        Posting::Second(AccountNumber(number)) => Some(number),
        _ => None,
    };
    let shown = rated.lines.iter().filter_map(|line| {
        let component = subscriber.shown(line).0;
        Some((account(line.posting)?, component, line.amount.nanos()))
    });
    shown.collect()
}

fn record(row: &[&str]) -> UsageRecord {
    let mut record = event(row[2], row[3], row[4].parse().unwrap());
    record.record_id = row[0].to_owned();
    record.account = AccountNumber(row[1].parse().unwrap());
    for (name, value) in ["source", "target", "status"].iter().zip(&row[5..]) {
        record.attributes.insert((*name).to_owned(), (*value).to_owned());
    }
    record
}

/// Sums by account and component of the example's usage. The record with the id `failed` is a
/// failed transfer.
fn comes_to(xml: &str, failed: Option<&str>) -> BTreeMap<(u64, String), i128> {
    let mut subscriber = Subscriber::new(xml, "UTC");
    let mut sums = BTreeMap::new();
    for row in support::rows(USAGE) {
        let mut record = record(&row);
        if failed == Some(row[0]) {
            record.attributes.insert("status".to_owned(), "500".to_owned());
        }
        let rated = subscriber.rate(&record).unwrap();
        for (account, component, nanos) in posted(&subscriber, &rated) {
            *sums.entry((account, component)).or_default() += nanos;
        }
    }
    sums
}

fn sums(expected: &[(u64, &str, i128)]) -> BTreeMap<(u64, String), i128> {
    expected.iter().map(|(account, name, nanos)| ((*account, (*name).to_owned()), *nanos)).collect()
}

/// In the example of shares, the client pays for none of the accesses.
#[test]
fn the_sharing_example_is_rated_exactly() {
    let expected = sums(&[
        (901, "provider", 2_544_000 + 5_856_000),
        (902, "advertiser", 2_918_000 + 4_866_000),
        (901, "credit", -(145_900 + 243_300)),
        (902, "debit", 145_900 + 243_300),
    ]);
    assert_eq!(comes_to(SHARING, None), expected);
}

/// docs/plan-semantics.md section 8: by default no party pays for failed transfers.
#[test]
fn by_default_no_party_pays_for_a_failed_transfer() {
    let expected = sums(&[
        (901, "provider", 2_544_000 + 5_856_000),
        (902, "advertiser", 2_918_000),
        (901, "credit", -145_900),
        (902, "debit", 145_900),
    ]);
    assert_eq!(comes_to(SHARING, Some("s03")), expected);
}

/// In this plan, the provider pays for failed transfers.
#[test]
fn a_plan_may_charge_failed_transfers_to_the_provider() {
    let row = r#"<row target="col_pc_add*" shares"#;
    let xml = SHARING.replace(row, &format!(r#"<row status="4xx|5xx" shares="provider=1"/>{row}"#));
    let expected = sums(&[
        (901, "provider", 2_544_000 + 4_866_000 + 5_856_000),
        (902, "advertiser", 2_918_000),
        (901, "credit", -145_900),
        (902, "debit", 145_900),
    ]);
    assert_eq!(comes_to(&xml, Some("s03")), expected);
    let all = sums(&[
        (901, "provider", 2_544_000 + 5_856_000),
        (902, "advertiser", 2_918_000 + 4_866_000),
        (901, "credit", -(145_900 + 243_300)),
        (902, "debit", 145_900 + 243_300),
    ]);
    assert_eq!(comes_to(&xml, None), all);
}

/// An account that is charged one cent per unit, shared according to `matrix`. Both outputs are
/// posted.
fn shared(matrix: &str) -> Subscriber {
    let graph = format!(
        r#"<StepRater id="r" in="record.quantity"><step id="units" price="0.01" per="1"/></StepRater>
        <CostResponsibilityMatrix id="m" in="r.charge" {matrix}</CostResponsibilityMatrix>
        <AccountFinalizer id="mine" in="m.own"/>
        <SecondAccountFinalizer id="theirs" in="m.others"/>"#
    );
    let mut subscriber = Subscriber::new(&plan(&graph), "UTC");
    subscriber.account.attributes.insert("sponsor".to_owned(), "77".to_owned());
    subscriber
}

fn access(quantity: i64, attributes: &[(&str, &str)]) -> UsageRecord {
    let mut record = event("t", "2026-05-01T09:00:00Z", quantity);
    record.account = AccountNumber(9);
    for (name, value) in attributes {
        record.attributes.insert((*name).to_owned(), (*value).to_owned());
    }
    record
}

fn paid(subscriber: &mut Subscriber, record: &UsageRecord) -> Vec<(u64, String, i128)> {
    let rated = subscriber.rate(record).unwrap();
    posted(subscriber, &rated)
}

fn cents(expected: &[(u64, &str, i128)]) -> Vec<(u64, String, i128)> {
    let cent = 10_000_000;
    expected.iter().map(|(account, id, cents)| (*account, (*id).to_owned(), cents * cent)).collect()
}

const PARTIES: &str = r#"<party id="me" account="self"/><party id="sponsor" account="account.sponsor"/><party id="ad" account="advertiser"/>"#;

/// docs/plan-semantics.md section 8: rows are ordered, and the first matching one determines the
/// payer; every condition is optional.
#[test]
fn the_first_row_whose_conditions_are_met_names_the_payer() {
    let mut account = shared(&format!(
        r#">{PARTIES}
        <row source="*/ad?" target="shop*" shares="ad=1"/>
        <row role="child" shares="sponsor=3 me=1"/>
        <row cache="HIT" shares="nobody"/>
        <row target="*" shares="me=1"/>"#
    ));
    let clicked = [("source", "x/ad1"), ("target", "shop/1"), ("advertiser", "902")];
    assert_eq!(paid(&mut account, &access(4, &clicked)), cents(&[(902, "ad", 4)]));
    let child = [("role", "child"), ("target", "shop/1"), ("cache", "HIT")];
    assert_eq!(paid(&mut account, &access(4, &child)), cents(&[(77, "sponsor", 3), (9, "me", 1)]));
    assert_eq!(paid(&mut account, &access(4, &[("target", "a")])), cents(&[(9, "me", 4)]));
    assert_eq!(paid(&mut account, &access(4, &[("cache", "HIT"), ("target", "a")])), []);
    // A condition on an attribute that the record lacks is not met, even if its pattern is a star.
    assert_eq!(account.rate(&access(4, &[])), Err(SuspenseReason::NoParty));
}

/// docs/plan-semantics.md section 2: only sharing splits money; the line that was split is marked
/// as replaced, and not posted.
#[test]
fn the_shares_replace_the_line() {
    let mut account = shared(&format!(r#">{PARTIES}<row shares="sponsor=2 me=1"/>"#));
    let rated = account.rate(&access(1, &[])).unwrap();
    let shown: Vec<_> =
        rated.lines.iter().map(|l| (l.amount.nanos(), l.posting, l.of, l.quantity)).collect();
    assert_eq!(
        shown,
        [
            (10_000_000, Posting::Replaced, None, 1),
            (6_666_667, Posting::Second(AccountNumber(77)), Some(0), 0),
            (3_333_333, Posting::Account, Some(0), 0),
        ]
    );
    let kind = |line: &turnpike_plan::ChargeLine| {
        account.plans[0].components()[usize::from(line.component)].kind
    };
    assert_eq!(kind(&rated.lines[1]), LineKind::Share);
}

/// docs/plan-semantics.md section 1: of equal remainders, the party that the row names first gets
/// more; shares are rounded by the plan's rule.
#[test]
fn shares_are_rounded_as_the_plan_is() {
    let matrix = format!(r#">{PARTIES}<row shares="sponsor=1 me=1"/>"#);
    let mut account = shared(&matrix);
    let xml = plan(&format!(
        r#"<StepRater id="r" in="record.quantity"><step id="units" price="0.01" per="1"/></StepRater>
        <CostResponsibilityMatrix id="m" in="r.charge" {matrix}</CostResponsibilityMatrix>
        <AccountFinalizer id="mine" in="m.own"/>
        <SecondAccountFinalizer id="theirs" in="m.others"/>"#
    ));
    account.plans = vec![support::compiled(
        &xml.replace("currency=\"USD\"", "currency=\"USD\" round=\"2 half-even\""),
    )];
    assert_eq!(paid(&mut account, &access(5, &[])), cents(&[(77, "sponsor", 3), (9, "me", 2)]));
}

/// docs/plan-semantics.md section 8: by default no party pays for failed transfers.
#[test]
fn failed_usage_is_not_posted_unless_a_row_matches_its_status() {
    let rows = r#"<row target="a" shares="me=1"/><row status="404" shares="sponsor=1"/><row shares="me=1"/>"#;
    let mut account = shared(&format!(">{PARTIES}{rows}"));
    let record = |status| access(1, &[("target", "a"), ("status", status)]);
    for status in ["200", "304"] {
        assert_eq!(paid(&mut account, &record(status)), cents(&[(9, "me", 1)]));
    }
    assert_eq!(paid(&mut account, &record("404")), cents(&[(77, "sponsor", 1)]));
    let rated = account.rate(&record("500")).unwrap();
    assert_eq!((rated.lines.len(), rated.lines[0].posting), (1, Posting::Nobody));
    assert_eq!(rated.lines[0].amount.nanos(), 10_000_000);
    // With `failed="rows"`, the rows alone decide who pays for a failed transfer.
    let mut account = shared(&format!("failed=\"rows\">{PARTIES}{rows}"));
    for status in ["404", "500"] {
        assert_eq!(paid(&mut account, &record(status)), cents(&[(9, "me", 1)]));
    }
    // Without a status, the transfer is not known to have failed.
    assert_eq!(paid(&mut account, &access(1, &[])), cents(&[(9, "me", 1)]));
}

/// Conditions read the attributes that the primitive names.
#[test]
fn the_attributes_that_rows_compare_can_be_configured() {
    let mut account = shared(&format!(
        r#"role="account.role" target="record.url" status="outcome">{PARTIES}
        <row role="guest" target="/x" status="200" shares="me=1"/>"#
    ));
    let record = access(1, &[("url", "/x"), ("outcome", "200"), ("target", "/y")]);
    assert_eq!(account.rate(&record), Err(SuspenseReason::NoParty));
    account.account.attributes.insert("role".to_owned(), "guest".to_owned());
    assert_eq!(paid(&mut account, &record), cents(&[(9, "me", 1)]));
}

#[test]
fn a_party_whose_account_number_is_invalid_suspends_the_record() {
    let mut account = shared(&format!(r#">{PARTIES}<row shares="ad=1 me=1"/>"#));
    for wrong in ["", "0", "-5", "nine", "99999999999999999999"] {
        let record = access(1, &[("advertiser", wrong)]);
        assert_eq!(account.rate(&record), Err(SuspenseReason::NoParty), "{wrong}");
    }
    assert_eq!(account.rate(&access(1, &[])), Err(SuspenseReason::NoParty));
    // Without a charge, no payer is needed.
    assert_eq!(account.rate(&access(0, &[])).unwrap().lines, []);
}

/// A party may have the number of the record's own account; its share is then posted to that
/// account.
#[test]
fn a_party_that_turns_out_to_be_the_account_itself_pays_as_the_account() {
    let mut account = shared(&format!(r#">{PARTIES}<row shares="ad=1 me=1"/>"#));
    let rated = account.rate(&access(2, &[("advertiser", "9")])).unwrap();
    let postings: Vec<Posting> = rated.lines.iter().map(|line| line.posting).collect();
    assert_eq!(postings, [Posting::Replaced, Posting::Account, Posting::Account]);
}

/// docs/plan-semantics.md section 2: a posting by `SecondAccountFinalizer` is made instead of a
/// posting to the record's account.
#[test]
fn a_second_account_pays_instead_of_the_first() {
    let graph = |account: &str| {
        plan(&format!(
            r#"<StepRater id="r" in="record.quantity"><step id="units" price="0.01" per="1"/></StepRater>
            <SecondAccountFinalizer id="post" in="r.charge" account="{account}"/>"#
        ))
    };
    let paid_by = |account: &str, payer: &str| {
        let mut subscriber = Subscriber::new(&graph(account), "UTC");
        paid(&mut subscriber, &access(3, &[("payer", payer)]))
    };
    assert_eq!(paid_by("500", ""), cents(&[(500, "units", 3)]));
    assert_eq!(paid_by("payer", "501"), cents(&[(501, "units", 3)]));
    let mut subscriber = Subscriber::new(&graph("9"), "UTC");
    let rated = subscriber.rate(&access(3, &[])).unwrap();
    assert_eq!(rated.lines[0].posting, Posting::Account);
    let mut subscriber = Subscriber::new(&graph("payer"), "UTC");
    assert_eq!(subscriber.rate(&access(3, &[])), Err(SuspenseReason::NoParty));
}

/// A bonus depends on the source page. Its two lines add up to zero.
#[test]
fn a_bonus_is_granted_by_the_payer_of_the_matching_usage() {
    let graph = r#"<StepRater id="r" in="record.quantity"><step id="units" price="0.01" per="1"/></StepRater>
        <CostResponsibilityMatrix id="m" in="r.charge">
          <party id="me" account="self"/><party id="ad" account="902"/>
          <row shares="ad=3 me=1"/>
        </CostResponsibilityMatrix>
        <BonusCredit id="b" in="m.others">
          <grant source="portal*" from="902" to="901" percent="10"/>
          <grant source="*/vip" from="902" to="self" percent="50"/>
          <grant from="903" to="901" percent="10"/>
          <grant from="902" to="902" percent="10"/>
        </BonusCredit>
        <BonusCredit id="c" in="m.own"><grant from="self" to="901" percent="1"/></BonusCredit>
        <AccountFinalizer id="mine" in="c.charge"/>
        <SecondAccountFinalizer id="theirs" in="b.charge"/>"#;
    let mut account = Subscriber::new(&plan(graph), "UTC");
    assert_eq!(
        paid(&mut account, &access(400, &[("source", "portal/vip")])),
        cents(&[
            (902, "ad", 300),
            (9, "me", 100),
            (901, "credit", -30),
            (902, "debit", 30),
            (9, "credit", -150),
            (902, "debit", 150),
            (901, "credit", -1),
            (9, "debit", 1),
        ])
    );
    let plain: Vec<_> = paid(&mut account, &access(400, &[]));
    assert_eq!(
        plain,
        cents(&[(902, "ad", 300), (9, "me", 100), (901, "credit", -1), (9, "debit", 1)])
    );
}

proptest! {
    #![proptest_config(test_cases::cases(256))]

    /// docs/plan-semantics.md section 2: shares and bonuses move money and create none: the posted
    /// sum equals the rated sum, and rating again from the same state gives the same result.
    #[test]
    fn money_is_conserved(
        quantity in 0i64..1 << 40,
        weights in proptest::collection::vec(1u32..1_000_000, 1..8),
        digits in 0u32..=9,
        percent in 0u32..=100,
        me_first: bool,
    ) {
        let parties: String = (0..weights.len())
            .map(|n| format!("<party id=\"p{n}\" account=\"{}\"/>", 100 + n))
            .collect();
        let shares: Vec<String> =
            weights.iter().enumerate().map(|(n, weight)| format!("p{n}={weight}")).collect();
        let row = match me_first {
            true => format!("<row shares=\"me=7 {}\"/>", shares.join(" ")),
            false => format!("<row shares=\"{} me=7\"/>", shares.join(" ")),
        };
        let xml = plan(&format!(
            "<StepRater id=\"r\" in=\"record.quantity\"><step id=\"s\" price=\"0.0123456789\" per=\"1\"/></StepRater>
            <CostResponsibilityMatrix id=\"m\" in=\"r.charge\"><party id=\"me\" account=\"self\"/>{parties}{row}</CostResponsibilityMatrix>
            <BonusCredit id=\"b\" in=\"m.others\"><grant from=\"100\" to=\"5\" percent=\"{percent}\"/></BonusCredit>
            <AccountFinalizer id=\"mine\" in=\"m.own\"/><SecondAccountFinalizer id=\"theirs\" in=\"b.charge\"/>"
        )).replace("currency=\"USD\"", &format!("currency=\"USD\" round=\"{digits} half-even\""));
        let mut subscriber = Subscriber::new(&xml, "UTC");
        let rated = subscriber.rate(&access(quantity, &[])).unwrap();
        prop_assert_eq!(&subscriber.rate(&access(quantity, &[])).unwrap(), &rated);
        let whole: i128 = rated.lines.iter().filter(|l| l.of.is_none()).map(|l| l.amount.nanos()).sum();
        let posted: i128 = posted(&subscriber, &rated).iter().map(|(_, _, nanos)| nanos).sum();
        prop_assert_eq!(posted, whole);
        let step = 10i128.pow(9 - digits);
        prop_assert!(rated.lines.iter().all(|line| line.amount.nanos() % step == 0));
    }
}
