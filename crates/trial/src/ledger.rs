//! The accounts of a trial in memory: their state, balances and due items.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use turnpike_plan::{AccountState, Due, Rated, Rater};
use turnpike_tariff::{AccountEntry, Books, FallingDue, ProfileId, Profiles, Stop, Tariff};
use turnpike_types::{AccountNumber, Currency, Money, SuspenseReason, Suspension, Timestamp};

use crate::error::TrialError;
use crate::outcome::{Charges, FellDue};
use crate::step::{StepWatcher, Stepper};

/// The posted amounts by account and currency; `None` if a sum has more than 38 digits.
pub(crate) type Balances = BTreeMap<(AccountNumber, Currency), Option<Money>>;

/// The accounts in memory.
#[derive(Debug)]
pub(crate) struct TrialLedger {
    pub(crate) profiles: Profiles,
    /// The profile of each account that had a record, or whose due items were booked.
    pub(crate) held: HashMap<AccountNumber, ProfileId>,
    pub(crate) states: HashMap<AccountNumber, AccountState>,
    pub(crate) balances: Balances,
    /// Logged time: the latest start of a record so far, or a later instant that
    /// [`Trial::advance`](crate::Trial::advance) has set.
    pub(crate) now: Timestamp,
    pub(crate) fell_due: Vec<FellDue>,
    dues: usize,
    pub(crate) dues_max: usize,
    /// The due item of an account that can't be booked, and the reason. It is reported once.
    stuck: HashMap<AccountNumber, (Due, Suspension)>,
    /// The state of an account that has none yet.
    nothing: AccountState,
}

impl TrialLedger {
    pub(crate) fn new(dues_max: usize) -> Self {
        Self {
            profiles: Profiles::default(),
            held: HashMap::new(),
            states: HashMap::new(),
            balances: BTreeMap::new(),
            now: Timestamp::MIN,
            fell_due: Vec::new(),
            dues: 0,
            dues_max,
            stuck: HashMap::new(),
            nothing: AccountState::default(),
        }
    }

    /// The account; `None` before its profile is held.
    pub(crate) fn entry(&self, number: AccountNumber) -> Option<AccountEntry<'_>> {
        let profile = *self.held.get(&number)?;
        Some(AccountEntry { profile, state: self.states.get(&number).unwrap_or(&self.nothing) })
    }

    /// Applies rated charges to the account's state, and adds each line to the balance to which it
    /// is posted.
    pub(crate) fn keep(&mut self, account: AccountNumber, tariff: &Tariff, rated: &Rated) {
        self.states.entry(account).or_default().apply(&rated.changes);
        for charge in (Charges { account, tariff, rated }).iter() {
            let Some(posted_to) = charge.posted_to() else { continue };
            let key = (posted_to, charge.component.currency);
            let sum = self.balances.entry(key).or_insert(Some(Money::ZERO));
            *sum = sum.and_then(|sum| sum.checked_add(charge.line.amount));
        }
    }
}

/// The ledger while due items are booked in it, with the stepper that watches.
pub(crate) struct WatchedLedger<'a> {
    pub(crate) ledger: &'a mut TrialLedger,
    pub(crate) stepper: Option<&'a mut dyn Stepper>,
}

impl Books for WatchedLedger<'_> {
    type Wait = TrialError;

    fn alive(&self) {}

    fn now(&self) -> Timestamp {
        self.ledger.now
    }

    fn profiles(&self) -> &Profiles {
        &self.ledger.profiles
    }

    fn account(&self, account: AccountNumber) -> Option<AccountEntry<'_>> {
        self.ledger.entry(account)
    }

    fn room(&self) -> Result<(), TrialError> {
        Ok(())
    }

    fn fall_due<'r>(
        &mut self,
        rater: &'r mut Rater,
        falling: &FallingDue<'_>,
    ) -> Result<&'r Rated, SuspenseReason> {
        let FallingDue { account, due, tariff, intervals, now } = *falling;
        let known = self.ledger.entry(account).ok_or(SuspenseReason::UnknownAccount)?;
        match &mut self.stepper {
            None => rater.fall_due(intervals, due, known.state, now),
            Some(stepper) => {
                let mut watcher = StepWatcher::of_due(due, tariff, &mut **stepper);
                rater.fall_due_watched(intervals, due, known.state, now, &mut watcher)
            }
        }
    }

    fn book(&mut self, falling: &FallingDue<'_>, rated: &Rated) -> Result<(), Stop<TrialError>> {
        let FallingDue { account, due, tariff, .. } = *falling;
        let ledger = &mut *self.ledger;
        ledger.dues += 1;
        if ledger.dues > ledger.dues_max {
            return Err(Stop::Wait(TrialError::TooManyDues { account, max: ledger.dues_max }));
        }
        ledger.keep(account, tariff, rated);
        let booked = FellDue::new(account, due, Arc::clone(tariff), Ok(rated.clone()));
        if booked.tells() {
            ledger.fell_due.push(booked);
        }
        Ok(())
    }

    fn stuck(&mut self, falling: &FallingDue<'_>, why: &Suspension) {
        let FallingDue { account, due, tariff, .. } = *falling;
        let stuck = (*due, why.clone());
        if self.ledger.stuck.get(&account) != Some(&stuck) {
            let found = FellDue::new(account, due, Arc::clone(tariff), Err(why.clone()));
            self.ledger.fell_due.push(found);
            self.ledger.stuck.insert(account, stuck);
        }
    }
}
