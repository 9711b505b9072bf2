//! The demo's usage: octet records over several streams, at an even rate, counted as they are sent.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prost::Message as _;
use tokio::task::JoinSet;
use tokio::time::Instant;
use turnpike_client::SendEvent;
use turnpike_proto::ingest::v1::UsageRecord;
use turnpike_types::AccountRange;

use crate::client::Front;
use crate::generator::{Generator, GeneratorOptions, UsageKind, share};
use crate::tally::Tally;

/// The number of concurrent client streams.
const STREAMS: u16 = 4;
/// Records per batch; each batch has records of every partition.
const BATCH: u32 = 250;
/// The duration of the traffic: enough for a takeover and a handback in the middle.
const PACE: Duration = Duration::from_secs(12);
/// The number of rounds into which each stream divides [`PACE`], with a pause after each.
const ROUNDS: u32 = 120;

/// An answered batch: the time of sending and the time of the answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnsweredBatch {
    pub(crate) sent: Instant,
    pub(crate) answered: Instant,
}

/// The records sent, counted from the encoded bytes.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) records: u64,
    /// The octets sent for each account.
    pub(crate) octets: HashMap<u64, u64>,
}

/// The state shared by all streams.
#[derive(Debug)]
pub(crate) struct Traffic {
    pub(crate) accounts: AccountRange,
    pub(crate) records: u64,
    start_us: i64,
    pub(crate) answered: AtomicU64,
    answers: Mutex<Vec<AnsweredBatch>>,
    ledger: Mutex<Ledger>,
}

impl Traffic {
    /// Traffic of octet records for these accounts.
    pub(crate) fn new(accounts: AccountRange, records: u64, start_us: i64) -> Arc<Self> {
        Arc::new(Self {
            accounts,
            records,
            start_us,
            answered: AtomicU64::new(0),
            answers: Mutex::default(),
            ledger: Mutex::default(),
        })
    }

    fn generator(&self, stream: u16) -> (Generator, u64) {
        let spec = GeneratorOptions {
            kind: UsageKind::Octets,
            run: "demo",
            stream,
            accounts: self.accounts,
            batch_records: BATCH,
            attributes: 0,
            start_us: self.start_us,
        };
        (Generator::new(&spec), share(self.records, stream, STREAMS))
    }

    /// Sends all records at an even rate; ends when each has its durable answer.
    pub(crate) async fn flow(self: Arc<Self>, front: Front) -> anyhow::Result<Tally> {
        let mut streams = JoinSet::new();
        for stream in 0..STREAMS {
            streams.spawn(Arc::clone(&self).stream(front.again().await?, stream));
        }
        let mut tally = Tally::default();
        while let Some(stream) = streams.join_next().await {
            tally.add(&stream??);
        }
        Ok(tally)
    }

    async fn stream(self: Arc<Self>, front: Front, stream: u16) -> anyhow::Result<Tally> {
        let (mut generator, share) = self.generator(stream);
        let mut tally = Tally::default();
        let began = Instant::now();
        for round in 0..ROUNDS {
            let (from, to) = (u64::from(round), u64::from(round) + 1);
            let rounds = u64::from(ROUNDS);
            let mut left = share * to / rounds - share * from / rounds;
            let next = || generator.next_batch(&mut left).inspect(|batch| self.enter(&batch.frame));
            front
                .send(8, next, |event| {
                    tally.count(&event);
                    if let SendEvent::Answered { batch, after, .. } = event {
                        self.answered.fetch_add(u64::from(batch.records), Ordering::Relaxed);
                        let answered = Instant::now();
                        let sent = answered.checked_sub(after).unwrap_or(answered);
                        let mut answers =
                            self.answers.lock().unwrap_or_else(PoisonError::into_inner);
                        answers.push(AnsweredBatch { sent, answered });
                    }
                })
                .await?;
            let due = PACE * (round + 1) / ROUNDS;
            tokio::time::sleep(due.saturating_sub(began.elapsed())).await;
        }
        Ok(tally)
    }

    /// Sends the first stream's records again, at full speed. The ledger does not count them.
    pub(crate) async fn again(&self, front: &Front) -> anyhow::Result<Tally> {
        let (mut generator, mut left) = self.generator(0);
        let mut tally = Tally::default();
        let next = || generator.next_batch(&mut left);
        front.send(8, next, |event| tally.count(&event)).await?;
        Ok(tally)
    }

    /// Adds a batch's records to the ledger, decoded from their protobuf bytes.
    fn enter(&self, frame: &turnpike_proto::frame::BatchFrame) {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        // A record that can't be decoded is missing from the ledger, and then the audit fails.
        let _ = frame.walk(|record| {
            if let Ok(record) = UsageRecord::decode(record) {
                ledger.records += 1;
                let octets = record.quantity.unwrap_or_default().unsigned_abs();
                *ledger.octets.entry(record.account_number).or_default() += octets;
            }
        });
    }

    /// Takes the ledger; a later call returns an empty one.
    pub(crate) fn ledger(&self) -> Ledger {
        std::mem::take(&mut self.ledger.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The answered batches so far.
    pub(crate) fn answers(&self) -> Vec<AnsweredBatch> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
