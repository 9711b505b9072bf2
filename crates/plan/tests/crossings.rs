//! Sessions across several boundaries at once, computed by hand, and changes of plans and settings
//! during a session (docs/plan-semantics.md section 6). Months and clock changes alone are in
//! thresholds.rs and time_filters.rs.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support;

use support::due::{Contract, Ledger, Subscription, plan_of};
use support::{Subscriber, plan, session};
use turnpike_types::{SuspenseReason, Timestamp};

const HOUR: i128 = 3_600_000_000;

/// A graph that charges evenings, 19:00 to 24:00, at 1.00 per hour. In other hours, the first 20
/// hours of the month cost `price`, and further hours cost `half`.
fn evenings(price: &str, half: &str) -> String {
    format!(
        r#"<DailyTimeFilter id="evening" in="record.duration" from="19:00" to="24:00"/>
        <StepRater id="dear" in="evening.pass"><step id="evening" price="1.00" per="1 h"/></StepRater>
        <MonthlyAccumulator id="hours" in="evening.rest"/>
        <StepRater id="cheap" in="hours.out" level="hours.total">
          <step id="first" upto="20 h" price="{price}" per="1 h"/>
          <step id="more" price="{half}" per="1 h"/>
        </StepRater>
        <AccountFinalizer id="post" in="dear.charge cheap.charge"/>"#
    )
}

/// Rates a session in Zurich; returns (component, hours, amount) of each line, in order.
fn hours(xml: &str, start: &str, end: &str) -> Vec<(String, f64, String)> {
    let lines = Subscriber::new(xml, "Europe/Zurich").lines(&session("t", start, end));
    lines.into_iter().map(|(name, units, amount)| (name, in_hours(units), short(&amount))).collect()
}

fn in_hours(units: i128) -> f64 {
    units as f64 / HOUR as f64
}

fn short(amount: &str) -> String {
    amount.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn lines(expected: &[(&str, f64, &str)]) -> Vec<(String, f64, String)> {
    let owned = |(name, hours, amount): &(&str, f64, &str)| {
        ((*name).to_owned(), *hours, (*amount).to_owned())
    };
    expected.iter().map(owned).collect()
}

/// docs/plan-semantics.md section 1: the wall-clock time of each unit determines its window.
#[test]
fn a_session_across_the_start_of_peak_is_split_there() {
    assert_eq!(
        hours(
            &plan(&evenings("0.10", "0.05")),
            "2026-05-04T18:30:00+02:00",
            "2026-05-04T20:00:00+02:00"
        ),
        lines(&[("evening", 1.0, "1"), ("first", 0.5, "0.05")])
    );
}

/// docs/plan-semantics.md section 4: a unit counts in the day in which it happens.
#[test]
fn a_session_across_midnight_has_the_free_hour_of_both_days() {
    let daily = plan(
        r#"<DailyAccumulator id="day" in="record.duration"/>
        <StepRater id="r" in="day.out" level="day.total">
          <step id="free" upto="1 h" price="0" per="1 h"/><step id="paid" price="1" per="1 h"/>
        </StepRater>
        <AccountFinalizer id="post" in="r.charge"/>"#,
    );
    assert_eq!(
        hours(&daily, "2026-05-04T22:30:00+02:00", "2026-05-05T01:45:00+02:00"),
        lines(&[
            ("free", 1.0, "0"),
            ("paid", 0.5, "0.5"),
            ("free", 1.0, "0"),
            ("paid", 0.75, "0.75")
        ])
    );
}

/// docs/plan-semantics.md section 4: steps are half open on the level, so the unit that begins at
/// 20 hours is the first of the second step.
#[test]
fn a_session_across_a_tier_is_split_at_its_level() {
    let mut account = Subscriber::new(&plan(&evenings("0.10", "0.05")), "Europe/Zurich");
    let early = |day: u8, to: &str| {
        session("t", &format!("2026-05-{day:02}T00:00:00+02:00"), &format!("2026-05-{day:02}T{to}"))
    };
    let of = |account: &mut Subscriber, record| {
        let lines = account.lines(&record).into_iter();
        lines.map(|(name, units, _)| (name, units)).collect::<Vec<_>>()
    };
    assert_eq!(of(&mut account, early(4, "18:00:00+02:00")), [("first".to_owned(), 18 * HOUR)]);
    assert_eq!(
        of(&mut account, early(5, "02:00:00.000001+02:00")),
        [("first".to_owned(), 2 * HOUR), ("more".to_owned(), 1)]
    );
}

/// A subscription in Zurich whose plan has a new version from each of these dates. Each version
/// doubles the price of the hours outside the evening.
fn versions(starts: &[&str]) -> Contract {
    let version = |number: usize, starts: &str| {
        let price = f64::from(1u32 << (number - 1)) / 10.0;
        let graph = evenings(&price.to_string(), &(price / 2.0).to_string());
        plan_of("p", number as u32, starts, &graph)
    };
    let first = Subscription::to(&version(1, "2026-01-01"), "2026-01-01T00:00:00+01:00");
    let all = starts.iter().zip(2..).fold(first, |subscription, (starts, number)| {
        subscription.and_version(&version(number, starts))
    });
    Contract::in_zone("Europe/Zurich").with(all)
}

/// Rates records in order; returns (component, hours, amount) of the lines of the last record.
fn last_of(contract: &Contract, records: &[(&str, &str)]) -> Vec<(String, f64, String)> {
    let mut ledger = Ledger::new();
    for (start, end) in records {
        ledger.lines.clear();
        ledger.rate(contract, &session("t", start, end), Timestamp::MIN).unwrap();
    }
    let shown = ledger.lines.iter();
    shown
        .map(|line| {
            let amount = short(&line.amount.to_string());
            (line.component.clone(), in_hours(line.quantity), amount)
        })
        .collect()
}

/// docs/plan-semantics.md section 6: a session is rated entirely by the version in force at its
/// start; the next one is rated by the new version and continues the same totals.
#[test]
fn a_session_across_a_plan_change_is_rated_by_the_old_version_only() {
    let contract = versions(&["2026-05-05"]);
    let across = ("2026-05-04T06:00:00+02:00", "2026-05-05T04:00:00+02:00");
    assert_eq!(
        last_of(&contract, &[across]),
        lines(&[("evening", 5.0, "5"), ("first", 17.0, "1.7")])
    );
    let after = ("2026-05-05T00:00:00+02:00", "2026-05-05T04:00:00+02:00");
    assert_eq!(
        last_of(&contract, &[across, after]),
        lines(&[("first", 3.0, "0.6"), ("more", 1.0, "0.1")])
    );
}

/// docs/plan-semantics.md sections 1, 4 and 6: peak, midnights, a clock put forward, a tier, the
/// end of a month and a plan change in one session of 83 hours.
#[test]
fn a_session_across_everything_at_once_in_spring() {
    let contract = versions(&["2026-03-30"]);
    let across = ("2026-03-28T18:00:00+01:00", "2026-04-01T06:00:00+02:00");
    // The session has 4 evenings of 5 hours. Its other hours in March are 1 on the 28th, 18 on the
    // 29th, which has 23 hours, and 19 on each of the last two days.
    assert_eq!(
        last_of(&contract, &[across]),
        lines(&[
            ("evening", 20.0, "20"),
            ("first", 20.0, "2"),
            ("more", 37.0, "1.85"),
            ("first", 6.0, "0.6")
        ])
    );
    let after = ("2026-04-01T04:00:00+02:00", "2026-04-01T19:00:00+02:00");
    assert_eq!(
        last_of(&contract, &[across, after]),
        lines(&[("first", 14.0, "2.8"), ("more", 1.0, "0.1")])
    );
}

/// docs/plan-semantics.md sections 1, 4 and 6: all boundaries of the test in spring, but with a
/// clock put back, in one session of 181 hours.
#[test]
fn a_session_across_everything_at_once_in_autumn() {
    let contract = versions(&["2026-10-28"]);
    let across = ("2026-10-24T18:00:00+02:00", "2026-11-01T06:00:00+01:00");
    // The session has 8 evenings of 5 hours. Its other hours in October are 1 on the 24th, 20 on
    // the 25th, which has 25 hours, and 19 on each of the last six days.
    assert_eq!(
        last_of(&contract, &[across]),
        lines(&[
            ("evening", 40.0, "40"),
            ("first", 20.0, "2"),
            ("more", 115.0, "5.75"),
            ("first", 6.0, "0.6")
        ])
    );
}

/// docs/plan-semantics.md section 6: the account's settings are those at the record's start, even
/// if they change before its end.
#[test]
fn a_session_across_a_change_of_zone_goes_by_the_zone_at_its_start() {
    let contract = versions(&[]).then_settings("2026-05-04T18:00:00+02:00", "America/New_York", 1);
    // The session ends at 20:00 in Zurich, where the evening has begun; in New York it has not.
    let across = ("2026-05-04T17:00:00+02:00", "2026-05-04T20:00:00+02:00");
    assert_eq!(
        last_of(&contract, &[across]),
        lines(&[("evening", 1.0, "1"), ("first", 2.0, "0.2")])
    );
    let after = ("2026-05-04T18:00:00+02:00", "2026-05-04T20:00:00+02:00");
    assert_eq!(last_of(&contract, &[across, after]), lines(&[("first", 2.0, "0.2")]));
}

/// docs/plan-semantics.md section 6: a record that starts before a cancellation is rated to its
/// end; a record that starts at or after it is suspended.
#[test]
fn a_session_across_a_cancellation_is_rated_and_one_after_it_is_not() {
    let mut contract = versions(&[]);
    contract.subscriptions[0].until = support::due::at("2026-05-04T12:00:00+02:00");
    let across = ("2026-05-04T11:59:59.999999+02:00", "2026-05-04T14:59:59.999999+02:00");
    assert_eq!(last_of(&contract, &[across]), lines(&[("first", 3.0, "0.3")]));
    let late = session("t", "2026-05-04T12:00:00+02:00", "2026-05-04T13:00:00+02:00");
    assert_eq!(Ledger::new().rate(&contract, &late, Timestamp::MIN), Err(SuspenseReason::NoPlan));
}
