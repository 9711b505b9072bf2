//! The partition's state, and the segments that are not committed yet. Every change of
//! the state is made here, together with its log entry, so that a replay of the log gives the same
//! state (I4).
//!
//! ```text
//!   rated records, charges, postings, suspense, account changes
//!        |  each changes the state and the open segment
//!        v
//!   open segment --close()--> segment whose append is in flight --commit()--> the log
//!        one fills                 at most one (P4)
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use turnpike_account::{
    AccountChange, Fingerprint, Found, KeyRun, Location, LoggedTime, PartitionState, Waiting,
    WaitingKey,
};
use turnpike_mutants::{Check, off};
use turnpike_plan::{Rated, StateEntry};
use turnpike_segment::head::{Change, ComponentHead, PostingCursor, SuspenseKey};
use turnpike_segment::{NewRecord, RecordRow, Segment, SegmentBuilder};
use turnpike_tariff::Tariff;
use turnpike_types::{
    AccountNumber, Currency, Money, Outcome, SegmentHash, SegmentNumber, Suspension, Timestamp,
    UsageView,
};

use super::incoming::Incoming;
use super::open_segment::{LineScratch, OpenSegment};
use super::partition::Partition;
use super::wait::{NotRated, Wait};

/// The sweep and postings stop filling the open segment at this many bytes.
const SLACK_BYTES: usize = 1 << 20;
/// The most segments that are kept loaded for one request. Beyond it they are dropped, and read
/// again if they are needed, mostly from the cache.
const LOADED_MAX: usize = 64;

/// The segment whose append is in flight.
#[derive(Debug)]
struct Appending {
    number: SegmentNumber,
    time: LoggedTime,
    builder: Arc<SegmentBuilder>,
}

/// A closed segment, to be sealed and appended.
#[derive(Debug)]
pub(crate) struct ClosedSegment {
    pub(crate) number: SegmentNumber,
    pub(crate) time: LoggedTime,
    /// The hash of the segment before it.
    pub(crate) prev_hash: SegmentHash,
    pub(crate) builder: Arc<SegmentBuilder>,
}

/// The state of a partition with its uncommitted segments.
#[derive(Debug)]
pub(crate) struct StateLog {
    state: PartitionState,
    open: OpenSegment,
    appending: Option<Appending>,
    /// Segments of the log that were loaded for the present request.
    loaded: HashMap<SegmentNumber, Arc<Segment>>,
    scratch: LineScratch,
    /// Bytes before compression at which a segment is closed.
    segment_bytes_max: usize,
    /// Bytes of log since the last checkpoint.
    log_bytes: u64,
}

impl StateLog {
    /// Continues the log after the last segment of `state`.
    pub(crate) fn new(state: PartitionState, log_bytes: u64, segment_bytes_max: usize) -> Self {
        let open = OpenSegment::new(state.last().0.next(), state.time());
        Self {
            state,
            open,
            appending: None,
            loaded: HashMap::new(),
            scratch: LineScratch::default(),
            segment_bytes_max,
            log_bytes,
        }
    }

    /// The state, with all changes that are not committed yet.
    pub(crate) const fn state(&self) -> &PartitionState {
        &self.state
    }

    /// The logged time by which records of the open segment are judged (P26).
    pub(crate) const fn time(&self) -> LoggedTime {
        self.open.time
    }

    /// The present of the open segment.
    pub(crate) const fn now(&self) -> Timestamp {
        self.open.time.now
    }

    /// Bytes of log since the last checkpoint.
    pub(crate) const fn log_bytes(&self) -> u64 {
        self.log_bytes
    }

    /// The last committed segment and its hash.
    pub(crate) const fn last(&self) -> (SegmentNumber, SegmentHash) {
        self.state.last()
    }

    /// Whether the open segment holds no change.
    pub(crate) fn is_open_empty(&self) -> bool {
        self.open.builder.is_empty()
    }

    /// The size of the open segment, in bytes before compression.
    pub(crate) fn open_bytes(&self) -> usize {
        self.open.builder.bytes()
    }

    /// Whether the open segment is below its size limit; otherwise it must be appended first.
    pub(crate) fn room(&self) -> Result<(), Wait> {
        if self.is_full() { Err(Wait::Full) } else { Ok(()) }
    }

    /// Whether the open segment has reached its size limit.
    pub(crate) fn is_full(&self) -> bool {
        self.open.builder.bytes() >= self.segment_bytes_max
    }

    /// Whether work that no client waits for may be added to the open segment. The segment stays
    /// small, so that waiting clients are answered soon.
    pub(crate) fn has_slack(&self) -> bool {
        !self.is_full() && self.open.builder.bytes() < SLACK_BYTES
    }

    /// The record at `location`, in the open segment, in the one in flight, or in a loaded one.
    ///
    /// # Errors
    /// [`Wait::Load`] if the segment must be loaded first.
    pub(crate) fn record_at(&self, location: Location) -> Result<Option<RecordRow<'_>>, Wait> {
        let (segment, row) = (location.segment(), location.row());
        if segment == self.open.number {
            return Ok(self.open.builder.record(row));
        }
        if let Some(appending) = &self.appending
            && segment == appending.number
        {
            return Ok(appending.builder.record(row));
        }
        match self.loaded.get(&segment) {
            Some(loaded) => Ok(loaded.record(row)),
            None => Err(Wait::Load(segment)),
        }
    }

    /// Keeps a segment of the log for the present request.
    pub(crate) fn keep_loaded(&mut self, number: SegmentNumber, segment: Arc<Segment>) {
        if self.loaded.len() >= LOADED_MAX {
            self.loaded.clear();
        }
        self.state.prove(&segment);
        self.loaded.insert(number, segment);
    }

    /// Drops the segments that were loaded for the last request.
    pub(crate) fn drop_loaded(&mut self) {
        self.loaded.clear();
    }
}

/// Changes: each changes the state and the open segment alike.
impl StateLog {
    /// Logs a rated record with its lines, and applies it. Returns its row in the open segment.
    ///
    /// # Errors
    /// The record does not fit the open segment, or any segment. Nothing is changed then.
    pub(crate) fn rate(
        &mut self,
        record: &NewRecord<'_>,
        tariff: &Tariff,
        rated: &Rated,
    ) -> Result<u32, NotRated> {
        let Some(known) = self.state.account(record.view.account) else {
            unreachable!("a record is rated by the tariff of an account of the state");
        };
        let row = self.open.log(record, tariff, rated, &known.state, &mut self.scratch)?;
        let entries = self.scratch.entries(tariff, rated);
        let floor = self.open.time.floor;
        self.state.set_variables(record.view.account, entries, record.view.start, floor);
        Ok(row)
    }

    /// Notes the key of a record whose row in the open segment is `row` (I2).
    pub(crate) fn take_key(&mut self, incoming: &Incoming<'_>, print: Fingerprint, row: u32) {
        let Some(extra) = self.open.builder.extra(row) else {
            unreachable!("the record was logged in this row");
        };
        let proof = self.state.proof(&incoming.row(extra));
        self.state.take_fingerprint(print, Location::new(self.open.number, row), Some(proof));
    }

    /// Whether one of the records that were found was rated, and has the key and the content of `record`,
    /// as far as that is known without a look into the log.
    pub(crate) fn is_proven(&self, record: &RecordRow<'_>, found: &[Found]) -> bool {
        let proof = self.state.proof(record);
        found.iter().any(|found| found.proof == Some(proof))
    }

    /// Logs a record that waits in suspense (P35).
    ///
    /// # Errors
    /// [`Wait::Full`] if the record does not fit the open segment.
    pub(crate) fn suspend(
        &mut self,
        incoming: &Incoming<'_>,
        print: Fingerprint,
        suspension: &Suspension,
    ) -> Result<(), Wait> {
        let record = NewRecord {
            view: incoming.view,
            identity: incoming.identity,
            outcome: Outcome::Suspended(suspension.reason),
        };
        let row = self.open.builder.push_record(&record).ok_or(Wait::Full)?;
        self.open.builder.push_detail(&suspension.detail);
        let location = Location::new(self.open.number, row);
        self.state.take_fingerprint(print, location, None);
        self.state.suspend(incoming.waiting_key(), location, suspension.reason);
        Ok(())
    }

    /// Carries out a change of an account that was judged to change something. `request_id`: the
    /// number of the request that opened the account; 0 for none.
    pub(crate) fn change(&mut self, account: AccountNumber, change: Change, request_id: u64) {
        self.state.change(account, &change);
        self.state.note_opening(account, request_id);
        self.open.builder.push_requested(account, change, request_id);
    }

    /// Sets the cursor after the postings that were taken.
    ///
    /// # Errors
    /// Why the cursor does not follow the one before it. The postings in the open segment must not
    /// be committed then: they would be taken again.
    pub(crate) fn set_posting_cursor(&mut self, cursor: PostingCursor) -> Result<(), String> {
        let change = Change::PostingsTaken(cursor);
        match self.state.judge(AccountNumber(0), &change) {
            AccountChange::Changes => {
                self.state.change(AccountNumber(0), &change);
                if !off(Check::PostingCursor) {
                    self.open.builder.push_entry(AccountNumber(0), change);
                }
                Ok(())
            }
            AccountChange::Already => Ok(()),
            AccountChange::Refused(why) => Err(why),
        }
    }

    /// Logs the entry by which a record leaves suspense, before the record is rated: both are in one
    /// segment, so that both are durable or neither is. The rating of the record must follow, and
    /// then [`StateLog::leave`] or [`StateLog::stay`].
    pub(crate) fn begin_to_leave(&mut self, key: &WaitingKey, waiting: &Waiting) {
        if !off(Check::RecycledEntry) {
            let entry = Change::Recycled(suspense_key(key, waiting, 0, 0));
            self.open.begin_to_leave(key.account, entry);
        }
    }

    /// The record was rated, and leaves suspense.
    pub(crate) fn leave(&mut self, key: &WaitingKey) {
        self.open.end_to_leave(true);
        self.remove(key);
    }

    /// The record was not rated: it stays suspended, and the entry is removed again.
    pub(crate) fn stay(&mut self) {
        if !off(Check::RecycledEntry) {
            self.open.end_to_leave(false);
        }
    }

    fn remove(&mut self, key: &WaitingKey) {
        let removed = self.state.leave_suspense(key);
        assert!(removed.is_some(), "a record that leaves suspense was suspended (I4)");
    }

    /// Takes a record out of suspense that another account's partition has rated.
    pub(crate) fn move_away(&mut self, key: &WaitingKey, waiting: &Waiting, to: AccountNumber) {
        let moved = suspense_key(key, waiting, 0, to.0);
        self.open.builder.push_entry(key.account, Change::MovedAway(moved));
        self.remove(key);
    }

    /// Logs another reason for which a suspended record waits.
    pub(crate) fn suspend_again(&mut self, key: &WaitingKey, waiting: &Waiting, now: Suspension) {
        let is_suspended = self.state.suspense().get(key).is_some();
        assert!(is_suspended, "a record that waits again was suspended (I4)");
        let entry = SuspenseKey {
            detail: now.detail.as_str().to_owned(),
            ..suspense_key(key, waiting, u32::from(now.reason.code()), 0)
        };
        self.open.builder.push_entry(key.account, Change::StillSuspended(entry));
        self.state.suspend_again(key, now);
    }

    /// Logs a posting from another account with its line, and sets the totals of its account.
    /// Returns its row in the open segment.
    ///
    /// # Errors
    /// The posting does not fit the open segment, or any segment. Nothing is changed then.
    pub(crate) fn post(
        &mut self,
        view: &UsageView<'_>,
        head: ComponentHead,
        (amount, currency): (Money, Currency),
        totals: &[StateEntry],
    ) -> Result<u32, NotRated> {
        let row = self.open.log_posting(view, head, (amount, currency), totals)?;
        let (changes, floor) = (totals.iter().copied(), self.open.time.floor);
        self.state.set_variables(view.account, changes, view.start, floor);
        Ok(row)
    }

    /// Forgets keys whose records are older than the horizon. A replay forgets the same keys.
    pub(crate) fn forget_old_keys(&mut self) {
        self.state.sweep();
    }
}

/// The open segment's time, its end, and its commit.
impl StateLog {
    /// Advances logged time, if nothing in the open segment depends on the old one. Returns whether
    /// nothing does: the catalogue may change then too.
    pub(crate) fn renew(&mut self, clock: Timestamp, partition: &Partition) -> bool {
        let is_new = self.open.builder.is_empty() && !self.open.logs_time;
        if is_new {
            let Partition { horizon_us, accept_since, .. } = *partition;
            self.open.time = self.open.time.advance(clock, horizon_us, accept_since);
        }
        is_new
    }

    /// Logs the open segment for its time alone, even if it stays empty.
    pub(crate) const fn log_time(&mut self) {
        self.open.logs_time = true;
    }

    /// Clears the tables of components of an open segment that holds no change.
    pub(crate) fn clear_tables(&mut self) {
        assert!(self.open.builder.is_empty(), "lines refer to the tables of their segment");
        self.open.clear_tables();
    }

    /// Closes the open segment, and opens the next one. `None` if there is nothing to append.
    pub(crate) fn close(&mut self) -> Option<ClosedSegment> {
        assert!(self.appending.is_none(), "one append is in flight at most (P4)");
        if self.open.builder.is_empty() && !self.open.logs_time {
            self.open.clear_tables();
            return None;
        }
        let next = OpenSegment::new(self.open.number.next(), self.open.time);
        let OpenSegment { number, time, builder, .. } = std::mem::replace(&mut self.open, next);
        let builder = Arc::new(builder);
        self.appending = Some(Appending { number, time, builder: Arc::clone(&builder) });
        Some(ClosedSegment { number, time, prev_hash: self.state.last().1, builder })
    }

    /// The segment in flight is committed, with this hash and this size in bytes.
    pub(crate) fn commit(&mut self, hash: SegmentHash, bytes: u64) {
        let Some(Appending { number, time, .. }) = self.appending.take() else {
            unreachable!("only a segment that was closed is committed");
        };
        assert_eq!(number, self.state.last().0.next(), "segments are committed in order (I3)");
        self.state.advance(number, hash, time);
        self.log_bytes += bytes;
    }

    /// Whether the state holds only what is committed (P6).
    pub(crate) fn is_committed(&self) -> bool {
        self.appending.is_none() && self.open.builder.is_empty()
    }

    /// The account state and the group of keys that no checkpoint has sealed. The log counts from
    /// here. `alive` is called between steps.
    pub(crate) fn checkpoint(&mut self, alive: &dyn Fn()) -> (Vec<u8>, KeyRun) {
        self.log_bytes = 0;
        (self.state.snapshot(alive).bytes, self.state.key_run())
    }

    /// Keys up to this segment are in a sealed group of a published checkpoint.
    pub(crate) fn seal_keys(&mut self, through: SegmentNumber) {
        self.state.seal_keys(through);
    }

    /// The state, which equals the log.
    pub(crate) fn into_state(self) -> PartitionState {
        assert!(self.appending.is_none(), "everything is committed before a release (P13)");
        self.state
    }
}

fn suspense_key(key: &WaitingKey, waiting: &Waiting, reason: u32, moved_to: u64) -> SuspenseKey {
    SuspenseKey {
        record_id: key.record_id.clone(),
        identity: key.identity.clone(),
        revision: waiting.revision,
        reason,
        moved_to,
        detail: String::new(),
    }
}
