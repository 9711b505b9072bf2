//! Takes records: decodes, finds duplicates, rates, logs.

use turnpike_account::{Fingerprint, Found, Waiting, WaitingKey};
use turnpike_mutants::{Check, off};
use turnpike_plan::Rater;
use turnpike_proto::frame::{SubBatchFrame, SubBatchHead};
use turnpike_proto::ingest::v1::{RecordResult, RecordStatus};
use turnpike_proto::node::v1::SubBatchAnswer;
use turnpike_proto::record::RecordBatch;
use turnpike_proto::tally::tally;
use turnpike_segment::{NewRecord, RecordRow};
use turnpike_tariff::NoTariff;
use turnpike_types::{
    Detail, Outcome, RejectReason, SegmentNumber, SuspenseReason, Suspension, Timestamp, limits,
};

use super::incoming::{Incoming, incoming};
use super::owner_core::{Job, OwnerCore};
use super::wait::{Halt, NotRated, Wait};

/// The outcome of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    Rated,
    Suspended(Suspension),
    Rejected(RejectReason),
    /// The record was rated before (I5).
    Duplicate,
    /// The record was suspended before. The second value is its present suspension; `None` once the
    /// record was rated.
    Replayed(Suspension, Option<Suspension>),
}

/// Why a sub-batch was refused before rating.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The sub-batch holds an account of another partition: the front's route was stale (P32).
    WrongPartition,
    /// The sub-batch is malformed.
    Invalid(String),
    /// The partition holds the maximum number of keys.
    KeysFull,
    /// A record would be suspended, and the partition holds the maximum number of suspended records.
    SuspenseFull,
    /// The accounts of its records were looked up too long ago (P28).
    GuidedLongAgo,
}

/// The records of one sub-batch.
pub(crate) struct RateSubBatch<'a> {
    batch: RecordBatch<'a>,
    head: SubBatchHead,
    /// The index of the next record.
    next: usize,
    answer: SubBatchAnswer,
}

impl<'a> RateSubBatch<'a> {
    /// Decodes the sub-batch and checks that it belongs here (P32), before anything is changed.
    pub(crate) fn admit(core: &OwnerCore, frame: &'a SubBatchFrame) -> Result<Self, Refusal> {
        let mut batch = RecordBatch::default();
        let head = core.admit(frame, &mut batch)?;
        let answer = SubBatchAnswer { sequence: head.sequence, ..SubBatchAnswer::default() };
        Ok(Self { batch, head, next: 0, answer })
    }
}

impl Job for RateSubBatch<'_> {
    type Answer = Result<SubBatchAnswer, Refusal>;

    fn run(&mut self, core: &mut OwnerCore) -> Result<Self::Answer, Halt> {
        while let Some(record) = self.batch.records().get(self.next) {
            core.log.room()?;
            let taken = match record {
                Ok(record) => core.take_record(&incoming(&self.batch, record), self.head)?,
                Err(reason) => Some(Taken::Rejected(*reason)),
            };
            let Some(taken) = taken else {
                // The records taken so far are logged. Retries of them are answered as duplicates.
                return Ok(Err(match core.has_room_for_keys() {
                    true => Refusal::SuspenseFull,
                    false => Refusal::KeysFull,
                }));
            };
            let Ok(index) = u32::try_from(self.next) else {
                unreachable!("a sub-batch holds fewer records than a batch may hold");
            };
            note(&mut self.answer, index, taken);
            self.next += 1;
        }
        count(&self.answer);
        Ok(Ok(std::mem::take(&mut self.answer)))
    }
}

impl OwnerCore {
    /// Decodes the sub-batch and checks that it belongs here (P32), before anything is changed.
    fn admit<'a>(
        &self,
        frame: &'a SubBatchFrame,
        batch: &mut RecordBatch<'a>,
    ) -> Result<SubBatchHead, Refusal> {
        let head = frame.walk(|record| batch.push(record));
        let head = head.map_err(|error| Refusal::Invalid(error.to_string()))?;
        if batch.records().len() > limits::BATCH_RECORDS_MAX {
            return Err(Refusal::Invalid(
                "the sub-batch holds more records than a batch may hold".to_owned(),
            ));
        }
        let ours = self.partition.range;
        let strangers = batch.records().iter().flatten().any(|record| {
            let account = record.fixed.account;
            account.0 != 0 && !ours.contains(account) && self.around.is_covered(account)
        });
        if strangers && !off(Check::Range) {
            return Err(Refusal::WrongPartition);
        }
        // The look-up of an identity is valid for records that start at `covered` or earlier.
        // Before a later start, the identity may have moved to another account.
        let latest = self.log.now().saturating_add(limits::AHEAD_MAX_US);
        let mut starts = batch.records().iter().flatten().map(|record| record.fixed.start);
        let is_late = covered(head)
            .is_some_and(|covered| starts.any(|start| covered < start && start <= latest));
        if is_late && !off(Check::GuidedRecently) { Err(Refusal::GuidedLongAgo) } else { Ok(head) }
    }

    /// Takes a record. Returns `None` if there is no room for its key, or none for it in suspense.
    fn take_record(
        &mut self,
        incoming: &Incoming<'_>,
        head: SubBatchHead,
    ) -> Result<Option<Taken>, Wait> {
        let print = incoming.fingerprint();
        // Deduplication comes before the horizon (P26).
        if let Some(taken) = self.taken_before(incoming, print)? {
            return self.complete(incoming, taken).map(Some);
        }
        if let Some(reason) = self.refused_on_arrival(incoming, head.recycled) {
            return Ok(Some(Taken::Rejected(reason)));
        }
        // Logged time may have advanced since the sub-batch was admitted, when this record still
        // started in the future.
        let is_uncovered = covered(head).is_some_and(|covered| incoming.view.start > covered);
        if is_uncovered && !off(Check::GuidedRecently) {
            return Ok(Some(Taken::Rejected(RejectReason::InTheFuture)));
        }
        if !self.has_room_for_keys() {
            // Keys may be forgotten now: the record is judged again.
            return match self.make_room_for_keys() {
                true => self.take_record(incoming, head),
                false => Ok(None),
            };
        }
        let rated = match self.book_due_before(incoming.view.account, incoming.view.start) {
            Ok(()) => self.rate_new(incoming),
            Err(stuck) => Err(stuck),
        };
        match rated {
            Ok(row) => {
                self.log.take_key(incoming, print, row);
                Ok(Some(Taken::Rated))
            }
            Err(NotRated::Wait(wait)) => Err(wait),
            Err(NotRated::Suspended(_)) if !self.has_room_in_suspense() => Ok(None),
            Err(NotRated::Suspended(suspension)) => {
                self.suspend(incoming, print, suspension).map(Some)
            }
        }
    }

    /// Whether one more record can be suspended. Beyond the limit records are refused before they
    /// are taken, and their clients keep them.
    pub(super) fn has_room_in_suspense(&self) -> bool {
        self.log.state().suspense().len() < self.limits.suspended_max
    }

    /// Checks the texts, the start and the end (P26) of a record whose key is new. Returns the reason
    /// for a rejection. A retry of a record that an earlier release took is answered before.
    pub(super) fn refused_on_arrival(
        &self,
        incoming: &Incoming<'_>,
        recycled: bool,
    ) -> Option<RejectReason> {
        // An earlier release may have suspended a recycled record with such a text.
        if !recycled && incoming.has_illegal_text() {
            return Some(RejectReason::BadText);
        }
        let time = self.log.time();
        // A recycled record was inside the horizon when it first arrived (P35). But this partition
        // may have rated it since, upon another request. Once keys were forgotten, that can't be
        // excluded, so the record stays in suspense (I2).
        let keys_are_complete = self.log.state().keys().forgotten_through() == SegmentNumber(0)
            || off(Check::CompleteKeys);
        let was_judged = recycled && keys_are_complete && !off(Check::FirstArrival);
        if incoming.view.start < time.floor && !was_judged {
            return Some(RejectReason::TooOld);
        }
        // A record that ends in the future is refused like one that starts in the future, because
        // its usage has not happened yet.
        let end = incoming.view.start.saturating_add(incoming.view.duration_us);
        let is_ahead = end > time.now.saturating_add(limits::AHEAD_MAX_US);
        is_ahead.then_some(RejectReason::InTheFuture)
    }

    /// The earlier outcome, if the key was taken before, in a committed segment, in the one in
    /// flight (P5), or in the open one.
    pub(super) fn taken_before(
        &self,
        incoming: &Incoming<'_>,
        print: Fingerprint,
    ) -> Result<Option<Taken>, Wait> {
        let found = self.log.state().keys().find(print);
        if !found.is_empty() && incoming.with_row(|row| self.log.is_proven(row, &found)) {
            return Ok(Some(Taken::Duplicate));
        }
        for Found { location, .. } in found {
            let row = self.log.record_at(location)?;
            let Some(row) = row.filter(|row| incoming.has_key_of(row)) else { continue };
            return Ok(Some(self.again(incoming, &row)));
        }
        // Keys of suspended records never expire (P35).
        let waiting = if self.log.state().suspense().is_empty() || off(Check::WaitingKeys) {
            None
        } else {
            self.log.state().suspense().get(&incoming.waiting_key())
        };
        match waiting {
            Some(waiting) => {
                let row = self.log.record_at(waiting.location)?;
                Ok(row.map(|row| self.again(incoming, &row)))
            }
            None => Ok(None),
        }
    }

    /// Rates a record that waits for its duration, once the client states that it is zero (P35).
    /// `taken` is the earlier outcome; the record's present state in it changes if it is rated now. If
    /// it can't be rated yet, it waits as before.
    pub(super) fn complete(
        &mut self,
        incoming: &Incoming<'_>,
        taken: Taken,
    ) -> Result<Taken, Wait> {
        let Taken::Replayed(then, Some(now)) = taken else { return Ok(taken) };
        let Some((key, waiting)) = self.lacks_duration(incoming)? else {
            return Ok(Taken::Replayed(then, Some(now)));
        };
        match self.rate_suspended(&key, &waiting, incoming) {
            Ok(()) => Ok(Taken::Replayed(then, None)),
            Err(NotRated::Suspended(_)) => Ok(Taken::Replayed(then, Some(now))),
            Err(NotRated::Wait(wait)) => Err(wait),
        }
    }

    /// The suspended record to which `incoming` adds the duration of zero; `None` if there is none.
    fn lacks_duration(
        &self,
        incoming: &Incoming<'_>,
    ) -> Result<Option<(WaitingKey, Waiting)>, Wait> {
        let key = incoming.waiting_key();
        let waiting = self.log.state().suspense().get(&key);
        let Some(waiting) =
            waiting.filter(|waiting| waiting.reason == SuspenseReason::MissingInput)
        else {
            return Ok(None);
        };
        let row = self.log.record_at(waiting.location)?;
        let is_completed = row.is_some_and(|row| incoming.supplies_duration_of(&row));
        Ok(is_completed.then(|| (key, waiting.clone())))
    }

    fn again(&self, incoming: &Incoming<'_>, row: &RecordRow<'_>) -> Taken {
        if !incoming.has_content_of(row) && !off(Check::Content) {
            return Taken::Rejected(RejectReason::Conflict);
        }
        match row.outcome {
            Outcome::Rated | Outcome::RatedLate | Outcome::FellDue | Outcome::Posted => {
                Taken::Duplicate
            }
            Outcome::Suspended(reason) => {
                let now = self.log.state().suspense().get(&incoming.waiting_key());
                let then = Suspension::new(reason, row.detail);
                Taken::Replayed(then, now.map(|waiting| present(waiting, row)))
            }
        }
    }

    pub(super) fn suspend(
        &mut self,
        incoming: &Incoming<'_>,
        print: Fingerprint,
        suspension: Suspension,
    ) -> Result<Taken, Wait> {
        self.log.suspend(incoming, print, &suspension)?;
        Ok(Taken::Suspended(suspension))
    }

    /// Rates a record, logs it with its lines, and returns its row. The charges that fell due
    /// before the record starts are booked already ([`OwnerCore::book_due_before`]). A suspended
    /// posting is posted (P33).
    pub(super) fn rate_new(&mut self, incoming: &Incoming<'_>) -> Result<u32, NotRated> {
        if incoming.view.usage_type == limits::POSTING_USAGE_TYPE {
            return self.post(&incoming.view);
        }
        let account = incoming.view.account;
        if account.0 == 0 {
            let identity = incoming.identity;
            return Err(Suspension::new(SuspenseReason::UnboundIdentity, identity).into());
        }
        if !self.partition.range.contains(account) {
            return Err(Suspension::new(SuspenseReason::NoPartition, account).into());
        }
        let Some(known) = self.log.state().account(account) else {
            return Err(Suspension::new(SuspenseReason::UnknownAccount, account).into());
        };
        let profiles = self.log.state().profiles();
        let tariff = match self.view.tariffs.at(profiles, known.profile, incoming.view.start) {
            Err(NoTariff::Suspended(Suspension {
                reason: SuspenseReason::UnknownPlan, ..
            })) if !self.view.is_asked() => {
                return Err(NotRated::Wait(Wait::Catalogue));
            }
            resolved => resolved?,
        };
        let plans = tariff.in_force();
        let now = self.log.now();
        let rated =
            match self.rater.rate(&plans, &tariff.context, &known.state, &incoming.view, now) {
                Ok(rated) => rated,
                Err(reason) => return Err(refused(&self.rater, reason)),
            };
        let outcome = if rated.late { Outcome::RatedLate } else { Outcome::Rated };
        let record = NewRecord { view: incoming.view, identity: incoming.identity, outcome };
        let is_due_elsewhere = self.dues.is_moved_by(rated, &known.state);
        let row = self.log.rate(&record, &tariff, rated)?;
        if is_due_elsewhere {
            self.note_changed(account);
        }
        Ok(row)
    }
}

/// The latest start of a record for which the look-up of its identity is valid (P28); `None` if no
/// identity was looked up.
fn covered(head: SubBatchHead) -> Option<Timestamp> {
    // A mark that is no instant covers no record: the front looks the identities up again.
    let mark = i64::try_from(head.guided_us).map_or_else(|_| Timestamp::MIN, Timestamp);
    let covered = mark.saturating_add(limits::GUIDED_MAX_US + limits::AHEAD_MAX_US);
    (head.guided_us != 0).then_some(covered)
}

/// The present suspension of a record: that of its last failed attempt, or the logged one if there
/// was no attempt since.
pub(super) fn present(waiting: &Waiting, row: &RecordRow<'_>) -> Suspension {
    let detail = match waiting.revision {
        0 => Detail::new(row.detail),
        _ => waiting.detail.clone(),
    };
    Suspension { reason: waiting.reason, detail }
}

/// The rater's refusal with its detail.
pub(super) fn refused(rater: &Rater, reason: SuspenseReason) -> NotRated {
    NotRated::Suspended(Suspension { reason, detail: rater.detail(reason) })
}

pub(super) fn note(answer: &mut SubBatchAnswer, index: u32, taken: Taken) {
    let exception = |status: RecordStatus, reason: &str| RecordResult {
        index,
        status: status.into(),
        reason: reason.to_owned(),
        ..RecordResult::default()
    };
    match taken {
        Taken::Rated => answer.accepted += 1,
        Taken::Duplicate => answer.duplicates.push(index),
        Taken::Suspended(Suspension { reason, detail }) => answer.exceptions.push(RecordResult {
            detail: detail.as_str().to_owned(),
            ..exception(RecordStatus::Suspended, reason.word())
        }),
        Taken::Rejected(reason) => {
            answer.exceptions.push(exception(RecordStatus::Rejected, reason.word()));
        }
        Taken::Replayed(Suspension { reason, detail }, present) => {
            let present_detail = present.as_ref().map_or("", |present| present.detail.as_str());
            answer.exceptions.push(RecordResult {
                replayed: true,
                detail: detail.as_str().to_owned(),
                present_detail: present_detail.to_owned(),
                present: present.map_or("rated", |present| present.reason.word()).to_owned(),
                ..exception(RecordStatus::Suspended, reason.word())
            });
        }
    }
}

fn count(answer: &SubBatchAnswer) {
    let accepted = u64::from(answer.accepted);
    metrics::counter!("turnpike_records_total", "outcome" => "accepted").increment(accepted);
    let duplicates = answer.duplicates.len() as u64;
    metrics::counter!("turnpike_records_total", "outcome" => "duplicate").increment(duplicates);
    for ((outcome, reason), records) in tally(&answer.exceptions) {
        metrics::counter!("turnpike_records_total", "outcome" => outcome, "reason" => reason)
            .increment(records);
    }
}
