//! Which state changes may move the next due date. An owner queries the due date again after these
//! changes, and only after them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support;

use support::{account, compiled, event, plan, session, with_view};
use turnpike_plan::{AccountState, DueInterval, ObjectCode, PlanInForce, Rated, Rater};
use turnpike_types::{Timestamp, UsageRecord};

fn in_force(code: &ObjectCode) -> [PlanInForce<'_>; 1] {
    [PlanInForce {
        since: Timestamp(support::micros("2026-01-01T00:00:00Z")),
        ..PlanInForce::always(code)
    }]
}

fn rated(code: &ObjectCode, state: &mut AccountState, record: &UsageRecord) -> Rated {
    let rated = with_view(record, |view| {
        let plans = in_force(code);
        Rater::new().rate(&plans, &account("UTC"), state, view, Timestamp::MIN).cloned().unwrap()
    });
    state.apply(&rated.changes);
    rated
}

/// A record that states a level for a LevelMeter changes the stored level, but moves no due date of
/// the other charges.
#[test]
fn a_statement_of_a_level_moves_nothing_that_falls_due() {
    let code = compiled(&plan(
        r#"<LevelMeter id="m" in="record.quantity"><step id="s" price="1" per="1"/></LevelMeter>
        <MonthlyRecurringCharge id="fee" amount="31" prorate="day"/>
        <OneTimeCharge id="setup" amount="5"/>
        <AccountFinalizer id="post" in="m.charge fee.charge setup.charge"/>"#,
    ));
    let mut state = AccountState::default();
    for (start, level) in [("2026-02-01T00:00:00Z", 4), ("2026-02-02T00:00:00Z", 2)] {
        let rated = rated(&code, &mut state, &event("t", start, level));
        assert!(!rated.changes.is_empty() && !rated.moves_dues, "{start}");
    }
}

#[test]
fn a_charge_with_the_first_usage_moves_no_due_charge() {
    let code = compiled(&plan(
        r#"<OneTimeCharge id="setup" trigger="record.duration" amount="5" due="first-use"/>
        <MonthlyRecurringCharge id="fee" amount="31"/>
        <Ignore id="i" in="record.duration"/>
        <AccountFinalizer id="post" in="setup.charge fee.charge"/>"#,
    ));
    let mut state = AccountState::default();
    let record = session("t", "2026-02-01T00:00:00Z", "2026-02-01T01:00:00Z");
    let rated = rated(&code, &mut state, &record);
    assert_eq!((rated.lines.len(), rated.moves_dues), (1, false));
}

/// A charge, a refund and a close each move the next due date.
#[test]
fn a_due_charge_moves_the_next_due_charge() {
    let code = compiled(&plan(
        r#"<LevelMeter id="m" in="record.quantity"><step id="s" price="1" per="1"/></LevelMeter>
        <MonthlyRecurringCharge id="fee" amount="31" prorate="day"/>
        <OneTimeCharge id="setup" amount="5"/>
        <AccountFinalizer id="post" in="m.charge fee.charge setup.charge"/>"#,
    ));
    let (mut state, mut rater, account) = (AccountState::default(), Rater::new(), account("UTC"));
    let mut found = std::collections::BTreeSet::new();
    for until in [Timestamp::MAX, Timestamp(support::micros("2026-01-20T12:00:00Z"))] {
        let plans = in_force(&code).map(|plan| PlanInForce { until, ..plan });
        let interval =
            DueInterval { from: plans[0].since, until, account: &account, plans: &plans };
        let now = Timestamp(support::micros("2026-03-10T00:00:00Z"));
        while let Some(due) = rater.next_due(&[interval], &state, now, now) {
            let rated = rater.fall_due(&[interval], &due, &state, now).unwrap();
            assert!(rated.moves_dues, "{due:?}");
            let name = |line: &turnpike_plan::ChargeLine| {
                code.components()[usize::from(line.component)].component.clone()
            };
            found.extend(rated.lines.iter().map(name));
            found.insert(due.word().to_owned());
            state.apply(&rated.changes);
        }
    }
    let found: Vec<_> = found.iter().map(String::as_str).collect();
    assert_eq!(found, ["charge", "close", "fee", "fee-unused", "setup"]);
}
