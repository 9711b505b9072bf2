//! Reading a plan's examples (docs/plan-semantics.md section 9): examples that are accepted, and
//! errors with their line numbers.
#![allow(clippy::unwrap_used, missing_docs)]

use turnpike_plan::{Cause, Example, ExampleBody, Expected, Tolerance, Unit, parse};
use turnpike_types::{AccountNumber, SuspenseReason};

/// A plan with the given example, which begins on line 9.
fn plan(example: &str) -> String {
    format!(
        r#"<plan xmlns="urn:turnpike:plan:1" id="p" version="1" starts="2026-01-01" currency="USD">
  <parameter id="price" type="money" value="1.00"/>
  <graph>
    <UsageTypeSelector id="online" in="record.duration" types="connect-time"/>
    <StepRater id="rate" in="online.pass"><step id="peak" price="$price" per="1 h"/></StepRater>
    <AccountFinalizer id="post" in="rate.charge"/>
  </graph>
  <!-- What it comes to. -->
{example}
</plan>"#
    )
}

fn examples(example: &str) -> Vec<Example> {
    parse(&plan(example)).unwrap_or_else(|errors| panic!("{errors}")).examples().to_vec()
}

/// Asserts that one of the errors has this line number, this cause and this part of a message.
#[track_caller]
fn refused(example: &str, line: u32, cause: Cause, words: &str) {
    let errors = parse(&plan(example)).unwrap_err();
    let found = errors
        .0
        .iter()
        .any(|error| error.line == line && error.cause == cause && error.message.contains(words));
    assert!(found, "{line} {cause:?} {words:?} is not in\n{errors:?}");
}

const RECORD: &str =
    r#"<record id="r1" type="connect-time" start="2026-03-01T18:00:00Z" duration="2 h"/>"#;

#[test]
fn an_example_by_files_names_them_and_the_account_settings() {
    let found = examples(
        r#"<example name="a year" usage="u.csv" expect="e.csv" zone="America/New_York" cycle-day="15"
            currency="EUR" since="2026-01-01" cancelled="2026-03-01" until="2026-04-03" parameter.price="2.50" tolerance="per-line"/>"#,
    );
    let [example] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((example.name.as_str(), example.line), ("a year", 9));
    let files = ExampleBody::Files { usage: "u.csv".into(), expect: "e.csv".into() };
    assert_eq!(example.body, files);
    assert_eq!(example.tolerance, Tolerance::PerLine);
    let settings = &example.settings;
    assert_eq!((settings.zone.name(), settings.cycle_day), ("America/New_York", 15));
    assert_eq!(settings.currency.as_str(), "EUR");
    assert_eq!(settings.since.unwrap().to_string(), "2026-01-01");
    assert_eq!(settings.cancelled.unwrap().to_string(), "2026-03-01");
    assert_eq!(settings.until.unwrap().to_string(), "2026-04-03");
    assert_eq!(settings.parameters["price"], "2.50");
}

#[test]
fn unstated_fields_of_an_example_have_defaults() {
    let found = examples(&format!(
        "<example>{RECORD}</example><example usage=\"u.jsonl\" expect=\"e.csv\"/>"
    ));
    let names: Vec<&str> = found.iter().map(|example| example.name.as_str()).collect();
    assert_eq!(names, ["example 1", "example 2"]);
    let settings = &found[0].settings;
    assert_eq!((settings.zone.name(), settings.cycle_day), ("UTC", 1));
    assert_eq!((settings.currency.as_str(), settings.since), ("USD", None));
    assert_eq!(found[0].tolerance, Tolerance::Exact);
}

#[test]
fn an_inline_example_holds_accounts_records_and_expected_lines() {
    let found = examples(
        r#"<example name="two hours" zone="Europe/Zurich">
  <account number="42" service-level="gold"/>
  <record id="r1" type="connect-time" start="2026-03-01T18:00:00Z" end="2026-03-01T20:00:00Z"
     quantity="5" attribute.target="x" measure.pages="3"/>
  <record id="r2" type="mail" start="2026-03-01T18:00:00.000001Z" account="7"/>
  <expect record="r1" component="rate/peak" quantity="7200 s" amount="2.00"/>
  <expect record="r2" suspended="unknown-account"/>
  <total amount="2.00"/>
</example>"#,
    );
    let ExampleBody::Inline(inline) = &found[0].body else { panic!("{found:?}") };
    assert_eq!(inline.accounts[0].attributes["service-level"], "gold");
    let [first, second] = inline.records.as_slice() else { panic!("{inline:?}") };
    assert_eq!((first.line, first.record.account), (11, AccountNumber(42)));
    assert_eq!((first.record.duration_us, first.record.quantity), (7_200_000_000, Some(5)));
    assert_eq!(first.record.attributes["target"], "x");
    assert_eq!(first.record.measures["pages"], 3);
    assert_eq!((second.record.account, second.record.duration_us), (AccountNumber(7), 0));
    let Expected::Lines { component, quantity, amount, .. } = &inline.expectations[0].expected
    else {
        panic!("{inline:?}")
    };
    let quantity = quantity.as_ref().unwrap();
    assert_eq!(component, "rate/peak");
    assert_eq!((quantity.base, quantity.unit), (7_200_000_000, Some(Unit::Microsecond)));
    assert_eq!(amount.unwrap().to_string(), "2.000000000");
    let suspended = Expected::Suspended(SuspenseReason::UnknownAccount);
    assert_eq!(inline.expectations[1].expected, suspended);
    assert_eq!(inline.totals[0].account, AccountNumber(42));
}

/// An expectation for a due charge has a date instead of a record, and needs no usage.
#[test]
fn an_example_may_expect_what_falls_due_where_it_goes_and_that_it_is_late() {
    let found = examples(&format!(
        r#"<example since="2026-01-15" until="2026-03-01">
  <expect due="2026-02-01" component="monthly" amount="20.00"/>
  <expect due="2026-03-01" component="monthly" posting="nobody"/>
</example>
<example>{RECORD}<expect record="r1" component="peak" posting="second-account" late="true"/></example>"#
    ));
    let ExampleBody::Inline(due) = &found[0].body else { panic!("{found:?}") };
    let on = due.expectations.iter().map(|expected| expected.of.to_string());
    assert_eq!(on.collect::<Vec<_>>(), ["due 2026-02-01", "due 2026-03-01"]);
    let Expected::Lines { posting, .. } = due.expectations[1].expected else { panic!("{due:?}") };
    assert_eq!(posting, Some("nobody"));
    let ExampleBody::Inline(used) = &found[1].body else { panic!("{found:?}") };
    assert_eq!(used.expectations[0].late, Some(true));
    let inline = |more: &str| format!("<example>\n{RECORD}\n{more}\n</example>");
    let says = |attributes: &str| inline(&format!("<expect {attributes}/>"));
    refused(
        &says(r#"record="r1" due="2026-02-01" component="peak""#),
        11,
        Cause::BadValue,
        "does not fall due",
    );
    refused(&says(r#"due="soon" component="peak""#), 11, Cause::BadValue, "soon");
    refused(
        &says(r#"record="r1" component="peak" posting="mars""#),
        11,
        Cause::BadValue,
        "no posting",
    );
    refused(&says(r#"record="r1" component="peak" late="so""#), 11, Cause::BadValue, "neither");
    refused(
        &says(r#"record="r1" late="true" suspended="no-plan""#),
        11,
        Cause::BadValue,
        "no lines",
    );
}

#[test]
fn files_must_be_beside_the_plan() {
    for name in ["/etc/passwd", "../u.csv", "a/u.csv", "a\\u.csv", ".csv", "u.xml", ""] {
        let example = format!("<example usage=\"{name}\" expect=\"e.csv\"/>");
        refused(&example, 9, Cause::BadValue, "beside the plan");
    }
    refused("<example usage=\"u.csv\"/>", 9, Cause::MissingProperty, "expect");
    let both = format!("<example usage=\"u.csv\" expect=\"e.csv\">\n{RECORD}</example>");
    refused(&both, 10, Cause::UnknownProperty, "record");
}

#[test]
fn malformed_examples_are_refused_on_their_line() {
    let inline = |more: &str| format!("<example>\n{RECORD}\n{more}\n</example>");
    let no_usage = "<example><total account=\"1\" amount=\"0\"/></example>";
    refused(no_usage, 9, Cause::MissingProperty, "no usage");
    refused("<example zone=\"Atlantis\"/>", 9, Cause::BadValue, "time zone");
    refused("<example cycle-day=\"32\"/>", 9, Cause::BadValue, "1 to 31");
    refused("<example colour=\"red\"/>", 9, Cause::UnknownProperty, "colour");
    refused("<example parameter.colour=\"red\"/>", 9, Cause::UnknownParameter, "colour");
    refused("<example parameter.price=\"red\"/>", 9, Cause::BadValue, "not a number");
    let backwards = "<example since=\"2026-03-01\" cancelled=\"2026-03-01\"/>";
    refused(backwards, 9, Cause::BadValue, "not after since");
    refused(&inline("<expects/>"), 11, Cause::UnknownProperty, "expects");
    refused(&inline(RECORD), 11, Cause::DuplicateId, "record r1 occurs twice");
    refused(
        &inline(r#"<record id="r2" type="x" start="2026-03-01"/>"#),
        11,
        Cause::BadValue,
        "no instant",
    );
    refused(
        &inline(r#"<record id="r2" type="x" start="2026-03-01T00:00:00Z" duration="5"/>"#),
        11,
        Cause::BadValue,
        "with its unit",
    );
    refused(
        &inline(
            r#"<record id="r2" type="x" start="2026-03-01T00:00:00Z" end="2026-02-01T00:00:00Z"/>"#,
        ),
        11,
        Cause::BadValue,
        "before its start",
    );
    refused(
        &inline(r#"<record id="r2" type="turnpike.x" start="2026-03-01T00:00:00Z"/>"#),
        11,
        Cause::BadValue,
        "reserved for the cluster",
    );
    let expect = |more: &str| inline(&format!("<expect record=\"r1\" {more}/>"));
    refused(&expect(""), 11, Cause::MissingProperty, "component");
    refused(&expect("suspended=\"boredom\""), 11, Cause::BadValue, "not-accepted");
    let both = expect("component=\"peak\" suspended=\"no-plan\"");
    refused(&both, 11, Cause::BadValue, "no lines");
    refused(&expect("component=\"peak\" amount=\"1.0000000001\""), 11, Cause::BadValue, "finer");
    refused(&expect("component=\"peak\" quantity=\"1 m\""), 11, Cause::BadValue, "unknown unit");
    refused(&expect("component=\"peak\" price=\"1\""), 11, Cause::UnknownProperty, "price");
    let unheard = inline("<expect record=\"r9\" component=\"peak\"/>");
    refused(&unheard, 11, Cause::UnknownReference, "no record r9: it has r1");
    let twice = inline(
        "<expect record=\"r1\" component=\"peak\"/><expect record=\"r1\" component=\"peak\"/>",
    );
    refused(&twice, 11, Cause::DuplicateId, "keep one");
    let whose = inline("<account number=\"1\"/><account number=\"2\"/>");
    refused(&whose, 10, Cause::MissingProperty, "2 accounts");
    refused(&inline("loose words"), 10, Cause::Malformed, "text between elements");
}

#[test]
fn two_examples_of_one_name_are_refused() {
    let one = format!("<example name=\"x\">{RECORD}</example>");
    refused(&format!("{one}\n{one}"), 10, Cause::DuplicateId, "on line 9");
}

#[test]
fn there_are_at_most_256() {
    let many = format!("<example>{RECORD}</example>\n").repeat(257);
    refused(&many, 9 + 256, Cause::TooLarge, "256");
    assert_eq!(examples(&format!("<example>{RECORD}</example>\n").repeat(256)).len(), 256);
}

#[test]
fn examples_are_part_of_the_content() {
    let hash = |example: &str| parse(&plan(example)).unwrap().content_hash();
    assert_ne!(hash(""), hash(&format!("<example>{RECORD}</example>")));
}
