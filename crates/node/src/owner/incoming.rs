//! A record as it comes in: its key, and what it is compared by.

use turnpike_account::{Fingerprint, WaitingKey, fingerprint};
use turnpike_proto::record::{
    Record, RecordBatch, encode_extra, extra_identity, extra_without_identity,
};
use turnpike_segment::RecordRow;
use turnpike_types::{Identity, UsageView};

/// A record on its way in.
#[derive(Clone, Copy)]
pub(crate) struct Incoming<'a> {
    pub(crate) view: UsageView<'a>,
    pub(crate) identity: &'a str,
}

impl Incoming<'_> {
    /// The identity as far as it is part of the key (P28).
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

    /// Is `row` the record with this key?
    pub(super) fn has_key_of(&self, row: &RecordRow<'_>) -> bool {
        row.record_id == self.view.record_id
            && row.account == self.view.account
            && (row.account.0 != 0 || extra_identity(row.extra) == self.identity)
    }

    /// Is the content the same too, in canonical form (P27)? Two spellings of one identity are the
    /// same content.
    pub(super) fn has_content_of(&self, row: &RecordRow<'_>) -> bool {
        let view = &self.view;
        let mut extra = Vec::new();
        let (attributes, measures) = (view.attributes, view.measures);
        encode_extra(
            self.identity,
            attributes.iter().copied(),
            measures.iter().copied(),
            &mut extra,
        );
        let is_extra_same = row.extra == extra
            || (extra_without_identity(row.extra) == extra_without_identity(&extra)
                && is_one_identity(extra_identity(row.extra), self.identity));
        is_extra_same
            && (row.usage_type, row.start, row.duration_us, row.quantity)
                == (view.usage_type, view.start, view.duration_us, view.quantity)
    }
}

fn is_one_identity(one: &str, other: &str) -> bool {
    match (Identity::parse(one), Identity::parse(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

/// A decoded record as it is taken.
pub(super) fn incoming<'b>(batch: &'b RecordBatch<'_>, record: &Record<'b>) -> Incoming<'b> {
    Incoming { view: batch.view(record), identity: record.fixed.identity }
}
