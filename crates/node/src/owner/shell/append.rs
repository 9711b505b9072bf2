//! Appends of segments, one in flight at a time (P4), and the answers that wait for them (P6, P17).

use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use turnpike_mutants::{Check, off};
use turnpike_segment::SealContext;
use turnpike_store::failpoint::{self, Step};
use turnpike_store::{AppendOutcome, AppendSegment, OwnerToken, SegmentPosition, StoreError};
use turnpike_types::{Epoch, SegmentHash};

use crate::owner::core::{ClosedSegment, OwnerCore};
use crate::owner::ended::Ended;
use crate::owner::request::{Ownership, Reply};
use crate::owner::ticks::Ticks;
use crate::shared::Shared;

/// An answer that waits for a commit.
struct WaitingAnswer {
    send: Box<dyn FnOnce(Epoch) + Send>,
    /// Whether the answer waits for a second commit, because the first one took too long.
    waits_again: bool,
}

impl WaitingAnswer {
    fn new(send: impl FnOnce(Epoch) + Send + 'static) -> Self {
        Self { send: Box::new(send), waits_again: false }
    }
}

/// The segment whose append is in flight, or a write barrier that is in flight.
struct InFlight {
    started: Instant,
    answers: Vec<WaitingAnswer>,
    task: JoinHandle<Result<Appended, Ended>>,
}

/// A committed append. Without a segment it was a write barrier.
pub(super) struct Appended {
    segment: Option<(SegmentHash, u64)>,
}

/// The append in flight, and the answers that wait for the next one.
pub(super) struct Appends {
    shared: Arc<Shared>,
    ownership: Ownership,
    ticks: Arc<Ticks>,
    /// Answers to requests whose changes are in the open segment.
    answers: Vec<WaitingAnswer>,
    in_flight: Option<InFlight>,
}

impl Appends {
    pub(super) fn new(shared: &Arc<Shared>, ownership: &Ownership, ticks: &Arc<Ticks>) -> Self {
        Self {
            shared: Arc::clone(shared),
            ownership: ownership.clone(),
            ticks: Arc::clone(ticks),
            answers: Vec::new(),
            in_flight: None,
        }
    }

    /// Whether an append or a write barrier is in flight.
    pub(super) const fn is_in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Whether nothing is in flight, and no answer waits.
    pub(super) const fn is_idle(&self) -> bool {
        !self.is_in_flight() && !self.has_answers()
    }

    /// Whether answers wait for the next append.
    pub(super) const fn has_answers(&self) -> bool {
        !self.answers.is_empty()
    }

    /// Sends the answer once the open segment, or a write barrier, is committed (P6, P17).
    pub(super) fn answer<T: Send + 'static>(&mut self, reply: Reply<T>, answer: T) {
        self.answers.push(WaitingAnswer::new(move |epoch| {
            // If the receiver has ended, the answer is dropped, and a retry gets the same answer.
            let _ = reply.send((epoch, answer));
        }));
    }

    /// Starts to append the open segment if anything waits for it and no append is in flight (P4).
    pub(super) fn start(&mut self, core: &mut OwnerCore) {
        let is_needed = !core.log().is_open_empty() || self.has_answers();
        if self.is_in_flight() || !is_needed {
            return;
        }
        // The time is taken before the append begins, since the process may be frozen in between.
        let started = Instant::now();
        self.ticks.begin_append();
        let answers = std::mem::take(&mut self.answers);
        let task = match core.log_mut().close() {
            Some(closed) => self.spawn_append(closed, core.catalogue_known()),
            None => self.spawn_barrier(core),
        };
        self.in_flight = Some(InFlight { started, answers, task });
    }

    fn spawn_append(
        &self,
        closed: ClosedSegment,
        catalogue_version: u64,
    ) -> JoinHandle<Result<Appended, Ended>> {
        let shared = Arc::clone(&self.shared);
        let ownership = self.ownership.clone();
        let ClosedSegment { number, time, prev_hash, builder } = closed;
        let context = SealContext {
            partition: ownership.spec.id,
            segment: number,
            epoch: ownership.epoch,
            prev_hash,
            now: time.now,
            floor: time.floor,
            catalogue_version,
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
                prev_hash,
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

    fn spawn_barrier(&self, core: &OwnerCore) -> JoinHandle<Result<Appended, Ended>> {
        let shared = Arc::clone(&self.shared);
        let Ownership { spec, epoch, claim } = &self.ownership;
        let (last, last_hash) = core.log().last();
        let position = SegmentPosition { next: last.next(), last_hash };
        let held = OwnerToken { partition: spec.id, epoch: *epoch, claim: *claim, position };
        tokio::spawn(async move {
            match off(Check::Barrier) || shared.db.barrier(&held).await? {
                true => Ok(Appended { segment: None }),
                false => Err(Ended::Fenced),
            }
        })
    }

    /// Waits for the append in flight; never returns if there is none.
    pub(super) async fn finished(&mut self) -> Result<Appended, Ended> {
        match &mut self.in_flight {
            // Dropping this future does not stop the append, which runs in its own task.
            Some(append) => (&mut append.task).await.unwrap_or(Err(Ended::Stopped)),
            None => std::future::pending().await,
        }
    }

    /// Processes the outcome of the append in flight, and sends the answers that waited for it.
    pub(super) async fn committed(
        &mut self,
        core: &mut OwnerCore,
        done: Result<Appended, Ended>,
    ) -> Result<(), Ended> {
        let Some(InFlight { started, answers, .. }) = self.in_flight.take() else {
            unreachable!("only an append in flight is committed");
        };
        self.ticks.end_append();
        // On a failure the answers are dropped here, and the state is dropped with the owner (P2).
        if let Some((hash, bytes)) = done?.segment {
            core.log_mut().commit(hash, bytes);
            metrics::histogram!("turnpike_append_seconds").record(started.elapsed().as_secs_f64());
            metrics::histogram!("turnpike_segment_bytes").record(bytes as f64);
        }
        self.shared.database_error.set(None);
        failpoint::pass(Step::AnswerBefore).await?;
        self.send_answers(answers, started);
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
                self.answers.push(WaitingAnswer { waits_again: true, ..answer });
            } else {
                (answer.send)(self.ownership.epoch);
            }
        }
    }
}
