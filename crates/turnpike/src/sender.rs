//! Sends batches to a front with a bounded window in flight, until every batch is answered.
//!
//! ```text
//!  next() --> pending (at most `window`) --> stream --> front
//!                ^   |                                    |
//!                |   +--- answered: done, rejected <------+
//!                +------- answered: retry, or the stream broke: sent again, in order
//! ```
//!
//! A retry is idempotent: records that the cluster already has are answered as duplicates (I2, I5).
//! While a batch waits for its retry, no new batch is sent, so that the records of an account keep
//! their order.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::anyhow;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use turnpike_proto::frame::BatchFrame;
use turnpike_proto::ingest::v1::ingest_service_client::IngestServiceClient;
use turnpike_proto::ingest::v1::{BatchAck, BatchStatus};
use turnpike_types::limits;

use crate::client::{Front, Patience, explain, is_transient};

/// Maximum number of unanswered batches; the front does not read beyond it.
pub(crate) const WINDOW_MAX: usize = 64;

/// An encoded batch, with a tag that the caller gets back with the answer.
#[derive(Debug)]
pub(crate) struct Batch<T> {
    pub(crate) number: u64,
    pub(crate) records: u32,
    pub(crate) frame: BatchFrame,
    pub(crate) tag: T,
}

/// Events of batches.
#[derive(Debug)]
pub(crate) enum SenderEvent<'a, T> {
    /// The batch has its final answer; `after` is the time since it was first sent.
    Answered { batch: &'a Batch<T>, ack: &'a BatchAck, after: Duration },
    /// The batch will be sent again.
    Retried { batch: &'a Batch<T> },
}

struct Pending<T> {
    batch: Batch<T>,
    first_sent: Instant,
    is_flying: bool,
}

/// Sends the batches of `next` until it returns none and all are answered.
///
/// # Errors
/// The cluster makes no progress for `front.timeout`, or refuses permanently.
pub(crate) async fn send<T: Send>(
    front: &Front,
    window: usize,
    next: impl FnMut() -> Option<Batch<T>> + Send,
    on_event: impl FnMut(SenderEvent<'_, T>) + Send,
) -> anyhow::Result<()> {
    let window = window.clamp(1, WINDOW_MAX);
    let patience = Patience::new(front.timeout);
    let pending = BTreeMap::new();
    let (wait_asked, wait_reason) = (Duration::ZERO, None);
    let is_exhausted = false;
    let mut sender = Sender {
        front,
        window,
        next,
        on_event,
        patience,
        wait_asked,
        wait_reason,
        pending,
        is_exhausted,
    };
    loop {
        match sender.session().await {
            Ok(()) => return Ok(()),
            Err(Broken::ForGood(error)) => return Err(error),
            Err(Broken::ForNow(why)) if sender.patience.is_over() => {
                let waiting = sender.pending.len();
                return Err(anyhow!(
                    "no progress for {:?} ({waiting} batches unanswered): {why}; look at `turnpike \
                     status`, then run this again: what was taken is answered as duplicate",
                    front.timeout
                ));
            }
            Err(Broken::ForNow(why)) => {
                tracing::debug!(%why, "the stream broke; sending again");
                sender.all_to_be_sent_again();
                let moving = front.move_on();
                let _ = tokio::time::timeout(sender.patience.left(), moving).await;
                tokio::time::sleep(sender.patience.backoff()).await;
            }
        }
    }
}

/// The reason why a stream ended early.
enum Broken {
    ForNow(String),
    ForGood(anyhow::Error),
}

struct Sender<'a, T, N, E> {
    front: &'a Front,
    window: usize,
    next: N,
    on_event: E,
    patience: Patience,
    /// The wait that the front requested in its latest answer.
    wait_asked: Duration,
    /// The front's reason for the requested wait.
    wait_reason: Option<String>,
    pending: BTreeMap<u64, Pending<T>>,
    is_exhausted: bool,
}

impl<T, N, E> Sender<'_, T, N, E>
where
    T: Send,
    N: FnMut() -> Option<Batch<T>> + Send,
    E: FnMut(SenderEvent<'_, T>) + Send,
{
    /// Runs one stream, from its opening until it breaks or all batches are answered.
    async fn session(&mut self) -> Result<(), Broken> {
        let (frames, queue) = mpsc::channel(self.window);
        // Frames are queued before the call: a server may answer the call only after the first
        // frame.
        self.send_again(&frames).await?;
        self.fill(&frames).await?;
        let mut acks = self.open(queue).await?;
        loop {
            if self.pending.is_empty() {
                return Ok(());
            }
            if !self.pending.values().any(|pending| pending.is_flying) {
                let why = self.wait_reason.as_deref().unwrap_or("the cluster requests a wait");
                self.patient(why.to_owned())?;
                let wait = self.patience.backoff().max(self.wait_asked);
                tokio::time::sleep(wait.min(self.patience.left())).await;
                self.send_again(&frames).await?;
            }
            match tokio::time::timeout(self.patience.left(), acks.message()).await {
                Ok(Ok(Some(ack))) => self.answered(&ack).await?,
                Ok(Ok(None)) => {
                    return Err(Broken::ForNow("the front ended the stream".to_owned()));
                }
                Ok(Err(status)) => return Err(self.broken(&status)),
                // The reason that the front gave for a wait is more useful than "no answer came".
                Err(_) => {
                    let why = self.wait_reason.take();
                    return Err(Broken::ForNow(why.unwrap_or_else(|| "no answer came".to_owned())));
                }
            }
            self.fill(&frames).await?;
        }
    }

    async fn open(
        &mut self,
        queue: mpsc::Receiver<BatchFrame>,
    ) -> Result<Streaming<BatchAck>, Broken> {
        let mut front = IngestServiceClient::new(self.front.channel())
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX);
        let call = front.ingest(ReceiverStream::new(queue));
        match tokio::time::timeout(self.patience.left(), call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.broken(&status)),
            Err(_) => Err(Broken::ForNow("the front did not take the stream".to_owned())),
        }
    }

    fn broken(&self, status: &Status) -> Broken {
        let error = explain(&self.front.in_use(), status);
        if is_transient(status) {
            Broken::ForNow(error.to_string())
        } else {
            Broken::ForGood(error)
        }
    }

    fn patient(&self, why: String) -> Result<(), Broken> {
        if self.patience.is_over() { Err(Broken::ForNow(why)) } else { Ok(()) }
    }

    /// Sends new batches while the window has room and no batch waits for a retry.
    async fn fill(&mut self, frames: &mpsc::Sender<BatchFrame>) -> Result<(), Broken> {
        if self.pending.values().any(|pending| !pending.is_flying) {
            return Ok(());
        }
        while !self.is_exhausted && self.pending.len() < self.window {
            let Some(batch) = (self.next)() else {
                self.is_exhausted = true;
                return Ok(());
            };
            if self.pending.is_empty() {
                // No batch was in flight: the time-out starts now.
                self.patience.progress();
            }
            // The batch becomes pending before it is sent: if sending fails, it is retried.
            let frame = batch.frame.clone();
            let number = batch.number;
            let pending = Pending { batch, first_sent: Instant::now(), is_flying: true };
            self.pending.insert(number, pending);
            put(frames, frame).await?;
        }
        Ok(())
    }

    async fn send_again(&mut self, frames: &mpsc::Sender<BatchFrame>) -> Result<(), Broken> {
        for pending in self.pending.values_mut() {
            pending.is_flying = true;
            put(frames, pending.batch.frame.clone()).await?;
        }
        Ok(())
    }

    fn all_to_be_sent_again(&mut self) {
        for pending in self.pending.values_mut() {
            pending.is_flying = false;
            (self.on_event)(SenderEvent::Retried { batch: &pending.batch });
        }
    }

    async fn answered(&mut self, ack: &BatchAck) -> Result<(), Broken> {
        match ack.status() {
            BatchStatus::Done | BatchStatus::Rejected => {
                if let Some(Pending { batch, first_sent, .. }) =
                    self.pending.remove(&ack.batch_number)
                {
                    let after = first_sent.elapsed();
                    (self.on_event)(SenderEvent::Answered { batch: &batch, ack, after });
                    self.patience.progress();
                }
                Ok(())
            }
            BatchStatus::Retry | BatchStatus::Unspecified => {
                if let Some(pending) = self.pending.get_mut(&ack.batch_number) {
                    pending.is_flying = false;
                    (self.on_event)(SenderEvent::Retried { batch: &pending.batch });
                }
                self.wait_asked = Duration::from_millis(u64::from(ack.retry_after_ms));
                self.wait_reason = Some(ack.message.clone());
                self.patient(ack.message.clone())
            }
        }
    }
}

async fn put(frames: &mpsc::Sender<BatchFrame>, frame: BatchFrame) -> Result<(), Broken> {
    // The queue holds a whole window, so this waits only under backpressure of the transport.
    frames.send(frame).await.map_err(|_| Broken::ForNow("the stream was closed".to_owned()))
}
