//! StepRater: volume, packages, and running totals (docs/plan-semantics.md sections 3 and 4).

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support::{self, cycles, refused};

use cycles::lines;
use proptest::prelude::*;
use refused::{refused, refused_plan};
use support::{Subscriber, event, plan, session};
use turnpike_plan::{Cause, Rated};
use turnpike_types::{LineKind, UsageRecord};

const MAY: &str = "2026-05-04T09:00:00Z";
const JUNE: &str = "2026-06-04T09:00:00Z";

/// A plan whose steps apply to the units counted in a month.
fn monthly(mode: &str, steps: &str) -> String {
    format!(
        r#"<MonthlyAccumulator id="a" in="record.quantity"/>
        <StepRater id="r" in="a.out" level="a.total" mode="{mode}">{steps}</StepRater>
        <AccountFinalizer id="post" in="r.charge"/>"#
    )
}

fn rounded(graph: &str, round: &str) -> Subscriber {
    let xml =
        plan(graph).replacen("currency=\"USD\"", &format!("currency=\"USD\" round=\"{round}\""), 1);
    Subscriber::new(&xml, "UTC")
}

fn bytes(units: i64) -> UsageRecord {
    let mut record = session("t", "2026-05-04T09:00:00Z", "2026-05-04T10:00:00Z");
    record.measures.insert("octets".to_owned(), units);
    record
}

const VOLUME: &str = r#"<step id="small" upto="100" price="0.10" per="1"/>
    <step id="medium" upto="1000" price="0.08" per="1"/><step id="large" price="0.05" per="1"/>"#;

/// docs/plan-semantics.md section 4: when the step changes, a correction line is booked at once:
/// all earlier units are repriced at the new step.
#[test]
fn volume_prices_all_units_at_the_step_reached() {
    let mut account = rounded(&monthly("volume", VOLUME), "9 half-even");
    assert_eq!(account.lines(&event("t", MAY, 99)), lines(&[("small", 99, "9.90")]));
    // The 100th unit still belongs to the first step.
    assert_eq!(account.lines(&event("t", MAY, 1)), lines(&[("small", 1, "0.10")]));
    let changed = lines(&[("medium-correction", 0, "-2.00"), ("medium", 1, "0.08")]);
    assert_eq!(account.lines(&event("t", MAY, 1)), changed);
    assert_eq!(account.lines(&event("t", MAY, 1)), lines(&[("medium", 1, "0.08")]));
    // A new month starts with the first step.
    assert_eq!(account.lines(&event("t", JUNE, 1)), lines(&[("small", 1, "0.10")]));
}

/// docs/plan-semantics.md section 4: one record that changes steps twice books both corrections.
#[test]
fn one_record_changes_steps_twice() {
    let mut account = rounded(&monthly("volume", VOLUME), "9 half-even");
    let expected = lines(&[
        ("small", 100, "10.00"),
        ("medium-correction", 0, "-2.00"),
        ("medium", 900, "72.00"),
        ("large-correction", 0, "-30.00"),
        ("large", 1000, "50.00"),
    ]);
    let rated = account.rate(&event("t", MAY, 2000)).unwrap();
    let shown: Vec<_> = rated.lines.iter().map(|line| account.shown(line)).collect();
    assert_eq!(shown, expected);
    let correction = rated.lines[1];
    assert_eq!((correction.level_before, correction.level_after), (100, 100));
    assert_eq!(correction.first_unit, 100);
    let component = &account.plans[0].components()[usize::from(correction.component)];
    assert_eq!(component.kind, LineKind::Adjustment);
    assert_eq!(component.price, "correction to 0.08 per 1");
    // All 2000 units have the price of the step that was reached.
    let sum: i128 = rated.lines.iter().map(|line| line.amount.nanos()).sum();
    assert_eq!(sum, 2000 * 50_000_000);
}

/// docs/plan-semantics.md section 4: a more expensive step gives a positive correction.
#[test]
fn a_correction_can_be_a_charge() {
    let steps = r#"<step id="a" upto="10" price="1" per="1"/><step id="b" price="3" per="1"/>"#;
    let mut account = rounded(&monthly("volume", steps), "9 half-even");
    account.lines(&event("t", MAY, 10));
    let expected = lines(&[("b-correction", 0, "20"), ("b", 2, "6")]);
    assert_eq!(account.lines(&event("t", MAY, 2)), expected);
}

/// docs/plan-semantics.md section 2: a rater without a level counts units within the record, also
/// in mode volume.
#[test]
fn volume_without_level_is_of_the_record() {
    let graph = format!(
        r#"<StepRater id="r" in="record.quantity" mode="volume">{VOLUME}</StepRater>
        <AccountFinalizer id="post" in="r.charge"/>"#
    );
    let mut account = rounded(&graph, "9 half-even");
    for _ in 0..2 {
        let expected = lines(&[
            ("small", 100, "10.00"),
            ("medium-correction", 0, "-2.00"),
            ("medium", 50, "4.00"),
        ]);
        assert_eq!(account.lines(&event("t", MAY, 150)), expected);
    }
}

/// docs/plan-semantics.md section 4: units above the last step leave by `rest`; earlier prices
/// stay.
#[test]
fn units_above_the_last_volume_step_are_passed_on() {
    let graph = r#"<MonthlyAccumulator id="a" in="record.quantity"/>
        <StepRater id="r" in="a.out" level="a.total" mode="volume"><step id="s" upto="5" price="1" per="1"/></StepRater>
        <StepRater id="over" in="r.rest"><step id="over" price="2" per="1"/></StepRater>
        <AccountFinalizer id="post" in="r.charge over.charge"/>"#;
    let mut account = rounded(graph, "9 half-even");
    let expected = lines(&[("s", 5, "5"), ("over", 2, "4")]);
    assert_eq!(account.lines(&event("t", MAY, 7)), expected);
}

const HOURS: &str = r#"<MonthlyAccumulator id="a" in="record.duration"/>
    <StepRater id="r" in="a.out" level="a.total" mode="package"><step id="block" price="1.50" per="1 h"/></StepRater>
    <AccountFinalizer id="post" in="r.charge"/>"#;

/// docs/plan-semantics.md section 4: a package is charged with its first unit.
#[test]
fn a_package_is_charged_in_full_with_its_first_unit() {
    let mut account = rounded(HOURS, "9 half-even");
    let minutes =
        |count: i64| UsageRecord { duration_us: count * 60_000_000, ..session("t", MAY, MAY) };
    let minute = 60_000_000;
    assert_eq!(account.lines(&minutes(1)), lines(&[("block", minute, "1.50")]));
    assert_eq!(account.lines(&minutes(59)), lines(&[("block", 59 * minute, "0")]));
    assert_eq!(account.lines(&minutes(61)), lines(&[("block", 61 * minute, "3.00")]));
    assert_eq!(account.lines(&minutes(59)), lines(&[("block", 59 * minute, "0")]));
    let components = account.plans[0].components();
    assert!(components.iter().any(|known| known.price == "1.50 per 1 h begun"));
}

/// docs/plan-semantics.md section 4: the packages of a step are counted from the start of the step.
#[test]
fn each_step_has_packages_of_its_own() {
    let steps = r#"<step id="a" upto="10" price="1" per="4"/><step id="b" price="2" per="5"/>"#;
    let mut account = rounded(&monthly("package", steps), "9 half-even");
    // 10 units are 3 packages of 4; the last one ends with the step. The 11th unit begins a package
    // of 5.
    assert_eq!(account.lines(&event("t", MAY, 10)), lines(&[("a", 10, "3")]));
    assert_eq!(account.lines(&event("t", MAY, 5)), lines(&[("b", 5, "2")]));
    assert_eq!(account.lines(&event("t", MAY, 1)), lines(&[("b", 1, "2")]));
}

/// docs/plan-semantics.md section 2: without a level, units are counted within the record, so
/// packages begin with each record.
#[test]
fn packages_without_level_begin_with_each_record() {
    let graph = r#"<StepRater id="r" in="record.octets" mode="package"><step id="block" price="0.01" per="1 MB"/></StepRater>
        <AccountFinalizer id="post" in="r.charge"/>"#;
    let mut account = rounded(graph, "9 half-even");
    assert_eq!(account.lines(&bytes(1)), lines(&[("block", 1, "0.01")]));
    assert_eq!(account.lines(&bytes(2_000_001)), lines(&[("block", 2_000_001, "0.03")]));
}

const RUNNING: &str = r#"<MonthlyAccumulator id="a" in="record.octets"/>
    <StepRater id="r" in="a.out" level="a.total"><step id="s" price="0.05" per="1 MB"/></StepRater>
    <AccountFinalizer id="post" in="r.charge"/>"#;

/// docs/plan-semantics.md section 3: with running rounding, a line books the difference of the
/// rounded totals after and before it. This is meant for tiny records.
#[test]
fn tiny_records_add_up_in_a_running_total() {
    // 30,000 records of one byte at 0.05 per megabyte: each alone costs 0, together they cost
    // 0.0015.
    let each = |round: &str| -> i128 {
        let mut account = rounded(RUNNING, round);
        let amount =
            |rated: Rated| rated.lines.iter().map(|line| line.amount.nanos()).sum::<i128>();
        (0..30_000).map(|_| amount(account.rate(&bytes(1)).unwrap())).sum()
    };
    assert_eq!(each("3 half-even"), 0);
    // The tie at 0.0005 rounds to 0.000, the tie at 0.0015 to 0.002.
    assert_eq!(each("3 running"), 2_000_000);
}

/// docs/plan-semantics.md section 3: a line with running rounding still states its units and
/// levels.
#[test]
fn a_running_line_shows_the_level_that_its_amount_comes_from() {
    let mut account = rounded(RUNNING, "2 running");
    // A total of 0.0045 rounds to 0.00, and a total of 0.0055 to 0.01.
    assert_eq!(account.lines(&bytes(90_000)), lines(&[("s", 90_000, "0")]));
    let rated = account.rate(&bytes(20_000)).unwrap();
    let line = rated.lines[0];
    assert_eq!(account.shown(&line), ("s".to_owned(), 20_000, "0.010000000".to_owned()));
    assert_eq!((line.level_before, line.level_after), (90_000, 110_000));
}

/// docs/plan-semantics.md sections 3 and 4: in mode volume with running rounding, all lines and
/// corrections add up exactly to the price of the total.
#[test]
fn running_volume_is_exact_at_every_moment() {
    let steps =
        r#"<step id="a" upto="7" price="0.333" per="1"/><step id="b" price="0.111" per="1"/>"#;
    let mut account = rounded(&monthly("volume", steps), "2 running");
    let mut sum = 0;
    let exact = [33, 67, 100, 133, 166, 200, 233, 89, 100, 111];
    for expected in exact {
        let rated = account.rate(&event("t", MAY, 1)).unwrap();
        sum += rated.lines.iter().map(|line| line.amount.nanos()).sum::<i128>();
        assert_eq!(sum, expected * 10_000_000);
    }
}

/// docs/plan-semantics.md section 3: running totals do not round constants.
#[test]
fn a_constant_of_a_running_plan_is_a_constant() {
    let steps = r#"<step id="a" price="0.004" per="1" constant="0.25"/>"#;
    let mut account = rounded(&monthly("graduated", steps), "2 running");
    assert_eq!(account.lines(&event("t", MAY, 1)), lines(&[("a", 1, "0"), ("a", 0, "0.25")]));
    assert_eq!(account.lines(&event("t", MAY, 1)), lines(&[("a", 1, "0.01")]));
}

fn one(price: &str, round: &str) -> Subscriber {
    let graph = format!(
        r#"<StepRater id="r" in="record.quantity"><step id="s" price="{price}" per="1"/></StepRater>
        <AccountFinalizer id="post" in="r.charge"/>"#
    );
    rounded(&graph, round)
}

fn amount(account: &mut Subscriber, units: i64) -> String {
    account.lines(&event("t", MAY, units))[0].2.clone()
}

/// docs/plan-semantics.md section 3: amounts are rounded once, half to even.
#[test]
fn ties_are_rounded_to_the_even_neighbour() {
    let mut cents = one("0.005", "2 half-even");
    let tied = [(1, "0.000000000"), (3, "0.020000000"), (5, "0.020000000"), (7, "0.040000000")];
    for (units, expected) in tied {
        assert_eq!(amount(&mut cents, units), expected, "{units} times half a cent");
    }
    assert_eq!(amount(&mut one("0.0050001", "2 half-even"), 1), "0.010000000");
    assert_eq!(amount(&mut one("0.0049999", "2 half-even"), 1), "0.000000000");
}

/// docs/plan-semantics.md section 3: the plan declares the minor units. The yen has no decimals,
/// the Kuwaiti dinar three.
#[test]
fn currencies_without_cents_and_with_a_thousand_fils() {
    let mut yen = one("0.5", "0 half-even");
    let yens: Vec<String> = [1, 2, 3, 5].map(|units| amount(&mut yen, units)).into();
    assert_eq!(yens, ["0.000000000", "1.000000000", "2.000000000", "2.000000000"]);
    let mut dinar = one("0.0005", "3 half-even");
    let dinars: Vec<String> = [1, 2, 3, 5].map(|units| amount(&mut dinar, units)).into();
    assert_eq!(dinars, ["0.000000000", "0.001000000", "0.002000000", "0.002000000"]);
}

/// docs/plan-semantics.md section 3: quantities and totals have 128 bits, so a petabyte has its
/// exact price.
#[test]
fn a_petabyte_has_its_exact_price_whatever_the_mode() {
    const PB: i64 = 1_000_000_000_000_000;
    let graph = |mode: &str| {
        format!(
            r#"<MonthlyAccumulator id="a" in="record.octets"/>
            <StepRater id="r" in="a.out" level="a.total" mode="{mode}">
              <step id="s" upto="1 TB" price="0.07" per="1 GB"/><step id="t" price="0.03" per="1 GB"/>
            </StepRater>
            <AccountFinalizer id="post" in="r.charge"/>"#
        )
    };
    let total = |mode: &str, round: &str| -> i128 {
        let mut account = rounded(&graph(mode), round);
        // The record is rated twice, so that the second running total does not start at 0.
        let rated = [account.rate(&bytes(PB)).unwrap(), account.rate(&bytes(PB)).unwrap()];
        rated.iter().flat_map(|rated| &rated.lines).map(|line| line.amount.nanos()).sum()
    };
    for round in ["9 half-even", "9 running"] {
        assert_eq!(total("graduated", round), (70 + 30 * 1_999) * 1_000_000_000, "{round}");
        assert_eq!(total("volume", round), 60_000 * 1_000_000_000, "{round}");
        assert_eq!(total("package", round), (70 + 30 * 1_999) * 1_000_000_000, "{round}");
    }
}

const COUNT: &str = r#"<MonthlyAccumulator id="a" in="record.quantity"/>"#;
const POST: &str = r#"<AccountFinalizer id="post" in="r.charge"/>"#;

fn rater(links: &str, mode: &str) -> String {
    format!(
        r#"<StepRater id="r" {links} mode="{mode}"><step id="s" price="1" per="1"/></StepRater>"#
    )
}

/// docs/plan-semantics.md section 4: a price that depends on the level needs an accumulator that
/// counts exactly the priced units.
#[test]
fn a_level_that_counts_other_units_than_are_priced() {
    for mode in ["volume", "package"] {
        let rate = rater(r#"in="record.quantity" level="a.total""#, mode);
        let rest = r#"<Ignore id="i" in="a.out"/>"#;
        refused(&[COUNT, &rate, POST, rest], 4, "r", Cause::UnknownReference);
        let both = rater(r#"in="a.out record.quantity" level="a.total""#, mode);
        refused(&[COUNT, &both, POST], 4, "r", Cause::UnknownReference);
    }
}

/// docs/plan-semantics.md section 3: running rounding needs a level.
#[test]
fn a_rater_without_level_in_a_running_plan() {
    let running = |lines: &[&str]| {
        plan(&lines.join("\n")).replacen("currency=", "round=\"running\" currency=", 1)
    };
    let rate = rater(r#"in="record.quantity""#, "graduated");
    refused_plan(&running(&[&rate, POST]), 3, "r", Cause::OpenInput);
    let rate = rater(r#"in="record.quantity" level="a.total""#, "graduated");
    let rest = r#"<Ignore id="i" in="a.out"/>"#;
    refused_plan(&running(&[COUNT, &rate, POST, rest]), 4, "r", Cause::UnknownReference);
}

#[test]
fn a_mode_that_does_not_exist_and_a_package_of_nothing() {
    let rate = rater(r#"in="record.quantity""#, "stairway");
    refused(&[&rate, POST], 3, "r", Cause::BadValue);
    let rate = rater(r#"in="record.quantity""#, "package").replace("per=\"1\"", "per=\"0\"");
    refused(&[&rate, POST], 3, "r", Cause::BadValue);
}

/// The price of a total in mode volume, in billionths: all units cost the price of the step
/// reached. The prices of `steps` are in cents.
fn volume(total: i128, steps: &[(i128, i128)], last: i128) -> i128 {
    let cents = steps.iter().find(|(upto, _)| total <= *upto).map_or(last, |(_, cents)| *cents);
    total * cents * 10_000_000
}

proptest! {
    #![proptest_config(test_cases::cases(256))]

    /// For any division of a month's units into records, the lines add up to the price of the
    /// total.
    #[test]
    fn a_volume_is_priced_by_the_step_reached(
        widths in proptest::collection::vec((1i128..50, 0i128..30), 1..4),
        last in 0i128..30,
        records in proptest::collection::vec(0i64..60, 1..12),
        running: bool,
    ) {
        let (mut upto, mut steps, mut xml) = (0, Vec::new(), String::new());
        for (place, (width, cents)) in widths.iter().enumerate() {
            upto += width;
            steps.push((upto, *cents));
            xml += &format!("<step id=\"s{place}\" upto=\"{upto}\" price=\"0.{cents:02}\" per=\"1\"/>");
        }
        xml += &format!("<step id=\"last\" price=\"0.{last:02}\" per=\"1\"/>");
        let round = if running { "9 running" } else { "9 half-even" };
        let mut account = rounded(&monthly("volume", &xml), round);
        let (mut total, mut sum) = (0, 0);
        for units in records {
            total += i128::from(units);
            let rated = account.rate(&event("t", MAY, units)).unwrap();
            sum += rated.lines.iter().map(|line| line.amount.nanos()).sum::<i128>();
            prop_assert_eq!(sum, volume(total, &steps, last));
        }
    }

    /// For any division of the units into records, the charge is the price of the packages that
    /// were begun.
    #[test]
    fn the_charge_equals_the_packages_begun(
        per in 1i64..40, records in proptest::collection::vec(0i64..100, 1..12),
    ) {
        let steps = format!("<step id=\"s\" price=\"1\" per=\"{per}\"/>");
        let mut account = rounded(&monthly("package", &steps), "9 half-even");
        let (mut total, mut sum) = (0, 0);
        for units in records {
            let begun = (total..total + units).filter(|unit| unit % per == 0).count() as i128;
            total += units;
            let rated = account.rate(&event("t", MAY, units)).unwrap();
            let amount: i128 = rated.lines.iter().map(|line| line.amount.nanos()).sum();
            prop_assert_eq!(amount, begun * 1_000_000_000);
            sum += amount;
        }
        prop_assert_eq!(sum / 1_000_000_000, i128::from((total + per - 1) / per));
    }
}
