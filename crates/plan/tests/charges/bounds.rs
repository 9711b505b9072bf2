//! Minimum, Cap and Commitment (docs/plan-semantics.md sections 5 and 8).

use turnpike_types::{LineKind, Timestamp};

use super::{Subscription, UNITS, cents, pairs};
use crate::support::{event, micros, plan};

fn held(primitive: &str) -> Subscription {
    Subscription::behind_units(primitive, "held", &[])
}

#[test]
fn a_minimum_tops_up_the_lines_of_a_record() {
    let mut account = held(r#"<Minimum id="held" in="units.charge" amount="0.10"/>"#);
    assert_eq!(account.posted(&cents(3, 1)), pairs(&[("units", "0.03"), ("held", "0.07")]));
    assert_eq!(account.posted(&cents(10, 1)), pairs(&[("units", "0.1")]));
    // A record without a charge line is not topped up to the minimum.
    assert_eq!(account.posted(&cents(0, 1)), []);
    let kind = account.code.components().last().unwrap().kind;
    assert_eq!(kind, LineKind::Adjustment);
}

#[test]
fn a_minimum_applies_to_the_sum_of_its_inputs() {
    let graph = r#"<StepRater id="more" in="record.quantity"><step id="more" price="0.02" per="1"/></StepRater>
        <Minimum id="held" in="units.charge more.charge" amount="0.10"/>"#;
    let mut account = held(graph);
    assert_eq!(
        account.posted(&cents(3, 1)),
        pairs(&[("units", "0.03"), ("more", "0.06"), ("held", "0.01")])
    );
}

#[test]
fn a_cap_takes_back_the_excess_at_once() {
    let mut account = held(r#"<Cap id="held" in="units.charge" amount="0.10" per="day"/>"#);
    assert_eq!(account.posted(&cents(7, 1)), pairs(&[("units", "0.07")]));
    assert_eq!(account.posted(&cents(7, 1)), pairs(&[("units", "0.07"), ("held", "-0.04")]));
    assert_eq!(account.posted(&cents(7, 1)), pairs(&[("units", "0.07"), ("held", "-0.07")]));
    assert_eq!(account.posted(&cents(7, 2)), pairs(&[("units", "0.07")]));
}

/// docs/plan-semantics.md section 4: the periods of a cap are the days, ISO weeks, calendar months
/// and billing cycles of the account.
#[test]
fn a_cap_counts_by_its_period() {
    let first_above = |per: &str, days: &[(&str, bool)]| {
        let xml = format!(r#"<Cap id="held" in="units.charge" amount="0.10" per="{per}"/>"#);
        let mut account = held(&xml);
        account.account.cycle_day = 10;
        for (at, capped) in days {
            let at = format!("{at}T12:00:00Z");
            let lines = account.posted(&event("t", &at, 10));
            assert_eq!(lines.len(), if *capped { 2 } else { 1 }, "{per} {at}");
        }
    };
    first_above("record", &[("2026-03-01", false), ("2026-03-01", false)]);
    first_above("day", &[("2026-03-01", false), ("2026-03-01", true), ("2026-03-02", false)]);
    // 1 March 2026 is a Sunday.
    first_above("week", &[("2026-03-01", false), ("2026-03-02", false), ("2026-03-08", true)]);
    first_above("month", &[("2026-03-01", false), ("2026-03-31", true), ("2026-04-01", false)]);
    first_above(
        "billing-cycle",
        &[("2026-03-10", false), ("2026-04-09", true), ("2026-04-10", false)],
    );
    let mut account = held(r#"<Cap id="held" in="units.charge" amount="0.10" per="record"/>"#);
    assert_eq!(account.posted(&cents(12, 1)), pairs(&[("units", "0.12"), ("held", "-0.02")]));
    assert!(account.state.entries().is_empty());
}

/// A credit first reduces the amount above the cap, which the account does not pay, and then the
/// amount that the account pays.
#[test]
fn credits_count_against_a_cap() {
    let graph = r#"<Discount id="off" in="units.charge" percent="50"/>
        <Cap id="held" in="off.charge" amount="0.10" per="month"/>"#;
    let mut account = held(graph);
    assert_eq!(
        account.posted(&cents(12, 1)),
        pairs(&[("units", "0.12"), ("off", "-0.06"), ("held", "-0.02"), ("held", "0.02")])
    );
    assert_eq!(
        account.posted(&cents(12, 1)),
        pairs(&[("units", "0.12"), ("off", "-0.06"), ("held", "-0.08"), ("held", "0.06")])
    );
}

fn committed() -> Subscription {
    let graph = r#"<Commitment id="held" in="units.charge" amount="20"/>"#;
    let mut account = held(graph);
    account.since = Timestamp(micros("2026-02-01T00:00:00Z"));
    account
}

/// docs/plan-semantics.md section 5: the close of a cycle books the committed amount less the
/// cycle's charges, never less than zero.
#[test]
fn a_commitment_is_topped_up_when_the_grace_of_its_cycle_is_over() {
    let mut account = committed();
    assert_eq!(account.posted(&event("t", "2026-02-10T12:00:00Z", 1_500)).len(), 1);
    assert_eq!(account.posted(&cents(2_500, 1)).len(), 1);
    assert_eq!(account.sweep("2026-03-02T23:59:59Z").len(), 0);
    let fell = account.sweep("2026-04-03T00:00:00Z");
    let shown: Vec<_> =
        fell.iter().map(|(at, rated)| (at.as_str(), account.shown(rated))).collect();
    let missing = vec![("held".to_owned(), "5".to_owned(), "account")];
    assert_eq!(shown, [("2026-03-03", missing), ("2026-04-03", vec![])]);
    let period = fell[0].1.lines[0].period;
    assert_eq!(period, turnpike_plan::Period(20_485), "the cycle that closed, from 1 February");
}

/// docs/plan-semantics.md section 5: a late record posts to the open cycle, and counts for the
/// commitment of that cycle.
#[test]
fn a_late_record_counts_for_the_commitment_of_the_open_cycle() {
    let mut account = committed();
    assert_eq!(account.sweep("2026-03-03T00:00:00Z").len(), 1);
    let late = account.rate(&event("t", "2026-02-10T12:00:00Z", 1_500)).unwrap();
    assert!(late.late);
    let fell = account.sweep("2026-04-03T00:00:00Z");
    assert_eq!(account.shown(&fell[0].1)[0].1, "5");
}

#[test]
fn a_commitment_counts_the_fees_that_pass_it() {
    let xml = plan(&format!(
        r#"{UNITS}
        <MonthlyRecurringCharge id="fee" amount="12"/>
        <Commitment id="held" in="units.charge fee.charge" amount="20"/>
        <AccountFinalizer id="post" in="held.charge"/>"#
    ));
    let mut account = Subscription::new(&xml, &[]);
    account.since = Timestamp(micros("2026-02-01T00:00:00Z"));
    account.until = Timestamp(micros("2026-03-01T00:00:00Z"));
    let mut fell = account.sweep("2026-02-01T00:00:00Z");
    fell.extend(account.sweep("2026-04-03T00:00:00Z"));
    let shown: Vec<_> = fell.iter().flat_map(|(_, rated)| account.shown(rated)).collect();
    let expected = [("fee", "12", "account"), ("held", "8", "account")];
    assert_eq!(shown, expected.map(|(name, amount, to)| (name.to_owned(), amount.to_owned(), to)));
}
