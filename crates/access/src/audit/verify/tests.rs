use turnpike_proto::audit::v1::AuditOutcome;

use super::*;
use crate::audit::export::ExportLine;

/// A chain of operations: intents have odd numbers, each outcome follows its intent.
fn chain(count: u64) -> Vec<Row> {
    let mut prev = AuditHash::default();
    let row = |sequence: u64| {
        let is_intent = sequence % 2 == 1;
        let kind = if is_intent { EntryKind::Intent } else { EntryKind::Outcome };
        let operation = vec![u8::try_from(sequence.div_ceil(2)).unwrap(); 16];
        let entry = Entry {
            kind: kind.into(),
            operation: operation.into(),
            at_us: i64::try_from(sequence).unwrap(),
            principal: "token:anna".to_owned(),
            action: "node.drain".to_owned(),
            target: format!("node n{sequence}"),
            ..Entry::default()
        };
        let row = linked(sequence, prev, entry);
        prev = row.hash[..].try_into().unwrap();
        row
    };
    (1..=count).map(row).collect()
}

fn linked(sequence: u64, prev: AuditHash, entry: Entry) -> Row {
    let body = Bytes::from(entry.encode_to_vec());
    let hash = hash_of(&prev, sequence, &body);
    Row {
        sequence,
        prev_hash: prev.to_vec().into(),
        hash: hash.to_vec().into(),
        body,
        at_us: entry.at_us,
    }
}

fn anchor_of(row: &Row) -> Anchor {
    Anchor { sequence: row.sequence, hash: row.hash[..].try_into().unwrap() }
}

/// The report on rows of the database whose end is `end`.
fn verified(rows: &[Row], end: &Row, anchor: Option<Anchor>) -> AuditReport {
    let mut verifier = Verifier::new(anchor);
    rows.iter().for_each(|row| verifier.row(row));
    verifier.finish(Some(anchor_of(end)), false)
}

fn faults(rows: &[Row], end: &Row) -> Vec<AuditFault> {
    verified(rows, end, None).faults
}

#[test]
fn an_unbroken_chain_has_no_fault_and_ends_with_its_anchor() {
    let rows = chain(8);
    let report = verified(&rows, &rows[7], Some(anchor_of(&rows[3])));
    assert_eq!((report.faults, report.open), (vec![], vec![]));
    assert_eq!((report.entries, report.first, report.last), (8, 1, 8));
    assert_eq!(report.last_hash[..], rows[7].hash[..]);
}

#[test]
fn removed_entries_are_named_wherever_they_were() {
    let rows = chain(8);
    for (removed, fault) in [
        (2..4, AuditFault::Missing { first: 3, last: 4 }),
        (6..8, AuditFault::Missing { first: 7, last: 8 }),
        (0..2, AuditFault::BeginningMissing { first: 3 }),
    ] {
        let mut left = rows.clone();
        left.drain(removed);
        assert_eq!(faults(&left, &rows[7]), [fault]);
    }
    assert_eq!(faults(&[], &rows[7]), [AuditFault::Missing { first: 1, last: 8 }]);
}

#[test]
fn a_changed_entry_is_named_also_when_its_hash_was_made_anew() {
    let rows = chain(8);
    for place in 0..8 {
        let mut changed = rows.clone();
        let mut entry = Entry::decode(rows[place].body.clone()).unwrap();
        entry.principal = "token:bert".to_owned();
        changed[place].body = entry.encode_to_vec().into();
        let sequence = rows[place].sequence;
        assert_eq!(faults(&changed, &rows[7]), [AuditFault::Changed(sequence)]);
        let prev = rows[place].prev_hash[..].try_into().unwrap();
        changed[place] = linked(sequence, prev, entry);
        let found = faults(&changed, &rows[7]);
        match place {
            7 => assert!(
                matches!(found[..], [AuditFault::OtherEnd { sequence: 8, .. }]),
                "{found:?}"
            ),
            _ => assert_eq!(found, [AuditFault::Unlinked(sequence + 1)]),
        }
    }
}

#[test]
fn reordered_entries_are_named() {
    let rows = chain(8);
    let mut swapped = rows.clone();
    swapped.swap(2, 3);
    let found = faults(&swapped, &rows[7]);
    assert!(found.contains(&AuditFault::Reordered { sequence: 3, after: 4 }), "{found:?}");
    // The contents of two entries are exchanged, under their old numbers and hashes.
    let mut exchanged = rows.clone();
    let (third, fifth) = (rows[2].body.clone(), rows[4].body.clone());
    (exchanged[2].body, exchanged[4].body) = (fifth, third);
    let found = faults(&exchanged, &rows[7]);
    assert!(
        found.contains(&AuditFault::Changed(3)) && found.contains(&AuditFault::Changed(5)),
        "{found:?}"
    );
}

/// Somebody who can write every table makes a whole new chain with a new end: only an anchor that was
/// kept elsewhere shows it.
#[test]
fn a_rewritten_log_is_found_by_the_auditors_anchor() {
    let rows = chain(8);
    let mut prev = AuditHash::default();
    let rewritten: Vec<Row> = rows
        .iter()
        .map(|row| {
            let mut entry = Entry::decode(row.body.clone()).unwrap();
            entry.principal = "token:bert".to_owned();
            let row = linked(row.sequence, prev, entry);
            prev = row.hash[..].try_into().unwrap();
            row
        })
        .collect();
    assert_eq!(faults(&rewritten, &rewritten[7]), []);
    let found = verified(&rewritten, &rewritten[7], Some(anchor_of(&rows[5]))).faults;
    assert_eq!(found, [AuditFault::OtherThanAnchor(6)]);
    let shorter = verified(&rows[..4], &rows[3], Some(anchor_of(&rows[5]))).faults;
    assert_eq!(shorter, [AuditFault::AnchorMissing(6)]);
}

#[test]
fn a_trimmed_log_is_unbroken_if_an_entry_records_the_trimming() {
    let rows = chain(6);
    let last = anchor_of(&rows[5]);
    let trim = |trimmed: Anchor| {
        let entry = Entry {
            kind: EntryKind::Anchor.into(),
            at_us: 7,
            trimmed_through: trimmed.sequence,
            trimmed_hash: trimmed.hash.to_vec().into(),
            ..Entry::default()
        };
        linked(7, last.hash, entry)
    };
    let with = |entry: Row| [&rows[4..], &[entry]].concat();
    let anchored = with(trim(anchor_of(&rows[3])));
    assert_eq!(faults(&anchored, &anchored[2]), []);
    let kept = verified(&anchored, &anchored[2], Some(anchor_of(&rows[3]))).faults;
    assert_eq!(kept, [], "an anchor of the last trimmed entry still compares");
    for wrong in [anchor_of(&rows[2]), Anchor { sequence: 4, hash: [1; 32] }] {
        let anchored = with(trim(wrong));
        assert_eq!(faults(&anchored, &anchored[2]), [AuditFault::BeginningMissing { first: 5 }]);
    }
}

#[test]
fn an_intent_without_an_outcome_is_listed_and_an_outcome_without_an_intent_is_a_fault() {
    let rows = chain(7);
    let report = verified(&rows, &rows[6], None);
    assert_eq!((report.faults, report.open), (vec![], vec![(7, "node.drain node n7".to_owned())]));
    let entry = Entry {
        kind: EntryKind::Outcome.into(),
        outcome: AuditOutcome::Applied.into(),
        operation: vec![99; 16].into(),
        at_us: 8,
        ..Entry::default()
    };
    let stray = linked(8, anchor_of(&rows[6]).hash, entry);
    let rows = [rows, vec![stray]].concat();
    assert_eq!(faults(&rows, &rows[7]), [AuditFault::WithoutIntent(8)]);
}

/// The column by which entries are selected is not hashed, so that it is compared with the content.
#[test]
fn a_changed_time_of_selection_is_found() {
    let rows = chain(4);
    let mut changed = rows.clone();
    changed[1].at_us = 4_000_000;
    let found = faults(&changed, &rows[3]);
    assert!(matches!(found[..], [AuditFault::Contradiction { sequence: 2, .. }]), "{found:?}");
}

#[test]
fn an_export_reads_back_as_the_same_entries_and_a_changed_field_is_found() {
    let rows = chain(4);
    for row in &rows {
        let line = serde_json::to_string(&ExportLine::of(row).unwrap()).unwrap();
        assert_eq!(ExportLine::read(&line).unwrap(), *row);
        let forged = line.replace("token:anna", "token:bert");
        let told = ExportLine::read(&forged).unwrap_err().to_string();
        assert!(told.contains("was changed"), "{told}");
    }
    assert!(ExportLine::read("{}").is_err());
}

/// A change whose outcome is not known is named, however its outcome came to be unknown.
#[test]
fn an_outcome_that_is_unknown_is_listed() {
    let mut rows = chain(2);
    let entry = Entry {
        kind: EntryKind::Outcome.into(),
        operation: vec![1; 16].into(),
        outcome: AuditOutcome::Unknown.into(),
        at_us: 2,
        action: "access.grant".to_owned(),
        target: "role admin of token:x".to_owned(),
        ..Entry::default()
    };
    rows[1] = linked(2, rows[0].hash[..].try_into().unwrap(), entry);
    let report = verified(&rows, &rows[1], None);
    assert_eq!((report.faults, report.open), (vec![], vec![]));
    assert_eq!(report.unknown, [(2, "access.grant role admin of token:x".to_owned())]);
    assert_eq!(report.unknown_count, 1);
}
