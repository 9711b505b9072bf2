//! Yesterday's checkpoints open today (STYLE 12).
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use turnpike_account::PartitionState;
use turnpike_plan::{Period, StateEntry, VariableId};
use turnpike_segment::head::{Change, Settings, Subscription};
use turnpike_segment::{NewRecord, Place, Segment, SegmentBuilder};
use turnpike_types::{
    AccountNumber, Epoch, Outcome, PartitionId, SegmentHash, SegmentNumber, SuspenseReason,
    Timestamp, UsageView,
};

const ACCOUNT: AccountNumber = AccountNumber(7);

/// A state with one of everything that format 1 knows.
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
    let place = Place {
        partition: PartitionId(1),
        segment: SegmentNumber(1),
        epoch: Epoch::stored(1),
        prev_hash: SegmentHash::default(),
        now: Timestamp(1_000),
        floor: Timestamp(-1_000),
        catalogue_version: 0,
    };
    let sealed = builder.seal(&place).unwrap();
    let segment = Segment::decode(&sealed.body).unwrap();
    let mut state = PartitionState::default();
    state.replay(&segment, place.prev_hash, SegmentHash([9; 32])).unwrap();
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

/// To add the bytes of a new format version: `TURNPIKE_WRITE_GOLDEN=1 cargo test -p
/// turnpike-account golden`; those of old ones stay.
#[test]
fn golden_bytes_of_format_1_are_read() {
    let at = |name| format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("TURNPIKE_WRITE_GOLDEN").is_some() {
        std::fs::write(at("checkpoint-1.bin"), sample().snapshot(&|| ()).bytes).unwrap();
        std::fs::write(at("keys-1.bin"), &sample().key_run().parts[0]).unwrap();
    }
    let [snapshot, keys] =
        ["checkpoint-1.bin", "keys-1.bin"].map(|name| std::fs::read(at(name)).unwrap());
    assert_is_sample(&PartitionState::decode(&snapshot, &[keys], &|| ()).unwrap());
}
