use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use turnpike_proto::audit::v1::{EntryKind, Row};
use turnpike_store::memory::MemoryDatabase;
use turnpike_store::{Call, Interpose, Interposed};

use super::*;
use crate::audit::change::ChangeEnd;
use crate::audit::verify::{Anchor, AuditReport, Verifier};

fn actor() -> Actor {
    Actor {
        principal: "token:anna".to_owned(),
        address: "10.0.0.1:5".to_owned(),
        request_id: "r1".to_owned(),
    }
}

async fn rows(db: &dyn SharedDatabase) -> Vec<AuditRow> {
    db.read_audit(&AuditSelection::after(0)).await.unwrap()
}

async fn entries(db: &dyn SharedDatabase) -> Vec<Entry> {
    rows(db).await.iter().map(|row| Entry::decode(row.body.clone()).unwrap()).collect()
}

async fn verified(db: &dyn SharedDatabase) -> AuditReport {
    let mut verifier = Verifier::new(None);
    for row in rows(db).await {
        verifier.row(&Row {
            sequence: row.sequence,
            prev_hash: row.prev_hash.to_vec().into(),
            hash: row.hash.to_vec().into(),
            body: row.body,
            at_us: row.at.micros(),
        });
    }
    let head = db.audit_head().await.unwrap();
    verifier.finish(Some(Anchor { sequence: head.next - 1, hash: head.last_hash }), false)
}

/// How a database fails on appends.
#[derive(Default)]
struct Failing {
    /// So many appends are carried out and their answer is lost.
    answers_lost: AtomicUsize,
    /// So many appends are not carried out.
    refused: AtomicUsize,
    appends: AtomicUsize,
}

fn takes_one(left: &AtomicUsize) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

fn unavailable() -> StoreError {
    StoreError::Unavailable { doing: "test", cause: "no answer".to_owned() }
}

#[async_trait]
impl Interpose for Failing {
    async fn before(&self, call: Call) -> StoreResult<()> {
        if call == Call::AppendAudit {
            self.appends.fetch_add(1, Ordering::SeqCst);
            if takes_one(&self.refused) {
                return Err(unavailable());
            }
        }
        Ok(())
    }

    async fn after(&self, call: Call) -> StoreResult<()> {
        if call == Call::AppendAudit && takes_one(&self.answers_lost) {
            return Err(unavailable());
        }
        Ok(())
    }
}

fn failing() -> (Arc<dyn SharedDatabase>, Arc<Failing>) {
    let faults = Arc::new(Failing::default());
    let memory: Arc<dyn SharedDatabase> = Arc::new(MemoryDatabase::new());
    (Arc::new(Interposed::new(memory, faults.clone())), faults)
}

#[tokio::test(start_paused = true)]
async fn an_operation_leaves_an_intent_and_its_outcome() {
    let (db, _) = failing();
    let log = AuditLog::start(db.clone(), 1);
    let intent = Intent::of("node n1").with("drain");
    let operation = log.begin(&actor(), Action::NodeDrain, &intent).await.unwrap();
    assert_eq!(entries(&*db).await.len(), 1, "the intent is durable before the change");
    operation.end(AuditOutcome::Applied, "done", &[(7, "opened".to_owned())]).await;
    let [intent, outcome] = &entries(&*db).await[..] else { panic!("two entries") };
    assert_eq!((intent.kind(), outcome.kind()), (EntryKind::Intent, EntryKind::Outcome));
    assert_eq!(intent.operation, outcome.operation);
    for entry in [intent, outcome] {
        let who = (&*entry.principal, &*entry.address, &*entry.request_id);
        assert_eq!(who, ("token:anna", "10.0.0.1:5", "r1"));
        assert_eq!((&*entry.action, &*entry.target), ("node.drain", "node n1"));
    }
    assert_eq!((&*outcome.detail, outcome.accounts[0].account), ("done", 7));
    let report = verified(&*db).await;
    assert_eq!((report.faults, report.open), (vec![], vec![]));
}

/// An entry that may not be durable permits no change.
#[tokio::test(start_paused = true)]
async fn without_a_durable_intent_there_is_no_operation() {
    let (db, faults) = failing();
    faults.refused.store(usize::MAX, Ordering::SeqCst);
    let log = AuditLog::start(db.clone(), 1);
    let refused = log.begin(&actor(), Action::NodeDrain, &Intent::of("node n1")).await;
    let told = refused.err().unwrap().to_string();
    assert!(told.contains("nothing was changed"), "{told}");
    assert!(entries(&*db).await.is_empty());
}

/// P2: the outcome of an append may be unknown. The entry is in the log once.
#[tokio::test(start_paused = true)]
async fn an_append_whose_answer_was_lost_is_not_repeated() {
    for (answers_lost, refused) in [(1, 0), (0, 2), (1, 1), (2, 1)] {
        let (db, faults) = failing();
        let log = AuditLog::start(db.clone(), 1);
        faults.answers_lost.store(answers_lost, Ordering::SeqCst);
        faults.refused.store(refused, Ordering::SeqCst);
        let operation = log.begin(&actor(), Action::NodeDrain, &Intent::of("n")).await.unwrap();
        operation.end(AuditOutcome::Applied, "", &[]).await;
        assert_eq!(entries(&*db).await.len(), 2, "{answers_lost} lost, {refused} refused");
        assert!(verified(&*db).await.faults.is_empty());
    }
}

/// A client that disconnects during the change leaves the outcome *unknown*.
#[tokio::test(start_paused = true)]
async fn a_cancelled_operation_has_an_unknown_outcome() {
    let (db, _) = failing();
    let log = AuditLog::start(db.clone(), 1);
    drop(log.begin(&actor(), Action::NodeForget, &Intent::of("node n1")).await.unwrap());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let all = entries(&*db).await;
    assert_eq!(all[1].outcome(), AuditOutcome::Unknown);
    assert!(verified(&*db).await.open.is_empty());
}

/// A database whose appends wait until they are let through.
#[derive(Default)]
struct Held {
    holds: std::sync::atomic::AtomicBool,
}

#[async_trait]
impl Interpose for Held {
    async fn before(&self, call: Call) -> StoreResult<()> {
        while call == Call::AppendAudit && self.holds.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    async fn after(&self, _: Call) -> StoreResult<()> {
        Ok(())
    }
}

fn held() -> (Arc<dyn SharedDatabase>, Arc<Held>) {
    let held = Arc::new(Held::default());
    let memory: Arc<dyn SharedDatabase> = Arc::new(MemoryDatabase::new());
    (Arc::new(Interposed::new(memory, held.clone())), held)
}

/// Polls `work` for so long, then drops it, as when a client disconnects.
async fn dropped_after(time: Duration, work: impl Future) {
    assert!(tokio::time::timeout(time, work).await.is_err(), "it had not ended yet");
}

/// A client that disconnects while the outcome is appended can't keep it out of the log.
#[tokio::test(start_paused = true)]
async fn an_outcome_is_recorded_although_its_request_is_dropped() {
    let (db, held) = held();
    let log = AuditLog::start(db.clone(), 1);
    let operation = log.begin(&actor(), Action::NodeDrain, &Intent::of("n")).await.unwrap();
    held.holds.store(true, Ordering::SeqCst);
    let done: Vec<(u64, String)> = (1..=2_500).map(|n| (n, "opened".to_owned())).collect();
    let end = operation.end(AuditOutcome::Applied, "", &done);
    dropped_after(Duration::from_secs(1), end).await;
    held.holds.store(false, Ordering::SeqCst);
    log.settled().await;
    let all = entries(&*db).await;
    let outcomes: Vec<_> = all[1..].iter().map(|entry| (entry.outcome(), entry.part)).collect();
    assert_eq!(outcomes, [0, 1, 2].map(|part| (AuditOutcome::Applied, part)));
    assert!(verified(&*db).await.open.is_empty());
}

/// Wherever a client cuts its request off: the change is made and recorded as made, or there is no
/// trace of either.
#[tokio::test(start_paused = true)]
async fn a_change_that_has_begun_ends_by_itself() {
    let mut begun = 0;
    for cut_after_ms in (0..400).step_by(20) {
        let (db, held) = held();
        let log = AuditLog::start(db.clone(), 1);
        held.holds.store(true, Ordering::SeqCst);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            held.holds.store(false, Ordering::SeqCst);
        });
        let made = Arc::new(AtomicUsize::new(0));
        let making = made.clone();
        let change = async move {
            tokio::time::sleep(Duration::from_millis(500)).await;
            making.fetch_add(1, Ordering::SeqCst);
            ((), ChangeEnd::of(AuditOutcome::Applied, ""))
        };
        let actor = actor();
        let whole = log.change(&actor, Action::AccessGrant, Intent::of("role"), change);
        dropped_after(Duration::from_millis(cut_after_ms), whole).await;
        log.settled().await;
        let all = entries(&*db).await;
        let outcomes: Vec<_> = all.iter().map(Entry::outcome).collect();
        match made.load(Ordering::SeqCst) {
            0 => assert_eq!(outcomes, []),
            _ => assert_eq!(outcomes, [AuditOutcome::Unspecified, AuditOutcome::Applied]),
        }
        begun += made.load(Ordering::SeqCst);
    }
    assert!(begun >= 19, "{begun} of 20 changes had begun");
}

/// A flood of changes by one principal leaves room in the queue for those of another.
#[tokio::test(start_paused = true)]
async fn a_flood_of_one_principal_does_not_hold_up_the_change_of_another() {
    let (db, _) = failing();
    let log = AuditLog::start(db.clone(), 1);
    let change = |log: AuditLog, principal: &str, accounts: u64| {
        let sender = Actor { principal: principal.to_owned(), ..actor() };
        let mut intent = Intent::of("accounts");
        intent.accounts = (1..=accounts).map(|n| (n, "open".to_owned())).collect();
        let change = async { ((), ChangeEnd::of(AuditOutcome::Applied, "")) };
        async move { log.change(&sender, Action::AccountApply, intent, change).await }
    };
    let flood: Vec<_> =
        (0..200).map(|_| tokio::spawn(change(log.clone(), "token:flood", 10_000))).collect();
    tokio::task::yield_now().await;
    let before = db.audit_head().await.unwrap().next;
    change(log.clone(), "token:operator", 0).await.unwrap();
    let passed = db.audit_head().await.unwrap().next - before;
    assert!(flood.iter().any(|one| !one.is_finished()), "the flood goes on");
    assert!((3..=100).contains(&passed), "{passed} entries until the other change was answered");
    flood.into_iter().for_each(|one| one.abort());
}

/// Another process that appends before each append of this one.
struct Overtaking {
    memory: Arc<dyn SharedDatabase>,
    appends: AtomicUsize,
}

#[async_trait]
impl Interpose for Overtaking {
    async fn before(&self, call: Call) -> StoreResult<()> {
        if call == Call::AppendAudit {
            self.appends.fetch_add(1, Ordering::SeqCst);
            let head = self.memory.audit_head().await?;
            let rows = rows_after(&head, &[Entry::default()]);
            self.memory.append_audit(&AuditAppend { after: head.last_hash, rows }).await?;
        }
        Ok(())
    }

    async fn after(&self, _: Call) -> StoreResult<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn between_attempts_that_are_overtaken_there_are_pauses() {
    let memory: Arc<dyn SharedDatabase> = Arc::new(MemoryDatabase::new());
    let appends = AtomicUsize::new(0);
    let other = Arc::new(Overtaking { memory: memory.clone(), appends });
    let log = AuditLog::start(Arc::new(Interposed::new(memory, other.clone())), 1);
    let refused = log.begin(&actor(), Action::NodeDrain, &Intent::of("n")).await;
    let told = refused.err().unwrap().to_string();
    assert!(told.contains("overtaken") && told.contains("nothing was changed"), "{told}");
    let attempts = other.appends.load(Ordering::SeqCst);
    assert!((10..400).contains(&attempts), "{attempts} attempts in {APPEND_LIMIT:?}");
}

/// Requests that arrive together share appends; processes that append together make one chain.
#[tokio::test(start_paused = true)]
async fn concurrent_operations_of_several_processes_make_one_chain_in_few_appends() {
    let (db, faults) = failing();
    let logs = [AuditLog::start(db.clone(), 1), AuditLog::start(db.clone(), 2)];
    let one = |number: usize| {
        let log = logs[number % 2].clone();
        async move {
            let target = Intent::of(format!("node {number}"));
            let operation = log.begin(&actor(), Action::NodeDrain, &target).await.unwrap();
            operation.end(AuditOutcome::Applied, "", &[]).await;
        }
    };
    futures::future::join_all((0..200).map(one)).await;
    let report = verified(&*db).await;
    assert_eq!((report.entries, report.faults, report.open), (400, vec![], vec![]));
    let appends = faults.appends.load(Ordering::SeqCst);
    assert!(appends <= 40, "{appends} appends for 400 entries");
}

#[tokio::test(start_paused = true)]
async fn trimming_deletes_up_to_an_entry_and_records_it_first() {
    let (db, _) = failing();
    let log = AuditLog::start(db.clone(), 1);
    for _ in 0..3 {
        let operation = log.begin(&actor(), Action::NodeDrain, &Intent::of("n")).await.unwrap();
        operation.end(AuditOutcome::Applied, "", &[]).await;
    }
    let fourth = rows(&*db).await[3].hash;
    let trim_from =
        async |first, end| crate::audit::trim::trim(&db, &log, &actor(), first, end).await;
    let trim = async |through, hash| trim_from(1, (through, hash)).await;
    assert!(trim(4, [9; 32]).await.is_err());
    // An export that begins later does not hold what would be deleted before it.
    let told = trim_from(2, (4, fourth)).await.unwrap_err().to_string();
    assert!(told.contains("begins with entry 1, and the export with entry 2"), "{told}");
    assert_eq!(rows(&*db).await.len(), 6);
    assert_eq!(trim(4, fourth).await.unwrap(), 4);
    let left: Vec<u64> = rows(&*db).await.iter().map(|row| row.sequence).collect();
    assert_eq!(left, [5, 6, 7]);
    let report = verified(&*db).await;
    assert_eq!((report.faults, report.first), (vec![], 5));
}
