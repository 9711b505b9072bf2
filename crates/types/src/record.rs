//! Usage records: the owned form for edges, the borrowed view for the hot path.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{AccountNumber, Timestamp};

/// One metered event of one account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRecord {
    /// The client's own id, 1 to 128 bytes, unique within the account for ever.
    pub record_id: String,
    /// The account, or zero when `identity` is to be guided.
    pub account: AccountNumber,
    /// `ip:…`, `user:…` or `tel:…`; empty when the account is known.
    pub identity: String,
    /// What was used, for example `connect-time` or `octets`.
    pub usage_type: String,
    /// When it began.
    pub start: Timestamp,
    /// How long it went on, in microseconds; zero for an event.
    pub duration_us: i64,
    /// How much, in the usage type's base unit; `None` where time is all there is.
    pub quantity: Option<i64>,
    /// Further named quantities, read by plans as `record.NAME`.
    pub measures: BTreeMap<String, i64>,
    /// What plans may decide by: `function`, `status`, `service-level`, …
    pub attributes: BTreeMap<String, String>,
}

/// (account, record id): what makes a record itself (docs/architecture.md section 6).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey {
    /// The account.
    pub account: AccountNumber,
    /// The client's id.
    pub record_id: String,
}

/// A record as a rater reads it: borrowed from wherever its bytes lie, nothing copied.
///
/// `measures` and `attributes` are sorted by name and hold each name once.
#[derive(Clone, Copy, Debug)]
pub struct UsageView<'a> {
    /// The client's own id.
    pub record_id: &'a str,
    /// The account.
    pub account: AccountNumber,
    /// What was used.
    pub usage_type: &'a str,
    /// When it began.
    pub start: Timestamp,
    /// How long it went on, in microseconds, never negative.
    pub duration_us: i64,
    /// How much, never negative.
    pub quantity: Option<i64>,
    /// Further named quantities, never negative.
    pub measures: &'a [(&'a str, i64)],
    /// What plans may decide by.
    pub attributes: &'a [(&'a str, &'a str)],
}

impl<'a> UsageView<'a> {
    /// The attribute called `name`.
    pub fn attribute(&self, name: &str) -> Option<&'a str> {
        let found = self.attributes.binary_search_by(|(known, _)| (*known).cmp(name)).ok()?;
        self.attributes.get(found).map(|&(_, value)| value)
    }

    /// The measure called `name`, where `duration` and `quantity` name the fields of their own.
    pub fn measure(&self, name: &str) -> Option<i64> {
        match name {
            "duration" => Some(self.duration_us),
            "quantity" => self.quantity,
            _ => {
                let found = self.measures.binary_search_by(|(known, _)| (*known).cmp(name)).ok()?;
                self.measures.get(found).map(|&(_, value)| value)
            }
        }
    }
}
