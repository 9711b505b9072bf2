//! The timeline of an account: intervals in which its settings, plan versions and tables do not
//! change.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::civil::Date;
use turnpike_plan::{AccountContext, ObjectCode, OptionInForce, PlanInForce, Table};
use turnpike_types::{AccountNumber, SuspenseReason, Suspension, Timestamp};

use crate::accounts::{Alternative, TrialAccount, TrialSubscription};
use crate::{TrialCatalogue, TrialError};

/// All intervals of an account, in order and without gaps.
#[derive(Debug)]
pub(crate) struct AccountTimeline {
    pub(crate) intervals: Vec<TimelineInterval>,
    /// Whether charges or closes can fall due without usage.
    pub(crate) is_swept: bool,
}

/// An interval in which settings, plan versions and tables do not change.
#[derive(Debug)]
pub(crate) struct TimelineInterval {
    pub(crate) from: Timestamp,
    pub(crate) until: Timestamp,
    pub(crate) settings: AccountContext,
    /// The compiled plans, in the order in which they are tried.
    pub(crate) codes: Vec<Arc<ObjectCode>>,
    /// The terms of each subscription, in the order of `codes`.
    terms: Vec<Terms>,
    /// The suspension of records that start in this interval, if they can't be rated.
    pub(crate) closed_to_usage: Option<Suspension>,
}

/// The terms of a subscription: the tables that its plan reads, its interval, and its option.
#[derive(Debug)]
struct Terms {
    tables: Vec<Option<Arc<Table>>>,
    since: Timestamp,
    until: Timestamp,
    option: Option<Alternative>,
    /// The start of the option.
    offered: Timestamp,
}

impl AccountTimeline {
    /// Computes the timeline of an account.
    ///
    /// # Errors
    /// The account's parameters do not fit its plan.
    pub(crate) fn of(
        account: &TrialAccount,
        number: AccountNumber,
        catalogue: &mut TrialCatalogue,
    ) -> Result<Self, TrialError> {
        let changes = changes(account, catalogue);
        let ends = changes.iter().skip(1).copied().chain([Timestamp::MAX]);
        let mut intervals = Vec::with_capacity(changes.len());
        for (&from, until) in changes.iter().zip(ends) {
            intervals.push(TimelineInterval::of(account, number, catalogue, (from, until))?);
        }
        let is_swept = intervals.iter().any(TimelineInterval::is_swept);
        Ok(Self { intervals, is_swept })
    }

    /// The index of the interval that contains an instant.
    pub(crate) fn place(&self, at: Timestamp) -> usize {
        // The list is not empty: the first interval begins at the earliest instant.
        self.intervals.partition_point(|interval| interval.from <= at).saturating_sub(1)
    }

    /// Calls `with` with all intervals, in the evaluator's type.
    pub(crate) fn with_intervals<T>(
        &self,
        with: impl FnOnce(&[turnpike_plan::DueInterval<'_>]) -> T,
    ) -> T {
        let plans: Vec<Vec<PlanInForce<'_>>> =
            self.intervals.iter().map(TimelineInterval::plans).collect();
        let intervals: Vec<turnpike_plan::DueInterval<'_>> = self
            .intervals
            .iter()
            .zip(&plans)
            .map(|(interval, plans)| turnpike_plan::DueInterval {
                from: interval.from,
                until: interval.until,
                account: &interval.settings,
                plans,
            })
            .collect();
        with(&intervals)
    }
}

/// [`Timestamp::MIN`], and the instants at which settings, subscriptions, plan versions or tables
/// change.
fn changes(account: &TrialAccount, catalogue: &TrialCatalogue) -> BTreeSet<Timestamp> {
    let mut changes = BTreeSet::from([Timestamp::MIN]);
    changes.extend(account.settings().iter().map(|(from, _)| *from));
    changes.extend(account.subscriptions().iter().flat_map(|s| [s.from, s.until]));
    for (_, settings) in account.settings() {
        changes.extend(catalogue.table_starts(&settings.zone));
        for subscription in account.subscriptions() {
            changes.extend(catalogue.starts(&subscription.plan, &settings.zone));
        }
    }
    changes.remove(&Timestamp::MAX);
    changes
}

/// The suspension of usage before the first version of a plan, with the same text as in a node.
fn unknown_plan(plan: &str, first: Option<Date>) -> Suspension {
    match first {
        Some(date) => Suspension::new(
            SuspenseReason::UnknownPlan,
            format_args!("{plan}: its first version starts on {date}"),
        ),
        None => Suspension::new(SuspenseReason::UnknownPlan, plan),
    }
}

impl TimelineInterval {
    fn of(
        account: &TrialAccount,
        number: AccountNumber,
        catalogue: &mut TrialCatalogue,
        (from, until): (Timestamp, Timestamp),
    ) -> Result<Self, TrialError> {
        let settings = account.settings_at(from);
        let mut interval = Self {
            from,
            until,
            settings: settings.clone(),
            codes: Vec::new(),
            terms: Vec::new(),
            closed_to_usage: Some(SuspenseReason::NoPlan.into()),
        };
        let mut missing = None;
        for subscription in account.subscriptions_at(from) {
            let TrialSubscription { plan, parameters, .. } = subscription;
            let in_force = (&settings.zone, settings.currency);
            let code = catalogue.code(plan, parameters, in_force, from).map_err(|errors| {
                TrialError::Parameters { account: number, plan: plan.clone(), errors }
            })?;
            interval.closed_to_usage = None;
            match code {
                Some(code) => {
                    // `since` identifies the subscription's one-time charges in the state, so it
                    // must not change when the account gets another zone later.
                    let opened = &account.settings_at(Timestamp::MIN).zone;
                    let first = catalogue.starts(plan, opened).min();
                    let since = first.unwrap_or(Timestamp::MIN).max(subscription.from);
                    interval.add(subscription, since, code, catalogue);
                }
                // Usage is suspended until the plan has a version in force. Due charges of the
                // account's other plans are booked.
                None => {
                    let starts = catalogue.starts(plan, &settings.zone);
                    let first = starts.filter(|&start| start > from).min();
                    missing = Some(unknown_plan(plan, first.map(|at| settings.zone.date_at(at))));
                }
            }
        }
        interval.closed_to_usage = interval.closed_to_usage.or(missing);
        Ok(interval)
    }

    fn add(
        &mut self,
        subscription: &TrialSubscription,
        since: Timestamp,
        code: Arc<ObjectCode>,
        catalogue: &TrialCatalogue,
    ) {
        let zone = &self.settings.zone;
        let tables = code.tables().iter().map(|name| catalogue.table(name, zone, self.from));
        self.terms.push(Terms {
            tables: tables.collect(),
            since,
            until: subscription.until,
            option: subscription.option.clone(),
            offered: subscription.from,
        });
        self.codes.push(code);
    }

    fn is_swept(&self) -> bool {
        self.codes.iter().any(|code| code.is_swept() || code.closes())
            || self.terms.iter().any(|terms| terms.option.is_some())
    }

    /// The plans in force, in the evaluator's type.
    pub(crate) fn plans(&self) -> Vec<PlanInForce<'_>> {
        self.codes
            .iter()
            .zip(&self.terms)
            .map(|(code, terms)| PlanInForce {
                code,
                tables: &terms.tables,
                since: terms.since,
                until: terms.until,
                option: terms
                    .option
                    .as_ref()
                    .map(|one| OptionInForce::new(&one.option, one.fee, terms.offered)),
            })
            .collect()
    }
}
