//! Selectors, classifiers and increments: records that go as a whole. Graphs begin on line 3 of the
//! document.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use proptest::prelude::*;
use support::{Subscriber, causes, compiled, event, micros, plan, session, warnings};
use turnpike_plan::Cause;
use turnpike_types::{SuspenseReason, Timestamp, UsageRecord};

const AT: &str = "2026-05-01T09:00:00Z";
const SECOND: i128 = 1_000_000;
const HOUR: i128 = 3_600 * SECOND;

/// A classifier of these rules with a rater for each of the types `a`, `b` and whatever else.
fn classes(rules: &str, before: &str, input: &str) -> String {
    plan(&format!(
        r#"{before}<UsageTypeClassifier id="c" in="{input}" default="other">
{rules}
</UsageTypeClassifier>
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

/// PLANS section 8: ordered rules, first match, mandatory default.
#[test]
fn the_first_rule_that_holds_says_the_type() {
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
fn what_a_record_does_not_carry_holds_nothing() {
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

/// A classifier behind another one sees the type that it said; a selector before does not.
#[test]
fn types_are_those_of_the_nearest_classifier_before() {
    let before = r#"<UsageTypeSelector id="s" in="record.quantity" types="t"/><UsageTypeClassifier id="first" in="s.pass" default="plain"><rule as="a" attribute="f" is="x"/></UsageTypeClassifier>"#;
    let rules = r#"<rule as="b" type="a"/><rule as="a" type="t"/>"#;
    let xml = classes(rules, before, "first.out");
    assert_eq!(class(&xml, &with("f", "x")), "b");
    assert_eq!(class(&xml, &with("f", "y")), "other");
}

/// PLANS section 2: behind a classifier no rest may stay open, and the plan accepts everything that
/// comes to the classifier.
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

/// Section 2: a unit that can come by two paths is a warning, and what the record's type was says
/// nothing of two selectors of which one stands behind a classifier.
#[test]
fn selectors_on_both_sides_of_a_classifier_do_not_exclude_each_other() {
    let xml = plan(
        r#"<UsageTypeSelector id="t" in="record.quantity" types="t"/>
        <UsageTypeClassifier id="c" in="t.pass" default="b"><rule as="a" attribute="f" is="x"/></UsageTypeClassifier>
        <UsageTypeSelector id="a" in="c.out" types="a"/>
        <UsageTypeSelector id="b" in="c.out" types="b a"/>
        <Ignore id="i" in="a.pass b.pass"/><Ignore id="j" in="a.rest b.rest"/>"#,
    );
    assert!(warnings(&xml).iter().any(|text| text.contains("\"i\": a unit can come here by two")));
}

/// Units of a derived type and of the record's own do not meet.
#[test]
fn types_of_two_makings_do_not_mix() {
    let xml = plan(
        r#"<UsageTypeClassifier id="c" in="record.quantity" default="b"><rule as="a" type="t"/></UsageTypeClassifier>
        <Ignore id="i" in="c.out record.quantity"/>"#,
    );
    assert_eq!(causes(&xml), [(4, "i".to_owned(), Cause::WrongUnit)]);
}

#[test]
fn rules_that_nothing_reaches_are_refused() {
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
fn a_rule_that_takes_everything_makes_the_default_idle() {
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
    let empty = classes("", "", "record.quantity");
    assert_eq!(causes(&empty), [(3, "c".to_owned(), Cause::MissingProperty)]);
    let without =
        classes("<rule as=\"a\"/>", "", "record.quantity").replace(" default=\"other\"", "");
    assert_eq!(causes(&without), [(3, "c".to_owned(), Cause::MissingProperty)]);
}

/// An increment, then peak time 19:00 to 24:00 apart.
fn incremented(first: &str, then: &str) -> Subscriber {
    let graph = format!(
        r#"<UsageTypeSelector id="calls" in="record.duration" types="call"/>
        <UsageIncrement id="i" in="calls.pass" first="{first}" then="{then}"/>
        <DailyTimeFilter id="f" in="i.out" from="19:00" to="24:00"/>
        <MonthlyAccumulator id="a" in="f.rest"/>
        <StepRater id="peak" in="f.pass"><step id="peak" price="1" per="1 min"/></StepRater>
        <StepRater id="day" in="a.out" level="a.total"><step id="day" price="0.50" per="1 min"/></StepRater>
        <AccountFinalizer id="post" in="peak.charge day.charge"/>"#
    );
    Subscriber::new(&plan(&graph), "Europe/Zurich")
}

fn seconds(account: &mut Subscriber, start: &str, millis: i64) -> Vec<(String, i128)> {
    let record = UsageRecord { duration_us: millis * 1000, ..session("call", start, start) };
    let lines = account.lines(&record).into_iter();
    lines.map(|(component, units, _)| (component, units / SECOND)).collect()
}

/// PLANS section 4: 60/60 and 30/6 lengthen the record's end once; nothing stays nothing.
#[test]
fn a_call_is_charged_in_whole_increments() {
    let (mut minutes, mut sixes) = (incremented("60 s", "60 s"), incremented("30 s", "6 s"));
    let noon = "2026-05-01T12:00:00+02:00";
    let mut day = |millis| [&mut minutes, &mut sixes].map(|account| seconds(account, noon, millis));
    let of = |units: i128| vec![("day".to_owned(), units)];
    assert_eq!(day(0), [vec![], vec![]]);
    assert_eq!(day(1), [of(60), of(30)]);
    assert_eq!(day(30_000), [of(60), of(30)]);
    assert_eq!(day(30_001), [of(60), of(36)]);
    assert_eq!(day(60_000), [of(60), of(60)]);
    assert_eq!(day(60_001), [of(120), of(66)]);
    // Accumulators count what the increments made.
    assert_eq!(minutes.state.entries()[0].value, (60 * 4 + 120) * SECOND);
}

/// PLANS section 4: before any split, so that the added time lies where the call would have gone on.
#[test]
fn the_added_time_lies_behind_the_records_end() {
    let mut account = incremented("60 s", "60 s");
    let found = seconds(&mut account, "2026-05-01T18:59:30+02:00", 10_000);
    assert_eq!(found, [("peak".to_owned(), 30), ("day".to_owned(), 30)]);
    // It is split once, not lengthened on both sides.
    let found = seconds(&mut account, "2026-05-01T18:58:30+02:00", 91_000);
    assert_eq!(found, [("peak".to_owned(), 30), ("day".to_owned(), 90)]);
}

/// More of another measure lies in the record's own time: unit k at floor(k*D/Q').
#[test]
fn a_quantity_grows_within_the_records_time() {
    let xml = plan(
        r#"<UsageIncrement id="i" in="record.octets" first="10 B" then="10 B"/>
        <DailyTimeFilter id="f" in="i.out" from="12:00" to="24:00"/>
        <StepRater id="am" in="f.rest"><step id="am" price="1" per="1 B"/></StepRater>
        <StepRater id="pm" in="f.pass"><step id="pm" price="1" per="1 B"/></StepRater>
        <AccountFinalizer id="post" in="am.charge pm.charge"/>"#,
    );
    let mut record = session("t", "2026-05-01T09:00:00Z", "2026-05-01T14:00:00Z");
    record.measures.insert("octets".to_owned(), 11);
    let mut units = |record: &UsageRecord| -> Vec<(String, i128)> {
        let lines = Subscriber::new(&xml, "UTC").lines(record);
        lines.into_iter().map(|line| (line.0, line.1)).collect()
    };
    let of = |am: i128, pm: i128| vec![("am".to_owned(), am), ("pm".to_owned(), pm)];
    assert_eq!(units(&record), of(12, 8));
    record.duration_us = 0;
    assert_eq!(units(&record), [("am".to_owned(), 20)]);
    record.measures.insert("octets".to_owned(), 1_000_000_000_000_001);
    assert_eq!(units(&record), [("am".to_owned(), 1_000_000_000_000_010)]);
    record.measures.insert("octets".to_owned(), 0);
    assert_eq!(units(&record), []);
}

#[test]
fn an_increment_past_the_numbers_there_are_suspends_the_record() {
    let xml = plan(
        r#"<UsageIncrement id="i" in="record.quantity" first="10" then="10"/><Ignore id="x" in="i.out"/>"#,
    );
    let record = event("t", AT, i64::MAX);
    assert_eq!(Subscriber::new(&xml, "UTC").rate(&record), Err(SuspenseReason::Overflow));
    let long = xml.replace("quantity", "duration").replace("\"10\"", "\"3660000 d\"");
    let record = session("t", AT, "2026-05-01T09:00:01Z");
    assert_eq!(Subscriber::new(&long, "UTC").rate(&record), Err(SuspenseReason::Overflow));
}

/// PLANS section 4: once, before any split: whatever may have split the record is refused before it.
#[test]
fn an_increment_behind_what_may_split_records_is_refused() {
    let increment = |before: &str, from: &str| {
        plan(&format!(
            "{before}\n<UsageIncrement id=\"i\" in=\"{from}\" first=\"60\" then=\"60\"/>\n<Ignore id=\"x\" in=\"i.out\"/>"
        ))
    };
    let rest = r#"<StepRater id="f" in="record.quantity"><step id="s" upto="5" price="1" per="1"/></StepRater><AccountFinalizer id="post" in="f.charge"/>"#;
    let cases = [
        (
            r#"<DailyTimeFilter id="f" in="record.quantity" from="19:00" to="24:00"/><Ignore id="r" in="f.rest"/>"#,
            "f.pass",
        ),
        (
            r#"<WeeklyTimeFilter id="f" in="record.quantity"><window days="Sun"/></WeeklyTimeFilter><Ignore id="r" in="f.rest"/>"#,
            "f.pass",
        ),
        (
            r#"<SpecialDaysTimeFilter id="f" in="record.quantity" table="h"/><Ignore id="r" in="f.pass"/>"#,
            "f.rest",
        ),
        (
            r#"<ThresholdFilter id="f" in="record.quantity" above="9"/><Ignore id="r" in="f.rest"/>"#,
            "f.pass",
        ),
        (
            r#"<Weigher id="f" in="record.quantity" attribute="w" default="2"><weight value="x" weight="1"/></Weigher>"#,
            "f.out",
        ),
        (r#"<MonthlyAccumulator id="f" in="record.quantity"/>"#, "f.out"),
        (r#"<UsageIncrement id="f" in="record.quantity" first="30" then="6"/>"#, "f.out"),
        (rest, "f.rest"),
        (
            r#"<DailyTimeFilter id="f" in="record.quantity" from="19:00" to="24:00"/><UsageTypeSelector id="s" in="f.pass f.rest" types="t"/><Ignore id="r" in="s.rest"/>"#,
            "s.pass",
        ),
    ];
    for (before, from) in cases {
        assert_eq!(
            causes(&increment(before, from)),
            [(4, "i".to_owned(), Cause::Misplaced)],
            "{before}"
        );
    }
    let whole = r#"<UsageTypeSelector id="s" in="record.quantity" types="t"/><UsageTypeClassifier id="c" in="s.pass" default="u"><rule as="v" measure="quantity" above="9"/></UsageTypeClassifier><UsageTypeSelector id="v" in="c.out" types="v"/>"#;
    compiled(&increment(whole, "v.pass v.rest"));
}

#[test]
fn increments_that_are_none_are_refused() {
    let xml = |first: &str, then: &str| {
        plan(&format!(
            "<UsageIncrement id=\"i\" in=\"record.duration\" first=\"{first}\" then=\"{then}\"/><Ignore id=\"x\" in=\"i.out\"/>"
        ))
    };
    let refused = |first: &str, then: &str, cause: Cause| {
        assert_eq!(causes(&xml(first, then)), [(3, "i".to_owned(), cause)], "{first} {then}");
    };
    refused("60 s", "0 s", Cause::BadValue);
    refused("60 s", "6", Cause::WrongUnit);
    refused("soon", "6 s", Cause::BadValue);
    assert!(warnings(&xml("1 us", "1 us")).iter().any(|text| text.contains("nothing changes")));
    // What was counted and what was counted anew are two counts.
    let mixed = plan(
        r#"<UsageIncrement id="i" in="record.duration" first="60 s" then="60 s"/><Ignore id="x" in="i.out record.duration"/>"#,
    );
    assert_eq!(causes(&mixed), [(3, "x".to_owned(), Cause::WrongUnit)]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// A call with increments comes to what a call of the lengthened duration comes to without.
    #[test]
    fn an_increment_is_a_longer_call(
        minutes in 0i64..3_000, micro in 0i64..400_000_000, first in 0i64..120, then in 1i64..90,
    ) {
        let start = Timestamp(micros("2026-03-28T12:00:00Z") + minutes * 60_000_000);
        let record = UsageRecord { start, duration_us: micro, ..session("call", AT, AT) };
        let mut longer = if micro == 0 { 0 } else { first * 1_000_000 };
        while longer < micro {
            longer += then * 1_000_000;
        }
        let mut account = incremented(&format!("{first} s"), &format!("{then} s"));
        let mut plain = incremented("0 us", "1 us");
        let found = account.lines(&record);
        prop_assert_eq!(&found, &plain.lines(&UsageRecord { duration_us: longer, ..record }));
        prop_assert_eq!(found.iter().map(|line| line.1).sum::<i128>(), i128::from(longer));
        prop_assert!(i128::from(longer) < HOUR);
    }

    /// The class of a record against asking the rules one after another.
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
