//! Plans and records that a review found to be handled wrongly.
#![allow(clippy::unwrap_used, missing_docs)]

use crate::support;

use support::{Subscriber, causes, event, plan};
use turnpike_plan::Cause;
use turnpike_types::{AccountNumber, Posting};

/// docs/architecture.md section 9: bad input never ends a process. An earlier release ended on a
/// plan like these.
#[test]
fn a_mapper_that_reads_the_attribute_that_it_derives_is_refused() {
    let alone = plan(
        r#"<IptoLocationMapper id="geo" in="record.quantity" table="nets" address="geo.location"/>
        <StepRater id="r" in="geo.out"><step id="s" price="1" per="1"/></StepRater>
        <AccountFinalizer id="post" in="r.charge"/>"#,
    );
    assert_eq!(causes(&alone), [(3, "geo".to_owned(), Cause::Cycle)]);
    let two = plan(
        r#"<IptoLocationMapper id="a" in="record.quantity" table="nets" address="b.location"/>
        <IptoLocationMapper id="b" in="a.out" table="nets" address="a.location"/>
        <StepRater id="r" in="b.out"><step id="s" price="1" per="1"/></StepRater>
        <AccountFinalizer id="post" in="r.charge"/>"#,
    );
    let both = [(3, "a".to_owned(), Cause::Cycle), (4, "b".to_owned(), Cause::Cycle)];
    assert_eq!(causes(&two), both);
}

/// docs/architecture.md section 7: a filter that no unit can pass is refused.
#[test]
fn a_selector_none_of_whose_types_can_occur_is_refused() {
    let behind_another = plan(
        r#"<UsageTypeSelector id="a" in="record.quantity" types="voice"/>
        <UsageTypeSelector id="b" in="a.pass" types="data"/>
        <Ignore id="none" in="b.pass b.rest"/>"#,
    );
    assert_eq!(causes(&behind_another), [(4, "b".to_owned(), Cause::NothingPasses)]);
    let behind_a_classifier = plan(
        r#"<UsageTypeClassifier id="c" in="record.quantity" default="z"><rule as="x" attribute="k" is="1"/></UsageTypeClassifier>
        <UsageTypeSelector id="b" in="c.out" types="never-said"/>
        <Ignore id="none" in="b.pass b.rest"/>"#,
    );
    assert_eq!(causes(&behind_a_classifier), [(4, "b".to_owned(), Cause::NothingPasses)]);
}

/// The sum of the lines with a given posting, in billionths.
fn posted(rated: &turnpike_plan::Rated, to: Posting) -> i128 {
    rated.lines.iter().filter(|line| line.posting == to).map(|line| line.amount.nanos()).sum()
}

/// docs/plan-semantics.md section 5: only charges to the record's own account count for a cap.
#[test]
fn a_cap_behind_a_bonus_counts_and_reduces_only_charges_of_the_account() {
    let xml = plan(
        r#"<StepRater id="r" in="record.quantity"><step id="s" price="10" per="1"/></StepRater>
        <BonusCredit id="bonus" in="r.charge"><grant from="self" to="901" percent="50"/></BonusCredit>
        <Cap id="cap" in="bonus.charge" amount="12.00" per="month"/>
        <AccountFinalizer id="post" in="cap.charge"/>"#,
    );
    let mut subscriber = Subscriber::new(&xml, "UTC");
    let (mut own, mut other) = (0, 0);
    for day in ["05", "06", "07"] {
        let record = event("voice", &format!("2026-01-{day}T10:00:00Z"), 1);
        let rated = subscriber.rate(&record).unwrap();
        own += posted(&rated, Posting::Account);
        other += posted(&rated, Posting::Second(AccountNumber(901)));
    }
    assert_eq!((own, other), (12_000_000_000, -15_000_000_000));
}
