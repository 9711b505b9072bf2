//! The trial: rates records in the given order and returns their charges.
//!
//! Logged time is the latest start of a record so far, so that usage in time order is never late;
//! [`Trial::advance`] advances it without usage. Due items are kept until [`Trial::take_due`]
//! returns them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use turnpike_plan::{AccountState, Rater};
use turnpike_types::{
    AccountNumber, Currency, Money, SuspenseReason, Suspension, Timestamp, UsageRecord, UsageView,
};

use crate::seen::Seen;
use crate::step::{StepWatcher, Stepper};
use crate::timeline::AccountTimeline;
use crate::{Charges, FellDue, TrialAccounts, TrialCatalogue, TrialError, TrialOutcome};

/// The default maximum of due charges and closes in one trial.
pub const DUES_MAX: usize = 10_000_000;

/// Accounts, their state and their plans, in memory.
#[derive(Debug)]
pub struct Trial {
    catalogue: TrialCatalogue,
    accounts: TrialAccounts,
    /// The timeline by account; the key `None` is for all accounts that were not opened.
    timelines: HashMap<Option<AccountNumber>, Arc<AccountTimeline>>,
    states: HashMap<AccountNumber, AccountState>,
    balances: Balances,
    seen: Seen,
    rater: Rater,
    /// The reason of the last suspension.
    suspension: Suspension,
    /// Logged time: the latest start of a record so far, or a later instant that
    /// [`Trial::advance`] has set.
    now: Timestamp,
    fell_due: Vec<FellDue>,
    dues: usize,
    dues_max: usize,
    /// The accounts with a due item that can't be booked. No later event of a trial makes such an
    /// item bookable.
    stuck: HashSet<AccountNumber>,
}

/// The posted amounts by account and currency; `None` if a sum has more than 38 digits.
type Balances = BTreeMap<(AccountNumber, Currency), Option<Money>>;

impl Trial {
    /// A trial without records.
    pub fn new(catalogue: TrialCatalogue, accounts: TrialAccounts) -> Self {
        Self {
            catalogue,
            accounts,
            timelines: HashMap::new(),
            states: HashMap::new(),
            balances: BTreeMap::new(),
            seen: Seen::default(),
            rater: Rater::new(),
            suspension: SuspenseReason::NoPlan.into(),
            now: Timestamp::MIN,
            fell_due: Vec::new(),
            dues: 0,
            dues_max: DUES_MAX,
            stuck: HashSet::new(),
        }
    }

    /// Sets the maximum number of due charges and closes.
    #[must_use]
    pub fn with_dues_max(self, dues_max: usize) -> Self {
        Self { dues_max, ..self }
    }

    /// Sets the initial state of an account, for example to predict the charges of an existing
    /// account.
    pub fn begin_with(&mut self, account: AccountNumber, state: AccountState) {
        self.states.insert(account, state);
    }

    /// The variables of an account's plans; `None` if the account has no initial state and nothing
    /// was rated or booked for it yet.
    pub fn state(&self, account: AccountNumber) -> Option<&AccountState> {
        self.states.get(&account)
    }

    /// The sum of the lines posted to an account, by currency; `None` if it exceeds 38 digits.
    pub fn balance(
        &self,
        account: AccountNumber,
    ) -> impl Iterator<Item = (Currency, Option<Money>)> + '_ {
        let known = self.balances.iter().filter(move |((whose, _), _)| *whose == account);
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
        std::mem::take(&mut self.fell_due)
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
        let Some((_, timeline)) = self.timeline(number)? else { return Ok(()) };
        self.now = self.now.max(record.start);
        self.book_due(number, &timeline, record.start, stepper)
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
        let Some((key, timeline)) = self.timeline(number)? else {
            return Ok(self.suspended(Suspension::new(SuspenseReason::UnknownAccount, number)));
        };
        self.now = self.now.max(record.start);
        self.book_due(number, &timeline, record.start, again(&mut stepper))?;
        // Borrows again from `self.timelines`, because the outcome outlives this call.
        let Some(timeline) = self.timelines.get(&key) else {
            self.suspension = SuspenseReason::UnknownAccount.into();
            return Ok(TrialOutcome::Suspended(&self.suspension));
        };
        let interval = &timeline.intervals[timeline.place(record.start)];
        if let Some(suspension) = &interval.closed_to_usage {
            return Ok(TrialOutcome::Suspended(suspension));
        }
        let (plans, settings) = (interval.plans(), &interval.settings);
        let state = self.states.entry(number).or_default();
        let (measures, attributes) = borrowed(record);
        let view = view(record, number, &measures, &attributes);
        let refused = match stepper {
            None => self.rater.rate(&plans, settings, state, &view, self.now).err(),
            Some(stepper) => {
                let mut watcher = StepWatcher::of_record(record, interval, stepper);
                let (rater, now) = (&mut self.rater, self.now);
                rater.rate_watched(&plans, settings, state, &view, now, &mut watcher).err()
            }
        };
        if let Some(reason) = refused {
            self.suspension = Suspension { reason, detail: self.rater.detail(reason) };
            return Ok(TrialOutcome::Suspended(&self.suspension));
        }
        let charges = Charges { account: number, interval, rated: self.rater.last() };
        keep(&charges, state, &mut self.balances);
        Ok(TrialOutcome::Rated(charges))
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
        self.now = self.now.max(now);
        let known: BTreeSet<AccountNumber> =
            self.accounts.opened().chain(self.states.keys().copied()).collect();
        for number in known {
            if let Some((_, timeline)) = self.timeline(number)? {
                self.book_due(number, &timeline, self.now, again(&mut stepper))?;
            }
        }
        Ok(())
    }

    /// Books an account's charges and closes that are due at or before `through`.
    fn book_due(
        &mut self,
        number: AccountNumber,
        timeline: &Arc<AccountTimeline>,
        through: Timestamp,
        mut stepper: Option<&mut dyn Stepper>,
    ) -> Result<(), TrialError> {
        if !timeline.is_swept || self.stuck.contains(&number) {
            return Ok(());
        }
        let state = self.states.entry(number).or_default();
        timeline.with_intervals(|intervals| {
            while let Some(due) = self.rater.next_due(intervals, state, through, self.now) {
                self.dues += 1;
                if self.dues > self.dues_max {
                    return Err(TrialError::TooManyDues { account: number, max: self.dues_max });
                }
                let rated = match (again(&mut stepper), timeline.intervals.get(due.interval)) {
                    (Some(stepper), Some(interval)) => {
                        let mut watcher = StepWatcher::of_due(&due, interval, stepper);
                        let (rater, now) = (&mut self.rater, self.now);
                        rater.fall_due_watched(intervals, &due, state, now, &mut watcher)
                    }
                    _ => self.rater.fall_due(intervals, &due, state, self.now),
                };
                let rated = rated.cloned();
                let rated = rated
                    .map_err(|reason| Suspension { reason, detail: self.rater.detail(reason) });
                let stuck = rated.is_err();
                let booked = FellDue::new(number, &due, Arc::clone(timeline), rated);
                if let Ok(charges) = booked.charges() {
                    keep(&charges, state, &mut self.balances);
                }
                if booked.tells() {
                    self.fell_due.push(booked);
                }
                if stuck {
                    self.stuck.insert(number);
                    break;
                }
            }
            Ok(())
        })
    }

    fn guide(&self, record: &UsageRecord) -> Option<AccountNumber> {
        match record.account {
            AccountNumber(0) => self.accounts.guide(&record.identity),
            known => Some(known),
        }
    }

    /// The timeline of an account and its key; `None` if the account does not exist.
    #[allow(clippy::type_complexity, reason = "an alias would be less clear")]
    fn timeline(
        &mut self,
        number: AccountNumber,
    ) -> Result<Option<(Option<AccountNumber>, Arc<AccountTimeline>)>, TrialError> {
        let key = self.accounts.is_opened(number).then_some(number);
        if let Some(known) = self.timelines.get(&key) {
            return Ok(Some((key, Arc::clone(known))));
        }
        let Some(account) = self.accounts.get(number) else { return Ok(None) };
        let timeline = Arc::new(AccountTimeline::of(account, number, &mut self.catalogue)?);
        self.timelines.insert(key, Arc::clone(&timeline));
        Ok(Some((key, timeline)))
    }
}

/// Reborrows the stepper for one call.
fn again<'a>(stepper: &'a mut Option<&mut dyn Stepper>) -> Option<&'a mut dyn Stepper> {
    stepper.as_mut().map(|stepper| &mut **stepper as &mut dyn Stepper)
}

/// Applies charges to the account's state, and adds each line to the balance to which it is posted.
fn keep(charges: &Charges<'_>, state: &mut AccountState, balances: &mut Balances) {
    state.apply(&charges.rated().changes);
    for charge in charges.iter() {
        let Some(account) = charge.posted_to() else { continue };
        let key = (account, charge.component.currency);
        let sum = balances.entry(key).or_insert(Some(Money::ZERO));
        *sum = sum.and_then(|sum| sum.checked_add(charge.line.amount));
    }
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
