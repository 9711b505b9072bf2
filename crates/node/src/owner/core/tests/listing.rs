//! A list looks at a bounded number of suspended records in one turn of the owner.

use turnpike_account::{Location, PartitionState, WaitingKey};
use turnpike_proto::suspense::v1::{ListRequest, SuspensePosition};
use turnpike_types::{AccountNumber, SegmentNumber, SuspenseReason};

use crate::owner::core::suspense::{SCANNED_MAX, Selected};

/// Records of account 7, and behind them one of account 8 with another reason.
fn suspended(count: usize) -> PartitionState {
    let mut state = PartitionState::default();
    let mut suspend = |account: u64, id: String, reason: SuspenseReason| {
        let account = AccountNumber(account);
        let key = WaitingKey { account, identity: String::new(), record_id: id };
        state.suspend(key, Location::new(SegmentNumber(1), 0), reason);
    };
    for number in 0..count {
        suspend(7, format!("{number:06}"), SuspenseReason::UnknownAccount);
    }
    suspend(8, "last".to_owned(), SuspenseReason::NoRate);
    state
}

fn no_rate() -> ListRequest {
    ListRequest { reason: "no-rate".to_owned(), ..ListRequest::default() }
}

#[test]
fn a_pass_ends_after_a_bounded_number_of_records_and_the_next_one_continues_there() {
    let state = suspended(2 * SCANNED_MAX);
    let mut filter = no_rate();
    for pass in 1..=2 {
        let selected = Selected::of(state.suspense(), &filter);
        assert!(selected.found.is_empty() && !selected.is_cut);
        let at = selected.scanned_to.unwrap();
        assert_eq!(at.record_id, format!("{:06}", pass * SCANNED_MAX - 1));
        filter.after = Some(SuspensePosition {
            partition: 1,
            account_number: at.account.0,
            identity: at.identity,
            record_id: at.record_id,
        });
    }
    let selected = Selected::of(state.suspense(), &filter);
    assert_eq!(selected.found[0].0.record_id, "last");
    assert!(selected.scanned_to.is_none() && !selected.is_cut);
}

#[test]
fn a_list_of_one_account_looks_at_the_records_of_that_account_only() {
    let state = suspended(2 * SCANNED_MAX);
    let filter = ListRequest { account_number: 8, ..no_rate() };
    let selected = Selected::of(state.suspense(), &filter);
    assert_eq!((selected.found.len(), selected.is_cut), (1, false));
    assert!(selected.scanned_to.is_none());
}
