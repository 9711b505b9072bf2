#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use turnpike_proto::frame::{SubBatchFrame, SubBatchHead};
use turnpike_proto::record::{encode, encode_extra};
use turnpike_proto::wire::put_bytes;
use turnpike_store::{
    Binding, IdentityHistory, Observation, PartitionRow, PartitionSpec, SegmentPosition,
};
use turnpike_types::{AccountRange, ClaimId, Epoch, SegmentHash, SegmentNumber, UsageRecord};

use super::*;

/// A table of partitions without owners: id, first account, last account.
pub(crate) fn table(ranges: &[(u32, u64, u64)]) -> RouteTable {
    let row = |&(id, first, last): &(u32, u64, u64)| PartitionRow {
        spec: PartitionSpec {
            id: PartitionId(id),
            range: AccountRange::new(first, last).unwrap(),
            horizon_us: 0,
            accept_since: None,
            members: Vec::new(),
        },
        epoch: Epoch::UNOWNED,
        owner: None,
        claim: ClaimId::default(),
        next: SegmentPosition { next: SegmentNumber(1), last_hash: SegmentHash::default() },
        released_to: None,
        last_posting: SegmentNumber(0),
        flaps: 0,
        pin: None,
    };
    let observation = Observation {
        nodes: Vec::new(),
        partitions: ranges.iter().map(row).collect(),
        catalogue_version: 0,
        now: Timestamp(0),
    };
    RouteTable::new(1, observation, Vec::new(), &mut BTreeMap::new())
}

fn record(id: usize, account: u64, identity: &str) -> Vec<u8> {
    let record = UsageRecord {
        record_id: format!("r{id}"),
        account: AccountNumber(account),
        identity: identity.to_owned(),
        usage_type: "octets".to_owned(),
        start: Timestamp(50),
        ..UsageRecord::default()
    };
    let mut bytes = Vec::new();
    encode(&record, &mut bytes);
    bytes
}

fn frame(records: &[Vec<u8>]) -> BatchFrame {
    BatchFrame::build("test", 7, records.iter().map(Vec::as_slice))
}

fn histories(bound: &[(&str, i64, i64, u64)]) -> HistoryBySpelling {
    let mut all: HashMap<String, IdentityHistory> = HashMap::new();
    for &(identity, from, until, account) in bound {
        let history = all.entry(identity.to_owned()).or_default();
        if account != 0 {
            history.bindings.push(Binding {
                identity: identity.to_owned(),
                account: AccountNumber(account),
                from: Timestamp(from),
                until: Timestamp(until),
            });
        }
    }
    all.into_iter().map(|(identity, history)| (identity, Arc::new(history))).collect()
}

/// The account and bytes of each record of a part, as a node reads them.
fn read(part: &PartitionPart) -> Vec<(u64, Vec<u8>)> {
    let head = SubBatchHead { partition: part.partition.0, ..SubBatchHead::default() };
    let frame = SubBatchFrame::build(head, &part.records);
    let mut found = Vec::new();
    let each = |record: &[u8]| found.push((peek(record).unwrap().account.0, record.to_vec()));
    assert_eq!(frame.walk(each).unwrap(), head, "records can't change the head of their sub-batch");
    assert_eq!(found.len(), part.count as usize);
    found
}

fn split(frame: &BatchFrame, table: &RouteTable, known: Option<&HistoryBySpelling>) -> Split {
    Splitter::default().split(frame, table, known).unwrap().1
}

#[test]
fn a_batch_of_one_partition_needs_no_index_map() {
    let table = table(&[(1, 1, 100), (2, 101, 200)]);
    let records = [record(0, 5, ""), record(1, 6, ""), record(2, 5, "")];
    let split = split(&frame(&records), &table, None);
    assert_eq!(split.records, 3);
    assert_eq!(split.parts.len(), 1);
    assert_eq!(split.parts[0].indexes, None);
    let bytes: Vec<Vec<u8>> = read(&split.parts[0]).into_iter().map(|(_, bytes)| bytes).collect();
    assert_eq!(bytes, records);
}

#[test]
fn a_malformed_record_is_refused_alone() {
    let table = table(&[(1, 1, 100)]);
    let records = [record(0, 5, ""), vec![0xff], record(2, 0, ""), record(3, 5, "")];
    let split = split(&frame(&records), &table, None);
    assert_eq!(split.refused, [(1, RejectReason::Malformed), (2, RejectReason::NoAccount)]);
    assert_eq!(split.parts[0].indexes.as_deref(), Some(&[0, 3][..]));
}

#[test]
fn an_identity_is_resolved_at_the_start_of_the_record_and_keeps_its_place() {
    let table = table(&[(1, 1, 100), (2, 101, 200)]);
    let records =
        [record(0, 150, ""), record(1, 0, "user:a"), record(2, 0, "user:b"), record(3, 150, "")];
    let frame = frame(&records);
    let first = Splitter::default().split(&frame, &table, None);
    assert_eq!(first.unwrap_err(), SplitStop::NeedsGuiding);
    let known =
        histories(&[("user:a", 0, 50, 5), ("user:a", 50, 60, 150), ("user:b", 51, 60, 150)]);
    let split = split(&frame, &table, Some(&known));
    let of_two = split.parts.iter().find(|part| part.partition.0 == 2).unwrap();
    let accounts: Vec<u64> = read(of_two).iter().map(|(account, _)| *account).collect();
    let home = table.at(table.home_of_identity("user:b").unwrap()).unwrap().partition.0;
    if home == 2 {
        assert_eq!(accounts, [150, 150, 0, 150]);
    } else {
        assert_eq!(accounts, [150, 150, 150]);
        assert_eq!(of_two.indexes.as_deref(), Some(&[0, 1, 3][..]));
    }
    let guided = &read(of_two)[1].1;
    assert_eq!(peek(guided).unwrap().identity, "user:a");
    assert!(guided.starts_with(&records[1]));
}

#[test]
fn a_record_of_no_partition_goes_to_its_home_partition_which_is_stable() {
    let table = table(&[(7, 1, 100), (3, 201, 300), (5, 401, 500)]);
    for account in [101, 150, 301, 600, u64::MAX] {
        let split = split(&frame(&[record(0, account, "")]), &table, None);
        let home = table.at(table.home_of_account(AccountNumber(account)).unwrap()).unwrap();
        assert_eq!(split.parts[0].partition, home.partition);
    }
    let ids: Vec<u32> = table.routes().iter().map(|route| route.partition.0).collect();
    assert_eq!(ids, [3, 5, 7]);
}

#[test]
fn a_record_that_can_never_be_accepted_is_named() {
    let one = table(&[(1, 1, 100)]);
    let mut splitter = Splitter::default();
    let none = splitter.split(&frame(&[]), &table(&[]), None);
    assert_eq!(none.unwrap_err(), SplitStop::NoPartitions);
    let many = vec![record(0, 5, ""); limits::BATCH_RECORDS_MAX + 1];
    let many = splitter.split(&frame(&many), &one, None);
    assert_eq!(many.unwrap_err(), SplitStop::TooManyRecords(limits::BATCH_RECORDS_MAX + 1));
    let long = BatchFrame::build(&"s".repeat(129), 7, []);
    assert_eq!(splitter.split(&long, &one, None).unwrap_err(), SplitStop::LongSource(129));
    let cut = BatchFrame::from(vec![0x1a, 5, 1]);
    assert!(matches!(splitter.split(&cut, &one, None), Err(SplitStop::Malformed(_))));
    assert_eq!(head_of(&long).batch_number, 7);
    assert_eq!(head_of(&long).source.len(), limits::SOURCE_BYTES_MAX);
}

#[test]
fn a_built_sub_batch_decodes_to_its_inputs() {
    for (recycled, client) in [(false, 0), (true, u64::MAX)] {
        let (guided_us, recycled_from) = (9, u32::from(recycled) * 7);
        let (partition, sequence) = (3, 5);
        let head = SubBatchHead { partition, sequence, recycled, guided_us, client, recycled_from };
        let mut run = Vec::new();
        push_record(&mut run, b"r");
        assert_eq!(SubBatchFrame::build(head, &run).walk(|_| {}), Ok(head));
        // The fields of the head follow the records, as when a sender appends them.
        head.put(&mut run);
        assert_eq!(SubBatchFrame::from(run).walk(|_| {}), Ok(head));
    }
}

#[test]
fn p35_a_client_can_not_say_that_its_records_were_recycled() {
    let table = table(&[(1, 1, 100), (2, 101, 200)]);
    // The bytes of field 4 of a sub-batch (`recycled`) inside an attribute's text, and as an
    // unknown field at the end of the record. Records are length-delimited, so these bytes stay
    // inside the record.
    let mut within = record(0, 5, "");
    encode_extra("", [("x", "\u{20}\u{1}")], [], &mut within);
    put_bytes(&mut within, 99, &[0x20, 1]);
    // The same bytes as field 4 of the record itself. That field has another type, so the record is
    // malformed.
    let mut behind = record(1, 5, "");
    put_number(&mut behind, 4, 1);
    // The same bytes as field 4 of the batch itself. They reach no sub-batch, since a sub-batch is
    // built from the records alone.
    let mut batch = frame(&[within.clone(), behind, record(2, 105, "")]).body().to_vec();
    put_number(&mut batch, 4, 1);
    let split = split(&BatchFrame::from(batch), &table, None);
    assert_eq!(split.refused, [(1, RejectReason::Malformed)]);
    // `read` checks the head of each part.
    let taken: Vec<_> = split.parts.iter().flat_map(read).collect();
    assert_eq!(taken, [(5, within), (105, record(2, 105, ""))]);
}

proptest! {
    /// Each record is in exactly one part, in order, at the index that the part gives.
    #[test]
    fn parts_and_indexes_make_the_batch_again(
        picks in proptest::collection::vec((0u8..5, 1u64..400), 0..60),
    ) {
        let table = table(&[(4, 1, 100), (2, 101, 200), (9, 301, 350)]);
        let known = histories(&[("tel:1", 0, 100, 120), ("tel:2", 0, 10, 5)]);
        let records: Vec<Vec<u8>> = picks
            .iter()
            .enumerate()
            .map(|(id, &(kind, account))| match kind {
                0 => record(id, 0, "tel:1"),
                1 => record(id, 0, "tel:2"),
                2 => vec![0xff],
                _ => record(id, account, ""),
            })
            .collect();
        let split = split(&frame(&records), &table, Some(&known));
        let mut seen = vec![false; records.len()];
        for &(index, _) in &split.refused {
            seen[index as usize] = true;
        }
        for part in &split.parts {
            let mut last = None;
            for (at, (account, bytes)) in read(part).into_iter().enumerate() {
                let index = part.indexes.as_ref().map_or(at, |map| map[at] as usize);
                prop_assert!(last < Some(index));
                last = Some(index);
                prop_assert!(!std::mem::replace(&mut seen[index], true));
                prop_assert!(bytes.starts_with(&records[index]));
                let slot = table.slot_of(AccountNumber(account));
                if let Some(route) = slot.and_then(|slot| table.at(slot)) {
                    prop_assert_eq!(route.partition, part.partition);
                }
            }
        }
        prop_assert!(seen.into_iter().all(|seen| seen));
    }
}

/// An owner takes a mark of 0 as the statement that no account was looked up, and checks nothing.
#[test]
fn p28_a_mark_before_1970_states_a_look_up_nevertheless() {
    assert_eq!([-1, 0, 1, 9].map(|micros| stated_mark(Timestamp(micros))), [1, 1, 1, 9]);
    assert_eq!(stated_mark(Timestamp::MIN), 1);
}
