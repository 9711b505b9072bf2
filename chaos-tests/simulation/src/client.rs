//! Clients: each sends its batches in order until each is acknowledged, and reads accounts
//! meanwhile.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use turnpike_client::{SendWindow, batch_frame};
use turnpike_proto::account::v1::account_service_client::AccountServiceClient;
use turnpike_proto::account::v1::{
    AccountCommand, AccountOutcome, ApplyRequest, ShowRequest, ShowResponse,
};
use turnpike_proto::dial::Dial;
use turnpike_proto::frame::BatchFrame;
use turnpike_proto::ingest::v1::ingest_service_client::IngestServiceClient;
use turnpike_proto::ingest::v1::{BatchAck, BatchStatus, RecordStatus};
use turnpike_types::UsageRecord;

use crate::book::{Answer, Kind, SharedBook, open};

/// Maximum number of batches in flight.
const WINDOW: usize = 5;
/// A client without an answer for this long uses the next front.
const SILENCE: Duration = Duration::from_millis(2_500);
/// The time-out of an account read. It is shorter than [`SILENCE`], so that a client reads often,
/// also from an owner that was superseded.
const GLANCE: Duration = Duration::from_millis(500);
const TRY_AGAIN: Duration = Duration::from_millis(100);

/// Records that are sent together.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The records, each with the answer that it must get.
    pub records: Vec<(UsageRecord, Kind)>,
    /// The earliest time of sending, counted from the start of the client.
    pub due: Duration,
    /// Whether the batch is sent only when all earlier batches are acknowledged.
    pub alone: bool,
    /// Whether the batch is sent a second time, to test duplicates.
    pub twice: bool,
}

/// A client.
pub struct Client {
    /// The name of the client.
    pub name: String,
    /// Addresses of fronts.
    pub fronts: Vec<String>,
    /// The dialler by which the client connects to the fronts.
    pub dial: Dial,
    /// The book where the client enters the records that it sends and the answers.
    pub book: SharedBook,
    /// The seed of the client's random numbers.
    pub seed: u64,
}

impl Client {
    /// Sends every batch until all are acknowledged.
    pub async fn send_all(&self, batches: &[Batch]) {
        let copies =
            |(number, batch): (usize, &Batch)| [number].repeat(1 + usize::from(batch.twice));
        let upcoming = batches.iter().enumerate().flat_map(copies).collect();
        let (began, window) = (Instant::now(), SendWindow::new(WINDOW));
        let mut sender = Sender { client: self, batches, began, upcoming, window };
        for turn in 0.. {
            let front = &self.fronts[turn % self.fronts.len()];
            match sender.stream(front).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::info!(client = self.name, front, "turns to the next front: {error}")
                }
            }
            sender.window.stream_broke();
            open(&self.book).resent += 1;
            tokio::time::sleep(TRY_AGAIN).await;
        }
    }

    /// Sends account commands, and retries each until it is applied.
    pub async fn open_accounts(&self, commands: Vec<AccountCommand>) {
        let mut waiting = commands;
        for turn in 0.. {
            let front = &self.fronts[turn % self.fronts.len()];
            if let Ok(done) = self.apply(front, &waiting).await {
                let mut done = done.into_iter();
                waiting.retain(|_| !done.next().unwrap_or_default());
            }
            if waiting.is_empty() {
                return;
            }
            tokio::time::sleep(TRY_AGAIN).await;
        }
    }

    async fn apply(&self, front: &str, commands: &[AccountCommand]) -> Result<Vec<bool>> {
        let mut accounts = AccountServiceClient::new(self.dial.channel(front)?);
        let request = ApplyRequest { commands: commands.to_vec() };
        let answer = tokio::time::timeout(SILENCE, accounts.apply(request)).await??;
        let is_done =
            |outcome| matches!(outcome, AccountOutcome::Applied | AccountOutcome::Already);
        Ok(answer.into_inner().results.iter().map(|result| is_done(result.outcome())).collect())
    }

    /// Reads accounts, one after another. Never returns. Checks that an account never shows less
    /// usage than was acknowledged before the read, and that epochs never decrease (P17, I6).
    pub async fn look_around(&self, accounts: &[u64], eye: u64) {
        let mut chance = StdRng::seed_from_u64(self.seed ^ (eye << 32));
        let mut channels: BTreeMap<String, Channel> = BTreeMap::new();
        let mut epochs: BTreeMap<u32, u64> = BTreeMap::new();
        loop {
            tokio::time::sleep(Duration::from_millis(chance.random_range(4..90))).await;
            let front = &self.fronts[chance.random_range(0..self.fronts.len())];
            let account = match open(&self.book).last {
                last if last > 0 && chance.random_ratio(3, 4) => last,
                _ => accounts[chance.random_range(0..accounts.len())],
            };
            if !channels.contains_key(front)
                && let Ok(channel) = self.dial.channel(front)
            {
                channels.insert(front.clone(), channel);
            }
            let Some(channel) = channels.get(front) else { continue };
            let (acknowledged, _) = open(&self.book).used(account);
            match show(channel.clone(), account, GLANCE).await {
                Ok(shown) => self.judge(&shown, acknowledged, &mut epochs),
                Err(_) => drop(channels.remove(front)),
            }
        }
    }

    fn judge(&self, shown: &ShowResponse, acknowledged: i128, epochs: &mut BTreeMap<u32, u64>) {
        let mut book = open(&self.book);
        book.shown += 1;
        let account = shown.account_number;
        let (_, sent) = book.used(account);
        let used = volume(shown);
        if used < acknowledged || used > sent {
            book.violations.push(format!(
                "P17: account {account} shows {used} under epoch {}; {acknowledged} were \
                 acknowledged before, {sent} sent",
                shown.epoch
            ));
        }
        let highest = epochs.entry(shown.partition).or_default();
        if shown.epoch < *highest {
            book.violations.push(format!(
                "I6: {} saw partition {} under epoch {}, after {highest}",
                self.name, shown.partition, shown.epoch
            ));
        }
        *highest = shown.epoch.max(*highest);
    }

    /// Reads every account through every front, after all records are acknowledged. Each account
    /// must show the sum of its records (I4).
    pub async fn audit(&self, accounts: &[u64]) {
        for front in &self.fronts {
            for &account in accounts {
                let (used, _) = open(&self.book).used(account);
                loop {
                    let shown = match self.dial.channel(front) {
                        Ok(channel) => show(channel, account, SILENCE).await,
                        Err(error) => Err(error.into()),
                    };
                    if let Ok(shown) = shown {
                        let seen = volume(&shown);
                        if seen != used {
                            open(&self.book).violations.push(format!(
                                "I4: account {account} shows {seen} at the end, {used} expected"
                            ));
                        }
                        break;
                    }
                    tokio::time::sleep(TRY_AGAIN).await;
                }
            }
        }
    }
}

async fn show(channel: Channel, account: u64, patience: Duration) -> Result<ShowResponse> {
    let request = ShowRequest { account_number: account };
    let mut accounts = AccountServiceClient::new(channel);
    Ok(tokio::time::timeout(patience, accounts.show(request)).await??.into_inner())
}

fn volume(shown: &ShowResponse) -> i128 {
    let volumes = shown.variables.iter().filter(|variable| variable.name == "octets/volume");
    volumes.map(|variable| variable.value.parse::<i128>().unwrap_or(-1)).sum()
}

/// A client's sending, on one ingest stream after another.
struct Sender<'a> {
    client: &'a Client,
    batches: &'a [Batch],
    began: Instant,
    /// The numbers of the batches that were not sent yet, in order; some occur twice.
    upcoming: VecDeque<usize>,
    /// The numbers of the unanswered batches.
    window: SendWindow<usize>,
}

impl Sender<'_> {
    /// Sends until all batches are acknowledged.
    async fn stream(&mut self, front: &str) -> Result<()> {
        let channel = self.client.dial.channel(front)?;
        let mut ingest = IngestServiceClient::new(channel);
        let (requests, outgoing) = mpsc::channel(WINDOW * 2);
        let opened = ingest.ingest(ReceiverStream::new(outgoing));
        let mut acks = tokio::time::timeout(SILENCE, opened).await??.into_inner();
        while !self.upcoming.is_empty() || !self.window.is_empty() {
            if self.window.resumes_at().is_some() {
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
            let due = self.fill(&requests)?;
            let silent = Instant::now() + SILENCE;
            let is_silent = self.window.in_flight() > 0;
            tokio::select! {
                biased;
                ack = acks.message() => {
                    let ack = ack?.context("the front ended the stream")?;
                    self.settle(&ack)?;
                }
                () = tokio::time::sleep_until(due.unwrap_or(silent)), if due.is_some() => {}
                () = tokio::time::sleep_until(silent), if is_silent => bail!("silence"),
            }
        }
        Ok(())
    }

    /// Sends the batches that may be sent; returns the time at which the next is due.
    fn fill(&mut self, requests: &mpsc::Sender<BatchFrame>) -> Result<Option<Instant>> {
        loop {
            while let Some(&mut number) = self.window.next_to_send(Instant::now().into_std()) {
                self.put(number, requests)?;
            }
            let Some(&number) = self.upcoming.front() else { return Ok(None) };
            if !self.window.has_room() {
                return Ok(None);
            }
            let batch = &self.batches[number];
            let due = self.began + batch.due;
            if due > Instant::now() {
                return Ok(Some(due));
            }
            // Batches in flight must have different numbers.
            let waits = batch.alone && !self.window.is_empty();
            if waits || self.window.contains(number as u64) {
                return Ok(None);
            }
            self.upcoming.pop_front();
            self.window.push(number as u64, number)?;
        }
    }

    fn put(&self, number: usize, requests: &mpsc::Sender<BatchFrame>) -> Result<()> {
        let records = &self.batches[number].records;
        let mut book = open(&self.client.book);
        for (record, kind) in records {
            let key = (record.account.0, record.record_id.clone());
            book.send(&key, record.quantity.unwrap_or_default(), *kind);
        }
        drop(book);
        let records = records.iter().map(|(record, _)| record);
        let frame = batch_frame(&self.client.name, number as u64, records);
        ensure!(requests.try_send(frame).is_ok(), "the stream accepts no frame");
        Ok(())
    }

    fn settle(&mut self, ack: &BatchAck) -> Result<()> {
        match ack.status() {
            BatchStatus::Done => {
                let number = self.window.done(ack.batch_number)?;
                self.write_down(number, ack);
            }
            BatchStatus::Retry => {
                self.window.retry(ack.batch_number, Instant::now().into_std())?;
                open(&self.client.book).resent += 1;
            }
            status => {
                let number = self.window.done(ack.batch_number)?;
                let told = format!("batch {number} was answered {status:?}: {}", ack.message);
                open(&self.client.book).violations.push(told);
            }
        }
        Ok(())
    }

    fn write_down(&self, number: usize, ack: &BatchAck) {
        let mut book = open(&self.client.book);
        *book.done.entry(self.client.name.clone()).or_default() += 1;
        let mut accepted = 0;
        for (index, (record, kind)) in (0u32..).zip(&self.batches[number].records) {
            let exception = ack.exceptions.iter().find(|result| result.index == index);
            let answer = match exception {
                Some(result) if result.status() == RecordStatus::Suspended => {
                    Answer::Suspended { reason: result.reason.clone(), replayed: result.replayed }
                }
                Some(result) => Answer::Rejected(result.reason.clone()),
                None if ack.duplicates.contains(&index) => Answer::Duplicate,
                None => Answer::Accepted,
            };
            accepted += u32::from(answer == Answer::Accepted);
            let key = (record.account.0, record.record_id.clone());
            book.told(&key, *kind, &answer);
        }
        if accepted != ack.accepted {
            let told = format!("batch {number}: {accepted} accepted, {} told", ack.accepted);
            book.violations.push(told);
        }
    }
}
