//! Tests of the primitives on charges (taxes, conversion, discounts, bounds), and of the plans that
//! they refuse.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bounds;
mod conversion;
mod properties;
mod refusals;
mod taxes;

use crate::support;

use std::collections::BTreeMap;
use std::sync::Arc;

use turnpike_plan::{
    AccountContext, AccountState, DueInterval, ObjectCode, PlanInForce, Rated, Rater, Table,
};
use turnpike_types::{Posting, SuspenseReason, Timestamp, UsageRecord};

use support::{event, micros, with_view};

/// A rater of whole cents; the primitives of a test are linked to `units.charge`.
const UNITS: &str = r#"<StepRater id="units" in="record.quantity"><step id="units" price="0.01" per="1"/></StepRater>"#;

/// An account with one plan, its tables, and the dates of its subscription.
struct Subscription {
    code: ObjectCode,
    tables: Vec<Option<Arc<Table>>>,
    account: AccountContext,
    state: AccountState,
    rater: Rater,
    now: Timestamp,
    since: Timestamp,
    until: Timestamp,
}

impl Subscription {
    fn new(xml: &str, tables: &[&str]) -> Self {
        Self::of(support::compiled(xml), tables)
    }

    fn of(code: ObjectCode, tables: &[&str]) -> Self {
        let tables: Vec<Arc<Table>> =
            tables.iter().map(|text| Arc::new(turnpike_plan::parse_table(text).unwrap())).collect();
        let in_force = |name: &turnpike_plan::TableName| {
            tables.iter().find(|table| table.id() == name.id && table.kind() == name.kind).cloned()
        };
        Self {
            tables: code.tables().iter().map(in_force).collect(),
            code,
            account: support::account("UTC"),
            state: AccountState::default(),
            rater: Rater::new(),
            now: Timestamp::MIN,
            since: Timestamp::MIN,
            until: Timestamp::MAX,
        }
    }

    /// An account whose plan has the primitives of `graph` behind [`UNITS`]. `end` is the id of the
    /// last one.
    fn behind_units(graph: &str, end: &str, tables: &[&str]) -> Self {
        let post = format!("<AccountFinalizer id=\"post\" in=\"{end}.charge\"/>");
        Self::new(&support::plan(&[UNITS, graph, &post].join("\n")), tables)
    }

    fn plan(&self) -> PlanInForce<'_> {
        PlanInForce {
            tables: &self.tables,
            since: self.since,
            until: self.until,
            ..PlanInForce::always(&self.code)
        }
    }

    fn rate(&mut self, record: &UsageRecord) -> Result<Rated, SuspenseReason> {
        let mut rater = std::mem::take(&mut self.rater);
        let rated = with_view(record, |view| {
            rater.rate(&[self.plan()], &self.account, &self.state, view, self.now).cloned()
        });
        self.rater = rater;
        self.state.apply(&rated.as_ref().map_err(|&reason| reason)?.changes);
        rated
    }

    /// Books the charges that fall due until `now`. Returns the instant and the result of each.
    fn sweep(&mut self, now: &str) -> Vec<(String, Rated)> {
        self.now = Timestamp(micros(now));
        let mut rater = std::mem::take(&mut self.rater);
        let mut fell = Vec::new();
        loop {
            let plans = [self.plan()];
            let (from, until) = (Timestamp::MIN, Timestamp::MAX);
            let intervals = [DueInterval { from, until, account: &self.account, plans: &plans }];
            let due = rater.next_due(&intervals, &self.state, self.now, self.now);
            let Some(due) = due else { break };
            let rated = rater.fall_due(&intervals, &due, &self.state, self.now).unwrap().clone();
            self.state.apply(&rated.changes);
            let at = jiff::Timestamp::from_microsecond(due.at.micros()).unwrap();
            fell.push((at.to_string()[..10].to_owned(), rated));
        }
        self.rater = rater;
        fell
    }

    /// The component, amount and destination of each line.
    fn shown(&self, rated: &Rated) -> Vec<(String, String, &'static str)> {
        let shown = rated.lines.iter().map(|line| {
            let component = &self.code.components()[usize::from(line.component)].component;
            let amount = line.amount.to_string();
            let amount = amount.trim_end_matches('0').trim_end_matches('.').to_owned();
            (component.clone(), amount, line.posting.word())
        });
        shown.collect()
    }

    fn lines(&mut self, record: &UsageRecord) -> Vec<(String, String, &'static str)> {
        let rated = self.rate(record).unwrap();
        self.shown(&rated)
    }

    /// Rates a record; returns the component and amount of each line posted to the account.
    fn posted(&mut self, record: &UsageRecord) -> Vec<(String, String)> {
        let lines = self.lines(record).into_iter();
        lines.filter(|line| line.2 == "account").map(|(name, amount, _)| (name, amount)).collect()
    }

    /// The sum posted to the account, in billionths.
    fn sum(rated: &Rated) -> i128 {
        let own = rated.lines.iter().filter(|line| line.posting == Posting::Account);
        own.map(|line| line.amount.nanos()).sum()
    }
}

/// A record that costs this number of cents, on a day of March 2026.
fn cents(count: i64, day: u32) -> UsageRecord {
    event("t", &format!("2026-03-{day:02}T12:00:00Z"), count)
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, amount)| ((*name).to_owned(), (*amount).to_owned())).collect()
}

fn overrides(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}
