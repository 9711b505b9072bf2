//! Checks that end a test at the first violation.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use turnpike_proto::feed::v1::ChargeLine;
use turnpike_store::{SegmentRow, SharedDatabase};
use turnpike_types::{PartitionId, SegmentHash, SegmentNumber};

use super::feed::pull;
use super::log::{check_chain_behind, log_behind};
use super::rated::{RatedOutput, RatedUnits, octets_price_nanos};

/// The name of the consumer as which tests pull.
const CONSUMER: &str = "oracle";

/// The key of a sent record: account number and record id.
pub type SentKey = (u64, String);

/// Pulls all rated output.
///
/// # Errors
/// As [`pull`].
pub async fn pull_everything(front: &str) -> Result<Vec<ChargeLine>> {
    pull(front, CONSUMER, Vec::new()).await
}

/// Checks I1 and I2: every sent record has lines for exactly its quantity, in one segment, and no
/// other record has lines.
///
/// # Errors
/// The first record that was lost or doubled, or the number of records that were never sent.
pub fn check_each_rated_once(lines: &[ChargeLine], sent: &BTreeMap<SentKey, i64>) -> Result<()> {
    let mut rated = RatedOutput::read(lines)?;
    for (key, quantity) in sent {
        match rated.take(key.0, &key.1, i128::from(*quantity)) {
            RatedUnits::Exact => {}
            RatedUnits::Missing => bail!("record {key:?} was lost"),
            RatedUnits::InTwoSegments => bail!("record {key:?} is in two segments"),
            RatedUnits::Partial(units) | RatedUnits::Surplus(units) => {
                bail!("record {key:?}: {units} of {quantity} units")
            }
        }
    }
    ensure!(rated.untaken() == 0, "{} records were rated and never sent", rated.untaken());
    Ok(())
}

/// Checks the amount that each account pays for its octets, see [`octets_price_nanos`].
///
/// # Errors
/// The first account with another amount.
pub fn check_amounts(lines: &[ChargeLine], sent: &BTreeMap<SentKey, i64>) -> Result<()> {
    let mut octets: BTreeMap<u64, i128> = BTreeMap::new();
    sent.iter()
        .for_each(|((account, _), n)| *octets.entry(*account).or_default() += i128::from(*n));
    let rated = RatedOutput::read(lines)?;
    for (account, octets) in octets {
        let (charged, expected) = (rated.charged_nanos(account), octets_price_nanos(octets));
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

/// Checks I3: the segments have no gap, the epochs never decrease, and the chain of hashes is
/// unbroken.
///
/// # Errors
/// The first segment that violates I3.
pub fn check_chain(rows: &[SegmentRow]) -> Result<()> {
    check_chain_behind(SegmentNumber(0), SegmentHash::default(), rows)
}
