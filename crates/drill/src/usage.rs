//! The records of a drill: each is computed from its number, so that none has to be stored.

use turnpike_client::batch_frame;
use turnpike_proto::frame::BatchFrame;
use turnpike_types::{AccountNumber, Timestamp, UsageRecord};

/// The parameters from which the records of one load stream are computed.
#[derive(Clone, Debug)]
pub(crate) struct Usage {
    /// The partition of the accounts.
    pub partition: u32,
    /// The first account.
    pub first_account: u64,
    /// The number of accounts.
    pub accounts: u64,
    /// Records per batch.
    pub batch_records: u32,
    /// The start of every record: one instant, so that all are in the same month.
    pub start: Timestamp,
    /// The prefix of record ids, unique to the run.
    pub(crate) run: String,
    /// The seed of accounts and quantities.
    pub seed: u64,
}

impl Usage {
    /// The `index`-th record of the `batch`-th batch.
    pub(crate) fn record(&self, batch: u64, index: u32) -> UsageRecord {
        let place = u64::from(self.partition) << 44 ^ batch << 12 ^ u64::from(index);
        let chance = mixed(self.seed ^ mixed(place));
        UsageRecord {
            record_id: format!("{}-{}-{batch}-{index}", self.run, self.partition),
            account: AccountNumber(self.first_account + (chance >> 16) % self.accounts.max(1)),
            usage_type: "octets".to_owned(),
            start: self.start,
            quantity: Some(1 + (chance & 0x1ff) as i64),
            ..UsageRecord::default()
        }
    }

    /// The records of a batch.
    pub(crate) fn records(&self, batch: u64) -> impl Iterator<Item = UsageRecord> + '_ {
        (0..self.batch_records).map(move |index| self.record(batch, index))
    }

    /// Encodes a batch as a frame.
    pub(crate) fn frame(&self, source: &str, batch: u64) -> BatchFrame {
        batch_frame(source, batch, self.records(batch))
    }
}

/// splitmix64: every bit of the input affects every bit of the output.
fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_batch_made_again_is_the_same_and_no_two_records_share_a_key() {
        let usage = Usage {
            partition: 3,
            first_account: 101,
            accounts: 50,
            batch_records: 20,
            start: Timestamp(1_000_000),
            run: "r".to_owned(),
            seed: 7,
        };
        assert_eq!(usage.frame("s", 9), usage.frame("s", 9));
        let records: Vec<UsageRecord> = (0..50).flat_map(|batch| usage.records(batch)).collect();
        let keys: HashSet<&str> = records.iter().map(|record| record.record_id.as_str()).collect();
        assert_eq!(keys.len(), 1_000);
        let accounts: HashSet<u64> = records.iter().map(|record| record.account.0).collect();
        assert_eq!((accounts.len(), accounts.iter().min()), (50, Some(&101)));
        assert!(records.iter().all(|record| (1..=512).contains(&record.quantity.unwrap_or(0))));
    }
}
