//! Checks from outside the cluster: on the feed, and on the log in the database. The tests in
//! chaos-tests use them too.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use turnpike_account::PartitionState;
use turnpike_proto::feed::v1::feed_service_client::FeedServiceClient;
use turnpike_proto::feed::v1::{ChargeLine, Cursor, PullRequest, RegisterRequest};
use turnpike_segment::Segment;
use turnpike_store::{SegmentRow, SharedDatabase};
use turnpike_types::{Epoch, PartitionId, SegmentHash, SegmentNumber};

/// Pulls all rated output.
///
/// # Errors
/// The feed can't be pulled, or its control totals differ from its lines.
pub async fn pull_everything(front: &str) -> Result<Vec<ChargeLine>> {
    pull(front, Vec::new()).await
}

/// Pulls the rated output that follows these cursors.
///
/// # Errors
/// As [`pull_everything`]; the control totals of a segment are not compared if its first lines are
/// before the cursor.
pub async fn pull_behind(front: &str, cursors: Vec<Cursor>) -> Result<Vec<ChargeLine>> {
    pull(front, cursors).await
}

async fn pull(front: &str, from: Vec<Cursor>) -> Result<Vec<ChargeLine>> {
    let mut feed =
        FeedServiceClient::connect(front.to_owned()).await?.max_decoding_message_size(64 << 20);
    let consumer = "turnpike-drill".to_owned();
    feed.register(RegisterRequest { consumer: consumer.clone() }).await?;
    let request = PullRequest { consumer, from, ..PullRequest::default() };
    let mut pages = feed.pull(request).await?.into_inner();
    let (mut lines, mut told) = (Vec::new(), 0);
    while let Some(page) = pages.message().await? {
        told += page.totals.iter().map(|totals| totals.lines).sum::<u64>();
        lines.extend(page.lines);
    }
    ensure!(told == lines.len() as u64, "control totals: {told}, lines: {}", lines.len());
    Ok(lines)
}

/// The key of a sent record: account number and record id.
pub type SentKey = (u64, String);

/// Checks I1 and I2: every sent record has lines for exactly its quantity, in one segment, and no
/// other record has lines.
///
/// # Errors
/// The first record that was lost, doubled, or never sent.
pub fn check_each_rated_once(lines: &[ChargeLine], sent: &BTreeMap<SentKey, i64>) -> Result<()> {
    let mut rated: BTreeMap<SentKey, (i128, (u32, u64))> = BTreeMap::new();
    for line in lines {
        let key = (line.account_number, line.record_id.clone());
        let place = (line.partition, line.segment);
        let (units, first) = rated.entry(key).or_insert((0, place));
        ensure!(*first == place, "record {} is in two segments", line.record_id);
        *units += line.units.parse::<i128>()?;
    }
    for (key, quantity) in sent {
        let (units, _) = rated.get(key).with_context(|| format!("record {key:?} was lost"))?;
        ensure!(*units == i128::from(*quantity), "record {key:?}: {units} of {quantity} units");
    }
    ensure!(rated.len() == sent.len(), "{} records rated, {} sent", rated.len(), sent.len());
    Ok(())
}

/// Checks the amount that each account pays under `tests/octets.xml`, computed independently: 1,000
/// octets are free, each further one costs 0.00005 USD, in any order of records.
///
/// # Errors
/// The first account with another amount.
pub fn check_amounts(lines: &[ChargeLine], sent: &BTreeMap<SentKey, i64>) -> Result<()> {
    let mut octets: BTreeMap<u64, i128> = BTreeMap::new();
    sent.iter()
        .for_each(|((account, _), n)| *octets.entry(*account).or_default() += i128::from(*n));
    let mut nanos: BTreeMap<u64, i128> = BTreeMap::new();
    for line in lines {
        let (whole, part) = line.amount.split_once('.').context("an amount has nine decimals")?;
        let amount = whole.parse::<i128>()? * 1_000_000_000 + part.parse::<i128>()?;
        *nanos.entry(line.account_number).or_default() += amount;
    }
    for (account, octets) in octets {
        let expected = (octets - 1_000).max(0) * 50_000;
        let charged = nanos.get(&account).copied().unwrap_or_default();
        ensure!(charged == expected, "account {account}: {charged} charged, {expected} expected");
    }
    Ok(())
}

/// Reads the log of a partition.
///
/// # Errors
/// The database does not answer.
pub async fn log(db: &dyn SharedDatabase, partition: PartitionId) -> Result<Vec<SegmentRow>> {
    log_behind(db, partition, SegmentNumber(0)).await
}

/// Reads the log of a partition after a segment.
///
/// # Errors
/// The database does not answer.
pub async fn log_behind(
    db: &dyn SharedDatabase,
    partition: PartitionId,
    begin: SegmentNumber,
) -> Result<Vec<SegmentRow>> {
    let mut rows: Vec<SegmentRow> = Vec::new();
    loop {
        let after = rows.last().map_or(begin, |row| row.segment);
        let more = db.read_segments(partition, after, 8 << 20).await?;
        if more.is_empty() {
            return Ok(rows);
        }
        rows.extend(more);
    }
}

/// Checks I3: the segments have no gap, the epochs never decrease, and the chain of hashes is
/// unbroken.
///
/// # Errors
/// The first segment that violates I3.
pub fn check_chain(rows: &[SegmentRow]) -> Result<()> {
    check_chain_behind(SegmentNumber(0), SegmentHash::default(), rows)
}

/// Checks I3 for the part of a log after the segment with this number and hash.
///
/// # Errors
/// As [`check_chain`].
pub fn check_chain_behind(
    begin: SegmentNumber,
    begin_hash: SegmentHash,
    rows: &[SegmentRow],
) -> Result<()> {
    let (mut number, mut epoch, mut hash) = (begin.0, Epoch::UNOWNED, begin_hash);
    for row in rows {
        let segment = row.segment;
        ensure!(segment.0 == number + 1, "segment {segment} follows segment {number}");
        ensure!(row.epoch >= epoch, "the epoch decreases at segment {segment}");
        ensure!(row.prev_hash == hash, "the chain breaks at segment {segment}");
        Segment::decode_checked(&row.body, row.prev_hash, row.hash)?;
        (number, epoch, hash) = (segment.0, row.epoch, row.hash);
    }
    Ok(())
}

/// Checks I4: each retained checkpoint with a replay of the later segments gives the same bytes as
/// a replay of the whole log. Returns the number of checkpoints.
///
/// # Errors
/// The first checkpoint that violates I4.
pub async fn check_replay(
    db: &dyn SharedDatabase,
    partition: PartitionId,
    rows: &[SegmentRow],
) -> Result<usize> {
    let whole = replay(PartitionState::default(), rows)?.encode();
    let manifests = db.checkpoints(partition).await?;
    for manifest in &manifests {
        let (mut snapshot, mut runs): (Vec<u8>, Vec<Bytes>) = (Vec::new(), Vec::new());
        for name in &manifest.parts {
            let body = db.checkpoint_part(partition, name).await?.context("a part is missing")?;
            if name.starts_with("keys-") {
                runs.push(body);
            } else {
                snapshot.extend_from_slice(&body);
            }
        }
        let state = replay(PartitionState::decode(&snapshot, &runs, &|| ())?, rows)?;
        ensure!(
            state.encode() == whole,
            "checkpoint {} with its tail gives another state",
            manifest.segment
        );
    }
    Ok(manifests.len())
}

fn replay(mut state: PartitionState, rows: &[SegmentRow]) -> Result<PartitionState> {
    let (last, _) = state.last();
    for row in rows.iter().filter(|row| row.segment > last) {
        let segment = Segment::decode_checked(&row.body, row.prev_hash, row.hash)?;
        state.replay(&segment, row.prev_hash, row.hash)?;
    }
    Ok(state)
}
