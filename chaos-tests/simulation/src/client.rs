//! Clients: one sends its batches in order until each is acknowledged, and looks at accounts meanwhile.

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

/// Batches under way at a time.
const WINDOW: usize = 5;
/// A client that hears nothing for this long turns to the next front.
const SILENCE: Duration = Duration::from_millis(2_500);
/// Who looks at accounts asks again sooner: what a superseded owner would say is to be heard.
const GLANCE: Duration = Duration::from_millis(500);
const TRY_AGAIN: Duration = Duration::from_millis(100);

/// Records that are sent together.
#[derive(Clone, Debug)]
pub struct Batch {
    /// With the answer that each must get.
    pub records: Vec<(UsageRecord, Kind)>,
    /// When it is sent at the earliest, from the beginning of sending.
    pub due: Duration,
    /// Only when all before it are acknowledged.
    pub alone: bool,
    /// It is sent a second time for no reason.
    pub twice: bool,
}

/// A client.
pub struct Client {
    /// Its name.
    pub name: String,
    /// Addresses of fronts.
    pub fronts: Vec<String>,
    /// How it reaches them.
    pub dial: Dial,
    /// Where it writes down what it hears.
    pub book: SharedBook,
    /// Its chance.
    pub seed: u64,
}

/// A place in the order of sending, and the batch's number.
type Sending = (usize, usize);

impl Client {
    /// Sends everything until it is acknowledged.
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
                Err(error) => tracing::info!(client = self.name, front, "turns away: {error}"),
            }
            open(&self.book).resent += 1;
            tokio::time::sleep(TRY_AGAIN).await;
        }
    }

    /// Has accounts opened, asking again until each is.
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

    /// Looks at accounts, one after the other, for ever: what it sees never lies behind what was
    /// acknowledged, and never falls back behind what it saw (P17, I6).
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

    /// Looks at every account through every front, when all is acknowledged: live state is what the
    /// records come to (I4).
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

/// A client's work on one stream.
struct Sender<'a> {
    client: &'a Client,
    batches: &'a [Batch],
    began: Instant,
    /// By number and place; a second copy may overlap the first.
    under_way: BTreeSet<(usize, usize)>,
    /// Something is to be sent again: nothing goes out until all is answered, so that order is kept.
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

    /// Sends what may go; when the next one is due.
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
            // Their numbers must differ while they are under way.
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
            ensure!(requests.try_send(frame).is_ok(), "the stream takes nothing");
        }
        Ok(None)
    }

    fn settle(&mut self, ack: &BatchAck, waiting: &mut BTreeSet<Sending>) -> Result<()> {
        let number = usize::try_from(ack.batch_number)?;
        let sent = self.under_way.range((number, 0)..=(number, usize::MAX)).next().copied();
        let (_, place) = sent.with_context(|| format!("an answer to {number}, not asked"))?;
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
