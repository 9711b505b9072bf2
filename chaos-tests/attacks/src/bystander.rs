//! Another client, which sends small batches all the time while an attack goes on.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::time::Instant;
use turnpike_client::{Batch, BatchSender, Fronts, SendEvent, batch_frame};
use turnpike_harness::oracle::SentKey;
use turnpike_proto::account::v1::ShowRequest;
use turnpike_proto::account::v1::account_service_client::AccountServiceClient;
use turnpike_proto::ingest::v1::{BatchAck, BatchStatus};
use turnpike_types::{AccountNumber, Timestamp, UsageRecord};

/// The accounts to which the other client alone sends.
pub const ITS_ACCOUNTS: std::ops::RangeInclusive<u64> = 1..=20;
/// The number of records in a batch.
const RECORDS: usize = 10;
/// The pause between two batches.
const PAUSE: Duration = Duration::from_millis(5);
/// The client opens another connection after this number of batches.
pub const BATCHES_A_CONNECTION: u64 = 20;
/// The client shows an account after this number of batches.
const BATCHES_A_SHOW: u64 = 8;
/// It fails if a request is not carried out within this time.
const LIMIT: Duration = Duration::from_secs(30);

/// The client, on a thread of its own.
#[derive(Debug)]
pub struct Bystander {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<BTreeMap<SentKey, i64>>>>,
}

#[derive(Debug, Default)]
struct Shared {
    stops: AtomicBool,
    answered: AtomicU64,
    waits: Mutex<Vec<Duration>>,
}

impl Bystander {
    /// Begins to send to the front at `url`.
    ///
    /// # Errors
    /// There is no thread for it.
    pub fn start(url: String) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let its = Arc::clone(&shared);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().spawn(move || runtime.block_on(send(&url, &its)));
        Ok(Self { shared, thread: Some(thread?) })
    }

    /// The 99th percentile and the number of its waits since the last call: each is the time from
    /// a request to its durable answer.
    ///
    /// # Errors
    /// The client has failed; the message says why.
    pub fn p99(&mut self) -> Result<(Duration, usize)> {
        if self.thread.as_ref().is_some_and(JoinHandle::is_finished) {
            self.end()?;
        }
        let mut waits = {
            let mut waits = self.shared.waits.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *waits)
        };
        waits.sort_unstable();
        let at = (waits.len() * 99 / 100).min(waits.len().saturating_sub(1));
        Ok((waits.get(at).copied().unwrap_or_default(), waits.len()))
    }

    /// Waits until the client has made a whole connection's requests from now on, so that at least
    /// one connection was opened since.
    ///
    /// # Errors
    /// The client has failed, or this takes longer than `limit`.
    pub async fn served(&mut self, limit: Duration) -> Result<()> {
        let answered = || self.shared.answered.load(Ordering::Relaxed);
        let (before, until) = (answered(), Instant::now() + limit);
        while answered() < before + 2 * BATCHES_A_CONNECTION {
            let count = answered() - before;
            ensure!(Instant::now() < until, "{count} answers to the other client in {limit:?}");
            if self.thread.as_ref().is_some_and(JoinHandle::is_finished) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if self.thread.as_ref().is_some_and(JoinHandle::is_finished) {
            self.end()?;
        }
        Ok(())
    }

    /// Stops the client, and returns the records that were acknowledged.
    ///
    /// # Errors
    /// The client has failed.
    pub fn stop(mut self) -> Result<BTreeMap<SentKey, i64>> {
        self.shared.stops.store(true, Ordering::Relaxed);
        self.end()
    }

    fn end(&mut self) -> Result<BTreeMap<SentKey, i64>> {
        let thread = self.thread.take().context("the other client was stopped")?;
        let ended = thread.join().map_err(|_| anyhow::anyhow!("the other client panicked"))?;
        ended.context("the other client was not served")
    }
}

impl Shared {
    fn note(&self, began: Instant) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        waits.push(began.elapsed());
    }
}

async fn send(url: &str, shared: &Shared) -> Result<BTreeMap<SentKey, i64>> {
    let mut sent = BTreeMap::new();
    let mut number = 0;
    while !shared.stops.load(Ordering::Relaxed) {
        let fronts = Fronts::connect(vec![url.to_owned()], LIMIT).await?;
        let mut sender = BatchSender::new(fronts.clone(), 1)?;
        for _ in 0..BATCHES_A_CONNECTION {
            let records = records(number);
            for record in &records {
                let quantity = record.quantity.context("a record without a quantity")?;
                sent.insert((record.account.0, record.record_id.clone()), quantity);
            }
            let began = Instant::now();
            send_one(&mut sender, number, &records).await?;
            shared.note(began);
            if number.is_multiple_of(BATCHES_A_SHOW) {
                let began = Instant::now();
                show(&fronts, number % ITS_ACCOUNTS.end() + 1).await?;
                shared.note(began);
            }
            number += 1;
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(sent)
}

/// Sends a batch until it has its answer, which must be the one to this batch.
async fn send_one(
    sender: &mut BatchSender<()>,
    number: u64,
    records: &[UsageRecord],
) -> Result<()> {
    let frame = batch_frame("bystander", number, records);
    sender.push(Batch { number, records: RECORDS as u32, frame, tag: () })?;
    loop {
        match sender.next_event().await?.context("no answer")? {
            SendEvent::Retried { .. } => {}
            SendEvent::Answered { ack, .. } => {
                ensure!(is_its_own(&ack, number), "batch {number} was answered {ack:?}");
                return Ok(());
            }
        }
    }
}

fn is_its_own(ack: &BatchAck, number: u64) -> bool {
    ack.batch_number == number
        && ack.status() == BatchStatus::Done
        && ack.accepted as usize + ack.duplicates.len() == RECORDS
}

async fn show(fronts: &Fronts, account_number: u64) -> Result<()> {
    let shown = fronts.call(|channel| async move {
        let request = ShowRequest { account_number };
        AccountServiceClient::new(channel).show(request).await
    });
    let shown = shown.await?;
    ensure!(shown.account_number == account_number, "account {account_number}: {shown:?}");
    Ok(())
}

fn records(number: u64) -> Vec<UsageRecord> {
    (0..RECORDS as u64)
        .map(|n| UsageRecord {
            record_id: format!("bystander-{number}-{n}"),
            account: AccountNumber((number + n) % ITS_ACCOUNTS.end() + 1),
            usage_type: "octets".to_owned(),
            start: Timestamp(1_772_427_600_000_000),
            quantity: Some(1 + (number + n).cast_signed() % 500),
            ..UsageRecord::default()
        })
        .collect()
}
