//! What an account is rated by at an instant: its settings then, and the object code of the plan
//! versions in force then, with the tables that they read. Resolved once for each profile and
//! stretch of time, not for each record.

use std::collections::HashMap;
use std::sync::Arc;

use smallvec::SmallVec;
use turnpike_account::{Profile, ProfileId, Profiles};
use turnpike_plan::{
    ACCOUNT_CURRENCY, AccountContext, Line, ObjectCode, OfferId, OptionInForce, Plan, PlanInForce,
    Table, VariableId, Zone,
};
use turnpike_segment::head::{Settings, Subscription};
use turnpike_types::{Money, SuspenseReason, Timestamp};

use crate::catalogue::{Catalogue, CodeCache};

/// A code's place in this owner's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CodeSlot(pub(crate) u32);

/// What rates an account for a stretch of time.
#[derive(Debug)]
pub(crate) struct Tariff {
    pub(crate) context: AccountContext,
    /// Highest priority first; alternatives of an option side by side, in the order offered.
    pub(crate) plans: Vec<Subscribed>,
}

/// A subscription's plan version in force.
#[derive(Debug)]
pub(crate) struct Subscribed {
    pub(crate) slot: CodeSlot,
    pub(crate) code: Arc<ObjectCode>,
    tables: Box<[Option<Arc<Table>>]>,
    since: Timestamp,
    until: Timestamp,
    option: Option<Offered>,
}

/// The option that a subscription is an alternative of, or was until the client kept it.
#[derive(Debug)]
struct Offered {
    name: Box<str>,
    fee: Money,
    offer: OfferId,
    kept_from: Timestamp,
    is_kept: bool,
}

impl Offered {
    fn in_force(&self) -> OptionInForce<'_> {
        let Self { ref name, fee, offer, kept_from, is_kept } = *self;
        OptionInForce { name, fee, offer, kept_from, is_kept }
    }
}

impl Subscribed {
    pub(crate) fn in_force(&self) -> PlanInForce<'_> {
        PlanInForce {
            code: &self.code,
            tables: &self.tables,
            since: self.since,
            until: self.until,
            option: self.option.as_ref().map(Offered::in_force),
        }
    }
}

/// Plans in force; most accounts have few.
pub(crate) type PlansInForce<'a> = SmallVec<[PlanInForce<'a>; 4]>;

impl Tariff {
    pub(crate) fn in_force(&self) -> PlansInForce<'_> {
        self.plans.iter().map(Subscribed::in_force).collect()
    }

    /// The variable whose level the line shows.
    pub(crate) fn level_of(&self, line: &Line) -> Option<VariableId> {
        let plan = self.plans.get(usize::from(line.plan))?;
        plan.code.components().get(usize::from(line.component))?.level
    }
}

#[derive(Debug)]
struct Stretch {
    from: Timestamp,
    until: Timestamp,
    tariff: Result<Arc<Tariff>, SuspenseReason>,
}

/// A stretch of an account's time in which things may fall due.
#[derive(Debug)]
pub(crate) struct DueStretch {
    pub(crate) from: Timestamp,
    pub(crate) until: Timestamp,
    pub(crate) tariff: Arc<Tariff>,
}

/// Tariffs of one owner, by profile.
#[derive(Debug)]
pub(crate) struct Tariffs {
    catalogue: Arc<Catalogue>,
    codes: CodeCache,
    stretches: HashMap<ProfileId, Vec<Stretch>>,
    stretch_count: usize,
    /// All stretches of profiles for which things fall due.
    due: HashMap<ProfileId, Arc<[DueStretch]>>,
    due_count: usize,
    /// By profile: does anything ever fall due by itself?
    swept: Vec<Option<bool>>,
    /// By address: what an address points at is kept alive beside it, so none is used twice.
    slots: HashMap<usize, (CodeSlot, Arc<ObjectCode>)>,
}

/// Codes kept alive by one owner before it starts anew.
const SLOTS_MAX: usize = 1 << 14;
/// Stretches kept; past it the cache starts anew.
const STRETCHES_MAX: usize = 1 << 20;
/// Stretches kept for what falls due; they are needed once an account and month.
const DUE_STRETCHES_MAX: usize = 1 << 17;
/// Stretches of one account; what is later does not fall due.
const ACCOUNT_STRETCHES_MAX: usize = 10_000;

/// What to do about a subscription whose plan can't rate.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Without {
    /// Nothing is rated.
    Suspend,
    /// The others go on.
    GoOn,
}

impl Tariffs {
    pub(crate) fn new(catalogue: Arc<Catalogue>, codes: CodeCache) -> Self {
        Self {
            catalogue,
            codes,
            stretches: HashMap::new(),
            stretch_count: 0,
            due: HashMap::new(),
            due_count: 0,
            swept: Vec::new(),
            slots: HashMap::new(),
        }
    }

    /// The catalogue's version that tariffs come from (P36).
    pub(crate) fn catalogue_version(&self) -> u64 {
        self.catalogue.version
    }

    pub(crate) fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Takes a newer catalogue; `false`: it is none.
    pub(crate) fn update(&mut self, catalogue: &Arc<Catalogue>) -> bool {
        let is_newer = catalogue.version > self.catalogue.version;
        if is_newer {
            self.catalogue = Arc::clone(catalogue);
            self.forget();
        }
        is_newer
    }

    /// Lets go of code that may be long out of use; `true`: slots begin anew. Only while no open
    /// segment counts by them.
    pub(crate) fn trim(&mut self) -> bool {
        let full = self.slots.len() > SLOTS_MAX;
        if full {
            self.forget();
            self.slots.clear();
        }
        full
    }

    fn forget(&mut self) {
        self.stretches.clear();
        self.stretch_count = 0;
        self.due.clear();
        self.due_count = 0;
        self.swept.clear();
    }

    /// What rates an account of this profile at `at`.
    pub(crate) fn at(
        &mut self,
        profiles: &Profiles,
        profile: ProfileId,
        at: Timestamp,
    ) -> Result<Arc<Tariff>, SuspenseReason> {
        let known = self.stretches.get(&profile).and_then(|stretches| {
            stretches.iter().find(|stretch| stretch.from <= at && at < stretch.until)
        });
        if let Some(stretch) = known {
            return stretch.tariff.clone();
        }
        let stretch = match profiles.get(profile) {
            Some(profile) => self.resolve(profile, at, Without::Suspend),
            None => return Err(SuspenseReason::UnknownAccount),
        };
        if self.stretch_count >= STRETCHES_MAX {
            self.forget();
        }
        let tariff = stretch.tariff.clone();
        self.stretch_count += 1;
        self.stretches.entry(profile).or_default().push(stretch);
        tariff
    }

    /// Does anything ever fall due by itself for accounts of this profile: a charge in advance, the
    /// close of a cycle, an option?
    pub(crate) fn is_swept(&mut self, profiles: &Profiles, id: ProfileId) -> bool {
        let at = id.0 as usize;
        if let Some(&Some(known)) = self.swept.get(at) {
            return known;
        }
        let Some(profile) = profiles.get(id) else { return false };
        let is_swept = profile.subscriptions.iter().any(|subscription| {
            let settings = profile.settings.first();
            let falls_due = |plan: &Arc<Plan>| {
                let code = self.codes.code(plan, &parameters(plan, settings, subscription));
                code.is_some_and(|code| code.is_swept() || code.closes())
            };
            !subscription.option.is_empty()
                || self.catalogue.versions(&subscription.plan_id).any(falls_due)
        });
        if self.swept.len() <= at {
            self.swept.resize(profiles.len().max(at + 1), None);
        }
        if let Some(place) = self.swept.get_mut(at) {
            *place = Some(is_swept);
        }
        is_swept
    }

    /// All stretches of time of accounts of this profile, in order, of which plans are in force. A
    /// plan without a version in force is left out, and books when it has one: what falls due of
    /// the others does not wait for it.
    ///
    /// `alive` is called for each stretch that is resolved.
    pub(crate) fn due_stretches(
        &mut self,
        profiles: &Profiles,
        id: ProfileId,
        alive: &dyn Fn(),
    ) -> Arc<[DueStretch]> {
        if let Some(known) = self.due.get(&id) {
            return Arc::clone(known);
        }
        let stretches: Arc<[DueStretch]> = match profiles.get(id) {
            Some(profile) => self.resolve_all(profile, alive).into(),
            None => Arc::default(),
        };
        if self.due_count + stretches.len() > DUE_STRETCHES_MAX {
            self.due.clear();
            self.due_count = 0;
        }
        self.due_count += stretches.len();
        self.due.insert(id, Arc::clone(&stretches));
        stretches
    }

    fn resolve_all(&mut self, profile: &Profile, alive: &dyn Fn()) -> Vec<DueStretch> {
        let mut stretches = Vec::new();
        let first = profile.subscriptions.iter().map(|subscription| subscription.from_us).min();
        let mut at = first.map(Timestamp);
        while let Some(from) = at {
            // Plans and tables of many versions make many stretches.
            alive();
            let stretch = self.resolve(profile, from, Without::GoOn);
            if let Ok(tariff) = stretch.tariff {
                stretches.push(DueStretch { from, until: stretch.until, tariff });
            }
            if stretches.len() >= ACCOUNT_STRETCHES_MAX {
                tracing::error!(
                    "an account's settings, plans and tables change more than \
                     {ACCOUNT_STRETCHES_MAX} times: what falls due after {from:?} is not booked"
                );
                break;
            }
            at = Some(stretch.until).filter(|&until| until < Timestamp::MAX);
        }
        stretches
    }

    fn resolve(&mut self, profile: &Profile, at: Timestamp, without: Without) -> Stretch {
        let mut boundaries: Vec<Timestamp> = profile.boundaries().collect();
        let tariff = self.tariff(profile, at, without, &mut boundaries);
        let from = boundaries.iter().filter(|&&b| b <= at).max().copied();
        let until = boundaries.iter().filter(|&&b| b > at).min().copied();
        Stretch {
            from: from.unwrap_or(Timestamp::MIN),
            until: until.unwrap_or(Timestamp::MAX),
            tariff,
        }
    }

    fn tariff(
        &mut self,
        profile: &Profile,
        at: Timestamp,
        without: Without,
        boundaries: &mut Vec<Timestamp>,
    ) -> Result<Arc<Tariff>, SuspenseReason> {
        let settings = profile.settings_at(at).ok_or(SuspenseReason::UnknownAccount)?;
        // Zone and currency were checked when the settings were taken.
        let zone = Zone::parse(&settings.zone).map_err(|_| SuspenseReason::UnknownAccount)?;
        let currency = settings.currency.parse().map_err(|_| SuspenseReason::CurrencyMismatch)?;
        let mut plans: Vec<Subscribed> = Vec::new();
        let mut unreadable: Vec<&str> = Vec::new();
        let mut subscribed = false;
        for subscription in profile.subscriptions_at(at) {
            subscribed = true;
            boundaries.extend(self.catalogue.starts(&subscription.plan_id, &zone));
            let since = self.since(profile, subscription);
            match self.subscribed(settings, &zone, (subscription, since), at, boundaries) {
                Some(plan) => plans.push(plan),
                None if without == Without::Suspend => return Err(SuspenseReason::UnknownPlan),
                None if self.catalogue.has_begun(&subscription.plan_id, &zone, at) => {
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
        if !subscribed || plans.is_empty() {
            return Err(SuspenseReason::NoPlan);
        }
        let cycle_day = u8::try_from(settings.cycle_day).unwrap_or(1);
        let attributes = settings.attributes.clone();
        let context = AccountContext { zone, cycle_day, currency, attributes };
        Ok(Arc::new(Tariff { context, plans }))
    }

    /// When the subscription took effect. What is charged once is known by it: it counts by the
    /// zone that the account was opened with, and so stays whatever becomes of the zone.
    fn since(&self, profile: &Profile, subscription: &Subscription) -> Timestamp {
        let zone = profile.settings.first().and_then(|opened| Zone::parse(&opened.zone).ok());
        let first = zone.and_then(|zone| self.catalogue.starts(&subscription.plan_id, &zone).min());
        Timestamp(subscription.from_us).max(first.unwrap_or(Timestamp::MIN))
    }

    /// The subscription's plan as it is in force at `at`; `None` where none is that can be read.
    fn subscribed(
        &mut self,
        settings: &Settings,
        zone: &Zone,
        (subscription, since): (&Subscription, Timestamp),
        at: Timestamp,
        boundaries: &mut Vec<Timestamp>,
    ) -> Option<Subscribed> {
        let id = &subscription.plan_id;
        let plan = Arc::clone(self.catalogue.in_force(id, zone, at)?);
        let code = self.codes.code(&plan, &parameters(&plan, Some(settings), subscription))?;
        let (slot, code) = self.slot(code);
        let mut tables = Vec::with_capacity(code.tables().len());
        for table in code.tables() {
            boundaries.extend(self.catalogue.table_starts(&table.id, zone));
            let found = self.catalogue.table_in_force(&table.id, zone, at);
            tables.push(found.filter(|found| found.kind() == table.kind));
        }
        Some(Subscribed {
            slot,
            code,
            tables: tables.into(),
            since,
            until: Timestamp(subscription.until_us),
            option: offered(subscription, at),
        })
    }

    fn slot(&mut self, code: Arc<ObjectCode>) -> (CodeSlot, Arc<ObjectCode>) {
        let next = CodeSlot(u32::try_from(self.slots.len()).unwrap_or(u32::MAX));
        let entry = self.slots.entry(Arc::as_ptr(&code).addr()).or_insert((next, code));
        (entry.0, Arc::clone(&entry.1))
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
fn parameters(
    plan: &Plan,
    settings: Option<&Settings>,
    subscription: &Subscription,
) -> std::collections::BTreeMap<String, String> {
    let mut parameters = subscription.parameters.clone();
    if let Some(settings) = settings.filter(|_| plan.converts_to_account()) {
        parameters.insert(ACCOUNT_CURRENCY.to_owned(), settings.currency.clone());
    }
    parameters
}
