//! Connection fees of several raters for one call: the fee is charged once, or the author is warned
//! before publication.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use crate::support;

use support::cycles::{Billed, lines};
use support::{causes, event, plan, session, warnings};
use turnpike_plan::Cause;
use turnpike_types::UsageRecord;

const HOME: &str = r#"country-code="44" international-prefix="00" national-prefix="0""#;
const PEAK: &str = "# turnpike-table id=peak kind=dial-plan version=1 starts=2026-01-01
prefix,destination,price,per,setup
44,UK,0.10,1 min,0.05
";
const OFF: &str = "# turnpike-table id=off kind=dial-plan version=1 starts=2026-01-01
prefix,destination,price,per,setup
44,UK,0.02,1 min,0.05
";

fn dial(id: &str, input: &str, table: &str, more: &str) -> String {
    format!("<E164DialPlanRater id=\"{id}\" in=\"{input}\" table=\"{table}\" {HOME} {more}/>")
}

fn post(charges: &str) -> String {
    format!("<AccountFinalizer id=\"post\" in=\"{charges}\"/>")
}

/// A plan with two raters behind a filter that splits a call.
fn two(filter: &str, more: &str) -> String {
    let (peak, off) = (dial("peak", "f.pass", "peak", more), dial("off", "f.rest", "off", more));
    plan(&[filter, &peak, &off, &post("peak.charge off.charge")].join("\n"))
}

const DAY: &str = r#"<DailyTimeFilter id="f" in="record.duration" from="08:00" to="18:00"/>"#;
const FILTERS: [&str; 5] = [
    DAY,
    r#"<WeeklyTimeFilter id="f" in="record.duration"><window days="Mon-Fri" from="08:00" to="18:00"/></WeeklyTimeFilter>"#,
    r#"<SpecialDaysTimeFilter id="f" in="record.duration"><day date="--12-25"/></SpecialDaysTimeFilter>"#,
    r#"<ThresholdFilter id="f" in="record.duration" above="1 min"/>"#,
    r#"<Allowance id="a" in="record.duration"><bucket id="b" grant="1 h" every="month"/></Allowance>
       <DailyTimeFilter id="f" in="a.covered a.rest" from="08:00" to="18:00"/>"#,
];

fn call(start: &str, end: &str) -> UsageRecord {
    let mut record = session("call", start, end);
    record.attributes.insert("called".to_owned(), "020 7946 0000".to_owned());
    record
}

fn crossing() -> UsageRecord {
    call("2026-11-02T17:59:00Z", "2026-11-02T18:01:00Z")
}

fn warns_of_fees(xml: &str) -> bool {
    warnings(xml).iter().any(|text| text.contains("fee-per"))
}

/// The rater that prices the first unit of a call also charges the fee. The first call of this test
/// begins in peak time, so the expensive rater charges the fee.
#[test]
fn a_fee_per_call_is_charged_by_the_rater_that_prices_the_first_unit() {
    let xml = two(DAY, r#"fee-per="call""#);
    assert!(!warns_of_fees(&xml), "{:?}", warnings(&xml));
    let mut account = Billed::with_tables(&xml, "UTC", &[PEAK, OFF]);
    let minute = 60_000_000;
    assert_eq!(
        account.lines(&crossing()),
        lines(&[("call", minute, "0.10"), ("setup", 0, "0.05"), ("call", minute, "0.02")])
    );
    // This call continues into peak time, so the cheap rater prices its first unit.
    let morning = call("2026-11-02T07:59:00Z", "2026-11-02T08:01:00Z");
    let charged = account.lines(&morning);
    assert_eq!(charged.iter().filter(|line| line.0 == "setup").count(), 1);
    assert_eq!(charged.last().unwrap().0, "setup");
    // Each of these calls is priced by one rater only.
    for record in [
        call("2026-11-02T12:00:00Z", "2026-11-02T12:01:00Z"),
        call("2026-11-02T22:00:00Z", "2026-11-02T22:01:00Z"),
    ] {
        assert_eq!(account.lines(&record).iter().filter(|line| line.0 == "setup").count(), 1);
    }
}

#[test]
fn each_rater_charges_its_own_fee_by_default() {
    for more in ["", r#"fee-per="rater""#] {
        let mut account = Billed::with_tables(&two(DAY, more), "UTC", &[PEAK, OFF]);
        let charged = account.lines(&crossing());
        assert_eq!(charged.iter().filter(|line| line.0 == "setup").count(), 2, "{more}");
    }
}

#[test]
fn raters_that_share_a_call_give_a_warning_unless_the_plan_states_the_fee() {
    for filter in FILTERS {
        assert!(warns_of_fees(&two(filter, "")), "{filter}");
        assert!(!warns_of_fees(&two(filter, r#"fee-per="call""#)), "{filter}");
        assert!(!warns_of_fees(&two(filter, r#"fee-per="rater""#)), "{filter}");
    }
    // The property `fee-per` of one rater says nothing about the other rater.
    let one =
        two(DAY, "").replacen("<E164DialPlanRater ", "<E164DialPlanRater fee-per=\"call\" ", 1);
    assert!(warns_of_fees(&one));
}

#[test]
fn three_raters_that_share_a_call_charge_one_fee() {
    let xml = |more: &str| {
        let graph = [
            DAY.to_owned(),
            r#"<ThresholdFilter id="long" in="f.rest" above="30 s"/>"#.to_owned(),
            dial("peak", "f.pass", "peak", more),
            dial("off", "long.rest", "off", more),
            dial("more", "long.pass", "off", more),
            post("peak.charge off.charge more.charge"),
        ];
        plan(&graph.join("\n"))
    };
    let told = warnings(&xml(""));
    assert_eq!(told.iter().filter(|text| text.contains("fee-per")).count(), 2, "{told:?}");
    let once = xml(r#"fee-per="call""#);
    assert!(!warns_of_fees(&once));
    let mut account = Billed::with_tables(&once, "UTC", &[PEAK, OFF]);
    for record in [crossing(), call("2026-11-02T22:00:00Z", "2026-11-02T22:05:00Z")] {
        assert_eq!(account.lines(&record).iter().filter(|line| line.0 == "setup").count(), 1);
    }
}

#[test]
fn a_dial_plan_and_a_constant_share_a_call_too() {
    let xml = |more: &str| {
        let steps = r#"<step id="talk" price="0.60" per="1 h" constant="0.05"/>"#;
        let graph = [
            DAY.to_owned(),
            dial("peak", "f.pass", "peak", more),
            format!("<StepRater id=\"off\" in=\"f.rest\" {more}>{steps}</StepRater>"),
            post("peak.charge off.charge"),
        ];
        plan(&graph.join("\n"))
    };
    assert!(warns_of_fees(&xml("")));
    let once = xml(r#"fee-per="call""#);
    assert!(!warns_of_fees(&once));
    let mut account = Billed::with_tables(&once, "UTC", &[PEAK]);
    let minute = 60_000_000;
    assert_eq!(
        account.lines(&crossing()),
        lines(&[("call", minute, "0.10"), ("setup", 0, "0.05"), ("talk", minute, "0.01")])
    );
    let free = xml("").replace("constant=\"0.05\"", "constant=\"0.00\"");
    assert!(!warns_of_fees(&free), "a constant of zero is no fee");
}

#[test]
fn constants_of_two_steps_give_a_warning_and_are_charged_once_where_the_plan_says_so() {
    let xml = |more: &str| {
        plan(&format!(
            r#"<StepRater id="r" in="record.quantity" {more}>
              <step id="a" upto="5" price="1" per="1" constant="0.50"/>
              <step id="b" price="2" per="1" constant="0.50"/>
            </StepRater>
            <AccountFinalizer id="post" in="r.charge"/>"#
        ))
    };
    let seven = event("t", "2026-05-01T10:00:00Z", 7);
    let constants = |more: &str| {
        let mut account = Billed::with_tables(&xml(more), "UTC", &[]);
        let charged = account.lines(&seven);
        charged.iter().filter(|line| line.1 == 0).count()
    };
    assert!(warns_of_fees(&xml("")));
    assert_eq!((constants(""), constants(r#"fee-per="call""#)), (2, 1));
    assert!(
        !warns_of_fees(&xml(r#"fee-per="rater""#)) && !warns_of_fees(&xml(r#"fee-per="call""#))
    );
}

/// If each record reaches only one of the raters, it is charged one fee, and there is no warning.
#[test]
fn raters_that_no_record_shares_give_no_warning() {
    let apart = [
        r#"<UsageTypeSelector id="f" in="record.duration" types="call"/>"#,
        r#"<ThresholdFilter id="f" in="record.duration" above="1 h" on="record"/>"#,
    ];
    for filter in apart {
        let xml = two(filter, "");
        assert!(!warns_of_fees(&xml), "{filter}: {:?}", warnings(&xml));
    }
    let types = [
        r#"<UsageTypeSelector id="a" in="record.duration" types="call"/>"#.to_owned(),
        r#"<UsageTypeSelector id="b" in="record.duration" types="fax"/>"#.to_owned(),
        dial("one", "a.pass", "peak", ""),
        dial("other", "b.pass", "off", ""),
        post("one.charge other.charge"),
    ];
    assert!(!warns_of_fees(&plan(&types.join("\n"))));
    // A type derived by a classifier is unrelated to the record's own type.
    let classed = [
        r#"<UsageTypeSelector id="a" in="record.duration" types="call"/>"#.to_owned(),
        r#"<UsageTypeClassifier id="c" in="record.duration" default="fax"><rule as="x" attribute="k" is="1"/></UsageTypeClassifier>"#.to_owned(),
        r#"<UsageTypeSelector id="b" in="c.out" types="fax"/>"#.to_owned(),
        r#"<Ignore id="i" in="b.rest"/>"#.to_owned(),
        dial("one", "a.pass", "peak", ""),
        dial("other", "b.pass", "off", ""),
        post("one.charge other.charge"),
    ];
    assert!(warns_of_fees(&plan(&classed.join("\n"))));
}

/// Both raters price every unit, so both receive the first unit.
#[test]
fn parallel_raters_must_state_how_the_fee_is_charged() {
    let both = |more: &str| {
        let (one, other) = (
            dial("one", "record.duration", "peak", more),
            dial("other", "record.duration", "off", more),
        );
        plan(&[one, other, post("one.charge other.charge")].join("\n"))
    };
    assert!(warns_of_fees(&both("")) && warns_of_fees(&both(r#"fee-per="call""#)));
    assert!(!warns_of_fees(&both(r#"fee-per="rater""#)));
}

#[test]
fn a_constant_that_a_level_counts_has_no_fee_per_call() {
    let xml = plan(
        r#"<MonthlyAccumulator id="a" in="record.quantity"/>
<StepRater id="r" in="a.out" level="a.total" fee-per="call"><step id="s" price="1" per="1" constant="1"/></StepRater>
<AccountFinalizer id="post" in="r.charge"/>"#,
    );
    assert_eq!(causes(&xml), [(4, "r".to_owned(), Cause::BadValue)]);
}
