//! The tariff of an account at an instant: its settings, and the compiled plans in force with the
//! tables that they read. It is resolved once for each profile and time interval, not for each
//! record.
//!
//! ```text
//!  usage        at()             intervals are resolved when records need them, bounded by
//!                                settings, subscriptions, plan versions and table versions
//!  no usage     due_intervals()  all intervals, bounded by all but tables, which are many;
//!                 booking()      ... tables are found for each instant of a booking
//! ```

mod resolve;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use smallvec::SmallVec;
use turnpike_account::{ProfileId, Profiles};
use turnpike_mutants::{Check, off};
use turnpike_plan::{
    AccountContext, ChargeLine, ObjectCode, OfferId, OptionInForce, Plan, PlanInForce, Table,
    VariableId,
};
use turnpike_types::{Money, SuspenseReason, Suspension, Timestamp};

use crate::catalogue::{Catalogue, CodeCache};

/// The index of a compiled plan in this owner's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CodeSlot(pub(crate) u32);

/// The settings and plans that rate an account during a time interval.
#[derive(Clone, Debug)]
pub(crate) struct Tariff {
    pub(crate) context: AccountContext,
    /// Highest priority first. Alternatives of an option are adjacent, in the order offered.
    pub(crate) plans: Vec<Subscribed>,
}

/// The version of a subscription's plan that is in force.
#[derive(Clone, Debug)]
pub(crate) struct Subscribed {
    pub(crate) slot: CodeSlot,
    pub(crate) code: Arc<ObjectCode>,
    /// The tables that the compiled plan names, in its order. Empty until they are looked up.
    tables: Box<[Option<Arc<Table>>]>,
    since: Timestamp,
    until: Timestamp,
    option: Option<Offered>,
}

/// The option of which a subscription is an alternative, or was one until the client opted out and
/// kept the plan.
#[derive(Clone, Debug)]
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

/// Plans in force. Most accounts have few.
pub(crate) type PlansInForce<'a> = SmallVec<[PlanInForce<'a>; 4]>;

impl Tariff {
    pub(crate) fn in_force(&self) -> PlansInForce<'_> {
        self.plans.iter().map(Subscribed::in_force).collect()
    }

    /// The variable whose level the charge line shows.
    pub(crate) fn level_of(&self, line: &ChargeLine) -> Option<VariableId> {
        let plan = self.plans.get(usize::from(line.plan))?;
        plan.code.components().get(usize::from(line.component))?.level
    }
}

#[derive(Debug)]
struct TariffInterval {
    from: Timestamp,
    until: Timestamp,
    tariff: Result<Arc<Tariff>, Suspension>,
}

impl TariffInterval {
    fn holds(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.until
    }
}

/// A time interval of an account in which charges may fall due.
#[derive(Debug)]
pub(crate) struct DueTariff {
    pub(crate) from: Timestamp,
    pub(crate) until: Timestamp,
    pub(crate) tariff: Arc<Tariff>,
}

/// The tariffs of one owner, by profile.
#[derive(Debug)]
pub(crate) struct Tariffs {
    catalogue: Arc<Catalogue>,
    codes: CodeCache,
    /// Sorted by time and disjoint; there may be gaps.
    intervals: HashMap<ProfileId, Vec<TariffInterval>>,
    interval_count: usize,
    /// All intervals of the profiles for which charges fall due.
    due: HashMap<ProfileId, Arc<[DueTariff]>>,
    due_count: usize,
    /// By profile, the tariff that last booked a charge, with the interval in which it holds.
    booking: HashMap<ProfileId, TariffInterval>,
    /// By profile, whether anything falls due without usage.
    swept: Vec<Option<bool>>,
    /// By address of the compiled plan. The plan is kept alive here, so no address is used twice.
    slots: HashMap<usize, (CodeSlot, Arc<ObjectCode>)>,
}

/// The most compiled plans that one owner keeps alive; beyond this number all are dropped. Small in
/// unit tests, which exceed it.
const SLOTS_MAX: usize = if cfg!(test) { 1 << 6 } else { 1 << 14 };
/// The most intervals kept for usage; beyond this number all are dropped.
const INTERVALS_MAX: usize = 1 << 20;
/// The most intervals kept for due charges; each is needed once per account and month.
const DUE_INTERVALS_MAX: usize = 1 << 17;

impl Tariffs {
    pub(crate) fn new(catalogue: Arc<Catalogue>, codes: CodeCache) -> Self {
        Self {
            catalogue,
            codes,
            intervals: HashMap::new(),
            interval_count: 0,
            due: HashMap::new(),
            due_count: 0,
            booking: HashMap::new(),
            swept: Vec::new(),
            slots: HashMap::new(),
        }
    }

    /// The version of the catalogue that tariffs are resolved from (P36).
    pub(crate) fn catalogue_version(&self) -> u64 {
        self.catalogue.version
    }

    pub(crate) fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Replaces the catalogue if `catalogue` is newer. Returns whether it was.
    pub(crate) fn update(&mut self, catalogue: &Arc<Catalogue>) -> bool {
        let is_newer = catalogue.version > self.catalogue.version;
        if is_newer {
            self.catalogue = Arc::clone(catalogue);
            self.forget();
        }
        is_newer
    }

    /// Drops the compiled plans once there are too many. Returns `true` if slots start from zero
    /// again. To be called only while the open segment has no entries by slot.
    pub(crate) fn trim(&mut self) -> bool {
        let full = self.slots.len() > SLOTS_MAX;
        if full {
            self.forget();
            self.slots.clear();
        }
        full
    }

    fn forget(&mut self) {
        self.forget_usage();
        self.forget_due();
        if !off(Check::SweptAnew) {
            self.swept.clear();
        }
    }

    fn forget_usage(&mut self) {
        self.intervals.clear();
        self.interval_count = 0;
    }

    fn forget_due(&mut self) {
        self.due.clear();
        self.due_count = 0;
        self.booking.clear();
    }

    /// The tariff of an account of this profile at `at`.
    pub(crate) fn at(
        &mut self,
        profiles: &Profiles,
        profile: ProfileId,
        at: Timestamp,
    ) -> Result<Arc<Tariff>, Suspension> {
        let known = self.intervals.get(&profile).and_then(|intervals| {
            let after = intervals.partition_point(|interval| interval.from <= at);
            intervals[..after].last().filter(|interval| interval.holds(at))
        });
        if let Some(interval) = known {
            return interval.tariff.clone();
        }
        let interval = match profiles.get(profile) {
            Some(profile) => self.resolve(profile, at),
            None => return Err(SuspenseReason::UnknownAccount.into()),
        };
        if self.interval_count >= INTERVALS_MAX {
            self.forget_usage();
        }
        let tariff = interval.tariff.clone();
        self.interval_count += 1;
        let intervals = self.intervals.entry(profile).or_default();
        let after = intervals.partition_point(|known| known.from <= interval.from);
        intervals.insert(after, interval);
        tariff
    }

    /// The tariff for a posting from another account, if [`Self::at`] finds that usage can't be
    /// rated: the settings at `at`, and the plans in force, without tables.
    pub(crate) fn posted_to(
        &mut self,
        profiles: &Profiles,
        profile: ProfileId,
        at: Timestamp,
    ) -> Result<Arc<Tariff>, Suspension> {
        let profile = profiles.get(profile).ok_or(SuspenseReason::UnknownAccount)?;
        self.resolve_posting(profile, at).tariff
    }

    /// Whether anything falls due without usage for accounts of this profile: a charge in advance,
    /// the close of a cycle, or an option.
    pub(crate) fn is_swept(&mut self, profiles: &Profiles, id: ProfileId) -> bool {
        let at = id.0 as usize;
        if let Some(&Some(known)) = self.swept.get(at) {
            return known;
        }
        let Some(profile) = profiles.get(id) else { return false };
        let is_swept = profile.subscriptions.iter().any(|subscription| {
            let settings = profile.settings.first();
            let falls_due = |plan: &Arc<Plan>| {
                let code =
                    self.codes.code(plan, &resolve::parameters(plan, settings, subscription));
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

    /// All time intervals of accounts of this profile in which plans are in force, in order. A plan
    /// without a version in force is left out, and its charges are booked once it has one. The
    /// charges of the other plans do not wait for it.
    ///
    /// `alive` is called for each interval that is resolved.
    pub(crate) fn due_intervals(
        &mut self,
        profiles: &Profiles,
        id: ProfileId,
        alive: &dyn Fn(),
    ) -> Arc<[DueTariff]> {
        if let Some(known) = self.due.get(&id) {
            return Arc::clone(known);
        }
        let intervals: Arc<[DueTariff]> = match profiles.get(id) {
            Some(profile) => self.resolve_all(profile, alive).into(),
            None => Arc::default(),
        };
        if self.due_count + intervals.len() > DUE_INTERVALS_MAX {
            self.forget_due();
        }
        self.due_count += intervals.len();
        self.due.insert(id, Arc::clone(&intervals));
        intervals
    }

    /// The plans of an interval with the tables in force at `at`, to book a charge that falls due.
    ///
    /// Table versions do not bound the intervals of [`Self::due_intervals`]: only bookings read
    /// tables, and tables of daily rates have many more versions than there are bookings.
    pub(crate) fn booking(
        &mut self,
        id: ProfileId,
        interval: &DueTariff,
        at: Timestamp,
    ) -> Arc<Tariff> {
        if interval.tariff.plans.iter().all(|plan| plan.code.tables().is_empty()) {
            return Arc::clone(&interval.tariff);
        }
        // Charges of one profile mostly fall due at one instant, for thousands of accounts.
        let known = self.booking.get(&id).filter(|known| known.holds(at));
        if let Some(TariffInterval { tariff: Ok(tariff), .. }) = known {
            return Arc::clone(tariff);
        }
        let booking = self.with_tables(interval, at);
        let tariff = booking.tariff.clone();
        self.booking.insert(id, booking);
        tariff.unwrap_or_else(|_| Arc::clone(&interval.tariff))
    }

    fn slot(&mut self, code: Arc<ObjectCode>) -> (CodeSlot, Arc<ObjectCode>) {
        let next = CodeSlot(u32::try_from(self.slots.len()).unwrap_or(u32::MAX));
        let entry = self.slots.entry(Arc::as_ptr(&code).addr()).or_insert((next, code));
        (entry.0, Arc::clone(&entry.1))
    }
}
