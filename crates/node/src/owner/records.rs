//! Takes records: decodes, finds duplicates, rates, logs.

use tokio::sync::oneshot;
use tokio::time::Instant;
use turnpike_account::{Fingerprint, Location, Waiting, WaitingKey};
use turnpike_mutants::{Check, off};
use turnpike_plan::Rater;
use turnpike_proto::frame::{SubBatchFrame, SubBatchHead};
use turnpike_proto::ingest::v1::{RecordResult, RecordStatus};
use turnpike_proto::node::v1::SubBatchAnswer;
use turnpike_proto::record::RecordBatch;
use turnpike_proto::tally::tally;
use turnpike_segment::{NewRecord, RecordRow};
use turnpike_store::failpoint::{self, Step};
use turnpike_types::{
    AccountNumber, Detail, Epoch, Outcome, RejectReason, SegmentNumber, SuspenseReason, Suspension,
    Timestamp, limits,
};

use super::incoming::{Incoming, incoming};
use super::{Ended, Owner, Refusal, StreamEnd, lines};

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

/// Why a record can't be taken yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// The open segment is full.
    Full,
    /// A segment must be loaded for a comparison.
    Load(SegmentNumber),
    /// A plan is unknown: it may have been published since the last heartbeat.
    Catalogue,
    /// The partition holds the maximum number of keys.
    Keys,
    /// Many charges fell due before the record: other work runs in between.
    Turn,
}

impl Owner {
    pub(super) async fn take_records(
        &mut self,
        frame: &SubBatchFrame,
        stream: &StreamEnd,
        reply: oneshot::Sender<(Epoch, Result<SubBatchAnswer, Refusal>)>,
    ) -> Result<(), Ended> {
        if stream.is_ended() {
            // The service has ended this stream too, so no client waits for the answer.
            return Ok(());
        }
        let began = Instant::now();
        let mut batch = RecordBatch::default();
        let answer = match self.admit(frame, &mut batch) {
            Err(refusal) => Err(refusal),
            Ok(head) => self.take_all(&batch, head).await?,
        };
        metrics::histogram!("turnpike_rating_seconds").record(began.elapsed().as_secs_f64());
        failpoint::pass(Step::Rated).await?;
        if answer.is_err() {
            stream.end();
        }
        self.answer(reply, answer);
        Ok(())
    }

    async fn take_all(
        &mut self,
        batch: &RecordBatch<'_>,
        head: SubBatchHead,
    ) -> Result<Result<SubBatchAnswer, Refusal>, Ended> {
        let mut answer = SubBatchAnswer { sequence: head.sequence, ..SubBatchAnswer::default() };
        for (index, record) in (0u32..).zip(batch.records()) {
            self.cut_if_full().await?;
            let taken = match record {
                Ok(record) => self.take_until_done(incoming(batch, record), head).await?,
                Err(reason) => Some(Taken::Rejected(*reason)),
            };
            match taken {
                Some(taken) => note(&mut answer, index, taken),
                // The records taken so far are logged. Retries of them are answered as duplicates.
                None => return Ok(Err(Refusal::KeysFull)),
            }
        }
        count(&answer);
        Ok(Ok(answer))
    }

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
        let ours = self.ownership.spec.range;
        let strangers = batch.records().iter().flatten().any(|record| {
            let account = record.fixed.account;
            account.0 != 0 && !ours.contains(account) && self.is_covered(account)
        });
        if strangers && !off(Check::Range) {
            return Err(Refusal::WrongPartition);
        }
        // The look-up of an identity is valid for records that start at `covered` or earlier.
        // Before a later start, the identity may have moved to another account.
        let latest = self.open.time.now.saturating_add(limits::AHEAD_MAX_US);
        let mut starts = batch.records().iter().flatten().map(|record| record.fixed.start);
        let is_late = covered(head)
            .is_some_and(|covered| starts.any(|start| covered < start && start <= latest));
        if is_late && !off(Check::GuidedRecently) { Err(Refusal::GuidedLongAgo) } else { Ok(head) }
    }

    /// Whether any partition covers the account.
    pub(super) fn is_covered(&self, account: AccountNumber) -> bool {
        self.shared.ranges.borrow().iter().any(|range| range.contains(account))
    }

    /// Takes a record. Returns `None` if there is no room for its key.
    async fn take_until_done(
        &mut self,
        incoming: Incoming<'_>,
        head: SubBatchHead,
    ) -> Result<Option<Taken>, Ended> {
        loop {
            match self.take_record(&incoming, head) {
                Ok(taken) => return Ok(Some(taken)),
                Err(Wait::Keys) if !self.make_room_for_keys() => return Ok(None),
                Err(wait) => self.resolve(wait).await?,
            }
        }
    }

    /// Carries out the step that the record waits for.
    pub(super) async fn resolve(&mut self, wait: Wait) -> Result<(), Ended> {
        match wait {
            Wait::Full => self.cut().await,
            Wait::Load(segment) => self.load(segment).await,
            Wait::Catalogue => self.ask_catalogue().await.map(|_| ()),
            Wait::Keys => Ok(()),
            Wait::Turn => {
                self.tick();
                tokio::task::yield_now().await;
                self.cut_if_full().await
            }
        }
    }

    /// Makes room for keys by forgetting keys older than the horizon. If nothing advances logged
    /// time, a segment is logged for its time alone. Returns whether there is room now.
    pub(super) fn make_room_for_keys(&mut self) -> bool {
        self.state.sweep();
        if self.state.keys().len() < self.shared.config.keys_max {
            return true;
        }
        let pause = self.shared.config.heartbeat * 20;
        if self.time_logged_at.is_none_or(|logged| logged.elapsed() >= pause) {
            self.time_logged_at = Some(Instant::now());
            self.open.logs_time = true;
        }
        false
    }

    fn take_record(&mut self, incoming: &Incoming<'_>, head: SubBatchHead) -> Result<Taken, Wait> {
        let print = incoming.fingerprint();
        // Deduplication comes before the horizon (P26).
        if let Some(taken) = self.taken_before(incoming, print)? {
            return self.complete(incoming, taken);
        }
        if let Some(reason) = self.refused_by_time(incoming, head.recycled) {
            return Ok(Taken::Rejected(reason));
        }
        // Logged time may have advanced since the sub-batch was admitted, when this record still
        // started in the future.
        let is_uncovered = covered(head).is_some_and(|covered| incoming.view.start > covered);
        if is_uncovered && !off(Check::GuidedRecently) {
            return Ok(Taken::Rejected(RejectReason::InTheFuture));
        }
        if self.state.keys().len() >= self.shared.config.keys_max {
            return Err(Wait::Keys);
        }
        let rated = match self.book_due_before(incoming.view.account, incoming.view.start) {
            Ok(()) => self.rate_new(incoming),
            Err(stuck) => Err(stuck),
        };
        match rated {
            Ok(row) => {
                let location = Location::new(self.open.number, row);
                self.state.take_fingerprint(print, location);
                Ok(Taken::Rated)
            }
            Err(NotRated::Wait(wait)) => Err(wait),
            Err(NotRated::Suspended(suspension)) => self.suspend(incoming, print, suspension),
        }
    }

    /// Checks the start and the end of a record whose key is new (P26). Returns the reason for a
    /// rejection.
    pub(super) fn refused_by_time(
        &self,
        incoming: &Incoming<'_>,
        recycled: bool,
    ) -> Option<RejectReason> {
        let time = self.open.time;
        // A recycled record was inside the horizon when it first arrived (P35). But this partition
        // may have rated it since, upon another request. Once keys were forgotten, that can't be
        // excluded, so the record stays in suspense (I2).
        let keys_are_complete =
            self.state.keys().forgotten_through() == SegmentNumber(0) || off(Check::CompleteKeys);
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
        for location in self.state.keys().find(print) {
            let row = self.record_at(location).map_err(Wait::Load)?;
            let Some(row) = row.filter(|row| incoming.has_key_of(row)) else { continue };
            return Ok(Some(self.again(incoming, &row)));
        }
        // Keys of suspended records never expire (P35).
        let waiting = if self.state.suspense().is_empty() || off(Check::WaitingKeys) {
            None
        } else {
            self.state.suspense().get(&incoming.waiting_key())
        };
        match waiting {
            Some(waiting) => {
                let row = self.record_at(waiting.location).map_err(Wait::Load)?;
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
        let waiting = self.state.suspense().get(&key);
        let Some(waiting) =
            waiting.filter(|waiting| waiting.reason == SuspenseReason::MissingInput)
        else {
            return Ok(None);
        };
        let row = self.record_at(waiting.location).map_err(Wait::Load)?;
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
                let now = self.state.suspense().get(&incoming.waiting_key());
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
        let record = NewRecord {
            view: incoming.view,
            identity: incoming.identity,
            outcome: Outcome::Suspended(suspension.reason),
        };
        let row = self.open.builder.push_record(&record).ok_or(Wait::Full)?;
        self.open.builder.push_detail(&suspension.detail);
        let location = Location::new(self.open.number, row);
        self.state.take_fingerprint(print, location);
        self.state.suspend(incoming.waiting_key(), location, suspension.reason);
        Ok(Taken::Suspended(suspension))
    }

    /// Rates a record, logs it with its lines, and returns its row. The charges that fell due
    /// before the record starts are booked already ([`Owner::book_due_before`]). A suspended
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
        if !self.ownership.spec.range.contains(account) {
            return Err(Suspension::new(SuspenseReason::NoPartition, account).into());
        }
        let Some(known) = self.state.account(account) else {
            return Err(Suspension::new(SuspenseReason::UnknownAccount, account).into());
        };
        let profiles = self.state.profiles();
        let tariff = match self.tariffs.at(profiles, known.profile, incoming.view.start) {
            Err(Suspension { reason: SuspenseReason::UnknownPlan, .. })
                if !self.catalogue_asked =>
            {
                return Err(NotRated::Wait(Wait::Catalogue));
            }
            resolved => resolved?,
        };
        let plans = tariff.in_force();
        let now = self.open.time.now;
        let rated =
            match self.rater.rate(&plans, &tariff.context, &known.state, &incoming.view, now) {
                Ok(rated) => rated,
                Err(reason) => return Err(refused(&self.rater, reason)),
            };
        let outcome = if rated.late { Outcome::RatedLate } else { Outcome::Rated };
        let record = NewRecord { view: incoming.view, identity: incoming.identity, outcome };
        let row = self.open.log(&record, &tariff, rated, &known.state, &mut self.scratch)?;
        let is_due_elsewhere = self.dues.is_moved_by(rated, &known.state);
        lines::apply(&mut self.state, &record, &tariff, rated, &self.scratch, self.open.time.floor);
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
    let mark = Timestamp(i64::try_from(head.guided_us).unwrap_or(i64::MIN));
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

/// Why a record is not rated, or not yet.
pub(super) enum NotRated {
    Suspended(Suspension),
    Wait(Wait),
}

impl From<SuspenseReason> for NotRated {
    fn from(reason: SuspenseReason) -> Self {
        Self::Suspended(reason.into())
    }
}

impl From<Suspension> for NotRated {
    fn from(suspension: Suspension) -> Self {
        Self::Suspended(suspension)
    }
}

impl From<Wait> for NotRated {
    fn from(wait: Wait) -> Self {
        Self::Wait(wait)
    }
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
