//! One client stream: its batches are read, admitted, split and passed on in order.
//!
//! ```text
//!  client stream --read--> admit --> split (identities looked up first) --> dispatch --> senders
//!        ^                   | refused                                                 |
//!        `---- BatchAck -----+---------------- the last part of a batch ---------------+
//!
//!  records whose identity changed hands: decided and rated before the split (reassign.rs)
//! ```
//!
//! While a batch that was answered RETRY has not been sent again, later batches are answered RETRY
//! too: see [`crate::ingest::stall`].
//!
//! One task reads a stream and passes its batches to the senders in order. At most
//! `stream_batches_max` batches of a stream are unanswered. Beyond that, the transport's flow
//! control applies backpressure.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tonic::{Status, Streaming};
use turnpike_access::Permit;
use turnpike_proto::frame::BatchFrame;
use turnpike_shares::ClientKey;
use turnpike_store::failpoint::{self, Step};
use turnpike_types::{RejectReason, capped, limits};

use crate::FrontError;
use crate::core::Core;
use crate::gauges::GaugeGuard;
use crate::ingest::admission::{Admission, AdmissionShare};
use crate::ingest::batch::{Acks, Unanswered, refusal};
use crate::ingest::decided::Decided;
use crate::ingest::dispatch::Dispatch;
use crate::ingest::reassign::{self, MovedRecord};
use crate::ingest::refusal::{BatchRefusal, STREAM_OVERFULL};
use crate::ingest::split::{BatchId, SendLimit, Split, SplitStop, Splitter, head_of, identities};
use crate::ingest::stall::Overfull;
use crate::ingest::sub_batch::Arrival;
use crate::routing::guiding::HistoryBySpelling;

/// The reader of one client stream.
pub(crate) struct ClientStream {
    core: Arc<Core>,
    admission: Arc<Admission>,
    client: ClientKey,
    unanswered: Arc<Semaphore>,
    splitter: Splitter,
    dispatch: Dispatch,
    /// What the stream may send.
    permit: Permit,
    _counted: GaugeGuard,
}

impl ClientStream {
    pub(crate) fn new(
        core: &Arc<Core>,
        admission: &Arc<Admission>,
        client: ClientKey,
        arrival: Arrival,
        acks: Acks,
        permit: Permit,
    ) -> Self {
        Self {
            core: Arc::clone(core),
            admission: Arc::clone(admission),
            unanswered: Arc::new(Semaphore::new(core.config.stream_batches_max)),
            splitter: Splitter::default(),
            client,
            dispatch: Dispatch::new(core, client, arrival, acks),
            permit,
            _counted: GaugeGuard::stream(),
        }
    }

    /// Waits for a permit for one more unanswered batch. Returns `None` when the front must stop
    /// reading.
    pub(crate) async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        tokio::select! {
            biased;
            () = self.dispatch.acks().closed() => None,
            () = self.core.gate.cancelled() => None,
            slot = Arc::clone(&self.unanswered).acquire_owned() => slot.ok(),
        }
    }

    /// Reads the stream to its end.
    pub(crate) async fn run(mut self, mut batches: Streaming<BatchFrame>) {
        let why = loop {
            let Some(unanswered) = self.slot().await else { break FrontError::ShuttingDown.into() };
            let batch = tokio::select! {
                biased;
                () = self.dispatch.acks().closed() => return,
                () = self.core.gate.cancelled() => break FrontError::ShuttingDown.into(),
                batch = batches.message() => batch,
            };
            match batch {
                Ok(Some(frame)) => {
                    // A grant may have been revoked, or a token may have expired, since the last batch.
                    match self.permit.renewed() {
                        Ok(permit) => self.permit = permit,
                        Err(status) => break status,
                    }
                    if let Err(Overfull) = self.take(frame, unanswered).await {
                        break Status::resource_exhausted(STREAM_OVERFULL);
                    }
                }
                Ok(None) => return,
                Err(status) => break status,
            }
        };
        self.end(why).await;
    }

    /// Sends the client the reason for the end of the stream, after all batches that were read are
    /// answered.
    async fn end(&self, why: Status) {
        tracing::debug!(status = %why, "a client's stream ends early");
        let all = capped(self.core.config.stream_batches_max);
        let given_up = async {
            // Outstanding batches are being answered RETRY. A client that does not read its answers
            // is abandoned.
            self.core.abort.cancelled().await;
            tokio::time::sleep(self.core.config.suspicion()).await;
        };
        tokio::select! {
            biased;
            () = self.dispatch.acks().closed() => return,
            _ = self.unanswered.acquire_many(all) => {}
            () = given_up => {}
        }
        // A send error means that the client has disconnected: no reason is needed.
        let _ = self.dispatch.acks().send(Err(why));
    }

    /// Processes a batch. It is answered now or when its last part is durable, unless the client
    /// leaves before.
    ///
    /// # Errors
    /// [`Overfull`]: the stream must end.
    pub(crate) async fn take(
        &mut self,
        frame: BatchFrame,
        unanswered: OwnedSemaphorePermit,
    ) -> Result<(), Overfull> {
        let unanswered = Unanswered::received(unanswered);
        let deadline = Instant::now() + self.core.config.answer_deadline();
        let (acks, abort) = (self.dispatch.acks().clone(), self.core.abort.clone());
        let split = async {
            let received = failpoint::pass(Step::FrontReceived).await;
            received.map_err(|error| BatchRefusal::Retry(error.to_string()))?;
            // `push` decides whether an earlier batch must be sent again first. This early check
            // saves admission and look-ups for a batch that `push` would refuse, since in between
            // only this task could push the earlier batch.
            self.dispatch.check_turn(&frame)?;
            self.split(&frame, deadline).await
        };
        let split = tokio::select! {
            biased;
            split = split => split,
            () = acks.closed() => return Ok(()),
            () = abort.cancelled() => Err(FrontError::ShuttingDown.into()),
        };
        match split {
            Ok((head, split, room)) => {
                drop(frame);
                // The decisions may have taken longer than the deadline. If the remaining records
                // were late now, they would be late at each retry of the batch.
                let is_decided = !split.decided.is_empty();
                let deadline = if is_decided {
                    Instant::now() + self.core.config.answer_deadline()
                } else {
                    deadline
                };
                self.dispatch.push(head, split, Some(room), deadline, unanswered)
            }
            Err(refusal) => self.dispatch.refuse(head_of(&frame), refusal, unanswered),
        }
    }

    async fn split(
        &mut self,
        frame: &BatchFrame,
        deadline: Instant,
    ) -> Result<(BatchId, Split, AdmissionShare), BatchRefusal> {
        let bytes = frame.body().len();
        if bytes > limits::BATCH_BYTES_MAX {
            return Err(BatchRefusal::too_large(bytes));
        }
        let wait = self.core.config.admission_wait();
        let Some(room) = self.admission.admit(self.client, bytes, wait).await else {
            return Err(BatchRefusal::overloaded());
        };
        let Some(table) = self.core.routes.first(deadline).await else {
            return Err(FrontError::NoRoutes.into());
        };
        self.splitter.limit = SendLimit::of(&self.permit, frame);
        let first = self.splitter.split(frame, &table, None);
        let split = match first {
            Err(SplitStop::NeedsGuiding) => self.guide_and_split(frame).await?,
            other => other,
        };
        let (head, split) = split?;
        Ok((head, split, room))
    }

    async fn guide_and_split(
        &mut self,
        frame: &BatchFrame,
    ) -> Result<Result<(BatchId, Split), SplitStop>, BatchRefusal> {
        let wait = self.core.config.attempt();
        let covered = self.core.routes.for_look_ups(Instant::now() + wait).await;
        let table = covered.ok_or_else(BatchRefusal::not_noted)?;
        let asking = self.core.guide.histories(identities(frame));
        let histories = match tokio::time::timeout(wait, asking).await {
            Ok(Ok(histories)) => histories,
            Ok(Err(error)) => {
                tracing::warn!(%error, "identities can't be looked up");
                return Err(BatchRefusal::not_looked_up(&error.to_string()));
            }
            Err(_) => {
                return Err(BatchRefusal::not_looked_up("the shared database does not respond"));
            }
        };
        let decided = self.decide(frame, &histories).await?;
        Ok(self.splitter.split_rest(frame, &table, Some(&histories), decided))
    }

    /// The outcomes of the records whose identity changed hands, by index (P28).
    async fn decide(
        &self,
        frame: &BatchFrame,
        histories: &HistoryBySpelling,
    ) -> Result<Vec<(u32, Decided)>, BatchRefusal> {
        let found = reassign::candidates(frame, histories);
        let (permitted, refused): (Vec<_>, Vec<_>) = found
            .into_iter()
            .partition(|(_, moved)| self.splitter.permits_moved(moved.first, moved.to));
        let refused = refused
            .into_iter()
            .map(|(index, _)| (index, Decided::Result(refusal(index, RejectReason::NotPermitted))));
        let mut decided: Vec<(u32, Decided)> = refused.collect();
        let (indexes, candidates): (Vec<u32>, Vec<MovedRecord>) = permitted.into_iter().unzip();
        if candidates.is_empty() {
            return Ok(decided);
        }
        let waits_in = match self.dispatch.arrival() {
            Arrival::First => None,
            Arrival::Recycled { from, .. } => Some(from),
        };
        let deciding = reassign::reassign_all(&self.core, &candidates, waits_in);
        let outcomes = Box::pin(deciding).await.map_err(BatchRefusal::Retry)?;
        decided.extend(indexes.into_iter().zip(outcomes));
        decided.sort_by_key(|(index, _)| *index);
        Ok(decided)
    }
}
