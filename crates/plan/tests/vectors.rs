//! Worked examples whose quantities and amounts must be exact.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support;

use std::collections::BTreeMap;

use support::{Subscriber, event, rows, session};

const FIG6B: &str = include_str!("data/fig6b.xml");
const WEIGHTED: &str = include_str!("data/weighted.xml");

type Lines = BTreeMap<(String, String), (i128, String)>;

/// The lines of the example Fig. 6B (docs/plan-semantics.md section 9).
#[test]
fn fig_6b_is_rated_exactly() {
    let mut subscriber = Subscriber::new(FIG6B, "America/New_York");
    let mut lines = Lines::new();
    for row in rows(include_str!("data/fig6b_usage.csv")) {
        for (component, quantity, amount) in subscriber.lines(&session(row[1], row[2], row[3])) {
            let twice = lines.insert((row[0].to_owned(), component), (quantity, amount));
            assert_eq!(twice, None, "one line for each record and component");
        }
    }
    let expected: Lines = rows(include_str!("data/fig6b_expected.csv"))
        .map(|row| {
            let value = (row[2].parse().unwrap(), row[3].to_owned());
            ((row[0].to_owned(), row[1].to_owned()), value)
        })
        .collect();
    assert_eq!(lines, expected);
}

/// docs/plan-semantics.md section 3: lines are in topological order of their primitives, ties by
/// document order, then by first unit.
#[test]
fn fig_6b_lines_are_in_the_order_of_the_graph() {
    let mut subscriber = Subscriber::new(FIG6B, "America/New_York");
    let long = session("connect-time", "2026-01-05T10:00:00-05:00", "2026-02-02T10:00:00-05:00");
    let order: Vec<String> = subscriber.lines(&long).into_iter().map(|line| line.0).collect();
    let expected =
        ["setup", "monthly", "monthly", "free", "free", "peak", "offpeak-1", "offpeak-2"];
    assert_eq!(order, expected);
}

/// docs/architecture.md section 7: every line shows the accumulator's total before and after.
#[test]
fn a_line_shows_the_level_before_its_first_and_after_its_last_unit() {
    let mut subscriber = Subscriber::new(FIG6B, "America/New_York");
    const HOUR: i128 = 3_600_000_000;
    let long = session("connect-time", "2026-01-05T00:00:00-05:00", "2026-01-09T05:00:00-05:00");
    let rated = subscriber.rate(&long).unwrap();
    let free = rated.lines.iter().find(|line| subscriber.shown(line).0 == "free").unwrap();
    assert_eq!((free.level_before, free.level_after), (0, 100 * HOUR));
    let offpeak = rated.lines.iter().find(|line| subscriber.shown(line).0 == "offpeak-1").unwrap();
    assert_eq!((offpeak.level_before, offpeak.level_after), (0, HOUR));
    assert_eq!(offpeak.first_unit, 100 * 3_600_000_000);
}

/// The example of weighted functions (docs/plan-semantics.md section 9): 22 points cost 1.10, 6
/// cost 0.30, and 24 cost 1.20.
#[test]
fn weighted_functions_are_rated_exactly() {
    let mut accounts: BTreeMap<&str, Subscriber> = BTreeMap::new();
    let mut totals: BTreeMap<&str, (i128, i128)> = BTreeMap::new();
    let mut lines = Vec::new();
    for row in rows(include_str!("data/weighted_usage.csv")) {
        let subscriber = accounts.entry(row[1]).or_insert_with(|| Subscriber::new(WEIGHTED, "UTC"));
        let mut record = event(row[2], row[3], row[4].parse().unwrap());
        record.attributes.insert("function".to_owned(), row[5].to_owned());
        for line in subscriber.rate(&record).unwrap().lines {
            let (component, quantity, amount) = subscriber.shown(&line);
            let total = totals.entry(row[1]).or_default();
            *total = (total.0 + quantity, total.1 + line.amount.nanos());
            lines.push(format!("{},{},{component},{quantity},{amount}", row[0], row[1]));
        }
    }
    let expected: Vec<&str> = include_str!("data/weighted_expected.csv").lines().skip(1).collect();
    assert_eq!(lines, expected);
    let cent = 10_000_000;
    let sums =
        BTreeMap::from([("1", (22, 110 * cent)), ("2", (6, 30 * cent)), ("3", (24, 120 * cent))]);
    assert_eq!(totals, sums);
}
