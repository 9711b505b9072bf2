//! Replays the log: applies logged decisions and makes none (P25).

use turnpike_mutants::{Check, off};
use turnpike_plan::{Period, StateEntry, VariableId};
use turnpike_proto::record::extra_identity;
use turnpike_segment::head::{Change, Entry, PostingCursor, SuspenseKey};
use turnpike_segment::{RecordRow, Segment};
use turnpike_types::{
    AccountNumber, Outcome, SegmentHash, SegmentNumber, SuspenseReason, Suspension,
};

use crate::judgement::AccountChange;
use crate::keys::Location;
use crate::state::{LoggedTime, PartitionState};
use crate::suspense::WaitingKey;

/// Why a segment can't be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// There is a gap, or the segment belongs to another history (I3).
    #[error("segment {found} does not follow segment {last}: the log has a gap or another history")]
    Gap {
        /// The last segment that was applied.
        last: SegmentNumber,
        /// The segment that was to be applied.
        found: SegmentNumber,
    },
    /// The segment does not contain the hash of the last applied segment (I3).
    #[error("segment {0} does not follow the one before it: the hash chain is broken")]
    Chain(SegmentNumber),
    /// An entry or line is not valid in this state.
    #[error("segment {segment}: {what}")]
    Nonsense {
        /// The segment.
        segment: SegmentNumber,
        /// What is invalid.
        what: &'static str,
    },
}

impl PartitionState {
    /// Applies a segment of the log (P25).
    ///
    /// # Errors
    /// [`ReplayError`] when the segment does not follow the state.
    pub fn replay(
        &mut self,
        segment: &Segment,
        prev: SegmentHash,
        hash: SegmentHash,
    ) -> Result<(), ReplayError> {
        let header = segment.header();
        if header.segment != self.last.next() && !off(Check::ReplayGap) {
            return Err(ReplayError::Gap { last: self.last, found: header.segment });
        }
        if prev != self.last_hash && !off(Check::ReplayChain) {
            return Err(ReplayError::Chain(header.segment));
        }
        let (number, floor) = (header.segment, header.floor);
        let mut entries = segment.entries().iter().peekable();
        let mut lines = segment.lines().peekable();
        let mut changes = segment.changes().peekable();
        for (row, record) in segment.records() {
            let mut recycled = false;
            while let Some(entry) = entries.next_if(|entry| entry.before_record <= row) {
                recycled = matches!(entry.change, Some(Change::Recycled(_)));
                self.replay_entry(number, entry)?;
            }
            if !recycled {
                self.replay_arrival(&record, Location::new(number, row))?;
            }
            let Some(account) = self.accounts.get_mut(&record.account) else { continue };
            while let Some(line) = lines.next_if(|line| line.record == row) {
                if let Some(variable) = line.component.level {
                    let entry = entry_of(variable, line.period, line.level_after);
                    account.set(entry, record.start, floor);
                }
            }
            while let Some(change) = changes.next_if(|change| change.record == row) {
                let entry = entry_of(change.variable, change.period, change.value);
                account.set(entry, record.start, floor);
            }
        }
        for entry in entries {
            self.replay_entry(number, entry)?;
        }
        if lines.peek().is_some() || changes.peek().is_some() {
            let what = "a line of an account that was never opened";
            return Err(ReplayError::Nonsense { segment: number, what });
        }
        self.advance(number, hash, LoggedTime { now: header.now, floor });
        Ok(())
    }

    /// Adds the deduplication key of a logged record, and puts a suspended record into suspense.
    /// Due charges and postings have no deduplication key, because no sender sends them again.
    fn replay_arrival(
        &mut self,
        record: &RecordRow<'_>,
        location: Location,
    ) -> Result<(), ReplayError> {
        if matches!(record.outcome, Outcome::FellDue | Outcome::Posted) {
            return Ok(());
        }
        let unreadable = |_| ReplayError::Nonsense {
            segment: location.segment(),
            what: "a record whose identity can't be read",
        };
        let identity = match record.account.0 {
            0 => extra_identity(record.extra).map_err(unreadable)?,
            _ => "",
        };
        self.take_key(record, identity, location);
        if let Outcome::Suspended(reason) = record.outcome {
            let key = WaitingKey {
                account: record.account,
                identity: identity.to_owned(),
                record_id: record.record_id.to_owned(),
            };
            self.suspend(key, location, reason);
        }
        Ok(())
    }

    fn replay_entry(&mut self, segment: SegmentNumber, entry: &Entry) -> Result<(), ReplayError> {
        let account = AccountNumber(entry.account);
        let nonsense = |what| ReplayError::Nonsense { segment, what };
        match &entry.change {
            Some(Change::Recycled(key) | Change::MovedAway(key)) => {
                let left = self.leave_suspense(&waiting_key(account, key));
                left.map(drop).ok_or(nonsense("a record that was not in suspense left suspense"))
            }
            Some(Change::StillSuspended(key)) => {
                let reason = u8::try_from(key.reason).ok().and_then(SuspenseReason::from_code);
                let reason = reason.ok_or(nonsense("an unknown suspense reason"))?;
                let suspension = Suspension::new(reason, &key.detail);
                let is_known = self.suspend_again(&waiting_key(account, key), suspension);
                is_known
                    .then_some(())
                    .ok_or(nonsense("a record that was not in suspense stayed there"))
            }
            Some(Change::PostingsTaken(cursor)) => {
                self.replay_cursor(account, cursor).map_err(nonsense)
            }
            Some(change) => {
                self.change(account, change);
                self.note_opening(account, entry.request_id);
                Ok(())
            }
            None => Err(nonsense("an entry of an unknown kind: a newer program wrote it")),
        }
    }

    fn replay_cursor(
        &mut self,
        account: AccountNumber,
        cursor: &PostingCursor,
    ) -> Result<(), &'static str> {
        match self.judge_cursor(account, cursor) {
            AccountChange::Refused(_) => Err("a posting cursor moves back or to another history"),
            AccountChange::Already | AccountChange::Changes => {
                self.set_cursor(cursor);
                Ok(())
            }
        }
    }
}

fn waiting_key(account: AccountNumber, key: &SuspenseKey) -> WaitingKey {
    WaitingKey {
        account,
        identity: if account.0 == 0 { key.identity.clone() } else { String::new() },
        record_id: key.record_id.clone(),
    }
}

const fn entry_of(variable: u64, period: i32, value: i128) -> StateEntry {
    StateEntry { variable: VariableId(variable), period: Period(period), value }
}
