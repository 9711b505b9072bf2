//! The audit log: a chain of hashes.

use bytes::Bytes;
use turnpike_store::{
    AUDIT_BATCH_MAX, AUDIT_ENTRY_BYTES_MAX, AuditAppend, AuditAppended, AuditHash, AuditHead,
    AuditRow, AuditSelection, SharedDatabase, StoreError,
};
use turnpike_types::Timestamp;

use crate::{Dice, TestedStore};

/// Entries that follow `head`, one for each body.
fn after(head: &AuditHead, bodies: &[Bytes], dice: &mut Dice) -> AuditAppend {
    let (mut prev_hash, mut rows) = (head.last_hash, Vec::new());
    for (body, sequence) in bodies.iter().zip(head.next..) {
        let hash: AuditHash = dice.hash().0;
        let at = Timestamp(i64::try_from(sequence).unwrap() * 10);
        rows.push(AuditRow { sequence, at, prev_hash, hash, body: body.clone() });
        prev_hash = hash;
    }
    AuditAppend { after: head.last_hash, rows }
}

fn body(number: u8) -> Bytes {
    Bytes::from(vec![0, number, 255])
}

async fn all(db: &dyn SharedDatabase) -> Vec<AuditRow> {
    let mut all: Vec<AuditRow> = Vec::new();
    loop {
        let last = all.last().map_or(0, |row| row.sequence);
        let page = db.read_audit(&AuditSelection::after(last)).await.unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

/// The chain begins with entry 1 after a hash of zeros. Another process reads exactly the entries that
/// were appended, and their end.
pub async fn entries_are_read_as_they_were_appended(s: &TestedStore) {
    let (db, mut dice) = (s.view().await, Dice(71));
    let head = db.audit_head().await.unwrap();
    assert_eq!((head.next, head.oldest, head.last_hash), (1, 1, [0; 32]));
    assert!(head.now.micros() > 0, "the clock of the database");
    let first = after(&head, &[body(1), body(2)], &mut dice);
    assert_eq!(db.append_audit(&first).await.unwrap(), AuditAppended::Appended);
    let head = s.view().await.audit_head().await.unwrap();
    let last = first.rows.last().unwrap();
    assert_eq!((head.next, head.last_hash, head.last_at), (3, last.hash, last.at));
    let second = after(&head, &[body(3)], &mut dice);
    assert_eq!(db.append_audit(&second).await.unwrap(), AuditAppended::Appended);
    let rows: Vec<AuditRow> = [first.rows, second.rows].concat();
    assert_eq!(all(&*s.view().await).await, rows);
}

/// An append after an entry that is not the newest one writes nothing.
pub async fn an_append_that_was_overtaken_writes_nothing(s: &TestedStore) {
    let (db, mut dice) = (s.view().await, Dice(72));
    let head = db.audit_head().await.unwrap();
    let first = after(&head, &[body(1)], &mut dice);
    let late = after(&head, &[body(2), body(3)], &mut dice);
    assert_eq!(db.append_audit(&first).await.unwrap(), AuditAppended::Appended);
    let other_hash = AuditHead { next: 2, last_hash: dice.hash().0, ..head };
    let other_hash = after(&other_hash, &[body(4)], &mut dice);
    let now = db.audit_head().await.unwrap();
    let skipping = after(&AuditHead { next: 3, ..now }, &[body(5)], &mut dice);
    for overtaken in [first.clone(), late, other_hash, skipping] {
        let answer = s.view().await.append_audit(&overtaken).await.unwrap();
        assert_eq!(answer, AuditAppended::Overtaken, "{overtaken:?}");
    }
    assert_eq!(all(&*db).await, first.rows);
    assert_eq!(db.audit_head().await.unwrap().next, 2);
}

/// Of several processes that append at the same time, each appends after the newest entry.
pub async fn processes_that_append_together_make_one_chain(s: &TestedStore) {
    const EACH: u8 = 20;
    let writer = |number: u8, db: std::sync::Arc<dyn SharedDatabase>| async move {
        let mut dice = Dice(100 + u64::from(number));
        for n in 0..EACH {
            loop {
                let head = db.audit_head().await.unwrap();
                let append = after(&head, &[Bytes::from(vec![number, n])], &mut dice);
                if db.append_audit(&append).await.unwrap() == AuditAppended::Appended {
                    break;
                }
            }
        }
    };
    let writers = [
        tokio::spawn(writer(1, s.view().await)),
        tokio::spawn(writer(2, s.view().await)),
        tokio::spawn(writer(3, s.view().await)),
    ];
    for writer in writers {
        writer.await.unwrap();
    }
    let rows = all(&*s.view().await).await;
    let (mut prev, mut seen) = ([0; 32], [0u8; 4]);
    for (row, sequence) in rows.iter().zip(1..) {
        assert_eq!((row.sequence, row.prev_hash), (sequence, prev));
        prev = row.hash;
        let [number, n] = row.body[..] else { panic!("{row:?}") };
        let of = &mut seen[usize::from(number)];
        assert_eq!(*of, n, "the entries of one process stay in order");
        *of += 1;
    }
    assert_eq!(seen, [0, EACH, EACH, EACH]);
}

/// Rows that are no piece of a chain, too many, or too large are refused.
pub async fn a_malformed_append_is_refused(s: &TestedStore) {
    let (db, mut dice) = (s.view().await, Dice(73));
    let head = db.audit_head().await.unwrap();
    let good = after(&head, &[body(1), body(2)], &mut dice);
    let mut gap = good.clone();
    gap.rows[1].sequence = 3;
    let mut unlinked = good.clone();
    unlinked.rows[1].prev_hash = [7; 32];
    let large = after(&head, &[vec![1; AUDIT_ENTRY_BYTES_MAX + 1].into()], &mut dice);
    let many = after(&head, &vec![body(1); AUDIT_BATCH_MAX + 1], &mut dice);
    let none = AuditAppend { rows: Vec::new(), ..good.clone() };
    for bad in [gap, unlinked, large, many, none] {
        let answer = db.append_audit(&bad).await;
        assert!(matches!(answer, Err(StoreError::Refused(_))), "{answer:?}");
    }
    assert!(all(&*db).await.is_empty());
    assert_eq!(db.append_audit(&good).await.unwrap(), AuditAppended::Appended);
}

/// A page is bounded in bytes, and a period is selected by the times of the entries.
pub async fn a_page_is_bounded_and_a_period_has_its_entries_only(s: &TestedStore) {
    let (db, mut dice) = (s.view().await, Dice(74));
    let large = Bytes::from(vec![7; AUDIT_ENTRY_BYTES_MAX]);
    let append = after(&db.audit_head().await.unwrap(), &vec![large; 20], &mut dice);
    db.append_audit(&append).await.unwrap();
    let page = db.read_audit(&AuditSelection::after(0)).await.unwrap();
    assert_eq!(page.len(), 16, "a mebibyte of bodies");
    assert_eq!(all(&*db).await, append.rows);
    let period = |since, until| AuditSelection {
        after: 0,
        since: Timestamp(since),
        until: Timestamp(until),
    };
    let of = async |selection| {
        let page = db.read_audit(&selection).await.unwrap();
        page.iter().map(|row| row.sequence).collect::<Vec<u64>>()
    };
    assert_eq!(of(period(30, 60)).await, [3, 4, 5]);
    assert_eq!(of(AuditSelection { after: 4, ..period(30, 60) }).await, [5]);
    assert!(of(period(201, 1_000)).await.is_empty());
}

/// Entries are deleted only up to an entry that is named with its hash, and never the newest one.
pub async fn trimming_names_the_hash_of_the_last_trimmed_entry(s: &TestedStore) {
    let (db, mut dice) = (s.view().await, Dice(75));
    let append = after(&db.audit_head().await.unwrap(), &vec![body(1); 5], &mut dice);
    db.append_audit(&append).await.unwrap();
    let hash = |sequence: usize| append.rows[sequence - 1].hash;
    let head = db.audit_head().await.unwrap();
    for (through, hash) in [(3, hash(2)), (3, [0; 32]), (5, hash(5)), (6, hash(5)), (0, [0; 32])] {
        assert_eq!(db.trim_audit(through, hash).await.unwrap(), 0, "up to {through}");
    }
    assert_eq!(all(&*db).await, append.rows);
    assert_eq!(db.audit_head().await.unwrap().oldest, 1);
    assert_eq!(db.trim_audit(3, hash(3)).await.unwrap(), 3);
    assert_eq!(db.audit_head().await.unwrap().oldest, 4);
    assert_eq!(all(&*db).await, append.rows[3..]);
    let now = db.audit_head().await.unwrap();
    assert_eq!((now.next, now.last_hash), (head.next, head.last_hash), "the end does not change");
    assert_eq!(db.trim_audit(3, hash(3)).await.unwrap(), 0, "already trimmed");
}
