//! Clients: each sends its batches in order until each is acknowledged, and reads accounts
//! meanwhile.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use turnpike_proto::account::v1::account_service_client::AccountServiceClient;
use turnpike_proto::account::v1::{
    AccountCommand, AccountOutcome, ApplyRequest, ShowRequest, ShowResponse,
};
use turnpike_proto::dial::Dial;
use turnpike_proto::frame::BatchFrame;
use turnpike_proto::ingest::v1::ingest_service_client::IngestServiceClient;
use turnpike_proto::ingest::v1::{BatchAck, BatchStatus, RecordStatus};
use turnpike_proto::record::encode;
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

/// The position in the sending order, and the batch number.
type Sending = (usize, usize);

impl Client {
    /// Sends every batch until all are acknowledged.
    pub async fn send_all(&self, batches: &[Batch]) {
        let mut waiting: BTreeSet<Sending> = BTreeSet::new();
        let mut place = 0;
        for (number, batch) in batches.iter().enumerate() {
            for _ in 0..1 + usize::from(batch.twice) {
                waiting.insert((place, number));
                place += 1;
            }
        }
        let began = Instant::now();
        for turn in 0.. {
            let front = &self.fronts[turn % self.fronts.len()];
            let mut sender =
                Sender { client: self, batches, began, under_way: BTreeSet::new(), drains: false };
            let done = sender.stream(front, &mut waiting).await;
            waiting.extend(sender.under_way.iter().map(|&(number, place)| (place, number)));
            match done {
                Ok(()) if waiting.is_empty() => return,
                Ok(()) => {}
                Err(error) => {
                    tracing::info!(client = self.name, front, "turns to the next front: {error}")
                }
            }
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

/// A client's use of one ingest stream.
struct Sender<'a> {
    client: &'a Client,
    batches: &'a [Batch],
    began: Instant,
    /// The batches in flight, each as its number and its position in the sending order.
    under_way: BTreeSet<(usize, usize)>,
    /// Whether a batch must be sent again. If so, no batch is sent until all batches in flight are
    /// answered, which keeps the order.
    drains: bool,
}

impl Sender<'_> {
    async fn stream(&mut self, front: &str, waiting: &mut BTreeSet<Sending>) -> Result<()> {
        let channel = self.client.dial.channel(front)?;
        let mut ingest = IngestServiceClient::new(channel);
        let (requests, outgoing) = mpsc::channel(WINDOW * 2);
        let opened = ingest.ingest(ReceiverStream::new(outgoing));
        let mut acks = tokio::time::timeout(SILENCE, opened).await??.into_inner();
        while !waiting.is_empty() || !self.under_way.is_empty() {
            if self.drains && self.under_way.is_empty() {
                tokio::time::sleep(Duration::from_millis(30)).await;
                self.drains = false;
            }
            let due = self.fill(waiting, &requests)?;
            let silent = Instant::now() + SILENCE;
            let is_silent = !self.under_way.is_empty();
            tokio::select! {
                biased;
                ack = acks.message() => {
                    let ack = ack?.context("the front ended the stream")?;
                    self.settle(&ack, waiting)?;
                }
                () = tokio::time::sleep_until(due.unwrap_or(silent)), if due.is_some() => {}
                () = tokio::time::sleep_until(silent), if is_silent => bail!("silence"),
            }
        }
        Ok(())
    }

    /// Sends the batches that may be sent; returns the time at which the next is due.
    fn fill(
        &mut self,
        waiting: &mut BTreeSet<Sending>,
        requests: &mpsc::Sender<BatchFrame>,
    ) -> Result<Option<Instant>> {
        while !self.drains && self.under_way.len() < WINDOW {
            let Some(&(place, number)) = waiting.first() else { break };
            let batch = &self.batches[number];
            let due = self.began + batch.due;
            if due > Instant::now() {
                return Ok(Some(due));
            }
            if batch.alone && !self.under_way.is_empty() {
                break;
            }
            // Batches in flight must have different numbers.
            if self.under_way.range((number, 0)..=(number, usize::MAX)).next().is_some() {
                break;
            }
            waiting.pop_first();
            self.under_way.insert((number, place));
            let mut book = open(&self.client.book);
            for (record, kind) in &batch.records {
                let key = (record.account.0, record.record_id.clone());
                book.send(&key, record.quantity.unwrap_or_default(), *kind);
            }
            drop(book);
            let frame = frame(&self.client.name, number as u64, &batch.records);
            ensure!(requests.try_send(frame).is_ok(), "the stream accepts no frame");
        }
        Ok(None)
    }

    fn settle(&mut self, ack: &BatchAck, waiting: &mut BTreeSet<Sending>) -> Result<()> {
        let number = usize::try_from(ack.batch_number)?;
        let sent = self.under_way.range((number, 0)..=(number, usize::MAX)).next().copied();
        let (_, place) =
            sent.with_context(|| format!("an answer to batch {number}, which is not in flight"))?;
        self.under_way.remove(&(number, place));
        match ack.status() {
            BatchStatus::Done => self.write_down(number, ack),
            BatchStatus::Retry => {
                open(&self.client.book).resent += 1;
                waiting.insert((place, number));
                self.drains = true;
            }
            status => {
                let told = format!("batch {number} was answered {status:?}: {}", ack.message);
                open(&self.client.book).violations.push(told);
            }
        }
        Ok(())
    }

    fn write_down(&self, number: usize, ack: &BatchAck) {
        let mut book = open(&self.client.book);
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

fn frame(source: &str, number: u64, records: &[(UsageRecord, Kind)]) -> BatchFrame {
    let mut encoded: VecDeque<Vec<u8>> = VecDeque::new();
    for (record, _) in records {
        let mut bytes = Vec::new();
        encode(record, &mut bytes);
        encoded.push_back(bytes);
    }
    BatchFrame::build(source, number, encoded.iter().map(Vec::as_slice))
}
