//! Helpers of the integration tests: records, accounts, and rating of records in sequence.

#![allow(dead_code)]

pub(crate) mod cycles;
pub(crate) mod due;
pub(crate) mod refused;

use std::collections::BTreeMap;

use turnpike_plan::{
    AccountContext, AccountState, Cause, ChargeLine, ObjectCode, PlanInForce, Rated, Rater, Zone,
};
use turnpike_types::{SuspenseReason, Timestamp, UsageRecord, UsageView};

/// An instant written with its offset, in microseconds.
pub(crate) fn micros(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().unwrap().as_microsecond()
}

/// A record whose only measure is its duration.
pub(crate) fn session(kind: &str, start: &str, end: &str) -> UsageRecord {
    let mut record = begun(kind, start);
    record.state_duration(Some(micros(end) - micros(start)));
    record
}

/// A record without any measure; its duration is unknown.
pub(crate) fn begun(kind: &str, start: &str) -> UsageRecord {
    UsageRecord {
        record_id: "r".to_owned(),
        usage_type: kind.to_owned(),
        start: Timestamp(micros(start)),
        ..UsageRecord::default()
    }
}

/// A record of a quantity at one instant.
pub(crate) fn event(kind: &str, at: &str, quantity: i64) -> UsageRecord {
    UsageRecord { quantity: Some(quantity), ..begun(kind, at) }
}

pub(crate) fn with_view<T>(record: &UsageRecord, then: impl FnOnce(&UsageView<'_>) -> T) -> T {
    let measures: Vec<(&str, i64)> =
        record.measures.iter().map(|(k, v)| (k.as_str(), *v)).collect();
    let attributes: Vec<(&str, &str)> =
        record.attributes.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    then(&UsageView {
        record_id: &record.record_id,
        account: record.account,
        usage_type: &record.usage_type,
        start: record.start,
        duration_us: record.duration_us,
        quantity: record.quantity,
        measures: &measures,
        attributes: &attributes,
    })
}

pub(crate) fn account(zone: &str) -> AccountContext {
    AccountContext {
        zone: Zone::parse(zone).unwrap(),
        cycle_day: 1,
        currency: "USD".parse().unwrap(),
        attributes: BTreeMap::new(),
    }
}

pub(crate) fn compiled(xml: &str) -> ObjectCode {
    let plan = turnpike_plan::parse(xml).unwrap_or_else(|errors| panic!("{errors}"));
    turnpike_plan::compile(&plan, &BTreeMap::new()).unwrap()
}

/// An account that rates records in sequence.
pub(crate) struct Subscriber {
    pub(crate) plans: Vec<ObjectCode>,
    pub(crate) account: AccountContext,
    pub(crate) state: AccountState,
    pub(crate) rater: Rater,
    /// Logged time. The default is long ago, so that every cycle is open.
    pub(crate) now: Timestamp,
}

impl Subscriber {
    pub(crate) fn new(xml: &str, zone: &str) -> Self {
        Self {
            plans: vec![compiled(xml)],
            account: account(zone),
            state: AccountState::default(),
            rater: Rater::new(),
            now: Timestamp::MIN,
        }
    }

    pub(crate) fn rate(&mut self, record: &UsageRecord) -> Result<Rated, SuspenseReason> {
        let plans: Vec<_> = self.plans.iter().map(PlanInForce::always).collect();
        let rated = with_view(record, |view| {
            self.rater.rate(&plans, &self.account, &self.state, view, self.now).cloned()
        })?;
        self.state.apply(&rated.changes);
        Ok(rated)
    }

    /// Rates a record; returns (component, quantity, amount) of each line.
    pub(crate) fn lines(&mut self, record: &UsageRecord) -> Vec<(String, i128, String)> {
        let rated = self.rate(record).unwrap();
        rated.lines.iter().map(|line| self.shown(line)).collect()
    }

    pub(crate) fn shown(&self, line: &ChargeLine) -> (String, i128, String) {
        let components = self.plans[usize::from(line.plan)].components();
        let component = components[usize::from(line.component)].component.clone();
        (component, line.quantity, line.amount.to_string())
    }
}

/// The XML of a plan with the given primitives.
pub(crate) fn plan(graph: &str) -> String {
    format!(
        "<plan xmlns=\"urn:turnpike:plan:1\" id=\"p\" version=\"1\" starts=\"2026-01-01\" currency=\"USD\">\n<graph>\n{graph}\n</graph>\n</plan>"
    )
}

/// Parses a plan that must be refused; returns (line, primitive, cause) of every error.
pub(crate) fn causes(xml: &str) -> Vec<(u32, String, Cause)> {
    let errors = turnpike_plan::parse(xml).unwrap_err().0;
    let told = errors.into_iter();
    told.map(|error| (error.line, error.primitive.unwrap_or_default(), error.cause)).collect()
}

/// The warnings for a plan's author.
pub(crate) fn warnings(xml: &str) -> Vec<String> {
    let plan = turnpike_plan::parse(xml).unwrap_or_else(|errors| panic!("{errors}"));
    plan.warnings().iter().map(ToString::to_string).collect()
}

/// Rows of a CSV table, without its header.
pub(crate) fn rows(table: &str) -> impl Iterator<Item = Vec<&str>> {
    table.lines().skip(1).map(|line| line.split(',').collect())
}
