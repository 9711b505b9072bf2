//! What an account is rated by at an instant: its settings then, and the object code of the plan
//! versions in force then. Resolved once for each profile and stretch of time, not for each record.

use std::collections::HashMap;
use std::sync::Arc;

use turnpike_account::{Profile, ProfileId, Profiles};
use turnpike_plan::{AccountContext, ObjectCode, Zone};
use turnpike_types::{SuspenseReason, Timestamp};

use crate::catalogue::{Catalogue, CodeCache};

/// A code's place in this owner's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CodeSlot(pub(crate) u32);

/// What rates an account for a stretch of time.
#[derive(Debug)]
pub(crate) struct Tariff {
    pub(crate) context: AccountContext,
    /// Highest priority first.
    pub(crate) codes: Vec<(CodeSlot, Arc<ObjectCode>)>,
}

#[derive(Debug)]
struct Stretch {
    from: Timestamp,
    until: Timestamp,
    tariff: Result<Arc<Tariff>, SuspenseReason>,
}

/// Tariffs of one owner, by profile.
#[derive(Debug)]
pub(crate) struct Tariffs {
    catalogue: Arc<Catalogue>,
    codes: CodeCache,
    stretches: HashMap<ProfileId, Vec<Stretch>>,
    stretch_count: usize,
    /// By address: what an address points at is kept alive beside it, so none is used twice.
    slots: HashMap<usize, (CodeSlot, Arc<ObjectCode>)>,
}

/// Codes kept alive by one owner before it starts anew.
const SLOTS_MAX: usize = 1 << 14;
/// Stretches kept; past it the cache starts anew.
const STRETCHES_MAX: usize = 1 << 20;

impl Tariffs {
    pub(crate) fn new(catalogue: Arc<Catalogue>, codes: CodeCache) -> Self {
        Self {
            catalogue,
            codes,
            stretches: HashMap::new(),
            stretch_count: 0,
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

    /// Takes a newer catalogue.
    pub(crate) fn update(&mut self, catalogue: &Arc<Catalogue>) {
        if catalogue.version > self.catalogue.version {
            self.catalogue = Arc::clone(catalogue);
            self.forget();
        }
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
            Some(profile) => self.resolve(profile, at),
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

    fn resolve(&mut self, profile: &Profile, at: Timestamp) -> Stretch {
        let mut boundaries: Vec<Timestamp> = profile.boundaries().collect();
        let tariff = self.tariff(profile, at, &mut boundaries);
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
        boundaries: &mut Vec<Timestamp>,
    ) -> Result<Arc<Tariff>, SuspenseReason> {
        let settings = profile.settings_at(at).ok_or(SuspenseReason::UnknownAccount)?;
        // Zone and currency were checked when the settings were taken.
        let zone = Zone::parse(&settings.zone).map_err(|_| SuspenseReason::UnknownAccount)?;
        let currency = settings.currency.parse().map_err(|_| SuspenseReason::CurrencyMismatch)?;
        let mut codes = Vec::new();
        let mut subscribed = false;
        for subscription in profile.subscriptions_at(at) {
            subscribed = true;
            boundaries.extend(self.catalogue.starts(&subscription.plan_id, &zone));
            let plan = self.catalogue.in_force(&subscription.plan_id, &zone, at).cloned();
            let plan = plan.ok_or(SuspenseReason::UnknownPlan)?;
            let code = self.codes.code(&plan, &subscription.parameters);
            codes.push(self.slot(code.ok_or(SuspenseReason::UnknownPlan)?));
        }
        if !subscribed {
            return Err(SuspenseReason::NoPlan);
        }
        let cycle_day = u8::try_from(settings.cycle_day).unwrap_or(1);
        let attributes = settings.attributes.clone();
        let context = AccountContext { zone, cycle_day, currency, attributes };
        Ok(Arc::new(Tariff { context, codes }))
    }

    fn slot(&mut self, code: Arc<ObjectCode>) -> (CodeSlot, Arc<ObjectCode>) {
        let next = CodeSlot(u32::try_from(self.slots.len()).unwrap_or(u32::MAX));
        let entry = self.slots.entry(Arc::as_ptr(&code).addr()).or_insert((next, code));
        (entry.0, Arc::clone(&entry.1))
    }
}
