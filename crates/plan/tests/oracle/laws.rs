//! Laws that hold for every plan: parts add up, periods are half open, rating again gives the same
//! result, accounts are independent.

use std::collections::BTreeMap;

use proptest::prelude::*;
use turnpike_plan::{
    AccountState, Period, PlanInForce, Primitive, Rated, Rater, first_instant_of, parse,
};
use turnpike_types::{Timestamp, UsageRecord};

use super::case::{Case, Outcome, Subscriber};
use super::clock::{Every, local_date, period_of};
use super::dice::Dice;
use super::draft::Of;
use super::law;
use super::scene::an_account;
use crate::support::{compiled, plan, with_view};

/// The units, and the amount in billionths, by component and period.
fn sums(rated: &[Rated]) -> BTreeMap<(u16, Period), (i128, i128)> {
    let mut sums: BTreeMap<_, (i128, i128)> = BTreeMap::new();
    for line in rated.iter().flat_map(|rated| &rated.lines) {
        let sum = sums.entry((line.component, line.period)).or_default();
        *sum = (sum.0 + line.quantity, sum.1 + line.amount.nanos());
    }
    sums
}

/// A record with evenly spaced units, so that its parts are records too, and the unit before which
/// the test cuts it.
fn evenly(case: &Case, dice: &mut Dice<'_>) -> (UsageRecord, i64) {
    let mut record = case.a_record(&case.subscriber, dice);
    let units = record.quantity.unwrap().max(1);
    let apart = match case.measure {
        "duration" => 1,
        _ => dice.one_of(&[0, 1, 60_000_000, 3_600_000_000, 10 * 3_600_000_000]),
    };
    resize(&mut record, units, units * apart);
    let cut = dice.throw(units as usize) as i64;
    (record, cut)
}

fn resize(record: &mut UsageRecord, units: i64, duration_us: i64) {
    record.quantity = Some(units);
    record.measures.insert("octets".to_owned(), units);
    record.state_duration(Some(duration_us));
}

fn cut_in_two(record: &UsageRecord, cut: i64) -> [UsageRecord; 2] {
    let (mut first, mut second) = (record.clone(), record.clone());
    let units = record.quantity.unwrap();
    let duration_us = record.duration_us / units * cut;
    resize(&mut first, cut, duration_us);
    resize(&mut second, units - cut, record.duration_us - duration_us);
    second.start = Timestamp(record.start.micros() + duration_us);
    [first, second]
}

/// The calendar that determines the period of a component's lines.
fn calendar_of(case: &Case, component: u16) -> Option<Every> {
    let component = &case.code.components()[usize::from(component)];
    let primitive: &Primitive = case.plan.primitive(&component.primitive).unwrap();
    if let Some(level) = primitive.links("level").first() {
        return Some(Every::of(case.plan.primitive(&level.from).unwrap()));
    }
    (primitive.kind == "MonthlyRecurringCharge").then_some(Every::Month)
}

/// Whether an instant is in the period, from its first instant to just before the next period's
/// first instant.
fn holds(subscriber: &Subscriber, every: Every, period: Period, at: i64) -> bool {
    let zone = &subscriber.account.zone;
    let first = jiff::civil::date(1970, 1, 1) + jiff::Span::new().days(period.0);
    let next = every.next_of(&subscriber.account, first);
    first_instant_of(zone, first) <= Timestamp(at) && Timestamp(at) < first_instant_of(zone, next)
}

/// Rates records of several accounts, in order for each account.
fn rate_all(
    case: &Case,
    mut subscribers: Vec<Subscriber>,
    records: &[Vec<UsageRecord>],
    dice: &mut Dice<'_>,
) -> (Vec<Vec<Outcome>>, Vec<Subscriber>) {
    let mut rater = Rater::new();
    let mut outcomes: Vec<Vec<Outcome>> = vec![Vec::new(); records.len()];
    loop {
        let waiting =
            (0..records.len()).filter(|&number| outcomes[number].len() < records[number].len());
        let waiting: Vec<usize> = waiting.collect();
        if waiting.is_empty() {
            return (outcomes, subscribers);
        }
        let number = dice.one_of(&waiting);
        let record = &records[number][outcomes[number].len()];
        let outcome = case.rate(&mut rater, &mut subscribers[number], record);
        outcomes[number].push(outcome);
    }
}

/// A record cut in two before any unit gives the same units and state as the whole. The amounts are
/// equal with running totals, and otherwise equal within one rounding per line. Applies to plans
/// whose results do not depend on the record as a whole.
#[test]
fn the_parts_of_a_record_add_up_to_the_whole() {
    law(500, 900, |bytes| {
        let dice = &mut Dice::new(bytes);
        let case = Case::draw(Of::Units, dice);
        let (record, cut) = evenly(&case, dice);
        let (mut whole, mut parts) = (case.subscriber.clone(), case.subscriber.clone());
        let mut rater = Rater::new();
        let one = case.rate(&mut rater, &mut whole, &record);
        let [first, second] =
            cut_in_two(&record, cut).map(|part| case.rate(&mut rater, &mut parts, &part));
        let (Ok(one), Ok(first)) = (one, first) else { return Ok(0) };
        let (one, two) = (sums(&[one]), sums(&[first, second.unwrap()]));
        let told = format!("cut before {cut}{}", case.told(&record));
        prop_assert_eq!(&whole.state, &parts.state, "{}", told);
        prop_assert!(one.keys().eq(two.keys()), "{:?} {:?} {}", one, two, told);
        let rounding = 10i128.pow(9 - case.plan.round_digits());
        let off = if case.plan.rounds_running() { 0 } else { rounding };
        for (part, (units, amount)) in &one {
            let (units_of_parts, amount_of_parts) = two[part];
            prop_assert_eq!(*units, units_of_parts, "{:?} {}", part, told);
            prop_assert!((amount - amount_of_parts).abs() <= off, "{:?} {}", part, told);
        }
        Ok(1)
    });
}

/// docs/plan-semantics.md section 4: the instant of a unit determines its period, from the period's
/// first instant to just before the next period's.
#[test]
fn every_line_is_in_the_period_of_its_first_unit() {
    let checked = std::cell::Cell::new(0);
    law(500, 900, |bytes| {
        let dice = &mut Dice::new(bytes);
        let case = Case::draw(Of::Units, dice);
        let mut subscriber = case.subscriber.clone();
        let (record, _) = evenly(&case, dice);
        let rated = case.rate(&mut Rater::new(), &mut subscriber, &record);
        let Ok(rated) = rated else { return Ok(0) };
        for line in &rated.lines {
            let Some(every) = calendar_of(&case, line.component) else { continue };
            let units = record.quantity.unwrap();
            let at = record.start.micros() + line.first_unit * record.duration_us / units;
            let told = case.told(&record);
            prop_assert!(holds(&subscriber, every, line.period, at), "{:?} {}", line, told);
            checked.set(checked.get() + 1);
        }
        Ok(1)
    });
    assert!(checked.get() > 0, "no line had a period");
}

/// docs/plan-semantics.md section 4: of two units on both sides of a period's first instant, one
/// belongs to the earlier period and one to the later.
#[test]
fn periods_meet_at_the_first_instant_of_the_later_one() {
    law(500, 42, |bytes| {
        let dice = &mut Dice::new(bytes);
        let kind = dice.one_of(&["Monthly", "BillingCycle", "Weekly", "Weekly", "Daily"]);
        let starts = if kind == "Weekly" { " starts=\"Sat\"" } else { "" };
        let xml = plan(&format!(
            "<{kind}Accumulator id=\"a\" in=\"record.quantity\"{starts}/><Ignore id=\"i\" in=\"a.out\"/>"
        ));
        let (account, edge) = an_account(dice);
        let every = Every::of(parse(&xml).unwrap().primitive("a").unwrap());
        let some_date = local_date(&account.zone, edge - dice.number(40 * 86_400_000_000));
        let first = every.next_of(&account, every.first_of(&account, some_date));
        let begins = first_instant_of(&account.zone, first).micros();
        let mut rater = Rater::new();
        let record = UsageRecord {
            start: Timestamp(begins - 1),
            duration_us: 2,
            quantity: Some(2),
            ..UsageRecord::default()
        };
        let code = compiled(&xml);
        let plans = [PlanInForce::always(&code)];
        let state = AccountState::default();
        let rated = with_view(&record, |view| {
            rater.rate(&plans, &account, &state, view, Timestamp::MIN).cloned().unwrap()
        });
        let counted: Vec<_> =
            rated.changes.iter().map(|entry| (entry.period, entry.value)).collect();
        let [before, after] = [begins - 1, begins].map(|at| period_of(&account, every, at));
        prop_assert!(before < after);
        prop_assert_eq!(counted, [(before, 1), (after, 1)], "{} {}", account.zone.name(), first);
        Ok(1)
    });
}

fn rated_of<'o>(outcomes: impl IntoIterator<Item = &'o Outcome>) -> usize {
    outcomes.into_iter().filter(|outcome| outcome.is_ok()).count()
}

/// The same records from the same state give identical lines and changes, from a new rater and from
/// a used one.
#[test]
fn rating_again_gives_the_same_result() {
    law(500, 900, |bytes| {
        let dice = &mut Dice::new(bytes);
        let case = Case::draw(Of::Everything, dice);
        let records: Vec<_> =
            (0..1 + dice.throw(5)).map(|_| case.a_record(&case.subscriber, dice)).collect();
        let rate = |rater: &mut Rater| {
            let mut subscriber = case.subscriber.clone();
            let outcomes: Vec<_> =
                records.iter().map(|record| case.rate(rater, &mut subscriber, record)).collect();
            let count = rated_of(&outcomes);
            (format!("{outcomes:?}"), format!("{:?}", subscriber.state), count)
        };
        let mut rater = Rater::new();
        let (once, again) = (rate(&mut rater), rate(&mut rater));
        prop_assert_eq!(&once, &again);
        let rated = once.2;
        prop_assert_eq!(once, rate(&mut Rater::new()));
        Ok(rated)
    });
}

/// For any interleaving of records of different accounts, the lines, changes and state of each
/// account are the same.
#[test]
fn accounts_do_not_touch_each_other() {
    law(500, 1240, |bytes| {
        let (mixing, bytes) = bytes.split_at(40);
        let dice = &mut Dice::new(bytes);
        let case = Case::draw(Of::Everything, dice);
        let subscribers: Vec<_> = (0..3).map(|_| case.a_subscriber(dice)).collect();
        let records: Vec<Vec<_>> = subscribers
            .iter()
            .map(|subscriber| {
                (0..1 + dice.throw(4)).map(|_| case.a_record(subscriber, dice)).collect()
            })
            .collect();
        // Without random bytes, the records are rated one account after the other.
        let (apart, left_apart) =
            rate_all(&case, subscribers.clone(), &records, &mut Dice::new(&[]));
        let (mixed, left_mixed) = rate_all(&case, subscribers, &records, &mut Dice::new(mixing));
        let rated = rated_of(apart.iter().flatten());
        prop_assert_eq!(apart, mixed);
        for (apart, mixed) in left_apart.iter().zip(&left_mixed) {
            prop_assert_eq!(&apart.state, &mixed.state);
        }
        Ok(rated)
    });
}
