//! Deduplication of records: a repetition counts once; the same id with other content is a
//! conflict.

use std::collections::HashMap;

use turnpike_types::{AccountNumber, UsageRecord, capped};

use crate::error::TrialError;
use crate::outcome::TrialOutcome;

/// Maximum number of records that a trial keeps for deduplication.
pub const RECORDS_MAX: usize = 100_000_000;

/// The record keys, each with the record's `place` (see [`Trial::rate`](crate::Trial::rate)) and
/// the hash of its content.
#[derive(Debug, Default)]
pub(crate) struct Seen(HashMap<(AccountNumber, String), (u64, Content)>);

/// A hash of a record's content.
type Content = [u8; 16];

impl Seen {
    /// Whether an earlier record has this key, with any content.
    pub(crate) fn knows(&self, number: AccountNumber, record_id: &str) -> bool {
        self.0.contains_key(&(number, record_id.to_owned()))
    }

    /// The outcome for a record whose key an earlier record has; otherwise remembers the record and
    /// returns `None`. A record's id is unique in its account, without time limit.
    pub(crate) fn earlier(
        &mut self,
        number: AccountNumber,
        record: &UsageRecord,
        place: u64,
    ) -> Result<Option<TrialOutcome<'static>>, TrialError> {
        let content = content(record);
        let key = (number, record.record_id.clone());
        match self.0.get(&key) {
            Some((place, same)) if *same == content => Ok(Some(TrialOutcome::Duplicate(*place))),
            Some((place, _)) => Ok(Some(TrialOutcome::Conflict(*place))),
            None if self.0.len() >= RECORDS_MAX => {
                Err(TrialError::TooManyRecords { max: RECORDS_MAX })
            }
            None => {
                self.0.insert(key, (place, content));
                Ok(None)
            }
        }
    }
}

/// A hash of an unambiguous encoding: numbers of fixed length first, then each text after its
/// length.
fn content(record: &UsageRecord) -> Content {
    let mut hasher = blake3::Hasher::new();
    let count = |count: usize| capped::<i64>(count);
    let numbers = [
        record.start.micros(),
        record.duration_us,
        i64::from(record.quantity.is_some()),
        record.quantity.unwrap_or(0),
        count(record.attributes.len()),
        count(record.measures.len()),
    ];
    for number in numbers.iter().chain(record.measures.values()) {
        hasher.update(&number.to_le_bytes());
    }
    let attributes = record.attributes.iter().flat_map(|(name, value)| [name, value]);
    let fixed = [&record.identity, &record.usage_type];
    for text in fixed.into_iter().chain(attributes).chain(record.measures.keys()) {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    let mut content = Content::default();
    content.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    content
}
