//! What a front states about suspended records is checked with the owners concerned (P35).
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use crate::support;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use support::{
    HEARTBEAT, OCTETS, Running, config, database, log, octets, open, publish, start_with, subscribe,
};
use test_network::Network;
use tokio::time::Instant;
use tonic::transport::Server;
use turnpike_node::NodeConfig;
use turnpike_proto::frame::{SubBatchFrame, SubBatchHead, push_record};
use turnpike_proto::node::v1::{
    NodeApplyRequest, NodeConfirmRequest, NodeReassignRequest, NodeRecycleRequest, NodeShowRequest,
    NodeSuspenseRequest, Reassignment, RecycleKey, RecycleOutcome, SubBatchAnswer, Verdict,
};
use turnpike_proto::record::encode;
use turnpike_proto::wire::put_number;
use turnpike_segment::Segment;
use turnpike_store::{
    Binding, Call, Interpose, Interposed, Member, PartitionSpec, SharedDatabase, StoreResult,
};
use turnpike_types::{
    AccountNumber, AccountRange, NodeName, PartitionId, Priority, Timestamp, UsageRecord,
};

/// The accounts of the tests: one in each partition.
const HERE: u64 = 7;
const THERE: u64 = 1007;

/// Partition 1 (accounts 1 to 1000) on `here`, partition 2 (1001 to 2000) on `there`: one node, or
/// two nodes that reach each other.
struct Two {
    db: Arc<dyn SharedDatabase>,
    nodes: Vec<Running>,
}

async fn two(names: [&str; 2]) -> Two {
    two_on(names, database(), &config).await
}

async fn two_on(
    names: [&str; 2],
    db: Arc<dyn SharedDatabase>,
    config: &dyn Fn(&str) -> NodeConfig,
) -> Two {
    for (id, node) in [(1u32, names[0]), (2, names[1])] {
        let first = u64::from(id - 1) * 1000 + 1;
        let members = vec![Member { node: NodeName(node.to_owned()), priority: Priority(1) }];
        let spec = PartitionSpec {
            id: PartitionId(id),
            range: AccountRange::new(first, first + 999).unwrap(),
            horizon_us: 3_600_000_000,
            accept_since: Some(FLOORS[id as usize - 1]),
            members,
        };
        db.create_partitions(&[spec]).await.unwrap();
    }
    publish(db.as_ref(), OCTETS).await;
    let network = Network::default();
    let mut nodes = Vec::new();
    let one = names[0] == names[1];
    for name in names.into_iter().take(if one { 1 } else { 2 }) {
        let running = start_with(config(name), &db, network.dial()).await;
        let incoming = network.listen(&config(name).address);
        let server = Server::builder().add_service(running.node.service());
        tokio::spawn(server.serve_with_incoming(incoming));
        nodes.push(running);
    }
    let mut two = Two { db, nodes };
    two.open(1, HERE).await;
    two.open(2, THERE).await;
    two
}

impl Two {
    fn owner(&mut self, partition: usize) -> &mut Running {
        let last = self.nodes.len() - 1;
        &mut self.nodes[last.min(partition - 1)]
    }

    async fn open(&mut self, partition: u32, account: u64) {
        let commands = vec![open(account), subscribe(account, "octets")];
        for _ in 0..400 {
            let request = NodeApplyRequest { partition, commands: commands.clone() };
            let answer =
                self.owner(partition as usize).client.apply(request).await.unwrap().into_inner();
            if answer.standing.unwrap().verdict() == Verdict::Done {
                return;
            }
            tokio::time::sleep(HEARTBEAT).await;
        }
        panic!("no node owns partition {partition}");
    }

    /// Sends encoded records, as recycled from a partition if one is named.
    async fn send(&mut self, partition: u32, records: &[Vec<u8>], from: u32) -> SubBatchAnswer {
        let mut run = Vec::new();
        records.iter().for_each(|record| push_record(&mut run, record));
        let (recycled, recycled_from) = match from {
            FIRST_TIME => (false, 0),
            _ => (true, from),
        };
        let head = SubBatchHead { partition, recycled, recycled_from, ..SubBatchHead::default() };
        for _ in 0..LOOKS {
            let stream = futures::stream::iter([SubBatchFrame::build(head, &run)]);
            let answers = self.owner(partition as usize).client.forward(stream).await.unwrap();
            let answer = answers.into_inner().message().await.unwrap().unwrap();
            if answer.standing.as_ref().unwrap().verdict() == Verdict::Done {
                return answer;
            }
            // The node has not seen yet who owns the other partition.
            tokio::time::sleep(HEARTBEAT).await;
        }
        panic!("partition {partition} does not answer");
    }

    /// Says that the record `id` of user `a` moved from partition 1 to an account.
    async fn moved(&mut self, id: &str, account: u64, to: u64) -> RecycleOutcome {
        let key = RecycleKey {
            account_number: account,
            record_id: id.to_owned(),
            identity: "user:a".to_owned(),
            revision: 0,
            moved_to_account: to,
        };
        let request = NodeRecycleRequest { partition: 1, keys: vec![key], refusals: Vec::new() };
        for _ in 0..LOOKS {
            let answer = self.owner(1).client.recycle(request.clone()).await.unwrap().into_inner();
            if let Some(outcome) = answer.outcomes.into_iter().next() {
                return outcome;
            }
            tokio::time::sleep(HEARTBEAT).await;
        }
        panic!("partition 1 does not answer");
    }

    /// The ids of the records that wait in partition 1.
    async fn waiting(&mut self) -> Vec<String> {
        let request = NodeSuspenseRequest { partition: 1, filter: None };
        let listed =
            self.owner(1).client.list_suspense(request).await.unwrap().into_inner().records;
        listed.into_iter().map(|record| record.record_id).collect()
    }

    async fn bind(&self, account: u64, from: i64, until: i64) {
        let binding = Binding {
            identity: "user:a".to_owned(),
            account: AccountNumber(account),
            from: Timestamp(from),
            until: Timestamp(until),
        };
        self.db.bind_identities(&[binding]).await.unwrap();
    }
}

/// Partition 2 takes older records than partition 1.
const FLOORS: [Timestamp; 2] = [Timestamp(1_700_000_000_000_000), Timestamp(1_600_000_000_000_000)];

const FIRST_TIME: u32 = u32::MAX;
/// How often a request is sent again.
const LOOKS: usize = 100;

/// A record of user `a`, whose account is not known.
fn unbound(id: &str) -> UsageRecord {
    UsageRecord { identity: "user:a".to_owned(), ..octets(0, id, 5) }
}

fn encoded(record: &UsageRecord) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(record, &mut bytes);
    bytes
}

/// The record under another account, as a front sends it.
fn owned_by(record: &UsageRecord, account: u64) -> Vec<u8> {
    let mut bytes = encoded(record);
    put_number(&mut bytes, 1, account);
    bytes
}

/// A record of 1970, said to be recycled, was taken and rated.
#[tokio::test(start_paused = true)]
async fn p35_a_record_that_waits_nowhere_is_judged_by_its_age_whatever_the_front_says() {
    for names in [["a", "a"], ["a", "b"]] {
        let mut two = two(names).await;
        let old = UsageRecord { start: Timestamp(5), ..octets(HERE, "old", 5) };
        for from in [0, 1, 2] {
            let answer = two.send(1, &[encoded(&old)], from).await;
            assert_eq!(answer.accepted, 0, "from {from}");
            assert_eq!(answer.exceptions[0].reason, "too-old", "from {from}");
        }
        let mut bytes = encoded(&old);
        put_number(&mut bytes, 1, HERE);
        let records = vec![Reassignment { record: bytes.into(), to_account: HERE }];
        let request =
            NodeReassignRequest { partition: 1, records, recycled: true, recycled_from: 2 };
        let mut answer = two.owner(1).client.reassign(request.clone()).await.unwrap().into_inner();
        while answer.outcomes.is_empty() {
            tokio::time::sleep(HEARTBEAT).await;
            answer = two.owner(1).client.reassign(request.clone()).await.unwrap().into_inner();
        }
        assert_eq!(answer.outcomes[0].result.as_ref().unwrap().reason, "too-old");
    }
}

/// A record that waits in the other partition, with the same content, is taken there at any age.
#[tokio::test(start_paused = true)]
async fn p35_a_record_that_waits_in_another_partition_is_taken_under_its_account() {
    for names in [["a", "a"], ["a", "b"]] {
        let mut two = two(names).await;
        let waits = unbound("r1");
        assert_eq!(two.send(1, &[encoded(&waits)], FIRST_TIME).await.exceptions.len(), 1);
        let answer = two.send(2, &[owned_by(&waits, THERE)], 1).await;
        assert_eq!(answer.accepted, 1, "{answer:?}");
        // The statement holds for the record as it waits, not for another one under its id.
        let other = UsageRecord { start: Timestamp(5), ..waits };
        let answer = two.send(2, &[owned_by(&other, THERE + 1)], 1).await;
        assert_eq!(answer.exceptions[0].reason, "too-old", "{answer:?}");
    }
}

/// `Recycle{moved_to_account}` removed an acknowledged record that nobody had rated.
#[tokio::test(start_paused = true)]
async fn p35_a_suspended_record_is_removed_only_once_its_account_has_it() {
    for (names, to) in [(["a", "a"], HERE), (["a", "a"], THERE), (["a", "b"], THERE)] {
        let mut two = two(names).await;
        let waits = unbound("r1");
        two.send(1, &[encoded(&waits)], FIRST_TIME).await;
        let stays = |outcome: RecycleOutcome| {
            assert_eq!((outcome.rated, outcome.reason.as_str()), (false, "unbound-identity"));
        };
        stays(two.moved("r1", 0, to).await);
        assert_eq!(two.waiting().await, ["r1"], "the identity is bound to nobody");
        two.bind(to, 0, i64::MAX).await;
        stays(two.moved("r1", 0, to).await);
        assert_eq!(two.waiting().await, ["r1"], "the account does not have it");
        let partition = if to == HERE { 1 } else { 2 };
        stays(two.moved("r1", 0, to + 1).await);
        assert_eq!(two.waiting().await, ["r1"], "the identity is bound to another account");
        assert_eq!(two.send(partition, &[owned_by(&waits, to)], 1).await.accepted, 1);
        assert!(two.moved("r1", 0, to).await.rated);
        assert_eq!(two.waiting().await, Vec::<String>::new());
    }
}

/// Without the other owner's answer nothing is removed, and the front sends the request again.
#[tokio::test(start_paused = true)]
async fn p35_without_the_answer_of_the_other_owner_the_record_stays() {
    let mut two = two(["a", "b"]).await;
    let waits = unbound("r1");
    two.send(1, &[encoded(&waits)], FIRST_TIME).await;
    two.bind(THERE, 0, i64::MAX).await;
    assert_eq!(two.send(2, &[owned_by(&waits, THERE)], 1).await.accepted, 1);
    two.nodes.pop().unwrap().node.shutdown().await;
    tokio::time::sleep(HEARTBEAT * 20).await;
    let key = RecycleKey {
        record_id: "r1".to_owned(),
        identity: "user:a".to_owned(),
        moved_to_account: THERE,
        ..RecycleKey::default()
    };
    let request = NodeRecycleRequest { partition: 1, keys: vec![key], refusals: Vec::new() };
    let answer = two.owner(1).client.recycle(request).await.unwrap().into_inner();
    let standing = answer.standing.unwrap();
    assert_eq!(standing.verdict(), Verdict::Overloaded);
    assert!(standing.message.contains("did not confirm"), "{}", standing.message);
    assert_eq!((answer.outcomes.len(), two.waiting().await), (0, vec!["r1".to_owned()]));
}

/// Nothing of this changes the log.
#[tokio::test(start_paused = true)]
async fn p35_to_confirm_a_record_changes_nothing() {
    let mut two = two(["a", "a"]).await;
    two.send(1, &[encoded(&unbound("r1"))], FIRST_TIME).await;
    let before = log(two.db.as_ref()).await.len();
    let records: Vec<Bytes> =
        [encoded(&unbound("r1")), encoded(&unbound("r2")), owned_by(&unbound("r1"), HERE), vec![9]]
            .map(Bytes::from)
            .into();
    let request = NodeConfirmRequest { partition: 1, records };
    let answer = two.owner(1).client.confirm(request).await.unwrap().into_inner();
    let found: Vec<(bool, bool)> =
        answer.confirmations.iter().map(|one| (one.waits, one.taken)).collect();
    assert_eq!(found, [(true, true), (false, false), (false, false), (false, false)]);
    assert_eq!(log(two.db.as_ref()).await.len(), before);
    let last = log(two.db.as_ref()).await.pop().unwrap();
    assert_eq!(Segment::decode(&last.body).unwrap().records().count(), 1);
}

/// A database whose calls of one kind take a while.
struct Slow {
    call: Call,
    takes: Duration,
}

#[async_trait]
impl Interpose for Slow {
    async fn before(&self, call: Call) -> StoreResult<()> {
        if call == self.call {
            tokio::time::sleep(self.takes).await;
        }
        Ok(())
    }
    async fn after(&self, _: Call) -> StoreResult<()> {
        Ok(())
    }
}

fn slow(db: Arc<dyn SharedDatabase>, call: Call, takes: Duration) -> Arc<dyn SharedDatabase> {
    Arc::new(Interposed::new(db, Arc::new(Slow { call, takes })))
}

/// Records that wait in partition 1, each in a segment of its own. To read such a segment takes 5 ms.
async fn in_slow_segments(names: [&str; 2], count: usize) -> (Two, Vec<Vec<u8>>) {
    let db = slow(database(), Call::ReadSegments, Duration::from_millis(5));
    let without_cache = |name: &str| NodeConfig { segment_cache_bytes: 0, ..config(name) };
    let mut two = two_on(names, db, &without_cache).await;
    let mut records = Vec::new();
    for number in 0..count {
        let record = encoded(&unbound(&format!("r{number}")));
        let answer = two.send(1, std::slice::from_ref(&record), FIRST_TIME).await;
        assert_eq!(answer.exceptions.len(), 1);
        records.push(record);
    }
    (two, records)
}

/// An owner that has to load a segment for each record is asked about a few records at a time.
#[tokio::test(start_paused = true)]
async fn p35_many_old_records_are_confirmed_however_long_their_segments_take() {
    let (mut two, mut records) = in_slow_segments(["a", "b"], 150).await;
    records.iter_mut().for_each(|record| put_number(record, 1, THERE));
    assert_eq!(two.send(2, &records, 1).await.accepted, 150);
}

#[tokio::test(start_paused = true)]
async fn an_owner_skips_questions_whose_asker_has_left() {
    let (mut two, records) = in_slow_segments(["a", "a"], 40).await;
    let records: Vec<Bytes> = records.into_iter().map(Bytes::from).collect();
    let request = NodeConfirmRequest { partition: 1, records };
    // Each takes 200 ms.
    for _ in 0..20 {
        let mut client = two.owner(1).client.clone();
        let asked = client.confirm(request.clone());
        assert!(tokio::time::timeout(Duration::from_millis(1), asked).await.is_err());
    }
    let began = Instant::now();
    let show = NodeShowRequest { partition: 1, account_number: HERE };
    two.owner(1).client.show(show).await.unwrap();
    let waited = began.elapsed();
    assert!(waited < Duration::from_millis(600), "{waited:?}");
}

/// While a claim was in progress, a record that waits elsewhere was judged by its age: too old.
#[tokio::test(start_paused = true)]
async fn p35_a_record_to_decide_waits_for_a_claim_in_progress() {
    let mut two = two(["a", "a"]).await;
    let old = UsageRecord { start: Timestamp(FLOORS[0].0 - 1), ..unbound("old") };
    assert_eq!(two.send(2, &[encoded(&old)], FIRST_TIME).await.exceptions.len(), 1);
    two.nodes.pop().unwrap().node.shutdown().await;
    let db = slow(Arc::clone(&two.db), Call::Claim, HEARTBEAT);
    let db = slow(db, Call::ClaimMany, HEARTBEAT);
    let mut node = start_with(config("a"), &db, support::no_network()).await;
    let records = vec![Reassignment { record: owned_by(&old, HERE).into(), to_account: HERE }];
    let request = NodeReassignRequest { partition: 1, records, recycled: true, recycled_from: 2 };
    for _ in 0..1_000 {
        let answer = node.client.reassign(request.clone()).await.unwrap().into_inner();
        if let Some(outcome) = answer.outcomes.into_iter().next() {
            assert_eq!((outcome.to_account, outcome.result), (HERE, None));
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("partition 1 does not answer");
}
