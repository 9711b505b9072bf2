//! Sends usage records to a cluster, and pulls the charge lines.
//!
//! ```text
//!   TURNPIKE_FRONT=http://127.0.0.1:7070 cargo run -p turnpike-client --example send_usage
//! ```
//!
//! The records are of account 1001 in March 2026: `turnpike up --accept-since 2026-01-01`, then
//! publish `examples/plan.xml` and import `examples/accounts.csv`.

use std::env::VarError;
use std::error::Error;
use std::time::Duration;

use turnpike_client::{
    AccountNumber, BatchBuilder, BatchSender, BatchStatus, ChargeLine, FeedConsumer, Fronts,
    SendEvent, Timestamp, UsageRecord,
};

/// 2026-03-02T08:00:00Z, in microseconds since 1970.
const START_US: i64 = 1_772_438_400_000_000;

/// The outcomes of the records that were sent.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// Rated now.
    pub accepted: u64,
    /// Rated at an earlier sending.
    pub duplicates: u64,
    /// Suspended or rejected: the id of the record, and the reason.
    pub exceptions: Vec<(String, String)>,
}

/// The records to be sent. A program that starts again must give each record the same id as before:
/// by the id, the cluster recognizes what it has already.
pub fn records() -> Vec<UsageRecord> {
    let record = |hour: i64| UsageRecord {
        record_id: format!("example-{hour}"),
        account: AccountNumber(1001),
        usage_type: "octets".to_owned(),
        start: Timestamp(START_US + hour * 3_600_000_000),
        quantity: Some(40_000_000),
        ..UsageRecord::default()
    };
    (0..100).map(record).collect()
}

/// Sends records until each has its final answer.
pub async fn send(fronts: Fronts, records: &[UsageRecord]) -> Result<Outcomes, Box<dyn Error>> {
    let mut sender = BatchSender::new(fronts, 16)?;
    let mut builder = BatchBuilder::new("example", 2_000)?;
    let mut outcomes = Outcomes::default();
    for record in records {
        // The tag of each record comes back with the answer.
        let Some(batch) = builder.add(record, record.record_id.clone())? else { continue };
        while !sender.has_room() {
            let Some(event) = sender.next_event().await? else { break };
            count(&mut outcomes, event);
        }
        sender.push(batch)?;
    }
    let mut last = builder.take();
    sender.send_all(|| last.take(), |event| count(&mut outcomes, event)).await?;
    Ok(outcomes)
}

fn count(outcomes: &mut Outcomes, event: SendEvent<Vec<String>>) {
    let SendEvent::Answered { batch, ack, .. } = event else { return };
    if ack.status() == BatchStatus::Rejected {
        // The batch as a whole was not valid.
        let told = batch.tag.into_iter().map(|record_id| (record_id, ack.message.clone()));
        outcomes.exceptions.extend(told);
        return;
    }
    outcomes.accepted += u64::from(ack.accepted);
    outcomes.duplicates += ack.duplicates.len() as u64;
    for result in ack.exceptions {
        let record_id = batch.tag[result.index as usize].clone();
        outcomes.exceptions.push((record_id, result.reason));
    }
}

/// Pulls the charge lines that were not acknowledged under this name, and acknowledges each page
/// after it was stored.
pub async fn pull(fronts: Fronts, name: &str) -> Result<Vec<ChargeLine>, Box<dyn Error>> {
    let mut consumer = FeedConsumer::register(fronts, name).await?;
    let mut pages = consumer.pull(10_000, 0).await?;
    let mut stored = Vec::new();
    while let Some(page) = pages.next_page().await? {
        // A real program writes the lines to a file or database here, durably.
        stored.extend_from_slice(&page.lines);
        consumer.acknowledge(&page).await?;
    }
    Ok(stored)
}

/// Sends the records and pulls their lines.
pub async fn run(urls: Vec<String>) -> Result<(Outcomes, Vec<ChargeLine>), Box<dyn Error>> {
    let fronts = Fronts::connect(urls, Duration::from_secs(30)).await?;
    let outcomes = send(fronts.clone(), &records()).await?;
    let lines = pull(fronts, "example").await?;
    Ok((outcomes, lines))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let urls = match std::env::var("TURNPIKE_FRONT") {
        Err(VarError::NotPresent) => "http://127.0.0.1:7070".to_owned(),
        given => given?,
    };
    let (outcomes, lines) = run(urls.split(',').map(str::to_owned).collect()).await?;
    let Outcomes { accepted, duplicates, exceptions } = &outcomes;
    println!("{accepted} accepted, {duplicates} duplicates, {} others", exceptions.len());
    for (record_id, reason) in exceptions {
        println!("{record_id}: {reason}");
    }
    for line in &lines {
        println!("{} {} {} {}", line.record_id, line.component, line.amount, line.currency);
    }
    Ok(())
}
