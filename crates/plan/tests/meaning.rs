//! The meaning of plans, sentence by sentence of docs/plan-semantics.md, with plans of a few
//! primitives.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support;

use support::{Subscriber, account, compiled, event, micros, plan, session, with_view};
use turnpike_plan::{AccountState, Keep, Period, PlanInForce, Rater, StateEntry, Unit, VariableId};
use turnpike_types::{LineKind, SuspenseReason, Timestamp, UsageRecord};

const HOUR: i128 = 3_600_000_000;

fn subscriber(graph: &str, zone: &str) -> Subscriber {
    Subscriber::new(&plan(graph), zone)
}

/// A plan with peak hours from 01:00 to 03:00 at 1.00 per hour, and other hours at 0.10.
fn night(zone: &str) -> Subscriber {
    subscriber(
        r#"<DailyTimeFilter id="night" in="record.duration" from="01:00" to="03:00"/>
           <StepRater id="dear" in="night.pass"><step id="dear" price="1.00" per="1 h"/></StepRater>
           <StepRater id="cheap" in="night.rest"><step id="cheap" price="0.10" per="1 h"/></StepRater>
           <AccountFinalizer id="post" in="dear.charge cheap.charge"/>"#,
        zone,
    )
}

fn quantities(subscriber: &mut Subscriber, record: &UsageRecord) -> Vec<(String, i128)> {
    subscriber.lines(record).into_iter().map(|(component, units, _)| (component, units)).collect()
}

fn named(pairs: &[(&str, i128)]) -> Vec<(String, i128)> {
    pairs.iter().map(|(name, units)| ((*name).to_owned(), *units)).collect()
}

/// docs/plan-semantics.md section 1: skipped time is not counted, repeated time is counted twice.
#[test]
fn the_clock_change_shortens_and_lengthens_a_window() {
    let spring = session("t", "2026-03-08T00:00:00-05:00", "2026-03-08T06:00:00-04:00");
    let mut account = night("America/New_York");
    assert_eq!(quantities(&mut account, &spring), named(&[("dear", HOUR), ("cheap", 4 * HOUR)]));
    let autumn = session("t", "2026-11-01T00:00:00-04:00", "2026-11-01T06:00:00-05:00");
    assert_eq!(
        quantities(&mut account, &autumn),
        named(&[("dear", 3 * HOUR), ("cheap", 4 * HOUR)])
    );
}

/// docs/plan-semantics.md section 1: the wall-clock time in the account's zone determines a unit's
/// window, also in zones with half-hour offsets.
#[test]
fn windows_follow_zones_of_half_an_hour() {
    let record = session("t", "2026-05-01T19:00:00Z", "2026-05-01T20:00:00Z");
    let half = HOUR / 2;
    assert_eq!(
        quantities(&mut night("Asia/Kolkata"), &record),
        named(&[("dear", half), ("cheap", half)])
    );
    assert_eq!(quantities(&mut night("UTC"), &record), named(&[("cheap", HOUR)]));
}

/// docs/plan-semantics.md section 1: unit k happens at start + floor(k*D/Q).
#[test]
fn a_quantity_spreads_evenly_over_its_record() {
    let graph = r#"<DailyTimeFilter id="f" in="record.octets" from="12:00" to="24:00"/>
        <StepRater id="a" in="f.rest"><step id="am" price="1" per="1 B"/></StepRater>
        <StepRater id="p" in="f.pass"><step id="pm" price="1" per="1 B"/></StepRater>
        <AccountFinalizer id="post" in="a.charge p.charge"/>"#;
    let mut record = session("t", "2026-05-01T09:00:00Z", "2026-05-01T15:00:00Z");
    record.measures.insert("octets".to_owned(), 7);
    // Units 0 to 3 happen until 11:34, and unit 4 happens at 12:25.
    assert_eq!(quantities(&mut subscriber(graph, "UTC"), &record), named(&[("am", 4), ("pm", 3)]));
    record.duration_us = 0;
    assert_eq!(quantities(&mut subscriber(graph, "UTC"), &record), named(&[("am", 7)]));
}

/// docs/plan-semantics.md section 2: a usage link copies units, and links into one input are
/// merged, so a unit that arrives by two paths counts twice.
#[test]
fn a_unit_that_reaches_a_rater_by_two_paths_counts_twice() {
    let graph = r#"<UsageTypeSelector id="a" in="record.quantity" types="t"/>
        <UsageTypeSelector id="b" in="record.quantity" types="t u"/>
        <StepRater id="r" in="a.pass b.pass"><step id="s" price="1" per="1"/></StepRater>
        <AccountFinalizer id="post" in="r.charge"/>"#;
    let mut account = subscriber(graph, "UTC");
    assert_eq!(
        quantities(&mut account, &event("t", "2026-05-01T09:00:00Z", 5)),
        named(&[("s", 10)])
    );
    assert_eq!(
        quantities(&mut account, &event("u", "2026-05-01T09:00:00Z", 5)),
        named(&[("s", 5)])
    );
}

/// docs/plan-semantics.md section 2: an accumulator passes all units on, so a unit that also
/// arrives directly counts twice.
#[test]
fn a_unit_that_reaches_a_rater_through_an_accumulator_and_directly_counts_twice() {
    let mut account = subscriber(
        r#"<UsageTypeSelector id="online" in="record.duration" types="t"/>
           <MonthlyAccumulator id="hours" in="online.pass"/>
           <StepRater id="flat" in="online.pass hours.out"><step id="flat" price="0.10" per="1 h"/></StepRater>
           <AccountFinalizer id="post" in="flat.charge"/>"#,
        "UTC",
    );
    let record = session("t", "2026-05-01T19:00:00Z", "2026-05-01T20:00:00Z");
    assert_eq!(quantities(&mut account, &record), named(&[("flat", 2 * HOUR)]));
}

/// docs/plan-semantics.md sections 2 and 6: a record that no selector accepts is offered to the
/// next subscription.
#[test]
fn a_record_goes_to_the_first_plan_that_accepts_its_type() {
    let graph = |kind: &str, price: &str| {
        format!(
            r#"<UsageTypeSelector id="s" in="record.quantity" types="{kind}"/>
            <StepRater id="r" in="s.pass"><step id="{kind}" price="{price}" per="1"/></StepRater>
            <AccountFinalizer id="post" in="r.charge"/>"#
        )
    };
    let mut account = subscriber(&graph("sms", "1"), "UTC");
    account.plans.push(compiled(&plan(&graph("mail", "2"))));
    let at = "2026-05-01T09:00:00Z";
    assert_eq!(quantities(&mut account, &event("sms", at, 1)), named(&[("sms", 1)]));
    let rated = account.rate(&event("mail", at, 1)).unwrap();
    assert_eq!((rated.lines[0].plan, rated.lines[0].amount.nanos()), (1, 2_000_000_000));
    assert_eq!(account.rate(&event("fax", at, 1)), Err(SuspenseReason::NotAccepted));
    account.plans.clear();
    assert_eq!(account.rate(&event("sms", at, 1)), Err(SuspenseReason::NoPlan));
}

/// docs/plan-semantics.md section 2: a selector whose rest has a consumer accepts every record.
#[test]
fn a_plan_whose_selectors_rest_is_taken_accepts_everything() {
    let graph = r#"<UsageTypeSelector id="s" in="record.quantity" types="sms"/>
        <Ignore id="free" in="s.pass s.rest"/>"#;
    let rated = subscriber(graph, "UTC").rate(&event("fax", "2026-05-01T09:00:00Z", 1)).unwrap();
    assert_eq!(rated.lines, []);
}

/// docs/plan-semantics.md section 2: the source port names the measure; only measures that are read
/// must be present.
#[test]
fn a_measure_that_the_accepting_part_does_not_read_may_be_missing() {
    let graph = r#"<UsageTypeSelector id="calls" in="record.duration" types="call"/>
        <UsageTypeSelector id="data" in="record.octets" types="data"/>
        <Ignore id="free" in="calls.pass"/>
        <StepRater id="r" in="data.pass"><step id="s" price="1" per="1 MB"/></StepRater>
        <AccountFinalizer id="post" in="r.charge"/>"#;
    let mut account = subscriber(graph, "UTC");
    let at = "2026-05-01T09:00:00Z";
    assert!(account.rate(&session("call", at, at)).is_ok());
    assert_eq!(account.rate(&session("data", at, at)), Err(SuspenseReason::MissingInput));
}

/// docs/plan-semantics.md section 3: there is no line for zero units, but a line for an amount of
/// zero.
#[test]
fn zero_units_leave_no_line_and_a_zero_amount_does() {
    let graph = r#"<StepRater id="r" in="record.quantity"><step id="s" price="0" per="1"/></StepRater>
        <AccountFinalizer id="post" in="r.charge"/>"#;
    let mut account = subscriber(graph, "UTC");
    assert_eq!(quantities(&mut account, &event("t", "2026-05-01T09:00:00Z", 0)), named(&[]));
    assert_eq!(
        quantities(&mut account, &event("t", "2026-05-01T09:00:00Z", 3)),
        named(&[("s", 3)])
    );
}

/// docs/plan-semantics.md section 3: quantities and totals have 128 bits, so a petabyte has its
/// exact price.
#[test]
fn large_quantities_are_exact_and_overflow_is_an_error() {
    let graph = r#"<MonthlyAccumulator id="a" in="record.octets"/>
        <StepRater id="r" in="a.out"><step id="s" price="0.05" per="1 GB"/></StepRater>
        <AccountFinalizer id="post" in="r.charge"/>"#;
    let mut account = subscriber(graph, "UTC");
    let mut record = session("t", "2026-05-01T09:00:00Z", "2026-05-01T15:00:00Z");
    record.measures.insert("octets".to_owned(), 1_000_000_000_000_000);
    assert_eq!(account.lines(&record)[0].2, "50000.000000000");
    record.measures.insert("octets".to_owned(), i64::MAX);
    assert_eq!(account.lines(&record)[0].2, "461168601.842738790");
    let variable = account.plans[0].variables()[0].id;
    let period = account.state.entries()[0].period;
    account.state.set(StateEntry { variable, period, value: i128::MAX - 5 });
    let before = account.state.clone();
    assert_eq!(account.rate(&record), Err(SuspenseReason::Overflow));
    assert_eq!(account.state, before);
}

/// docs/plan-semantics.md section 4: with `upto="100"`, the hundredth unit is still in the first
/// step.
#[test]
fn the_last_unit_of_a_step_is_still_in_it() {
    let graph = r#"<MonthlyAccumulator id="a" in="record.quantity"/>
        <StepRater id="r" in="a.out" level="a.total">
          <step id="one" upto="100" price="1" per="1"/><step id="two" price="2" per="1"/>
        </StepRater>
        <AccountFinalizer id="post" in="r.charge"/>"#;
    let mut account = subscriber(graph, "UTC");
    let at = "2026-05-01T09:00:00Z";
    assert_eq!(quantities(&mut account, &event("t", at, 99)), named(&[("one", 99)]));
    assert_eq!(quantities(&mut account, &event("t", at, 2)), named(&[("one", 1), ("two", 1)]));
    let june = event("t", "2026-06-01T00:00:00Z", 1);
    assert_eq!(quantities(&mut account, &june), named(&[("one", 1)]));
}

/// docs/plan-semantics.md section 2: a weighed unit counts as several units, which may belong to
/// two steps.
#[test]
fn a_weighed_unit_can_fall_into_two_steps() {
    let graph = r#"<Weigher id="w" in="record.quantity" attribute="f" default="1"><weight value="order" weight="11"/><weight value="look" weight="0"/></Weigher>
        <MonthlyAccumulator id="a" in="w.out"/>
        <StepRater id="free" in="a.out" level="a.total"><step id="free" upto="5" price="0" per="1"/></StepRater>
        <StepRater id="r" in="free.rest" level="a.total">
          <step id="one" upto="8" price="1" per="1"/><step id="two" price="2" per="1"/>
        </StepRater>
        <AccountFinalizer id="post" in="free.charge r.charge"/>"#;
    let mut account = subscriber(graph, "UTC");
    let mut record = event("t", "2026-05-01T09:00:00Z", 1);
    record.attributes.insert("f".to_owned(), "order".to_owned());
    let rated = account.rate(&record).unwrap();
    let levels: Vec<_> =
        rated.lines.iter().map(|l| (l.quantity, l.level_before, l.level_after)).collect();
    assert_eq!(levels, [(5, 0, 5), (3, 5, 8), (3, 8, 11)]);
    record.attributes.insert("f".to_owned(), "look".to_owned());
    assert_eq!(quantities(&mut account, &record), named(&[]));
    record.attributes.clear();
    assert_eq!(quantities(&mut account, &record), named(&[("two", 1)]));
}

/// A record is suspended if the attribute is missing, or if the weigher has no weight for its
/// value.
#[test]
fn a_value_without_weight_suspends_the_record() {
    let graph = r#"<Weigher id="w" in="record.quantity" attribute="account.tier"><weight value="gold" weight="2"/></Weigher>
        <StepRater id="r" in="w.out"><step id="s" price="1" per="1"/></StepRater>
        <AccountFinalizer id="post" in="r.charge"/>"#;
    let mut account = subscriber(graph, "UTC");
    let record = event("t", "2026-05-01T09:00:00Z", 3);
    assert_eq!(account.rate(&record), Err(SuspenseReason::MissingInput));
    account.account.attributes.insert("tier".to_owned(), "tin".to_owned());
    assert_eq!(account.rate(&record), Err(SuspenseReason::NoWeight));
    account.account.attributes.insert("tier".to_owned(), "gold".to_owned());
    assert_eq!(quantities(&mut account, &record), named(&[("s", 6)]));
}

/// docs/plan-semantics.md section 4: a step's constant is charged once per accumulator period, with
/// the step's first unit.
#[test]
fn a_steps_constant_is_charged_once_a_month() {
    let graph = r#"<MonthlyAccumulator id="a" in="record.quantity"/>
        <StepRater id="r" in="a.out" level="a.total">
          <step id="one" upto="10" price="1" per="1" constant="0.50"/><step id="two" price="2" per="1" constant="7"/>
        </StepRater>
        <AccountFinalizer id="post" in="r.charge"/>"#;
    let mut account = subscriber(graph, "UTC");
    let mut amounts = |at: &str, units| -> Vec<i128> {
        let rated = account.rate(&event("t", at, units)).unwrap();
        rated.lines.iter().map(|line| line.amount.nanos() / 10_000_000).collect()
    };
    assert_eq!(amounts("2026-05-01T09:00:00Z", 4), [400, 50]);
    assert_eq!(amounts("2026-05-01T09:00:00Z", 8), [600, 400, 700]);
    assert_eq!(amounts("2026-05-02T09:00:00Z", 1), [200]);
    assert_eq!(amounts("2026-06-02T09:00:00Z", 1), [100, 50]);
}

/// docs/plan-semantics.md section 4: without a level, a step's constant is charged once per record.
/// A connection fee is such a constant.
#[test]
fn a_constant_without_level_is_charged_with_each_record() {
    let graph = r#"<StepRater id="r" in="record.duration"><step id="s" price="1" per="1 h" constant="0.10"/></StepRater>
        <AccountFinalizer id="post" in="r.charge"/>"#;
    let mut account = subscriber(graph, "UTC");
    for _ in 0..2 {
        let rated =
            account.rate(&session("t", "2026-05-01T09:00:00Z", "2026-05-01T10:00:00Z")).unwrap();
        let amounts: Vec<_> = rated.lines.iter().map(|line| line.amount.to_string()).collect();
        assert_eq!(amounts, ["1.000000000", "0.100000000"]);
        assert!(rated.changes.is_empty());
    }
}

/// docs/plan-semantics.md section 5: a charge at first use is made by the first record of each
/// period. Months without usage are not charged.
#[test]
fn a_monthly_fee_is_charged_for_months_with_usage_only() {
    let graph = r#"<MonthlyRecurringCharge id="fee" trigger="record.duration" amount="20" due="first-use"/>
        <AccountFinalizer id="post" in="fee.charge"/>"#;
    let mut account = subscriber(graph, "America/New_York");
    let month = |rated: &turnpike_plan::Rated| -> Vec<Period> {
        rated.lines.iter().map(|l| l.period).collect()
    };
    let january = account
        .rate(&session("t", "2026-01-31T23:00:00-05:00", "2026-02-01T00:00:00-05:00"))
        .unwrap();
    assert_eq!(month(&january), [Period(20_454)]);
    let april = account
        .rate(&session("t", "2026-04-30T23:00:00-04:00", "2026-05-01T01:00:00-04:00"))
        .unwrap();
    assert_eq!(month(&april), [Period(20_544), Period(20_574)]);
    assert_eq!(april.lines[1].first_unit, 3_600_000_000);
    let again = account
        .rate(&session("t", "2026-05-09T23:00:00-04:00", "2026-05-09T23:00:00-04:00"))
        .unwrap();
    assert_eq!(month(&again), []);
}

/// The record is r13 in data/fig6b_usage.csv. A zero-quantity record counts as usage for charges
/// due at first use.
#[test]
fn a_record_without_units_triggers_first_use_and_leaves_no_line_of_its_own() {
    let mut account = Subscriber::new(include_str!("data/fig6b.xml"), "America/New_York");
    let at = "2026-03-09T10:00:00-04:00";
    let lines = account.lines(&session("connect-time", at, at));
    let names: Vec<&str> = lines.iter().map(|line| line.0.as_str()).collect();
    assert_eq!(names, ["setup", "monthly"]);
    assert_eq!(account.state.entries().len(), 2);
}

/// docs/plan-semantics.md sections 5 and 6: a one-time charge is made once per subscription,
/// whatever versions the plan has; state carries over by primitive id and unit.
#[test]
fn state_carries_over_to_the_next_version() {
    let xml = include_str!("data/fig6b.xml");
    let mut account = Subscriber::new(xml, "America/New_York");
    let record = session("connect-time", "2026-01-05T10:00:00-05:00", "2026-01-09T14:00:00-05:00");
    account.rate(&record).unwrap();
    account.plans = vec![compiled(&xml.replace("version=\"1\" starts", "version=\"2\" starts"))];
    let next = session("connect-time", "2026-01-10T10:00:00-05:00", "2026-01-10T11:00:00-05:00");
    assert_eq!(quantities(&mut account, &next), named(&[("offpeak-1", HOUR)]));
}

/// docs/plan-semantics.md section 3: an account that is billed in another currency than the plan
/// posts in is not rated.
#[test]
fn an_account_of_another_currency_is_suspended() {
    let mut account = night("UTC");
    account.account.currency = "EUR".parse().unwrap();
    let record = session("t", "2026-05-01T09:00:00Z", "2026-05-01T10:00:00Z");
    assert_eq!(account.rate(&record), Err(SuspenseReason::CurrencyMismatch));
}

/// docs/plan-semantics.md section 2: parameters have defaults and may be overridden by a
/// subscription.
#[test]
fn a_subscription_overrides_a_parameter() {
    let plan = turnpike_plan::parse(include_str!("data/fig6b.xml")).unwrap();
    let overrides = [("peak-price".to_owned(), "0.75".to_owned())].into();
    let code = turnpike_plan::compile(&plan, &overrides).unwrap();
    let peak = code.components().iter().find(|known| known.component == "peak").unwrap();
    assert_eq!(
        (peak.price.as_str(), peak.unit, peak.kind),
        ("0.75 per 1 h", Unit::Microsecond, LineKind::Usage)
    );
    let named: Vec<&str> = code.variables().iter().map(|v| v.primitive.as_str()).collect();
    assert_eq!(named, ["setup", "monthly", "hours", "offpeak-hours"]);
    assert_eq!(
        code.variables()[2].id,
        VariableId::derive("fig6b", "hours", Unit::Microsecond, Keep::Horizon)
    );
}

/// Instants outside the calendar are an error, not a panic.
#[test]
fn instants_outside_the_calendar_suspend_the_record() {
    let code = compiled(include_str!("data/fig6b.xml"));
    let (account, state, mut rater) =
        (account("America/New_York"), AccountState::default(), Rater::new());
    for (start, duration_us) in
        [(i64::MIN, 0), (i64::MAX, 1), (0, i64::MAX), (micros("2026-01-01T00:00:00Z"), i64::MAX)]
    {
        let record = UsageRecord {
            start: Timestamp(start),
            duration_us,
            ..session("connect-time", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z")
        };
        let plans = [PlanInForce::always(&code)];
        let rated = with_view(&record, |view| {
            rater.rate(&plans, &account, &state, view, Timestamp::MIN).cloned()
        });
        assert_eq!(rated, Err(SuspenseReason::Overflow));
    }
}
