//! The trial: rates records in the given order and returns their charges.
//!
//! Logged time is the latest start of a record so far, so that usage in time order is never late;
//! [`Trial::advance`] advances it without usage. Due items are kept until [`Trial::take_due`]
//! returns them.

use std::collections::BTreeSet;
use std::sync::Arc;

use turnpike_plan::{AccountState, Rater};
use turnpike_tariff::{Dues, Profile, ProfileId, Stop, Sweep, Tariff, Tariffs, parameters_of};
use turnpike_types::{
    AccountNumber, Currency, Money, Must, SuspenseReason, Suspension, Timestamp, UsageRecord,
    UsageView,
};

use crate::accounts::TrialAccounts;
use crate::catalogue::TrialCatalogue;
use crate::error::TrialError;
use crate::ledger::{TrialLedger, WatchedLedger};
use crate::outcome::{Charges, FellDue, TrialOutcome};
use crate::seen::Seen;
use crate::step::{StepWatcher, Stepper};

/// The default maximum of due charges and closes in one trial.
pub const DUES_MAX: usize = 10_000_000;

/// Why a tariff lacks no table.
const ALL_READ: &str = "the catalogue of a trial holds all its tables";

/// Accounts, their state and their plans, in memory.
#[derive(Debug)]
pub struct Trial {
    catalogue: TrialCatalogue,
    accounts: TrialAccounts,
    /// The profile of all accounts that were not opened, once one of them is used.
    everyone: Option<ProfileId>,
    ledger: TrialLedger,
    seen: Seen,
    tariffs: Tariffs,
    rater: Rater,
    dues: Dues,
    /// The tariff of the record that was rated last.
    tariff: Option<Arc<Tariff>>,
    /// The reason of the last suspension.
    suspension: Suspension,
}

impl Trial {
    /// A trial without records.
    pub fn new(catalogue: TrialCatalogue, accounts: TrialAccounts) -> Self {
        let tariffs = Tariffs::new(Arc::clone(catalogue.published()), catalogue.codes().clone());
        Self {
            catalogue,
            accounts,
            everyone: None,
            ledger: TrialLedger::new(DUES_MAX),
            seen: Seen::default(),
            tariffs,
            rater: Rater::new(),
            dues: Dues::default(),
            tariff: None,
            suspension: SuspenseReason::NoPlan.into(),
        }
    }

    /// Sets the maximum number of due charges and closes.
    #[must_use]
    pub fn with_dues_max(mut self, dues_max: usize) -> Self {
        self.ledger.dues_max = dues_max;
        self
    }

    /// Sets the initial state of an account, for example to predict the charges of an existing
    /// account.
    pub fn begin_with(&mut self, account: AccountNumber, state: AccountState) {
        self.ledger.states.insert(account, state);
        self.dues.visit(account);
    }

    /// The variables of an account's plans; `None` if the account has no initial state and nothing
    /// was rated or booked for it yet.
    pub fn state(&self, account: AccountNumber) -> Option<&AccountState> {
        self.ledger.states.get(&account)
    }

    /// The sum of the lines posted to an account, by currency; `None` if it exceeds 38 digits.
    pub fn balance(
        &self,
        account: AccountNumber,
    ) -> impl Iterator<Item = (Currency, Option<Money>)> + '_ {
        let known = self.ledger.balances.iter().filter(move |((whose, _), _)| *whose == account);
        known.map(|((_, currency), sum)| (*currency, *sum))
    }

    /// The plan versions.
    pub const fn catalogue(&self) -> &TrialCatalogue {
        &self.catalogue
    }

    /// Returns the compiled plan versions, for another trial.
    pub fn into_catalogue(self) -> TrialCatalogue {
        self.catalogue
    }

    /// The due items since the last call, in the order of booking. Items without lines
    /// and without an error are left out.
    pub fn take_due(&mut self) -> Vec<FellDue> {
        std::mem::take(&mut self.ledger.fell_due)
    }

    /// What is wrong with the plans and the accounts together, one sentence each, since the last
    /// call: for example, a version of a plan that a subscription's parameters do not fit.
    pub fn take_notices(&mut self) -> Vec<String> {
        self.catalogue.take_notices()
    }

    /// Rates one record and keeps its state changes. Items that are due at or before its start are
    /// booked before it. `place` is the source of the record, such as its line in a file; the
    /// outcome of a later repetition contains it.
    ///
    /// # Errors
    /// An account's parameters do not fit its plan, there are more than
    /// [`RECORDS_MAX`](crate::RECORDS_MAX) records, or too many items fall due.
    pub fn rate(
        &mut self,
        record: &UsageRecord,
        place: u64,
    ) -> Result<TrialOutcome<'_>, TrialError> {
        self.rate_with(record, place, None)
    }

    /// As [`Trial::rate`], and passes the step of each primitive to `stepper`.
    ///
    /// # Errors
    /// As [`Trial::rate`].
    pub fn rate_stepping(
        &mut self,
        record: &UsageRecord,
        place: u64,
        stepper: &mut dyn Stepper,
    ) -> Result<TrialOutcome<'_>, TrialError> {
        self.rate_with(record, place, Some(stepper))
    }

    /// Books the items due at or before a record's start, as [`Trial::rate`] also does. A separate
    /// call lets the caller output due items before the record ([`Trial::take_due`]).
    ///
    /// # Errors
    /// As [`Trial::rate`].
    pub fn book_before(&mut self, record: &UsageRecord) -> Result<(), TrialError> {
        self.book_before_with(record, None)
    }

    /// As [`Trial::book_before`], and passes the step of each primitive to `stepper`.
    ///
    /// # Errors
    /// As [`Trial::rate`].
    pub fn book_before_stepping(
        &mut self,
        record: &UsageRecord,
        stepper: &mut dyn Stepper,
    ) -> Result<(), TrialError> {
        self.book_before_with(record, Some(stepper))
    }

    fn book_before_with(
        &mut self,
        record: &UsageRecord,
        stepper: Option<&mut dyn Stepper>,
    ) -> Result<(), TrialError> {
        let Some(number) = self.guide(record) else { return Ok(()) };
        if self.seen.knows(number, &record.record_id) {
            return Ok(());
        }
        if !self.hold(number)? {
            return Ok(());
        }
        self.ledger.now = self.ledger.now.max(record.start);
        self.book_due(number, record.start, stepper).map(|_| ())
    }

    fn rate_with(
        &mut self,
        record: &UsageRecord,
        place: u64,
        mut stepper: Option<&mut dyn Stepper>,
    ) -> Result<TrialOutcome<'_>, TrialError> {
        let Some(number) = self.guide(record) else {
            let (reason, about) = (SuspenseReason::UnboundIdentity, &record.identity);
            return Ok(self.suspended(Suspension::new(reason, about)));
        };
        if let Some(earlier) = self.seen.earlier(number, record, place)? {
            return Ok(earlier);
        }
        if !self.hold(number)? {
            return Ok(self.suspended(Suspension::new(SuspenseReason::UnknownAccount, number)));
        }
        self.ledger.now = self.ledger.now.max(record.start);
        // A charge that can't be booked comes before a record that starts later.
        if let Some(stuck) = self.book_due(number, record.start, again(&mut stepper))? {
            return Ok(self.suspended(stuck));
        }
        match self.rate_new(number, record, stepper) {
            Ok(tariff) => {
                let tariff = &**self.tariff.insert(tariff);
                let rated = self.rater.last();
                Ok(TrialOutcome::Rated(Charges { account: number, tariff, rated }))
            }
            Err(suspension) => Ok(self.suspended(suspension)),
        }
    }

    /// Rates a record whose key is new, after the items that were due before it. The lines are in
    /// [`Rater::last`].
    fn rate_new(
        &mut self,
        number: AccountNumber,
        record: &UsageRecord,
        stepper: Option<&mut dyn Stepper>,
    ) -> Result<Arc<Tariff>, Suspension> {
        let known = self.ledger.entry(number).ok_or(SuspenseReason::UnknownAccount)?;
        let tariff = self.tariffs.at(&self.ledger.profiles, known.profile, record.start);
        let tariff = tariff.map_err(|why| why.suspension().must(ALL_READ))?;
        let (plans, settings, now) = (tariff.in_force(), &tariff.context, self.ledger.now);
        let (measures, attributes) = borrowed(record);
        let view = view(record, number, &measures, &attributes);
        let rated = match stepper {
            None => self.rater.rate(&plans, settings, known.state, &view, now),
            Some(stepper) => {
                let mut watcher = StepWatcher::of_record(record, &tariff, stepper);
                self.rater.rate_watched(&plans, settings, known.state, &view, now, &mut watcher)
            }
        };
        let rated = match rated {
            Ok(rated) => rated,
            Err(reason) => {
                return Err(Suspension { reason, detail: self.rater.detail(reason) });
            }
        };
        let is_due_elsewhere = self.dues.is_moved_by(rated, known.state);
        self.ledger.keep(number, &tariff, rated);
        if is_due_elsewhere {
            self.sweep(None, |sweep| sweep.note_changed(number));
        }
        drop(plans);
        Ok(tariff)
    }

    fn suspended(&mut self, suspension: Suspension) -> TrialOutcome<'_> {
        self.suspension = suspension;
        TrialOutcome::Suspended(&self.suspension)
    }

    /// Advances logged time to `now`, never back, and books for every known account the items due
    /// until then: charges, and closes of cycles whose grace has ended.
    ///
    /// # Errors
    /// As [`Trial::rate`].
    pub fn advance(&mut self, now: Timestamp) -> Result<(), TrialError> {
        self.advance_with(now, None)
    }

    /// As [`Trial::advance`], and passes the step of each primitive to `stepper`.
    ///
    /// # Errors
    /// As [`Trial::rate`].
    pub fn advance_stepping(
        &mut self,
        now: Timestamp,
        stepper: &mut dyn Stepper,
    ) -> Result<(), TrialError> {
        self.advance_with(now, Some(stepper))
    }

    fn advance_with(
        &mut self,
        now: Timestamp,
        mut stepper: Option<&mut dyn Stepper>,
    ) -> Result<(), TrialError> {
        self.ledger.now = self.ledger.now.max(now);
        let used = self.ledger.held.keys().chain(self.ledger.states.keys());
        let known: BTreeSet<AccountNumber> = self.accounts.opened().chain(used.copied()).collect();
        for number in known {
            if self.hold(number)? {
                self.book_due(number, self.ledger.now, again(&mut stepper))?;
            }
        }
        Ok(())
    }

    /// Books an account's charges and closes that are due at or before `through`. Returns the
    /// reason if one of them can't be booked.
    fn book_due(
        &mut self,
        number: AccountNumber,
        through: Timestamp,
        mut stepper: Option<&mut dyn Stepper>,
    ) -> Result<Option<Suspension>, TrialError> {
        // A trial indexes nothing by slot.
        self.tariffs.trim();
        loop {
            let booked =
                self.sweep(again(&mut stepper), |sweep| sweep.book_before(number, through));
            match booked {
                Ok(()) => return Ok(None),
                Err(Stop::Stuck(suspension)) => return Ok(Some(suspension)),
                Err(Stop::Wait(error)) => return Err(error),
                Err(Stop::Turn) => {}
                Err(Stop::Unread(_)) => return None.must(ALL_READ),
            }
        }
    }

    fn sweep<T>(
        &mut self,
        mut stepper: Option<&mut dyn Stepper>,
        with: impl FnOnce(&mut Sweep<'_, WatchedLedger<'_>>) -> T,
    ) -> T {
        let mut books = WatchedLedger { ledger: &mut self.ledger, stepper: again(&mut stepper) };
        let (tariffs, rater, dues) = (&mut self.tariffs, &mut self.rater, &mut self.dues);
        with(&mut Sweep { tariffs, rater, dues, books: &mut books })
    }

    fn guide(&self, record: &UsageRecord) -> Option<AccountNumber> {
        match record.account {
            AccountNumber(0) => self.accounts.guide(&record.identity),
            known => Some(known),
        }
    }

    /// Holds the account's profile in the ledger, from its first use on. Returns whether the
    /// account exists.
    fn hold(&mut self, number: AccountNumber) -> Result<bool, TrialError> {
        if self.ledger.held.contains_key(&number) {
            return Ok(true);
        }
        let is_opened = self.accounts.is_opened(number);
        let id = match self.everyone.filter(|_| !is_opened) {
            Some(known) => known,
            None => {
                let Some(account) = self.accounts.get(number) else { return Ok(false) };
                let profile = account.profile();
                self.check_parameters(number, &profile)?;
                self.ledger.profiles.intern(profile)
            }
        };
        if !is_opened {
            self.everyone = Some(id);
        }
        self.ledger.held.insert(number, id);
        Ok(true)
    }

    /// Checks, as the command of a subscription does, that the parameters fit the version with
    /// which each subscription begins. A later version that they do not fit may have been published
    /// since.
    fn check_parameters(
        &self,
        account: AccountNumber,
        profile: &Profile,
    ) -> Result<(), TrialError> {
        let published = self.catalogue.published();
        for subscription in profile.subscriptions.iter().filter(|one| one.is_ever_in_force()) {
            let zone = &self
                .accounts
                .get(account)
                .map(|known| known.settings_at(Timestamp(subscription.from_us)).zone.clone());
            let Some(zone) = zone else { continue };
            let first = published.first_start(&subscription.plan_id, zone);
            let from = Timestamp(subscription.from_us).max(first.unwrap_or(Timestamp::MIN));
            let begins_with = published.plan(&subscription.plan_id, zone, from).content;
            let Some(plan) = begins_with else { continue };
            let parameters = parameters_of(plan, profile.settings_at(from), subscription);
            if self.catalogue.codes().compiled(plan, &parameters).is_ok() {
                continue;
            }
            if let Err(errors) = turnpike_plan::compile(plan, &parameters) {
                let plan = subscription.plan_id.clone();
                return Err(TrialError::Parameters { account, plan, errors });
            }
        }
        Ok(())
    }
}

/// Reborrows the stepper for one call.
fn again<'a>(stepper: &'a mut Option<&mut dyn Stepper>) -> Option<&'a mut dyn Stepper> {
    stepper.as_mut().map(|stepper| &mut **stepper as &mut dyn Stepper)
}

type Borrowed<'a> = (Vec<(&'a str, i64)>, Vec<(&'a str, &'a str)>);

fn borrowed(record: &UsageRecord) -> Borrowed<'_> {
    let measures = record.measures.iter().map(|(name, number)| (name.as_str(), *number));
    let attributes = record.attributes.iter().map(|(name, text)| (name.as_str(), text.as_str()));
    (measures.collect(), attributes.collect())
}

fn view<'a>(
    record: &'a UsageRecord,
    account: AccountNumber,
    measures: &'a [(&'a str, i64)],
    attributes: &'a [(&'a str, &'a str)],
) -> UsageView<'a> {
    UsageView {
        record_id: &record.record_id,
        account,
        usage_type: &record.usage_type,
        start: record.start,
        duration_us: record.duration_us,
        quantity: record.quantity,
        measures,
        attributes,
    }
}
