//! One client that takes all it can get, beside another one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use attacks::bystander::ITS_ACCOUNTS;
use attacks::raw::ATTACKER;
use attacks::site::{ACCOUNTS, Effect, Site};
use tokio::task::JoinSet;
use tonic::transport::Endpoint;
use turnpike_client::{Batch, BatchSender, Dial, Fronts, SendEvent, batch_frame};
use turnpike_harness::oracle::SentKey;
use turnpike_proto::dial::DialError;
use turnpike_proto::ingest::v1::BatchStatus;
use turnpike_types::{AccountNumber, Timestamp, UsageRecord};

const RECORDS: u64 = 500;
/// A stream sends this number of batches and then the same ones again, because the keys of all records
/// are kept in memory: 1.2 million records by 12 streams.
const BATCHES: u64 = 200;
const LIMIT: Duration = Duration::from_secs(60);

/// Connects from the address of the attacker.
fn dial() -> Dial {
    Dial::new(|address| {
        let endpoint = Endpoint::from_shared(address.to_owned());
        let endpoint = endpoint
            .map_err(|error| DialError { address: address.to_owned(), cause: error.to_string() })?;
        Ok(endpoint.local_address(Some(ATTACKER)).connect_lazy())
    })
}

/// A batch of records of accounts that the other client does not use.
fn records(stream: u64, number: u64) -> Vec<UsageRecord> {
    let first = ITS_ACCOUNTS.end() + 1;
    (0..RECORDS)
        .map(|n| UsageRecord {
            record_id: format!("heavy-{stream}-{number}-{n}"),
            account: AccountNumber(first + (number + n) % (ACCOUNTS - first)),
            usage_type: "octets".to_owned(),
            start: Timestamp(1_772_427_600_000_000),
            quantity: Some(1 + n.cast_signed()),
            ..UsageRecord::default()
        })
        .collect()
}

/// Sends batches, `window` of them in flight, until `ends`. Returns what was acknowledged.
async fn send(
    url: String,
    stream: u64,
    window: usize,
    ends: impl Fn(u64) -> bool,
) -> Result<Vec<(SentKey, i64)>> {
    let fronts = Fronts::through(dial(), vec![url], LIMIT).await?;
    let mut sender = BatchSender::new(fronts, window)?;
    let (mut number, mut sent) = (0, Vec::new());
    loop {
        while sender.has_room() && !ends(number) {
            let records = records(stream, number % BATCHES);
            let frame = batch_frame("heavy", number, &records);
            sender.push(Batch { number, records: RECORDS as u32, frame, tag: records })?;
            number += 1;
        }
        match sender.next_event().await? {
            None => return Ok(sent),
            Some(SendEvent::Retried { .. }) => {}
            Some(SendEvent::Answered { batch, ack, .. }) => {
                if ack.status() != BatchStatus::Done || !ack.exceptions.is_empty() {
                    bail!("batch {}: {ack:?}", batch.number);
                }
                sent.extend(batch.tag.into_iter().filter_map(|record| {
                    Some(((record.account.0, record.record_id), record.quantity?))
                }));
            }
        }
    }
}

/// Sends `count` records, so that there is rated output.
pub(crate) async fn fill(site: &mut Site, count: u64) -> Result<()> {
    let sent = send(site.cluster.front(), 0, 8, |number| number * RECORDS >= count).await?;
    ensure!(sent.len() as u64 >= count, "{} records were sent", sent.len());
    site.sent.extend(sent);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_many_streams_takes_no_more_than_its_share() -> Result<()> {
    let _alone = crate::alone().await;
    let mut site = Site::start().await?;
    let (url, seconds) = (site.cluster.front(), site.form.pick(2, 60) as u64);
    let stops = Arc::new(AtomicBool::new(false));
    let mut streams = JoinSet::new();
    for stream in 1..=12 {
        let (url, stops) = (url.clone(), Arc::clone(&stops));
        streams.spawn(send(url, stream, 16, move |_| stops.load(Ordering::Relaxed)));
    }
    let mut acknowledged = Vec::new();
    let attack = async {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        stops.store(true, Ordering::Relaxed);
        while let Some(sent) = streams.join_next().await {
            acknowledged.extend(sent??);
        }
        let records = acknowledged.len();
        ensure!(records > 1_000, "the heavy client had {records} records acknowledged");
        let what = format!("12 streams, {records} records acknowledged");
        Ok(Effect { is_saturated: true, ..Effect::of(what) })
    };
    site.withstands("W8 a client with 12 streams", attack).await?;
    site.sent.extend(acknowledged);
    site.finish().await
}
