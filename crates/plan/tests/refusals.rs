//! Every kind of unsound plan is refused with the primitive and its line
//! (docs/architecture.md section 7). Graphs here begin on line 3 of the document.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support;

use std::collections::BTreeMap;

use support::plan;
use turnpike_plan::{Cause, PlanErrors, compile, parse};

const SELECT: &str = r#"<UsageTypeSelector id="all" in="record.duration" types="t"/>"#;
const RATE: &str =
    r#"<StepRater id="rate" in="all.pass"><step id="s" price="1" per="1 h"/></StepRater>"#;
const POST: &str = r#"<AccountFinalizer id="post" in="rate.charge"/>"#;

/// Parses a plan that must be refused. Returns (line, primitive, cause) of every error.
fn errors(xml: &str) -> Vec<(u32, String, Cause)> {
    let PlanErrors(errors) = parse(xml).expect_err("the plan must be refused");
    errors
        .into_iter()
        .map(|error| (error.line, error.primitive.unwrap_or_default(), error.cause))
        .collect()
}

fn refused(lines: &[&str], line: u32, primitive: &str, cause: Cause) {
    let found = errors(&plan(&lines.join("\n")));
    assert_eq!(found, [(line, primitive.to_owned(), cause)]);
}

/// Asserts that a rater with these steps, one per line from line 5, is refused.
fn steps_refused(steps: &[&str], line: u32, cause: Cause) {
    let rater =
        format!("<StepRater id=\"rate\" in=\"all.pass\">\n{}\n</StepRater>", steps.join("\n"));
    refused(&[SELECT, &rater, POST, r#"<Ignore id="rest" in="rate.rest"/>"#], line, "rate", cause);
}

#[test]
fn the_plan_that_the_refused_ones_derive_from_is_accepted() {
    parse(&plan(&[SELECT, RATE, POST].join("\n"))).unwrap();
}

#[test]
fn xml_that_is_not_well_formed() {
    let cases = [
        ("<plan>", 1),
        ("<plan xmlns=\"urn:turnpike:plan:1\">\n<graph>\n</plan>", 3),
        ("<plan xmlns=\"urn:turnpike:plan:1\">\n\n&unknown;</plan>", 3),
        ("<!DOCTYPE plan [<!ENTITY a \"b\">]>\n<plan/>", 1),
        ("<plan xmlns=\"urn:turnpike:plan:1\" id=\"a\" id=\"b\"/>", 1),
        ("", 1),
        ("<plan xmlns=\"urn:turnpike:plan:2\"/>", 1),
        ("<plan xmlns=\"urn:turnpike:plan:1\"/>\n<plan xmlns=\"urn:turnpike:plan:1\"/>", 2),
    ];
    for (xml, line) in cases {
        assert_eq!(errors(xml), [(line, String::new(), Cause::Malformed)], "{xml}");
    }
}

#[test]
fn a_document_past_its_limits() {
    let large = plan(&" ".repeat(turnpike_types::limits::PLAN_XML_BYTES_MAX));
    assert_eq!(errors(&large), [(1, String::new(), Cause::TooLarge)]);
    let deep = plan(&"<a>".repeat(100_000));
    assert_eq!(errors(&deep), [(3, String::new(), Cause::TooLarge)]);
    let many: String =
        (0..600).map(|n| format!("<Ignore id=\"i{n}\" in=\"record.quantity\"/>\n")).collect();
    assert_eq!(errors(&plan(&many)), [(3 + 512, String::new(), Cause::TooLarge)]);
}

#[test]
fn a_head_that_is_missing_or_wrong() {
    let head = |attributes: &str| {
        let xml = plan(&[SELECT, RATE, POST].join("\n"));
        xml.replacen("id=\"p\" version=\"1\" starts=\"2026-01-01\" currency=\"USD\"", attributes, 1)
    };
    let good = "id=\"p\" version=\"1\" starts=\"2026-01-01\" currency=\"USD\"";
    parse(&head(&format!("{good} round=\"0 half-even\" "))).unwrap();
    let cases = [
        ("", vec![Cause::MissingProperty; 4]),
        ("id=\"p\" version=\"0\" starts=\"2026-02-30\" currency=\"usd\"", vec![Cause::BadValue; 3]),
        (&format!("{good} round=\"10 half-even\""), vec![Cause::BadValue]),
        (&format!("{good} round=\"9 up\""), vec![Cause::BadValue]),
        (&format!("{good} supersedes=\"1\""), vec![Cause::BadValue]),
        (&format!("{good} colour=\"red\""), vec![Cause::UnknownProperty]),
    ];
    for (attributes, causes) in cases {
        let found: Vec<Cause> = errors(&head(attributes)).into_iter().map(|e| e.2).collect();
        assert_eq!(found, causes, "{attributes}");
    }
}

#[test]
fn a_type_that_exists_nowhere() {
    refused(&[SELECT, RATE, POST, r#"<Magic id="m" in="all.pass"/>"#], 6, "m", Cause::UnknownType);
}

#[test]
fn a_charge_triggered_by_an_unconnected_input_is_refused() {
    for kind in ["OneTimeCharge", "MonthlyRecurringCharge"] {
        let fee = format!("<{kind} id=\"fee\" amount=\"5\" due=\"first-use\"/>");
        let post = r#"<AccountFinalizer id="post" in="rate.charge fee.charge"/>"#;
        refused(&[SELECT, RATE, &fee, post], 5, "fee", Cause::OpenInput);
    }
}

#[test]
fn an_id_taken_twice_or_reserved() {
    refused(&[SELECT, SELECT, RATE, POST], 4, "all", Cause::DuplicateId);
    refused(
        &[SELECT, RATE, POST, r#"<Ignore id="record" in="all.pass"/>"#],
        6,
        "record",
        Cause::DuplicateId,
    );
}

#[test]
fn a_link_to_nothing() {
    for link in ["nobody.pass", "all.left", "all", "all.", ".pass", "rate.charge"] {
        let ignore = format!("<Ignore id=\"i\" in=\"{link}\"/>");
        let xml = plan(&[SELECT, RATE, POST, &ignore].join("\n"));
        let found = errors(&xml);
        assert!(found.contains(&(6, "i".to_owned(), Cause::UnknownReference)), "{link}: {found:?}");
    }
}

#[test]
fn an_input_that_nothing_feeds() {
    refused(&[SELECT, RATE, POST, r#"<Ignore id="i"/>"#], 6, "i", Cause::OpenInput);
    refused(&[SELECT, RATE, POST, r#"<Ignore id="i" in=" "/>"#], 6, "i", Cause::OpenInput);
}

/// docs/plan-semantics.md section 2: every output for units must be linked, except the output
/// `rest` of a selector whose input is a measure of the record.
#[test]
fn a_usage_port_that_nothing_takes() {
    let filter = r#"<DailyTimeFilter id="f" in="all.pass" from="08:00" to="12:00"/>"#;
    let takes = r#"<Ignore id="i" in="f.pass"/>"#;
    refused(&[SELECT, RATE, POST, filter, takes], 6, "f", Cause::OpenUsage);
    let second = r#"<UsageTypeSelector id="again" in="all.pass" types="t"/>"#;
    refused(
        &[SELECT, RATE, POST, second, r#"<Ignore id="i" in="again.pass"/>"#],
        6,
        "again",
        Cause::OpenUsage,
    );
    refused(
        &[SELECT, RATE, POST, r#"<MonthlyAccumulator id="a" in="all.pass"/>"#],
        6,
        "a",
        Cause::OpenUsage,
    );
    let bounded = r#"<StepRater id="rate" in="all.pass"><step id="s" upto="1 h" price="1" per="1 h"/></StepRater>"#;
    refused(&[SELECT, bounded, POST], 4, "rate", Cause::OpenUsage);
}

#[test]
fn a_charge_that_reaches_no_finalizer() {
    refused(&[SELECT, RATE], 4, "rate", Cause::OpenCharge);
    refused(&[SELECT, RATE, r#"<Adder id="sum" in="rate.charge"/>"#], 5, "sum", Cause::OpenCharge);
}

#[test]
fn a_charge_taken_twice() {
    refused(
        &[SELECT, RATE, POST, r#"<AccountFinalizer id="again" in="rate.charge"/>"#],
        4,
        "rate",
        Cause::ChargeTwice,
    );
}

#[test]
fn primitives_in_a_ring() {
    let ring = [
        SELECT,
        RATE,
        POST,
        r#"<MonthlyAccumulator id="a" in="all.pass c.out"/>"#,
        r#"<MonthlyAccumulator id="b" in="a.out"/>"#,
        r#"<MonthlyAccumulator id="c" in="b.out"/>"#,
    ];
    refused(&ring, 6, "a", Cause::Cycle);
    let message = parse(&plan(&ring.join("\n"))).unwrap_err().to_string();
    assert!(message.contains("a -> b -> c -> a"), "{message}");
    let itself = r#"<MonthlyAccumulator id="a" in="a.out"/>"#;
    refused(&[SELECT, RATE, POST, itself], 6, "a", Cause::Cycle);
}

#[test]
fn a_property_that_is_missing_unknown_or_wrong() {
    refused(
        &[
            SELECT,
            RATE,
            POST,
            r#"<DailyTimeFilter id="f" in="all.pass" from="08:00"/>"#,
            r#"<Ignore id="i" in="f.pass f.rest"/>"#,
        ],
        6,
        "f",
        Cause::MissingProperty,
    );
    refused(
        &[SELECT, RATE, POST, r#"<Ignore id="i" in="all.pass" colour="red"/>"#],
        6,
        "i",
        Cause::UnknownProperty,
    );
    refused(
        &[SELECT, RATE, POST, r#"<Ignore id="i" in="all.pass"><step/></Ignore>"#],
        6,
        "i",
        Cause::UnknownProperty,
    );
    refused(
        &[
            SELECT,
            RATE,
            POST,
            r#"<DailyTimeFilter id="f" in="all.pass" from="8" to="12:00"/>"#,
            r#"<Ignore id="i" in="f.pass f.rest"/>"#,
        ],
        6,
        "f",
        Cause::BadValue,
    );
    refused(
        &[
            SELECT,
            r#"<StepRater id="rate" in="all.pass"/>"#,
            POST,
            r#"<Ignore id="i" in="rate.rest"/>"#,
        ],
        4,
        "rate",
        Cause::MissingProperty,
    );
}

#[test]
fn invalid_numbers_are_refused() {
    for price in ["", "free", "-1", "1e3", "1,5", "١", "1.", "99999999999999999999999999999"] {
        steps_refused(
            &[&format!("<step id=\"s\" upto=\"1 h\" price=\"{price}\" per=\"1 h\"/>")],
            5,
            Cause::BadValue,
        );
    }
    for per in ["0 h", "1 fortnight", "0.1 us", ""] {
        steps_refused(
            &[&format!("<step id=\"s\" upto=\"1 h\" price=\"1\" per=\"{per}\"/>")],
            5,
            Cause::BadValue,
        );
    }
}

/// docs/plan-semantics.md section 4: steps are half open on the level and contiguous.
#[test]
fn tiers_that_overlap_leave_a_gap_or_are_out_of_order() {
    let a = r#"<step id="a" upto="2 h" price="1" per="1 h"/>"#;
    let cases = [
        r#"<step id="b" from="3 h" upto="4 h" price="1" per="1 h"/>"#,
        r#"<step id="b" from="1 h" upto="4 h" price="1" per="1 h"/>"#,
        r#"<step id="b" upto="1 h" price="1" per="1 h"/>"#,
        r#"<step id="b" upto="2 h" price="1" per="1 h"/>"#,
    ];
    for b in cases {
        steps_refused(
            &[a, b, r#"<step id="c" upto="9 h" price="1" per="1 h"/>"#],
            6,
            Cause::BadTiers,
        );
    }
    let endless = r#"<step id="z" price="1" per="1 h"/>"#;
    steps_refused(&[endless, a], 6, Cause::BadTiers);
    let again = r#"<step id="a" upto="3 h" price="1" per="1 h"/>"#;
    steps_refused(&[a, again], 6, Cause::DuplicateId);
}

#[test]
fn a_filter_that_nothing_can_pass() {
    let ignore = r#"<Ignore id="i" in="f.pass f.rest"/>"#;
    let filter = r#"<DailyTimeFilter id="f" in="all.pass" from="08:00" to="08:00"/>"#;
    refused(&[SELECT, RATE, POST, filter, ignore], 6, "f", Cause::NothingPasses);
    let selector = r#"<UsageTypeSelector id="f" in="record.duration" types=" "/>"#;
    refused(&[SELECT, RATE, POST, selector, ignore], 6, "f", Cause::NothingPasses);
}

#[test]
fn units_that_do_not_fit_the_flow() {
    for per in ["1 GB", "1"] {
        steps_refused(
            &[&format!("<step id=\"s\" upto=\"1 h\" price=\"1\" per=\"{per}\"/>")],
            5,
            Cause::WrongUnit,
        );
    }
    let octets = SELECT.replace("duration", "octets");
    let steps = "<StepRater id=\"rate\" in=\"all.pass\">\n<step id=\"a\" upto=\"1 GB\" price=\"1\" per=\"1 MB\"/>\n<step id=\"b\" price=\"1\" per=\"1 h\"/>\n</StepRater>";
    refused(&[&octets, steps, POST], 6, "rate", Cause::WrongUnit);
}

/// docs/plan-semantics.md section 2: each measure is apportioned by itself, so the links into one
/// input must not carry units of two measures.
#[test]
fn units_of_two_measures_in_one_flow() {
    let mixed =
        r#"<UsageTypeSelector id="all" in="record.octets-in record.octets-out" types="t"/>"#;
    let rate = RATE.replace("1 h", "1 MB");
    refused(&[mixed, &rate, POST], 3, "all", Cause::WrongUnit);
}

#[test]
fn charges_of_two_currencies() {
    let euros =
        r#"<OneTimeCharge id="fee" trigger="all.pass" amount="1" due="first-use" currency="EUR"/>"#;
    let adder = r#"<Adder id="sum" in="rate.charge fee.charge"/>"#;
    let post = r#"<AccountFinalizer id="post" in="sum.charge"/>"#;
    refused(&[SELECT, RATE, euros, adder, post], 6, "sum", Cause::MixedCurrencies);
    let post = r#"<AccountFinalizer id="post2" in="fee.charge"/>"#;
    refused(&[SELECT, RATE, POST, euros, post], 7, "post2", Cause::MixedCurrencies);
}

#[test]
fn a_parameter_that_is_not_declared() {
    steps_refused(
        &[r#"<step id="s" upto="1 h" price="$price" per="1 h"/>"#],
        5,
        Cause::UnknownParameter,
    );
}

#[test]
fn a_parameter_whose_default_is_not_of_its_type() {
    let parameter = "<parameter id=\"price\" type=\"money\" value=\"dear\"/>\n<graph>";
    let xml = plan(&[SELECT, RATE, POST].join("\n")).replacen("<graph>", parameter, 1);
    assert_eq!(errors(&xml), [(2, String::new(), Cause::BadValue)]);
}

#[test]
fn weights_that_contradict_each_other() {
    let weigher = "<Weigher id=\"w\" in=\"all.pass\" attribute=\"f\">\n<weight value=\"a\" weight=\"1\"/>\n<weight value=\"a\" weight=\"2\"/>\n</Weigher>";
    refused(
        &[SELECT, RATE, POST, weigher, r#"<Ignore id="i" in="w.out"/>"#],
        8,
        "w",
        Cause::DuplicateId,
    );
    let half = "<Weigher id=\"w\" in=\"all.pass\" attribute=\"f\">\n<weight value=\"a\" weight=\"0.5\"/>\n</Weigher>";
    refused(&[SELECT, RATE, POST, half, r#"<Ignore id="i" in="w.out"/>"#], 7, "w", Cause::BadValue);
}

#[test]
fn several_errors_are_reported_at_once_in_the_order_of_the_document() {
    let graph = [
        r#"<UsageTypeSelector id="all" in="record.duration"/>"#,
        r#"<StepRater id="rate" in="all.gone"><step id="s" price="x" per="1 h"/></StepRater>"#,
        r#"<Adder id="sum" in="rate.charge"/>"#,
    ];
    let found = errors(&plan(&graph.join("\n")));
    let lines: Vec<u32> = found.iter().map(|error| error.0).collect();
    assert!(
        lines.is_sorted() && lines.contains(&3) && lines.contains(&4) && lines.contains(&5),
        "{found:?}"
    );
}

#[test]
fn an_override_that_the_plan_does_not_declare_or_that_makes_it_impossible() {
    let xml = include_str!("data/fig6b.xml");
    let plan = parse(xml).unwrap();
    let with = |id: &str, value: &str| {
        compile(&plan, &BTreeMap::from([(id.to_owned(), value.to_owned())])).map(drop)
    };
    with("peak-price", "0.75").unwrap();
    assert_eq!(with("off-peak-price", "1").unwrap_err().0[0].cause, Cause::UnknownParameter);
    let error = with("peak-price", "cheap").unwrap_err();
    assert_eq!(error.0[0].cause, Cause::BadValue);
    assert!(error.to_string().starts_with("overrides: parameter peak-price"), "{error}");
}

#[test]
fn a_unit_that_may_count_twice_is_a_warning_unless_the_paths_exclude_each_other() {
    let filter = r#"<DailyTimeFilter id="f" in="all.pass" from="08:00" to="12:00"/>"#;
    let warned = |links: &str| {
        let rate = format!(
            "<StepRater id=\"rate\" in=\"{links}\"><step id=\"s\" price=\"1\" per=\"1 us\"/></StepRater>"
        );
        let rest = r#"<Ignore id="i" in="f.pass f.rest"/>"#;
        let plan = parse(&plan(&[SELECT, filter, &rate, POST, rest].join("\n"))).unwrap();
        plan.warnings()
            .iter()
            .any(|warning| warning.primitive.as_deref() == Some("rate") && warning.line == 5)
    };
    assert!(!warned("f.pass f.rest"));
    assert!(warned("f.pass all.pass"));
    assert!(warned("f.pass f.pass"));
}

#[test]
fn the_hash_of_a_plan_leaves_out_layout_and_white_space_and_keeps_the_rest() {
    let xml = include_str!("data/fig6b.xml");
    let hash = |xml: &str| parse(xml).unwrap().content_hash();
    let same = xml.replace("x=\"40\"", "x=\"80\"").replace("\n    ", "\n\t");
    assert_eq!(hash(xml), hash(&same));
    let swapped = xml.replace("id=\"fig6b\" version=\"1\"", "version=\"1\" id=\"fig6b\"");
    assert_eq!(hash(xml), hash(&swapped));
    assert_ne!(hash(xml), hash(&xml.replace("0.25", "0.26")));
    assert_ne!(hash(xml), hash(&xml.replace("<graph>", "<graph><!-- why -->")));
}

/// docs/plan-semantics.md section 3: a small record is one of a minute, a megabyte, or one count.
#[test]
fn a_price_that_small_records_lose_by_rounding_and_an_unused_parameter_are_warnings() {
    let parameter = "<parameter id=\"old\" type=\"text\" value=\"x\"/>\n<graph>";
    let warned = |price: &str, per: &str, round: &str| {
        let xml = plan(&[SELECT, RATE, POST].join("\n"));
        let xml =
            xml.replace("price=\"1\" per=\"1 h\"", &format!("price=\"{price}\" per=\"{per}\""));
        let xml = xml.replacen("<graph>", parameter, 1);
        let plan = parse(&xml.replacen("currency=", &format!("round=\"{round}\" currency="), 1));
        let plan = plan.unwrap_or_else(|errors| panic!("{errors}"));
        let lines: Vec<u32> = plan.warnings().iter().map(|warning| warning.line).collect();
        assert_eq!(lines[0], 2);
        match plan.warnings() {
            [_] => None,
            [_, rate] => Some(rate.to_string()),
            more => panic!("{more:?}"),
        }
    };
    for price in ["0.60", "0.50", "0.01", "0.000001", "0", "3"] {
        assert_eq!(warned(price, "1 h", "9 half-even"), None, "{price}");
    }
    assert_eq!(warned("0.02", "1 min", "2 half-even"), None);
    let lost = warned("0.000000001", "1 h", "9 half-even").unwrap();
    let told =
        "line 5, primitive \"rate\": at 0.000000001 per 1 h a record of 1 min costs 0.000000000";
    assert!(lost.starts_with(told), "{lost}");
    let rounded = warned("0.50", "1 h", "2 half-even").unwrap();
    assert!(rounded.contains("costs 0.01"), "{rounded}");
}

#[test]
fn more_steps_than_a_plan_may_have() {
    let steps: String = (0..5000)
        .map(|n| format!("<step id=\"s{n}\" upto=\"{} us\" price=\"1\" per=\"1 us\"/>\n", n + 1))
        .collect();
    let rater = format!("<StepRater id=\"rate\" in=\"all.pass\">\n{steps}</StepRater>");
    let rest = r#"<Ignore id="rest" in="rate.rest"/>"#;
    refused(&[SELECT, &rater, POST, rest], 5 + 4096, "rate", Cause::TooLarge);
}
