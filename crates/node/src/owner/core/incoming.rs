//! A received record: its deduplication key, and the content by which a retry is compared with the
//! logged record.

use turnpike_account::{Fingerprint, WaitingKey, fingerprint};
use turnpike_proto::record::{
    Record, RecordBatch, encode_extra, extra_identity, extra_without_identity,
};
use turnpike_segment::RecordRow;
use turnpike_types::{Identity, Outcome, UsageView, ZERO_DURATION, text};

/// Identity, attributes and measures of most records take fewer bytes.
const EXTRA_BYTES_USUAL: usize = 256;

/// A received record that the owner is about to log, with the text of its identity; the text is
/// empty if the record has none.
#[derive(Clone, Copy)]
pub(crate) struct Incoming<'a> {
    pub(crate) view: UsageView<'a>,
    pub(crate) identity: &'a str,
}

impl Incoming<'_> {
    /// The part of the identity that belongs to the key: empty for a record with an account (P28).
    fn key_identity(&self) -> &str {
        if self.view.account.0 == 0 { self.identity } else { "" }
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        fingerprint(self.view.account, self.key_identity(), self.view.record_id)
    }

    pub(super) fn waiting_key(&self) -> WaitingKey {
        WaitingKey {
            account: self.view.account,
            identity: self.key_identity().to_owned(),
            record_id: self.view.record_id.to_owned(),
        }
    }

    /// Whether a text of the record is none that is taken today ([`turnpike_types::text`]). The log
    /// may hold such records of earlier releases.
    pub(super) fn has_illegal_text(&self) -> bool {
        let UsageView { record_id, usage_type, measures, attributes, .. } = &self.view;
        !text::RECORD_ID.is_legal(record_id)
            || !text::USAGE_TYPE.is_legal(usage_type)
            || !text::IDENTITY.is_legal(self.identity)
            || !measures.iter().all(|(name, _)| text::ATTRIBUTE_NAME.is_legal(name))
            || !attributes.iter().all(|(name, value)| {
                text::ATTRIBUTE_NAME.is_legal(name) && text::ATTRIBUTE_VALUE.is_legal(value)
            })
    }

    /// Whether `row` is a record with this key.
    pub(super) fn has_key_of(&self, row: &RecordRow<'_>) -> bool {
        row.record_id == self.view.record_id
            && row.account == self.view.account
            && (row.account.0 != 0 || extra_identity(row.extra) == Ok(self.identity))
    }

    /// Calls `with` with the record in the form that the log would have of it.
    pub(super) fn with_row<T>(&self, with: impl FnOnce(&RecordRow<'_>) -> T) -> T {
        let (attributes, measures) = (self.view.attributes.iter(), self.view.measures.iter());
        let mut extra = Vec::with_capacity(EXTRA_BYTES_USUAL);
        encode_extra(self.identity, attributes.copied(), measures.copied(), &mut extra);
        with(&self.row(&extra))
    }

    /// The record in the form that the log has of it once it is rated, with `extra` as encoded.
    pub(super) const fn row<'e>(&'e self, extra: &'e [u8]) -> RecordRow<'e> {
        let UsageView { record_id, account, usage_type, start, duration_us, quantity, .. } =
            self.view;
        RecordRow {
            account,
            record_id,
            usage_type,
            start,
            duration_us,
            quantity,
            extra,
            outcome: Outcome::Rated,
            detail: "",
        }
    }

    /// Whether the content is the same in canonical form (P27). Two spellings of one identity are
    /// the same content.
    pub(super) fn has_content_of(&self, row: &RecordRow<'_>) -> bool {
        let view = &self.view;
        let has_fixed = (row.usage_type, row.start, row.duration_us, row.quantity)
            == (view.usage_type, view.start, view.duration_us, view.quantity);
        if !has_fixed {
            return false;
        }
        if self.has_extra_of(row, view.measures) {
            return true;
        }
        // A client or a node of an earlier release omits a duration of zero that a later release
        // states. Both forms are the same record.
        if view.duration_us != 0 {
            return false;
        }
        let mut measures = view.measures.to_vec();
        match measures.binary_search_by(|(name, _)| (*name).cmp(ZERO_DURATION)) {
            Ok(stated) if measures.get(stated).is_some_and(|&(_, value)| value == 0) => {
                measures.remove(stated);
            }
            Ok(_) => return false,
            Err(place) => measures.insert(place, (ZERO_DURATION, 0)),
        }
        self.has_extra_of(row, &measures)
    }

    /// Whether this record states the duration of zero that `row`, the same record (P27), leaves out.
    pub(super) fn supplies_duration_of(&self, row: &RecordRow<'_>) -> bool {
        let view = &self.view;
        let states_zero = view.measures.contains(&(ZERO_DURATION, 0));
        states_zero && self.has_content_of(row) && !self.has_extra_of(row, view.measures)
    }

    fn has_extra_of(&self, row: &RecordRow<'_>, measures: &[(&str, i64)]) -> bool {
        let mut extra = Vec::new();
        let attributes = self.view.attributes.iter().copied();
        encode_extra(self.identity, attributes, measures.iter().copied(), &mut extra);
        row.extra == extra
            || (extra_without_identity(row.extra) == extra_without_identity(&extra)
                && extra_identity(row.extra)
                    .is_ok_and(|logged| is_one_identity(logged, self.identity)))
    }
}

fn is_one_identity(one: &str, other: &str) -> bool {
    match (Identity::parse(one), Identity::parse(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

/// The record to take, from its decoded batch.
pub(super) fn incoming<'b>(batch: &'b RecordBatch<'_>, record: &Record<'b>) -> Incoming<'b> {
    Incoming { view: batch.view(record), identity: record.fixed.identity }
}

#[cfg(test)]
mod tests {
    use turnpike_types::{AccountNumber, Timestamp};

    use super::*;

    fn view<'a>(duration_us: i64, measures: &'a [(&'a str, i64)]) -> UsageView<'a> {
        UsageView {
            record_id: "r1",
            account: AccountNumber(1),
            usage_type: "call",
            start: Timestamp(7),
            duration_us,
            quantity: None,
            measures,
            attributes: &[("called", "1")],
        }
    }

    /// Whether a record that is sent again has the same content as the logged one.
    fn same(logged: &[(&str, i64)], again: &[(&str, i64)], duration_us: i64) -> bool {
        same_of(None, logged, again, duration_us)
    }

    /// Like [`same`], but for records that state a quantity.
    fn same_of(
        quantity: Option<i64>,
        logged: &[(&str, i64)],
        again: &[(&str, i64)],
        duration_us: i64,
    ) -> bool {
        let mut extra = Vec::new();
        encode_extra("", [("called", "1")], logged.iter().copied(), &mut extra);
        let row = RecordRow {
            account: AccountNumber(1),
            record_id: "r1",
            usage_type: "call",
            start: Timestamp(7),
            duration_us,
            quantity,
            extra: &extra,
            outcome: Outcome::Rated,
            detail: "",
        };
        let view = UsageView { quantity, ..view(duration_us, again) };
        Incoming { view, identity: "" }.has_content_of(&row)
    }

    #[test]
    fn a_zero_duration_is_the_same_content_whether_it_is_stated_or_left_out() {
        let zero = [(ZERO_DURATION, 0)];
        assert!(same(&[], &[], 0) && same(&zero, &zero, 0));
        assert!(same(&[], &zero, 0) && same(&zero, &[], 0));
        assert!(same(&[("octets", 1)], &[("octets", 1)], 0));
        assert!(!same(&[], &[("octets", 1)], 0) && !same(&[("octets", 0)], &zero, 0));
        assert!(!same(&[], &[(ZERO_DURATION, 1)], 0));
        assert!(!same(&[], &zero, 5), "a duration is stated already");
        assert!(same_of(Some(5), &zero, &zero, 0), "the same bytes");
    }

    /// Neither a client nor a node of the previous release stated a duration of zero that came with
    /// a quantity or a measure. Such a record that is sent again must not become a conflict.
    #[test]
    fn a_record_of_an_earlier_release_is_the_same_with_its_zero_stated() {
        let zero = [(ZERO_DURATION, 0)];
        assert!(same_of(Some(5), &[], &zero, 0) && same_of(Some(5), &zero, &[], 0));
        let octets = [("a", 1), ("octets", 2)];
        let both = [("a", 1), (ZERO_DURATION, 0), ("octets", 2)];
        assert!(same(&octets, &both, 0) && same(&both, &octets, 0));
        assert!(!same(&octets, &both, 5), "a duration is stated already");
        let other = [("a", 1), (ZERO_DURATION, 7), ("octets", 2)];
        assert!(!same(&octets, &other, 0) && !same(&other, &octets, 0));
        assert!(!same(&both, &other, 0) && !same(&other, &both, 0));
    }
}
