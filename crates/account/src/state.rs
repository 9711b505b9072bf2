//! The state of a partition, and how the log changes it.

use std::collections::{BTreeMap, VecDeque};

use hashbrown::HashMap;
use turnpike_plan::{AccountState, StateEntry};
use turnpike_segment::head::PostingCursor;
use turnpike_segment::{RecordRow, Segment};
use turnpike_tariff::{ProfileId, Profiles};
use turnpike_types::{
    AccountNumber, Detail, Outcome, PartitionId, SegmentHash, SegmentNumber, SuspenseReason,
    Suspension, Timestamp,
};

use crate::keys::{KeyIndex, Location, fingerprint};
use crate::proof::{Proof, Prover};
use crate::suspense::{Suspense, Waiting, WaitingKey};

/// Why an account has a profile.
pub(crate) const HELD: &str = "an account refers to a profile of its partition";

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The settings and subscriptions of the account.
    pub profile: ProfileId,
    /// The variables of the account's plans.
    pub state: AccountState,
}

impl Account {
    /// Sets a variable for a record that starts at `start`, both in the owner and in a replay. The
    /// result depends only on the entry, the record and the segment's floor (I4). The earlier
    /// of `start` and `floor` decides which old values are removed: a due charge that is booked
    /// late may start long before the floor, and the close of its cycle still needs its sums.
    pub(crate) fn set(&mut self, entry: StateEntry, start: Timestamp, floor: Timestamp) {
        self.state.set_and_trim(entry, floor.min(start));
    }
}

/// Logged time (P26): the only time that acceptance, key expiry and the sweep use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoggedTime {
    /// The time; it never decreases along the log.
    pub now: Timestamp,
    /// The oldest acceptable start; it never decreases.
    pub floor: Timestamp,
}

impl Default for LoggedTime {
    fn default() -> Self {
        Self { now: Timestamp::MIN, floor: Timestamp::MIN }
    }
}

impl LoggedTime {
    /// The logged time of the next segment, when the database's clock shows `clock`. The acceptance
    /// horizon is `horizon_us`. Records that start at `since` or later are accepted whatever the
    /// horizon.
    #[must_use]
    pub fn advance(self, clock: Timestamp, horizon_us: i64, since: Option<Timestamp>) -> Self {
        let now = self.now.max(clock);
        let horizon = Timestamp(now.0.saturating_sub(horizon_us));
        let floor = since.map_or(horizon, |since| since.min(horizon));
        Self { now, floor: self.floor.max(floor) }
    }
}

/// The complete state of a partition.
#[derive(Debug, Default)]
pub struct PartitionState {
    pub(crate) profiles: Profiles,
    pub(crate) accounts: HashMap<AccountNumber, Account>,
    pub(crate) keys: KeyIndex,
    pub(crate) prover: Prover,
    pub(crate) suspense: Suspense,
    /// The position up to which the postings of each sender were taken.
    pub(crate) cursors: BTreeMap<PartitionId, PostingCursor>,
    /// The requests that opened accounts last. Checkpoints do not hold them, because a request is
    /// sent again within seconds.
    pub(crate) openings: Openings,
    pub(crate) time: LoggedTime,
    pub(crate) last: SegmentNumber,
    pub(crate) last_hash: SegmentHash,
}

/// Whether a retry of the record is a duplicate, if its content is the same.
const fn is_rated(record: &RecordRow<'_>) -> bool {
    matches!(record.outcome, Outcome::Rated | Outcome::RatedLate)
}

/// The requests that opened the latest accounts, at most [`OPENINGS_MAX`].
#[derive(Debug, Default)]
pub(crate) struct Openings {
    requests: HashMap<AccountNumber, u64>,
    /// The accounts of `requests`, in the order of the log.
    order: VecDeque<AccountNumber>,
}

/// How many requests that opened accounts are remembered.
const OPENINGS_MAX: usize = 65_536;

impl PartitionState {
    /// Remembers the request that opened an account; 0 for a request without a number.
    pub fn note_opening(&mut self, account: AccountNumber, request_id: u64) {
        if request_id == 0 {
            return;
        }
        let Openings { requests, order } = &mut self.openings;
        if requests.insert(account, request_id).is_none() {
            order.push_back(account);
        }
        if order.len() > OPENINGS_MAX
            && let Some(oldest) = order.pop_front()
        {
            requests.remove(&oldest);
        }
    }

    /// Whether this request opened the account. False if the request is no longer remembered.
    pub fn was_opened_by(&self, account: AccountNumber, request_id: u64) -> bool {
        request_id != 0 && self.openings.requests.get(&account) == Some(&request_id)
    }

    /// The account, if it was opened.
    pub fn account(&self, account: AccountNumber) -> Option<&Account> {
        self.accounts.get(&account)
    }

    /// All accounts, in no particular order.
    pub fn accounts(&self) -> impl Iterator<Item = (AccountNumber, &Account)> {
        self.accounts.iter().map(|(&number, account)| (number, account))
    }

    /// The number of open accounts.
    pub fn account_count(&self) -> usize {
        self.accounts.len()
    }

    /// The profiles that the accounts refer to.
    pub const fn profiles(&self) -> &Profiles {
        &self.profiles
    }

    /// The deduplication keys of the logged records.
    pub const fn keys(&self) -> &KeyIndex {
        &self.keys
    }

    /// The suspended records.
    pub const fn suspense(&self) -> &Suspense {
        &self.suspense
    }

    /// The position up to which the postings of `sender` were taken (P33); the beginning of the
    /// sender's log if no postings were taken.
    pub fn posting_cursor(&self, sender: PartitionId) -> PostingCursor {
        let none = || PostingCursor { sender: sender.0, ..PostingCursor::default() };
        self.cursors.get(&sender).cloned().unwrap_or_else(none)
    }

    /// The logged time of the last segment.
    pub const fn time(&self) -> LoggedTime {
        self.time
    }

    /// The last segment that this state includes.
    pub const fn last(&self) -> (SegmentNumber, SegmentHash) {
        (self.last, self.last_hash)
    }

    /// Ends a segment: the state now includes it. The owner calls this when it seals a segment, and
    /// a replay after it has applied one.
    pub fn advance(&mut self, segment: SegmentNumber, hash: SegmentHash, time: LoggedTime) {
        self.last = segment;
        self.last_hash = hash;
        self.time = time;
        self.keys.note(segment, time.now, time.floor);
    }

    /// Frees the memory of keys that have passed the horizon. Suspended records have their own
    /// keys, which never expire (P35).
    pub fn sweep(&mut self) {
        self.keys.sweep();
    }

    /// Adds the deduplication key of a record that was taken.
    pub fn take_key(&mut self, record: &RecordRow<'_>, identity: &str, location: Location) {
        let print = fingerprint(record.account, identity, record.record_id);
        let proof = is_rated(record).then(|| self.prover.proof(record));
        self.keys.insert(print, location, proof);
    }

    /// Adds the fingerprint of a record that was taken, with its proof if it was rated: what a retry of
    /// another one is answered has to be read.
    pub fn take_fingerprint(
        &mut self,
        print: crate::Fingerprint,
        location: Location,
        proof: Option<Proof>,
    ) {
        self.keys.insert(print, location, proof);
    }

    /// The proof of a record.
    pub fn proof(&self, record: &RecordRow<'_>) -> Proof {
        self.prover.proof(record)
    }

    /// Keeps the proofs of all rated records of a segment of the log, so that no retry of them needs the
    /// segment again.
    pub fn prove(&mut self, segment: &Segment) {
        let number = segment.header().segment;
        for (row, record) in segment.records().filter(|(_, record)| is_rated(record)) {
            let print = fingerprint(record.account, "", record.record_id);
            let proof = self.prover.proof(&record);
            // The records of a segment are proven together.
            if self.keys.prove(print, Location::new(number, row), proof) == Some(true) {
                return;
            }
        }
    }

    /// Puts a record into suspense.
    pub fn suspend(&mut self, key: WaitingKey, location: Location, reason: SuspenseReason) {
        let detail = Detail::NONE;
        self.suspense.insert(key, Waiting { location, reason, detail, revision: 0 });
    }

    /// Removes a record from suspense.
    pub fn leave_suspense(&mut self, key: &WaitingKey) -> Option<Waiting> {
        self.suspense.remove(key)
    }

    /// Notes that a suspended record was recycled and stays in suspense. Returns whether the record
    /// was in suspense.
    pub fn suspend_again(&mut self, key: &WaitingKey, suspension: Suspension) -> bool {
        let Some(waiting) = self.suspense.get_mut(key) else { return false };
        waiting.reason = suspension.reason;
        waiting.detail = suspension.detail;
        waiting.revision = waiting.revision.saturating_add(1);
        true
    }

    /// Sets variables of an account for a record that starts at `start`, in a segment with this
    /// `floor`. The earlier of `start` and `floor` decides which old values are removed
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
