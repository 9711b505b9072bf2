//! Charge lines, and the units that they contain (docs/plan-semantics.md sections 2, 3 and 4).

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support;

use support::{Subscriber, event, micros, plan, session};
use turnpike_types::Timestamp;

const HOUR: i128 = 3_600_000_000;

fn line(name: &str, units: i128, amount: &str) -> (String, i128, String) {
    (name.to_owned(), units, amount.to_owned())
}

/// docs/plan-semantics.md section 3: units are added up, multiplied and rounded once, by default to
/// nine decimals. One hour alone would cost 0.142857143; five times this amount would be a
/// billionth more than the amount of the line.
#[test]
fn a_step_that_is_reached_on_five_evenings_has_one_line() {
    let mut account = Subscriber::new(
        &plan(
            r#"<DailyTimeFilter id="f" in="record.duration" from="19:00" to="20:00"/>
            <StepRater id="r" in="f.pass"><step id="evening" price="1" per="7 h"/></StepRater>
            <StepRater id="s" in="f.rest"><step id="other" price="0" per="7 h"/></StepRater>
            <AccountFinalizer id="post" in="r.charge s.charge"/>"#,
        ),
        "UTC",
    );
    assert_eq!(
        account.lines(&session("t", "2026-05-04T12:00:00Z", "2026-05-09T12:00:00Z")),
        [line("evening", 5 * HOUR, "0.714285714"), line("other", 115 * HOUR, "0.000000000")]
    );
}

/// docs/plan-semantics.md section 3: a step has one line for each period of the accumulator, each
/// rounded separately.
#[test]
fn a_step_that_is_reached_in_three_months_has_a_line_for_each() {
    let mut account = Subscriber::new(
        &plan(
            r#"<MonthlyAccumulator id="m" in="record.quantity"/>
            <StepRater id="r" in="m.out" level="m.total"><step id="s" price="1" per="3"/></StepRater>
            <AccountFinalizer id="post" in="r.charge"/>"#,
        ),
        "UTC",
    );
    // The record has one unit per day, from the last day of January on.
    let mut record = session("t", "2026-01-31T12:00:00Z", "2026-03-02T12:00:00Z");
    record.quantity = Some(30);
    let rated = account.rate(&record).unwrap();
    let shown: Vec<_> = rated.lines.iter().map(|line| account.shown(line)).collect();
    assert_eq!(
        shown,
        [line("s", 1, "0.333333333"), line("s", 28, "9.333333333"), line("s", 1, "0.333333333")]
    );
    let periods: Vec<_> = rated.lines.iter().map(|line| line.period).collect();
    let first = ["2026-01-01", "2026-02-01", "2026-03-01"].map(support::due::period);
    assert_eq!(periods, first);
}

/// docs/plan-semantics.md section 2: an Adder groups lines and leaves them unchanged.
#[test]
fn an_adder_leaves_lines_as_they_are() {
    let graph = |adder: &str, posted: &str| {
        plan(&format!(
            r#"<StepRater id="a" in="record.quantity"><step id="few" upto="3" price="0.5" per="1"/></StepRater>
            <StepRater id="b" in="a.rest"><step id="more" price="0.25" per="1"/></StepRater>
            {adder}<AccountFinalizer id="post" in="{posted}"/>"#
        ))
    };
    let record = event("t", "2026-05-04T12:00:00Z", 5);
    let adder = r#"<Adder id="sum" in="a.charge b.charge"/>"#;
    let [with, without] = [graph(adder, "sum.charge"), graph("", "a.charge b.charge")]
        .map(|xml| Subscriber::new(&xml, "UTC").lines(&record));
    assert_eq!(with, without);
    assert_eq!(with, [line("few", 3, "1.500000000"), line("more", 2, "0.500000000")]);
}

/// docs/plan-semantics.md section 2: a record may carry several measures; each is distributed
/// separately.
#[test]
fn time_and_bytes_of_one_record_are_split_at_one_instant_each_by_its_units() {
    let rated = |measure: &str, per: &str| {
        format!(
            r#"<DailyTimeFilter id="f-{measure}" in="record.{measure}" from="19:00" to="24:00"/>
            <StepRater id="in-{measure}" in="f-{measure}.pass"><step id="{measure}-in" price="1" per="{per}"/></StepRater>
            <StepRater id="out-{measure}" in="f-{measure}.rest"><step id="{measure}-out" price="0" per="{per}"/></StepRater>"#
        )
    };
    let graph = format!(
        "{}{}<AccountFinalizer id=\"post\" in=\"in-duration.charge out-duration.charge in-octets.charge out-octets.charge\"/>",
        rated("duration", "1 h"),
        rated("octets", "1 B")
    );
    let mut record = session("t", "2026-05-04T18:30:00Z", "2026-05-04T20:30:00Z");
    record.measures.insert("octets".to_owned(), 7);
    // Of 7 bytes, ceil(7 / 4) are in the first quarter of the time.
    assert_eq!(
        Subscriber::new(&plan(&graph), "UTC").lines(&record),
        [
            line("duration-in", 3 * HOUR / 2, "1.500000000"),
            line("duration-out", HOUR / 2, "0.000000000"),
            line("octets-in", 5, "5.000000000"),
            line("octets-out", 2, "0.000000000"),
        ]
    );
}

/// docs/plan-semantics.md section 2: an accumulator counts only the units that reach it.
#[test]
fn an_accumulator_behind_a_filter_does_not_count_units_that_the_filter_rejected() {
    let graph = r#"<DailyTimeFilter id="f" in="record.duration" from="19:00" to="24:00"/>
        <Ignore id="days" in="f.rest"/>
        <MonthlyAccumulator id="m" in="f.pass"/>
        <StepRater id="r" in="m.out" level="m.total"><step id="s" price="1" per="1 h"/></StepRater>
        <AccountFinalizer id="post" in="r.charge"/>"#;
    let mut account = Subscriber::new(&plan(graph), "UTC");
    let rated = account.rate(&session("t", "2026-05-04T12:00:00Z", "2026-05-05T12:00:00Z"));
    let values: Vec<i128> = rated.unwrap().changes.iter().map(|entry| entry.value).collect();
    assert_eq!(values, [5 * HOUR]);
}

/// docs/plan-semantics.md section 4: late records are priced in order of arrival; earlier records
/// are not priced again.
#[test]
fn a_late_record_finds_the_free_units_used_and_changes_no_earlier_price() {
    let graph = r#"<MonthlyAccumulator id="m" in="record.quantity"/>
        <StepRater id="r" in="m.out" level="m.total">
          <step id="free" upto="10" price="0" per="1"/><step id="paid" price="1" per="1"/>
        </StepRater>
        <AccountFinalizer id="post" in="r.charge"/>"#;
    let mut account = Subscriber::new(&plan(graph), "UTC");
    let [tenth, fourth] = ["2026-05-10T12:00:00Z", "2026-05-04T12:00:00Z"];
    assert_eq!(account.lines(&event("t", tenth, 8)), [line("free", 8, "0.000000000")]);
    assert_eq!(
        account.lines(&event("t", fourth, 5)),
        [line("free", 2, "0.000000000"), line("paid", 3, "3.000000000")]
    );
}

fn in_currency(currency: &str, digits: u32, price: &str) -> Subscriber {
    let graph = format!(
        r#"<StepRater id="r" in="record.quantity"><step id="s" price="{price}" per="1"/></StepRater>
        <AccountFinalizer id="post" in="r.charge"/>"#
    );
    let head = format!("currency=\"{currency}\" round=\"{digits} half-even\"");
    let mut account = Subscriber::new(&plan(&graph).replace("currency=\"USD\"", &head), "UTC");
    account.account.currency = currency.parse().unwrap();
    account
}

/// docs/plan-semantics.md section 3: amounts are rounded by the plan's rule: no decimals for an
/// account in yen, three in Kuwaiti dinars.
#[test]
fn accounts_in_yen_and_in_dinars_have_lines_in_their_minor_units() {
    let amount = |account: &mut Subscriber, units| {
        let record = event("t", "2026-05-04T12:00:00Z", units);
        account.lines(&record)[0].2.clone()
    };
    let mut yen = in_currency("JPY", 0, "12.5");
    assert_eq!(amount(&mut yen, 1), "12.000000000");
    assert_eq!(amount(&mut yen, 3), "38.000000000");
    let mut dinar = in_currency("KWD", 3, "0.1005");
    assert_eq!(amount(&mut dinar, 1), "0.100000000");
    assert_eq!(amount(&mut dinar, 3), "0.302000000");
}

/// docs/plan-semantics.md sections 4 and 5: a record that arrives after the close of its cycle
/// counts in the month in which it happened, and is marked late.
#[test]
fn a_record_of_a_closed_cycle_counts_in_its_own_month_and_is_late() {
    let graph = r#"<MonthlyAccumulator id="m" in="record.quantity"/>
        <StepRater id="r" in="m.out" level="m.total">
          <step id="free" upto="10" price="0" per="1"/><step id="paid" price="1" per="1"/>
        </StepRater>
        <AccountFinalizer id="post" in="r.charge"/>"#;
    let mut account = Subscriber::new(&plan(graph), "UTC");
    let record = event("t", "2026-05-31T12:00:00Z", 8);
    assert!(!account.rate(&record).unwrap().late);
    assert_eq!(
        account.lines(&event("t", "2026-06-05T12:00:00Z", 9)),
        [line("free", 9, "0.000000000")]
    );
    // The record now arrives after the two days of grace.
    account.now = Timestamp(micros("2026-06-05T12:00:00Z"));
    let rated = account.rate(&record).unwrap();
    assert!(rated.late);
    let shown: Vec<_> = rated.lines.iter().map(|line| account.shown(line)).collect();
    assert_eq!(shown, [line("free", 2, "0.000000000"), line("paid", 6, "6.000000000")]);
}
