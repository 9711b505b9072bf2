//! An account whose plan reads tables and has charges at the close of cycles, rated as an owner
//! would rate it.

#![allow(dead_code)]

use std::sync::Arc;

use turnpike_plan::{
    AccountContext, AccountState, ChargeLine, DueInterval, ObjectCode, Plan, PlanInForce, Rated,
    Rater, Table,
};
use turnpike_types::{SuspenseReason, Timestamp, UsageRecord};

use crate::support::{account, compiled, micros, with_view};

pub(crate) struct Billed {
    pub(crate) code: ObjectCode,
    pub(crate) tables: Vec<Option<Arc<Table>>>,
    pub(crate) account: AccountContext,
    pub(crate) state: AccountState,
    pub(crate) since: Timestamp,
    pub(crate) until: Timestamp,
    pub(crate) rater: Rater,
}

fn read(text: &&str) -> Option<Arc<Table>> {
    let table = turnpike_plan::parse_table(text);
    Some(Arc::new(table.unwrap_or_else(|errors| panic!("{errors}"))))
}

impl Billed {
    pub(crate) fn new(xml: &str, zone: &str) -> Self {
        Self::of_code(compiled(xml), zone)
    }

    /// An account with a parsed plan, whose tables are given as text.
    pub(crate) fn of_plan(plan: &Plan, zone: &str, tables: &[&str]) -> Self {
        let code = turnpike_plan::compile(plan, &[].into()).unwrap();
        Self { tables: tables.iter().map(read).collect(), ..Self::of_code(code, zone) }
    }

    fn of_code(code: ObjectCode, zone: &str) -> Self {
        Self {
            code,
            tables: Vec::new(),
            account: account(zone),
            state: AccountState::default(),
            since: Timestamp::MIN,
            until: Timestamp::MAX,
            rater: Rater::new(),
        }
    }

    /// An account with the tables that the plan names, in the plan's order.
    pub(crate) fn with_tables(xml: &str, zone: &str, tables: &[&str]) -> Self {
        Self { tables: tables.iter().map(read).collect(), ..Self::new(xml, zone) }
    }

    pub(crate) fn since(mut self, at: &str) -> Self {
        self.since = Timestamp(micros(at));
        self
    }

    pub(crate) fn rate(&mut self, record: &UsageRecord) -> Result<Rated, SuspenseReason> {
        let plans = [PlanInForce {
            tables: &self.tables,
            since: self.since,
            until: self.until,
            ..PlanInForce::always(&self.code)
        }];
        let rated = with_view(record, |view| {
            let now = Timestamp::MIN;
            self.rater.rate(&plans, &self.account, &self.state, view, now).cloned()
        })?;
        self.state.apply(&rated.changes);
        Ok(rated)
    }

    /// Books all charges and closes up to an instant; returns the lines and the instants at which
    /// they fell due.
    pub(crate) fn sweep(&mut self, now: &str) -> Vec<(Timestamp, ChargeLine)> {
        let now = Timestamp(micros(now));
        let plans = [PlanInForce {
            tables: &self.tables,
            since: self.since,
            until: self.until,
            ..PlanInForce::always(&self.code)
        }];
        let intervals = [DueInterval {
            from: self.since,
            until: Timestamp::MAX,
            account: &self.account,
            plans: &plans,
        }];
        let mut lines = Vec::new();
        while let Some(due) = self.rater.next_due(&intervals, &self.state, now, now) {
            let rated = self.rater.fall_due(&intervals, &due, &self.state, now).unwrap();
            lines.extend(rated.lines.iter().map(|line| (due.at, *line)));
            self.state.apply(&rated.changes);
        }
        lines
    }

    /// As [`Billed::sweep`], but returns (component, quantity, amount).
    pub(crate) fn closed(&mut self, now: &str) -> Vec<(String, i128, String)> {
        let lines = self.sweep(now);
        lines.iter().map(|(_, line)| self.shown(line)).collect()
    }

    pub(crate) fn lines(&mut self, record: &UsageRecord) -> Vec<(String, i128, String)> {
        let rated = self.rate(record).unwrap();
        rated.lines.iter().map(|line| self.shown(line)).collect()
    }

    pub(crate) fn shown(&self, line: &ChargeLine) -> (String, i128, String) {
        let component = &self.code.components()[usize::from(line.component)];
        (component.component.clone(), line.quantity, line.amount.to_string())
    }
}

/// Expected lines: (component, quantity, amount).
pub(crate) fn lines(expected: &[(&str, i128, &str)]) -> Vec<(String, i128, String)> {
    let owned = |(name, units, amount): &(&str, i128, &str)| {
        let (whole, part) = amount.split_once('.').unwrap_or((amount, ""));
        ((*name).to_owned(), *units, format!("{whole}.{part:0<9}"))
    };
    expected.iter().map(owned).collect()
}
