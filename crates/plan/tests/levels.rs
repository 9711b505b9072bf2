//! LevelMeter: bills a quantity that is held over time, such as used storage. A record states the
//! quantity, which stays in force until the next record. Its average, its peak or its last value is
//! billed after the end of the period (docs/plan-semantics.md section 8).

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support::{self, cycles, refused};

use cycles::{Billed, lines};
use proptest::prelude::*;
use refused::refused;
use support::due::{Contract, Ledger, Subscription, at, period, plan_of};
use support::{event, micros, plan};
use turnpike_plan::{Cause, StateEntry};
use turnpike_types::{SuspenseReason, Timestamp};

const HOUR: i64 = 3_600_000_000;

fn meter(of: &str) -> Billed {
    let graph = format!(
        r#"<LevelMeter id="m" in="record.quantity" of="{of}">
          <step id="held" upto="1 GB" price="0" per="1 GB"/><step id="more" price="0.10" per="1 GB"/>
        </LevelMeter>
        <AccountFinalizer id="post" in="m.charge"/>"#
    );
    Billed::new(&plan(&graph), "UTC").since("2026-01-01T00:00:00Z")
}

const GB: i64 = 1_000_000_000;

/// The quantity that the close of a cycle bills, summed over both steps.
fn held(account: &mut Billed, now: &str) -> i128 {
    account.closed(now).iter().map(|line| line.1).sum()
}

/// docs/plan-semantics.md section 8: a level holds until a record states the next one; the average,
/// the peak or the last level is billed.
#[test]
fn a_level_holds_until_the_next_statement() {
    let state = |of: &str| {
        let mut account = meter(of);
        // In February, the level is 0 for 7 days, 4 GB for an hour less than 14 days, 10 GB for one
        // hour, and 2 GB for the last 7 days.
        for (at, gigabytes) in
            [("2026-02-08T00:00:00Z", 4), ("2026-02-21T23:00:00Z", 10), ("2026-02-22T00:00:00Z", 2)]
        {
            assert_eq!(account.lines(&event("t", at, gigabytes * GB)), []);
        }
        account
    };
    let average = i128::from(GB) * (14 * 24 * 4 + 6 + 7 * 24 * 2) / (28 * 24);
    let mut averaged = state("average");
    let closed = averaged.closed("2026-03-03T00:00:00Z");
    let expected =
        lines(&[("held", GB.into(), "0"), ("more", average - i128::from(GB), "0.150892857")]);
    assert_eq!(closed, expected);
    assert_eq!(held(&mut state("peak"), "2026-03-03T00:00:00Z"), i128::from(10 * GB));
    assert_eq!(held(&mut state("last"), "2026-03-03T00:00:00Z"), i128::from(2 * GB));
}

/// docs/plan-semantics.md section 8: a level continues in the following cycles until a record
/// states another one.
#[test]
fn a_level_continues_into_cycles_without_statements() {
    let mut account = meter("average");
    account.rate(&event("t", "2026-02-15T00:00:00Z", 4 * GB)).unwrap();
    assert_eq!(held(&mut account, "2026-03-03T00:00:00Z"), i128::from(2 * GB));
    for now in ["2026-04-03T00:00:00Z", "2026-05-03T00:00:00Z", "2026-06-03T00:00:00Z"] {
        assert_eq!(held(&mut account, now), i128::from(4 * GB), "{now}");
    }
    // A zero-quantity record sets the level to 0.
    account.rate(&event("t", "2026-06-16T00:00:00Z", 0)).unwrap();
    assert_eq!(held(&mut account, "2026-07-03T00:00:00Z"), i128::from(2 * GB));
    assert_eq!(held(&mut account, "2026-08-03T00:00:00Z"), 0);
}

/// docs/plan-semantics.md section 5: levels of the next cycle may be stated during the grace period
/// of the cycle that has ended.
#[test]
fn statements_for_the_next_cycle_come_before_this_one_closes() {
    let mut account = meter("average");
    account.rate(&event("t", "2026-02-01T00:00:00Z", 4 * GB)).unwrap();
    account.rate(&event("t", "2026-03-01T12:00:00Z", 8 * GB)).unwrap();
    account.rate(&event("t", "2026-03-02T00:00:00Z", 0)).unwrap();
    assert_eq!(held(&mut account, "2026-03-03T00:00:00Z"), i128::from(4 * GB));
    let march = i128::from(GB) * (4 + 8) * 12 / (31 * 24);
    assert_eq!(held(&mut account, "2026-04-03T00:00:00Z"), march);
}

/// A record that states a level for a closed cycle does not change that cycle's bill; its level
/// applies from the open cycle on.
#[test]
fn a_statement_for_a_closed_cycle_counts_from_the_open_one_on() {
    let mut account = meter("average");
    account.rate(&event("t", "2026-02-01T00:00:00Z", 4 * GB)).unwrap();
    assert_eq!(held(&mut account, "2026-03-03T00:00:00Z"), i128::from(4 * GB));
    account.rate(&event("t", "2026-02-20T00:00:00Z", 6 * GB)).unwrap();
    assert_eq!(held(&mut account, "2026-04-03T00:00:00Z"), i128::from(6 * GB));
}

/// A record that states a level for an instant before that of the last such record is suspended.
#[test]
fn a_statement_out_of_order_waits() {
    let mut account = meter("average");
    account.rate(&event("t", "2026-02-10T00:00:00Z", GB)).unwrap();
    let before = account.state.clone();
    let early = event("t", "2026-02-09T23:59:59Z", 2 * GB);
    assert_eq!(account.rate(&early), Err(SuspenseReason::OutOfOrder));
    assert_eq!(account.state, before);
    // Of two levels that are stated for one instant, the later one counts. The earlier one lasted
    // for no time.
    let mut account = meter("peak");
    account.rate(&event("t", "2026-02-10T00:00:00Z", 9 * GB)).unwrap();
    account.rate(&event("t", "2026-02-10T00:00:00Z", GB)).unwrap();
    assert_eq!(held(&mut account, "2026-03-03T00:00:00Z"), i128::from(GB));
}

/// docs/plan-semantics.md section 6: a level is not billed after a cancellation.
#[test]
fn a_level_is_billed_until_the_subscription_ends() {
    let mut account = meter("average");
    account.until = Timestamp(micros("2026-02-15T00:00:00Z"));
    account.rate(&event("t", "2026-02-01T00:00:00Z", 4 * GB)).unwrap();
    assert_eq!(held(&mut account, "2026-05-03T00:00:00Z"), i128::from(2 * GB));
    // After a new subscription, the last stated level applies again.
    account.since = Timestamp(micros("2026-06-16T00:00:00Z"));
    account.until = Timestamp::MAX;
    assert_eq!(held(&mut account, "2026-07-03T00:00:00Z"), i128::from(2 * GB));
}

/// docs/plan-semantics.md section 8: 128-bit arithmetic is exact for a petabyte that is held for a
/// cycle; overflow is an error.
#[test]
fn a_petabyte_held_is_exact() {
    let mut account = meter("average");
    account.rate(&event("t", "2026-02-01T00:00:00Z", 1_000_000 * GB)).unwrap();
    let expected =
        lines(&[("held", GB.into(), "0"), ("more", i128::from(999_999 * GB), "99999.90")]);
    assert_eq!(account.closed("2026-03-03T00:00:00Z"), expected);
    let level = account.code.variables().iter().find(|v| v.primitive == "m/level").unwrap().id;
    let entries = account.state.iter().filter(|entry| entry.variable == level);
    let broken: Vec<_> = entries.map(|e| StateEntry { value: i128::MAX, ..*e }).collect();
    broken.into_iter().for_each(|entry| account.state.set(entry));
    let next = event("t", "2026-03-20T00:00:00Z", GB);
    assert_eq!(account.rate(&next), Err(SuspenseReason::Overflow));
}

/// With another instant, another time of the level would be billed.
#[test]
fn a_stored_instant_that_is_none_refuses_the_record() {
    for name in ["m/since", "m/billed"] {
        let mut account = meter("average");
        account.rate(&event("t", "2026-02-01T00:00:00Z", GB)).unwrap();
        account.closed("2026-03-03T00:00:00Z");
        let variable = account.code.variables().iter().find(|v| v.primitive == name).unwrap().id;
        let entries = account.state.iter().filter(|entry| entry.variable == variable);
        let broken: Vec<_> = entries.map(|e| StateEntry { value: i128::MAX, ..*e }).collect();
        assert!(!broken.is_empty(), "{name}");
        broken.into_iter().for_each(|entry| account.state.set(entry));
        let next = event("t", "2026-03-20T00:00:00Z", GB);
        assert_eq!(account.rate(&next), Err(SuspenseReason::Overflow), "{name}");
    }
}

#[test]
fn a_meter_with_bounded_steps_or_an_invalid_property_is_refused() {
    let meter = |attributes: &str, step: &str| {
        format!("<LevelMeter id=\"m\" in=\"record.quantity\" {attributes}>\n{step}\n</LevelMeter>")
    };
    let post = r#"<AccountFinalizer id="post" in="m.charge"/>"#;
    let sound = r#"<step id="s" price="1" per="1"/>"#;
    refused(&[&meter("of=\"median\"", sound), post], 3, "m", Cause::BadValue);
    refused(&[&meter("period=\"year\"", sound), post], 3, "m", Cause::BadValue);
    refused(&[&meter("period=\"month\" starts=\"Sun\"", sound), post], 3, "m", Cause::BadValue);
    let ends = r#"<step id="s" upto="5" price="1" per="1"/>"#;
    refused(&[&meter("", ends), post], 4, "m", Cause::BadTiers);
    let none = r#"<step id="s" price="1" per="0"/>"#;
    refused(&[&meter("", none), post], 4, "m", Cause::BadValue);
}

/// A plan with one meter and a price per unit.
fn metered(attributes: &str, price: &str, per: &str) -> String {
    let graph = format!(
        "<LevelMeter id=\"m\" in=\"record.quantity\" {attributes}>\n<step id=\"s\" price=\"{price}\" per=\"{per}\"/>\n</LevelMeter>\n<AccountFinalizer id=\"post\" in=\"m.charge\"/>"
    );
    plan_of("p", 1, "2026-01-01", &graph)
}

/// Rates records that state levels, each without delay, and then sweeps.
fn stated(contract: &Contract, levels: &[(&str, i64)], now: &str) -> Ledger {
    let mut ledger = Ledger::new();
    for (start, level) in levels {
        ledger.rate(contract, &event("t", start, *level), at(start)).unwrap();
    }
    ledger.sweep(contract, now);
    ledger
}

/// The date of the close, the first date of the period, the quantity and the amount of each line.
fn billed(ledger: &Ledger) -> Vec<(String, turnpike_plan::Period, i128, String)> {
    let line = |line: &support::due::Booked| {
        (line.on.clone(), line.period, line.quantity, line.amount.to_string())
    };
    ledger.lines.iter().map(line).collect()
}

fn expected(
    lines: &[(&str, &str, i128, &str)],
) -> Vec<(String, turnpike_plan::Period, i128, String)> {
    let line = |(on, of, quantity, amount): &(&str, &str, i128, &str)| {
        (on.to_string(), period(of), *quantity, support::due::money(amount).to_string())
    };
    lines.iter().map(line).collect()
}

/// docs/plan-semantics.md section 3: an amount is rounded once, and is computed from the exact
/// average. The quantity of the line is in whole units.
#[test]
fn an_average_is_priced_exactly_and_shown_in_whole_units() {
    let plan = metered("", "9.30", "1");
    let contract = Contract::in_zone("UTC").with(Subscription::to(&plan, "2026-01-01"));
    // 3 addresses are held on 21 of the 31 days of January, an average of 63/31, at a price of
    // 9.30. In February, 1 address is held on one of 28 days.
    let levels =
        [("2026-01-11T00:00:00Z", 3), ("2026-02-01T00:00:00Z", 0), ("2026-02-28T00:00:00Z", 1)];
    let ledger = stated(&contract, &levels, "2026-03-04");
    let lines = [("2026-01-01", 2, "18.90"), ("2026-02-01", 0, "0.332142857")];
    let lines: Vec<_> = lines.iter().zip(["2026-02-03", "2026-03-03"]).collect();
    let lines: Vec<_> =
        lines.iter().map(|((of, units, amount), on)| (*on, *of, *units, *amount)).collect();
    assert_eq!(billed(&ledger), expected(&lines));
}

/// docs/plan-semantics.md section 3: amounts are rounded half to even, from the exact average.
#[test]
fn half_a_unit_of_the_last_digit_rounds_to_the_even_one() {
    let one = |level: i64| {
        let plan = metered("", "0.000000001", "1");
        let contract = Contract::in_zone("UTC").with(Subscription::to(&plan, "2026-01-01"));
        // The level holds for half of February's 28 days.
        let levels = [("2026-02-15T00:00:00Z", level)];
        let ledger = stated(&contract, &levels, "2026-03-04");
        ledger.lines.iter().map(|line| line.amount.nanos()).sum::<i128>()
    };
    assert_eq!([1, 3, 5].map(one), [0, 2, 2]);
}

/// The exact average decides which steps are reached: less than a unit beyond a bound is billed
/// too.
#[test]
fn a_step_is_reached_by_part_of_a_unit() {
    let mut account = meter("average");
    // The level is 1 GB, and one byte more in the second half of the cycle.
    account.rate(&event("t", "2026-02-01T00:00:00Z", GB)).unwrap();
    account.rate(&event("t", "2026-02-15T00:00:00Z", GB + 1)).unwrap();
    let closed = account.closed("2026-03-03T00:00:00Z");
    assert_eq!(closed, lines(&[("held", GB.into(), "0"), ("more", 0, "0")]));
}

/// docs/plan-semantics.md section 4: months, weeks and days are independent of the billing cycle;
/// each is billed at the close of the cycle in which it ends.
#[test]
fn months_end_within_cycles_and_are_billed_with_them() {
    let plan = metered("period=\"month\"", "31", "1");
    let contract =
        Contract::in_zone("UTC").cycle_day(15).with(Subscription::to(&plan, "2026-01-10"));
    let levels =
        [("2026-01-12T00:00:00Z", 2), ("2026-02-15T00:00:00Z", 4), ("2026-02-16T12:00:00Z", 0)];
    let ledger = stated(&contract, &levels, "2026-04-20");
    assert_eq!(
        billed(&ledger),
        expected(&[
            // The level is 2 on 20 of the 31 days of January. In February, it is 2 for 14 of 28
            // days, and 4 for one and a half days.
            ("2026-02-17", "2026-01-01", 1, "40"),
            ("2026-03-17", "2026-02-01", 1, "37.642857143"),
        ])
    );
}

#[test]
fn weeks_start_on_their_day_and_days_where_clocks_change_are_shorter() {
    let weekly = metered("period=\"week\" starts=\"Sun\" of=\"peak\"", "1", "1");
    let contract = Contract::in_zone("UTC").with(Subscription::to(&weekly, "2026-02-01"));
    let levels =
        [("2026-02-08T00:00:00Z", 5), ("2026-02-10T00:00:00Z", 1), ("2026-02-21T23:00:00Z", 0)];
    assert_eq!(
        billed(&stated(&contract, &levels, "2026-03-20")),
        expected(&[("2026-03-03", "2026-02-08", 5, "5"), ("2026-03-03", "2026-02-15", 1, "1")])
    );
    // 29 March has 23 hours in Zurich, and the level is 2 in 12 of them.
    let daily = metered("period=\"day\"", "23", "1");
    let contract =
        Contract::in_zone("Europe/Zurich").with(Subscription::to(&daily, "2026-03-28T23:00:00Z"));
    let levels = [("2026-03-29T10:00:00Z", 2), ("2026-03-30T10:00:00Z", 0)];
    assert_eq!(
        billed(&stated(&contract, &levels, "2026-04-20")),
        expected(&[("2026-04-03", "2026-03-29", 1, "24"), ("2026-04-03", "2026-03-30", 1, "23")])
    );
}

/// After a cancellation and a new subscription in one cycle, each subscription is billed for its
/// own part.
#[test]
fn each_subscription_of_a_cycle_is_billed_for_its_own_part() {
    let plan = || metered("", "28", "1");
    let contract = Contract::in_zone("UTC")
        .with(Subscription::to(&plan(), "2026-01-01").until("2026-02-08"))
        .with(Subscription::to(&plan(), "2026-02-15").until("2026-02-17T12:00:00Z"))
        .with(Subscription::to(&plan(), "2026-02-17T18:00:00Z"));
    // The level is 4 for four days, then 2 for three days until the first subscription ends. In the
    // second subscription, which lasts two and a half days, it is still 2. In the third, it is 2
    // for a quarter of a day, and then 1.
    let levels =
        [("2026-02-01T00:00:00Z", 4), ("2026-02-05T00:00:00Z", 2), ("2026-02-18T00:00:00Z", 1)];
    let ledger = stated(&contract, &levels, "2026-03-04");
    // The integral is 4*4 + 3*2 + 2.5*2 + 0.25*2 + 11 = 38.5 unit-days. Divided by 28 days and at a
    // price of 28 per unit, this costs 38.5.
    assert_eq!(billed(&ledger), expected(&[("2026-03-03", "2026-02-01", 1, "38.5")]));
    // The peak and the last level are computed over the whole cycle, not for each subscription.
    let of = |of: &str| {
        let plan = || metered(&format!("of=\"{of}\""), "1", "1");
        let contract = Contract::in_zone("UTC")
            .with(Subscription::to(&plan(), "2026-01-01").until("2026-02-08"))
            .with(Subscription::to(&plan(), "2026-02-15"));
        billed(&stated(&contract, &[levels[0], levels[1]], "2026-03-04"))
    };
    assert_eq!(of("peak"), expected(&[("2026-03-03", "2026-02-01", 4, "4")]));
    assert_eq!(of("last"), expected(&[("2026-03-03", "2026-02-01", 2, "2")]));
}

/// A month in which a subscription ends is billed at the close of the cycle in which it ends. A
/// subscription that begins later in the month is billed at the close of the next cycle.
#[test]
fn a_month_in_which_a_subscription_ended_is_billed_with_its_last_cycle() {
    let plan = || metered("period=\"month\"", "28", "1");
    let ended = Contract::in_zone("UTC")
        .cycle_day(15)
        .with(Subscription::to(&plan(), "2026-02-01").until("2026-02-08"));
    let levels = [("2026-02-01T00:00:00Z", 4)];
    let mut ledger = stated(&ended, &levels, "2026-02-20");
    assert_eq!(billed(&ledger), expected(&[("2026-02-17", "2026-02-01", 1, "28")]));
    let again = ended.with(Subscription::to(&plan(), "2026-02-22"));
    ledger.sweep(&again, "2026-03-20");
    assert_eq!(billed(&ledger)[1..], expected(&[("2026-03-17", "2026-02-01", 1, "28")]));
}

/// Months are independent of the cycle day, so none is billed twice after the cycle day changes.
#[test]
fn a_change_of_the_cycle_day_bills_no_month_twice() {
    let plan = metered("period=\"month\"", "1", "1");
    let contract = Contract::in_zone("UTC")
        .with(Subscription::to(&plan, "2026-01-01"))
        .then_settings("2026-03-10T00:00:00Z", "UTC", 15);
    let ledger = stated(&contract, &[("2026-01-01T00:00:00Z", 1)], "2026-06-20");
    let months: Vec<_> = ledger.lines.iter().map(|line| (line.period, line.quantity)).collect();
    let all = ["2026-01-01", "2026-02-01", "2026-03-01", "2026-04-01", "2026-05-01"];
    assert_eq!(months, all.map(|month| (period(month), 1)));
}

proptest! {
    #![proptest_config(test_cases::cases(64))]

    /// The billed quantities equal an integration hour by hour, with closes at the end of each
    /// grace period (docs/plan-semantics.md section 8).
    #[test]
    fn a_metered_level_equals_an_hourly_integration(
        statements in proptest::collection::vec((0i64..200, 0i64..1000), 0..40),
        of in 0usize..3,
    ) {
        const NAMES: [&str; 3] = ["average", "peak", "last"];
        let graph = format!(
            r#"<LevelMeter id="m" in="record.quantity" of="{}"><step id="s" price="1" per="1"/></LevelMeter>
            <AccountFinalizer id="post" in="m.charge"/>"#, NAMES[of]);
        let mut account = Billed::new(&plan(&graph), "Europe/Zurich").since("2026-01-01T00:00:00Z");
        let begins = ["2026-02-01T00:00:00+01:00", "2026-03-01T00:00:00+01:00", "2026-04-01T00:00:00+02:00", "2026-05-01T00:00:00+02:00"];
        let begins = begins.map(micros);
        // The level in each hour from February on. Each record starts at a full hour.
        let hours = ((begins[3] - begins[0]) / HOUR) as usize;
        let mut level = vec![0i128; hours];
        let mut hour = 0usize;
        let mut found = Vec::new();
        let closed_at = [micros("2026-03-03T00:00:00+01:00"), micros("2026-04-03T00:00:00+02:00")];
        let mut closes = closed_at.into_iter().peekable();
        for (wait, units) in statements {
            hour += wait as usize;
            if hour >= hours { break; }
            let at = begins[0] + hour as i64 * HOUR;
            while let Some(close) = closes.next_if(|close| *close <= at) {
                let now = jiff::Timestamp::from_microsecond(close).unwrap().to_string();
                found.push(held(&mut account, &now));
            }
            let mut record = event("t", "2026-02-01T00:00:00Z", units);
            record.start = Timestamp(at);
            account.rate(&record).unwrap();
            level[hour..].fill(units.into());
        }
        for close in closes {
            let now = jiff::Timestamp::from_microsecond(close).unwrap().to_string();
            found.push(held(&mut account, &now));
        }
        found.push(held(&mut account, "2026-05-03T00:00:00Z"));
        let expected = begins.windows(2).map(|cycle| {
            let place = |at: i64| ((at - begins[0]) / HOUR) as usize;
            let levels = &level[place(cycle[0])..place(cycle[1])];
            match of {
                0 => levels.iter().sum::<i128>() / levels.len() as i128,
                1 => *levels.iter().max().unwrap(),
                _ => *levels.last().unwrap(),
            }
        });
        prop_assert_eq!(found, expected.collect::<Vec<_>>());
    }
}
