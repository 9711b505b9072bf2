//! Descriptions of an account's state: no value is shown as an encoded number.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support;

use std::collections::BTreeMap;

use support::{compiled, plan};
use turnpike_plan::{
    ObjectCode, OfferId, Period, Reading, StateEntry, VariableId, Zone, plan_number,
};
use turnpike_types::Timestamp;

/// A plan with primitives of several types that keep state.
const GRAPH: &str = r#"<Allowance id="a" in="record.octets" topup="record.pass">
          <bucket id="m" grant="5 kB" every="month"/><bucket id="once" grant="1 kB" valid="30 d"/><bought id="b" valid="30 d"/>
        </Allowance>
        <MonthlyAccumulator id="volume" in="a.rest"/>
        <StepRater id="rate" in="volume.out" level="volume.total">
          <step id="s" price="1" per="1 B" constant="2"/>
        </StepRater>
        <Ignore id="i" in="a.covered"/>
        <MonthlyAccumulator id="time" in="record.duration"/><Ignore id="j" in="time.out"/>
        <OneTimeCharge id="entry" amount="3"/>
        <MonthlyRecurringCharge id="fee" amount="31" prorate="day"/>
        <LevelMeter id="held" in="record.held"><step id="h" price="1" per="1 GB"/></LevelMeter>
        <Cap id="cap" in="rate.charge" amount="10" per="month"/>
        <AccountFinalizer id="post" in="cap.charge entry.charge fee.charge held.charge"/>"#;

fn names(code: &ObjectCode) -> BTreeMap<String, VariableId> {
    let known = code.variables().iter();
    known.map(|variable| (variable.primitive.clone(), variable.id)).collect()
}

/// Days from 1970-01-01 to 2026-11-01.
const NOVEMBER: i32 = 20_758;
/// The instant 2026-11-01T00:00:00Z in minutes, in intervals of five minutes, and in microseconds
/// since 1970.
const MINUTES: i32 = NOVEMBER * 1440;
const INTERVALS: i32 = NOVEMBER * 288;
const MICROS: i128 = NOVEMBER as i128 * 86_400_000_000;

fn told(reading: &Reading<'_>, variable: VariableId, period: i32, value: i128) -> String {
    let entry = StateEntry { variable, period: Period(period), value };
    let words = reading.words(&entry);
    format!("{} | {} | {}", words.name, words.period, words.value)
}

#[test]
fn the_state_of_every_primitive_is_described() {
    let code = compiled(&plan(GRAPH));
    let (zone, names) = (Zone::utc(), names(&code));
    let reading = Reading { codes: &[&code], offers: &[], zone: &zone };
    let booking =
        i128::from(MINUTES) << 64 | i128::from(NOVEMBER + 30) << 32 | i128::from(NOVEMBER + 9);
    for (name, period, value, expected) in [
        ("time", NOVEMBER, 7_200_000_000, "p/time | 2026-11-01 | 7200 s"),
        ("volume", NOVEMBER, 1_500, "p/volume | 2026-11-01 | 1500 B"),
        ("rate/s", NOVEMBER, 1, "p/rate/s | 2026-11-01 | charged"),
        ("a/m", NOVEMBER, 4_000, "p/a/m | 2026-11-01 | 4000 B"),
        ("a/once", MINUTES, 7, "p/a/once | subscription from 2026-11-01T00:00:00+00:00 | 7 B"),
        ("a/b", NOVEMBER, 7, "p/a/b | expires on 2026-11-01 | 7 B left"),
        (
            "a/b/since",
            NOVEMBER + 30,
            i128::from(NOVEMBER),
            "p/a/b/since | expires on 2026-12-01 | valid from 2026-11-01",
        ),
        ("entry", MINUTES, 1, "p/entry | subscription from 2026-11-01T00:00:00+00:00 | charged"),
        (
            "fee/next",
            MINUTES,
            i128::from(NOVEMBER + 30),
            "p/fee/next | subscription from 2026-11-01T00:00:00+00:00 | charged until 2026-12-01",
        ),
        ("fee/booked", NOVEMBER, 31_000_000_000, "p/fee/booked | 2026-11-01 | 31.000000000 USD"),
        (
            "fee/dates",
            NOVEMBER,
            booking,
            "p/fee/dates | 2026-11-01 | charged until 2026-12-01, kept until 2026-11-10, of the \
             subscription from 2026-11-01T00:00:00+00:00",
        ),
        ("held/stated", i32::MIN, MICROS, "p/held/stated |  | 2026-11-01T00:00:00+00:00"),
        (
            "held/level",
            INTERVALS,
            5,
            "p/held/level | five minutes from 2026-11-01T00:00:00+00:00 | 5 B",
        ),
        (
            "held/sum",
            INTERVALS,
            5_000_000,
            "p/held/sum | five minutes from 2026-11-01T00:00:00+00:00 | B x 5 s",
        ),
        ("cap", NOVEMBER, 9_500_000_000, "p/cap | 2026-11-01 | 9.500000000 USD"),
    ] {
        let variable = *names.get(name).unwrap_or_else(|| panic!("{name} of {names:?}"));
        assert_eq!(told(&reading, variable, period, value), expected);
    }
}

/// Tests the descriptions of an account's options, of closed cycles, and of variables that no plan
/// declares.
#[test]
fn the_state_of_the_account_is_described() {
    let code = compiled(&plan(GRAPH));
    let zone = Zone::utc();
    let offer = OfferId::of("best", Timestamp(5));
    let reading = Reading { codes: &[&code], offers: &[("best", offer)], zone: &zone };
    let (picked, closed) = (offer.choice(), offer.closed());
    assert_eq!(
        told(&reading, picked, NOVEMBER, plan_number("p")),
        "option best/picked | 2026-11-01 | p"
    );
    assert_eq!(
        told(&reading, closed, 15, i128::from(NOVEMBER)),
        "option best/closed | cycles from day 15 | closed before 2026-11-01"
    );
    let unknown = VariableId(0x0123_4567_89ab_cdef);
    assert_eq!(told(&reading, unknown, NOVEMBER, 5), "0123456789abcdef | 2026-11-01 | 5");
}

/// No value causes a panic, and each description is one line.
#[test]
fn any_value_is_described() {
    let code = compiled(&plan(GRAPH));
    let zone = Zone::parse("America/New_York").unwrap();
    let reading = Reading { codes: &[&code], offers: &[], zone: &zone };
    for variable in code.variables() {
        for value in [i128::MIN, -1, 0, 1, i128::from(i64::MAX), 1 << 64, i128::MAX] {
            for period in [i32::MIN, -1, 0, i32::MAX] {
                let text = told(&reading, variable.id, period, value);
                assert!(text.len() < 300 && !text.contains('\n'), "{text}");
            }
        }
    }
}
