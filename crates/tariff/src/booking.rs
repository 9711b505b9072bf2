//! Books the charges of an account that fall due without usage, in the order in which they fall due
//! (docs/plan-semantics.md section 5, P34).
//!
//! ```text
//!   next_due --> tables in force --> fall_due --> Books::book    for each charge that is due
//!                                       |            |
//!                                       |            +--> Stop::Wait: the books take none now
//!                                       +--> Stop::Stuck: it can't be booked, and no later one is
//! ```
//!
//! A charge that can't be booked (for example, an exchange rate is missing) stops the account's
//! charges until the catalogue or the account changes. Records that start before the stuck charge
//! are still rated. A record that starts later is suspended with the same reason, since the charge
//! comes first.

use std::sync::Arc;

use turnpike_mutants::{Check, off};
use turnpike_plan::{AccountState, Due, DueInterval, PlanInForce, Rated, Rater};
use turnpike_types::{AccountNumber, SuspenseReason, Suspension, Timestamp};

use crate::catalogue::UnreadTable;
use crate::dues::{Dues, Next};
use crate::profiles::{ProfileId, Profiles};
use crate::tariff::{PlansInForce, Tariff};
use crate::tariffs::Tariffs;

/// The most charges that are booked for one account before other work runs.
const TURN_DUES: usize = 1_000;
/// The most charges of one plan that may fall due at one instant. More of them mean a fault that
/// would book charges without end.
const SAME_MAX: usize = 100;

/// What is known of an account.
#[derive(Clone, Copy, Debug)]
pub struct AccountEntry<'a> {
    /// The account's settings and subscriptions.
    pub profile: ProfileId,
    /// The variables of the account's plans.
    pub state: &'a AccountState,
}

/// A charge that falls due.
#[derive(Clone, Copy, Debug)]
pub struct FallingDue<'a> {
    /// The account that is charged.
    pub account: AccountNumber,
    /// The charge or close.
    pub due: &'a Due,
    /// The settings of its interval, and the plans with their tables. [`Due::plan`] and the charge
    /// lines refer to these plans by index.
    pub tariff: &'a Arc<Tariff>,
    /// All intervals of the account. Only the one of the charge has tables.
    pub intervals: &'a [DueInterval<'a>],
    /// Logged time.
    pub now: Timestamp,
}

/// Why no further charge of an account was booked, although one is due.
#[derive(Clone, Debug)]
pub enum Stop<W> {
    /// A charge can't be booked.
    Stuck(Suspension),
    /// The books take no charge now.
    Wait(W),
    /// Many charges were booked: other work runs before the next ones.
    Turn,
    /// The charge needs a table that is not in memory.
    Unread(UnreadTable),
}

/// The accounts, and where their charges are booked: an owner logs them, a trial applies them to
/// memory.
pub trait Books {
    /// Why the books take no charge now.
    type Wait;

    /// Called again and again during long work, so that its progress is seen (P9).
    fn alive(&self);

    /// Logged time (P26).
    fn now(&self) -> Timestamp;

    /// The settings and subscriptions of all accounts.
    fn profiles(&self) -> &Profiles;

    /// The account; `None` if it does not exist.
    fn account(&self, account: AccountNumber) -> Option<AccountEntry<'_>>;

    /// Whether there is room for a further charge.
    ///
    /// # Errors
    /// There is none now.
    fn room(&self) -> Result<(), Self::Wait>;

    /// Rates the charge by the account's state. An implementation may watch how.
    ///
    /// # Errors
    /// As [`Rater::fall_due`].
    fn fall_due<'r>(
        &mut self,
        rater: &'r mut Rater,
        falling: &FallingDue<'_>,
    ) -> Result<&'r Rated, SuspenseReason> {
        let FallingDue { account, due, intervals, now, .. } = *falling;
        let known = self.account(account).ok_or(SuspenseReason::UnknownAccount)?;
        rater.fall_due(intervals, due, known.state, now)
    }

    /// Books the charge: its lines, and its changes of the account's state, completely or not at
    /// all.
    ///
    /// # Errors
    /// The charge can't be booked, or not now.
    fn book(&mut self, falling: &FallingDue<'_>, rated: &Rated) -> Result<(), Stop<Self::Wait>>;

    /// The charge can't be booked: later charges of the account wait for it.
    fn stuck(&mut self, falling: &FallingDue<'_>, why: &Suspension);
}

/// Whether anything falls due for the account without usage: by its plans, or because another
/// account posted a bonus to it.
pub fn is_swept(tariffs: &mut Tariffs, profiles: &Profiles, account: AccountEntry<'_>) -> bool {
    account.state.keeps_totals() || tariffs.is_swept(profiles, account.profile)
}

/// Books what falls due.
pub struct Sweep<'a, B> {
    /// What accounts are rated by.
    pub tariffs: &'a mut Tariffs,
    /// The evaluator.
    pub rater: &'a mut Rater,
    /// When to visit each account.
    pub dues: &'a mut Dues,
    /// Where charges are booked.
    pub books: &'a mut B,
}

impl<B: Books> Sweep<'_, B> {
    /// Marks an account to be visited, after a change that may move its next due date.
    pub fn note_changed(&mut self, account: AccountNumber) {
        if self.is_swept(account) {
            self.dues.visit(account);
        }
    }

    fn is_swept(&mut self, account: AccountNumber) -> bool {
        let known = self.books.account(account);
        known.is_some_and(|known| is_swept(self.tariffs, self.books.profiles(), known))
    }

    /// Books charges due at or before `start`, so that a record that starts then can be rated.
    ///
    /// # Errors
    /// A charge due at or before `start` is not booked.
    pub fn book_before(
        &mut self,
        account: AccountNumber,
        start: Timestamp,
    ) -> Result<(), Stop<B::Wait>> {
        if !self.is_swept(account) || off(Check::DueBefore) {
            return Ok(());
        }
        match self.dues.next(account) {
            Some(Next { stuck: Some((at, suspension)), .. }) if *at <= start => {
                Err(Stop::Stuck(suspension.clone()))
            }
            Some(Next { stuck: Some(_), .. }) => Ok(()),
            Some(next) if start < next.charge && self.books.now() < next.close => Ok(()),
            _ => self.book_due(account, start),
        }
    }

    /// Books the charges due at or before `through`, and the cycles that have to be closed.
    ///
    /// # Errors
    /// A charge due at or before `through` is not booked.
    pub fn book_due(
        &mut self,
        account: AccountNumber,
        through: Timestamp,
    ) -> Result<(), Stop<B::Wait>> {
        let books = &*self.books;
        let Some(AccountEntry { profile, .. }) = books.account(account) else { return Ok(()) };
        let held = self.tariffs.due_intervals(books.profiles(), profile, &|| books.alive());
        let plans: Vec<PlansInForce<'_>> =
            held.iter().map(|interval| interval.tariff.in_force()).collect();
        let intervals: Vec<DueInterval<'_>> = held
            .iter()
            .zip(&plans)
            .map(|(interval, plans)| DueInterval {
                from: interval.from,
                until: interval.until,
                account: &interval.tariff.context,
                plans,
            })
            .collect();
        let now = self.books.now();
        let (mut last, mut same) = (None, 0);
        for _ in 0..TURN_DUES {
            self.books.alive();
            self.books.room().map_err(Stop::Wait)?;
            let Some(known) = self.books.account(account) else { return Ok(()) };
            let Some(due) = self.rater.next_due(&intervals, known.state, through, now) else {
                self.dues.set(account, next(self.rater, &intervals, known.state));
                return Ok(());
            };
            let Some(interval) = held.get(due.interval) else { return Ok(()) };
            let tables_at = due.tables_at(interval.from, interval.until);
            let tariff =
                self.tariffs.booking(profile, interval, tables_at).map_err(Stop::Unread)?;
            let with_tables = tariff.in_force();
            let intervals = with_plans(&intervals, due.interval, &with_tables);
            same = if last.replace(due) == Some(due) { same + 1 } else { 0 };
            let falling =
                FallingDue { account, due: &due, tariff: &tariff, intervals: &intervals, now };
            match self.book(&falling, same > SAME_MAX) {
                Ok(()) => {}
                Err(Stop::Stuck(suspension)) => {
                    self.books.stuck(&falling, &suspension);
                    let stuck = Some((due.at, suspension.clone()));
                    self.dues.set(account, Next { charge: due.at, close: due.at, stuck });
                    let is_before = due.at <= through;
                    return if is_before { Err(Stop::Stuck(suspension)) } else { Ok(()) };
                }
                Err(stop) => return Err(stop),
            }
        }
        Err(Stop::Turn)
    }

    fn book(&mut self, falling: &FallingDue<'_>, is_endless: bool) -> Result<(), Stop<B::Wait>> {
        match self.books.fall_due(self.rater, falling) {
            Ok(_) if is_endless => Err(Stop::Stuck(SuspenseReason::Overflow.into())),
            Ok(rated) => self.books.book(falling, rated),
            Err(reason) => {
                let detail = self.rater.detail(reason);
                Err(Stop::Stuck(Suspension { reason, detail }))
            }
        }
    }
}

/// When to visit an account next of which nothing is due now.
fn next(rater: &mut Rater, intervals: &[DueInterval<'_>], state: &AccountState) -> Next {
    let mut next = |through, now| {
        let due = rater.next_due(intervals, state, through, now);
        due.map_or(Timestamp::MAX, |due| due.at)
    };
    let charge = next(Timestamp::MAX, Timestamp::MIN);
    let close = next(Timestamp::MIN, Timestamp::MAX);
    Next { charge, close, stuck: None }
}

/// Returns a copy of `intervals` in which the interval at index `place` has `plans`, whose tables
/// were looked up.
fn with_plans<'a>(
    intervals: &[DueInterval<'a>],
    place: usize,
    plans: &'a [PlanInForce<'a>],
) -> Vec<DueInterval<'a>> {
    let mut with_plans = intervals.to_vec();
    if let Some(interval) = with_plans.get_mut(place) {
        interval.plans = plans;
    }
    with_plans
}

#[cfg(test)]
mod tests;
