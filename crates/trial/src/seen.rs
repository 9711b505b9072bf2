//! Records that were seen: a repetition counts once, other content of the same id is a conflict.

use std::collections::HashMap;

use turnpike_types::{AccountNumber, UsageRecord};

use crate::{Outcome, TrialError};

/// Records that one trial remembers, to tell a repetition from a conflict.
pub const RECORDS_MAX: usize = 100_000_000;

/// Keys of records, each with where it came from and its content.
#[derive(Debug, Default)]
pub(crate) struct Seen(HashMap<(AccountNumber, String), (u64, Content)>);

/// A hash of a record's content.
type Content = [u8; 16];

impl Seen {
    /// Was there a record of this key before? A record's id is unique within its account for ever.
    pub(crate) fn earlier(
        &mut self,
        number: AccountNumber,
        record: &UsageRecord,
        place: u64,
    ) -> Result<Option<Outcome<'static>>, TrialError> {
        let content = content(record);
        let key = (number, record.record_id.clone());
        match self.0.get(&key) {
            Some((place, same)) if *same == content => Ok(Some(Outcome::Duplicate(*place))),
            Some((place, _)) => Ok(Some(Outcome::Conflict(*place))),
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

/// Equal for equal records alone: numbers of a fixed length first, each text behind its length.
fn content(record: &UsageRecord) -> Content {
    let mut hasher = blake3::Hasher::new();
    let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
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
