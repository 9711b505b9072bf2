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
    /// How long it went on, in microseconds; zero for an event. Whether a record of nothing but a
    /// zero states a duration is told by [`UsageRecord::state_duration`].
    pub duration_us: i64,
    /// How much, in the usage type's base unit; `None` where time is all there is.
    pub quantity: Option<i64>,
    /// Further named quantities, read by plans as `record.NAME`.
    pub measures: BTreeMap<String, i64>,
    /// What plans may decide by: `function`, `status`, `service-level`, …
    pub attributes: BTreeMap<String, String>,
}

/// The measure by which a record states that it lasted no time: `duration`, with the value 0. Beside
/// a duration it says nothing.
pub const ZERO_DURATION: &str = "duration";

impl UsageRecord {
    /// Sets the duration that a source gave; `None` where the source gave none, neither as a
    /// duration nor as an end.
    ///
    /// On the wire and in segments a duration of zero and none at all are the same number. Where
    /// nothing else is measured the difference decides between a call that was not answered, which
    /// costs nothing, and a record of which the duration got lost, which must not be rated. So such
    /// a record carries the zero as a measure of its own, [`ZERO_DURATION`].
    pub fn state_duration(&mut self, duration_us: Option<i64>) {
        self.duration_us = duration_us.unwrap_or(0);
        if duration_us == Some(0) && self.quantity.is_none() && self.measures.is_empty() {
            self.measures.insert(ZERO_DURATION.to_owned(), 0);
        }
    }
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
    ///
    /// A duration of zero counts as stated where the record states anything else, or the zero itself
    /// ([`ZERO_DURATION`]): a record that states nothing at all has no duration.
    pub fn measure(&self, name: &str) -> Option<i64> {
        match name {
            "duration" if self.duration_us != 0 => Some(self.duration_us),
            "duration" => match self.further(ZERO_DURATION) {
                Some(stated) => Some(0).filter(|zero| stated == *zero),
                None => Some(0).filter(|_| self.quantity.is_some() || !self.measures.is_empty()),
            },
            "quantity" => self.quantity,
            _ => self.further(name),
        }
    }

    fn further(&self, name: &str) -> Option<i64> {
        let found = self.measures.binary_search_by(|(known, _)| (*known).cmp(name)).ok()?;
        self.measures.get(found).map(|&(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn duration(duration_us: i64, quantity: Option<i64>, measures: &[(&str, i64)]) -> Option<i64> {
        let view = UsageView {
            record_id: "r",
            account: AccountNumber(1),
            usage_type: "call",
            start: Timestamp(0),
            duration_us,
            quantity,
            measures,
            attributes: &[],
        };
        view.measure("duration")
    }

    #[test]
    fn a_record_that_states_nothing_has_no_duration() {
        assert_eq!(duration(0, None, &[]), None);
        assert_eq!(duration(7, None, &[]), Some(7));
        assert_eq!(duration(0, Some(0), &[]), Some(0));
        assert_eq!(duration(0, None, &[("octets", 5)]), Some(0));
        assert_eq!(duration(0, None, &[(ZERO_DURATION, 0)]), Some(0));
        // A duration that was sent as a measure of this name is not read as zero.
        assert_eq!(duration(0, None, &[(ZERO_DURATION, 60)]), None);
        assert_eq!(duration(7, None, &[(ZERO_DURATION, 60)]), Some(7));
    }

    #[test]
    fn a_zero_that_a_source_gave_is_kept_where_nothing_else_is_measured() {
        let stated = |duration_us, quantity| {
            let mut record = UsageRecord { quantity, ..UsageRecord::default() };
            record.state_duration(duration_us);
            (record.duration_us, record.measures.get(ZERO_DURATION).copied())
        };
        assert_eq!(stated(None, None), (0, None));
        assert_eq!(stated(Some(0), None), (0, Some(0)));
        assert_eq!(stated(Some(9), None), (9, None));
        assert_eq!(stated(Some(0), Some(1)), (0, None));
    }
}
