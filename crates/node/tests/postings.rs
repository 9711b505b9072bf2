//! Postings to other accounts, through rating nodes: each once and in order, whichever node owns
//! the partitions (P33).
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use crate::support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use proptest::prelude::*;
use support::{HEARTBEAT, Running, config, octets, publish, start};
use turnpike_account::PartitionState;
use turnpike_mutants::{Check, all_caught};
use turnpike_proto::frame::{SubBatchFrame, SubBatchHead, push_record};
use turnpike_proto::node::v1::{
    NodeApplyRequest, NodeRecycleRequest, NodeSuspenseRequest, RecycleKey, Verdict,
};
use turnpike_proto::suspense::v1::SuspendedRecord;
use turnpike_segment::Segment;
use turnpike_store::memory::MemoryDatabase;
use turnpike_store::{
    Call, Interpose, Interposed, Member, PartitionSpec, SegmentRow, SharedDatabase, StoreError,
    StoreResult,
};
use turnpike_types::{
    AccountNumber, AccountRange, Money, NodeName, Outcome, PartitionId, Posting, Priority,
    SegmentNumber, Timestamp, UsageRecord,
};

/// The account in the record's `payer` attribute pays for the usage.
const SPONSORED: &str = r#"<plan xmlns="urn:turnpike:plan:1" id="sponsored" version="3" starts="2020-01-01" currency="USD">
  <graph>
    <UsageTypeSelector id="data" in="record.quantity" types="octets"/>
    <StepRater id="units" in="data.pass"><step id="all" price="1" per="1 kB"/></StepRater>
    <SecondAccountFinalizer id="post" in="units.charge" account="record.payer"/>
  </graph>
</plan>"#;

/// Partition 1 with accounts 1 to 1000, normally served by `a`, and partition 2 with accounts 1001
/// to 2000, normally served by `b`.
struct World {
    memory: MemoryDatabase,
    db: Arc<dyn SharedDatabase>,
    nodes: BTreeMap<&'static str, Running>,
}

fn partition(id: u32, first: u64, last: u64, members: [&str; 2]) -> PartitionSpec {
    let members = [(members[0], 20), (members[1], 10)];
    let members = members.map(|(node, priority)| Member {
        node: NodeName(node.to_owned()),
        priority: Priority(priority),
    });
    PartitionSpec {
        id: PartitionId(id),
        range: AccountRange::new(first, last).unwrap(),
        horizon_us: 1,
        accept_since: Some(Timestamp(0)),
        members: members.into(),
    }
}

const fn home(account: u64) -> u32 {
    if account <= 1000 { 1 } else { 2 }
}

impl World {
    async fn new() -> Self {
        Self::with(partition(2, 1001, 2000, ["b", "a"])).await
    }

    /// Creates the test cluster with `second` as partition 2.
    async fn with(second: PartitionSpec) -> Self {
        let memory = MemoryDatabase::new();
        let db: Arc<dyn SharedDatabase> = Arc::new(memory.clone());
        let specs = [partition(1, 1, 1000, ["a", "b"]), second];
        db.create_partitions(&specs).await.unwrap();
        publish(db.as_ref(), SPONSORED).await;
        let mut world = Self { memory, db, nodes: BTreeMap::new() };
        world.start("a").await;
        world.start("b").await;
        world
    }

    async fn start(&mut self, name: &'static str) {
        let eager = turnpike_node::NodeConfig { checkpoint_log_bytes: 1, ..config(name) };
        let node = start(eager, &self.db).await;
        self.nodes.insert(name, node);
    }

    async fn stop(&mut self, name: &str) {
        if let Some(node) = self.nodes.remove(name) {
            node.node.shutdown().await;
        }
    }

    async fn open(&mut self, account: u64, currency: &str) {
        let mut open = support::open(account);
        if let Some(turnpike_proto::account::v1::account_command::Command::Open(open)) =
            &mut open.command
        {
            open.settings.as_mut().unwrap().currency = currency.to_owned();
        }
        let commands = vec![open, support::subscribe(account, "sponsored")];
        for _ in 0..800 {
            for node in self.nodes.values_mut() {
                let commands = commands.clone();
                let request = NodeApplyRequest { partition: home(account), commands };
                let response = node.client.apply(request).await.unwrap().into_inner();
                if response.standing.unwrap().verdict() == Verdict::Done {
                    return;
                }
            }
            tokio::time::sleep(HEARTBEAT).await;
        }
        panic!("no node became the owner of the partition");
    }

    /// `account` uses `amount` kilobytes, and `payer` pays.
    async fn use_up(&mut self, account: u64, id: &str, amount: i64, payer: u64) {
        let record = UsageRecord {
            account: AccountNumber(account),
            attributes: [("payer".to_owned(), payer.to_string())].into(),
            ..octets(account, id, amount * 1000)
        };
        for _ in 0..800 {
            for node in self.nodes.values_mut() {
                let stream = futures::stream::iter([frame(home(account), &record)]);
                let Ok(answers) = node.client.forward(stream).await else { continue };
                let Ok(Some(answer)) = answers.into_inner().message().await else { continue };
                if answer.standing.as_ref().unwrap().verdict() == Verdict::Done {
                    let taken = answer.accepted as usize + answer.duplicates.len();
                    assert_eq!(taken, 1, "{answer:?}");
                    return;
                }
            }
            tokio::time::sleep(HEARTBEAT).await;
        }
        panic!("no node became the owner of the partition");
    }

    async fn log(&self, partition: u32) -> Vec<SegmentRow> {
        let mut rows: Vec<SegmentRow> = Vec::new();
        loop {
            let after = rows.last().map_or(SegmentNumber(0), |row| row.segment);
            let id = PartitionId(partition);
            let more = self.db.read_segments(id, after, 1 << 20).await.unwrap();
            if more.is_empty() {
                return rows;
            }
            rows.extend(more);
        }
    }

    async fn segments(&self, partition: u32) -> Vec<Segment> {
        let rows = self.log(partition).await;
        rows.iter().map(|row| Segment::decode(&row.body).unwrap()).collect()
    }

    /// The postings to accounts of the partition, in order: account and amount.
    async fn posted(&self, partition: u32) -> Vec<(u64, String)> {
        let mut posted = Vec::new();
        for segment in self.segments(partition).await {
            for line in segment.lines() {
                let record = segment.record(line.record).unwrap();
                if record.outcome == Outcome::Posted {
                    assert_eq!(line.posting, Posting::Account);
                    posted.push((record.account.0, line.amount.to_string()));
                }
            }
        }
        posted
    }

    /// Waits for that many postings, and then longer, to see that no more follow.
    async fn settled(&self, partition: u32, count: usize) -> Vec<(u64, String)> {
        for _ in 0..800 {
            if self.posted(partition).await.len() >= count {
                break;
            }
            tokio::time::sleep(HEARTBEAT).await;
        }
        tokio::time::sleep(HEARTBEAT * 10).await;
        self.posted(partition).await
    }

    async fn suspended(&mut self, partition: u32) -> Vec<SuspendedRecord> {
        for node in self.nodes.values_mut() {
            let request = NodeSuspenseRequest { partition, filter: None };
            let response = node.client.list_suspense(request).await.unwrap().into_inner();
            if response.standing.unwrap().verdict() == Verdict::Done {
                return response.records;
            }
        }
        Vec::new()
    }

    async fn recycle(&mut self, record: &SuspendedRecord) -> (bool, String) {
        let key = RecycleKey {
            account_number: record.account_number,
            record_id: record.record_id.clone(),
            revision: record.revision,
            ..RecycleKey::default()
        };
        for node in self.nodes.values_mut() {
            let partition = record.partition;
            let request =
                NodeRecycleRequest { partition, keys: vec![key.clone()], ..Default::default() };
            let response = node.client.recycle(request).await.unwrap().into_inner();
            if let Some(outcome) = response.outcomes.into_iter().next() {
                return (outcome.rated, outcome.reason);
            }
        }
        panic!("the partition has no owner");
    }

    /// I4: each retained checkpoint, which was written from a live state, and the log behind it
    /// give the same state as the whole log.
    async fn assert_checkpoints_match_the_log(&self) {
        for id in [1, 2] {
            let rows = self.log(id).await;
            let told = support::replay(PartitionState::default(), &rows);
            let mut compared = 0;
            for manifest in self.db.checkpoints(PartitionId(id)).await.unwrap() {
                let (mut snapshot, mut runs) = (Vec::new(), Vec::new());
                for name in &manifest.parts {
                    let part = self.db.checkpoint_part(PartitionId(id), name).await.unwrap();
                    match name.starts_with("keys-") {
                        true => runs.push(part.unwrap()),
                        false => snapshot.extend_from_slice(&part.unwrap()),
                    }
                }
                let state = PartitionState::decode(&snapshot, &runs, &|| ()).unwrap();
                if state.last().0 <= told.last().0 {
                    assert_eq!(support::replay(state, &rows).encode(), told.encode(), "I4");
                    compared += 1;
                }
            }
            assert!(compared > 0, "no checkpoint of partition {id} to compare");
        }
    }

    /// The sums of money that were sent to other accounts, and that were received.
    async fn sums(&self) -> (Money, Money) {
        let (mut sent, mut came) = (0, 0);
        for id in [1, 2] {
            for segment in self.segments(id).await {
                for line in segment.lines() {
                    let record = segment.record(line.record).unwrap();
                    if matches!(line.posting, Posting::Second(_)) {
                        sent += line.amount.nanos();
                    }
                    if record.outcome == Outcome::Posted {
                        came += line.amount.nanos();
                    }
                }
            }
        }
        (Money::from_nanos(sent).unwrap(), Money::from_nanos(came).unwrap())
    }
}

fn frame(partition: u32, record: &UsageRecord) -> SubBatchFrame {
    let (mut run, mut bytes) = (Vec::new(), Vec::new());
    turnpike_proto::record::encode(record, &mut bytes);
    push_record(&mut run, &bytes);
    SubBatchFrame::build(SubBatchHead { partition, ..SubBatchHead::default() }, &run)
}

fn money(account: u64, amount: i64) -> (u64, String) {
    (account, format!("{amount}.000000000"))
}

#[tokio::test(start_paused = true)]
async fn p33_postings_reach_accounts_of_their_own_and_of_other_partitions_in_order() {
    let mut world = World::new().await;
    for account in [1, 2, 1001, 1002] {
        world.open(account, "USD").await;
    }
    for n in 1..=5 {
        world.use_up(1, &format!("r{n}"), n, 1001).await;
        world.use_up(1001, &format!("r{n}"), 10 * n, 2).await;
        world.use_up(1, &format!("own{n}"), 100 * n, 2).await;
    }
    let there: Vec<_> = (1..=5i64).map(|n| money(1001, n)).collect();
    assert_eq!(world.settled(2, 5).await, there);
    let here = world.settled(1, 10).await;
    let amounts = |scale: i64| (1..=5i64).map(|n| money(2, scale * n)).collect::<Vec<_>>();
    let of = |less: bool| {
        let some = here.iter().filter(|(_, amount)| (amount.len() < 13) == less);
        some.cloned().collect::<Vec<_>>()
    };
    assert_eq!(
        (of(true), of(false)),
        (amounts(10), amounts(100)),
        "the postings of each sender are in order"
    );
    world.assert_checkpoints_match_the_log().await;
    // The attributes of a posting.
    let segment = world
        .segments(2)
        .await
        .into_iter()
        .find(|segment| segment.records().any(|(_, record)| record.outcome == Outcome::Posted));
    let segment = segment.unwrap();
    let line = segment
        .lines()
        .find(|line| segment.record(line.record).unwrap().outcome == Outcome::Posted)
        .unwrap();
    let record = segment.record(line.record).unwrap();
    assert_eq!(record.usage_type, "turnpike.posting");
    assert!(record.record_id.starts_with("1/"), "{}", record.record_id);
    assert_eq!(record.start, octets(1, "", 1).start, "the start of the original record");
    assert_eq!(line.component.kind.word(), "posting");
    let receipt = (line.component.plan_id.as_str(), line.component.plan_version);
    assert_eq!(receipt, ("sponsored", 3));
    assert_eq!(line.component.component, "all");
}

#[tokio::test(start_paused = true)]
async fn p33_takeovers_of_sender_and_receiver_neither_lose_nor_double_a_posting() {
    let mut world = World::new().await;
    for account in [1, 1001] {
        world.open(account, "USD").await;
    }
    let mut expected = Vec::new();
    for round in 0..4 {
        for n in 0..3 {
            let amount = 10 * round + n + 1;
            world.use_up(1, &format!("{round}-{n}"), amount, 1001).await;
            expected.push(money(1001, amount));
        }
        // The owner stops in the middle of an append, and returns later.
        let victim = if round % 2 == 0 { "b" } else { "a" };
        let paused = world.memory.pause_appends().await;
        tokio::time::sleep(HEARTBEAT * 3).await;
        let node = world.nodes.remove(victim).unwrap();
        let dying = tokio::spawn(node.node.shutdown());
        tokio::time::sleep(HEARTBEAT * 6).await;
        drop(paused);
        dying.await.unwrap();
        assert_eq!(world.settled(2, expected.len()).await, expected);
        world.start(victim).await;
    }
    world.assert_checkpoints_match_the_log().await;
}

/// Lets this many appends of one node succeed. All later ones fail.
struct AppendsLeft(AtomicI64);

#[async_trait::async_trait]
impl Interpose for AppendsLeft {
    async fn before(&self, call: Call) -> StoreResult<()> {
        if call == Call::Append && self.0.fetch_sub(1, Ordering::SeqCst) <= 0 {
            let cause = "injected by the test".to_owned();
            return Err(StoreError::Unavailable { doing: call.word(), cause });
        }
        Ok(())
    }

    async fn after(&self, _: Call) -> StoreResult<()> {
        Ok(())
    }
}

impl World {
    /// Partition 1 rates records `numbers` in one sub-batch, each paid by account 1001.
    async fn post_to_1001(&mut self, numbers: std::ops::Range<i64>) {
        let count = numbers.end - numbers.start;
        let records: Vec<UsageRecord> = numbers
            .map(|n| UsageRecord {
                attributes: [("payer".to_owned(), "1001".to_owned())].into(),
                ..octets(1, &format!("r{n}"), n * 1000)
            })
            .collect();
        let answer = self.nodes.get_mut("a").unwrap().try_send(&records).await.unwrap();
        assert_eq!(i64::from(answer.accepted), count, "{answer:?}");
    }
}

/// The receiver's owner is stopped after it has taken some postings of a segment, and another owner
/// continues. `segments` is the number of postings in each of the sender's segments.
async fn is_finished_after_a_takeover(segments: &[i64]) {
    let mut world = World::new().await;
    for account in [1, 1001] {
        world.open(account, "USD").await;
    }
    // The receiver commits each posting in its own append, and only some appends succeed.
    world.stop("b").await;
    let narrow = turnpike_node::NodeConfig { segment_bytes_max: 1, ..config("b") };
    let hook = Arc::new(AppendsLeft(AtomicI64::new(6)));
    let few: Arc<dyn SharedDatabase> = Arc::new(Interposed::new(Arc::clone(&world.db), hook));
    world.nodes.insert("b", start(narrow, &few).await);
    let epoch = loop {
        let request = NodeSuspenseRequest { partition: 2, filter: None };
        let b = world.nodes.get_mut("b").unwrap();
        let response = b.client.list_suspense(request).await.unwrap().into_inner();
        let standing = response.standing.unwrap();
        if standing.verdict() == Verdict::Done {
            break standing.epoch;
        }
        tokio::time::sleep(HEARTBEAT).await;
    };
    let mut next = 1;
    for count in segments {
        world.post_to_1001(next..next + count).await;
        next += count;
    }
    let with_postings =
        world.segments(1).await.iter().filter(|s| s.posting_rows().next().is_some()).count();
    assert_eq!(with_postings, segments.len());
    while world.posted(2).await.is_empty() {
        tokio::time::sleep(HEARTBEAT).await;
    }
    world.stop("b").await;
    let expected: Vec<_> = (1..next).map(|n| money(1001, n)).collect();
    assert_eq!(world.settled(2, expected.len()).await, expected);
    // The segments of the first owner and those of the next one.
    let (first, then): (Vec<_>, Vec<_>) =
        world.log(2).await.into_iter().partition(|row| row.epoch.number() <= epoch);
    let state = support::replay(PartitionState::default(), &first);
    let left_at = state.posting_cursor(PartitionId(1));
    let taken = i64::from(left_at.ordinal);
    assert!(
        0 < taken && taken < segments[0],
        "the first owner must stop within a segment: {left_at:?}"
    );
    let rest = then.iter().map(|row| Segment::decode(&row.body).unwrap());
    let posted = |segment: Segment| {
        segment.records().filter(|(_, record)| record.outcome == Outcome::Posted).count()
    };
    assert_eq!(
        rest.map(posted).sum::<usize>() as i64,
        next - 1 - taken,
        "the remaining postings, each once"
    );
    world.assert_checkpoints_match_the_log().await;
}

#[tokio::test(start_paused = true)]
async fn p33_a_segment_taken_half_way_is_finished_after_a_takeover() {
    // One segment holds all postings, and no other segment follows it.
    is_finished_after_a_takeover(&[60]).await;
}

#[tokio::test(start_paused = true)]
async fn p33_segments_behind_one_that_was_taken_half_way_are_taken_whole() {
    is_finished_after_a_takeover(&[60, 3, 5]).await;
}

#[tokio::test(start_paused = true)]
async fn p33_a_posting_that_an_account_cannot_take_is_suspended_and_posted_when_recycled() {
    let mut world = World::new().await;
    world.open(1, "USD").await;
    world.open(1002, "EUR").await;
    world.use_up(1, "to nobody yet", 5, 1001).await;
    world.use_up(1, "to euros", 6, 1002).await;
    world.use_up(1, "to nowhere", 7, 5000).await;
    for _ in 0..400 {
        if world.suspended(2).await.len() == 2 && world.suspended(1).await.len() == 1 {
            break;
        }
        tokio::time::sleep(HEARTBEAT).await;
    }
    let waiting = world.suspended(2).await;
    let reasons: Vec<_> = waiting.iter().map(|r| (r.account_number, r.reason.as_str())).collect();
    assert_eq!(reasons, [(1001, "unknown-account"), (1002, "currency-mismatch")]);
    // A posting to an account that no partition covers is suspended in the sender's partition.
    let homeless = world.suspended(1).await;
    assert_eq!(homeless[0].reason, "no-partition");
    assert_eq!(world.recycle(&waiting[0]).await, (false, "unknown-account".to_owned()));
    world.open(1001, "USD").await;
    let again = world.suspended(2).await;
    assert_eq!(world.recycle(&again[0]).await, (true, String::new()));
    assert_eq!(
        world.recycle(&again[0]).await,
        (false, String::new()),
        "the record has left suspense"
    );
    assert_eq!(world.recycle(&again[1]).await, (false, "currency-mismatch".to_owned()));
    assert_eq!(world.settled(2, 1).await, [money(1001, 5)]);
    // The next owner does not take the posting again either.
    world.stop("b").await;
    assert_eq!(world.settled(2, 2).await, [money(1001, 5)]);
    assert_eq!(world.suspended(2).await.len(), 1);
    world.assert_checkpoints_match_the_log().await;
}

#[tokio::test(start_paused = true)]
async fn p33_a_partition_created_later_reads_the_earlier_postings_to_its_accounts() {
    let mut world = World::new().await;
    world.open(1, "USD").await;
    world.use_up(1, "early", 7, 5000).await;
    for _ in 0..400 {
        if !world.suspended(1).await.is_empty() {
            break;
        }
        tokio::time::sleep(HEARTBEAT).await;
    }
    world.db.create_partitions(&[partition(3, 4000, 6000, ["a", "b"])]).await.unwrap();
    for _ in 0..400 {
        if !world.suspended(3).await.is_empty() {
            break;
        }
        tokio::time::sleep(HEARTBEAT).await;
    }
    // The account is not open there yet: from now on the posting is suspended in the account's
    // partition.
    assert_eq!(world.suspended(3).await[0].reason, "unknown-account");
}

#[tokio::test(start_paused = true)]
async fn p33_a_posting_past_the_receivers_horizon_is_taken() {
    const HOUR_US: i64 = 3_600_000_000;
    let second = partition(2, 1001, 2000, ["b", "a"]);
    let mut world =
        World::with(PartitionSpec { accept_since: None, horizon_us: HOUR_US, ..second }).await;
    for account in [1, 1001] {
        world.open(account, "USD").await;
    }
    // The record started years ago. The sender accepts records of any age.
    world.use_up(1, "old", 7, 1001).await;
    assert_eq!(world.settled(2, 1).await, [money(1001, 7)], "money is conserved");
    world.assert_checkpoints_match_the_log().await;
}

proptest! {
    #![proptest_config(test_cases::cases(6))]

    /// P33: what was received and what is in flight add up to what was sent. At rest nothing is in
    /// flight.
    #[test]
    fn p33_money_is_conserved(
        transfers in proptest::collection::vec((0..4usize, 0..4usize, 1..1000i64), 1..20),
        stops in proptest::collection::vec(proptest::option::of(prop::bool::ANY), 20),
    ) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            const ACCOUNTS: [u64; 4] = [1, 2, 1001, 1002];
            let mut world = World::new().await;
            for account in ACCOUNTS {
                world.open(account, "USD").await;
            }
            for (n, (from, to, amount)) in transfers.iter().enumerate() {
                let (from, to) = (ACCOUNTS[*from], ACCOUNTS[*to]);
                world.use_up(from, &format!("r{n}"), *amount, to).await;
                if n % 5 == 4 && let Some(Some(which)) = stops.get(n) {
                    let name = if *which { "a" } else { "b" };
                    world.stop(name).await;
                    world.start(name).await;
                }
            }
            for _ in 0..400 {
                let (sent, came) = world.sums().await;
                assert!(came <= sent, "more was received than sent: {came} of {sent}");
                if sent == came {
                    break;
                }
                tokio::time::sleep(HEARTBEAT).await;
            }
            tokio::time::sleep(HEARTBEAT * 4).await;
            let (sent, came) = world.sums().await;
            assert_eq!(sent, came);
            // An account that pays for its own usage posts nothing.
            let others = transfers.iter().filter(|(from, to, _)| from != to);
            let amounts = others.map(|(.., amount)| i128::from(*amount)).sum::<i128>();
            assert_eq!(sent.nanos(), amounts * 1_000_000_000, "the usage, at 1 per kilobyte");
            world.assert_checkpoints_match_the_log().await;
        });
    }
}

#[test]
fn mutants_are_caught() {
    all_caught(&[(
        Check::PostingCursor,
        "p33_takeovers_of_sender_and_receiver_neither_lose_nor_double_a_posting",
        "\"3.000000000\"), (1001, \"1.000000000",
    )]);
}
