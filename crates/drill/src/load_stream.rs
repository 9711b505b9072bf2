//! The client of one partition: sends batches on schedule, keeps their order (P30), and retries
//! without a limit.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use turnpike_proto::frame::BatchFrame;
use turnpike_proto::ingest::v1::ingest_service_client::IngestServiceClient;
use turnpike_proto::ingest::v1::{BatchAck, BatchStatus};

use crate::clock::{LoadClock, Micros};
use crate::load::{BatchAnswer, Notes};
use crate::usage::Usage;

/// Maximum number of unanswered batches; the front reads at most 64 of a stream.
const WINDOW: usize = 60;
/// The wait between attempts to open a stream.
const AGAIN: Duration = Duration::from_millis(10);
/// The maximum wait after RETRY, even if the front requests a longer one: a longer wait would
/// lengthen the measured pause.
const WAIT_MAX: Duration = Duration::from_millis(100);

/// A batch to which the client has no final answer yet.
#[derive(Debug)]
struct Pending {
    number: u64,
    due: Micros,
    /// The time of the last sending; `None` while the batch waits to be sent or sent again.
    sent: Option<Micros>,
}

/// The client of one partition.
pub(crate) struct LoadStream {
    usage: Usage,
    source: String,
    clock: LoadClock,
    first_due: Micros,
    interval: f64,
    made: u64,
    /// The batches without a final answer, in the order of their numbers.
    pending: VecDeque<Pending>,
    /// Set after an answer RETRY: nothing is sent before this instant, or while a batch is in
    /// flight.
    drains: Option<Instant>,
    notes: Notes,
}

/// The reasons for which a stream ends.
enum Ended {
    /// All batches are answered, and no further ones follow.
    Done,
    Broken,
}

impl LoadStream {
    pub(crate) fn new(
        usage: Usage,
        clock: LoadClock,
        first_due: Micros,
        interval: f64,
        notes: Notes,
    ) -> Self {
        let source = format!("drill-{}", usage.partition);
        let (pending, drains) = (VecDeque::new(), None);
        Self { usage, source, clock, first_due, interval, made: 0, pending, drains, notes }
    }

    /// Sends until `stopping` is set and all batches are answered. Returns the partition and the
    /// number of batches.
    pub(crate) async fn run(
        mut self,
        channels: Vec<Channel>,
        stopping: watch::Receiver<bool>,
    ) -> Result<(u32, u64)> {
        for channel in channels.iter().cycle() {
            match self.stream(channel.clone(), stopping.clone()).await? {
                Ended::Done => break,
                Ended::Broken => {
                    self.notes.lock().breaks.push(self.clock.now());
                    self.send_all_again();
                    sleep(AGAIN).await;
                }
            }
        }
        Ok((self.usage.partition, self.made))
    }

    async fn stream(
        &mut self,
        channel: Channel,
        mut stopping: watch::Receiver<bool>,
    ) -> Result<Ended> {
        let (frames, queue) = mpsc::channel(WINDOW + 4);
        // Wait for the first batch, because a server may answer the call only after it.
        while self.pending.is_empty() {
            if *stopping.borrow_and_update() {
                return Ok(Ended::Done);
            }
            tokio::select! {
                () = sleep_until(self.clock.at(self.next_due())) => self.make_due(),
                _ = stopping.changed() => {}
            }
        }
        self.send(&frames);
        let mut client = IngestServiceClient::new(channel);
        let Ok(opened) = client.ingest(ReceiverStream::new(queue)).await else {
            return Ok(Ended::Broken);
        };
        let mut acks = opened.into_inner();
        loop {
            let stops = *stopping.borrow_and_update();
            if stops && self.pending.is_empty() {
                return Ok(Ended::Done);
            }
            let flies = self.pending.iter().any(|pending| pending.sent.is_some());
            tokio::select! {
                ack = acks.message() => match ack {
                    Ok(Some(ack)) => self.settle(&ack)?,
                    Ok(None) | Err(_) => return Ok(Ended::Broken),
                },
                () = sleep_until(self.clock.at(self.next_due())), if !stops => self.make_due(),
                () = sleep_until(self.drains.unwrap_or_else(Instant::now)), if self.drains.is_some() && !flies => {
                    self.drains = None;
                }
                changed = stopping.changed(), if !stops => changed?,
            }
            self.send(&frames);
        }
    }

    fn next_due(&self) -> Micros {
        self.first_due + (self.interval * self.made as f64) as Micros
    }

    /// Creates the batches that are due by now.
    fn make_due(&mut self) {
        let now = self.clock.now();
        while self.next_due() <= now {
            let due = self.next_due();
            self.pending.push_back(Pending { number: self.made, due, sent: None });
            self.made += 1;
        }
    }

    /// Sends pending batches in order: no new batch overtakes one that has to be sent again.
    fn send(&mut self, frames: &mpsc::Sender<BatchFrame>) {
        if self.drains.is_some() {
            return;
        }
        let now = self.clock.now();
        for pending in self.pending.iter_mut().take(WINDOW).filter(|pending| pending.sent.is_none())
        {
            let frame = self.usage.frame(&self.source, pending.number);
            if frames.try_send(frame).is_err() {
                return;
            }
            pending.sent = Some(now);
        }
    }

    fn send_all_again(&mut self) {
        self.pending.iter_mut().for_each(|pending| pending.sent = None);
        self.drains = None;
    }

    fn settle(&mut self, ack: &BatchAck) -> Result<()> {
        let Some(place) = self.pending.iter().position(|one| one.number == ack.batch_number) else {
            bail!("an answer to batch {}, which is already answered", ack.batch_number);
        };
        let now = self.clock.now();
        let partition = self.usage.partition;
        match ack.status() {
            BatchStatus::Done => {
                let Some(Pending { due, sent, .. }) = self.pending.remove(place) else {
                    return Ok(());
                };
                let mut observations = self.notes.lock();
                observations.answers.push(BatchAnswer {
                    partition,
                    due,
                    sent: sent.unwrap_or(now),
                    at: now,
                });
                observations.accepted += u64::from(ack.accepted) + ack.duplicates.len() as u64;
                observations.refused += ack.exceptions.len() as u64;
                if let Some(first) = ack.exceptions.first() {
                    observations.why.get_or_insert_with(|| first.reason.clone());
                }
            }
            BatchStatus::Retry => {
                let mut observations = self.notes.lock();
                observations.retries.push(now);
                observations.why.get_or_insert_with(|| ack.message.clone());
                drop(observations);
                if let Some(pending) = self.pending.get_mut(place) {
                    pending.sent = None;
                }
                let wait = Duration::from_millis(u64::from(ack.retry_after_ms)).min(WAIT_MAX);
                self.drains.get_or_insert_with(|| Instant::now() + wait);
            }
            BatchStatus::Rejected | BatchStatus::Unspecified => {
                bail!("a batch was rejected: {}", ack.message)
            }
        }
        Ok(())
    }
}
