//! Charges that fall due without usage (docs/plan-semantics.md section 5, P34). They are booked by
//! the sweep, and before a record of the same account is rated.
//!
//! What falls due, in which order and when to look again is decided in [`turnpike_tariff`]. This
//! module logs it (`OwnerBooks`), and sweeps in passes between requests, bounded in accounts, time
//! and bytes of the open segment.

use tokio::time::Instant;
use turnpike_account::PartitionState;
use turnpike_plan::{DUE_USAGE_TYPE, Rated};
use turnpike_segment::NewRecord;
use turnpike_tariff::{AccountEntry, Books, FallingDue, Profiles, Stop, Sweep, is_swept};
use turnpike_types::{AccountNumber, Outcome, SuspenseReason, Suspension, Timestamp, UsageView};

use super::append::{InFlight, OpenSegment};
use super::lines::LineScratch;
use super::records::{NotRated, Wait};
use super::{Ended, Owner, Ticks, lines};
use crate::NodeConfig;

/// The most accounts that the sweep visits before the owner serves other requests.
const TURN_ACCOUNTS: usize = 2_000;

/// The state and the open segment, in which an owner books charges.
struct OwnerBooks<'a> {
    state: &'a mut PartitionState,
    open: &'a mut OpenSegment,
    scratch: &'a mut LineScratch,
    ticks: &'a Ticks,
    in_flight: Option<&'a InFlight>,
    config: &'a NodeConfig,
}

impl Books for OwnerBooks<'_> {
    type Wait = Wait;

    fn alive(&self) {
        super::tick(self.ticks, self.in_flight, self.config);
    }

    fn now(&self) -> Timestamp {
        self.open.time.now
    }

    fn profiles(&self) -> &Profiles {
        self.state.profiles()
    }

    fn account(&self, account: AccountNumber) -> Option<AccountEntry<'_>> {
        let known = self.state.account(account)?;
        Some(AccountEntry { profile: known.profile, state: &known.state })
    }

    /// A full segment is appended first. Each charge is booked within one segment.
    fn room(&self) -> Result<(), Wait> {
        match self.open.builder.bytes() >= self.config.segment_bytes_max {
            true => Err(Wait::Full),
            false => Ok(()),
        }
    }

    fn book(&mut self, falling: &FallingDue<'_>, rated: &Rated) -> Result<(), Stop<Wait>> {
        let FallingDue { account, due, tariff, .. } = *falling;
        let known = self.state.account(account);
        let known = known.ok_or_else(|| Stop::Stuck(SuspenseReason::UnknownAccount.into()))?;
        let id = format!("due:{}", tariff.context.zone.date_at(due.at));
        let view = nothing(&id, account, due.at);
        let record = NewRecord { view, identity: "", outcome: Outcome::FellDue };
        self.open.log(&record, tariff, rated, &known.state, self.scratch)?;
        let floor = self.open.time.floor;
        lines::apply(self.state, &record, tariff, rated, self.scratch, floor);
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

impl From<NotRated> for Stop<Wait> {
    fn from(why: NotRated) -> Self {
        match why {
            NotRated::Suspended(suspension) => Self::Stuck(suspension),
            NotRated::Wait(wait) => Self::Wait(wait),
        }
    }
}

impl From<Stop<Wait>> for NotRated {
    fn from(stop: Stop<Wait>) -> Self {
        match stop {
            Stop::Stuck(suspension) => Self::Suspended(suspension),
            Stop::Wait(wait) => Self::Wait(wait),
            Stop::Turn => Self::Wait(Wait::Turn),
        }
    }
}

impl Owner {
    /// Books what falls due in this owner's state and open segment, by `with`.
    fn booking<T>(&mut self, with: impl FnOnce(&mut Sweep<'_, OwnerBooks<'_>>) -> T) -> T {
        let mut books = OwnerBooks {
            state: &mut self.state,
            open: &mut self.open,
            scratch: &mut self.scratch,
            ticks: &self.ticks,
            in_flight: self.in_flight.as_ref(),
            config: &self.shared.config,
        };
        let (tariffs, rater, dues) = (&mut self.tariffs, &mut self.rater, &mut self.dues);
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
    pub(super) async fn sweep(&mut self) -> Result<bool, Ended> {
        if !self.has_slack() {
            return Ok(false);
        }
        self.open_anew();
        // A plan that this owner does not know may have come into force (P36).
        if self.is_stale() {
            return Ok(false);
        }
        self.list_accounts();
        let began = Instant::now();
        let turn = self.shared.config.heartbeat / 50;
        for _ in 0..TURN_ACCOUNTS {
            let now = self.open.time.now;
            let Some(account) = self.dues.pop(now) else { return Ok(false) };
            let booked = self.booking(|sweep| sweep.book_due(account, now));
            match booked.map_err(NotRated::from) {
                Ok(()) | Err(NotRated::Suspended(_)) => {}
                Err(NotRated::Wait(wait)) => {
                    self.dues.visit(account);
                    self.resolve(wait).await?;
                    return Ok(true);
                }
            }
            if !self.has_slack() || began.elapsed() >= turn {
                break;
            }
        }
        Ok(self.has_slack())
    }

    /// Lists every account for which something can fall due, after a takeover and after a change of
    /// the catalogue.
    fn list_accounts(&mut self) {
        if self.dues.is_listed() {
            return;
        }
        let (tariffs, profiles) = (&mut self.tariffs, self.state.profiles());
        let swept = self.state.accounts().filter(|(_, account)| {
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
