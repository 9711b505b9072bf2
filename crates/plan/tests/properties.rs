//! Properties for any input: no text or number panics, parts add up, accounts are independent.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support;

use std::collections::BTreeMap;

use proptest::prelude::*;
use support::{Subscriber, account, compiled, micros, session, with_view};
use turnpike_plan::{AccountState, ObjectCode, Period, PlanInForce, Rated, Rater, compile, parse};
use turnpike_types::{Timestamp, UsageRecord};

const FIG6B: &str = include_str!("data/fig6b.xml");
const WEIGHTED: &str = include_str!("data/weighted.xml");

fn time(start_us: i64, duration_us: i64) -> UsageRecord {
    let epoch = "1970-01-01T00:00:00Z";
    UsageRecord { start: Timestamp(start_us), duration_us, ..session("connect-time", epoch, epoch) }
}

/// The number of units by component and period.
fn totals(code: &ObjectCode, rated: &[Rated]) -> BTreeMap<(String, Period), i128> {
    let mut totals = BTreeMap::new();
    for line in rated.iter().flat_map(|rated| &rated.lines) {
        let component = &code.components()[usize::from(line.component)].component;
        *totals.entry((component.clone(), line.period)).or_default() += line.quantity;
    }
    totals
}

fn spring_us() -> impl Strategy<Value = i64> {
    let (from, to) = (micros("2026-01-25T00:00:00Z"), micros("2026-04-05T00:00:00Z"));
    from..to
}

proptest! {
    #![proptest_config(test_cases::cases(256))]

    /// A session cut in two at any instant gives the same units, fees and state as the whole.
    #[test]
    fn the_parts_of_a_record_add_up_to_the_whole(
        start in spring_us(), duration in 1i64..400 * 3_600_000_000, cut in 0i64..10_000,
    ) {
        let first = duration * cut / 10_000;
        let mut whole = Subscriber::new(FIG6B, "America/New_York");
        let one = vec![whole.rate(&time(start, duration)).unwrap()];
        let mut parts = Subscriber::new(FIG6B, "America/New_York");
        let two = vec![
            parts.rate(&time(start, first)).unwrap(),
            parts.rate(&time(start + first, duration - first)).unwrap(),
        ];
        prop_assert_eq!(&whole.state, &parts.state);
        prop_assert_eq!(totals(&whole.plans[0], &one), totals(&parts.plans[0], &two));
        let units: i128 = one[0].lines.iter().map(|line| line.quantity).sum();
        prop_assert_eq!(units, i128::from(duration));
    }

    /// If one rater rates records of different accounts, in any order, each account has the same
    /// bill as with a rater of its own.
    #[test]
    fn the_order_of_records_of_different_accounts_changes_nothing(
        records in proptest::collection::vec((0usize..3, spring_us(), 0i64..90 * 3_600_000_000), 1..25),
    ) {
        let zones = ["America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"];
        let code = compiled(FIG6B);
        let rate = |rater: &mut Rater, number: usize, state: &mut AccountState, record: &UsageRecord| {
            let plans = [PlanInForce::always(&code)];
            let account = account(zones[number]);
            let rated = with_view(record, |view| rater.rate(&plans, &account, state, view, Timestamp::MIN).unwrap().clone());
            state.apply(&rated.changes);
            rated
        };
        let mut apart: Vec<Vec<Rated>> = vec![Vec::new(); 3];
        for (number, bill) in apart.iter_mut().enumerate() {
            let (mut rater, mut state) = (Rater::new(), AccountState::default());
            for (_, start, duration) in records.iter().filter(|record| record.0 == number) {
                bill.push(rate(&mut rater, number, &mut state, &time(*start, *duration)));
            }
        }
        let mut together: Vec<Vec<Rated>> = vec![Vec::new(); 3];
        let (mut rater, mut states) = (Rater::new(), vec![AccountState::default(); 3]);
        for (number, start, duration) in &records {
            let rated = rate(&mut rater, *number, &mut states[*number], &time(*start, *duration));
            together[*number].push(rated);
        }
        prop_assert_eq!(apart, together);
    }

    /// Bad input never panics a process (docs/architecture.md section 9).
    #[test]
    fn no_text_panics_the_parser(text in ".{0,400}") {
        let _ = parse(&text);
    }

    /// A plan with bytes changed, lost or repeated causes no panic. If it parses, it also compiles.
    #[test]
    fn no_damaged_plan_panics_the_parser_or_the_compiler(
        weighted: bool,
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0usize..40, "[ -~]{0,6}"), 1..4),
    ) {
        let mut text = if weighted { WEIGHTED } else { FIG6B }.to_owned();
        for (at, length, with) in edits {
            let from = at.index(text.len());
            let to = (from + length).min(text.len());
            text.replace_range(from..to, &with);
        }
        match parse(&text) {
            Ok(plan) => prop_assert!(compile(&plan, &BTreeMap::new()).is_ok()),
            Err(errors) => prop_assert!(!errors.0.is_empty()),
        }
    }

    /// Exchanging values between attributes gives more unusual plans than damaged bytes do.
    #[test]
    fn no_plan_with_values_exchanged_panics(
        swaps in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..6),
    ) {
        let mut parts: Vec<&str> = FIG6B.split('"').collect();
        let values = parts.len() / 2;
        for (one, other) in swaps {
            parts.swap(2 * one.index(values) + 1, 2 * other.index(values) + 1);
        }
        if let Ok(plan) = parse(&parts.join("\"")) {
            prop_assert!(compile(&plan, &BTreeMap::new()).is_ok());
        }
    }

    /// For any numbers in a record or a state, rating succeeds or suspends.
    #[test]
    fn no_number_panics_the_rater(
        start in prop_oneof![any::<i64>(), spring_us()],
        duration in prop_oneof![any::<i64>(), 0i64..1 << 40],
        quantity: Option<i64>,
        values in proptest::collection::vec(any::<i128>(), 4),
    ) {
        let mut subscriber = Subscriber::new(FIG6B, "America/New_York");
        let months = [20_454, 20_485, 20_513, 20_544];
        for variable in subscriber.plans[0].variables() {
            for (month, value) in months.iter().zip(&values) {
                subscriber.state.set(turnpike_plan::StateEntry {
                    variable: variable.id, period: Period(*month), value: *value,
                });
            }
        }
        let mut record = time(start, duration);
        record.quantity = quantity;
        let before = subscriber.state.clone();
        if subscriber.rate(&record).is_err() {
            prop_assert_eq!(&before, &subscriber.state);
        }
        subscriber.plans = vec![compiled(WEIGHTED)];
        record.usage_type = "function".to_owned();
        record.attributes.insert("function".to_owned(), "Place Order".to_owned());
        let _ = subscriber.rate(&record);
    }
}
