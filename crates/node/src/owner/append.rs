//! The open segment, the one in flight, and what an append comes to.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use turnpike_account::{Location, LoggedTime};
use turnpike_mutants::{Line, off};
use turnpike_segment::head::ComponentHead;
use turnpike_segment::{Component, Place, RecordRow, Segment, SegmentBuilder};
use turnpike_store::failpoint::{self, Step};
use turnpike_store::{AppendOutcome, AppendSegment, Held, SegmentPosition, StoreError};
use turnpike_types::{Epoch, SegmentHash, SegmentNumber};

use super::{Ended, Owner, Ownership};

/// Segments at hand for one request; more are read again, mostly from the cache.
const LOADED_MAX: usize = 64;

/// An answer that waits for a commit.
pub(crate) struct Answer {
    tell: Box<dyn FnOnce(Epoch) + Send>,
    /// Its commit was known too late, and it waits for one more.
    waits_again: bool,
}

impl Answer {
    pub(crate) fn new(tell: impl FnOnce(Epoch) + Send + 'static) -> Self {
        Self { tell: Box::new(tell), waits_again: false }
    }
}

/// The segment that is being filled.
pub(crate) struct OpenSegment {
    pub(crate) number: SegmentNumber,
    pub(crate) time: LoggedTime,
    pub(crate) builder: SegmentBuilder,
    /// It is logged even if it holds nothing, for its time.
    pub(crate) logs_time: bool,
    /// Indexes in the segment's component table, by code slot and component.
    pub(crate) components: Vec<Vec<Option<Component>>>,
    /// The same for lines that other accounts post.
    pub(crate) posted: HashMap<ComponentHead, Component>,
    pub(crate) answers: Vec<Answer>,
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

    /// Forgets the tables of a segment that holds nothing yet.
    pub(crate) fn clear_tables(&mut self) {
        self.builder = SegmentBuilder::new();
        self.components.clear();
        self.posted.clear();
    }
}

/// The segment whose append is under way.
pub(crate) struct InFlight {
    pub(crate) number: SegmentNumber,
    pub(crate) builder: Arc<SegmentBuilder>,
    pub(crate) started: Instant,
    time: LoggedTime,
    answers: Vec<Answer>,
    task: JoinHandle<Result<Appended, Ended>>,
}

/// A durable append, or a barrier where there was nothing to append.
pub(crate) struct Appended {
    segment: Option<(SegmentHash, u64)>,
}

/// Waits for the append in flight; for ever when there is none.
pub(crate) async fn finished(in_flight: &mut Option<InFlight>) -> Result<Appended, Ended> {
    match in_flight {
        // The task is its own: dropping this future does not stop it.
        Some(append) => (&mut append.task).await.unwrap_or(Err(Ended::Stopped)),
        None => std::future::pending().await,
    }
}

impl Owner {
    /// Sends the open segment off, if anything waits for it and nothing is in flight (P4).
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
        // Before it begins: a process may be stopped in between.
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
        let place = Place {
            partition: ownership.spec.id,
            segment: number,
            epoch: ownership.epoch,
            prev_hash: self.state.last().1,
            now: time.now,
            floor: time.floor,
            catalogue_version: self.catalogue_known(),
        };
        tokio::spawn(async move {
            let sealed = builder.seal(&place).map_err(|error| Ended::Damaged(error.to_string()))?;
            let bytes = sealed.body.len() as u64;
            let append = AppendSegment {
                partition: place.partition,
                epoch: place.epoch,
                claim: ownership.claim,
                segment: number,
                prev_hash: place.prev_hash,
                hash: sealed.hash,
                has_postings: builder.has_postings(),
                body: sealed.body,
            };
            failpoint::pass(Step::AppendBefore).await?;
            let outcome = match shared.db.append(&append).await {
                Err(_) if off(Line::UnknownOutcome) => AppendOutcome::Committed,
                Ok(AppendOutcome::Ahead) if off(Line::OwnAppend) => AppendOutcome::Committed,
                outcome => outcome?,
            };
            match outcome {
                AppendOutcome::Committed => {
                    failpoint::pass(Step::AppendCommitted).await?;
                    Ok(Appended { segment: Some((sealed.hash, bytes)) })
                }
                AppendOutcome::Fenced => Err(Ended::Fenced),
                AppendOutcome::RolledBack => Err(Ended::RolledBack),
                AppendOutcome::Ahead => Err(Ended::Store(StoreError::Unavailable {
                    doing: "append",
                    cause: "an earlier append did commit; its outcome was not known".to_owned(),
                })),
            }
        })
    }

    fn spawn_barrier(&self) -> JoinHandle<Result<Appended, Ended>> {
        let shared = Arc::clone(&self.shared);
        let Ownership { spec, epoch, claim } = &self.ownership;
        let (last, last_hash) = self.state.last();
        let position = SegmentPosition { next: last.next(), last_hash };
        let held = Held { partition: spec.id, epoch: *epoch, claim: *claim, position };
        tokio::spawn(async move {
            if off(Line::Barrier) {
                return Ok(Appended { segment: None });
            }
            match shared.db.barrier(&held).await? {
                true => Ok(Appended { segment: None }),
                false => Err(Ended::Fenced),
            }
        })
    }

    /// Takes in what became of the append in flight, and lets its answers go.
    pub(super) async fn committed(&mut self, done: Result<Appended, Ended>) -> Result<(), Ended> {
        let Some(in_flight) = self.in_flight.take() else { return Ok(()) };
        // On any failure the answers are dropped here, and the state with the owner (P2).
        let done = done?;
        if let Some((hash, bytes)) = done.segment {
            self.state.advance(in_flight.number, hash, in_flight.time);
            self.log_bytes += bytes;
            metrics::histogram!("turnpike_append_seconds")
                .record(in_flight.started.elapsed().as_secs_f64());
            metrics::histogram!("turnpike_segment_bytes").record(bytes as f64);
        }
        self.shared.trouble.set(None);
        failpoint::pass(Step::AnswerBefore).await?;
        self.tell(in_flight.answers, in_flight.started);
        failpoint::pass(Step::AnswerAfter).await?;
        Ok(())
    }

    /// Lets answers go whose commit was begun at `began`. When that is long ago we may have slept
    /// since, and somebody else may have claimed the partition and changed what they tell of: then
    /// they wait for one more commit, which fails if it is so (I6). For one only, since a database
    /// that is always slow shall not keep them for ever.
    fn tell(&mut self, answers: Vec<Answer>, began: Instant) {
        let is_late = began.elapsed() > self.shared.config.answer_age_max();
        for answer in answers {
            if is_late && !answer.waits_again {
                self.open.answers.push(Answer { waits_again: true, ..answer });
            } else {
                (answer.tell)(self.ownership.epoch);
            }
        }
    }

    /// Makes everything durable that was taken so far.
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

    /// Closes the open segment when it holds as much as a segment shall.
    pub(super) async fn cut_if_full(&mut self) -> Result<(), Ended> {
        if self.open.builder.bytes() >= self.shared.config.segment_bytes_max {
            self.cut().await?;
        }
        Ok(())
    }

    /// Closes the open segment in the middle of a request, because it is full.
    pub(super) async fn cut(&mut self) -> Result<(), Ended> {
        if self.in_flight.is_some() {
            let done = finished(&mut self.in_flight).await;
            self.committed(done).await?;
        }
        if self.open.builder.is_empty() {
            // Its tables alone are full, of what was never logged: they begin anew.
            self.open.clear_tables();
        }
        self.start_append();
        self.open_anew();
        Ok(())
    }

    /// The record at `location`, wherever its segment is: filling, in flight, or read back.
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

    /// Reads a segment back.
    pub(super) async fn load(&mut self, segment: SegmentNumber) -> Result<(), Ended> {
        // Each read is a step forward: many of them are no wedged task (P9).
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
