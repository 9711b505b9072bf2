//! A client that sends each batch until it is acknowledged, and some batches twice.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, bail};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use turnpike_proto::frame::BatchFrame;
use turnpike_proto::ingest::v1::ingest_service_client::IngestServiceClient;
use turnpike_proto::ingest::v1::{BatchAck, BatchStatus};
use turnpike_proto::record::encode;
use turnpike_types::UsageRecord;

/// Maximum number of batches in flight.
const WINDOW: usize = 6;

/// The answers that a client received.
#[derive(Debug, Default)]
pub struct AnswerCounts {
    /// The number of records that were acknowledged as rated by this sending.
    pub accepted: u64,
    /// The number of records that were acknowledged as rated by an earlier sending.
    pub duplicates: u64,
    /// The number of records that were suspended or rejected.
    pub exceptions: u64,
    /// The number of events after which batches were sent again: intended duplicates, answers with
    /// RETRY, broken streams.
    pub resent: u64,
}

/// Sends `batches` to the front at `address` until each is acknowledged. About one in ten is sent a
/// second time, to test duplicates.
///
/// # Errors
/// A batch is refused, or no batch is acknowledged for two minutes.
pub async fn send_all(
    address: String,
    source: String,
    batches: Vec<Vec<UsageRecord>>,
    seed: u64,
) -> Result<AnswerCounts> {
    let mut chance = StdRng::seed_from_u64(seed);
    let mut told = AnswerCounts::default();
    let numbers = 0..batches.len() as u64;
    let again: Vec<u64> = numbers.clone().filter(|_| chance.random_ratio(1, 10)).collect();
    told.resent += again.len() as u64;
    let mut waiting: BTreeSet<Sending> = numbers.chain(again).enumerate().collect();
    while !waiting.is_empty() {
        // The front stopped or the stream broke: unanswered batches are sent again.
        if let Err(error) = stream(&address, &source, &batches, &mut waiting, &mut told).await {
            if error.is::<Refused>() {
                return Err(error);
            }
            told.resent += 1;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(told)
}

/// The position in the sending order, and the batch number. A batch that is sent again keeps its
/// position: the front guarantees order only for the first sending.
type Sending = (usize, u64);

/// A batch that the front refused.
#[derive(Debug)]
struct Refused(String);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a batch was refused: {}", self.0)
    }
}

impl std::error::Error for Refused {}

async fn stream(
    address: &str,
    source: &str,
    batches: &[Vec<UsageRecord>],
    waiting: &mut BTreeSet<Sending>,
    told: &mut AnswerCounts,
) -> Result<()> {
    let mut client = IngestServiceClient::connect(address.to_owned()).await?;
    let (sender, requests) = mpsc::channel(WINDOW);
    let mut acks = client.ingest(ReceiverStream::new(requests)).await?.into_inner();
    // The batches in flight, each as its number and its position in the sending order. A second
    // copy of a batch may be in flight at the same time as the first.
    let mut under_way: BTreeSet<(u64, usize)> = BTreeSet::new();
    // After a retryable answer nothing is sent until all batches in flight are answered. Then the
    // batches to be retried are sent first, oldest first, which keeps the order.
    let mut drains = false;
    let result = async {
        while !waiting.is_empty() || !under_way.is_empty() {
            if drains && under_way.is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
                drains = false;
            }
            while !drains && under_way.len() < WINDOW {
                let Some((place, number)) = waiting.pop_first() else { break };
                under_way.insert((number, place));
                sender.send(frame(source, number, &batches[number as usize])).await?;
            }
            let ack = tokio::time::timeout(Duration::from_secs(120), acks.message()).await??;
            let Some(ack) = ack else { bail!("the front ended the stream") };
            settle(&ack, &mut under_way, waiting, told)?;
            drains |= ack.status() == BatchStatus::Retry;
        }
        Ok(())
    };
    let result = result.await;
    waiting.extend(under_way.into_iter().map(|(number, place)| (place, number)));
    result
}

fn settle(
    ack: &BatchAck,
    under_way: &mut BTreeSet<(u64, usize)>,
    waiting: &mut BTreeSet<Sending>,
    told: &mut AnswerCounts,
) -> Result<()> {
    // If two copies of a batch are in flight, the answer belongs to the one that was sent first.
    let number = ack.batch_number;
    let Some(&sent) = under_way.range((number, 0)..=(number, usize::MAX)).next() else {
        bail!(Refused(format!("an answer to batch {number}, which is not in flight")));
    };
    under_way.remove(&sent);
    match ack.status() {
        BatchStatus::Done => {
            told.accepted += u64::from(ack.accepted);
            told.duplicates += ack.duplicates.len() as u64;
            told.exceptions += ack.exceptions.len() as u64;
        }
        BatchStatus::Retry => {
            told.resent += 1;
            waiting.insert((sent.1, number));
        }
        BatchStatus::Rejected | BatchStatus::Unspecified => {
            bail!(Refused(ack.message.clone()))
        }
    }
    Ok(())
}

fn frame(source: &str, number: u64, records: &[UsageRecord]) -> BatchFrame {
    let encoded: Vec<Vec<u8>> = records
        .iter()
        .map(|record| {
            let mut bytes = Vec::new();
            encode(record, &mut bytes);
            bytes
        })
        .collect();
    BatchFrame::build(source, number, encoded.iter().map(Vec::as_slice))
}
