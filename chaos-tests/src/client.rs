//! A client that sends each batch until it is acknowledged, and some batches twice.

use std::time::Duration;

use anyhow::{Result, bail};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use turnpike_client::{Batch, BatchSender, Fronts, SendEvent, batch_frame};
use turnpike_proto::dial::Dial;
use turnpike_proto::ingest::v1::BatchStatus;
use turnpike_types::UsageRecord;

/// Maximum number of batches in flight.
const WINDOW: usize = 6;
/// The maximum time without an acknowledgement.
const LIMIT: Duration = Duration::from_secs(120);

/// The answers that a client received.
#[derive(Debug, Default)]
pub struct AnswerCounts {
    /// The number of records that were acknowledged as rated by this sending.
    pub accepted: u64,
    /// The number of records that were acknowledged as rated by an earlier sending.
    pub duplicates: u64,
    /// The number of records that were suspended or rejected.
    pub exceptions: u64,
    /// The number of batches that were sent again: as intended duplicates, after RETRY, or after a
    /// broken stream.
    pub resent: u64,
}

/// Sends `batches` to the front at `address` until each is acknowledged. About one in ten is sent a
/// second time, under another number, to test duplicates.
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
    let again: Vec<_> = batches.iter().filter(|_| chance.random_ratio(1, 10)).collect();
    let mut told = AnswerCounts { resent: again.len() as u64, ..AnswerCounts::default() };
    // A batch keeps its place in the order when it is sent again; the copies follow all batches.
    let mut upcoming = batches.iter().chain(again).zip(0..).map(|(records, number)| {
        let frame = batch_frame(&source, number, records);
        Batch { number, records: records.len() as u32, frame, tag: () }
    });
    // The front may not run yet.
    let fronts = Fronts::through(Dial::default(), vec![address], LIMIT).await?;
    let mut sender = BatchSender::new(fronts, WINDOW)?;
    loop {
        while sender.has_room()
            && let Some(batch) = upcoming.next()
        {
            sender.push(batch)?;
        }
        match sender.next_event().await? {
            None => return Ok(told),
            Some(SendEvent::Retried { .. }) => told.resent += 1,
            Some(SendEvent::Answered { ack, .. }) => {
                if ack.status() != BatchStatus::Done {
                    bail!("a batch was refused: {}", ack.message);
                }
                told.accepted += u64::from(ack.accepted);
                told.duplicates += ack.duplicates.len() as u64;
                told.exceptions += ack.exceptions.len() as u64;
            }
        }
    }
}
