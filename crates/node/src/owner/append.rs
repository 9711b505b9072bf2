//! The open segment, the segment in flight, and the outcome of an append.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use turnpike_account::{Location, LoggedTime};
use turnpike_mutants::{Check, off};
use turnpike_segment::head::ComponentHead;
use turnpike_segment::{ComponentIndex, RecordRow, SealContext, Segment, SegmentBuilder};
use turnpike_store::failpoint::{self, Step};
use turnpike_store::{AppendOutcome, AppendSegment, OwnerToken, SegmentPosition, StoreError};
use turnpike_types::{Epoch, SegmentHash, SegmentNumber};

use super::{Ended, Owner, Ownership};

/// The most segments that are kept loaded for one request. Beyond it they are dropped, and read
/// again if they are needed, mostly from the cache.
const LOADED_MAX: usize = 64;

/// An answer that waits for a commit.
pub(crate) struct WaitingAnswer {
    send: Box<dyn FnOnce(Epoch) + Send>,
    /// Whether the answer waits for a second commit, because the first one took too long.
    waits_again: bool,
}

impl WaitingAnswer {
    pub(crate) fn new(send: impl FnOnce(Epoch) + Send + 'static) -> Self {
        Self { send: Box::new(send), waits_again: false }
    }
}

/// The segment that is being filled.
pub(crate) struct OpenSegment {
    pub(crate) number: SegmentNumber,
    pub(crate) time: LoggedTime,
    pub(crate) builder: SegmentBuilder,
    /// Whether the segment is logged even if it is empty, for its logged time.
    pub(crate) logs_time: bool,
    /// Indexes into the segment's table of components, by the slot of the compiled plan and by
    /// component.
    pub(crate) components: Vec<Vec<Option<ComponentIndex>>>,
    /// Indexes into the segment's table of components, for postings from other accounts.
    pub(crate) posted: HashMap<ComponentHead, ComponentIndex>,
    pub(crate) answers: Vec<WaitingAnswer>,
}

impl OpenSegment {
    pub(crate) fn new(number: SegmentNumber, time: LoggedTime) -> Self {
        Self {
            number,
            time,
            builder: SegmentBuilder::new(),
            logs_time: false,
            components: Vec::new(),
            posted: HashMap::new(),
            answers: Vec::new(),
        }
    }

    /// Clears the tables of a segment that holds no record.
    pub(crate) fn clear_tables(&mut self) {
        self.builder = SegmentBuilder::new();
        self.components.clear();
        self.posted.clear();
    }
}

/// The segment whose append is in flight, or a write barrier that is in flight.
pub(crate) struct InFlight {
    pub(crate) number: SegmentNumber,
    pub(crate) builder: Arc<SegmentBuilder>,
    pub(crate) started: Instant,
    time: LoggedTime,
    answers: Vec<WaitingAnswer>,
    task: JoinHandle<Result<Appended, Ended>>,
}

/// A committed append. Without a segment it was a write barrier.
pub(crate) struct Appended {
    segment: Option<(SegmentHash, u64)>,
}

/// Waits for the append in flight; never returns if there is none.
pub(crate) async fn finished(in_flight: &mut Option<InFlight>) -> Result<Appended, Ended> {
    match in_flight {
        // Dropping this future does not stop the append, which runs in its own task.
        Some(append) => (&mut append.task).await.unwrap_or(Err(Ended::Stopped)),
        None => std::future::pending().await,
    }
}

impl Owner {
    /// Starts to append the open segment if anything waits for it and no append is in flight (P4).
    pub(super) fn start_append(&mut self) {
        if self.in_flight.is_some()
            || (self.open.builder.is_empty() && self.open.answers.is_empty())
        {
            return;
        }
        let is_segment = !self.open.builder.is_empty() || self.open.logs_time;
        let number = self.open.number;
        let next = if is_segment { number.next() } else { number };
        let following = OpenSegment::new(next, self.open.time);
        let open = std::mem::replace(&mut self.open, following);
        let builder = Arc::new(open.builder);
        // The time is taken before the append begins, since the process may be frozen in between.
        let started = Instant::now();
        let task = if is_segment {
            self.spawn_append(number, open.time, Arc::clone(&builder))
        } else {
            self.spawn_barrier()
        };
        self.in_flight = Some(InFlight {
            number,
            builder,
            started,
            time: open.time,
            answers: open.answers,
            task,
        });
    }

    fn spawn_append(
        &self,
        number: SegmentNumber,
        time: LoggedTime,
        builder: Arc<SegmentBuilder>,
    ) -> JoinHandle<Result<Appended, Ended>> {
        let shared = Arc::clone(&self.shared);
        let ownership = self.ownership.clone();
        let context = SealContext {
            partition: ownership.spec.id,
            segment: number,
            epoch: ownership.epoch,
            prev_hash: self.state.last().1,
            now: time.now,
            floor: time.floor,
            catalogue_version: self.catalogue_known(),
        };
        tokio::spawn(async move {
            let sealed =
                builder.seal(&context).map_err(|error| Ended::Damaged(error.to_string()))?;
            let bytes = sealed.body.len() as u64;
            let append = AppendSegment {
                partition: context.partition,
                epoch: context.epoch,
                claim: ownership.claim,
                segment: number,
                prev_hash: context.prev_hash,
                hash: sealed.hash,
                has_postings: builder.has_postings(),
                body: sealed.body,
            };
            failpoint::pass(Step::AppendBefore).await?;
            match shared.db.append(&append).await? {
                AppendOutcome::Committed => {
                    failpoint::pass(Step::AppendCommitted).await?;
                    Ok(Appended { segment: Some((sealed.hash, bytes)) })
                }
                AppendOutcome::Fenced => Err(Ended::Fenced),
                AppendOutcome::RolledBack => Err(Ended::RolledBack),
                AppendOutcome::Ahead => Err(Ended::Store(StoreError::Unavailable {
                    doing: "append",
                    cause: "an earlier append of unknown outcome has committed".to_owned(),
                })),
            }
        })
    }

    fn spawn_barrier(&self) -> JoinHandle<Result<Appended, Ended>> {
        let shared = Arc::clone(&self.shared);
        let Ownership { spec, epoch, claim } = &self.ownership;
        let (last, last_hash) = self.state.last();
        let position = SegmentPosition { next: last.next(), last_hash };
        let held = OwnerToken { partition: spec.id, epoch: *epoch, claim: *claim, position };
        tokio::spawn(async move {
            match off(Check::Barrier) || shared.db.barrier(&held).await? {
                true => Ok(Appended { segment: None }),
                false => Err(Ended::Fenced),
            }
        })
    }

    /// Processes the outcome of the append in flight, and sends the answers that waited for it.
    pub(super) async fn committed(&mut self, done: Result<Appended, Ended>) -> Result<(), Ended> {
        let Some(in_flight) = self.in_flight.take() else { return Ok(()) };
        // On a failure the answers are dropped here, and the state is dropped with the owner (P2).
        let done = done?;
        if let Some((hash, bytes)) = done.segment {
            self.state.advance(in_flight.number, hash, in_flight.time);
            self.log_bytes += bytes;
            metrics::histogram!("turnpike_append_seconds")
                .record(in_flight.started.elapsed().as_secs_f64());
            metrics::histogram!("turnpike_segment_bytes").record(bytes as f64);
        }
        self.shared.database_error.set(None);
        failpoint::pass(Step::AnswerBefore).await?;
        self.send_answers(in_flight.answers, in_flight.started);
        failpoint::pass(Step::AnswerAfter).await?;
        Ok(())
    }

    /// Sends the answers that waited for the commit that began at `began`. If `began` is too long
    /// ago, the process may have been frozen, and another owner may have changed the state since.
    /// Then the answers wait for one more commit, which fails in that case (I6). Each answer waits
    /// again only once, so that a slow database does not delay it for ever.
    fn send_answers(&mut self, answers: Vec<WaitingAnswer>, began: Instant) {
        let is_late = began.elapsed() > self.shared.config.answer_age_max();
        for answer in answers {
            if is_late && !answer.waits_again {
                self.open.answers.push(WaitingAnswer { waits_again: true, ..answer });
            } else {
                (answer.send)(self.ownership.epoch);
            }
        }
    }

    /// Commits everything that was taken so far.
    pub(super) async fn flush(&mut self) -> Result<(), Ended> {
        while self.in_flight.is_some()
            || !self.open.builder.is_empty()
            || !self.open.answers.is_empty()
        {
            self.start_append();
            let done = finished(&mut self.in_flight).await;
            self.committed(done).await?;
        }
        Ok(())
    }

    /// Closes the open segment if it has reached its size limit.
    pub(super) async fn cut_if_full(&mut self) -> Result<(), Ended> {
        if self.open.builder.bytes() >= self.shared.config.segment_bytes_max {
            self.cut().await?;
        }
        Ok(())
    }

    /// Closes the open segment in the middle of a request.
    pub(super) async fn cut(&mut self) -> Result<(), Ended> {
        if self.in_flight.is_some() {
            let done = finished(&mut self.in_flight).await;
            self.committed(done).await?;
        }
        if self.open.builder.is_empty() {
            // The segment holds no record, and its tables are full of components that no line uses:
            // clear them.
            self.open.clear_tables();
        }
        self.start_append();
        self.open_anew();
        Ok(())
    }

    /// The record at `location`, in the open segment, in the one in flight, or in a loaded one.
    /// `Err` names a segment that must be loaded first.
    pub(super) fn record_at(
        &self,
        location: Location,
    ) -> Result<Option<RecordRow<'_>>, SegmentNumber> {
        let (segment, row) = (location.segment(), location.row());
        if segment == self.open.number {
            return Ok(self.open.builder.record(row));
        }
        if let Some(in_flight) = &self.in_flight
            && segment == in_flight.number
        {
            return Ok(in_flight.builder.record(row));
        }
        match self.loaded.get(&segment) {
            Some(loaded) => Ok(loaded.record(row)),
            None => Err(segment),
        }
    }

    /// Loads a segment from the cache or the database.
    pub(super) async fn load(&mut self, segment: SegmentNumber) -> Result<(), Ended> {
        // A request that loads many segments makes progress, so the task counts as alive (P9).
        self.tick();
        if self.loaded.len() >= LOADED_MAX {
            self.loaded.clear();
        }
        let key = (self.ownership.claim, segment);
        if let Some(known) = self.shared.segments.get(&key) {
            self.loaded.insert(segment, known);
            return Ok(());
        }
        let after = SegmentNumber(segment.0.saturating_sub(1));
        let rows = self.shared.db.read_segments(self.ownership.spec.id, after, 1).await?;
        let row = rows.into_iter().find(|row| row.segment == segment);
        let row =
            row.ok_or_else(|| Ended::Damaged(format!("segment {segment} is not in the log")))?;
        let read = Segment::decode_checked(&row.body, row.prev_hash, row.hash)
            .map_err(|error| Ended::Damaged(format!("segment {segment}: {error}")))?;
        let read = Arc::new(read);
        self.shared.segments.insert(key, Arc::clone(&read));
        self.loaded.insert(segment, read);
        Ok(())
    }
}
