//! Random accounts, records and states, near critical instants.

use std::collections::BTreeMap;

use turnpike_plan::{
    AccountContext, AccountState, ObjectCode, Period, Plan, StateEntry, VariableId,
};
use turnpike_types::{Timestamp, UsageRecord};

use super::clock::{Every, period_of};
use super::dice::Dice;
use super::naive::subscription;
use crate::support::{account, micros};

const HOUR_US: i64 = 3_600_000_000;

/// Time zones, each with an instant near a change of its clock or calendar.
const EDGES: &[(&str, &str)] = &[
    ("UTC", "2026-02-01T00:00:00Z"),
    ("America/New_York", "2026-03-08T07:00:00Z"),
    ("America/New_York", "2026-11-01T06:00:00Z"),
    ("America/New_York", "2026-11-01T04:00:00Z"),
    ("Europe/London", "2026-03-29T01:00:00Z"),
    ("Asia/Kolkata", "2026-02-28T18:30:00Z"),
    ("Asia/Kathmandu", "2026-12-31T18:15:00Z"),
    ("Europe/Zurich", "2026-03-29T01:00:00Z"),
    ("Europe/Zurich", "2026-10-25T01:00:00Z"),
    ("Europe/Zurich", "2024-02-28T23:00:00Z"),
    ("Australia/Adelaide", "2026-04-04T16:30:00Z"),
    // A daylight-saving shift of half an hour.
    ("Australia/Lord_Howe", "2026-04-04T15:00:00Z"),
    ("Australia/Lord_Howe", "2026-10-03T15:30:00Z"),
    // The clock is put back at 00:01 on the first of a month.
    ("America/St_Johns", "2009-11-01T02:31:00Z"),
    // The clock is put forward at midnight.
    ("America/Sao_Paulo", "2018-11-04T03:00:00Z"),
    // A date is skipped.
    ("Pacific/Apia", "2011-12-30T10:00:00Z"),
];

pub(crate) fn an_account(dice: &mut Dice<'_>) -> (AccountContext, i64) {
    let (zone, edge) = dice.one_of(EDGES);
    let cycle_day = dice.one_of(&[1, 1, 8, 29, 30, 31]);
    (AccountContext { cycle_day, ..account(zone) }, micros(edge))
}

/// A record near a critical instant, of few units, so that a loop over them is fast.
pub(crate) fn a_record(measure: &str, edge: i64, dice: &mut Dice<'_>) -> UsageRecord {
    let units = dice.one_of(&[0, 1, 2, 5, 17, 40, 90]);
    let duration_us = match measure {
        "duration" => units,
        _ => dice.one_of(&[0, 1, 30, HOUR_US, 5 * HOUR_US, 26 * HOUR_US + 7, 900 * HOUR_US + 11]),
    };
    let before = match dice.throw(3) {
        0 => dice.number(units.max(1) + 2),
        1 => dice.number(duration_us.max(1) + 2),
        _ => dice.number(60) * HOUR_US,
    };
    let mut record = UsageRecord {
        record_id: "r".to_owned(),
        usage_type: dice.one_of(&["t", "t", "u"]).to_owned(),
        start: Timestamp(edge - before),
        quantity: Some(units),
        measures: BTreeMap::from([("octets".to_owned(), units)]),
        ..UsageRecord::default()
    };
    record.state_duration(Some(duration_us));
    if let Some(value) = dice.one_of(&[Some("a"), Some("a"), Some("b"), Some("c"), None]) {
        record.attributes.insert("f".to_owned(), value.to_owned());
    }
    record
}

/// The start of the subscription: just before every record near the instant `edge`, long before it,
/// or unknown.
pub(crate) fn a_beginning(edge: i64, dice: &mut Dice<'_>) -> Timestamp {
    let hours = dice.one_of(&[910, 1000, 1300, 3000]) + dice.number(60);
    if dice.throw(4) == 0 {
        Timestamp::MIN
    } else {
        Timestamp(edge - hours * HOUR_US - dice.number(HOUR_US))
    }
}

/// The kind of a variable's periods: for an accumulator, a monthly fee, a bucket, or a step's
/// constant with a level. `None` for a variable of the subscription.
fn every(plan: &Plan, variable: &str) -> Option<Every> {
    let (id, child) = variable.split_once('/').unwrap_or((variable, ""));
    let primitive = plan.primitive(id).unwrap();
    match primitive.kind.as_str() {
        "OneTimeCharge" => None,
        "StepRater" => Some(Every::of(plan.primitive(&primitive.links("level")[0].from).unwrap())),
        "Allowance" => {
            let mut buckets = primitive.children.iter();
            Every::of_bucket(buckets.find(|bucket| bucket.property("id") == Some(child)).unwrap())
        }
        _ => Some(Every::of(primitive)),
    }
}

/// State of bought units that expire near the instant `edge`, some of them used up.
fn what_was_bought(
    state: &mut AccountState,
    left: VariableId,
    since: VariableId,
    edge: Period,
    dice: &mut Dice<'_>,
) {
    for days in [-1, 0, 1, 2, 7, 39] {
        if dice.throw(3) == 0 {
            let period = Period(edge.0 + days);
            let began = period.0 - dice.one_of(&[1, 1, 2, 7, 40]);
            let value = dice.throw(40) as i128;
            state.set(StateEntry { variable: left, period, value });
            state.set(StateEntry { variable: since, period, value: began.into() });
        }
    }
}

/// State values in some periods near the instant `edge`, as if left by earlier usage.
pub(crate) fn a_state(
    plan: &Plan,
    code: &ObjectCode,
    account: &AccountContext,
    (edge, since): (i64, Timestamp),
    dice: &mut Dice<'_>,
) -> AccountState {
    const DAY_US: i64 = 24 * HOUR_US;
    let mut state = AccountState::default();
    for variable in code.variables() {
        let id = variable.primitive.split('/').next().unwrap();
        let kind = plan.primitive(id).unwrap().kind.as_str();
        if variable.primitive.ends_with("/bought") {
            let since = format!("{}/since", variable.primitive);
            let since = code.variables().iter().find(|known| known.primitive == since).unwrap().id;
            what_was_bought(
                &mut state,
                variable.id,
                since,
                period_of(account, Every::Day, edge),
                dice,
            );
        }
        if variable.primitive.contains("/bought") {
            continue;
        }
        let counts = kind.ends_with("Accumulator") || kind == "Allowance";
        for days in [-40, -1, 0, 1] {
            let period = match every(plan, &variable.primitive) {
                Some(every) => period_of(account, every, edge + days * DAY_US),
                None => subscription(since),
            };
            let value = if counts { dice.throw(40) as i128 } else { 1 };
            if dice.throw(3) == 0 {
                state.set(StateEntry { variable: variable.id, period, value });
            }
        }
    }
    state
}
