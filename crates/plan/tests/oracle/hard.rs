//! One record that crosses all kinds of boundaries at once, compared with the interpreter.

use std::collections::BTreeMap;

use turnpike_plan::{AccountContext, AccountState, PlanInForce, Rater, compile, parse};
use turnpike_types::{Timestamp, UsageRecord};

use super::naive::Naive;
use super::tables_of;
use crate::support::{account, micros, plan, with_view};

/// Primitives for peak and off-peak, nights past midnight, weekends, special days, an increment,
/// free units per month, tiers per cycle, week and day, and a threshold. Records have at most 6,000
/// units, which is few enough for a loop over each unit.
const EVERYTHING: &str = r#"
    <UsageTypeSelector id="online" in="record.units" types="t"/>
    <UsageTypeClassifier id="class" in="online.pass" default="usual">
      <rule as="long" measure="duration" above="10 d"/>
    </UsageTypeClassifier>
    <UsageTypeSelector id="long" in="class.out" types="long"/>
    <UsageIncrement id="whole" in="long.pass long.rest" first="60" then="6"/>
    <MonthlyAccumulator id="month" in="whole.out"/>
    <ThresholdFilter id="paid" in="month.out" level="month.total" above="600"/>
    <SpecialDaysTimeFilter id="special" in="paid.pass" table="h"><day date="--03-01"/></SpecialDaysTimeFilter>
    <WeeklyTimeFilter id="weekend" in="special.rest">
      <window days="Sat Sun"/><window days="Fri-Sun" from="22:00" to="06:00"/>
    </WeeklyTimeFilter>
    <DailyTimeFilter id="peak" in="weekend.rest" from="19:00" to="02:30"/>
    <BillingCycleAccumulator id="cycle" in="peak.pass"/>
    <WeeklyAccumulator id="week" in="peak.rest" starts="Sun"/>
    <DailyAccumulator id="day" in="special.pass"/>
    <StepRater id="a" in="cycle.out" level="cycle.total">
      <step id="a1" upto="177" price="1.00" per="3"/><step id="a2" price="0.75" per="3" constant="5"/>
    </StepRater>
    <StepRater id="b" in="week.out" level="week.total">
      <step id="b1" upto="355" price="0.50" per="7"/><step id="b2" price="0.25" per="7"/>
    </StepRater>
    <StepRater id="c" in="day.out" level="day.total">
      <step id="c1" upto="49" price="0.10" per="1"/><step id="c2" price="0.05" per="1"/>
    </StepRater>
    <StepRater id="d" in="weekend.pass"><step id="d" price="0.01" per="1"/></StepRater>
    <StepRater id="free" in="paid.rest"><step id="free" price="0" per="1"/></StepRater>
    <AccountFinalizer id="post" in="a.charge b.charge c.charge d.charge free.charge"/>"#;

/// Rates a record by the compiled code and by the interpreter, asserts that the lines and the
/// changes of state are equal, and returns the lines.
fn both(account: &AccountContext, record: &UsageRecord) -> Vec<turnpike_plan::ChargeLine> {
    let plan = parse(&plan(EVERYTHING)).unwrap_or_else(|errors| panic!("{errors}"));
    let code = compile(&plan, &BTreeMap::new()).unwrap();
    let (state, tables) = (AccountState::default(), tables_of(&code));
    let naive =
        Naive { plan: &plan, code: &code, account, state: &state, record, since: Timestamp::MIN };
    let (lines, changes) = naive.rate().unwrap();
    let plans = [PlanInForce { tables: &tables, ..PlanInForce::always(&code) }];
    let mut rater = Rater::new();
    let rated = with_view(record, |view| {
        rater.rate(&plans, account, &state, view, Timestamp::MIN).cloned().unwrap()
    });
    assert_eq!(rated.lines, lines, "{}", account.zone.name());
    assert_eq!(rated.changes, changes, "{}", account.zone.name());
    lines
}

/// docs/plan-semantics.md section 1: peak, midnight, month, week, cycle, clock change, special day
/// and tier, in one record.
#[test]
fn a_session_across_all_boundaries_equals_the_sum_of_its_units() {
    for (zone, start, cycle_day, units) in [
        ("Europe/Zurich", "2026-03-27T15:00:00Z", 31, 6_000),
        ("Europe/Zurich", "2026-10-23T15:00:00Z", 25, 6_001),
        ("America/New_York", "2026-02-27T12:00:00Z", 8, 5_999),
        ("America/New_York", "2026-10-30T12:00:00Z", 31, 4_801),
        ("Asia/Kolkata", "2026-02-26T18:29:59Z", 29, 6_000),
        ("Asia/Kathmandu", "2025-12-30T18:14:59Z", 30, 6_000),
        ("Australia/Adelaide", "2026-04-03T00:00:00Z", 5, 6_000),
        ("Australia/Adelaide", "2026-10-02T00:00:00Z", 4, 6_000),
        ("Pacific/Apia", "2011-12-28T00:00:00Z", 30, 6_000),
        ("UTC", "2024-02-27T00:00:00Z", 31, 6_000),
    ] {
        let account = AccountContext { cycle_day, ..account(zone) };
        let record = UsageRecord {
            record_id: "r".to_owned(),
            usage_type: "t".to_owned(),
            start: Timestamp(micros(start)),
            duration_us: 11 * 86_400_000_000 + 12_345_678_901,
            measures: BTreeMap::from([("units".to_owned(), units)]),
            ..UsageRecord::default()
        };
        let lines = both(&account, &record);
        let rated: i128 = lines.iter().map(|line| line.quantity).sum();
        // The increment rounds up to 60 units, and above that to a multiple of 6.
        assert_eq!(rated, (i128::from(units) + 5) / 6 * 6, "{zone}");
    }
}
