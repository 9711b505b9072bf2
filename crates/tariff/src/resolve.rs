//! Finds the versions of plans and tables that rate an account at an instant, and the interval in
//! which they do.
//!
//! Versions are found by binary search. So ten years of daily rates cost about as much as one
//! version.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use turnpike_plan::{
    AccountContext, AccountState, ObjectCode, OfferId, Period, Plan, Table, VariableId, Zone,
    ZoneError, first_instant_of,
};
use turnpike_types::{Money, Must, SuspenseReason, Suspension, Timestamp};

use crate::catalogue::{Catalogue, InForce, UnreadTable};
use crate::codes::{CodeCache, parameters_of};
use crate::lent::Lent;
use crate::notice::{ACCOUNT_INTERVALS_MAX, Notice};
use crate::profiles::Profile;
use crate::settings::{Settings, Subscription};
use crate::tariff::{CodeSlot, DueTariff, NoTariff, Offered, Subscribed, Tariff, TariffInterval};

/// The most compiled plans that are kept alive; beyond this number all are dropped. Small in unit
/// tests, which exceed it.
pub(crate) const SLOTS_MAX: usize = if cfg!(test) { 1 << 6 } else { 1 << 14 };

const MINUTE_US: i64 = 60_000_000;

/// The purpose of a tariff.
#[derive(Clone, Copy, PartialEq, Eq)]
enum For {
    /// To rate a record. If the plan of a subscription can't rate, nothing is rated.
    Usage,
    /// To book charges that fall due. If one plan can't rate, the charges of the others are still
    /// booked. Tables are looked up when a charge is booked.
    Dues,
    /// To take a posting from another account: the account's calendar, with the plans that are in
    /// force.
    Postings,
}

/// The time interval around an instant in which all looked-up values stay the same.
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

/// Resolves tariffs from a catalogue. It keeps only the compiled plans that tariffs refer to.
#[derive(Debug)]
pub(crate) struct Resolver {
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) codes: CodeCache,
    /// By address of the compiled plan. The plan is kept alive here, so no address is used twice.
    slots: HashMap<usize, (CodeSlot, Arc<ObjectCode>)>,
    /// Tables that are not in the catalogue.
    pub(crate) lent: Lent,
}

impl Resolver {
    pub(crate) fn new(catalogue: Arc<Catalogue>, codes: CodeCache) -> Self {
        Self { catalogue, codes, slots: HashMap::new(), lent: Lent::default() }
    }

    /// Drops the compiled plans once there are too many. Returns `true` if slots start from zero
    /// again.
    pub(crate) fn trim(&mut self) -> bool {
        let full = self.slots.len() > SLOTS_MAX;
        if full {
            self.slots.clear();
        }
        full
    }

    fn slot(&mut self, code: Arc<ObjectCode>) -> (CodeSlot, Arc<ObjectCode>) {
        // The map grows beyond SLOTS_MAX only while one segment is open.
        let next =
            CodeSlot(u32::try_from(self.slots.len()).must("memory holds less than 2^32 plans"));
        let entry = self.slots.entry(Arc::as_ptr(&code).addr()).or_insert((next, code));
        (entry.0, Arc::clone(&entry.1))
    }

    /// All intervals in which plans are in force, after empty intervals that give back what was
    /// charged to subscriptions that never began. `alive` is called for each one that is resolved.
    pub(crate) fn resolve_all(&mut self, profile: &Profile, alive: &dyn Fn()) -> Vec<DueTariff> {
        let mut intervals = self.resolve_never_begun(profile, alive);
        let credits = intervals.len();
        let first = profile.subscriptions.iter().map(|subscription| subscription.from_us).min();
        let mut at = first.map(Timestamp);
        while let Some(from) = at {
            // Plans with many versions make many intervals: the owner task ticks for each.
            alive();
            let interval = self.resolve_for(For::Dues, profile, from);
            if let Ok(tariff) = interval.tariff {
                let until = interval.until;
                intervals.push(DueTariff { from, until, tariff, tables_at: None });
            }
            if intervals.len() - credits >= ACCOUNT_INTERVALS_MAX {
                let plans: BTreeSet<&str> =
                    profile.subscriptions.iter().map(|one| one.plan_id.as_str()).collect();
                let notice = Notice::ManyIntervals { plans: &plans, at: interval.until };
                self.codes.tell().tell(&notice);
                break;
            }
            at = Some(interval.until).filter(|&until| until < Timestamp::MAX);
        }
        intervals
    }

    /// Empty intervals for each plain subscription that ended before it took effect: it was
    /// cancelled at its start, or before the first version of its plan.
    ///
    /// Charges are stored by the minute of the start. If another subscription to the plan has the
    /// same minute, nothing was booked when it was taken ([`Self::why_not_from`]), and the charges
    /// are its own.
    fn resolve_never_begun(&mut self, profile: &Profile, alive: &dyn Fn()) -> Vec<DueTariff> {
        // While the zone can't be read, nothing is charged, and nothing is given back.
        let Ok(opened) = Self::opened_in(profile) else { return Vec::new() };
        let starts =
            profile.subscriptions.iter().map(|one| (one, self.since(opened.as_ref(), one)));
        let starts: Vec<(&Subscription, Timestamp)> = starts.collect();
        let key = |(one, since): &(&Subscription, Timestamp)| {
            (one.plan_id.clone(), Period::of_subscription(since.0))
        };
        let begins = |(one, since): &(&Subscription, Timestamp)| since.0 < one.until_us;
        let mut seen: HashSet<_> = starts.iter().filter(|one| begins(one)).map(key).collect();
        let mut credits = Vec::new();
        for one in starts.iter().filter(|one| !begins(one) && one.0.option.is_empty()) {
            if seen.insert(key(one)) {
                self.resolve_credits(profile, *one, alive, &mut credits);
            }
        }
        credits
    }

    /// An empty interval for each version of a subscription's plan that may have charged what no
    /// earlier version charged.
    ///
    /// All lie at the first instant of the subscription's first date, or earlier if the account has
    /// several zones: the credits must precede the charges of the same dates to another subscription,
    /// because bookings are stored by their first date. Tables are those at the beginning of the
    /// version ([`DueTariff::tables_at`]).
    fn resolve_credits(
        &mut self,
        profile: &Profile,
        (subscription, since): (&Subscription, Timestamp),
        alive: &dyn Fn(),
        credits: &mut Vec<DueTariff>,
    ) {
        let zones: Result<Vec<Zone>, _> =
            profile.settings.iter().map(|one| Zone::parse(&one.zone)).collect();
        // The charges are given back once all zones can be read: without one of them, the credits
        // could follow other charges of their dates.
        let Ok(zones) = zones else { return };
        let Some(date) = zones.iter().map(|zone| zone.date_at(since)).min() else { return };
        let Some(at) = zones.iter().map(|zone| first_instant_of(zone, date)).min() else { return };
        let begun = Subscription { until_us: i64::MAX, ..subscription.clone() };
        let alone = Profile { settings: profile.settings.clone(), subscriptions: vec![begun] };
        let mut charged: HashSet<VariableId> = HashSet::new();
        let mut next = Some(since);
        while let Some(from) = next {
            alive();
            let interval = self.resolve_for(For::Dues, &alone, from);
            next = Some(interval.until).filter(|&until| until < Timestamp::MAX);
            // A version that can't be read now gives its charges back once it can.
            let Ok(found) = interval.tariff else { continue };
            let variables = found.plans.iter().flat_map(|plan| plan.code.due_by());
            let more = variables.filter(|variable| charged.insert(**variable)).count();
            if more == 0 {
                continue;
            }
            if credits.len() >= ACCOUNT_INTERVALS_MAX {
                let notice = Notice::ManyCredits { plan: &subscription.plan_id };
                self.codes.tell().tell(&notice);
                return;
            }
            let mut tariff = Tariff::clone(&found);
            for plan in &mut tariff.plans {
                plan.until = at;
            }
            // The charge was posted in this currency, also if the account has another one by now.
            if let Some(plan) = tariff.plans.first() {
                tariff.context.currency = plan.code.posts();
            }
            let tariff = Arc::new(tariff);
            credits.push(DueTariff { from: at, until: at, tariff, tables_at: Some(from) });
        }
    }

    /// Why a new subscription can't have its start. Charges are booked once for each start of a
    /// plan, to the minute: those of an earlier subscription would count as charges of the new one,
    /// and its credits would be taken from them.
    pub(crate) fn why_not_from(
        &self,
        profile: &Profile,
        state: &AccountState,
        new: &Subscription,
    ) -> Option<String> {
        let opened = match Self::opened_in(profile) {
            Ok(opened) => opened,
            Err(error) => return Some(error.to_string()),
        };
        let since = self.since(opened.as_ref(), new);
        let minute = Period::of_subscription(since.0);
        let mut alike = profile.subscriptions.iter().filter(|old| {
            let old_since = self.since(opened.as_ref(), old);
            let is_alike = Period::of_subscription(old_since.0) == minute;
            let has_begun = || old_since.0 < old.until_us;
            let is_booked = |plan: &Arc<Plan>| {
                let settings = profile.settings_at(since);
                let code = self.codes.code(plan, &parameters_of(plan, settings, old));
                code.is_some_and(|code| code.is_booked(state, minute))
            };
            let mut versions = self.catalogue.versions(&old.plan_id);
            old.plan_id == new.plan_id && is_alike && (has_begun() || versions.any(is_booked))
        });
        alike.next()?;
        let next = since.0.div_euclid(MINUTE_US).saturating_add(1).saturating_mul(MINUTE_US);
        let show = |at_us: i64| match jiff::Timestamp::from_microsecond(at_us) {
            Ok(at) => at.to_string(),
            Err(_) => format!("{at_us} us"),
        };
        Some(format!(
            "charges of a subscription to {plan} from {from} on were booked, and are not booked again \
             for another one that takes effect in the same minute: choose another start, such as \
             {next} (turnpike account subscribe, --from {next})",
            plan = new.plan_id,
            from = show(since.0),
            next = show(next),
        ))
    }

    /// The tariff for usage at `at`.
    pub(crate) fn resolve(&mut self, profile: &Profile, at: Timestamp) -> TariffInterval {
        self.resolve_for(For::Usage, profile, at)
    }

    /// The tariff for a posting at `at`, whether or not all of the account's plans can rate.
    pub(crate) fn resolve_posting(&mut self, profile: &Profile, at: Timestamp) -> TariffInterval {
        self.resolve_for(For::Postings, profile, at)
    }

    fn resolve_for(&mut self, whom: For, profile: &Profile, at: Timestamp) -> TariffInterval {
        let mut around = Around::new(profile, at);
        let tariff = self.tariff(whom, profile, &mut around);
        TariffInterval { from: around.from, until: around.until, tariff }
    }

    /// The tariff of an interval with the tables in force at `at`.
    ///
    /// # Errors
    /// A table is not in memory.
    pub(crate) fn with_tables(
        &self,
        interval: &DueTariff,
        at: Timestamp,
    ) -> Result<DueTariff, UnreadTable> {
        let mut around = Around { at, from: interval.from, until: interval.until };
        let Tariff { context, plans } = interval.tariff.as_ref();
        let plans = plans.iter().map(|plan| {
            let tables = self.tables(plan, &context.zone, &mut around)?;
            Ok(Subscribed { tables, ..plan.clone() })
        });
        let plans = plans.collect::<Result<_, UnreadTable>>()?;
        let tariff = Arc::new(Tariff { context: context.clone(), plans });
        let Around { from, until, .. } = around;
        Ok(DueTariff { from, until, tariff, tables_at: None })
    }

    /// The tables in force that a compiled plan names.
    fn tables(
        &self,
        plan: &Subscribed,
        zone: &Zone,
        around: &mut Around,
    ) -> Result<Box<[Option<Arc<Table>>]>, UnreadTable> {
        let look_up = |table: &turnpike_plan::TableName| {
            let found = self.catalogue.table(&table.id, zone, around.at);
            around.cut_by(&found);
            let content = match found.unread {
                None => found.content,
                Some(unread) => self.lent.get(unread)?,
            };
            Ok(content.filter(|content| content.kind() == table.kind).cloned())
        };
        plan.code.tables().iter().map(look_up).collect()
    }

    fn tariff(
        &mut self,
        whom: For,
        profile: &Profile,
        around: &mut Around,
    ) -> Result<Arc<Tariff>, NoTariff> {
        let at = around.at;
        let settings = profile.settings_at(at).ok_or(SuspenseReason::UnknownAccount)?;
        // The zone and the currency were checked by the command that set them.
        let unknown = |error: ZoneError| Suspension::new(SuspenseReason::UnknownAccount, error);
        let zone = Zone::parse(&settings.zone).map_err(unknown)?;
        let opened = Self::opened_in(profile).map_err(unknown)?;
        let currency = settings
            .currency
            .parse()
            .map_err(|_| Suspension::new(SuspenseReason::CurrencyMismatch, &settings.currency))?;
        let cycle_day = cycle_day(settings)?;
        let mut plans: Vec<Subscribed> = Vec::new();
        let mut unreadable: Vec<&str> = Vec::new();
        let mut is_subscribed = false;
        for subscription in profile.subscriptions_at(at) {
            is_subscribed = true;
            let found = self.catalogue.plan(&subscription.plan_id, &zone, at);
            around.cut_by(&found);
            let (plan, has_begun) = (found.content.map(Arc::clone), found.from.is_some());
            let since = self.since(opened.as_ref(), subscription);
            let subscribed =
                plan.and_then(|plan| self.subscribed(&plan, settings, (subscription, since), at));
            match subscribed {
                Some(mut plan) => {
                    if whom == For::Usage {
                        plan.tables = self.tables(&plan, &zone, around)?;
                    }
                    plans.push(plan);
                }
                None if whom == For::Usage => {
                    return Err(self.unknown_plan(subscription, settings, &zone, at).into());
                }
                None if has_begun => {
                    let is_alternative = subscription.is_alternative_at(at.micros());
                    unreadable.push(if is_alternative { &subscription.option } else { "" });
                }
                None => {}
            }
        }
        // An option can't be compared if one of its alternatives is missing.
        plans.retain(|plan| {
            let option = plan.option.as_ref().filter(|option| !option.is_kept);
            option.is_none_or(|option| !unreadable.contains(&option.name.as_ref()))
        });
        if whom != For::Postings && (!is_subscribed || plans.is_empty()) {
            return Err(SuspenseReason::NoPlan.into());
        }
        let attributes = settings.attributes.clone();
        let context = AccountContext { zone, cycle_day, currency, attributes };
        Ok(Arc::new(Tariff { context, plans }))
    }

    /// Why the plan of a subscription does not rate at `at`.
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
                let parameters = parameters_of(plan, Some(settings), subscription);
                let faults = match self.codes.compiled(plan, &parameters) {
                    Err(faults) => faults.to_string(),
                    Ok(_) => fee_of(subscription).err().must("a plan without a fault rates"),
                };
                let why = faults.lines().next().unwrap_or(&faults);
                about(format_args!(" version {}: {why}", plan.version()))
            }
            (None, Some(_), _) => about(format_args!(": a newer program published it")),
            (None, None, Some(first)) => {
                about(format_args!(": its first version starts on {}", zone.date_at(first)))
            }
            (None, None, None) => about(format_args!("")),
        }
    }

    /// The zone that the account was opened with; `None` for an account without settings.
    ///
    /// # Errors
    /// This program does not know the zone.
    fn opened_in(profile: &Profile) -> Result<Option<Zone>, ZoneError> {
        profile.settings.first().map(|opened| Zone::parse(&opened.zone)).transpose()
    }

    /// When the subscription took effect, in the zone that the account was opened with
    /// ([`Self::opened_in`]). One-time charges are identified by this instant, so it must not move
    /// when the account changes its zone.
    fn since(&self, opened: Option<&Zone>, subscription: &Subscription) -> Timestamp {
        let first = opened.and_then(|zone| self.catalogue.first_start(&subscription.plan_id, zone));
        // A plan without a first version does not delay the subscription.
        Timestamp(subscription.from_us).max(first.unwrap_or(Timestamp::MIN))
    }

    /// The subscription's compiled plan. `None` if the parameters do not fit it, or if the fee of
    /// its option can't be read; the operator is told.
    fn subscribed(
        &mut self,
        plan: &Plan,
        settings: &Settings,
        (subscription, since): (&Subscription, Timestamp),
        at: Timestamp,
    ) -> Option<Subscribed> {
        let code = self.codes.code(plan, &parameters_of(plan, Some(settings), subscription))?;
        let option = match offered(subscription, at) {
            Ok(option) => option,
            Err(errors) => {
                let (plan, version) = (plan.id(), plan.version());
                self.codes.tell().tell(&Notice::Unfit { plan, version, errors: &errors });
                return None;
            }
        };
        let (slot, code) = self.slot(code);
        Some(Subscribed {
            slot,
            code,
            tables: Box::default(),
            since,
            until: Timestamp(subscription.until_us),
            option,
        })
    }
}

/// The day on which the account's cycles begin. Commands check it, but a newer program may have
/// stored the settings.
fn cycle_day(settings: &Settings) -> Result<u8, Suspension> {
    let day = u8::try_from(settings.cycle_day).ok().filter(|day| (1..=31).contains(day));
    day.ok_or_else(|| {
        let about = format_args!("cycle day {}", settings.cycle_day);
        Suspension::new(SuspenseReason::UnknownAccount, about)
    })
}

/// The option of a subscription, as it is at `at`.
///
/// # Errors
/// Why the fee can't be read.
fn offered(subscription: &Subscription, at: Timestamp) -> Result<Option<Offered>, String> {
    if subscription.option.is_empty() {
        return Ok(None);
    }
    Ok(Some(Offered {
        name: subscription.option.as_str().into(),
        fee: fee_of(subscription)?,
        offer: OfferId::of(&subscription.option, Timestamp(subscription.from_us)),
        kept_from: subscription.kept_from_us.map_or(Timestamp::MAX, Timestamp),
        is_kept: !subscription.is_alternative_at(at.micros()),
    }))
}

/// The fee of the subscription's option. Commands check it, but a newer program may have stored the
/// subscription.
///
/// # Errors
/// Why the fee can't be read.
fn fee_of(Subscription { option, fee, .. }: &Subscription) -> Result<Money, String> {
    if fee.is_empty() {
        return Ok(Money::ZERO);
    }
    fee.parse().map_err(|error| format!("the fee of option {option} can't be read: {error}"))
}
