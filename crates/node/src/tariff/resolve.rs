//! Which versions of plans and tables an account is rated by at an instant, and for how long.
//!
//! Each id's versions are searched by halves, never listed: a stretch costs the logarithm of the
//! versions, so that ten years of daily rates cost about what one version does.

use std::collections::BTreeMap;
use std::sync::Arc;

use turnpike_account::Profile;
use turnpike_plan::{ACCOUNT_CURRENCY, AccountContext, OfferId, Plan, Table, Zone};
use turnpike_segment::head::{Settings, Subscription};
use turnpike_types::{Money, SuspenseReason, Suspension, Timestamp};

use super::{DueStretch, Offered, Stretch, Subscribed, Tariff, Tariffs};
use crate::catalogue::InForce;

/// Stretches of one account; what is later does not fall due.
const ACCOUNT_STRETCHES_MAX: usize = 10_000;

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum For {
    /// A record: if a subscription's plan can't rate, nothing is rated.
    Usage,
    /// What falls due: the others go on, and tables are looked up when something is booked.
    Dues,
    /// What another account posts: the account's calendar, with whatever plans there are.
    Postings,
}

/// The stretch of time round an instant in which what was looked up stays the same.
struct Around {
    at: Timestamp,
    from: Timestamp,
    until: Timestamp,
}

impl Around {
    fn new(profile: &Profile, at: Timestamp) -> Self {
        let mut around = Self { at, from: Timestamp::MIN, until: Timestamp::MAX };
        profile.boundaries().for_each(|boundary| around.cut(boundary));
        around
    }

    fn cut(&mut self, boundary: Timestamp) {
        if boundary <= self.at {
            self.from = self.from.max(boundary);
        } else {
            self.until = self.until.min(boundary);
        }
    }

    fn cut_by<T>(&mut self, found: &InForce<'_, T>) {
        found.from.into_iter().chain(found.until).for_each(|boundary| self.cut(boundary));
    }
}

impl Tariffs {
    /// All stretches of which plans are in force; `alive` is called for each that is resolved.
    pub(super) fn resolve_all(&mut self, profile: &Profile, alive: &dyn Fn()) -> Vec<DueStretch> {
        let mut stretches = Vec::new();
        let first = profile.subscriptions.iter().map(|subscription| subscription.from_us).min();
        let mut at = first.map(Timestamp);
        while let Some(from) = at {
            // Plans of many versions make many stretches.
            alive();
            let stretch = self.resolve_for(For::Dues, profile, from);
            if let Ok(tariff) = stretch.tariff {
                stretches.push(DueStretch { from, until: stretch.until, tariff });
            }
            if stretches.len() >= ACCOUNT_STRETCHES_MAX {
                tracing::error!(
                    "an account's settings and plans change more than {ACCOUNT_STRETCHES_MAX} \
                     times: what falls due after {from:?} is not booked"
                );
                break;
            }
            at = Some(stretch.until).filter(|&until| until < Timestamp::MAX);
        }
        stretches
    }

    /// What rates usage at `at`.
    pub(super) fn resolve(&mut self, profile: &Profile, at: Timestamp) -> Stretch {
        self.resolve_for(For::Usage, profile, at)
    }

    /// What counts a posting at `at`, whether or not all of the account's plans can rate.
    pub(super) fn resolve_posting(&mut self, profile: &Profile, at: Timestamp) -> Stretch {
        self.resolve_for(For::Postings, profile, at)
    }

    fn resolve_for(&mut self, whom: For, profile: &Profile, at: Timestamp) -> Stretch {
        let mut around = Around::new(profile, at);
        let tariff = self.tariff(whom, profile, &mut around);
        Stretch { from: around.from, until: around.until, tariff }
    }

    /// The tariff of a stretch with the tables in force at `at`.
    pub(super) fn with_tables(&self, stretch: &DueStretch, at: Timestamp) -> Stretch {
        let mut around = Around { at, from: stretch.from, until: stretch.until };
        let Tariff { context, plans } = stretch.tariff.as_ref();
        let plans = plans.iter().map(|plan| {
            let tables = self.tables(plan, &context.zone, &mut around);
            Subscribed { tables, ..plan.clone() }
        });
        let tariff = Tariff { context: context.clone(), plans: plans.collect() };
        Stretch { from: around.from, until: around.until, tariff: Ok(Arc::new(tariff)) }
    }

    /// The tables that a plan's code names, as they are in force.
    fn tables(
        &self,
        plan: &Subscribed,
        zone: &Zone,
        around: &mut Around,
    ) -> Box<[Option<Arc<Table>>]> {
        let look_up = |table: &turnpike_plan::TableName| {
            let found = self.catalogue.table(&table.id, zone, around.at);
            around.cut_by(&found);
            found.content.filter(|found| found.kind() == table.kind).cloned()
        };
        plan.code.tables().iter().map(look_up).collect()
    }

    fn tariff(
        &mut self,
        whom: For,
        profile: &Profile,
        around: &mut Around,
    ) -> Result<Arc<Tariff>, Suspension> {
        let at = around.at;
        let settings = profile.settings_at(at).ok_or(SuspenseReason::UnknownAccount)?;
        // Zone and currency were checked when the settings were taken.
        let zone = Zone::parse(&settings.zone)
            .map_err(|error| Suspension::new(SuspenseReason::UnknownAccount, error))?;
        let currency = settings
            .currency
            .parse()
            .map_err(|_| Suspension::new(SuspenseReason::CurrencyMismatch, &settings.currency))?;
        let mut plans: Vec<Subscribed> = Vec::new();
        let mut unreadable: Vec<&str> = Vec::new();
        let mut is_subscribed = false;
        for subscription in profile.subscriptions_at(at) {
            is_subscribed = true;
            let found = self.catalogue.plan(&subscription.plan_id, &zone, at);
            around.cut_by(&found);
            let (plan, has_begun) = (found.content.map(Arc::clone), found.from.is_some());
            let since = self.since(profile, subscription);
            let subscribed =
                plan.and_then(|plan| self.subscribed(&plan, settings, (subscription, since), at));
            match subscribed {
                Some(mut plan) => {
                    if whom == For::Usage {
                        plan.tables = self.tables(&plan, &zone, around);
                    }
                    plans.push(plan);
                }
                None if whom == For::Usage => {
                    return Err(self.unknown_plan(subscription, settings, &zone, at));
                }
                None if has_begun => {
                    let is_alternative = subscription.is_alternative_at(at.micros());
                    unreadable.push(if is_alternative { &subscription.option } else { "" });
                }
                None => {}
            }
        }
        // An option can't be compared without one of its alternatives.
        plans.retain(|plan| {
            let option = plan.option.as_ref().filter(|option| !option.is_kept);
            option.is_none_or(|option| !unreadable.contains(&option.name.as_ref()))
        });
        if whom != For::Postings && (!is_subscribed || plans.is_empty()) {
            return Err(SuspenseReason::NoPlan.into());
        }
        let cycle_day = u8::try_from(settings.cycle_day).unwrap_or(1);
        let attributes = settings.attributes.clone();
        let context = AccountContext { zone, cycle_day, currency, attributes };
        Ok(Arc::new(Tariff { context, plans }))
    }

    /// Why a subscription's plan does not rate at `at`.
    fn unknown_plan(
        &self,
        subscription: &Subscription,
        settings: &Settings,
        zone: &Zone,
        at: Timestamp,
    ) -> Suspension {
        let id = &subscription.plan_id;
        let about = |about: std::fmt::Arguments<'_>| {
            Suspension::new(SuspenseReason::UnknownPlan, format_args!("{id}{about}"))
        };
        let found = self.catalogue.plan(id, zone, at);
        match (found.content, found.from, found.until) {
            (Some(plan), ..) => {
                let parameters = parameters(plan, Some(settings), subscription);
                let why = self.codes.compiled(plan, &parameters).err();
                let why = why.as_deref().unwrap_or_default().lines().next().unwrap_or_default();
                about(format_args!(" version {}: {why}", plan.version()))
            }
            (None, Some(_), _) => about(format_args!(": a newer program published it")),
            (None, None, Some(first)) => {
                about(format_args!(": its first version starts on {}", zone.date_at(first)))
            }
            (None, None, None) => about(format_args!("")),
        }
    }

    /// When the subscription took effect. What is charged once is known by it: it counts by the
    /// zone that the account was opened with, and so stays whatever becomes of the zone.
    fn since(&self, profile: &Profile, subscription: &Subscription) -> Timestamp {
        let zone = profile.settings.first().and_then(|opened| Zone::parse(&opened.zone).ok());
        let first = zone.and_then(|zone| self.catalogue.first_start(&subscription.plan_id, &zone));
        Timestamp(subscription.from_us).max(first.unwrap_or(Timestamp::MIN))
    }

    /// The subscription's plan, as it rates; `None` where its parameters do not fit.
    fn subscribed(
        &mut self,
        plan: &Plan,
        settings: &Settings,
        (subscription, since): (&Subscription, Timestamp),
        at: Timestamp,
    ) -> Option<Subscribed> {
        let code = self.codes.code(plan, &parameters(plan, Some(settings), subscription))?;
        let (slot, code) = self.slot(code);
        Some(Subscribed {
            slot,
            code,
            tables: Box::default(),
            since,
            until: Timestamp(subscription.until_us),
            option: offered(subscription, at),
        })
    }
}

/// The option of a subscription, as it stands at `at`.
fn offered(subscription: &Subscription, at: Timestamp) -> Option<Offered> {
    if subscription.option.is_empty() {
        return None;
    }
    Some(Offered {
        name: subscription.option.as_str().into(),
        fee: subscription.fee.parse().unwrap_or(Money::ZERO),
        offer: OfferId::of(&subscription.option, Timestamp(subscription.from_us)),
        kept_from: subscription.kept_from_us.map_or(Timestamp::MAX, Timestamp),
        is_kept: !subscription.is_alternative_at(at.micros()),
    })
}

/// What a subscription says about its plan's parameters, and the currency that the account is
/// billed in, for plans that convert to it.
pub(super) fn parameters(
    plan: &Plan,
    settings: Option<&Settings>,
    subscription: &Subscription,
) -> BTreeMap<String, String> {
    let mut parameters = subscription.parameters.clone();
    if let Some(settings) = settings.filter(|_| plan.converts_to_account()) {
        parameters.insert(ACCOUNT_CURRENCY.to_owned(), settings.currency.clone());
    }
    parameters
}
