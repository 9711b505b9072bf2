//! An account over time: its subscriptions, changes of its settings, due charges and rated records,
//! in the order in which an owner books them (docs/plan-semantics.md section 5).

use std::collections::BTreeMap;

use turnpike_plan::{
    AccountContext, AccountState, ChargeLine, DueInterval, ObjectCode, OfferId, OptionInForce,
    Period, PlanInForce, Rater, StateEntry, Zone, plan_number,
};
use turnpike_types::{Money, Posting, SuspenseReason, Timestamp, UsageRecord};

use super::{account, compiled, micros, with_view};

/// A subscription to a plan with one or several versions.
pub(crate) struct Subscription {
    pub(crate) versions: Vec<ObjectCode>,
    pub(crate) since: Timestamp,
    pub(crate) until: Timestamp,
    /// The option of which the subscription is an alternative, and the option's fee.
    pub(crate) option: Option<(&'static str, Money)>,
    /// The instant from which the option is offered.
    pub(crate) offered: Timestamp,
    /// The instant from which the client keeps the plan, without a further choice.
    pub(crate) kept_from: Timestamp,
}

/// The instant from which an option is offered by default.
const OFFERED: Timestamp = Timestamp(0);

impl Subscription {
    pub(crate) fn to(xml: &str, since: &str) -> Self {
        Self {
            versions: vec![compiled(xml)],
            since: at(since),
            until: Timestamp::MAX,
            option: None,
            offered: OFFERED,
            kept_from: Timestamp::MAX,
        }
    }

    pub(crate) fn until(self, until: &str) -> Self {
        Self { until: at(until), ..self }
    }

    pub(crate) fn and_version(mut self, xml: &str) -> Self {
        self.versions.push(compiled(xml));
        self
    }

    pub(crate) fn in_option(self, name: &'static str, fee: &str) -> Self {
        Self { option: Some((name, money(fee))), ..self }
    }

    /// The same subscription in a later offer of the option.
    pub(crate) fn offered(self, from: &str) -> Self {
        Self { offered: at(from), ..self }
    }
}

/// An account's subscriptions and settings.
pub(crate) struct Contract {
    /// Settings and the instants from which they are in force, in order; the first have no start.
    pub(crate) settings: Vec<(Timestamp, AccountContext)>,
    pub(crate) subscriptions: Vec<Subscription>,
}

impl Contract {
    pub(crate) fn in_zone(zone: &str) -> Self {
        Self { settings: vec![(Timestamp::MIN, account(zone))], subscriptions: Vec::new() }
    }

    pub(crate) fn with(mut self, subscription: Subscription) -> Self {
        self.subscriptions.push(subscription);
        self
    }

    pub(crate) fn cycle_day(mut self, day: u8) -> Self {
        self.settings.last_mut().unwrap().1.cycle_day = day;
        self
    }

    pub(crate) fn then_settings(mut self, from: &str, zone: &str, cycle_day: u8) -> Self {
        let context = AccountContext { cycle_day, ..account(zone) };
        self.settings.push((at(from), context));
        self
    }

    /// The client opts out of all options, and keeps the plan of the subscription with index
    /// `place`.
    pub(crate) fn opt_out(&mut self, place: usize, from: &str) {
        for (other, subscription) in self.subscriptions.iter_mut().enumerate() {
            if other == place {
                subscription.kept_from = at(from);
            } else if subscription.option.is_some() {
                subscription.until = subscription.until.min(at(from));
            }
        }
    }

    /// Intervals in which settings and plans are constant.
    fn pieces(&self) -> Vec<(Timestamp, Timestamp, &AccountContext, Vec<PlanInForce<'_>>)> {
        let mut cuts = vec![Timestamp::MIN, Timestamp::MAX];
        cuts.extend(self.settings.iter().map(|(from, _)| *from));
        for subscription in &self.subscriptions {
            cuts.extend([subscription.since, subscription.until, subscription.kept_from]);
            for version in &subscription.versions {
                cuts.extend(self.settings.iter().map(|(_, known)| version.starts_at(&known.zone)));
            }
        }
        cuts.sort();
        cuts.dedup();
        let piece = |pair: &[Timestamp]| {
            let account = self.settings_at(pair[0]);
            (pair[0], pair[1], account, self.plans_at(pair[0], &account.zone))
        };
        cuts.windows(2).map(piece).collect()
    }

    /// The settings and plans in force at an instant.
    pub(crate) fn in_force(&self, at: Timestamp) -> (&AccountContext, Vec<PlanInForce<'_>>) {
        let account = self.settings_at(at);
        (account, self.plans_at(at, &account.zone))
    }

    fn settings_at(&self, at: Timestamp) -> &AccountContext {
        &self.settings.iter().rev().find(|(from, _)| *from <= at).unwrap().1
    }

    fn plans_at(&self, at: Timestamp, zone: &Zone) -> Vec<PlanInForce<'_>> {
        let in_force = self.subscriptions.iter().filter(|s| s.since <= at && at < s.until);
        let plan = |subscription: &'_ Subscription| -> Option<usize> {
            subscription.versions.iter().rposition(|version| version.starts_at(zone) <= at)
        };
        let in_force = in_force.filter_map(|s| {
            let code = &s.versions[plan(s)?];
            let option = s
                .option
                .map(|(name, fee)| OptionInForce::new(name, fee, s.offered).kept(s.kept_from, at));
            Some(PlanInForce { code, tables: &[], since: s.since, until: s.until, option })
        });
        in_force.collect()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Booked {
    /// The cause of the line: `charge`, `close`, `option`, `offset`, or the id of a record.
    pub(crate) by: String,
    /// The instant at which the charge fell due, or the start of the record.
    pub(crate) at: Timestamp,
    /// The local date of `at`.
    pub(crate) on: String,
    pub(crate) plan: String,
    pub(crate) component: String,
    pub(crate) period: Period,
    pub(crate) quantity: i128,
    pub(crate) amount: Money,
    pub(crate) posting: Posting,
}

/// All lines booked so far, and the account's state.
pub(crate) struct Ledger {
    pub(crate) state: AccountState,
    pub(crate) rater: Rater,
    pub(crate) lines: Vec<Booked>,
    /// The acceptance horizon in microseconds. If set, state of periods that no acceptable record
    /// can reach is removed.
    pub(crate) horizon_us: Option<i64>,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self {
            state: AccountState::default(),
            rater: Rater::new(),
            lines: Vec::new(),
            horizon_us: None,
        }
    }

    /// Books all events that are due at logged time `now`.
    pub(crate) fn sweep(&mut self, contract: &Contract, now: &str) {
        self.sweep_to(contract, at(now));
    }

    pub(crate) fn sweep_to(&mut self, contract: &Contract, now: Timestamp) {
        self.book_due(contract, now, now).unwrap();
    }

    /// Books charges that are due at or before `through`, and closes cycles whose grace period has
    /// ended at `now`.
    pub(crate) fn book_due(
        &mut self,
        contract: &Contract,
        through: Timestamp,
        now: Timestamp,
    ) -> Result<(), SuspenseReason> {
        let pieces = contract.pieces();
        let intervals: Vec<DueInterval<'_>> = pieces
            .iter()
            .map(|(from, until, account, plans)| DueInterval {
                from: *from,
                until: *until,
                account,
                plans,
            })
            .collect();
        for turn in 0.. {
            assert!(turn < 5_000, "the sweep does not end");
            let due = self.rater.next_due(&intervals, &self.state, through, now);
            let Some(due) = due else { break };
            let rated = self.rater.fall_due(&intervals, &due, &self.state, now)?;
            let interval = &intervals[due.interval];
            for line in &rated.lines {
                let booked = booked(line, due.word(), due.at, interval.account, interval.plans);
                self.lines.push(booked);
            }
            let changes = rated.changes.clone();
            assert!(!changes.is_empty(), "what fell due once falls due again");
            self.apply(&changes, now);
        }
        Ok(())
    }

    /// Rates a record, after booking the charges that are due at or before its start
    /// (docs/plan-semantics.md section 5).
    pub(crate) fn rate(
        &mut self,
        contract: &Contract,
        record: &UsageRecord,
        now: Timestamp,
    ) -> Result<bool, SuspenseReason> {
        self.book_due(contract, record.start, now)?;
        let account = contract.settings_at(record.start);
        let plans = contract.plans_at(record.start, &account.zone);
        let rated = with_view(record, |view| {
            self.rater.rate(&plans, account, &self.state, view, now).cloned()
        })?;
        for line in &rated.lines {
            self.lines.push(booked(line, &record.record_id, record.start, account, &plans));
        }
        self.apply(&rated.changes, now);
        Ok(rated.late)
    }

    fn apply(&mut self, changes: &[StateEntry], now: Timestamp) {
        let once = changes
            .windows(2)
            .all(|pair| (pair[0].variable, pair[0].period) < (pair[1].variable, pair[1].period));
        assert!(once, "each variable and period changes once: {changes:?}");
        match self.horizon_us {
            None => self.state.apply(changes),
            Some(horizon) => {
                let floor = Timestamp(now.micros() - horizon);
                changes.iter().for_each(|change| self.state.set_and_trim(*change, floor));
            }
        }
    }

    /// The client chooses an alternative for the cycle that begins on a date.
    pub(crate) fn pick(&mut self, option: &str, plan: &str, cycle: &str) {
        let (variable, period) = (OfferId::of(option, OFFERED).choice(), period(cycle));
        self.state.set(StateEntry { variable, period, value: plan_number(plan) });
    }

    /// `DATE component amount` of each line; tentative lines, which count in no total, start with
    /// `trial`.
    pub(crate) fn shown(&self) -> Vec<String> {
        self.lines.iter().map(Booked::shown).collect()
    }

    /// The lines that are posted to the account.
    pub(crate) fn posted(&self) -> Vec<String> {
        let posted = self.lines.iter().filter(|line| line.posting == Posting::Account);
        posted.map(Booked::shown).collect()
    }

    /// The sum of a component's lines.
    pub(crate) fn sum(&self, component: &str) -> Money {
        let mine = self.lines.iter().filter(|line| line.component == component);
        Money::from_nanos(mine.map(|line| line.amount.nanos()).sum()).unwrap()
    }
}

impl Booked {
    pub(crate) fn shown(&self) -> String {
        let trial = if self.posting == Posting::Tentative { "trial " } else { "" };
        let amount = self.amount.to_string();
        let amount = amount.trim_end_matches('0').trim_end_matches('.');
        format!("{trial}{} {} {amount}", self.on, self.component)
    }
}

fn booked(
    line: &ChargeLine,
    by: &str,
    at: Timestamp,
    account: &AccountContext,
    plans: &[PlanInForce<'_>],
) -> Booked {
    let code = plans[usize::from(line.plan)].code;
    let zone = jiff::tz::TimeZone::get(account.zone.name()).unwrap();
    let local = jiff::Timestamp::from_microsecond(at.micros()).unwrap().to_zoned(zone);
    Booked {
        by: by.to_owned(),
        at,
        on: local.date().to_string(),
        plan: code.plan_id().to_owned(),
        component: code.components()[usize::from(line.component)].component.clone(),
        period: line.period,
        quantity: line.quantity,
        amount: line.amount,
        posting: line.posting,
    }
}

/// An instant, written with its offset or as a date in UTC.
pub(crate) fn at(text: &str) -> Timestamp {
    if text.len() == 10 { at(&format!("{text}T00:00:00Z")) } else { Timestamp(micros(text)) }
}

pub(crate) fn money(text: &str) -> Money {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    Money::from_nanos(format!("{whole}{part:0<9}").parse().unwrap()).unwrap()
}

/// The period that begins on a date.
pub(crate) fn period(date: &str) -> Period {
    let date: jiff::civil::Date = date.parse().unwrap();
    Period(date.since(jiff::civil::date(1970, 1, 1)).unwrap().get_days())
}

/// A plan with the given id, which starts on the given date.
pub(crate) fn plan_of(id: &str, version: u32, starts: &str, graph: &str) -> String {
    format!(
        "<plan xmlns=\"urn:turnpike:plan:1\" id=\"{id}\" version=\"{version}\" starts=\"{starts}\" currency=\"USD\">\n<graph>\n{graph}\n</graph>\n</plan>"
    )
}

/// Sums of posted and of tentative lines, by component.
pub(crate) fn sums(lines: &[Booked]) -> BTreeMap<(String, bool), i128> {
    let mut sums = BTreeMap::new();
    for line in lines {
        let key = (line.component.clone(), line.posting == Posting::Tentative);
        *sums.entry(key).or_default() += line.amount.nanos();
    }
    sums
}
