//! The external checks at the end of a run: they compare the log with the book of the clients.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use turnpike_harness::oracle::{check_chain, check_replay, log, octets_price_nanos};
use turnpike_segment::Segment;
use turnpike_store::{SegmentRow, SharedDatabase};
use turnpike_types::{Outcome, PartitionId, UsageRecord};

use crate::book::{Book, Key, Kind};
use crate::moving_identities;

/// The data of one record in the log: partition and segment, outcome, rated units.
struct Logged {
    place: (u32, u64),
    outcome: Outcome,
    units: i128,
}

/// Statistics of the log.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogStatistics {
    /// Number of segments.
    pub segments: usize,
    /// The number of checkpoints that were compared with a replay of the log.
    pub checkpoints: usize,
    /// The highest epoch.
    pub epoch: u64,
    /// A hash over the logs of all partitions.
    pub fingerprint: u64,
}

/// Checks I1 to I4 and the amounts. `wandering` holds the records whose identities moved between
/// accounts, and the accounts that held these identities.
///
/// # Errors
/// The first violation.
pub async fn check(
    db: &dyn SharedDatabase,
    partitions: u32,
    book: &Book,
    wandering: &(Vec<UsageRecord>, Vec<u64>),
) -> Result<LogStatistics> {
    let mut found = LogStatistics::default();
    let mut log_of = Logs::default();
    for partition in (1..=partitions).map(PartitionId) {
        let rows = log(db, partition).await?;
        check_chain(&rows).with_context(|| format!("I3, partition {partition}"))?;
        let compared = check_replay(db, partition, &rows).await;
        found.checkpoints += compared.with_context(|| format!("I4, partition {partition}"))?;
        log_of.read(partition, &rows)?;
        found.segments += rows.len();
        for row in &rows {
            found.epoch = found.epoch.max(row.epoch.number());
            for byte in row.hash.0 {
                found.fingerprint = found.fingerprint.wrapping_mul(31) ^ u64::from(byte);
            }
        }
    }
    check_records(&log_of.records, book)?;
    check_amounts(&log_of.nanos, book)?;
    moving_identities::check(&log_of.wandering, &wandering.0, &wandering.1)?;
    Ok(found)
}

/// The data of the logs of all partitions.
#[derive(Default)]
struct Logs {
    records: BTreeMap<Key, Logged>,
    wandering: moving_identities::Rows,
    /// The charged amounts by account.
    nanos: BTreeMap<u64, i128>,
}

impl Logs {
    fn read(&mut self, partition: PartitionId, rows: &[SegmentRow]) -> Result<()> {
        for row in rows {
            let segment = Segment::decode_checked(&row.body, row.prev_hash, row.hash)?;
            let mut keys = Vec::new();
            for (_, record) in segment.records() {
                let key = (record.account.0, record.record_id.to_owned());
                self.note(&key, (partition.0, row.segment.0), record.outcome)?;
                keys.push(key);
            }
            for line in segment.lines() {
                let key = keys.get(line.record as usize).context("a line of no record")?;
                if let Some(record) = self.records.get_mut(key) {
                    record.units += line.quantity;
                }
                let wandering = self.wandering.get_mut(&key.1).into_iter().flatten();
                if let Some(row) = wandering.filter(|row| row.0 == key.0).last() {
                    row.2 += line.quantity;
                }
                *self.nanos.entry(key.0).or_default() += line.amount.nanos();
            }
        }
        Ok(())
    }

    fn note(&mut self, key: &Key, place: (u32, u64), outcome: Outcome) -> Result<()> {
        if key.1.starts_with(moving_identities::ID_PREFIX) {
            // A record whose identity moves may be in two logs: suspended in one partition, and
            // rated in another.
            self.wandering.entry(key.1.clone()).or_default().push((key.0, outcome, 0));
            return Ok(());
        }
        let this = Logged { place, outcome, units: 0 };
        match self.records.insert(key.clone(), this) {
            Some(before) => {
                anyhow::bail!("I2: {key:?} is in the log at {:?} and {place:?}", before.place)
            }
            None => Ok(()),
        }
    }
}

/// I1, I2: each acknowledged record is in the log once, with the outcome that was answered, and the
/// log has no record that was never sent.
fn check_records(logged: &BTreeMap<Key, Logged>, book: &Book) -> Result<()> {
    let is_plain = |entry: &&crate::book::Entry| entry.kind == Kind::Plain;
    let plain = book.records.values().filter(is_plain).count();
    ensure!(plain > 0, "no record was sent that can be rated: the run tested nothing");
    for (key, entry) in &book.records {
        ensure!(entry.acknowledged, "I7: {key:?} was never acknowledged");
        let record = logged.get(key).with_context(|| format!("I1: {key:?} was lost"))?;
        let is_rated = matches!(record.outcome, Outcome::Rated | Outcome::RatedLate);
        let expected = entry.kind == Kind::Plain;
        ensure!(is_rated == expected, "I5: {key:?} is logged as {:?}", record.outcome);
        let units = if expected { i128::from(entry.quantity) } else { 0 };
        ensure!(record.units == units, "I1: {key:?}: {} of {units} units", record.units);
    }
    let stranger = logged.keys().find(|key| !book.records.contains_key(key));
    ensure!(stranger.is_none(), "{stranger:?} was never sent");
    Ok(())
}

/// Checks the charged amount of each account, see [`octets_price_nanos`].
fn check_amounts(nanos: &BTreeMap<u64, i128>, book: &Book) -> Result<()> {
    let mut accounts: Vec<u64> = book.records.keys().map(|(account, _)| *account).collect();
    accounts.dedup();
    for account in accounts {
        let (octets, _) = book.used(account);
        let expected = octets_price_nanos(octets);
        let charged = nanos.get(&account).copied().unwrap_or_default();
        ensure!(charged == expected, "account {account}: {charged} charged, {expected} expected");
    }
    Ok(())
}
