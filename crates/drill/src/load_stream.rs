//! The client of one partition: sends batches on schedule, keeps their order (P30), and retries
//! without a limit.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use turnpike_client::SendWindow;
use turnpike_proto::frame::BatchFrame;
use turnpike_proto::ingest::v1::ingest_service_client::IngestServiceClient;
use turnpike_proto::ingest::v1::{BatchAck, BatchStatus};

use crate::clock::{LoadClock, Micros};
use crate::observations::{BatchAnswer, Notes};
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
    /// The time of the last sending.
    sent: Micros,
}

/// The client of one partition.
pub(crate) struct LoadStream {
    usage: Usage,
    source: String,
    clock: LoadClock,
    first_due: Micros,
    interval: f64,
    /// The number of batches that have fallen due.
    made: u64,
    /// The number of these that are in the window or were in it. The window is closed to others
    /// while it is full, and after an answer RETRY.
    admitted: u64,
    /// The batches without a final answer that were sent, or are to be sent again.
    window: SendWindow<Pending>,
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
        let (made, admitted, window) = (0, 0, SendWindow::new(WINDOW));
        Self { usage, source, clock, first_due, interval, made, admitted, window, notes }
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
                    self.window.stream_broke();
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
        while self.is_idle() {
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
            if stops && self.is_idle() {
                return Ok(Ended::Done);
            }
            let resumes = self.window.resumes_at().map(Instant::from_std);
            tokio::select! {
                ack = acks.message() => match ack {
                    Ok(Some(ack)) => self.settle(&ack)?,
                    Ok(None) | Err(_) => return Ok(Ended::Broken),
                },
                () = sleep_until(self.clock.at(self.next_due())), if !stops => self.make_due(),
                () = sleep_until(resumes.unwrap_or_else(Instant::now)), if resumes.is_some() => {}
                changed = stopping.changed(), if !stops => changed?,
            }
            self.send(&frames);
        }
    }

    /// Whether every batch that has fallen due is answered.
    fn is_idle(&self) -> bool {
        self.window.is_empty() && self.admitted == self.made
    }

    fn due(&self, number: u64) -> Micros {
        self.first_due + (self.interval * number as f64) as Micros
    }

    fn next_due(&self) -> Micros {
        self.due(self.made)
    }

    /// Creates the batches that are due by now.
    fn make_due(&mut self) {
        let now = self.clock.now();
        while self.next_due() <= now {
            self.made += 1;
        }
    }

    /// Sends batches in order: no new batch overtakes one that has to be sent again.
    fn send(&mut self, frames: &mpsc::Sender<BatchFrame>) {
        let now = self.clock.now();
        loop {
            while self.admitted < self.made && self.window.has_room() {
                let number = self.admitted;
                let pending = Pending { number, due: self.due(number), sent: now };
                if self.window.push(number, pending).is_err() {
                    break;
                }
                self.admitted += 1;
            }
            let Some(pending) = self.window.next_to_send(Instant::now().into_std()) else { return };
            pending.sent = now;
            let frame = self.usage.frame(&self.source, pending.number);
            // The queue holds more than a window. If it is closed, the stream has ended: then the
            // batch is sent on the next one.
            if frames.try_send(frame).is_err() {
                return;
            }
        }
    }

    fn settle(&mut self, ack: &BatchAck) -> Result<()> {
        let number = ack.batch_number;
        let now = self.clock.now();
        let partition = self.usage.partition;
        match ack.status() {
            BatchStatus::Done => {
                let Pending { due, sent, .. } = self.window.done(number)?;
                let mut observations = self.notes.lock();
                observations.answers.push(BatchAnswer { partition, due, sent, at: now });
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
                // The first of several refusals determines the wait.
                let asked = Duration::from_millis(u64::from(ack.retry_after_ms)).min(WAIT_MAX);
                let wait = if self.window.is_held() { Duration::ZERO } else { asked };
                self.window.retry(number, (Instant::now() + wait).into_std())?;
            }
            BatchStatus::Rejected | BatchStatus::Unspecified => {
                bail!("a batch was rejected: {}", ack.message)
            }
        }
        Ok(())
    }
}
