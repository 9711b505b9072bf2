//! What the shared database holds.

use bytes::Bytes;
use turnpike_account::PartitionState;
use turnpike_segment::Segment;
use turnpike_types::SegmentHash;

/// A checkpoint to which the key runs of inputs belong.
const SNAPSHOT: &[u8] = include_bytes!("../../../crates/account/tests/golden/checkpoint-4.bin");

/// Decodes the input as a segment, reads every row of it, and replays it.
pub fn segment(input: &[u8]) -> bool {
    let Ok(segment) = Segment::decode(&Bytes::copy_from_slice(input)) else { return false };
    let records = segment.records().count();
    assert_eq!(records, segment.record_count(), "each record can be read");
    let lines = segment.lines().count();
    assert_eq!(lines, segment.line_count(), "each line can be read");
    let _: usize = segment.postings().count() + segment.changes().count();
    // A segment may be well formed and not fit a state.
    let mut state = PartitionState::default();
    if state.replay(&segment, SegmentHash::default(), SegmentHash([9; 32])).is_ok() {
        is_stable(&state);
    }
    true
}

/// Decodes the input as a checkpoint: as a snapshot if its first byte is even, otherwise as a run of
/// keys.
pub fn checkpoint(input: &[u8]) -> bool {
    let Some((kind, rest)) = input.split_first() else { return false };
    let state = match kind % 2 {
        0 => PartitionState::decode(rest, &[] as &[&[u8]], &|| ()),
        _ => PartitionState::decode(SNAPSHOT, &[rest], &|| ()),
    };
    let Ok(state) = state else { return false };
    is_stable(&state);
    true
}

/// The snapshot of a state is decoded as a state with the same snapshot.
fn is_stable(state: &PartitionState) {
    let bytes = state.snapshot(&|| ()).bytes;
    let again = PartitionState::decode(&bytes, &[] as &[&[u8]], &|| ());
    let again = again.expect("the snapshot of a state is read again");
    assert_eq!(again.snapshot(&|| ()).bytes, bytes);
}
