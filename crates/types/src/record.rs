//! Usage records: an owned form for input and output, and a borrowed view for the hot path.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{AccountNumber, Timestamp};

/// One metered event of one account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRecord {
    /// The id given by the client, 1 to 128 bytes. It must stay unique within the account forever.
    pub record_id: String,
    /// The account; zero if `identity` determines it.
    pub account: AccountNumber,
    /// The identity: `ip:…`, `user:…` or `tel:…`; empty if the account is known.
    pub identity: String,
    /// The usage type, for example `connect-time` or `octets`.
    pub usage_type: String,
    /// The instant at which the usage began.
    pub start: Timestamp,
    /// The duration in microseconds; zero for an event. A duration of zero counts as stated only if
    /// [`UsageRecord::state_duration`] added the measure for it.
    pub duration_us: i64,
    /// The quantity in the usage type's base unit; `None` if the record has none.
    pub quantity: Option<i64>,
    /// Further named quantities. Plans read them as `record.NAME`.
    pub measures: BTreeMap<String, i64>,
    /// Attributes that plans may use in their rules: `function`, `status`, `service-level`, …
    pub attributes: BTreeMap<String, String>,
}

/// The measure by which a record states a duration of zero: `duration` with the value 0. It has no
/// effect if the record has a duration.
pub const ZERO_DURATION: &str = "duration";

impl UsageRecord {
    /// Sets the duration that a source states; `None` if the source states neither a duration nor
    /// an end.
    ///
    /// In segments, a duration of zero and a missing duration are the same number. The difference
    /// matters even if the record has other measures: an unanswered call costs nothing, but a
    /// record whose duration was lost must not be priced by its duration. So a record with a stated
    /// duration of zero carries the measure [`ZERO_DURATION`], unless it already has a measure of
    /// that name.
    pub fn state_duration(&mut self, duration_us: Option<i64>) {
        self.duration_us = duration_us.unwrap_or(0);
        if duration_us == Some(0) {
            self.measures.entry(ZERO_DURATION.to_owned()).or_insert(0);
        }
    }

    /// The duration that the record states; `None` if it states none, which differs from zero.
    pub fn stated_duration_us(&self) -> Option<i64> {
        let states_zero = self.measures.get(ZERO_DURATION) == Some(&0);
        (self.duration_us != 0 || states_zero).then_some(self.duration_us)
    }
}

/// The deduplication key of a record: account and record id (docs/architecture.md section 6).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey {
    /// The account.
    pub account: AccountNumber,
    /// The id given by the client.
    pub record_id: String,
}

/// A record as the rater reads it, borrowed from the received bytes.
///
/// `measures` and `attributes` are sorted by name and have no duplicates.
#[derive(Clone, Copy, Debug)]
pub struct UsageView<'a> {
    /// The id given by the client.
    pub record_id: &'a str,
    /// The account.
    pub account: AccountNumber,
    /// The usage type, for example `octets`.
    pub usage_type: &'a str,
    /// The instant at which the usage began.
    pub start: Timestamp,
    /// The duration in microseconds; never negative.
    pub duration_us: i64,
    /// The quantity in the usage type's base unit, never negative; `None` if the record has none.
    pub quantity: Option<i64>,
    /// Further named quantities; never negative.
    pub measures: &'a [(&'a str, i64)],
    /// Attributes that plans may use in their rules.
    pub attributes: &'a [(&'a str, &'a str)],
}

impl<'a> UsageView<'a> {
    /// The attribute `name`.
    pub fn attribute(&self, name: &str) -> Option<&'a str> {
        let found = self.attributes.binary_search_by(|(known, _)| (*known).cmp(name)).ok()?;
        self.attributes.get(found).map(|&(_, value)| value)
    }

    /// The measure `name`. `duration` and `quantity` name the record's own fields.
    ///
    /// A duration of zero counts as stated only if the record has the measure [`ZERO_DURATION`].
    /// A quantity or another measure does not state a duration.
    pub fn measure(&self, name: &str) -> Option<i64> {
        match name {
            "duration" if self.duration_us != 0 => Some(self.duration_us),
            "duration" => self.further(ZERO_DURATION).filter(|&stated| stated == 0),
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
    fn a_record_that_states_no_duration_has_none_whatever_else_it_measures() {
        assert_eq!(duration(0, None, &[]), None);
        assert_eq!(duration(7, None, &[]), Some(7));
        assert_eq!(duration(0, Some(5), &[]), None);
        assert_eq!(duration(0, None, &[("octets", 5)]), None);
        assert_eq!(duration(0, None, &[(ZERO_DURATION, 0)]), Some(0));
        assert_eq!(duration(0, Some(5), &[(ZERO_DURATION, 0), ("octets", 5)]), Some(0));
        // A duration that was sent as a measure of this name does not count as zero.
        assert_eq!(duration(0, None, &[(ZERO_DURATION, 60)]), None);
        assert_eq!(duration(7, None, &[(ZERO_DURATION, 60)]), Some(7));
    }

    #[test]
    fn a_zero_that_a_source_gave_is_kept() {
        let stated = |duration_us, quantity| {
            let mut record = UsageRecord { quantity, ..UsageRecord::default() };
            record.state_duration(duration_us);
            (record.duration_us, record.measures.get(ZERO_DURATION).copied())
        };
        assert_eq!(stated(None, None), (0, None));
        assert_eq!(stated(Some(0), None), (0, Some(0)));
        assert_eq!(stated(Some(9), None), (9, None));
        assert_eq!(stated(Some(0), Some(1)), (0, Some(0)));
        assert_eq!(stated(None, Some(1)), (0, None));
        let mut odd = UsageRecord::default();
        odd.measures.insert(ZERO_DURATION.to_owned(), 60);
        odd.state_duration(Some(0));
        assert_eq!(odd.measures[ZERO_DURATION], 60, "two durations: neither is taken");
    }
}
