//! The ingest service: receives batches and sends acknowledgements.
//!
//! ```text
//!  client stream --read--> admit --> split (identities are looked up first) -----------> senders
//!        ^                   | refused                                                 |
//!        `---- BatchAck -----+---------------- the last part of a batch ---------------+
//!
//!  records whose identity changed hands: decided and rated before the split (crate::ingest::reassign)
//! ```
//!
//! While a batch that was answered RETRY has not been sent again, later batches are answered RETRY
//! too: see [`crate::ingest::stall`].
//!
//! One task reads a stream and passes its batches to the senders in order. At most
//! `stream_batches_max` batches of a stream are unanswered. Beyond that, the transport's flow
//! control applies backpressure.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use turnpike_mutants::{Check, off};
use turnpike_proto::frame::BatchFrame;
use turnpike_proto::ingest::v1::BatchAck;
use turnpike_proto::ingest::v1::ingest_service_server::IngestService;
use turnpike_store::failpoint::{self, Step};
use turnpike_types::{PartitionId, limits};

use crate::FrontError;
use crate::core::Core;
use crate::gauges::GaugeGuard;
use crate::ingest::admission::AdmissionShare;
use crate::ingest::batch::{
    Acks, Ticket, Unanswered, UnansweredBatch, first_ack, reject_ack, retry_ack, taken_ack,
};
use crate::ingest::partition_sender::{self, Arrival, PendingSubBatch, SenderQueue};
use crate::ingest::reassign::{self, Decided, MovedRecord};
use crate::ingest::split::{
    BatchId, HistoryBySpelling, Split, SplitStop, Splitter, head_of, identities,
};
use crate::ingest::stall::{Order, Overfull, Stall};

/// The gRPC service `IngestService`.
pub struct Ingest {
    core: Arc<Core>,
}

impl Ingest {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }
}

#[tonic::async_trait]
impl IngestService for Ingest {
    type IngestStream = Pin<Box<dyn Stream<Item = Result<BatchAck, Status>> + Send>>;

    async fn ingest(
        &self,
        request: Request<Streaming<BatchFrame>>,
    ) -> Result<Response<Self::IngestStream>, Status> {
        self.core.enter()?;
        let (acks, answers) = mpsc::unbounded_channel();
        let stream =
            ClientStream::new(&self.core, Arrival::First, acks, Some(GaugeGuard::stream()));
        self.core.tasks.spawn(stream.run(request.into_inner()));
        // The delivery holds the permit: a batch counts as answered once its ack was read.
        let answers =
            UnboundedReceiverStream::new(answers).map(|answer| answer.map(|answer| answer.ack));
        Ok(Response::new(Box::pin(answers)))
    }

    async fn ingest_once(
        &self,
        request: Request<BatchFrame>,
    ) -> Result<Response<BatchAck>, Status> {
        self.core.enter()?;
        Ok(Response::new(once(&self.core, request.into_inner(), Arrival::First).await?))
    }
}

/// Processes one batch on a new stream.
///
/// # Errors
/// [`FrontError::ShuttingDown`] when the front stops before the answer.
pub(crate) async fn once(
    core: &Arc<Core>,
    frame: BatchFrame,
    arrival: Arrival,
) -> Result<BatchAck, FrontError> {
    let (acks, mut answers) = mpsc::unbounded_channel();
    let mut stream = ClientStream::new(core, arrival, acks, Some(GaugeGuard::stream()));
    let unanswered = stream.slot().await.ok_or(FrontError::ShuttingDown)?;
    // The stream is new, so its list of refused batches can't be full.
    let _ = stream.take(frame, unanswered).await;
    // The senders end once everything is answered.
    drop(stream);
    let answer = answers.recv().await.and_then(Result::ok);
    answer.map(|delivery| delivery.ack).ok_or(FrontError::ShuttingDown)
}

/// Ingests records for which [`crate::ingest::reassign`] has decided the account. The batch from which they
/// were taken holds the admission room, and its answer counts them.
pub(crate) async fn ingest_decided(
    core: &Arc<Core>,
    frame: &BatchFrame,
    arrival: Arrival,
    deadline: Instant,
) -> BatchAck {
    let (acks, mut answers) = mpsc::unbounded_channel();
    let mut stream = ClientStream::new(core, arrival, acks, None);
    let unanswered = Unanswered::of_another();
    // The stream is new, so its list of refused batches can't be full.
    let _ = match stream.splitter.split(frame, &core.routes.table(), None) {
        Ok((head, split)) => stream.push(head, split, None, deadline, unanswered),
        Err(stop) => stream.refuse(head_of(frame), refusal(stop), unanswered),
    };
    // The senders end once everything is answered.
    drop(stream);
    let answer = answers.recv().await.and_then(Result::ok);
    answer.map_or_else(
        || retry_ack(0, core.config.retry_hint(), FrontError::ShuttingDown.to_string()),
        |delivery| delivery.ack,
    )
}

struct ClientStream {
    core: Arc<Core>,
    arrival: Arrival,
    acks: Acks,
    stall: Arc<Stall>,
    unanswered: Arc<Semaphore>,
    splitter: Splitter,
    senders: BTreeMap<PartitionId, SenderQueue>,
    /// The highest batch number received. It must not decide anything (P29); only a mutant reads
    /// it.
    highest: Option<u64>,
    /// `None` for a stream within the front, without a client.
    _counted: Option<GaugeGuard>,
}

/// Why a batch is refused.
enum Refusal {
    Retry(String),
    /// An earlier refused batch must be sent again first.
    OutOfTurn(String),
    Reject(String),
}

impl ClientStream {
    fn new(core: &Arc<Core>, arrival: Arrival, acks: Acks, counted: Option<GaugeGuard>) -> Self {
        Self {
            core: Arc::clone(core),
            arrival,
            acks,
            stall: Arc::default(),
            unanswered: Arc::new(Semaphore::new(core.config.stream_batches_max)),
            splitter: Splitter::default(),
            senders: BTreeMap::new(),
            highest: None,
            _counted: counted,
        }
    }

    /// Waits for a permit for one more unanswered batch. Returns `None` when the front must stop
    /// reading.
    async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        tokio::select! {
            biased;
            () = self.acks.closed() => None,
            () = self.core.gate.cancelled() => None,
            slot = Arc::clone(&self.unanswered).acquire_owned() => slot.ok(),
        }
    }

    async fn run(mut self, mut batches: Streaming<BatchFrame>) {
        let why = loop {
            let Some(unanswered) = self.slot().await else { break FrontError::ShuttingDown.into() };
            let batch = tokio::select! {
                biased;
                () = self.acks.closed() => return,
                () = self.core.gate.cancelled() => break FrontError::ShuttingDown.into(),
                batch = batches.message() => batch,
            };
            match batch {
                Ok(Some(frame)) => {
                    if let Err(Overfull) = self.take(frame, unanswered).await {
                        break Status::resource_exhausted(
                            "too many batches of this stream were answered RETRY and not sent \
                             again: open a new stream and send them again in their order",
                        );
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
        let all = u32::try_from(self.core.config.stream_batches_max).unwrap_or(u32::MAX);
        let given_up = async {
            // Outstanding batches are being answered RETRY. A client that does not read its answers
            // is abandoned.
            self.core.abort.cancelled().await;
            tokio::time::sleep(self.core.config.suspicion()).await;
        };
        tokio::select! {
            biased;
            () = self.acks.closed() => return,
            _ = self.unanswered.acquire_many(all) => {}
            () = given_up => {}
        }
        // A send error means that the client has disconnected: no reason is needed.
        let _ = self.acks.send(Err(why));
    }

    /// Processes a batch. It is answered now or when its last part is durable, unless the client
    /// leaves before.
    ///
    /// # Errors
    /// [`Overfull`]: the stream must end.
    async fn take(
        &mut self,
        frame: BatchFrame,
        unanswered: OwnedSemaphorePermit,
    ) -> Result<(), Overfull> {
        let unanswered = Unanswered::received(unanswered);
        let deadline = Instant::now() + self.core.config.answer_deadline();
        let (acks, abort) = (self.acks.clone(), self.core.abort.clone());
        let split = async {
            let received = failpoint::pass(Step::FrontReceived).await;
            received.map_err(|error| Refusal::Retry(error.to_string()))?;
            // `push` decides whether an earlier batch must be sent again first. This early check
            // saves admission and look-ups for a batch that `push` would refuse, since in between
            // only this task could push the earlier batch.
            self.check_turn(&frame)?;
            self.split(&frame, deadline).await
        };
        let split = tokio::select! {
            biased;
            split = split => split,
            () = acks.closed() => return Ok(()),
            () = abort.cancelled() => Err(Refusal::Retry(FrontError::ShuttingDown.to_string())),
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
                self.push(head, split, Some(room), deadline, unanswered)
            }
            Err(refusal) => self.refuse(head_of(&frame), refusal, unanswered),
        }
    }

    fn check_turn(&self, frame: &BatchFrame) -> Result<(), Refusal> {
        let is_stalled = self.stall.lock().is_stalled();
        if !is_stalled {
            return Ok(());
        }
        let number = head_of(frame).batch_number;
        in_turn(&self.stall.lock(), number)
    }

    /// Answers a batch that is refused. Remembers a batch that the client will send again.
    fn refuse(
        &self,
        head: BatchId,
        refusal: Refusal,
        unanswered: Unanswered,
    ) -> Result<(), Overfull> {
        let number = head.batch_number;
        tracing::debug!(source = head.source, batch = number, "batch refused");
        let hint = self.core.config.retry_hint();
        let mut order = self.stall.lock();
        let (remembered, ack) = match refusal {
            Refusal::Reject(message) => {
                order.forget(number);
                (Ok(()), reject_ack(number, message))
            }
            Refusal::Retry(message) => {
                let hint = self.core.chance.jitter(hint * 2);
                (order.refuse(number, Some(&message)), retry_ack(number, hint, message))
            }
            Refusal::OutOfTurn(message) => {
                (order.refuse(number, None), retry_ack(number, hint, message))
            }
        };
        drop(order);
        UnansweredBatch::refuse(ack, &self.acks, unanswered);
        remembered
    }

    async fn split(
        &mut self,
        frame: &BatchFrame,
        deadline: Instant,
    ) -> Result<(BatchId, Split, AdmissionShare), Refusal> {
        let bytes = frame.body().len();
        if bytes > limits::BATCH_BYTES_MAX {
            return Err(Refusal::Reject(format!(
                "the batch has {bytes} bytes; at most {} are taken: send smaller batches",
                limits::BATCH_BYTES_MAX
            )));
        }
        let wait = self.core.config.admission_wait();
        let Some(room) = self.core.admission.admit(bytes, wait).await else {
            return Err(Refusal::Retry(
                "overloaded: too many bytes of batches are not answered yet".to_owned(),
            ));
        };
        let Some(table) = self.core.routes.first(deadline).await else {
            return Err(Refusal::Retry(FrontError::NoRoutes.to_string()));
        };
        let first = self.splitter.split(frame, &table, None);
        let split = match first {
            Err(SplitStop::NeedsGuiding) => self.guide_and_split(frame).await?,
            other => other,
        };
        let (head, split) = split.map_err(refusal)?;
        Ok((head, split, room))
    }

    async fn guide_and_split(
        &mut self,
        frame: &BatchFrame,
    ) -> Result<Result<(BatchId, Split), SplitStop>, Refusal> {
        let wait = self.core.config.attempt();
        let covered = self.core.routes.for_look_ups(Instant::now() + wait).await;
        let Some(table) = covered else {
            let why =
                "identities can't be looked up: the shared database does not note the look-up";
            return Err(Refusal::Retry(why.to_owned()));
        };
        let asking = self.core.guide.histories(identities(frame));
        let histories = match tokio::time::timeout(wait, asking).await {
            Ok(Ok(histories)) => histories,
            Ok(Err(error)) => {
                tracing::warn!(%error, "identities can't be looked up");
                return Err(Refusal::Retry(format!("identities can't be looked up: {error}")));
            }
            Err(_) => {
                let why = "identities can't be looked up: the shared database does not respond";
                return Err(Refusal::Retry(why.to_owned()));
            }
        };
        let decided = self.decide(frame, &histories).await?;
        let table = if off(Check::MarkBeforeLookUp) { self.core.routes.table() } else { table };
        Ok(self.splitter.split_rest(frame, &table, Some(&histories), decided))
    }

    /// The outcomes of the records whose identity changed hands, by index (P28).
    async fn decide(
        &self,
        frame: &BatchFrame,
        histories: &HistoryBySpelling,
    ) -> Result<Vec<(u32, Decided)>, Refusal> {
        let (indexes, candidates): (Vec<u32>, Vec<MovedRecord>) =
            reassign::candidates(frame, histories).into_iter().unzip();
        if candidates.is_empty() {
            return Ok(Vec::new());
        }
        let is_recycled = matches!(self.arrival, Arrival::Recycled { .. });
        let deciding = reassign::reassign_all(&self.core, &candidates, is_recycled);
        let outcomes = Box::pin(deciding).await.map_err(Refusal::Retry)?;
        Ok(indexes.into_iter().zip(outcomes).collect())
    }

    /// Passes a batch to the senders, unless a refused batch must be sent again first.
    fn push(
        &mut self,
        head: BatchId,
        split: Split,
        room: Option<AdmissionShare>,
        deadline: Instant,
        unanswered: Unanswered,
    ) -> Result<(), Overfull> {
        let hint = self.core.config.retry_hint();
        let stall = Arc::clone(&self.stall);
        // One step under the lock. A sender refuses a batch either before this step, and then
        // `in_turn` finds the refused batch, or after it, and then the sender finds the parts
        // pushed here.
        let mut order = stall.lock();
        if let Err(refusal) = in_turn(&order, head.batch_number) {
            drop(order);
            return self.refuse(head, refusal, unanswered);
        }
        if off(Check::BatchNumbers) && self.highest >= Some(head.batch_number) {
            order.forget(head.batch_number);
            UnansweredBatch::refuse(
                taken_ack(head.batch_number, split.records),
                &self.acks,
                unanswered,
            );
            return Ok(());
        }
        self.highest = self.highest.max(Some(head.batch_number));
        let turn = order.push(head.batch_number);
        let parts = split.parts.len();
        let ack = first_ack(head.batch_number, &split.refused, split.decided);
        let batch =
            UnansweredBatch::open(turn, parts, ack, room, &self.acks, &self.stall, unanswered);
        let mut gone = Vec::new();
        for part in split.parts {
            let ticket = Ticket::new(Arc::clone(&batch), part.count, part.indexes, hint);
            let sender = self.senders.entry(part.partition).or_insert_with(|| {
                let (acks, stall) = (self.acks.clone(), Arc::clone(&self.stall));
                partition_sender::open(&self.core, part.partition, self.arrival, acks, stall)
            });
            gone.extend(sender.push(PendingSubBatch::new(
                part.records,
                deadline,
                part.guided_us,
                ticket,
            )));
        }
        drop(order);
        drop(gone);
        Ok(())
    }
}

fn in_turn(order: &Order, number: u64) -> Result<(), Refusal> {
    match order.is_out_of_turn(number).filter(|_| !off(Check::Turn)) {
        None => Ok(()),
        Some((first, why)) => Err(Refusal::OutOfTurn(format!(
            "batch {first} was answered RETRY: send it again first, so that the order is kept (it \
             was refused because: {why})"
        ))),
    }
}

fn refusal(stop: SplitStop) -> Refusal {
    match stop {
        SplitStop::NoPartitions => Refusal::Retry(FrontError::NoPartitions.to_string()),
        // Histories were looked up for every identity, so the second split finds none missing.
        SplitStop::NeedsGuiding => Refusal::Retry("an identity was not looked up".to_owned()),
        SplitStop::Malformed(error) => Refusal::Reject(format!(
            "the message is not a valid batch: {error}; send an IngestBatch"
        )),
        SplitStop::TooManyRecords(records) => Refusal::Reject(format!(
            "the batch has {records} records; at most {} are taken: send smaller batches",
            limits::BATCH_RECORDS_MAX
        )),
        SplitStop::LongSource(bytes) => Refusal::Reject(format!(
            "the source's name has {bytes} bytes; at most {} are taken: shorten it",
            limits::SOURCE_BYTES_MAX
        )),
    }
}
