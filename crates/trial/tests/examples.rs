//! Examples: a plan gives the expected results, or the message names each difference and its line.
#![allow(clippy::unwrap_used, missing_docs)]

use crate::support;

use std::cell::Cell;
use std::collections::BTreeMap;

use proptest::prelude::*;
use support::{hourly, parsed};
use turnpike_trial::{EXAMPLE_RECORDS_MAX, ExamplesReport, Inputs, run_examples};
use turnpike_types::limits::EXAMPLES_BYTES_MAX;

fn run(xml: &str) -> ExamplesReport {
    run_with(xml, &[])
}

fn run_with(xml: &str, files: &[(&str, &[u8])]) -> ExamplesReport {
    let files: BTreeMap<&str, &[u8]> = files.iter().copied().collect();
    run_examples(&parsed(xml), &Inputs::new(&|name| files.get(name).map(|b| b.to_vec())))
}

/// The hourly plan with an example whose content begins on line 15.
fn example(inside: &str) -> String {
    hourly(1, "2026-01-01", &format!("<example name=\"x\">\n{inside}\n</example>"))
}

const TWO_HOURS: &str =
    r#"<record id="r1" type="connect-time" start="2026-03-01T18:00:00Z" duration="2 h"/>"#;
const SETUP: &str = r#"<expect record="r1" component="setup" amount="10"/>"#;
const FIRST: &str = r#"<expect record="r1" component="first" quantity="7200 s" amount="2.00"/>"#;

#[track_caller]
fn passes(xml: &str) {
    let report = run(xml);
    assert!(report.passed(), "{report}");
}

/// Asserts that the examples of a plan have exactly these differences.
#[track_caller]
fn fails(xml: &str, differences: &[&str]) {
    let report = run(xml);
    let told: Vec<String> =
        report.examples.iter().flat_map(|e| &e.differences).map(ToString::to_string).collect();
    assert_eq!(told, differences);
    assert_eq!(report.passed(), differences.is_empty());
}

/// The example of Fig. 6B (docs/plan-semantics.md section 9) with usage and expectations in files.
#[test]
fn fig_6b_is_its_own_example() {
    let report = run_with(
        include_str!("data/fig6b.xml"),
        &[
            ("fig6b_usage.csv", include_bytes!("data/fig6b_usage.csv")),
            ("fig6b_expected.csv", include_bytes!("data/fig6b_expected.csv")),
        ],
    );
    assert!(report.passed(), "{report}");
    assert_eq!(report.to_string(), "the vectors: ok, 13 records, 24 lines");
}

#[test]
fn weighted_functions_are_their_own_example() {
    let report = run_with(
        include_str!("data/weighted.xml"),
        &[
            ("weighted_usage.csv", include_bytes!("data/weighted_usage.csv")),
            ("weighted_expected.csv", include_bytes!("data/weighted_expected.csv")),
        ],
    );
    assert!(report.passed() && report.examples[0].records == 10, "{report}");
}

#[test]
fn a_plan_without_examples_passes_and_says_that_there_are_none() {
    let report = run(&hourly(1, "2026-01-01", ""));
    assert!(report.passed() && report.examples.is_empty());
}

#[test]
fn every_line_is_expected_and_every_expectation_is_met() {
    passes(&example(&format!("{TWO_HOURS}{SETUP}{FIRST}<total account=\"1\" amount=\"12\"/>")));
    fails(
        &example(&format!("{TWO_HOURS}\n{FIRST}")),
        &[
            "line 15: record r1, component setup: expected nothing, found quantity 0, amount 10.000000000",
        ],
    );
    fails(
        &example(&format!(
            "{TWO_HOURS}{SETUP}{FIRST}\n<expect record=\"r1\" component=\"more\" amount=\"1\"/>"
        )),
        &["line 16: record r1, component more: expected amount 1.000000000, found no line"],
    );
    fails(
        &example(&format!("{TWO_HOURS}{SETUP}{FIRST}\n<expect record=\"r1\" component=\"mere\"/>")),
        &[
            "line 16: record r1, component mere: expected a line, found no line: the plan has no such step or charge",
        ],
    );
}

#[test]
fn sums_are_compared_to_the_last_decimal() {
    let wrong =
        r#"<expect record="r1" component="rate/first" quantity="2 B" amount="2.000000001"/>"#;
    fails(
        &example(&format!("{TWO_HOURS}{SETUP}\n{wrong}\n<total amount=\"12.5\"/>")),
        &[
            "line 16: record r1, component rate/first: expected quantity 2 B, found 7200 s",
            "line 16: record r1, component rate/first: expected amount 2.000000001, found 2.000000000",
            "line 17: expected a total of 12.500000000 for account 1, found 12.000000000",
        ],
    );
    // The record spans two months, so each step books two lines.
    let over = TWO_HOURS.replace("2 h", "744 h");
    let expect = SETUP.to_owned()
        + r#"<expect record="r1" component="first" quantity="20 h" amount="20"/>
             <expect record="r1" component="more" quantity="724 h" amount="362"/>"#;
    passes(&example(&(over + &expect)));
}

#[test]
fn a_record_that_waits_is_expected_to() {
    let mail = r#"<record id="m" type="mail" start="2026-03-01T18:00:00Z" quantity="1"/>"#;
    passes(&example(&format!("{mail}<expect record=\"m\" suspended=\"not-accepted\"/>")));
    fails(
        &example(mail),
        &["line 15: record m: expected it to be rated, found suspended, not-accepted"],
    );
    fails(
        &example(&format!("{mail}<expect record=\"m\" suspended=\"no-plan\"/>")),
        &["line 15: record m: expected suspended, no-plan, found suspended, not-accepted"],
    );
    fails(
        &example(&format!("{mail}<expect record=\"m\" component=\"setup\" amount=\"10\"/>")),
        &[
            "line 15: record m, component setup: expected amount 10.000000000, found suspended, not-accepted",
        ],
    );
    let rated = format!("{TWO_HOURS}<expect record=\"r1\" suspended=\"no-plan\"/>");
    let report = run(&example(&rated));
    assert!(report.to_string().contains("expected suspended, no-plan, found rated"), "{report}");
}

#[test]
fn an_example_has_accounts_settings_and_parameters() {
    let listed = example(&format!(
        "<account number=\"42\" service-level=\"gold\"/>{TWO_HOURS}{SETUP}{FIRST}\
         <record id=\"r2\" account=\"7\" type=\"connect-time\" start=\"2026-03-01T18:00:00Z\"/>\
         <expect record=\"r2\" suspended=\"unknown-account\"/><total amount=\"12\"/>"
    ));
    passes(&listed);
    let dated = example(&format!("{TWO_HOURS}<expect record=\"r1\" suspended=\"no-plan\"/>"));
    // The record starts at 18:00 UTC on 1 March, when it is 2 March in Auckland.
    passes(
        &dated
            .replace("name=\"x\"", "name=\"x\" zone=\"Pacific/Auckland\" cancelled=\"2026-03-02\""),
    );
    passes(&dated.replace("name=\"x\"", "name=\"x\" since=\"2026-03-02\""));
    let half = example(&format!("{TWO_HOURS}{SETUP}{}", FIRST.replace("2.00", "1.00")));
    passes(&half.replace("name=\"x\"", "name=\"x\" parameter.price=\"0.50\""));
    let euros =
        example(&format!("{TWO_HOURS}<expect record=\"r1\" suspended=\"currency-mismatch\"/>"));
    passes(&euros.replace("name=\"x\"", "name=\"x\" currency=\"EUR\""));
}

/// A plan with a monthly fee in advance, and an example with these settings and contents.
fn in_advance(settings: &str, inside: &str) -> String {
    format!(
        r#"<plan xmlns="urn:turnpike:plan:1" id="p" version="1" starts="2026-01-01" currency="USD">
  <graph>
    <UsageTypeSelector id="online" in="record.duration" types="connect-time"/>
    <MonthlyRecurringCharge id="monthly" amount="20.00"/>
    <StepRater id="rate" in="online.pass"><step id="hour" price="1.00" per="1 h"/></StepRater>
    <Adder id="sum" in="monthly.charge rate.charge"/>
    <AccountFinalizer id="post" in="sum.charge"/>
  </graph>
<example name="x" {settings}>
{inside}
</example>
</plan>"#
    )
}

/// A due charge is expected by its local date. A due charge that no expectation matches is a
/// difference, as for records.
#[test]
fn due_charges_are_expected_too() {
    let december = r#"<expect due="2026-01-01" component="monthly" amount="20.00"/>"#;
    let january = r#"<expect due="2026-02-01" component="monthly" amount="20.00"/>"#;
    let settings = r#"zone="America/New_York" since="2025-12-01" until="2026-02-01""#;
    let total = r#"<total amount="40.00"/>"#;
    passes(&in_advance(settings, &format!("{december}{january}{total}")));
    fails(
        &in_advance(settings, &format!("{january}\n{total}")),
        &[
            "line 9: due 2026-01-01, component monthly: expected nothing, found quantity 0, amount 20.000000000",
        ],
    );
    let never = r#"<expect due="2026-03-01" component="monthly" amount="20.00"/>"#;
    fails(
        &in_advance(settings, &format!("{december}{january}\n{never}")),
        &[
            "line 11: due 2026-03-01, component monthly: expected amount 20.000000000, found nothing that fell due",
        ],
    );
    // A record advances logged time to its start, so the fee for January falls due.
    let record = TWO_HOURS.replace("2026-03", "2026-01");
    let hour = r#"<expect record="r1" component="hour" amount="2.00" late="false"/>"#;
    passes(&in_advance("", &format!("{record}{december}{hour}")));
    let cancelled = r#"since="2026-01-01" cancelled="2026-02-01" until="2026-06-01""#;
    passes(&in_advance(cancelled, december));
}

#[test]
fn a_record_may_be_expected_to_be_late() {
    let record = |id: &str, start: &str| {
        format!(
            r#"<record id="{id}" type="connect-time" start="{start}T00:00:00Z" duration="1 h"/>"#
        )
    };
    let says = |id: &str, late: &str| {
        format!(r#"<expect record="{id}" component="first" amount="1" late="{late}"/>"#)
    };
    let setup = SETUP.replace("r1", "a");
    let records = record("a", "2026-02-04") + &record("b", "2026-01-31");
    passes(&example(&(records.clone() + &setup + &says("a", "false") + &says("b", "true"))));
    fails(
        &example(&(records + &setup + &says("a", "false") + "\n" + &says("b", "false"))),
        &["line 16: record b: expected it to be in time, found it is late"],
    );
}

#[test]
fn lines_may_be_distinguished_by_their_posting() {
    let posted = FIRST.replace("amount", "posting=\"account\" amount");
    passes(&example(&format!("{TWO_HOURS}{SETUP}{posted}")));
    let nobody = FIRST.replace("quantity=\"7200 s\" amount=\"2.00\"", "posting=\"nobody\"");
    fails(
        &example(&format!("{TWO_HOURS}{SETUP}\n{nobody}")),
        &[
            "line 16: record r1, component first: expected a line, found no line",
            "line 15: record r1, component rate/first: expected nothing, found quantity 7200 s, amount 2.000000000",
        ],
    );
}

#[test]
fn the_number_of_due_items_in_an_example_is_bounded() {
    let forever = in_advance(r#"until="9000-01-01""#, "");
    let report = run(&forever).to_string();
    assert!(report.contains("more than 20000 charges fall due"), "{report}");
}

const BY_FILES: &str = "<example name=\"f\" usage=\"u.csv\" expect=\"e.csv\"/>";
const USAGE: &str = "record_id,account_number,usage_type,start_time,duration\n";

#[test]
fn messages_name_the_file_and_the_line() {
    let plan = hourly(1, "2026-01-01", BY_FILES);
    let told = |usage: &str, expect: &str| {
        run_with(&plan, &[("u.csv", usage.as_bytes()), ("e.csv", expect.as_bytes())]).to_string()
    };
    let good = format!("{USAGE}r1,1,connect-time,2026-03-01T18:00:00Z,2h\n");
    let expect = "record_id,component,seconds,amount\nr1,setup,0.0,10.0\nr1,first,7200.000000,2\n";
    assert_eq!(told(&good, expect), "f: ok, 1 record, 2 lines");
    assert_eq!(
        told(&good, &expect.replace("7200", "7201")),
        "f: FAILED\n  e.csv:3: record r1, component first: expected quantity 7201.000000 s, found 7200 s"
    );
    let more = format!("{expect}r9,first,1,1\n");
    assert_eq!(
        told(&good, &more),
        "f: FAILED\n  e.csv:4: record r9, component first: expected quantity 1 s, amount 1.000000000, found no such record in the usage"
    );
    let bad = told(&format!("{good}r2,1,connect-time,noon,2h\n"), expect);
    assert!(
        bad.contains("u.csv:3: expected a usage record, found column start_time: \"noon\""),
        "{bad}"
    );
    assert!(told("", expect).contains("u.csv:1: expected a usage record"));
    assert!(told(&good, "a,b").contains("e.csv:1: expected an expectation, found column \"a\""));
    let twice = format!("{good}r1,1,connect-time,2026-03-01T18:00:00Z,3h\n");
    assert!(
        told(&twice, expect)
            .contains("u.csv:3: expected a record with a unique id, found the id r1 of u.csv:2")
    );
    let same = format!("{good}r1,1,connect-time,2026-03-01T18:00:00Z,2h\n");
    assert!(told(&same, expect).starts_with("f: ok"), "a repetition counts once");
}

#[test]
fn a_missing_or_too_large_file_is_reported() {
    let plan = hourly(1, "2026-01-01", BY_FILES);
    let none = run(&plan).to_string();
    assert!(none.contains("line 14: expected the file u.csv, found none of that name"), "{none}");
    assert!(none.contains("the file e.csv"), "{none}");
    let large = vec![b'x'; EXAMPLES_BYTES_MAX];
    let report = run_with(&plan, &[("u.csv", &large), ("e.csv", b"x")]).to_string();
    assert!(report.contains("expected the file e.csv, found more than 1048576 bytes"), "{report}");
}

/// Several examples may use the same file. Its size counts once towards the limit.
#[test]
fn a_file_is_read_once() {
    let plan = parsed(&hourly(
        1,
        "2026-01-01",
        &(BY_FILES.to_owned() + &BY_FILES.replace("\"f\"", "\"g\"")),
    ));
    let reads = Cell::new(0);
    let large = " ".repeat(EXAMPLES_BYTES_MAX / 2);
    let files = |_: &str| {
        reads.set(reads.get() + 1);
        Some(format!("record_id,component\n{}", &large[40..]).into_bytes())
    };
    let report = run_examples(&plan, &Inputs::new(&files));
    assert_eq!((reads.get(), report.failed()), (2, 2));
    assert!(!report.to_string().contains("more than"), "{report}");
}

#[test]
fn the_output_of_rate_can_be_an_expectation() {
    let plan = hourly(1, "2026-01-01", BY_FILES);
    let usage = format!("{USAGE}r1,1,connect-time,2026-03-01T18:00:00Z,2h\n");
    let expect = "record_id,component,quantity,amount,currency,plan,version,primitive,unit,price,period,level_before,level_after,first_unit,kind,account_number,usage_type,start_time,posting,posted_to,line,of,row,due,late\n\
        r1,setup,0,10.000000000,USD,hourly,1,setup,one,10.00 once,,,,0,one-time,1,connect-time,2026-03-01T18:00:00Z,account,1,0,,,,false\n\
        r1,first,3600000000,1.000000000,USD,hourly,1,rate,us,1.00 per 1 h,2026-03-01,0,1,0,usage,1,connect-time,2026-03-01T18:00:00Z,account,1,0,,,,false\n\
        r1,first,3600000000,1.000000000,USD,hourly,1,rate,us,1.00 per 1 h,2026-03-01,0,1,0,usage,1,connect-time,2026-03-01T18:00:00Z,account,1,0,,,,false\n";
    let files: [(&str, &[u8]); 2] = [("u.csv", usage.as_bytes()), ("e.csv", expect.as_bytes())];
    let report = run_with(&plan, &files);
    assert!(report.passed(), "{report}");
}

#[test]
fn records_of_all_examples_are_bounded() {
    let many: String =
        (0..EXAMPLE_RECORDS_MAX).map(|i| format!("r{i},1,mail,2026-03-01T18:00:00Z,\n")).collect();
    let usage = format!("{USAGE}{many}");
    let expect = "record_id,component\n".to_owned();
    let two = BY_FILES.to_owned() + &BY_FILES.replace("\"f\"", "\"g\"");
    let report = run_with(
        &hourly(1, "2026-01-01", &two),
        &[("u.csv", usage.as_bytes()), ("e.csv", expect.as_bytes())],
    );
    let [first, second] = report.examples.as_slice() else { panic!() };
    assert_eq!(first.records, EXAMPLE_RECORDS_MAX);
    assert_eq!((first.differences.len(), first.more), (50, EXAMPLE_RECORDS_MAX - 50));
    assert!(second.to_string().contains("expected at most 10000 records"), "{second}");
}

#[test]
fn a_run_of_examples_can_be_stopped() {
    let plan = parsed(&example(&format!("{TWO_HOURS}{SETUP}{FIRST}")));
    let inputs = Inputs::new(&|_| None).stopping_when(&|| true);
    let report = run_examples(&plan, &inputs);
    assert!(report.to_string().contains("no time for more"), "{report}");
}

#[test]
fn every_example_in_docs_price_plans_passes() {
    let page = include_str!("../../../docs/price-plans.md");
    let tables: Vec<_> = page
        .split("```csv\n# turnpike-table")
        .skip(1)
        .map(|rest| format!("# turnpike-table{}", rest.split("```").next().unwrap()))
        .map(|text| std::sync::Arc::new(turnpike_plan::parse_table(&text).unwrap()))
        .collect();
    let plans = page.split("```xml\n<plan").skip(1).map(|rest| rest.split("```").next().unwrap());
    for xml in plans {
        let plan = parsed(&format!("<plan{xml}"));
        let report = run_examples(&plan, &Inputs::new(&|_| None).with_tables(&tables));
        assert!(report.passed(), "{report}\n{xml}");
    }
}

proptest! {
    #![proptest_config(test_cases::cases(64))]

    /// Any content of the files gives a report, never a panic.
    #[test]
    fn no_file_makes_the_report_panic(
        usage in "\\PC{0,200}",
        expect in "[a-z_,0-9.\n\" -]{0,200}",
    ) {
        let usage = format!("{USAGE}{usage}");
        let expect = format!("record_id,component,quantity,amount,suspended\n{expect}");
        let plan = hourly(1, "2026-01-01", BY_FILES);
        let report = run_with(&plan, &[("u.csv", usage.as_bytes()), ("e.csv", expect.as_bytes())]);
        prop_assert_eq!(report.examples.len(), 1);
    }
}
