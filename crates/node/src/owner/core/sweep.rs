//! Charges that fall due without usage (docs/plan-semantics.md section 5, P34). They are booked by
//! the sweep, and before a record of the same account is rated.
//!
//! What falls due, in which order and when to look again is decided in [`turnpike_tariff`]. This
//! module logs it (`OwnerBooks`), and sweeps in passes between requests, bounded in accounts, time
//! and bytes of the open segment.

use turnpike_plan::{DUE_USAGE_TYPE, Rated};
use turnpike_segment::NewRecord;
use turnpike_tariff::{AccountEntry, Books, FallingDue, Profiles, Stop, Sweep, is_swept};
use turnpike_types::{AccountNumber, Outcome, SuspenseReason, Suspension, Timestamp, UsageView};

use super::owner_core::OwnerCore;
use super::partition::Pulse;
use super::state_log::StateLog;
use super::wait::{NotRated, Wait};

/// The most accounts that the sweep visits before the owner serves other requests.
const TURN_ACCOUNTS: usize = 2_000;

/// The state and the open segment, in which an owner books charges.
struct OwnerBooks<'a> {
    log: &'a mut StateLog,
    pulse: &'a dyn Pulse,
}

impl Books for OwnerBooks<'_> {
    type Wait = Wait;

    fn alive(&self) {
        self.pulse.alive();
    }

    fn now(&self) -> Timestamp {
        self.log.now()
    }

    fn profiles(&self) -> &Profiles {
        self.log.state().profiles()
    }

    fn account(&self, account: AccountNumber) -> Option<AccountEntry<'_>> {
        let known = self.log.state().account(account)?;
        Some(AccountEntry { profile: known.profile, state: &known.state })
    }

    /// A full segment is appended first. Each charge is booked within one segment.
    fn room(&self) -> Result<(), Wait> {
        self.log.room()
    }

    fn book(&mut self, falling: &FallingDue<'_>, rated: &Rated) -> Result<(), Stop<Wait>> {
        let FallingDue { account, due, tariff, .. } = *falling;
        if self.log.state().account(account).is_none() {
            return Err(Stop::Stuck(SuspenseReason::UnknownAccount.into()));
        }
        let id = format!("due:{}", tariff.context.zone.date_at(due.at));
        let view = nothing(&id, account, due.at);
        let record = NewRecord { view, identity: "", outcome: Outcome::FellDue };
        self.log.rate(&record, tariff, rated)?;
        metrics::counter!("turnpike_due_total", "what" => due.word()).increment(1);
        Ok(())
    }

    fn stuck(&mut self, falling: &FallingDue<'_>, reason: &Suspension) {
        let FallingDue { account, due, .. } = *falling;
        tracing::warn!(
            %account, %reason, what = due.word(), at_us = due.at.micros(),
            "a charge that fell due can't be booked: remove the cause; the sweep of the account \
             continues when the account or the catalogue changes"
        );
        metrics::counter!("turnpike_sweep_stuck_total").increment(1);
    }
}

impl OwnerCore {
    /// Books what falls due in this owner's state and open segment, by `with`.
    fn booking<T>(&mut self, with: impl FnOnce(&mut Sweep<'_, OwnerBooks<'_>>) -> T) -> T {
        let mut books = OwnerBooks { log: &mut self.log, pulse: self.pulse.as_ref() };
        let (tariffs, rater, dues) = (&mut self.view.tariffs, &mut self.rater, &mut self.dues);
        with(&mut Sweep { tariffs, rater, dues, books: &mut books })
    }

    /// Marks an account to be visited, after a change that may move its next due date.
    pub(super) fn note_changed(&mut self, account: AccountNumber) {
        self.booking(|sweep| sweep.note_changed(account));
    }

    /// Books charges due at or before `start`, so that a record that starts then can be rated.
    pub(super) fn book_due_before(
        &mut self,
        account: AccountNumber,
        start: Timestamp,
    ) -> Result<(), NotRated> {
        Ok(self.booking(|sweep| sweep.book_before(account, start))?)
    }

    /// One pass of the sweep, between requests. Returns whether there is more to do now.
    ///
    /// # Errors
    /// What the sweep waits for. The next pass continues with the same account.
    pub(crate) fn sweep(&mut self) -> Result<bool, Wait> {
        // A plan that this owner does not know may have come into force (P36).
        if self.is_stale() {
            return Ok(false);
        }
        self.list_accounts();
        let began = self.pulse.now();
        for _ in 0..TURN_ACCOUNTS {
            let now = self.log.now();
            let Some(account) = self.dues.pop(now) else {
                self.view.tariffs.give_back();
                return Ok(false);
            };
            let booked = self.booking(|sweep| sweep.book_due(account, now));
            match booked.map_err(NotRated::from) {
                Ok(()) | Err(NotRated::Suspended(_)) => {}
                Err(NotRated::Wait(wait)) => {
                    self.dues.visit(account);
                    return Err(wait);
                }
            }
            let worked = self.pulse.now().saturating_duration_since(began);
            if !self.log.has_slack() || worked >= self.limits.sweep_turn {
                break;
            }
        }
        Ok(self.log.has_slack())
    }

    /// Lists every account for which something can fall due, after a takeover and after a change of
    /// the catalogue.
    fn list_accounts(&mut self) {
        if self.dues.is_listed() {
            return;
        }
        let (tariffs, state) = (&mut self.view.tariffs, self.log.state());
        let profiles = state.profiles();
        let swept = state.accounts().filter(|(_, account)| {
            let (profile, state) = (account.profile, &account.state);
            is_swept(tariffs, profiles, AccountEntry { profile, state })
        });
        let swept = swept.map(|(number, _)| number).collect();
        self.dues.list(swept);
    }
}

fn nothing(record_id: &str, account: AccountNumber, start: Timestamp) -> UsageView<'_> {
    UsageView {
        record_id,
        account,
        usage_type: DUE_USAGE_TYPE,
        start,
        duration_us: 0,
        quantity: None,
        measures: &[],
        attributes: &[],
    }
}
