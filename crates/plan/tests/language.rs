//! Mistakes of plan authors: each is refused, or reported as a warning before publication, with a
//! remedy.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use crate::support;

use std::collections::BTreeMap;

use support::{Subscriber, begun, causes, event, plan, session, warnings};
use turnpike_plan::{Cause, compile, parse, parse_published};
use turnpike_types::{SuspenseReason, UsageRecord};

/// The errors of a refused plan.
fn refusal(xml: &str) -> String {
    parse(xml).expect_err(xml).to_string()
}

fn rated(input: &str, step: &str) -> String {
    plan(&format!(
        r#"<StepRater id="r" in="record.{input}">{step}</StepRater>
<AccountFinalizer id="post" in="r.charge"/>"#
    ))
}

// Properties that hold lists.

#[test]
fn usage_types_are_separated_by_spaces() {
    let selector = |types: &str| {
        plan(&format!(
            r#"<UsageTypeSelector id="all" in="record.quantity" types="{types}"/>
<Ignore id="i" in="all.pass"/>"#
        ))
    };
    for (types, fixed) in [
        ("call,sms", "call sms"),
        ("call, sms", "call sms"),
        ("call;sms", "call sms"),
        ("call|sms", "call sms"),
        ("call,sms fax", "call sms fax"),
    ] {
        let xml = selector(types);
        assert_eq!(causes(&xml), [(3, "all".to_owned(), Cause::BadValue)], "{types}");
        assert!(refusal(&xml).contains(&format!("write \"{fixed}\"")), "{}", refusal(&xml));
        // Accounts may already be rated by a published plan, so it gets only a warning.
        let published = parse_published(&xml).unwrap();
        assert!(published.warnings().iter().any(|w| w.message.contains("separated by spaces")));
    }
    parse(&selector("call sms")).unwrap();
    let rule = plan(
        r#"<UsageTypeClassifier id="c" in="record.quantity" default="z">
<rule as="x" type="call,sms"/>
</UsageTypeClassifier>
<Ignore id="i" in="c.out"/>"#,
    );
    assert_eq!(causes(&rule), [(4, "c".to_owned(), Cause::BadValue)]);
    let parameter = selector("$types").replacen(
        "<graph>",
        "<parameter id=\"types\" type=\"text\" value=\"call\"/><graph>",
        1,
    );
    let plan = parse(&parameter).unwrap();
    let overrides = BTreeMap::from([("types".to_owned(), "call,sms".to_owned())]);
    assert!(compile(&plan, &overrides).unwrap_err().to_string().contains("separated by spaces"));
}

#[test]
fn links_and_shares_are_separated_by_spaces() {
    let linked = plan(
        r#"<DailyTimeFilter id="f" in="record.quantity" from="08:00" to="12:00"/>
<Ignore id="i" in="f.pass,f.rest"/>"#,
    );
    let told = refusal(&linked);
    assert!(told.contains("links are separated by spaces: write \"f.pass f.rest\""), "{told}");
    let shared = plan(
        r#"<StepRater id="r" in="record.quantity"><step id="s" price="1" per="1"/></StepRater>
<CostResponsibilityMatrix id="m" in="r.charge">
<party id="a" account="901"/><party id="b" account="902"/>
<row shares="a=1,b=1"/>
</CostResponsibilityMatrix>
<SecondAccountFinalizer id="post" in="m.others"/>"#,
    );
    assert!(refusal(&shared).contains("separated by spaces"), "{}", refusal(&shared));
    let taxed = plan(
        r#"<StepRater id="r" in="record.quantity"><step id="s" price="1" per="1"/></StepRater>
<TaxCalculator id="tax" in="r.charge" table="vat,gst"/>
<AccountFinalizer id="post" in="tax.charge"/>"#,
    );
    assert_eq!(causes(&taxed), [(4, "tax".to_owned(), Cause::BadValue)]);
    let words = plan(
        r#"<UsageTypeClassifier id="c" in="record.quantity" default="z">
<rule as="x" attribute="k" is="a,b"/>
</UsageTypeClassifier>
<Ignore id="i" in="c.out"/>"#,
    );
    assert!(warnings(&words).iter().any(|text| text.contains("is: \"a,b\" is one word")));
}

// Currency codes.

#[test]
fn a_currency_that_iso_4217_does_not_list_is_refused() {
    let fee = r#"<MonthlyRecurringCharge id="fee" amount="1" currency="ZZZ"/>
<CurrencyConverter id="c" in="fee.charge" table="t" to="USD"/>
<AccountFinalizer id="post" in="c.charge"/>"#;
    let example = r#"<example name="x" currency="XTS"><record id="r" type="t" start="2026-01-02T00:00:00Z" quantity="1"/></example>"#;
    let head = rated("quantity", r#"<step id="s" price="1" per="1"/>"#);
    let at = |line: u32, id: &str| [(line, id.to_owned(), Cause::BadValue)];
    for (xml, error) in [
        (head.replace("\"USD\"", "\"ZZZ\""), at(1, "")),
        (plan(fee), at(3, "fee")),
        (head.replace("</plan>", &format!("{example}\n</plan>")), at(6, "")),
    ] {
        assert_eq!(causes(&xml), error, "{xml}");
        assert!(refusal(&xml).contains("ISO 4217"), "{}", refusal(&xml));
        // Accounts may already be rated by a published plan, so it gets only a warning.
        let published = parse_published(&xml).unwrap_or_else(|errors| panic!("{errors}"));
        assert!(published.warnings().iter().any(|w| w.message.contains("ISO 4217")), "{xml}");
        compile(&published, &BTreeMap::new()).unwrap_or_else(|errors| panic!("{errors}"));
    }
    parse(&head.replace("\"USD\"", "\"XCG\"")).unwrap();
}

// Units of quantities.

#[test]
fn bytes_are_not_priced_by_time_nor_time_by_bytes() {
    let hour = r#"<step id="s" price="1" per="1 h"/>"#;
    for input in ["octets", "octets-in", "bytes_out", "bytesUp", "ifInOctets", "quantity"] {
        let xml = rated(input, hour);
        assert_eq!(causes(&xml), [(3, "r".to_owned(), Cause::WrongUnit)], "{input}");
        assert!(parse_published(&xml).is_ok(), "{input}");
    }
    let gigabyte = r#"<step id="s" price="1" per="1 GB"/>"#;
    assert_eq!(causes(&rated("duration", gigabyte)), [(3, "r".to_owned(), Cause::WrongUnit)]);
    for (input, step) in [
        ("octets", gigabyte),
        ("quantity", gigabyte),
        ("quantity", r#"<step id="s" price="1" per="1"/>"#),
        ("octets", r#"<step id="s" price="1" per="1000000000"/>"#),
        ("duration", hour),
        ("ringing", hour),
    ] {
        parse(&rated(input, step)).unwrap_or_else(|errors| panic!("{input}: {errors}"));
    }
}

/// Covers every property that holds a quantity.
#[test]
fn every_property_that_holds_a_quantity_is_of_the_flows_unit() {
    let tail = r#"<Ignore id="i" in="x.out"/>"#;
    let filtered = r#"<Ignore id="i" in="x.pass x.rest"/>"#;
    for (primitive, tail) in [
        (r#"<ThresholdFilter id="x" in="record.octets" above="1 h"/>"#, filtered),
        (r#"<UsageIncrement id="x" in="record.octets" first="1 min" then="1 s"/>"#, tail),
        (
            r#"<Allowance id="x" in="record.quantity"><bucket id="b" grant="100 min" every="month"/></Allowance>"#,
            r#"<Ignore id="i" in="x.rest"/>"#,
        ),
        (
            r#"<MonthlyAccumulator id="a" in="record.octets"/><UsageMonitor id="x" in="a.out" level="a.total" limit="1 h" message="m"/>"#,
            r#"<Ignore id="i" in="x.out"/><AccountFinalizer id="post" in="x.charge"/>"#,
        ),
        (
            r#"<LevelMeter id="x" in="record.octets"><step id="s" price="1" per="1 h"/></LevelMeter>"#,
            r#"<AccountFinalizer id="post" in="x.charge"/>"#,
        ),
        (
            r#"<UsageTypeClassifier id="x" in="record.quantity" default="z"><rule as="a" measure="octets" above="1 h"/></UsageTypeClassifier>"#,
            tail,
        ),
    ] {
        let xml = plan(&format!("{primitive}\n{tail}"));
        let found = causes(&xml);
        let first = found.first().map(|(line, id, cause)| (*line, id.as_str(), *cause));
        assert_eq!(first, Some((3, "x", Cause::WrongUnit)), "{primitive}: {found:?}");
    }
}

#[test]
fn a_plan_may_declare_what_a_measure_counts() {
    let declare =
        |declaration: &str, xml: &str| xml.replacen("<graph>", &format!("{declaration}<graph>"), 1);
    let hour = rated("quantity", r#"<step id="s" price="1" per="1 h"/>"#);
    parse(&declare(r#"<measure name="quantity" unit="time"/>"#, &hour)).unwrap();
    for (declaration, cause) in [
        (r#"<measure name="quantity" unit="bytes"/>"#, Cause::WrongUnit),
        (r#"<measure name="quantity" unit="hours"/>"#, Cause::BadValue),
        (r#"<measure name="quantity"/>"#, Cause::MissingProperty),
        (r#"<measure name="duration" unit="count"/>"#, Cause::WrongUnit),
        (
            r#"<measure name="quantity" unit="time"/><measure name="quantity" unit="time"/>"#,
            Cause::DuplicateId,
        ),
    ] {
        let found = causes(&declare(declaration, &hour));
        assert!(found.iter().any(|(.., found)| *found == cause), "{declaration}: {found:?}");
    }
    let pages = rated("pages", r#"<step id="s" price="1" per="1 MB"/>"#);
    parse(&pages).unwrap();
    let found = causes(&declare(r#"<measure name="pages" unit="count"/>"#, &pages));
    assert_eq!(found, [(3, "r".to_owned(), Cause::WrongUnit)]);
}

#[test]
fn a_measure_has_one_unit_in_a_plan() {
    let xml = plan(
        r#"<UsageTypeSelector id="a" in="record.units" types="x"/>
<UsageTypeSelector id="b" in="record.units" types="y"/>
<StepRater id="time" in="a.pass"><step id="s" price="1" per="1 h"/></StepRater>
<StepRater id="size" in="b.pass"><step id="s" price="1" per="1 MB"/></StepRater>
<AccountFinalizer id="post" in="time.charge size.charge"/>"#,
    );
    let found = causes(&xml);
    assert!(found.iter().all(|(.., cause)| *cause == Cause::WrongUnit), "{found:?}");
    // The unit of `record.quantity` depends on the usage type, so it may differ within a plan.
    parse(&xml.replace("record.units", "record.quantity").replace("1 h", "1")).unwrap();
}

// Default values of parameters.

/// Plans that do not compile with their defaults: (parameters, graph, a parameter and a value with
/// which the plan compiles).
const PLACEHOLDERS: [(&str, &str, (&str, &str)); 7] = [
    (
        r#"<parameter id="limit" type="quantity" value="0"/>"#,
        r#"<StepRater id="r" in="record.quantity"><step id="a" upto="$limit" price="0" per="1"/><step id="b" price="1" per="1"/></StepRater>
<AccountFinalizer id="post" in="r.charge"/>"#,
        ("limit", "100"),
    ),
    (
        r#"<parameter id="limit" type="quantity" value="20 h"/>"#,
        r#"<StepRater id="r" in="record.duration"><step id="a" upto="1 h" price="0" per="1 h"/><step id="b" upto="$limit" price="1" per="1 h"/><step id="c" upto="10 h" price="1" per="1 h"/><step id="d" price="1" per="1 h"/></StepRater>
<AccountFinalizer id="post" in="r.charge"/>"#,
        ("limit", "5 h"),
    ),
    (
        r#"<parameter id="free" type="quantity" value="0 GB"/>"#,
        r#"<Allowance id="a" in="record.octets"><bucket id="b" grant="$free" every="month"/></Allowance><Ignore id="i" in="a.rest"/>"#,
        ("free", "1 GB"),
    ),
    (
        r#"<parameter id="from" type="time" value="00:00"/><parameter id="to" type="time" value="00:00"/>"#,
        r#"<DailyTimeFilter id="f" in="record.quantity" from="$from" to="$to"/><Ignore id="i" in="f.pass f.rest"/>"#,
        ("to", "12:00"),
    ),
    (
        r#"<parameter id="types" type="text" value=" "/>"#,
        r#"<UsageTypeSelector id="s" in="record.quantity" types="$types"/><Ignore id="i" in="s.pass"/>"#,
        ("types", "sms"),
    ),
    (
        r#"<parameter id="kind" type="text" value="none"/>"#,
        r#"<UsageTypeSelector id="s" in="record.quantity" types="call sms"/><UsageTypeSelector id="t" in="s.pass" types="$kind"/><Ignore id="i" in="t.pass t.rest"/>"#,
        ("kind", "sms"),
    ),
    (
        r#"<parameter id="then" type="quantity" value="0"/>"#,
        r#"<UsageIncrement id="u" in="record.quantity" first="1" then="$then"/><Ignore id="i" in="u.out"/>"#,
        ("then", "6"),
    ),
];

#[test]
fn a_plan_whose_defaults_are_placeholders_can_be_published_and_subscriptions_are_checked() {
    for (parameters, graph, (id, value)) in PLACEHOLDERS {
        let xml = plan(graph).replacen("<graph>", &format!("{parameters}<graph>"), 1);
        let plan = parse(&xml).unwrap_or_else(|errors| panic!("{errors}\n{xml}"));
        let told: Vec<String> = plan.warnings().iter().map(ToString::to_string).collect();
        assert!(told.iter().any(|text| text.contains("each subscription must give")), "{told:?}");
        assert!(compile(&plan, &BTreeMap::new()).is_err(), "{xml}");
        let overrides = BTreeMap::from([(id.to_owned(), value.to_owned())]);
        compile(&plan, &overrides).unwrap_or_else(|errors| panic!("{errors}\n{xml}"));
    }
}

#[test]
fn a_plan_that_no_parameter_value_makes_valid_is_refused() {
    let parameter = r#"<parameter id="price" type="money" value="1"/>"#;
    for step in [
        r#"<step id="a" upto="5" price="$price" per="1"/><step id="b" upto="3" price="$price" per="1"/><step id="c" price="1" per="1"/>"#,
        r#"<step id="a" price="$price" per="0"/>"#,
        r#"<step id="a" price="$prize" per="1"/>"#,
    ] {
        let xml = rated("quantity", step).replacen("<graph>", &format!("{parameter}<graph>"), 1);
        assert!(parse(&xml).is_err(), "{step}");
    }
}

// Names of primitives, ports and properties.

#[test]
fn an_unknown_name_is_reported_with_the_nearest_one() {
    let sound = r#"<UsageTypeSelector id="calls" in="record.duration" types="call"/>
<StepRater id="talk" in="calls.pass"><step id="s" price="1" per="1 min"/></StepRater>
<AccountFinalizer id="post" in="talk.charge"/>"#;
    parse(&plan(sound)).unwrap();
    for (from, to, meant) in [
        ("<StepRater id", "<StepRate id", "StepRater"),
        ("calls.pass", "calls.pas", "pass"),
        ("calls.pass", "call.pass", "calls"),
        ("in=\"record.", "in=\"recrod.", "record"),
        ("types=", "type=", "types"),
        ("price=", "prise=", "price"),
        ("<step ", "<stp ", "step"),
        ("1 min", "1 mni", "min"),
        ("<graph>", "<parametr id=\"a\" type=\"money\" value=\"1\"/><graph>", "parameter"),
        ("<graph>", "<parameter id=\"a\" type=\"mony\" value=\"1\"/><graph>", "money"),
        ("currency=", "curency=\"x\" currency=", "currency"),
    ] {
        let xml = plan(sound).replacen(from, to, 1).replace(
            "</StepRater>",
            match from {
                "<StepRater id" => "</StepRate>",
                _ => "</StepRater>",
            },
        );
        let told = refusal(&xml);
        assert!(told.contains(&format!("(did you mean {meant}?)")), "{to}: {told}");
    }
    let parameter = "<parameter id=\"peak-price\" type=\"money\" value=\"1\"/><graph>";
    let xml = plan(sound).replacen("<graph>", parameter, 1);
    let misspelt = xml.replacen("price=\"1\"", "price=\"$peak-prize\"", 1);
    assert!(refusal(&misspelt).contains("(did you mean peak-price?)"), "{}", refusal(&misspelt));
    let overrides = BTreeMap::from([("peakprice".to_owned(), "2".to_owned())]);
    let told = compile(&parse(&xml).unwrap(), &overrides).unwrap_err().to_string();
    assert!(told.contains("(did you mean peak-price?)"), "{told}");
}

// Measures of records.

#[test]
fn a_record_without_the_measure_is_suspended_and_one_of_zero_duration_costs_nothing() {
    let xml = plan(
        r#"<UsageTypeSelector id="calls" in="record.duration" types="call"/>
<StepRater id="talk" in="calls.pass"><step id="talk" price="0.60" per="1 h"/></StepRater>
<AccountFinalizer id="post" in="talk.charge"/>"#,
    );
    let mut account = Subscriber::new(&xml, "UTC");
    let at = "2026-11-30T01:00:00Z";
    let lost = begun("call", at);
    assert_eq!(account.rate(&lost), Err(SuspenseReason::MissingInput));
    assert_eq!(account.rater.detail(SuspenseReason::MissingInput).to_string(), "record.duration");
    let mut misnamed = lost.clone();
    misnamed.attributes.insert("billsec".to_owned(), "3600".to_owned());
    assert_eq!(account.rate(&misnamed), Err(SuspenseReason::MissingInput));
    let mut unanswered = UsageRecord::default();
    unanswered.clone_from(&lost);
    unanswered.state_duration(Some(0));
    assert_eq!(account.lines(&unanswered), []);
    // A record's quantity, or another measure, does not replace a missing duration.
    let mut counted = event("call", at, 5);
    assert_eq!(account.rate(&counted), Err(SuspenseReason::MissingInput));
    assert_eq!(account.rater.detail(SuspenseReason::MissingInput).to_string(), "record.duration");
    counted.measures.insert("billsec".to_owned(), 3600);
    assert_eq!(account.rate(&counted), Err(SuspenseReason::MissingInput));
    counted.state_duration(Some(0));
    assert_eq!(account.lines(&counted), []);
    let hour = session("call", at, "2026-11-30T02:00:00Z");
    assert_eq!(
        account.lines(&hour),
        [("talk".to_owned(), 3_600_000_000, "0.600000000".to_owned())]
    );
    let quantities = rated("quantity", r#"<step id="s" price="1" per="1"/>"#);
    let mut account = Subscriber::new(&quantities, "UTC");
    assert_eq!(account.rate(&hour), Err(SuspenseReason::MissingInput));
    assert_eq!(account.rater.detail(SuspenseReason::MissingInput).to_string(), "record.quantity");
    let mut account = Subscriber::new(&quantities.replace("quantity", "pages"), "UTC");
    assert_eq!(account.rate(&hour), Err(SuspenseReason::MissingInput));
    assert_eq!(account.rater.detail(SuspenseReason::MissingInput).to_string(), "record.pages");
}

// Instants of records.

#[test]
fn an_instant_past_the_last_one_is_refused_with_the_range() {
    let xml = rated("quantity", r#"<step id="s" price="1" per="1"/>"#);
    let example = |start: &str| {
        xml.replacen(
            "</plan>",
            &format!(
                "<example name=\"e\"><record id=\"r\" type=\"t\" start=\"{start}\" quantity=\"1\"/><expect record=\"r\" component=\"s\" amount=\"1\"/></example></plan>"
            ),
            1,
        )
    };
    parse(&example("9999-12-30T21:00:00Z")).unwrap();
    let told = refusal(&example("9999-12-31T23:59:59Z"));
    assert!(told.contains("9999-12-30T22:00:00Z") && !told.contains("no instant"), "{told}");
    assert!(refusal(&example("9999-12-31")).contains("no instant"));
}
