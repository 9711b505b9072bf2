//! Conversions between the wire format and the types.

use turnpike_types::{AccountNumber, Timestamp, UsageRecord, ZERO_DURATION};

use crate::ingest;
use crate::record::states_zero_duration;

impl From<UsageRecord> for ingest::v1::UsageRecord {
    fn from(mut record: UsageRecord) -> Self {
        let states_zero = states_zero_duration(&record);
        if states_zero {
            record.measures.remove(ZERO_DURATION);
        }
        let UsageRecord {
            record_id,
            account,
            identity,
            usage_type,
            start,
            duration_us,
            quantity,
            measures,
            attributes,
        } = record;
        Self {
            account_number: account.0,
            record_id,
            usage_type,
            start_us: start.0,
            duration_us: (duration_us != 0 || states_zero).then_some(duration_us),
            quantity,
            identity,
            attributes,
            measures,
        }
    }
}

impl From<ingest::v1::UsageRecord> for UsageRecord {
    fn from(record: ingest::v1::UsageRecord) -> Self {
        let ingest::v1::UsageRecord {
            account_number,
            record_id,
            usage_type,
            start_us,
            duration_us,
            quantity,
            identity,
            attributes,
            measures,
        } = record;
        let mut record = Self {
            record_id,
            account: AccountNumber(account_number),
            identity,
            usage_type,
            start: Timestamp(start_us),
            duration_us: 0,
            quantity,
            measures,
            attributes,
        };
        record.state_duration(duration_us);
        record
    }
}
