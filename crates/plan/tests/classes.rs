//! Selectors and classifiers: the usage type of a record, and the output by which it leaves. Graphs
//! begin on line 3 of the document.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support;

use proptest::prelude::*;
use support::{Subscriber, begun, causes, compiled, event, plan, session, warnings};
use turnpike_plan::Cause;
use turnpike_types::{SuspenseReason, UsageRecord};

const AT: &str = "2026-05-01T09:00:00Z";

/// A plan with a classifier of these rules, and a rater for each of the types `a`, `b` and the
/// default.
fn classes(rules: &str, before: &str, input: &str) -> String {
    // A selector for a type that no rule derives is refused, so a rule that no record meets is
    // added.
    let said = |class: &str| match rules.contains(&format!("as=\"{class}\"")) {
        true => String::new(),
        false => format!("<rule as=\"{class}\" type=\"never-{class}\"/>"),
    };
    let (a, b) = (said("a"), said("b"));
    plan(&format!(
        r#"{before}<UsageTypeClassifier id="c" in="{input}" default="other">
{rules}
{a}{b}</UsageTypeClassifier>
        <UsageTypeSelector id="sa" in="c.out" types="a"/>
        <UsageTypeSelector id="sb" in="sa.rest" types="b"/>
        <StepRater id="a" in="sa.pass"><step id="a" price="1" per="1"/></StepRater>
        <StepRater id="b" in="sb.pass"><step id="b" price="1" per="1"/></StepRater>
        <StepRater id="other" in="sb.rest"><step id="other" price="1" per="1"/></StepRater>
        <AccountFinalizer id="post" in="a.charge b.charge other.charge"/>"#
    ))
}

fn class(xml: &str, record: &UsageRecord) -> String {
    Subscriber::new(xml, "UTC").lines(record)[0].0.clone()
}

fn with(attribute: &str, value: &str) -> UsageRecord {
    let mut record = event("t", AT, 5);
    record.attributes.insert(attribute.to_owned(), value.to_owned());
    record
}

/// docs/plan-semantics.md section 8: the rules are tried in order, the first that holds gives the
/// type, and a default is mandatory.
#[test]
fn the_first_rule_that_holds_determines_the_type() {
    let xml = classes(
        r#"<rule as="a" attribute="target" like="*.example.com"/>
           <rule as="b" attribute="target" is="x.example.com y.example.org"/>"#,
        "",
        "record.quantity",
    );
    assert_eq!(class(&xml, &with("target", "x.example.com")), "a");
    assert_eq!(class(&xml, &with("target", "y.example.org")), "b");
    assert_eq!(class(&xml, &with("target", "example.com")), "other");
}

#[test]
fn all_conditions_of_a_rule_must_hold() {
    let xml = classes(
        r#"<rule as="a" type="t u" attribute="f" is="x" measure="quantity" above="3" upto="5"/>"#,
        "",
        "record.quantity",
    );
    let record = with("f", "x");
    assert_eq!(class(&xml, &record), "a");
    assert_eq!(class(&xml, &UsageRecord { quantity: Some(3), ..record.clone() }), "other");
    assert_eq!(class(&xml, &UsageRecord { quantity: Some(6), ..record.clone() }), "other");
    assert_eq!(class(&xml, &UsageRecord { usage_type: "v".to_owned(), ..record }), "other");
    assert_eq!(class(&xml, &with("f", "y")), "other");
}

#[test]
fn a_condition_on_an_absent_attribute_does_not_hold() {
    let xml = classes(
        r#"<rule as="a" attribute="f" like="*"/>
           <rule as="b" measure="octets" upto="10 MB"/>"#,
        "",
        "record.quantity",
    );
    assert_eq!(class(&xml, &event("t", AT, 5)), "other");
    let mut record = event("t", AT, 5);
    record.measures.insert("octets".to_owned(), 0);
    assert_eq!(class(&xml, &record), "b");
    record.attributes.insert("f".to_owned(), String::new());
    assert_eq!(class(&xml, &record), "a");
}

#[test]
fn a_rule_may_read_the_account_and_the_records_duration() {
    let xml = classes(
        r#"<rule as="a" attribute="account.level" is="gold" measure="duration" above="3 s"/>"#,
        "",
        "record.quantity",
    );
    let record = UsageRecord { quantity: Some(1), ..session("t", AT, "2026-05-01T09:00:04Z") };
    let mut account = Subscriber::new(&xml, "UTC");
    assert_eq!(account.lines(&record)[0].0, "other");
    account.account.attributes.insert("level".to_owned(), "gold".to_owned());
    assert_eq!(account.lines(&record)[0].0, "a");
    let short = UsageRecord { duration_us: 3_000_000, ..record };
    assert_eq!(account.lines(&short)[0].0, "other");
}

/// A record whose duration is missing is neither a short call nor an unanswered one.
#[test]
fn a_lost_duration_is_not_taken_for_a_short_one() {
    let xml =
        classes(r#"<rule as="a" type="t" measure="duration" upto="30 s"/>"#, "", "record.quantity");
    let mut account = Subscriber::new(&xml, "UTC");
    let lost = UsageRecord { quantity: Some(1), ..begun("t", AT) };
    assert_eq!(account.rate(&lost), Err(SuspenseReason::MissingInput));
    assert_eq!(account.rater.detail(SuspenseReason::MissingInput).to_string(), "record.duration");
    let mut unanswered = lost.clone();
    unanswered.state_duration(Some(0));
    assert_eq!(account.lines(&unanswered)[0].0, "a");
    // Records of other types need no duration, and neither does a condition that a duration of 0
    // does not meet.
    let other = UsageRecord { usage_type: "u".to_owned(), ..lost.clone() };
    assert_eq!(account.lines(&other)[0].0, "other");
    let long = xml.replace(r#"upto="30 s""#, r#"above="30 s""#);
    assert_eq!(Subscriber::new(&long, "UTC").lines(&lost)[0].0, "other");
}

/// Behind two classifiers in a row, the second one reads the type that the first one derived; a
/// selector before both reads the type of the record.
#[test]
fn types_are_those_of_the_nearest_classifier_before() {
    let before = r#"<UsageTypeSelector id="s" in="record.quantity" types="t"/><UsageTypeClassifier id="first" in="s.pass" default="plain"><rule as="a" attribute="f" is="x"/></UsageTypeClassifier>"#;
    let rules = r#"<rule as="b" type="a"/><rule as="a" type="t"/>"#;
    let xml = classes(rules, before, "first.out");
    assert_eq!(class(&xml, &with("f", "x")), "b");
    assert_eq!(class(&xml, &with("f", "y")), "other");
}

/// docs/plan-semantics.md section 2: the output `rest` of a selector behind a classifier must be
/// linked, and the plan accepts every record that reaches the classifier.
#[test]
fn only_a_selector_at_the_record_may_leave_its_rest_open() {
    let classifier = r#"<UsageTypeClassifier id="c" in="record.quantity" default="a"><rule as="b" type="t"/></UsageTypeClassifier>"#;
    let open = plan(&format!(
        r#"{classifier}
        <UsageTypeSelector id="s" in="c.out" types="a"/><Ignore id="i" in="s.pass"/>"#
    ));
    assert_eq!(causes(&open), [(4, "s".to_owned(), Cause::OpenUsage)]);
    let taken = plan(&format!(
        r#"{classifier}<UsageTypeSelector id="s" in="c.out" types="a"/><Ignore id="i" in="s.pass s.rest"/>"#
    ));
    assert!(compiled(&taken).accepts("anything"));
    let two = r#"<UsageTypeSelector id="x" in="record.quantity" types="one"/><UsageTypeSelector id="y" in="record.quantity" types="two three"/><Ignore id="i" in="x.pass y.pass"/>"#;
    let code = compiled(&plan(two));
    assert_eq!(["one", "three", "four"].map(|t| code.accepts(t)), [true, true, false]);
}

/// docs/plan-semantics.md section 2: a unit that can arrive by two paths gives a warning. A
/// selector before the classifier and one behind it do not exclude each other, since the types are
/// unrelated.
#[test]
fn selectors_on_both_sides_of_a_classifier_do_not_exclude_each_other() {
    let xml = plan(
        r#"<UsageTypeSelector id="t" in="record.quantity" types="t"/>
        <UsageTypeClassifier id="c" in="t.pass" default="b"><rule as="a" attribute="f" is="x"/></UsageTypeClassifier>
        <UsageTypeSelector id="a" in="c.out" types="a"/>
        <UsageTypeSelector id="b" in="c.out" types="b a"/>
        <Ignore id="i" in="a.pass b.pass"/><Ignore id="j" in="a.rest b.rest"/>"#,
    );
    assert!(
        warnings(&xml)
            .iter()
            .any(|text| text.contains("\"i\": a unit can reach this input by two"))
    );
}

/// The links into one input must not carry both units with a derived usage type and units with the
/// record's own usage type.
#[test]
fn derived_and_original_types_do_not_mix() {
    let xml = plan(
        r#"<UsageTypeClassifier id="c" in="record.quantity" default="b"><rule as="a" type="t"/></UsageTypeClassifier>
        <Ignore id="i" in="c.out record.quantity"/>"#,
    );
    assert_eq!(causes(&xml), [(4, "i".to_owned(), Cause::WrongUnit)]);
}

#[test]
fn unreachable_rules_are_refused() {
    let reached_never = |first: &str, second: &str| {
        let xml = classes(
            &format!("<rule as=\"a\" {first}/>\n<rule as=\"b\" {second}/>"),
            "",
            "record.quantity",
        );
        assert_eq!(causes(&xml), [(5, "c".to_owned(), Cause::NothingPasses)], "{first} | {second}");
    };
    reached_never(r#"type="t""#, r#"type="t""#);
    reached_never("", r#"type="t""#);
    reached_never(r#"type="t u""#, r#"attribute="f" is="x" type="u""#);
    reached_never(r#"attribute="f" like="x*""#, r#"attribute="record.f" is="xa xb""#);
    reached_never(
        r#"measure="octets" above="1 MB""#,
        r#"measure="octets" above="2 MB" upto="3 MB""#,
    );
    let sound = |first: &str, second: &str| {
        let rules = format!("<rule as=\"a\" {first}/>\n<rule as=\"b\" {second}/>");
        compiled(&classes(&rules, "", "record.quantity"));
    };
    sound(r#"type="t""#, r#"type="t u""#);
    sound(r#"type="t" attribute="f" is="x""#, r#"type="t""#);
    sound(r#"attribute="f" is="x""#, r#"attribute="g" is="x""#);
    sound(r#"measure="octets" upto="1 MB""#, r#"measure="octets" above="1 MB""#);
}

#[test]
fn a_rule_that_matches_everything_makes_the_default_unused() {
    let rules = "<rule as=\"a\" type=\"t\"/><rule as=\"b\"/>";
    let told = warnings(&classes(rules, "", "record.quantity"));
    assert!(told.iter().any(|text| text.contains("default is never used")), "{told:?}");
}

#[test]
fn rules_that_are_not_finished_are_refused() {
    let refused = |rule: &str, cause: Cause| {
        let xml = classes(&format!("<rule {rule}/>"), "", "record.quantity");
        assert_eq!(causes(&xml), [(4, "c".to_owned(), cause)], "{rule}");
    };
    refused(r#"type="t""#, Cause::MissingProperty);
    refused(r#"as="two words""#, Cause::BadValue);
    refused(r#"as="a" attribute="f""#, Cause::MissingProperty);
    refused(r#"as="a" is="x""#, Cause::MissingProperty);
    refused(r#"as="a" like="x""#, Cause::MissingProperty);
    refused(r#"as="a" attribute="f" is="x" like="x""#, Cause::BadValue);
    refused(r#"as="a" measure="octets""#, Cause::MissingProperty);
    refused(r#"as="a" upto="1 MB""#, Cause::MissingProperty);
    refused(r#"as="a" measure="octets" above="2 MB" upto="2 MB""#, Cause::NothingPasses);
    refused(r#"as="a" measure="octets" above="much""#, Cause::BadValue);
    refused(r#"as="a" measure="duration" above="1 MB""#, Cause::WrongUnit);
    refused(r#"as="a" attribute="geo.location" is="x""#, Cause::UnknownReference);
    refused(r#"as="a" type=" ""#, Cause::NothingPasses);
    let some = r#"<rule as="a" type="t"/><rule as="b" type="u"/>"#;
    let empty = classes(some, "", "record.quantity").replace(some, "");
    assert_eq!(causes(&empty), [(3, "c".to_owned(), Cause::MissingProperty)]);
    let without =
        classes("<rule as=\"a\"/>", "", "record.quantity").replace(" default=\"other\"", "");
    assert_eq!(causes(&without), [(3, "c".to_owned(), Cause::MissingProperty)]);
}

proptest! {
    #![proptest_config(test_cases::cases(128))]

    /// The derived type is that of the first rule that holds, which the test finds by testing the
    /// rules one by one.
    #[test]
    fn the_class_is_that_of_the_first_rule_that_holds(
        usage_type in "[tu]", value in proptest::option::of("[ab]{0,3}"), quantity in 1i64..9,
    ) {
        let xml = classes(
            r#"<rule as="a" type="t" attribute="f" like="a*b"/>
               <rule as="b" attribute="f" is="a aa b" measure="quantity" upto="4"/>
               <rule as="a" measure="quantity" above="6"/>"#,
            "", "record.quantity",
        );
        let mut record = event(&usage_type, AT, quantity);
        let f = value.clone().unwrap_or_default();
        if let Some(value) = value {
            record.attributes.insert("f".to_owned(), value);
        }
        let expected = if usage_type == "t" && f.starts_with('a') && f.ends_with('b') {
            "a"
        } else if ["a", "aa", "b"].contains(&f.as_str()) && quantity <= 4 {
            "b"
        } else if quantity > 6 {
            "a"
        } else {
            "other"
        };
        prop_assert_eq!(class(&xml, &record), expected);
    }
}
