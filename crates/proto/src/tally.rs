//! Counts results by outcome, for metrics, whose labels must be few and known.

use std::collections::BTreeMap;

use turnpike_types::{RejectReason, SuspenseReason};

use crate::ingest::v1::{RecordResult, RecordStatus};

/// The number of results for each outcome and reason. A repeated result counts as `replayed`, and a
/// reason that this build does not know as `other`.
pub fn tally(results: &[RecordResult]) -> BTreeMap<(&'static str, &'static str), u64> {
    let mut counts = BTreeMap::new();
    for result in results {
        let outcome = match result.status() {
            _ if result.replayed => "replayed",
            RecordStatus::Suspended => "suspended",
            RecordStatus::Rejected | RecordStatus::Unspecified => "rejected",
        };
        *counts.entry((outcome, known(&result.reason))).or_default() += 1;
    }
    counts
}

fn known(reason: &str) -> &'static str {
    let suspended = SuspenseReason::ALL.iter().map(|reason| reason.word());
    let rejected = RejectReason::ALL.iter().map(|reason| reason.word());
    suspended.chain(rejected).find(|word| *word == reason).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(status: RecordStatus, reason: &str, replayed: bool) -> RecordResult {
        let (status, reason) = (status.into(), reason.to_owned());
        RecordResult { status, reason, replayed, ..RecordResult::default() }
    }

    #[test]
    fn results_are_counted_by_outcome_and_by_reasons_that_are_known() {
        let counts = tally(&[
            result(RecordStatus::Suspended, "no-plan", false),
            result(RecordStatus::Suspended, "no-plan", false),
            result(RecordStatus::Suspended, "no-plan", true),
            result(RecordStatus::Rejected, "too-old", false),
            result(RecordStatus::Rejected, "<script>", false),
        ]);
        let expected = [
            (("rejected", "other"), 1),
            (("rejected", "too-old"), 1),
            (("replayed", "no-plan"), 1),
            (("suspended", "no-plan"), 2),
        ];
        assert_eq!(counts.into_iter().collect::<Vec<_>>(), expected);
    }
}
