//! A partition's state, and how the log makes it.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use turnpike_mutants::{Line, off};
use turnpike_plan::{AccountState, StateEntry};
use turnpike_segment::RecordRow;
use turnpike_segment::head::PostingCursor;
use turnpike_types::{
    AccountNumber, Detail, PartitionId, SegmentHash, SegmentNumber, SuspenseReason, Suspension,
    Timestamp,
};

use crate::keys::{KeyIndex, Location, fingerprint};
use crate::profiles::{ProfileId, Profiles};
use crate::suspense::{Suspense, Waiting, WaitingKey};

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its settings and subscriptions.
    pub profile: ProfileId,
    /// Its plans' variables.
    pub state: AccountState,
}

impl Account {
    /// Sets a variable for a record that starts at `start`, as an owner does and a replay again:
    /// what it comes to hangs on the entry, the record and the segment's floor alone (I4). What
    /// falls due may do so long before the floor, when it is caught up with; the cycle that it
    /// closes needs its sums until then.
    pub(crate) fn set(&mut self, entry: StateEntry, start: Timestamp, floor: Timestamp) {
        self.state.set_and_trim(entry, floor.min(start));
    }
}

/// Logged time (P26): accepting, forgetting and sweeping use nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoggedTime {
    /// Monotone along the log.
    pub now: Timestamp,
    /// The oldest start that is acceptable; it only moves forward.
    pub floor: Timestamp,
}

impl Default for LoggedTime {
    fn default() -> Self {
        Self { now: Timestamp::MIN, floor: Timestamp::MIN }
    }
}

impl LoggedTime {
    /// Time as the next segment logs it, when the database's clock shows `clock`.
    #[must_use]
    pub fn advance(self, clock: Timestamp, horizon_us: i64, since: Option<Timestamp>) -> Self {
        if off(Line::MonotoneTime) {
            return Self { now: clock, floor: Timestamp(clock.0.saturating_sub(horizon_us)) };
        }
        let now = self.now.max(clock);
        let horizon = Timestamp(now.0.saturating_sub(horizon_us));
        let floor = since.map_or(horizon, |since| since.min(horizon));
        Self { now, floor: self.floor.max(floor) }
    }
}

/// All that an owner knows of its partition.
#[derive(Debug, Default)]
pub struct PartitionState {
    pub(crate) profiles: Profiles,
    pub(crate) accounts: HashMap<AccountNumber, Account>,
    pub(crate) keys: KeyIndex,
    pub(crate) suspense: Suspense,
    /// How far the postings of each sender were taken, by partition.
    pub(crate) cursors: BTreeMap<PartitionId, PostingCursor>,
    pub(crate) time: LoggedTime,
    pub(crate) last: SegmentNumber,
    pub(crate) last_hash: SegmentHash,
}

impl PartitionState {
    /// The account, if it was opened.
    pub fn account(&self, account: AccountNumber) -> Option<&Account> {
        self.accounts.get(&account)
    }

    /// Every account, in no order.
    pub fn accounts(&self) -> impl Iterator<Item = (AccountNumber, &Account)> {
        self.accounts.iter().map(|(&number, account)| (number, account))
    }

    /// How many accounts were opened.
    pub fn account_count(&self) -> usize {
        self.accounts.len()
    }

    /// The profiles that accounts point at.
    pub const fn profiles(&self) -> &Profiles {
        &self.profiles
    }

    /// Which records were taken.
    pub const fn keys(&self) -> &KeyIndex {
        &self.keys
    }

    /// What waits.
    pub const fn suspense(&self) -> &Suspense {
        &self.suspense
    }

    /// How far the postings of `sender` were taken (P33); at its log's beginning when none was.
    pub fn posting_cursor(&self, sender: PartitionId) -> PostingCursor {
        let none = || PostingCursor { sender: sender.0, ..PostingCursor::default() };
        self.cursors.get(&sender).cloned().unwrap_or_else(none)
    }

    /// Logged time, as of the last segment.
    pub const fn time(&self) -> LoggedTime {
        self.time
    }

    /// The last segment that is part of this state.
    pub const fn last(&self) -> (SegmentNumber, SegmentHash) {
        (self.last, self.last_hash)
    }

    /// Takes in a segment's end: the state is now as after it. The owner calls this when it seals;
    /// replay does after applying.
    pub fn advance(&mut self, segment: SegmentNumber, hash: SegmentHash, time: LoggedTime) {
        self.last = segment;
        self.last_hash = hash;
        self.time = time;
        self.keys.note(segment, time.now, time.floor);
    }

    /// Frees memory of keys beyond the horizon. What waits in suspense is found by its own key,
    /// and so never forgotten (P35).
    pub fn sweep(&mut self) {
        self.keys.sweep();
    }

    /// A record was taken.
    pub fn take_key(&mut self, record: &RecordRow<'_>, identity: &str, location: Location) {
        let print = fingerprint(record.account, identity, record.record_id);
        self.keys.insert(print, location);
    }

    /// A record was taken, by its fingerprint.
    pub fn take_fingerprint(&mut self, print: crate::Fingerprint, location: Location) {
        self.keys.insert(print, location);
    }

    /// A record went to suspense.
    pub fn suspend(&mut self, key: WaitingKey, location: Location, reason: SuspenseReason) {
        let detail = Detail::NONE;
        self.suspense.insert(key, Waiting { location, reason, detail, revision: 0 });
    }

    /// A suspended record left suspense.
    pub fn leave_suspense(&mut self, key: &WaitingKey) -> Option<Waiting> {
        self.suspense.remove(key)
    }

    /// A suspended record was tried again in vain.
    pub fn suspend_again(&mut self, key: &WaitingKey, suspension: Suspension) {
        if let Some(waiting) = self.suspense.get_mut(key) {
            waiting.reason = suspension.reason;
            waiting.detail = suspension.detail;
            waiting.revision = waiting.revision.saturating_add(1);
        }
    }

    /// Sets variables of an account for a record that starts at `start`, in a segment with this
    /// `floor`: the earlier of both decides what is too old to be kept
    /// (docs/plan-semantics.md section 4).
    pub fn set_variables(
        &mut self,
        account: AccountNumber,
        entries: impl IntoIterator<Item = StateEntry>,
        start: Timestamp,
        floor: Timestamp,
    ) {
        if let Some(account) = self.accounts.get_mut(&account) {
            entries.into_iter().for_each(|entry| account.set(entry, start, floor));
        }
    }
}
