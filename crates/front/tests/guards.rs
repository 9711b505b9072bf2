//! Protective checks of a front that no other test covers. The tests switch each check off (a
//! mutant) and expect a failure.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use crate::world;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use tokio_stream::StreamExt as _;
use turnpike_front::FrontConfig;
use turnpike_mutants::{Check, all_caught};
use turnpike_proto::account::v1::{
    AccountCommand, AccountOutcome, ApplyRequest, IdentityBinding, OpenAccount, account_command,
};
use turnpike_proto::ingest::v1::BatchStatus;
use turnpike_proto::record::encode;
use turnpike_proto::suspense::v1::{ListRequest, RecycleRequest, SuspendedRecord};
use turnpike_store::memory::MemoryDatabase;
use turnpike_store::{
    Binding, Call, Following, IdentityStore as _, Interpose, Interposed, NodeBeat,
    OwnershipStore as _, StoreError, StoreIncarnation, StoreResult,
};
use turnpike_types::{
    AccountNumber, Incarnation, NodeName, PartitionId, SegmentHash, SegmentNumber, Timestamp,
    UsageRecord,
};
use world::{Faults, World, batch, config, record};

/// Partition 1 with accounts 1 to 100, served by the first node. The answer deadline is short.
async fn world() -> World {
    let world = World::new(FrontConfig { answer_deadline_beats: 20, ..config() }, 1).await;
    world.partition(1, 1, 100).await;
    world.give(1, 0).await;
    world.routed().await;
    world
}

/// Asserts that the front ignores answers with these faults, and finally answers RETRY.
async fn is_not_accepted(faults: Faults, why: &str) {
    let world = world().await;
    world.set_faults(faults);
    let records = [record(5, "", "r0"), record(5, "", "r1")];
    let ack = world.ingest().ingest_once(batch(1, &records)).await.unwrap().into_inner();
    assert_eq!(ack.status(), BatchStatus::Retry, "believed: {ack:?}");
    assert!(ack.message.contains(why), "{}", ack.message);
}

#[tokio::test(start_paused = true)]
async fn i1_an_answer_that_leaves_a_record_out_is_not_accepted() {
    is_not_accepted(Faults { short: true, ..Faults::default() }, "incomplete answer").await;
}

#[tokio::test(start_paused = true)]
async fn p30_an_answer_to_another_sub_batch_is_not_accepted() {
    is_not_accepted(Faults { ahead: true, ..Faults::default() }, "out of order").await;
}

#[tokio::test(start_paused = true)]
async fn p16_a_front_that_cannot_reach_the_owner_sends_to_a_member_that_may_take_over() {
    let world = world().await;
    let (segment, hash) = (SegmentNumber(1), SegmentHash::default());
    let beat = NodeBeat {
        node: NodeName("b".to_owned()),
        incarnation: Incarnation(1),
        counter: 2,
        address: world.nodes[1].address.clone(),
        draining: false,
        serving: Vec::new(),
        following: vec![Following { partition: PartitionId(1), segment, hash }],
    };
    world.db.heartbeat(&beat).await.unwrap();
    // When the front has read the next epoch, it has read that heartbeat too.
    world.give(1, 0).await;
    world.routed().await;
    world.set_faults(Faults { cut_before: 1000, ..Faults::default() });
    let ack = world.ingest().ingest_once(batch(1, &[record(5, "", "r")])).await.unwrap();
    assert_eq!(ack.into_inner().status(), BatchStatus::Retry);
    assert!(world.shared.sent.load(Ordering::SeqCst) > 0, "no other member was asked");
}

#[tokio::test(start_paused = true)]
async fn p28_an_unbound_identity_is_looked_up_again() {
    let world = world().await;
    let send = async |number, id| {
        let batch = batch(number, &[record(0, "tel:1", id)]);
        world.ingest().ingest_once(batch).await.unwrap().into_inner()
    };
    assert_eq!(send(1, "early").await.exceptions[0].reason, "unbound-identity");
    let identity = IdentityBinding { identity: "tel:1".to_owned(), ..IdentityBinding::default() };
    let bind = AccountCommand { account_number: 5, command: None, identities: vec![identity] };
    world.accounts().apply(ApplyRequest { commands: vec![bind] }).await.unwrap();
    assert_eq!(send(2, "late").await.accepted, 1, "it was bound since");
}

#[tokio::test(start_paused = true)]
async fn p29_batch_numbers_are_not_used_for_deduplication() {
    let world = world().await;
    let batches = [(5, "r5"), (3, "r3"), (5, "another 5")];
    let batches = batches.map(|(number, id)| batch(number, &[record(5, "", id)]));
    let request = tokio_stream::iter(batches);
    let acks = world.ingest().ingest(request).await.unwrap().into_inner();
    let accepted: Vec<u32> = acks.map(|ack| ack.unwrap().accepted).collect().await;
    assert_eq!(accepted, [1, 1, 1], "acknowledged and not taken (I1)");
    assert_eq!(world.rated()[&5], ["r5", "r3", "another 5"]);
}

/// Partitions 1 and 2 with accounts 1 to 100 and 101 to 200, served by the first node.
async fn two_partitions() -> World {
    let world = World::new(FrontConfig { answer_deadline_beats: 20, ..config() }, 1).await;
    for (id, first) in [(1, 1), (2, 101)] {
        world.partition(id, first, first + 99).await;
        world.give(id, 0).await;
    }
    world.routed().await;
    world
}

/// A record of account 105 in the suspense of partition 1: no partition covered the account when
/// the record arrived.
fn waiting(id: &str) -> SuspendedRecord {
    let mut bytes = Vec::new();
    encode(&record(105, "", id), &mut bytes);
    SuspendedRecord {
        partition: 1,
        account_number: 105,
        record_id: id.to_owned(),
        reason: "no-partition".to_owned(),
        record: bytes.into(),
        ..SuspendedRecord::default()
    }
}

impl World {
    fn set_waiting(&self, records: Vec<SuspendedRecord>) {
        let mut ledgers = self.shared.ledgers.lock().unwrap();
        ledgers.get_mut(&1).unwrap().suspended = records;
    }

    /// The ids of the suspended records in partition 1.
    fn waiting(&self) -> Vec<String> {
        let ledgers = self.shared.ledgers.lock().unwrap();
        ledgers[&1].suspended.iter().map(|record| record.record_id.clone()).collect()
    }

    /// Recycles everything. Returns how many records were rated, stay suspended, and must be
    /// retried.
    async fn recycle(&self) -> (u64, u64, u64) {
        let tally = self.suspense().recycle(RecycleRequest::default()).await.unwrap().into_inner();
        (tally.rated, tally.still_suspended, tally.retry)
    }
}

#[tokio::test(start_paused = true)]
async fn p35_a_record_leaves_its_home_only_when_it_is_durable_in_the_accounts_partition() {
    let faults = [
        ("taken, and not answered", Faults { silent: 1000, ..Faults::default() }),
        ("not taken", Faults { cut_before: 1000, ..Faults::default() }),
        ("refused whole", Faults { invalid: 1000, ..Faults::default() }),
    ];
    for (what, faults) in faults {
        let world = two_partitions().await;
        world.set_waiting(vec![waiting("r0"), waiting("r1")]);
        world.set_faults(faults);
        assert_eq!(world.recycle().await, (0, 0, 2), "{what}");
        assert_eq!(world.waiting(), ["r0", "r1"], "{what}: lost");
        assert!(world.shared.ledgers.lock().unwrap()[&1].recycled.is_empty(), "{what}");
        world.set_faults(Faults::default());
        assert_eq!(world.recycle().await, (2, 0, 0), "{what}");
        assert_eq!(world.rated(), [(105, vec!["r0".to_owned(), "r1".to_owned()])].into(), "{what}");
        assert!(world.waiting().is_empty(), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn p35_a_record_that_is_refused_where_it_belongs_stays_where_it_waits() {
    let world = two_partitions().await;
    let empty = SuspendedRecord { record: Vec::new().into(), ..waiting("empty") };
    // Each answer is matched to its own record, even if other records are refused or left out.
    world.set_waiting(vec![empty, waiting("r0"), waiting("refused"), waiting("r1")]);
    world.set_faults(Faults { too_old: Some("refused"), ..Faults::default() });
    let answer = world.suspense().recycle(RecycleRequest::default()).await.unwrap().into_inner();
    assert_eq!((answer.rated, answer.still_suspended, answer.retry), (2, 1, 1));
    assert_eq!(answer.reasons["too-old"], 1);
    assert_eq!(world.waiting(), ["empty", "refused"]);
    assert_eq!(world.rated(), [(105, vec!["r0".to_owned(), "r1".to_owned()])].into());
}

#[tokio::test(start_paused = true)]
async fn p35_a_moved_record_whose_removal_failed_is_taken_once_and_removed_by_the_next_recycling() {
    let world = two_partitions().await;
    world.set_waiting(vec![waiting("r0")]);
    world.set_faults(Faults { fails_to_recycle: true, ..Faults::default() });
    assert_eq!(world.recycle().await, (1, 0, 1));
    assert_eq!(world.waiting(), ["r0"]);
    world.set_faults(Faults::default());
    assert_eq!(world.recycle().await, (1, 0, 0));
    assert!(world.waiting().is_empty());
    assert_eq!(world.rated(), [(105, vec!["r0".to_owned()])].into(), "rated once");
}

#[tokio::test(start_paused = true)]
async fn p33_a_posting_that_waits_is_not_sent_as_usage_where_its_account_belongs() {
    let world = two_partitions().await;
    let posting = SuspendedRecord {
        usage_type: turnpike_types::limits::POSTING_USAGE_TYPE.to_owned(),
        ..waiting("1/3/0")
    };
    world.set_waiting(vec![posting, waiting("usage")]);
    assert_eq!(world.recycle().await, (2, 0, 0));
    // The partition that now covers the account has fetched the posting itself.
    assert_eq!(world.rated(), [(105, vec!["usage".to_owned()])].into(), "posted twice");
    assert!(world.waiting().is_empty());
    let ledgers = world.shared.ledgers.lock().unwrap();
    let told: Vec<_> =
        ledgers[&1].recycled.iter().map(|key| (&*key.record_id, key.moved_to_account)).collect();
    assert_eq!(told, [("1/3/0", 105), ("usage", 105)]);
}

fn open(account_number: u64, identity: &str, from_us: i64, until_us: i64) -> AccountCommand {
    let identity = identity.to_owned();
    AccountCommand {
        account_number,
        command: Some(account_command::Command::Open(OpenAccount::default())),
        identities: vec![IdentityBinding { identity, from_us, until_us: Some(until_us) }],
    }
}

impl World {
    async fn apply(&self, commands: Vec<AccountCommand>) -> Vec<AccountOutcome> {
        let answer = self.accounts().apply(ApplyRequest { commands }).await.unwrap().into_inner();
        answer.results.iter().map(|result| result.outcome()).collect()
    }

    /// The bindings of the identities: account, from, until.
    async fn bindings(&self, identities: [&str; 2]) -> Vec<(u64, i64, i64)> {
        let identities = identities.map(str::to_owned);
        let found = self.db.guide(&identities).await.unwrap().into_iter();
        let bindings = found.flat_map(|found| found.bindings);
        bindings.map(|bound| (bound.account.0, bound.from.0, bound.until.0)).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn p28_identities_of_a_command_that_failed_are_not_bound() {
    use AccountOutcome::{Applied, Refused, Retry};
    let none = Faults::default();
    let cases = [
        ("no owner", Faults { trouble: true, ..none }, [Retry, Retry], vec![]),
        ("half an answer", Faults { leaves_out: true, ..none }, [Retry, Retry], vec![]),
        (
            "the owner refuses one",
            Faults { refuses: Some(5), ..none },
            [Refused, Applied],
            vec![(6, 100, 300)],
        ),
    ];
    for (what, faults, outcomes, bound) in cases {
        let world = two_partitions().await;
        let commands = vec![open(5, "tel:5", 100, 200), open(6, "tel:6", 100, 300)];
        world.set_faults(faults);
        assert_eq!(world.apply(commands.clone()).await, outcomes, "{what}");
        assert_eq!(world.bindings(["tel:5", "tel:6"]).await, bound, "{what}");
        // When sent again, both are bound for the requested intervals.
        world.set_faults(none);
        assert_eq!(world.apply(commands).await, [Applied, Applied], "{what}");
        let all = [(5, 100, 200), (6, 100, 300)];
        assert_eq!(world.bindings(["tel:5", "tel:6"]).await, all, "{what}");
    }
}

/// A node of an earlier release answers that the account is open: another client may have opened it
/// for another customer.
#[tokio::test(start_paused = true)]
async fn p28_no_identity_is_bound_to_an_account_that_must_be_new_and_is_open() {
    use AccountOutcome::{Applied, Refused};
    for (must_be_new, outcome, bound) in
        [(true, Refused, vec![(6, 100, 300)]), (false, Applied, vec![(5, 100, 200), (6, 100, 300)])]
    {
        let world = two_partitions().await;
        world.set_faults(Faults { already: Some(5), ..Faults::default() });
        let mut commands = vec![open(5, "tel:5", 100, 200), open(6, "tel:6", 100, 300)];
        for command in &mut commands {
            let open = OpenAccount { must_be_new, ..OpenAccount::default() };
            command.command = Some(account_command::Command::Open(open));
        }
        assert_eq!(world.apply(commands).await, [outcome, Applied]);
        assert_eq!(world.bindings(["tel:5", "tel:6"]).await, bound);
    }
}

/// A database connection of the front that fails to bind identities while it is switched on.
#[derive(Default)]
struct BindsNothing(AtomicBool);

#[tonic::async_trait]
impl Interpose for BindsNothing {
    async fn before(&self, call: Call) -> StoreResult<()> {
        if call == Call::BindIdentities && self.0.load(Ordering::SeqCst) {
            let cause = "the test says so".to_owned();
            return Err(StoreError::Unavailable { doing: call.word(), cause });
        }
        Ok(())
    }

    async fn after(&self, _: Call) -> StoreResult<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn p28_a_command_whose_identities_could_not_be_bound_is_to_be_sent_again() {
    let (db, hook) = (MemoryDatabase::new(), Arc::new(BindsNothing::default()));
    let line = Interposed::new(Arc::new(db.clone()), Arc::clone(&hook));
    let world = World::through(db, Arc::new(line), config(), 1).await;
    world.partition(1, 1, 100).await;
    world.give(1, 0).await;
    world.routed().await;
    hook.0.store(true, Ordering::SeqCst);
    let command = vec![open(5, "tel:5", 100, 200)];
    assert_eq!(world.apply(command.clone()).await, [AccountOutcome::Retry]);
    assert_eq!(world.bindings(["tel:5", "tel:6"]).await, []);
    hook.0.store(false, Ordering::SeqCst);
    assert_eq!(world.apply(command).await, [AccountOutcome::Applied]);
    assert_eq!(world.bindings(["tel:5", "tel:6"]).await, [(5, 100, 200)]);
}

/// P28: an identity is bound until an instant, and then to another account. Each record goes to the
/// account at its start. At the end instant itself, the first binding is no longer in force.
#[tokio::test(start_paused = true)]
async fn p28_a_record_at_the_end_of_a_binding_is_not_the_former_holders() {
    let world = two_partitions().await;
    let commands = vec![open(5, "tel:1", 100, 200), open(6, "tel:1", 200, 300)];
    assert_eq!(world.apply(commands).await, [AccountOutcome::Applied; 2]);
    let starts = [99, 100, 199, 200, 299, 300];
    let records = starts.map(|start| UsageRecord {
        start: Timestamp(start),
        ..record(0, "tel:1", &start.to_string())
    });
    let ack = world.ingest().ingest_once(batch(1, &records)).await.unwrap().into_inner();
    let unbound: Vec<u32> = ack.exceptions.iter().map(|one| one.index).collect();
    assert_eq!((ack.accepted, unbound), (4, vec![0, 5]));
    let ids = |ids: [&str; 2]| ids.map(str::to_owned).to_vec();
    let expected = [(5, ids(["100", "199"])), (6, ids(["200", "299"]))];
    assert_eq!(world.rated(), expected.into());
}

/// A sub-batch carries a mark, which is an instant before the look-up of its accounts. By the mark
/// a node judges whether an identity may have moved to another account since the look-up.
#[tokio::test(start_paused = true)]
async fn p28_guided_records_carry_the_mark_of_their_look_up() {
    let world = World::new(config(), 1).await;
    world.partition(1, 1, 100).await;
    world.give(1, 0).await;
    world.routed().await;
    let held = Binding {
        identity: "user:a".to_owned(),
        account: AccountNumber(5),
        from: Timestamp::MIN,
        until: Timestamp::MAX,
    };
    world.db.bind_identities(&[held]).await.unwrap();
    for (account, identity) in [(0, "user:a"), (5, "")] {
        let frame = batch(1, &[record(account, identity, &format!("r{account}"))]);
        assert_eq!(world.ingest().ingest_once(frame).await.unwrap().into_inner().accepted, 1);
    }
    let mark = world.db.bindings_mark().await.unwrap().guided_through;
    let mark = u64::try_from(mark.micros()).unwrap();
    assert!(mark > 0, "the front has moved the mark on");
    let carried = world.shared.guided_us.lock().unwrap().clone();
    assert_eq!(carried, [mark, 0], "the guided record, and the one with an account");
}

/// Moves the mark of look-ups on while the front looks identities up, and lets the front see it.
struct MarkMovesOn {
    db: MemoryDatabase,
    now: Arc<AtomicI64>,
}

#[tonic::async_trait]
impl Interpose for MarkMovesOn {
    async fn before(&self, _: Call) -> StoreResult<()> {
        Ok(())
    }

    async fn after(&self, call: Call) -> StoreResult<()> {
        if call == Call::Guide {
            self.now.fetch_add(30_000_000, Ordering::SeqCst);
            assert!(self.db.advance_guided_through().await?);
            tokio::time::sleep(config().heartbeat * 4).await;
        }
        Ok(())
    }
}

/// A change of bindings that the look-up does not see may be recorded between the two marks.
#[tokio::test(start_paused = true)]
async fn p28_the_mark_that_a_record_carries_was_read_before_its_look_up() {
    let now = Arc::new(AtomicI64::new(1_714_521_600_000_000));
    let clock = Arc::clone(&now);
    let clock = Arc::new(move || Timestamp(clock.load(Ordering::SeqCst)));
    let memory = MemoryDatabase::with_clock(clock, StoreIncarnation(1));
    let hook = MarkMovesOn { db: memory.clone(), now: Arc::clone(&now) };
    let line = Interposed::new(Arc::new(memory.clone()), Arc::new(hook));
    let world = World::through(memory, Arc::new(line), config(), 1).await;
    world.partition(1, 1, 100).await;
    world.give(1, 0).await;
    world.routed().await;
    let mark = async || world.db.bindings_mark().await.unwrap().guided_through.micros();
    while mark().await == 0 {
        tokio::time::sleep(config().heartbeat).await;
    }
    let carried = || {
        let carried = std::mem::take(&mut *world.shared.guided_us.lock().unwrap());
        carried.into_iter().map(|mark| i64::try_from(mark).unwrap()).collect::<Vec<_>>()
    };
    let send = async |identity: &str, id: &str| {
        let frame = batch(1, &[record(0, identity, id)]);
        world.ingest().ingest_once(frame).await.unwrap().into_inner()
    };
    assert_eq!(send("user:a", "r0").await.exceptions.len(), 1, "no account holds the identity");
    assert_eq!(carried(), [0]);
    let held = ["user:a", "user:b"].map(|identity| Binding {
        identity: identity.to_owned(),
        account: AccountNumber(5),
        from: Timestamp::MIN,
        until: Timestamp::MAX,
    });
    world.db.bind_identities(&held).await.unwrap();
    let before = mark().await;
    assert_eq!(send("user:b", "r1").await.accepted, 1);
    assert_eq!(mark().await, before + 30_000_000, "the mark moved on during the look-up");
    assert_eq!(carried(), [before], "the mark before the look-up");
    // The same holds for a record that is recycled once its identity is bound.
    let before = mark().await;
    let tally = world.suspense().recycle(RecycleRequest::default()).await.unwrap().into_inner();
    assert_eq!(tally.rated, 1, "{tally:?}");
    assert_eq!((carried(), mark().await), (vec![before], before + 30_000_000));
}

/// A node lists a bounded number of records at once.
#[tokio::test(start_paused = true)]
async fn p35_all_pages_of_suspended_records_are_listed_and_recycled() {
    let world = World::new(config(), 1).await;
    for (id, first) in [(1, 1), (2, 101)] {
        world.partition(id, first, first + 99).await;
        world.give(id, 0).await;
    }
    world.routed().await;
    let waiting: Vec<_> =
        (0..20).map(|n| record(0, &format!("user:u{n}"), &format!("r{n}"))).collect();
    let ack = world.ingest().ingest_once(batch(1, &waiting)).await.unwrap().into_inner();
    assert_eq!(ack.exceptions.len(), 20);
    let list = async |records_max, after| {
        let request = ListRequest { records_max, after, ..ListRequest::default() };
        let mut listed = world.suspense().list(request).await.unwrap().into_inner();
        let mut ids = BTreeSet::new();
        while let Some(record) = listed.message().await.unwrap() {
            assert!(ids.insert(record.record_id), "listed twice");
        }
        ids
    };
    assert_eq!((list(0, None).await.len(), list(7, None).await.len()), (20, 7));
    let (mut tried, mut last) = (0, None);
    for page in 0.. {
        let request = RecycleRequest { records_max: 8, after: last, ..RecycleRequest::default() };
        let tally = world.suspense().recycle(request).await.unwrap().into_inner();
        tried += tally.still_suspended;
        last = tally.last;
        if last.is_none() {
            assert_eq!(page, 2);
            break;
        }
        assert_eq!(list(0, last.clone()).await.len() as u64, 20 - tried);
    }
    assert_eq!(tried, 20, "each record was tried once");
}

/// A node of an earlier release knows no pages: it would list the same records for ever.
#[tokio::test(start_paused = true)]
async fn p35_a_node_that_lists_from_the_first_record_on_does_not_keep_recycling_going() {
    let world = world().await;
    world.set_faults(Faults { lists_from_the_first: true, ..Faults::default() });
    let waiting: Vec<_> =
        (0..9).map(|n| record(0, &format!("user:u{n}"), &format!("r{n}"))).collect();
    let ack = world.ingest().ingest_once(batch(1, &waiting)).await.unwrap().into_inner();
    assert_eq!(ack.exceptions.len(), 9);
    let request = RecycleRequest { records_max: 100, ..RecycleRequest::default() };
    let tally = world.suspense().recycle(request).await.unwrap().into_inner();
    assert_eq!((tally.still_suspended, tally.retry), (3, 1), "one page, and the rest is reported");
    assert!(tally.last.is_none());
}

#[test]
fn mutants_are_caught() {
    all_caught(&[
        (
            Check::MarkStated,
            "p28_guided_records_carry_the_mark_of_their_look_up",
            "the guided record",
        ),
        (
            Check::WholeAnswer,
            "i1_an_answer_that_leaves_a_record_out_is_not_accepted",
            "believed: BatchAck",
        ),
        (
            Check::AnswersInOrder,
            "p30_an_answer_to_another_sub_batch_is_not_accepted",
            "believed: BatchAck",
        ),
        (
            Check::StandIn,
            "p16_a_front_that_cannot_reach_the_owner_sends_to_a_member_that_may_take_over",
            "no other member was asked",
        ),
        (
            Check::UnboundAskedAgain,
            "p28_an_unbound_identity_is_looked_up_again",
            "it was bound since",
        ),
        (
            Check::MovedWhenDurable,
            "p35_a_record_leaves_its_home_only_when_it_is_durable_in_the_accounts_partition",
            "taken, and not answered",
        ),
        (
            Check::RefusedStays,
            "p35_a_record_that_is_refused_where_it_belongs_stays_where_it_waits",
            "[\"empty\"]",
        ),
        (
            Check::PostingStays,
            "p33_a_posting_that_waits_is_not_sent_as_usage_where_its_account_belongs",
            "posted twice",
        ),
        (
            Check::BoundWhenDurable,
            "p28_identities_of_a_command_that_failed_are_not_bound",
            "no owner",
        ),
    ]);
}
