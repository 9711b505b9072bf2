//! Charges that fall due without usage (docs/plan-semantics.md section 5, P34). They are booked by
//! the sweep, and before a record of the same account is rated.
//!
//! The instants up to which charges are booked are stored in variables of the account, which change
//! in the segment that books. This module only keeps when to visit each account next, and computes
//! it again after a takeover:
//!
//! ```text
//!  catalogue changed, takeover --> unvisited: all accounts for which something can fall due
//!  account changed ------------------> + this account
//!        |
//!        v    a pass between requests, bounded in accounts, time and bytes of the open segment
//!     book what is due at logged time (P26) --> next: when to visit this account again
//!        ^                                         |
//!        +----- logged time reaches it <-----------+
//! ```
//!
//! A charge that can't be booked (for example, an exchange rate is missing) stops the account's
//! sweep until the catalogue or the account changes. Records that start before the stuck charge are
//! still rated. A record that starts later waits in suspense with the same reason, since the charge
//! comes first.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use tokio::time::Instant;
use turnpike_account::{Account, Profiles};
use turnpike_mutants::{Check, off};
use turnpike_plan::{AccountState, DUE_USAGE_TYPE, DueInterval, PlanInForce, Rated, StateEntry};
use turnpike_segment::NewRecord;
use turnpike_types::{
    AccountNumber, Outcome, Posting, SuspenseReason, Suspension, Timestamp, UsageView,
};

use super::records::{NotRated, Wait, refused};
use super::{Ended, Owner, lines};
use crate::tariff::{PlansInForce, Tariffs};

/// The most accounts that the sweep visits before the owner serves other requests.
const TURN_ACCOUNTS: usize = 2_000;
/// The most charges that are booked for one account before other work runs.
const TURN_EVENTS: usize = 1_000;
/// The most charges of one plan that may fall due at one instant. More of them mean a fault that
/// would book charges without end.
const SAME_MAX: usize = 100;

/// When to visit an account next.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Next {
    /// When the account's next charge falls due.
    charge: Timestamp,
    /// When the account's next cycle closes, in logged time.
    close: Timestamp,
    /// The charge that can't be booked. No later charge is booked.
    stuck: Option<(Timestamp, Suspension)>,
}

impl Next {
    fn at(&self) -> Timestamp {
        self.charge.min(self.close)
    }
}

/// When to visit each account.
#[derive(Debug, Default)]
pub(super) struct Dues {
    next: HashMap<AccountNumber, Next>,
    /// The entries of `next` by time. An entry that differs from `next` is void.
    by_time: BinaryHeap<Reverse<(Timestamp, AccountNumber)>>,
    /// Accounts to visit as soon as possible, each once.
    unvisited: Vec<AccountNumber>,
    waiting: HashSet<AccountNumber>,
    /// Whether all accounts were listed since the catalogue changed.
    is_listed: bool,
}

impl Dues {
    /// Forgets everything, because the catalogue changed.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Whether a rated record changes when later charges fall due. Either the record moves the
    /// instant up to which charges are booked. Or the record brings the first amount of an
    /// alternative of an option in a cycle, so that the cycle must be closed later.
    pub(super) fn is_moved_by(&self, rated: &Rated, state: &AccountState) -> bool {
        let has_tentative = || rated.lines.iter().any(|line| line.posting == Posting::Tentative);
        let begins = |change: &StateEntry| {
            state.get(change.variable, change.period).is_none_or(|before| before == 0)
        };
        rated.moves_dues || (has_tentative() && rated.changes.iter().any(begins))
    }

    fn set(&mut self, account: AccountNumber, next: Next) {
        let (at, is_stuck) = (next.at(), next.stuck.is_some());
        self.next.insert(account, next);
        if is_stuck || at == Timestamp::MAX {
            return;
        }
        // If accounts change all the time, void entries accumulate, so the heap is rebuilt without
        // them.
        if self.by_time.len() > 2 * self.next.len() + TURN_ACCOUNTS {
            let held = self.next.iter().filter(|(_, next)| next.stuck.is_none());
            self.by_time = held.map(|(&account, next)| Reverse((next.at(), account))).collect();
        } else {
            self.by_time.push(Reverse((at, account)));
        }
    }

    /// Marks the account to be visited as soon as possible.
    fn visit(&mut self, account: AccountNumber) {
        self.next.remove(&account);
        if self.waiting.insert(account) {
            self.unvisited.push(account);
        }
    }

    /// The next account to visit at logged time `now`.
    fn pop(&mut self, now: Timestamp) -> Option<AccountNumber> {
        if let Some(account) = self.unvisited.pop() {
            self.waiting.remove(&account);
            return Some(account);
        }
        while let Some(&Reverse((at, account))) = self.by_time.peek() {
            if at > now {
                return None;
            }
            self.by_time.pop();
            let is_held = |next: &Next| next.stuck.is_none() && next.at() == at;
            if self.next.get(&account).is_some_and(is_held) {
                return Some(account);
            }
        }
        None
    }
}

impl Owner {
    /// Marks an account to be visited, after a change that may move its next due date.
    pub(super) fn note_changed(&mut self, account: AccountNumber) {
        let Some(known) = self.state.account(account) else { return };
        if is_swept(&mut self.tariffs, self.state.profiles(), known) {
            self.dues.visit(account);
        }
    }

    /// Books charges due at or before `start`, so that a record that starts then can be rated.
    pub(super) fn book_due_before(
        &mut self,
        account: AccountNumber,
        start: Timestamp,
    ) -> Result<(), NotRated> {
        let Some(known) = self.state.account(account) else { return Ok(()) };
        if !is_swept(&mut self.tariffs, self.state.profiles(), known) {
            return Ok(());
        }
        if off(Check::DueBefore) {
            return Ok(());
        }
        match self.dues.next.get(&account) {
            Some(Next { stuck: Some((at, suspension)), .. }) if *at <= start => {
                Err(NotRated::Suspended(suspension.clone()))
            }
            Some(Next { stuck: Some(_), .. }) => Ok(()),
            Some(next) if start < next.charge && self.open.time.now < next.close => Ok(()),
            _ => self.book_due(account, start),
        }
    }

    /// Books the charges due at or before `through`, and the cycles that have to be closed.
    fn book_due(&mut self, account: AccountNumber, through: Timestamp) -> Result<(), NotRated> {
        let Some(known) = self.state.account(account) else { return Ok(()) };
        let alive = || super::tick(&self.ticks, self.in_flight.as_ref(), &self.shared.config);
        let held = self.tariffs.due_intervals(self.state.profiles(), known.profile, &alive);
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
        let now = self.open.time.now;
        let (mut last, mut same) = (None, 0);
        for _ in 0..TURN_EVENTS {
            self.tick();
            // A full segment is appended first. Each charge is booked within one segment.
            if self.open.builder.bytes() >= self.shared.config.segment_bytes_max {
                return Err(NotRated::Wait(Wait::Full));
            }
            let Some(known) = self.state.account(account) else { return Ok(()) };
            let state = &known.state;
            let Some(due) = self.rater.next_due(&intervals, state, through, now) else {
                let mut next = |through, now| {
                    let due = self.rater.next_due(&intervals, state, through, now);
                    due.map_or(Timestamp::MAX, |due| due.at)
                };
                let charge = next(Timestamp::MAX, Timestamp::MIN);
                let close = next(Timestamp::MIN, Timestamp::MAX);
                self.dues.set(account, Next { charge, close, stuck: None });
                return Ok(());
            };
            let Some(interval) = held.get(due.interval) else { return Ok(()) };
            let tables_at = due.tables_at(interval.from, interval.until);
            let tariff = &self.tariffs.booking(known.profile, interval, tables_at);
            let with_tables = tariff.in_force();
            let intervals = with_plans(&intervals, due.interval, &with_tables);
            same = if last.replace(due) == Some(due) { same + 1 } else { 0 };
            let booked = match self.rater.fall_due(&intervals, &due, state, now) {
                Ok(_) if same > SAME_MAX => Err(SuspenseReason::Overflow.into()),
                Err(reason) => Err(refused(&self.rater, reason)),
                Ok(rated) => {
                    let id = format!("due:{}", tariff.context.zone.date_at(due.at));
                    let view = nothing(&id, account, due.at);
                    let record = NewRecord { view, identity: "", outcome: Outcome::FellDue };
                    let scratch = &mut self.scratch;
                    let logged = self.open.log(&record, tariff, rated, state, scratch);
                    logged.map(|_| {
                        let floor = self.open.time.floor;
                        lines::apply(&mut self.state, &record, tariff, rated, scratch, floor);
                    })
                }
            };
            match booked {
                Ok(()) => {
                    metrics::counter!("turnpike_due_total", "what" => due.word()).increment(1);
                }
                Err(NotRated::Wait(wait)) => return Err(NotRated::Wait(wait)),
                Err(NotRated::Suspended(suspension)) => {
                    self.stop_sweep_at(account, due.at, due.word(), suspension.clone());
                    let is_before = due.at <= through;
                    return if is_before { Err(suspension.into()) } else { Ok(()) };
                }
            }
        }
        Err(NotRated::Wait(Wait::Turn))
    }

    /// Stops the account's sweep at a charge that can't be booked.
    fn stop_sweep_at(
        &mut self,
        account: AccountNumber,
        at: Timestamp,
        what: &'static str,
        reason: Suspension,
    ) {
        tracing::warn!(
            %account, %reason, what, at_us = at.micros(),
            "a charge that fell due can't be booked: remove the cause; the sweep of the account \
             continues when the account or the catalogue changes"
        );
        metrics::counter!("turnpike_sweep_stuck_total").increment(1);
        let stuck = Some((at, reason));
        self.dues.set(account, Next { charge: at, close: at, stuck });
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
            match self.book_due(account, now) {
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
        if std::mem::replace(&mut self.dues.is_listed, true) {
            return;
        }
        let (tariffs, profiles) = (&mut self.tariffs, self.state.profiles());
        let swept =
            self.state.accounts().filter(|(_, account)| is_swept(tariffs, profiles, account));
        let mut unvisited: Vec<AccountNumber> = swept.map(|(number, _)| number).collect();
        // Sorted in descending order, since accounts are popped from the end.
        unvisited.sort_unstable_by_key(|&number| Reverse(number));
        for account in unvisited {
            self.dues.visit(account);
        }
    }
}

/// Whether anything falls due for the account without usage: by its plans, or because another
/// account posted a bonus to it.
fn is_swept(tariffs: &mut Tariffs, profiles: &Profiles, account: &Account) -> bool {
    account.state.keeps_totals() || tariffs.is_swept(profiles, account.profile)
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
