//! Sends batches to a front with a bounded window in flight, until every batch is answered.
//!
//! ```text
//!  push --> window (window.rs) --> stream --> front
//!              ^                                |
//!              |   Answered: done, rejected  <--+
//!              +-- Retried: RETRY, or the stream broke: sent again, in order
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use turnpike_proto::frame::BatchFrame;
use turnpike_proto::ingest::v1::ingest_service_client::IngestServiceClient;
use turnpike_proto::ingest::v1::{BatchAck, BatchStatus};
use turnpike_types::limits;

use crate::batch::Batch;
use crate::error::{ClientError, is_transient, retry_after};
use crate::fronts::Fronts;
use crate::patience::Patience;
use crate::window::{PushError, SendWindow, UnknownBatch, WINDOW_MAX};

/// What happened to a batch.
#[derive(Clone, Debug)]
pub enum SendEvent<T> {
    /// The batch has its final answer. Its status is DONE, or REJECTED if the batch as a whole was
    /// not valid.
    Answered {
        /// The batch.
        batch: Batch<T>,
        /// The answer.
        ack: BatchAck,
        /// The time since the batch was added.
        after: Duration,
    },
    /// The batch will be sent again.
    Retried {
        /// The number of the batch.
        number: u64,
        /// The number of its records.
        records: u32,
    },
}

/// A batch without a final answer.
#[derive(Debug)]
struct PendingBatch<T> {
    batch: Batch<T>,
    added: Instant,
}

#[derive(Debug)]
struct OpenStream {
    frames: mpsc::Sender<BatchFrame>,
    acks: Streaming<BatchAck>,
}

/// The reason why a stream ended early.
enum Broken {
    /// The reason, and the wait that the front asks for.
    ForNow(String, Duration),
    ForGood(ClientError),
}

/// Sends batches on one stream at a time. It works only while a method runs: between the calls,
/// nothing is sent and no answer is read.
#[derive(Debug)]
pub struct BatchSender<T> {
    fronts: Fronts,
    window: SendWindow<PendingBatch<T>>,
    patience: Patience,
    /// The front's last reason for a RETRY.
    wait_reason: Option<String>,
    stream: Option<OpenStream>,
    events: VecDeque<SendEvent<T>>,
}

impl<T> BatchSender<T> {
    /// A sender with at most `window` unanswered batches, from 1 to [`WINDOW_MAX`].
    ///
    /// # Errors
    /// `window` is 0 or too large.
    pub fn new(fronts: Fronts, window: usize) -> Result<Self, ClientError> {
        if !(1..=WINDOW_MAX).contains(&window) {
            return Err(ClientError::BadWindow { given: window, max: WINDOW_MAX });
        }
        let (window, patience) = (SendWindow::new(window), Patience::new(fronts.limit()));
        let (wait_reason, stream, events) = (None, None, VecDeque::new());
        Ok(Self { fronts, window, patience, wait_reason, stream, events })
    }

    /// Sends the batches of `next` until it returns none and all are answered. Calls `on_event`
    /// with the events of each batch.
    ///
    /// # Errors
    /// The cluster makes no progress for the time limit of the fronts, or refuses permanently. The
    /// batches without an answer may be sent again.
    pub async fn send_all(
        &mut self,
        mut next: impl FnMut() -> Option<Batch<T>>,
        mut on_event: impl FnMut(SendEvent<T>),
    ) -> Result<(), ClientError> {
        let mut is_exhausted = false;
        loop {
            while !is_exhausted && self.has_room() {
                match next() {
                    Some(batch) => self.push(batch).map_err(ClientError::from)?,
                    None => is_exhausted = true,
                }
            }
            match self.next_event().await? {
                Some(event) => on_event(event),
                None => return Ok(()),
            }
        }
    }

    /// Whether [`Self::push`] takes another batch now.
    pub fn has_room(&self) -> bool {
        self.window.has_room()
    }

    /// The number of batches without a final answer.
    pub fn unanswered(&self) -> usize {
        self.window.len()
    }

    /// Adds a batch behind all others. [`Self::next_event`] sends it.
    ///
    /// # Errors
    /// There is no room, or an unanswered batch has the same number. The batch is dropped.
    pub fn push(&mut self, batch: Batch<T>) -> Result<(), PushError> {
        if self.window.is_empty() {
            // No batch was in flight: the time-out starts now.
            self.patience.progress();
        }
        self.window.push(batch.number, PendingBatch { batch, added: Instant::now() })
    }

    /// Sends what may be sent, and waits for the next event; `None` when all batches are answered.
    /// Opens streams, waits and changes the front as needed. Dropping the future loses nothing: the
    /// next call continues.
    ///
    /// # Errors
    /// As [`Self::send_all`].
    pub async fn next_event(&mut self) -> Result<Option<SendEvent<T>>, ClientError> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            if self.window.is_empty() {
                return Ok(None);
            }
            match self.step().await {
                Ok(()) => {}
                Err(Broken::ForGood(error)) => {
                    self.stream = None;
                    return Err(error);
                }
                Err(Broken::ForNow(reason, wait)) => self.recover(reason, wait).await?,
            }
        }
    }

    /// Sends what may be sent, then waits for one answer, or until sending continues after a RETRY.
    async fn step(&mut self) -> Result<(), Broken> {
        if self.stream.is_none() {
            self.open().await?;
        }
        let Some(stream) = &mut self.stream else { return Ok(()) };
        send_ready(&mut self.window, &stream.frames)?;
        if let Some(at) = self.window.resumes_at() {
            let wait = Instant::from_std(at).saturating_duration_since(Instant::now());
            tokio::time::sleep(wait.min(self.patience.left())).await;
            return self.check_patience();
        }
        match tokio::time::timeout(self.patience.left(), stream.acks.message()).await {
            Ok(Ok(Some(ack))) => self.settle(ack),
            Ok(Ok(None)) => Err(for_now("the front ended the stream")),
            Ok(Err(status)) => Err(self.broken(&status)),
            // The reason that the front gave for a wait is more useful than "no answer came".
            Err(_) => {
                let reason = self.wait_reason.take();
                Err(for_now(reason.as_deref().unwrap_or("no answer came")))
            }
        }
    }

    async fn open(&mut self) -> Result<(), Broken> {
        // Batches count as sent if an earlier opening was cancelled.
        self.window.stream_broke();
        let (frames, queue) = mpsc::channel(self.window.size());
        // Frames are queued before the call: a server may answer the call only after the first
        // frame.
        send_ready(&mut self.window, &frames)?;
        let mut front = IngestServiceClient::new(self.fronts.channel())
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX);
        let call = front.ingest(ReceiverStream::new(queue));
        match tokio::time::timeout(self.patience.left(), call).await {
            Ok(Ok(response)) => {
                self.stream = Some(OpenStream { frames, acks: response.into_inner() });
                Ok(())
            }
            Ok(Err(status)) => Err(self.broken(&status)),
            Err(_) => Err(for_now("the front did not take the stream")),
        }
    }

    /// After a broken stream: all unanswered batches are to be sent again, on the next front.
    async fn recover(&mut self, reason: String, wait: Duration) -> Result<(), ClientError> {
        self.stream = None;
        if self.patience.is_over() {
            // Another call tries again for as long.
            self.patience.progress();
            let (limit, unanswered) = (self.patience.limit(), self.window.len());
            return Err(ClientError::NoProgress { limit, unanswered, reason });
        }
        tracing::debug!(%reason, "the stream broke; sending again");
        self.window.stream_broke();
        self.events.extend(self.window.batches().map(PendingBatch::retried));
        let moving = self.fronts.move_on();
        // With or without another front, the batches are sent again in the time left.
        let _ = tokio::time::timeout(self.patience.left(), moving).await;
        tokio::time::sleep(self.patience.backoff_after(wait)).await;
        Ok(())
    }

    fn settle(&mut self, ack: BatchAck) -> Result<(), Broken> {
        let number = ack.batch_number;
        match ack.status() {
            BatchStatus::Done | BatchStatus::Rejected => {
                let PendingBatch { batch, added } =
                    self.window.done(number).map_err(|unknown| self.wrong_answer(unknown))?;
                self.events.push_back(SendEvent::Answered { batch, ack, after: added.elapsed() });
                self.patience.progress();
            }
            BatchStatus::Retry | BatchStatus::Unspecified => {
                let wait = Duration::from_millis(u64::from(ack.retry_after_ms));
                let not_before = (Instant::now() + wait).into_std();
                let retried = self.window.retry(number, not_before).map(PendingBatch::retried);
                let retried = retried.map_err(|unknown| self.wrong_answer(unknown))?;
                self.events.push_back(retried);
                self.wait_reason = Some(ack.message);
                self.check_patience()?;
            }
        }
        if self.window.resumes_at().is_some() {
            let backoff = self.patience.backoff();
            self.window.hold_until((Instant::now() + backoff).into_std());
        }
        Ok(())
    }

    fn check_patience(&self) -> Result<(), Broken> {
        if !self.patience.is_over() {
            return Ok(());
        }
        let reason = self.wait_reason.as_deref().unwrap_or("the cluster requests a wait");
        Err(for_now(reason))
    }

    fn broken(&self, status: &Status) -> Broken {
        let error = ClientError::from_status(&self.fronts.in_use(), status);
        if is_transient(status) {
            Broken::ForNow(error.to_string(), retry_after(status))
        } else {
            Broken::ForGood(error)
        }
    }

    fn wrong_answer(&self, unknown: UnknownBatch) -> Broken {
        let url = self.fronts.in_use();
        Broken::ForGood(ClientError::WrongAnswer { url, unknown })
    }
}

impl<T> PendingBatch<T> {
    fn retried(&self) -> SendEvent<T> {
        SendEvent::Retried { number: self.batch.number, records: self.batch.records }
    }
}

/// A stream that ended early, without a wait that the front asks for.
fn for_now(reason: &str) -> Broken {
    Broken::ForNow(reason.to_owned(), Duration::ZERO)
}

/// Queues the batches that may be sent now.
fn send_ready<T>(
    window: &mut SendWindow<PendingBatch<T>>,
    frames: &mpsc::Sender<BatchFrame>,
) -> Result<(), Broken> {
    while let Some(pending) = window.next_to_send(Instant::now().into_std()) {
        // The queue holds a whole window, and only batches in flight are in the queue.
        if frames.try_send(pending.batch.frame.clone()).is_err() {
            return Err(for_now("the stream was closed"));
        }
    }
    Ok(())
}
