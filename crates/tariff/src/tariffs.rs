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

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use turnpike_mutants::{Check, off};
use turnpike_plan::{AccountState, Plan, Table};
use turnpike_types::{SuspenseReason, Timestamp};

use crate::catalogue::{Catalogue, UnreadTable};
use crate::codes::{CodeCache, parameters_of};
use crate::profiles::{Profile, ProfileId, Profiles};
use crate::resolve::Resolver;
use crate::settings::Subscription;
use crate::tariff::{DueTariff, NoTariff, Tariff, TariffInterval};

/// The tariffs of accounts, by profile.
#[derive(Debug)]
pub struct Tariffs {
    resolver: Resolver,
    /// Sorted by time and disjoint; there may be gaps.
    intervals: HashMap<ProfileId, Vec<TariffInterval>>,
    interval_count: usize,
    /// All intervals of the profiles for which charges fall due.
    due: HashMap<ProfileId, Arc<[DueTariff]>>,
    due_count: usize,
    /// By profile, the tariff that last booked a charge, with the interval in which it holds.
    booking: HashMap<ProfileId, DueTariff>,
    /// By profile, whether anything falls due without usage.
    swept: Vec<Option<bool>>,
}

/// The most intervals kept for usage; beyond this number all are dropped.
const INTERVALS_MAX: usize = 1 << 20;
/// The most intervals kept for due charges; each is needed once per account and month.
const DUE_INTERVALS_MAX: usize = 1 << 17;

impl Tariffs {
    /// Nothing is resolved yet.
    pub fn new(catalogue: Arc<Catalogue>, codes: CodeCache) -> Self {
        Self {
            resolver: Resolver::new(catalogue, codes),
            intervals: HashMap::new(),
            interval_count: 0,
            due: HashMap::new(),
            due_count: 0,
            booking: HashMap::new(),
            swept: Vec::new(),
        }
    }

    /// The version of the catalogue that tariffs are resolved from (P36).
    pub fn catalogue_version(&self) -> u64 {
        self.resolver.catalogue.version()
    }

    /// The catalogue that tariffs are resolved from.
    pub fn catalogue(&self) -> &Catalogue {
        &self.resolver.catalogue
    }

    /// Replaces the catalogue if `catalogue` is newer, or has released tables. Returns whether it was
    /// newer.
    pub fn update(&mut self, catalogue: &Arc<Catalogue>) -> bool {
        let (known, version) = (self.catalogue_version(), catalogue.version());
        let is_newer = version > known;
        if is_newer {
            self.resolver.catalogue = Arc::clone(catalogue);
            self.forget();
        } else if version == known && catalogue.kept_from() > self.catalogue().kept_from() {
            self.resolver.catalogue = Arc::clone(catalogue);
            self.forget_tables();
        }
        is_newer
    }

    /// Takes the content of a table that is not in the catalogue; `None` if this program can't read it.
    pub fn lend(&mut self, unread: UnreadTable, table: Option<Arc<Table>>) {
        self.resolver.lent.put(unread, table);
        if self.resolver.lent.trim() {
            // Resolved tariffs keep their tables in memory.
            self.forget_usage();
            self.booking.clear();
        }
    }

    /// Returns lent tables. To be called when the work that needed them has ended.
    pub fn give_back(&mut self) {
        if !self.resolver.lent.is_empty() {
            self.forget_tables();
        }
    }

    /// Forgets what refers to tables.
    fn forget_tables(&mut self) {
        self.resolver.lent.clear();
        self.forget_usage();
        self.booking.clear();
    }

    /// Drops the compiled plans once there are too many. Returns `true` if slots start from zero
    /// again. To be called only while the open segment has no entries by slot.
    pub fn trim(&mut self) -> bool {
        let full = self.resolver.trim();
        if full {
            self.forget();
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
    pub fn at(
        &mut self,
        profiles: &Profiles,
        profile: ProfileId,
        at: Timestamp,
    ) -> Result<Arc<Tariff>, NoTariff> {
        let known = self.intervals.get(&profile).and_then(|intervals| {
            let after = intervals.partition_point(|interval| interval.from <= at);
            intervals[..after].last().filter(|interval| interval.holds(at))
        });
        if let Some(interval) = known {
            return interval.tariff.clone();
        }
        let interval = match profiles.get(profile) {
            Some(profile) => self.resolver.resolve(profile, at),
            None => return Err(SuspenseReason::UnknownAccount.into()),
        };
        if let Err(NoTariff::Unread(unread)) = interval.tariff {
            return Err(unread.into());
        }
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
    pub fn posted_to(
        &mut self,
        profiles: &Profiles,
        profile: ProfileId,
        at: Timestamp,
    ) -> Result<Arc<Tariff>, NoTariff> {
        let profile = profiles.get(profile).ok_or(SuspenseReason::UnknownAccount)?;
        self.resolver.resolve_posting(profile, at).tariff
    }

    /// Whether anything falls due without usage for accounts of this profile: a charge in advance,
    /// the close of a cycle, or an option.
    pub fn is_swept(&mut self, profiles: &Profiles, id: ProfileId) -> bool {
        let at = id.0 as usize;
        if let Some(&Some(known)) = self.swept.get(at) {
            return known;
        }
        let Some(profile) = profiles.get(id) else { return false };
        let is_swept = profile.subscriptions.iter().any(|subscription| {
            let settings = profile.settings.first();
            let falls_due = |plan: &Arc<Plan>| {
                let parameters = parameters_of(plan, settings, subscription);
                let code = self.resolver.codes.code(plan, &parameters);
                code.is_some_and(|code| code.is_swept() || code.closes())
            };
            let mut versions = self.resolver.catalogue.versions(&subscription.plan_id);
            !subscription.option.is_empty() || versions.any(falls_due)
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
    pub fn due_intervals(
        &mut self,
        profiles: &Profiles,
        id: ProfileId,
        alive: &dyn Fn(),
    ) -> Arc<[DueTariff]> {
        if let Some(known) = self.due.get(&id) {
            return Arc::clone(known);
        }
        let intervals: Arc<[DueTariff]> = match profiles.get(id) {
            Some(profile) => self.resolver.resolve_all(profile, alive).into(),
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
    ///
    /// # Errors
    /// A table is not in memory.
    pub fn booking(
        &mut self,
        id: ProfileId,
        interval: &DueTariff,
        at: Timestamp,
    ) -> Result<Arc<Tariff>, UnreadTable> {
        if interval.tariff.plans.iter().all(|plan| plan.code.tables().is_empty()) {
            return Ok(Arc::clone(&interval.tariff));
        }
        // The instant of an empty interval may be in another interval.
        if interval.until <= interval.from {
            let at = interval.tables_at.unwrap_or(at);
            return Ok(self.resolver.with_tables(interval, at)?.tariff);
        }
        // Charges of one profile mostly fall due at one instant, for thousands of accounts.
        let known = self.booking.get(&id).filter(|known| known.holds(at));
        if let Some(known) = known {
            return Ok(Arc::clone(&known.tariff));
        }
        let booking = self.resolver.with_tables(interval, at)?;
        let tariff = Arc::clone(&booking.tariff);
        self.booking.insert(id, booking);
        Ok(tariff)
    }

    /// Why a new subscription can't have its start. Charges are booked once for each start of a
    /// plan, to the minute: those of an earlier subscription would count as charges of the new one,
    /// and its credits would be taken from them.
    pub fn why_not_from(
        &self,
        profile: &Profile,
        state: &AccountState,
        new: &Subscription,
    ) -> Option<String> {
        self.resolver.why_not_from(profile, state, new)
    }
}
