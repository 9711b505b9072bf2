//! LevelMeter, compared with an integration hour by hour. For any periods, cycle days and
//! subscriptions, each hour of a subscription is billed once (docs/plan-semantics.md sections 3, 4
//! and 8).

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support;

use std::collections::BTreeMap;

use jiff::civil::Date;
use proptest::prelude::*;
use support::due::{Contract, Ledger, Subscription, at, period, plan_of};
use support::event;
use turnpike_plan::Period;
use turnpike_types::Timestamp;

const HOUR: i64 = 3_600_000_000;
const ZONE: &str = "Europe/Zurich";

fn meter(period: &str) -> String {
    let graph = format!(
        "<LevelMeter id=\"m\" in=\"record.quantity\" period=\"{period}\"><step id=\"s\" price=\"1\" per=\"1\"/></LevelMeter>\n<AccountFinalizer id=\"post\" in=\"m.charge\"/>"
    );
    plan_of("p", 1, "2026-01-01", &graph)
}

/// The first date of the period that contains an instant.
fn first_date(every: &str, cycle_day: u8, at: i64) -> Date {
    let zone = jiff::tz::TimeZone::get(ZONE).unwrap();
    let mut date = jiff::Timestamp::from_microsecond(at).unwrap().to_zoned(zone).date();
    loop {
        let begins = match every {
            "month" => date.day() == 1,
            "week" => date.weekday() == jiff::civil::Weekday::Monday,
            "day" => true,
            _ => date.day() == (cycle_day as i8).min(date.days_in_month()),
        };
        if begins {
            return date;
        }
        date = date.yesterday().unwrap();
    }
}

/// The cost of each period in billionths, by the level in each hour.
fn by_hours(every: &str, cycle_day: u8, start: i64, levels: &[i128]) -> BTreeMap<Period, i128> {
    let mut sums: BTreeMap<Period, (i128, i128)> = BTreeMap::new();
    for (hour, level) in levels.iter().enumerate() {
        let date = first_date(every, cycle_day, start + hour as i64 * HOUR);
        let (sum, hours) = sums.entry(period(&date.to_string())).or_default();
        (*sum, *hours) = (*sum + level, *hours + 1);
    }
    sums.retain(|_, (sum, _)| *sum > 0);
    sums.into_iter().map(|(of, (sum, hours))| (of, sum * 1_000_000_000 / hours)).collect()
}

proptest! {
    #![proptest_config(test_cases::cases(96))]

    #[test]
    fn each_hour_under_a_subscription_is_billed_once(
        every in 0usize..4, cycle_day in 1u8..32,
        // The numbers of hours without a subscription and then with one, alternating.
        parts in proptest::collection::vec((1usize..700, 1usize..1500), 1..4),
        statements in proptest::collection::vec((0usize..200, 0i64..1000), 1..30),
        takeover: bool,
    ) {
        let every = ["billing-cycle", "month", "week", "day"][every];
        // The test starts a whole period before the first record, and ends a whole period after the
        // last.
        let start = at("2025-12-01T00:00:00+01:00").micros();
        let instant = |hour: usize| Timestamp(start + hour as i64 * HOUR);
        let mut contract = Contract::in_zone(ZONE).cycle_day(cycle_day);
        let mut hour = 31 * 24;
        let mut held = Vec::new();
        for (without, with) in parts {
            let (since, until) = (hour + without, hour + without + with);
            let subscription = Subscription::to(&meter(every), "2026-01-01");
            contract.subscriptions.push(Subscription { since: instant(since), until: instant(until), ..subscription });
            held.push(since..until);
            hour = until;
        }
        let hours = hour + 62 * 24;
        let mut levels = vec![0i128; hours];
        let mut ledger = Ledger::new();
        ledger.horizon_us = Some(35 * 24 * HOUR);
        let mut said = 31 * 24;
        for (wait, level) in statements {
            said += wait;
            if !held.iter().any(|part| part.contains(&said)) {
                continue;
            }
            let mut record = event("t", "2026-01-01T00:00:00Z", level);
            record.start = instant(said);
            ledger.rate(&contract, &record, record.start).unwrap();
            levels[said..].fill(level.into());
            if takeover {
                ledger.rater = turnpike_plan::Rater::new();
            }
        }
        ledger.sweep_to(&contract, instant(hours + 40 * 24));
        for (hour, level) in levels.iter_mut().enumerate() {
            if !held.iter().any(|part| part.contains(&hour)) {
                *level = 0;
            }
        }
        let expected = by_hours(every, cycle_day, start, &levels);
        let mut found: BTreeMap<Period, i128> = BTreeMap::new();
        for line in &ledger.lines {
            *found.entry(line.period).or_default() += line.amount.nanos();
        }
        // A period that is billed in two parts is rounded twice.
        prop_assert!(expected.keys().eq(found.keys()), "{expected:?}\n{found:?}");
        for (of, nanos) in &expected {
            prop_assert!((found[of] - nanos).abs() <= 2, "{of:?}: {expected:?}\n{found:?}");
        }
    }
}
