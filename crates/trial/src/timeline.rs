//! What rates an account through all time: stretches in which its settings, its plans' versions
//! and their tables stay the same.

use std::collections::BTreeSet;
use std::sync::Arc;

use turnpike_plan::{AccountContext, ObjectCode, OptionInForce, PlanInForce, Table};
use turnpike_types::{AccountNumber, SuspenseReason, Suspension, Timestamp};

use crate::accounts::{Account, Alternative, Subscription};
use crate::{Catalogue, TrialError};

/// All of an account's time, in order and without gaps.
#[derive(Debug)]
pub(crate) struct Timeline {
    pub(crate) stretches: Vec<Stretch>,
    /// Does anything ever fall due by itself?
    pub(crate) is_swept: bool,
}

/// A stretch of time in which nothing of it changes.
#[derive(Debug)]
pub(crate) struct Stretch {
    pub(crate) from: Timestamp,
    pub(crate) until: Timestamp,
    pub(crate) settings: AccountContext,
    /// Those to be asked first in front.
    pub(crate) codes: Vec<Arc<ObjectCode>>,
    /// Of each code.
    terms: Vec<Terms>,
    /// Why records that start here can't be rated.
    pub(crate) closed_to_usage: Option<Suspension>,
}

/// On what terms a plan is subscribed to.
#[derive(Debug)]
struct Terms {
    tables: Vec<Option<Arc<Table>>>,
    since: Timestamp,
    until: Timestamp,
    option: Option<Alternative>,
    /// When the option was offered.
    offered: Timestamp,
}

impl Timeline {
    /// # Errors
    /// When the account's parameters do not fit its plan.
    pub(crate) fn of(
        account: &Account,
        number: AccountNumber,
        catalogue: &mut Catalogue,
    ) -> Result<Self, TrialError> {
        let changes = changes(account, catalogue);
        let ends = changes.iter().skip(1).copied().chain([Timestamp::MAX]);
        let mut stretches = Vec::with_capacity(changes.len());
        for (&from, until) in changes.iter().zip(ends) {
            stretches.push(Stretch::of(account, number, catalogue, (from, until))?);
        }
        let is_swept = stretches.iter().any(Stretch::is_swept);
        Ok(Self { stretches, is_swept })
    }

    /// The place of the stretch that holds an instant.
    pub(crate) fn place(&self, at: Timestamp) -> usize {
        // Never empty: the first stretch begins with time itself.
        self.stretches.partition_point(|stretch| stretch.from <= at).saturating_sub(1)
    }

    /// Calls `with` with all stretches as the evaluator reads them.
    pub(crate) fn with_stretches<T>(
        &self,
        with: impl FnOnce(&[turnpike_plan::Stretch<'_>]) -> T,
    ) -> T {
        let plans: Vec<Vec<PlanInForce<'_>>> = self.stretches.iter().map(Stretch::plans).collect();
        let stretches: Vec<turnpike_plan::Stretch<'_>> = self
            .stretches
            .iter()
            .zip(&plans)
            .map(|(stretch, plans)| turnpike_plan::Stretch {
                from: stretch.from,
                until: stretch.until,
                account: &stretch.settings,
                plans,
            })
            .collect();
        with(&stretches)
    }
}

/// The instants at which something changes, the beginning of time among them.
fn changes(account: &Account, catalogue: &Catalogue) -> BTreeSet<Timestamp> {
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

impl Stretch {
    fn of(
        account: &Account,
        number: AccountNumber,
        catalogue: &mut Catalogue,
        (from, until): (Timestamp, Timestamp),
    ) -> Result<Self, TrialError> {
        let settings = account.settings_at(from);
        let mut stretch = Self {
            from,
            until,
            settings: settings.clone(),
            codes: Vec::new(),
            terms: Vec::new(),
            closed_to_usage: Some(SuspenseReason::NoPlan.into()),
        };
        let mut missing = None;
        for subscription in account.subscriptions_at(from) {
            let Subscription { plan, parameters, .. } = subscription;
            let in_force = (&settings.zone, settings.currency);
            let code = catalogue.code(plan, parameters, in_force, from).map_err(|errors| {
                TrialError::Parameters { account: number, plan: plan.clone(), errors }
            })?;
            stretch.closed_to_usage = None;
            match code {
                Some(code) => {
                    // What is charged once is known by it, whatever becomes of the zone.
                    let opened = &account.settings_at(Timestamp::MIN).zone;
                    let first = catalogue.starts(plan, opened).min();
                    let since = first.unwrap_or(Timestamp::MIN).max(subscription.from);
                    stretch.add(subscription, since, code, catalogue);
                }
                // Usage waits for it; what falls due of the others does not.
                None => missing = Some(Suspension::new(SuspenseReason::UnknownPlan, plan)),
            }
        }
        stretch.closed_to_usage = stretch.closed_to_usage.or(missing);
        Ok(stretch)
    }

    fn add(
        &mut self,
        subscription: &Subscription,
        since: Timestamp,
        code: Arc<ObjectCode>,
        catalogue: &Catalogue,
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

    /// The plans in force, as the evaluator reads them.
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
