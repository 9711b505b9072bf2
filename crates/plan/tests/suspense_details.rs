//! The detail of a suspense reason names the measure, attribute, number, table, type or currencies.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support;

use std::sync::Arc;

use proptest::prelude::*;
use support::{account, compiled, event, plan, session, with_view};
use turnpike_plan::{AccountState, PlanInForce, Rater, Table, parse_table};
use turnpike_types::limits::DETAIL_BYTES_MAX;
use turnpike_types::{SuspenseReason, Suspension, Timestamp, UsageRecord};

const AT: &str = "2026-05-04T09:00:00Z";

/// The suspension of a record by the plan of `graph`, with `tables` in force.
fn refused(rater: &mut Rater, graph: &str, tables: &[&str], record: &UsageRecord) -> Suspension {
    let code = compiled(&plan(graph));
    let known: Vec<Arc<Table>> =
        tables.iter().map(|text| Arc::new(parse_table(text).unwrap())).collect();
    let find = |name: &turnpike_plan::TableName| {
        known.iter().find(|table| table.id() == name.id && table.kind() == name.kind).cloned()
    };
    let tables: Vec<Option<Arc<Table>>> = code.tables().iter().map(find).collect();
    let plans = [PlanInForce { tables: &tables, ..PlanInForce::always(&code) }];
    let (account, state) = (account("UTC"), AccountState::default());
    let reason =
        with_view(record, |view| rater.rate(&plans, &account, &state, view, Timestamp::MIN).err());
    let reason = reason.expect("the record is refused");
    Suspension { reason, detail: rater.detail(reason) }
}

fn told(graph: &str, tables: &[&str], record: &UsageRecord) -> String {
    refused(&mut Rater::new(), graph, tables, record).to_string()
}

fn with(name: &str, value: &str) -> UsageRecord {
    let mut record = session("call", AT, "2026-05-04T09:01:00Z");
    record.quantity = Some(5);
    record.attributes.insert(name.to_owned(), value.to_owned());
    record
}

const RATE: &str = r#"<AccountFinalizer id="post" in="rate.charge"/>"#;

#[test]
fn a_missing_measure_is_named() {
    let graph = |measure: &str| {
        format!(
            r#"<StepRater id="rate" in="record.{measure}"><step id="s" price="1" per="1"/></StepRater>{RATE}"#
        )
    };
    let nothing = session("call", AT, AT);
    assert_eq!(told(&graph("quantity"), &[], &nothing), "missing-input: record.quantity");
    assert_eq!(told(&graph("octets-in"), &[], &nothing), "missing-input: record.octets-in");
}

#[test]
fn a_missing_attribute_and_one_without_a_weight_are_named() {
    let graph = format!(
        r#"<Weigher id="points" in="record.quantity" attribute="function"><weight value="search" weight="3"/></Weigher>
        <StepRater id="rate" in="points.out"><step id="s" price="1" per="1"/></StepRater>{RATE}"#
    );
    assert_eq!(told(&graph, &[], &event("use", AT, 2)), "missing-input: record.function");
    let other = told(&graph, &[], &with("function", "print"));
    assert_eq!(other, "no-weight: record.function \"print\"");
}

#[test]
fn a_usage_type_that_no_plan_takes_is_named() {
    let graph = format!(
        r#"<UsageTypeSelector id="talk" in="record.duration" types="call"/>
        <StepRater id="rate" in="talk.pass"><step id="s" price="1" per="1 s"/></StepRater>{RATE}"#
    );
    let record = session("sms", AT, AT);
    assert_eq!(told(&graph, &[], &record), "not-accepted: usage type \"sms\"");
}

const WORLD: &str = "# turnpike-table id=world kind=dial-plan version=1 starts=2026-01-01\n\
                     prefix,destination,price,per\n39,Italy,0.03,1 min\n";

#[test]
fn a_number_without_a_prefix_and_a_table_without_a_version_are_named() {
    let graph = r#"<E164DialPlanRater id="rate" in="record.duration" table="world" country-code="41" international-prefix="00" national-prefix="0"/>
        <AccountFinalizer id="post" in="rate.charge"/>"#;
    let call = with("called", "0044 7700 900123");
    assert_eq!(told(graph, &[WORLD], &call), "no-prefix: +447700900123");
    assert_eq!(told(graph, &[], &call), "no-table: world (dial-plan)");
    let nobody = told(graph, &[WORLD], &with("caller", "1"));
    assert_eq!(nobody, "missing-input: record.called");
    let letters = told(graph, &[WORLD], &with("called", "alice"));
    assert!(letters.starts_with("bad-attribute: record.called \"alice\""), "{letters}");
}

#[test]
fn both_currencies_are_named_where_there_is_no_rate_and_where_they_differ() {
    let graph = r#"<StepRater id="rate" in="record.quantity" currency="CHF"><step id="s" price="1" per="1"/></StepRater>
        <CurrencyConverter id="to" in="rate.charge" table="rates" to="USD"/>
        <AccountFinalizer id="post" in="to.charge"/>"#;
    let rates = "# turnpike-table id=rates kind=exchange-rates version=1 starts=2026-01-01\n\
                 from,to,rate,since\nEUR,USD,1.1,\n";
    let told = told(graph, &[rates], &event("use", AT, 1));
    assert_eq!(told, "no-rate: CHF->USD on 2026-05-04");
}

/// The detail of a suspension belongs to one record and one reason; it never shows the detail of an
/// earlier suspension.
#[test]
fn a_detail_is_of_its_own_refusal() {
    let mut rater = Rater::new();
    let graph = format!(
        r#"<UsageTypeSelector id="talk" in="record.quantity" types="call"/>
        <StepRater id="rate" in="talk.pass"><step id="s" price="1" per="1"/></StepRater>{RATE}"#
    );
    let missing = refused(&mut rater, &graph, &[], &session("call", AT, AT));
    assert_eq!(missing.to_string(), "missing-input: record.quantity");
    let other = refused(&mut rater, &graph, &[], &session("fax", AT, AT));
    assert_eq!(other.to_string(), "not-accepted: usage type \"fax\"");
    assert!(rater.detail(SuspenseReason::MissingInput).is_empty());
    let (account, state) = (account("UTC"), AccountState::default());
    let none = with_view(&event("call", AT, 1), |view| {
        rater.rate(&[], &account, &state, view, Timestamp::MIN).err()
    });
    assert_eq!(none, Some(SuspenseReason::NoPlan));
    assert!(rater.detail(SuspenseReason::NoPlan).is_empty());
}

proptest! {
    #![proptest_config(test_cases::cases(64))]

    /// For any record, a detail is short and has one line.
    #[test]
    fn a_detail_is_bounded(text in "\\PC{0,300}|(\n|\t|\"|é){0,200}") {
        let graph = format!(
            r#"<Weigher id="points" in="record.quantity" attribute="function"><weight value="search" weight="3"/></Weigher>
            <StepRater id="rate" in="points.out"><step id="s" price="1" per="1"/></StepRater>{RATE}"#
        );
        let suspension = refused(&mut Rater::new(), &graph, &[], &with("function", &text));
        prop_assert_eq!(suspension.reason, SuspenseReason::NoWeight);
        prop_assert!(suspension.detail.as_str().len() <= DETAIL_BYTES_MAX);
        prop_assert!(!suspension.detail.as_str().contains(char::is_control));
    }
}
