//! Checkpoints of earlier releases stay readable.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use turnpike_account::PartitionState;
use turnpike_plan::{Period, StateEntry, VariableId};
use turnpike_segment::head::{
    Cancellation, Change, EndMove, Offer, PostingCursor, Settings, Subscription,
};
use turnpike_segment::{NewRecord, SealContext, Segment, SegmentBuilder};
use turnpike_types::{
    AccountNumber, Epoch, Outcome, PartitionId, SegmentHash, SegmentNumber, SuspenseReason,
    Timestamp, UsageView,
};

const ACCOUNT: AccountNumber = AccountNumber(7);

/// A state with at least one item of each kind in format 1.
fn sample() -> PartitionState {
    let mut builder = SegmentBuilder::new();
    let settings = Settings {
        from_us: i64::MIN,
        zone: "Asia/Kolkata".to_owned(),
        cycle_day: 31,
        currency: "INR".to_owned(),
        attributes: [("level".to_owned(), "gold".to_owned())].into(),
    };
    let subscription = Subscription {
        plan_id: "p".to_owned(),
        from_us: 5,
        until_us: i64::MAX,
        priority: 3,
        parameters: [("peak-price".to_owned(), "0.9".to_owned())].into(),
        ..Subscription::default()
    };
    builder.push_entry(ACCOUNT, Change::Opened(settings));
    builder.push_entry(ACCOUNT, Change::Subscribed(subscription));
    for (id, outcome) in
        [("r1", Outcome::Rated), ("r2", Outcome::Suspended(SuspenseReason::NoPlan))]
    {
        let view = UsageView {
            record_id: id,
            account: ACCOUNT,
            usage_type: "octets",
            start: Timestamp(0),
            duration_us: 0,
            quantity: Some(1),
            measures: &[],
            attributes: &[],
        };
        builder.push_record(&NewRecord { view, identity: "", outcome }).unwrap();
        builder.push_change(77, 20_000, -5).unwrap();
    }
    let context = SealContext {
        partition: PartitionId(1),
        segment: SegmentNumber(1),
        epoch: Epoch::stored(1),
        prev_hash: SegmentHash::default(),
        now: Timestamp(1_000),
        floor: Timestamp(-1_000),
        catalogue_version: 0,
    };
    let sealed = builder.seal(&context).unwrap();
    let segment = Segment::decode(&sealed.body).unwrap();
    let mut state = PartitionState::default();
    state.replay(&segment, context.prev_hash, SegmentHash([9; 32])).unwrap();
    state
}

fn assert_is_sample(state: &PartitionState) {
    assert_eq!(state.last(), (SegmentNumber(1), SegmentHash([9; 32])));
    assert_eq!((state.time().now, state.time().floor), (Timestamp(1_000), Timestamp(-1_000)));
    let account = state.account(ACCOUNT).unwrap();
    let entry = StateEntry { variable: VariableId(77), period: Period(20_000), value: -5 };
    assert_eq!(account.state.entries(), [entry]);
    let profile = state.profiles().get(account.profile).unwrap();
    assert_eq!(profile.settings[0].zone, "Asia/Kolkata");
    assert_eq!(profile.subscriptions[0].parameters["peak-price"], "0.9");
    let (key, waiting) = state.suspense().iter().next().unwrap();
    assert_eq!((key.record_id.as_str(), waiting.reason), ("r2", SuspenseReason::NoPlan));
    assert_eq!(state.keys().len(), 2);
}

/// The same state with the additions of format 2: options, and posting cursors.
fn sample_2() -> PartitionState {
    let mut state = sample();
    let offer = Offer {
        option: "phone".to_owned(),
        plans: vec!["small".to_owned(), "large".to_owned()],
        fee: "2.500000000".to_owned(),
        from_us: 5,
        priority: 2,
    };
    state.change(ACCOUNT, &Change::Offered(offer));
    let cursor = PostingCursor { sender: 9, segment: 88, ordinal: 3, hash: vec![6; 32] };
    state.change(AccountNumber(0), &Change::PostingsTaken(cursor));
    state
}

fn read(names: [&str; 2]) -> PartitionState {
    let at = |name| format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    let [snapshot, keys] = names.map(|name| std::fs::read(at(name)).unwrap());
    PartitionState::decode(&snapshot, &[keys], &|| ()).unwrap()
}

#[test]
fn golden_bytes_of_format_1_are_read() {
    let state = read(["checkpoint-1.bin", "keys-1.bin"]);
    assert_is_sample(&state);
    assert_eq!(state.encode(), sample().encode(), "and mean the same");
}

/// `TURNPIKE_WRITE_GOLDEN=1 cargo test -p turnpike-account golden` writes the golden file again.
/// The files of older formats are kept.
#[test]
fn golden_bytes_of_format_2_are_read() {
    if std::env::var_os("TURNPIKE_WRITE_GOLDEN").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/checkpoint-2.bin");
        std::fs::write(path, sample_2().snapshot(&|| ()).bytes).unwrap();
    }
    let state = read(["checkpoint-2.bin", "keys-1.bin"]);
    assert_is_sample(&state);
    assert_eq!(state.encode(), sample_2().encode());
    let profile = state.profiles().get(state.account(ACCOUNT).unwrap().profile).unwrap();
    let second = &profile.subscriptions[2];
    assert_eq!((second.plan_id.as_str(), second.option.as_str()), ("large", "phone"));
    assert_eq!((second.fee.as_str(), second.place), ("2.500000000", 1));
    let cursor = state.posting_cursor(PartitionId(9));
    assert_eq!((cursor.segment, cursor.ordinal, cursor.hash), (88, 3, vec![6; 32]));
}

/// The same state with the addition of format 3: details of records that were recycled without
/// success.
fn sample_3() -> PartitionState {
    let mut state = sample_2();
    let key = turnpike_account::WaitingKey {
        account: ACCOUNT,
        identity: String::new(),
        record_id: "r2".to_owned(),
    };
    let now = turnpike_types::Suspension::new(SuspenseReason::NoPlan, "record.duration");
    state.suspend_again(&key, now);
    state
}

#[test]
fn golden_bytes_of_format_3_are_read() {
    if std::env::var_os("TURNPIKE_WRITE_GOLDEN").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/checkpoint-3.bin");
        std::fs::write(path, sample_3().snapshot(&|| ()).bytes).unwrap();
    }
    let state = read(["checkpoint-3.bin", "keys-1.bin"]);
    assert_is_sample(&state);
    assert_eq!(state.encode(), sample_3().encode());
    let (_, waiting) = state.suspense().iter().next().unwrap();
    assert_eq!((waiting.revision, waiting.detail.as_str()), (1, "record.duration"));
}

/// Format 4: a subscription that was cancelled at its start. There are no details.
fn sample_4() -> PartitionState {
    let mut state = sample_2();
    let end = EndMove { plan_id: "p".to_owned(), from_us: 5, until_us: 5 };
    state.change(ACCOUNT, &Change::EndMoved(end));
    state
}

#[test]
fn golden_bytes_of_format_4_are_read() {
    if std::env::var_os("TURNPIKE_WRITE_GOLDEN").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/checkpoint-4.bin");
        std::fs::write(path, sample_4().snapshot(&|| ()).bytes).unwrap();
    }
    let state = read(["checkpoint-4.bin", "keys-1.bin"]);
    assert_is_sample(&state);
    assert_eq!(state.encode(), sample_4().encode());
    let profile = state.profiles().get(state.account(ACCOUNT).unwrap().profile).unwrap();
    let ended = profile.subscriptions.iter().find(|one| one.plan_id == "p").unwrap();
    assert_eq!((ended.from_us, ended.until_us), (5, 5));
}

/// An older program can read every checkpoint that uses no newer feature.
#[test]
fn a_checkpoint_without_details_is_of_format_2() {
    let bytes = |state: PartitionState| state.snapshot(&|| ()).bytes[..8].to_vec();
    assert_eq!(bytes(sample_2()), b"TPCKP\0\0\x02");
    assert_eq!(bytes(sample_3()), b"TPCKP\0\0\x03");
    // It would not give back what the subscription was charged.
    assert_eq!(bytes(sample_4()), b"TPCKP\0\0\x04");
    let mut ended = sample_2();
    let end = Cancellation { plan_id: "p".to_owned(), at_us: 9 };
    ended.change(ACCOUNT, &Change::Cancelled(end));
    let end = EndMove { plan_id: "p".to_owned(), from_us: 5, until_us: 8 };
    ended.change(ACCOUNT, &Change::EndMoved(end));
    assert_eq!(bytes(ended), b"TPCKP\0\0\x02", "the same as with this end at first");
}
