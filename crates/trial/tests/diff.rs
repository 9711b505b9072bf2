//! The differences between two plans, and the state that the newer one loses
//! (docs/plan-semantics.md section 6).
#![allow(clippy::unwrap_used, missing_docs)]

use crate::support;

use support::{hourly, parsed};
use turnpike_trial::{PlanDiff, diff};

/// The difference between the plan `hourly` and the same plan after these text replacements.
fn changed(replacements: &[(&str, &str)]) -> PlanDiff {
    let before = hourly(1, "2026-01-01", "");
    let after = replacements.iter().fold(before.clone(), |xml, (from, to)| {
        assert!(xml.contains(from), "{from}");
        xml.replace(from, to)
    });
    diff(&parsed(&before), &parsed(&after))
}

#[test]
fn a_plan_does_not_differ_from_itself() {
    let same = changed(&[]);
    assert!(same.is_empty() && !same.text_only && same.warnings.is_empty());
    assert_eq!(same.to_string(), "plan hourly version 1 -> hourly version 1\n  no difference\n");
}

#[test]
fn comments_are_no_difference_in_behaviour() {
    let same = changed(&[("<graph>", "<!-- By the hour. --><graph>")]);
    assert!(same.is_empty() && same.text_only);
    assert!(same.to_string().contains("no difference but in comments or order"));
}

#[test]
fn another_default_shows_at_the_parameter_and_at_its_price() {
    let dearer = changed(&[
        ("version=\"1\" starts=\"2026-01-01\"", "version=\"2\" starts=\"2026-04-01\""),
        ("value=\"1.00\"", "value=\"1.20\""),
    ]);
    assert_eq!(
        dearer.to_string(),
        "plan hourly version 1 -> hourly version 2
  ~ version: 1 -> 2
  ~ starts: 2026-01-01 -> 2026-04-01
parameters
  ~ price (parameter)
      value: 1.00 -> 1.20
primitives
  ~ rate (StepRater)
      price of step first: 1.00 -> 1.20
prices
  ~ rate/first: 1.00 per 1 h -> 1.20 per 1 h
"
    );
    assert!(dearer.warnings.is_empty());
}

#[test]
fn steps_are_known_by_their_ids() {
    let tiers = changed(&[
        ("upto=\"10 h\"", "upto=\"20 h\""),
        (
            "<step id=\"more\" price=\"0.50\" per=\"1 h\"/>",
            "<step id=\"rest\" price=\"0.40\" per=\"1 h\"/>",
        ),
    ]);
    assert_eq!(
        tiers.to_string(),
        "plan hourly version 1 -> hourly version 1
primitives
  ~ rate (StepRater)
      upto of step first: 10 h -> 20 h
      step more: per=\"1 h\" price=\"0.50\" -> (none)
      step rest: per=\"1 h\" price=\"0.40\"
prices
  - rate/more: 0.50 per 1 h -> (none)
  + rate/rest: 0.40 per 1 h
"
    );
}

#[test]
fn the_same_price_written_otherwise_is_no_other_price() {
    let otherwise = changed(&[("price=\"0.50\" per=\"1 h\"", "price=\"30.0\" per=\"60 h\"")]);
    assert_eq!(otherwise.primitives.len(), 1);
    assert!(otherwise.prices.is_empty(), "{otherwise}");
}

#[test]
fn a_renamed_accumulator_begins_at_zero() {
    let renamed = changed(&[("\"hours\"", "\"time-used\""), ("hours.", "time-used.")]);
    assert_eq!(
        renamed.warnings,
        [
            "\"hours\" seems to be called \"time-used\" now: its count begins at zero; call it \"hours\" to keep its state"
        ]
    );
    let text = renamed.to_string();
    assert!(
        text.contains("  - hours (MonthlyAccumulator)\n      in: online.pass -> (none)\n"),
        "{text}"
    );
    assert!(text.contains("  + time-used (MonthlyAccumulator)\n      in: online.pass\n"), "{text}");
    assert!(text.contains("      level: hours.total -> time-used.total\n"), "{text}");
}

#[test]
fn a_renamed_charge_is_charged_again() {
    let renamed =
        changed(&[("id=\"setup\"", "id=\"welcome\""), ("setup.charge", "welcome.charge")]);
    let [warning] = renamed.warnings.as_slice() else { panic!("{renamed}") };
    assert!(warning.contains("\"setup\" seems to be called \"welcome\" now"), "{warning}");
    assert!(warning.contains("it is charged again"), "{warning}");
}

#[test]
fn a_removed_element_is_reported() {
    let gone = changed(&[
        (
            "<OneTimeCharge id=\"setup\" trigger=\"online.pass\" amount=\"10.00\" due=\"first-use\"/>",
            "",
        ),
        ("setup.charge ", ""),
    ]);
    let [warning] = gone.warnings.as_slice() else { panic!("{gone}") };
    assert!(warning.starts_with("\"setup\" is removed"), "{warning}");
    assert!(gone.to_string().contains("  - setup: 10.00 once -> (none)\n"), "{gone}");
}

#[test]
fn a_steps_constant_is_state_of_its_own() {
    let constant = |id: &str| {
        let step = format!(
            "<step id=\"{id}\" upto=\"10 h\" price=\"$price\" constant=\"2.00\" per=\"1 h\"/>"
        );
        parsed(
            &hourly(1, "2026-01-01", "")
                .replace("<step id=\"first\" upto=\"10 h\" price=\"$price\" per=\"1 h\"/>", &step),
        )
    };
    let renamed = diff(&constant("first"), &constant("one"));
    assert_eq!(
        renamed.warnings,
        [
            "\"rate/first\" is removed; if it has another id now, its count begins at zero and its constant is charged again"
        ]
    );
    let prices: Vec<_> = renamed.prices.iter().map(|price| price.before.as_deref()).collect();
    assert_eq!(prices, [Some("1.00 per 1 h"), Some("2.00 once per month"), None, None]);
}

#[test]
fn another_unit_begins_at_zero() {
    let octets = changed(&[
        ("in=\"record.duration\"", "in=\"record.quantity\""),
        ("10 h", "10 GB"),
        ("1 h", "1 GB"),
    ]);
    assert_eq!(
        octets.warnings,
        ["\"hours\" counts in byte and counted in us: its count begins at zero"]
    );
}

#[test]
fn another_plan_begins_every_count_at_zero() {
    let other = changed(&[("id=\"hourly\"", "id=\"by-the-hour\"")]);
    let [warning] = other.warnings.as_slice() else { panic!("{other}") };
    assert!(warning.contains("every count begins at zero"), "{warning}");
    assert_eq!(other.head[0].what, "id");
}

#[test]
fn examples_are_compared_by_name() {
    let with = |hours: u32, name: &str| {
        let record = format!(
            "<record id=\"r\" type=\"connect-time\" start=\"2026-03-01T00:00:00Z\" duration=\"{hours} h\"/>"
        );
        parsed(&hourly(1, "2026-01-01", &format!("<example name=\"{name}\">{record}</example>")))
    };
    let longer = diff(&with(1, "x"), &with(2, "x"));
    assert_eq!((longer.examples.len(), longer.examples[0].how), (1, "changed"));
    let renamed = diff(&with(1, "x"), &with(1, "y"));
    let how: Vec<_> = renamed.examples.iter().map(|example| example.how).collect();
    assert_eq!(how, ["removed", "added"]);
    assert!(renamed.primitives.is_empty() && renamed.warnings.is_empty());
}

#[test]
fn a_difference_can_be_written_as_json() {
    let dearer = changed(&[("value=\"1.00\"", "value=\"1.20\"")]);
    let json = serde_json::to_value(&dearer).unwrap();
    assert_eq!(json["prices"][0]["after"], "1.20 per 1 h");
    assert_eq!(json["parameters"][0]["how"], "changed");
}

#[test]
fn another_currency_is_shown_in_the_head_at_every_price_and_at_continued_sums() {
    let plan = |currency: &str| {
        parsed(&format!(
            r#"<plan xmlns="urn:turnpike:plan:1" id="capped" version="1" starts="2026-01-01" currency="{currency}">
  <graph>
    <StepRater id="rate" in="record.quantity"><step id="unit" price="1.00" per="1"/></StepRater>
    <Cap id="limit" in="rate.charge" amount="10.00" per="month"/>
    <AccountFinalizer id="post" in="limit.charge"/>
  </graph>
</plan>"#
        ))
    };
    let moved = diff(&plan("USD"), &plan("EUR"));
    let text = moved.to_string();
    for said in [
        "  ~ currency: USD -> EUR",
        "rate/unit: USD 1.00 per 1 -> EUR 1.00 per 1",
        "\"limit\" sums in EUR and summed in USD",
        "usage of the subscribed accounts that are billed in USD waits as currency-mismatch",
    ] {
        assert!(text.contains(said), "{said:?} is not in\n{text}");
    }
    // Every plan also has components for options and bonuses; they are not prices of the plan
    // itself.
    let of: Vec<&str> = moved.prices.iter().map(|price| price.primitive.as_str()).collect();
    assert_eq!(of, ["rate", "limit"], "{text}");
}

#[test]
fn every_attribute_of_the_head_shows() {
    let head = "id=\"hourly\" version=\"1\"";
    let changed =
        changed(&[(head, "id=\"hourly\" version=\"1\" round=\"9 running\" state=\"daily\"")]);
    let told: Vec<String> = changed.head.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["round: 9 half-even -> 9 running", "state: hourly -> daily"]);
}

/// The report contains no debug output of Rust, such as `Some(`, braces or quoted names of enums.
#[test]
fn a_changed_example_is_reported_in_the_words_of_its_author() {
    let with = |settings: &str, hours: u32, expected: &str| {
        parsed(&hourly(
            1,
            "2026-01-01",
            &format!(
                "<example name=\"x\" {settings}><record id=\"r\" type=\"connect-time\" \
                 start=\"2026-03-01T00:00:00Z\" duration=\"{hours} h\" attribute.level=\"gold\"/>\
                 {expected}</example>"
            ),
        ))
    };
    let suspended = "<expect record=\"r\" suspended=\"no-plan\"/>";
    let before = with("since=\"2026-02-01\" zone=\"Europe/Zurich\"", 1, suspended);
    let after = with("until=\"2026-04-01\" cycle-day=\"15\" currency=\"EUR\"", 2, "");
    let text = diff(&before, &after).to_string();
    for said in [
        "zone: Europe/Zurich -> UTC",
        "cycle-day: 1 -> 15",
        "currency: USD -> EUR",
        "since: 2026-02-01 -> (none)",
        "until: 2026-04-01",
        "record r: connect-time, account 1, start 2026-03-01T01:00:00+01:00, duration 3600 s, level=\"gold\" -> \
         connect-time, account 1, start 2026-03-01T00:00:00+00:00, duration 7200 s, level=\"gold\"",
        "expect record r: suspended no-plan -> (none)",
    ] {
        assert!(text.contains(said), "{said:?} is not in\n{text}");
    }
    for debug in ["Some(", "None", "{", "}", "PerLine", "Exact", "AccountNumber", "\\\""] {
        assert!(!text.contains(debug), "{debug:?} is in\n{text}");
    }
}
