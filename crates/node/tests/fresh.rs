//! An option is compared with all plans that were published before it was offered, whichever owner
//! closes its cycles (docs/plan-semantics.md section 6, P36).
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use crate::support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use support::{HEARTBEAT, Running, checkpoints, config, create_partition, log, publish, start};
use tokio::time::Instant;
use turnpike_node::NodeConfig;
use turnpike_proto::account::v1::account_command::Command;
use turnpike_proto::account::v1::{AccountCommand, AccountOutcome, AccountResult, Offer, Pick};
use turnpike_proto::frame::{SubBatchFrame, SubBatchHead, push_record};
use turnpike_proto::node::v1::NodeApplyRequest;
use turnpike_proto::record::encode;
use turnpike_segment::Segment;
use turnpike_store::{
    Call, Interpose, Interposed, Member, PartitionSpec, SegmentRow, SharedDatabase, StoreError,
    StoreResult,
};
use turnpike_types::{
    AccountNumber, AccountRange, NodeName, Outcome, PartitionId, Posting, Priority, Timestamp,
    UsageRecord,
};

const ACCOUNT: u64 = 7;
const DAY: i64 = 86_400_000_000;
/// 2024-05-01 in UTC.
const MAY: i64 = 1_714_521_600_000_000;
const JULY: i64 = MAY + 61 * DAY;
/// A heartbeat interval so long that a test ends before the nodes read the catalogue by themselves.
const SELDOM: Duration = Duration::from_millis(500);

fn alternative(id: &str, fee: &str) -> String {
    format!(
        r#"<plan xmlns="urn:turnpike:plan:1" id="{id}" version="1" starts="2020-01-01" currency="USD">
  <graph>
    <BillingCycleRecurringCharge id="fee" amount="{fee}"/>
    <AccountFinalizer id="post" in="fee.charge"/>
  </graph>
</plan>"#
    )
}

/// A connection of a node to the database. While it is cut, the catalogue can't be read.
#[derive(Default)]
struct DatabaseLink {
    is_cut: AtomicBool,
    reads: AtomicUsize,
}

#[async_trait]
impl Interpose for DatabaseLink {
    async fn before(&self, call: Call) -> StoreResult<()> {
        if call == Call::CatalogueSince {
            self.reads.fetch_add(1, Ordering::SeqCst);
            if self.is_cut.load(Ordering::SeqCst) {
                return Err(StoreError::Unavailable { doing: "test", cause: "cut".to_owned() });
            }
        }
        Ok(())
    }
    async fn after(&self, _: Call) -> StoreResult<()> {
        Ok(())
    }
}

/// The test cluster of `support::world`, with queries of its log for these tests.
struct World(support::world::World);

impl std::ops::Deref for World {
    type Target = support::world::World;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl World {
    async fn at(now: i64) -> Self {
        let world = support::world::World::empty(now);
        create_partition(world.db.as_ref()).await;
        Self(world)
    }

    /// The lines billed for the option, without its fee: date, plan and amount.
    async fn billed(&self) -> Vec<String> {
        let mut billed = Vec::new();
        for row in log(self.db.as_ref()).await {
            let segment = Segment::decode(&row.body).unwrap();
            let posted = segment.lines().filter(|line| line.posting != Posting::Tentative);
            for line in posted.filter(|line| line.component.component == "sum") {
                let at = segment.record(line.record).unwrap().start;
                let at = jiff::Timestamp::from_microsecond(at.0).unwrap().strftime("%F");
                let plan = &line.component.plan_id;
                billed.push(format!("{at} {plan} {}", line.amount));
            }
        }
        billed
    }

    /// Waits until that many lines are billed, and then longer, to see that no more follow.
    async fn settled(&self, lines: usize) -> Vec<String> {
        for _ in 0..400 {
            if self.billed().await.len() >= lines {
                break;
            }
            tokio::time::sleep(HEARTBEAT).await;
        }
        tokio::time::sleep(HEARTBEAT * 8).await;
        self.billed().await
    }

    /// A node with a connection of its own and a long heartbeat interval.
    async fn seldom(&self, name: &str, warm_standbys: usize) -> (Running, Arc<DatabaseLink>) {
        let line = Arc::new(DatabaseLink::default());
        let through: Arc<dyn SharedDatabase> =
            Arc::new(Interposed::new(Arc::clone(&self.db), Arc::clone(&line)));
        let seldom = NodeConfig { heartbeat: SELDOM, warm_standbys, ..config(name) };
        (start(seldom, &through).await, line)
    }

    /// Whether partition 1 has taken a posting from another account.
    async fn is_posted(&self) -> bool {
        let rows = log(self.db.as_ref()).await;
        rows.iter().any(|row| {
            let segment = Segment::decode(&row.body).unwrap();
            segment.records().any(|(_, record)| record.outcome == Outcome::Posted)
        })
    }

    async fn until_owned_by(&self, node: &str) {
        for _ in 0..400 {
            let seen = self.db.observe().await.unwrap();
            let owner = seen.partitions[0].owner.as_ref();
            if owner.is_some_and(|(owner, _)| owner.0 == node) {
                return;
            }
            tokio::time::sleep(HEARTBEAT).await;
        }
        panic!("{node} did not become the owner of the partition");
    }

    /// Waits until a checkpoint covers the whole log, so that a cold start reads no segment.
    async fn until_checkpointed(&self) {
        for _ in 0..400 {
            let end = log(self.db.as_ref()).await.last().unwrap().segment;
            let states = checkpoints(self.db.as_ref()).await;
            if states.iter().any(|state| state.last().0 == end) {
                return;
            }
            tokio::time::sleep(HEARTBEAT).await;
        }
        panic!("no checkpoint covers the whole log");
    }
}

async fn apply(node: &mut Running, commands: Vec<AccountCommand>) {
    let results = outcomes(node, commands).await;
    assert!(results.iter().all(|outcome| *outcome == AccountOutcome::Applied), "{results:?}");
}

async fn outcomes(node: &mut Running, commands: Vec<AccountCommand>) -> Vec<AccountOutcome> {
    let results = support::world::apply(node, commands).await;
    results.iter().map(AccountResult::outcome).collect()
}

/// The dearer plan is first: a comparison without amounts would choose it.
fn offer() -> AccountCommand {
    let offer = Offer {
        option: "best".to_owned(),
        plan_ids: vec!["large".to_owned(), "small".to_owned()],
        fee: "0.5".to_owned(),
        from_us: MAY,
        priority: 2,
    };
    let command = Some(Command::Offer(offer));
    AccountCommand { account_number: ACCOUNT, command, identities: Vec::new() }
}

const SMALL: [&str; 2] = ["2024-06-03 small 2.000000000", "2024-07-03 small 2.000000000"];

#[tokio::test(start_paused = true)]
async fn p36_a_plan_published_just_before_the_option_is_offered_is_compared() {
    let world = World::at(JULY + 5 * DAY).await;
    publish(world.db.as_ref(), &alternative("large", "5.00")).await;
    let mut node = start(NodeConfig { heartbeat: SELDOM, ..config("a") }, &world.db).await;
    apply(&mut node, vec![support::open(ACCOUNT)]).await;
    publish(world.db.as_ref(), &alternative("small", "2.00")).await;
    // Two cycles are closed at once.
    apply(&mut node, vec![offer()]).await;
    assert_eq!(world.settled(2).await, SMALL);
}

/// `a` takes the offer. `b`, which does not know one of the plans yet, takes over and closes
/// cycles.
async fn taken_over_by_a_node_that_has_not_read_the_plan(warm_standbys: usize) {
    let world = World::at(MAY + DAY).await;
    publish(world.db.as_ref(), &alternative("large", "5.00")).await;
    let eager = NodeConfig { checkpoint_log_bytes: 1, ..config("a") };
    let mut a = start(eager, &world.db).await;
    apply(&mut a, vec![support::open(ACCOUNT)]).await;
    let (_b, line) = world.seldom("b", warm_standbys).await;
    tokio::time::sleep(SELDOM * 2).await;
    line.is_cut.store(true, Ordering::SeqCst);
    publish(world.db.as_ref(), &alternative("small", "2.00")).await;
    apply(&mut a, vec![offer()]).await;
    world.until_checkpointed().await;
    a.node.shutdown().await;
    world.set(JULY + 5 * DAY);
    world.until_owned_by("b").await;
    tokio::time::sleep(SELDOM * 4).await;
    assert_eq!(
        world.billed().await,
        Vec::<String>::new(),
        "an owner without the newest catalogue must not decide"
    );
    line.is_cut.store(false, Ordering::SeqCst);
    assert_eq!(world.settled(2).await, SMALL);
}

#[tokio::test(start_paused = true)]
async fn p36_an_owner_knows_the_catalogue_version_of_its_log_from_a_warm_replica() {
    taken_over_by_a_node_that_has_not_read_the_plan(1).await;
}

#[tokio::test(start_paused = true)]
async fn p36_an_owner_knows_the_catalogue_version_of_its_log_from_a_checkpoint() {
    taken_over_by_a_node_that_has_not_read_the_plan(0).await;
}

/// Partition 2 with accounts 1001 to 2000, served by `c`. An account of partition 1 pays for their
/// usage.
async fn a_sender(world: &World) -> Running {
    let plan = r#"<plan xmlns="urn:turnpike:plan:1" id="sponsored" version="1" starts="2020-01-01" currency="USD">
  <graph>
    <StepRater id="units" in="record.quantity"><step id="all" price="1" per="1 kB"/></StepRater>
    <SecondAccountFinalizer id="post" in="units.charge" account="7"/>
  </graph>
</plan>"#;
    publish(world.db.as_ref(), plan).await;
    let member = Member { node: NodeName("c".to_owned()), priority: Priority(20) };
    let spec = PartitionSpec {
        id: PartitionId(2),
        range: AccountRange::new(1001, 2000).unwrap(),
        horizon_us: 1,
        accept_since: Some(Timestamp(0)),
        members: [member].into(),
    };
    world.db.create_partitions(&[spec]).await.unwrap();
    start(config("c"), &world.db).await
}

async fn send_from_partition_2(sender: &mut Running) {
    let account = AccountNumber(1001);
    let record = UsageRecord { account, ..support::octets(1001, "r1", 1000) };
    let (mut run, mut bytes) = (Vec::new(), Vec::new());
    encode(&record, &mut bytes);
    push_record(&mut run, &bytes);
    let commands = vec![support::open(1001), support::subscribe(1001, "sponsored")];
    for _ in 0..400 {
        let request = NodeApplyRequest { partition: 2, commands: commands.clone() };
        sender.client.apply(request).await.unwrap();
        let head = SubBatchHead { partition: 2, ..SubBatchHead::default() };
        let stream = futures::stream::iter([SubBatchFrame::build(head, &run)]);
        let mut answers = sender.client.forward(stream).await.unwrap().into_inner();
        let answer = answers.message().await.unwrap();
        if answer.is_some_and(|answer| answer.accepted + answer.duplicates.len() as u32 == 1) {
            return;
        }
        tokio::time::sleep(HEARTBEAT).await;
    }
    panic!("c did not rate the record");
}

/// A posting is booked by the plans in force when it is taken, and this is not corrected later. So
/// the owner must know the newest plans.
#[tokio::test(start_paused = true)]
async fn p36_an_owner_behind_the_catalogue_of_its_log_posts_nothing_and_logs_no_older_one() {
    let world = World::at(MAY + DAY).await;
    let mut sender = a_sender(&world).await;
    let mut a = start(config("a"), &world.db).await;
    apply(&mut a, vec![support::open(ACCOUNT)]).await;
    let (mut b, line) = world.seldom("b", 1).await;
    tokio::time::sleep(SELDOM * 2).await;
    line.is_cut.store(true, Ordering::SeqCst);
    publish(world.db.as_ref(), &alternative("small", "2.00")).await;
    tokio::time::sleep(HEARTBEAT * 8).await;
    apply(&mut a, vec![support::open(8)]).await;
    a.node.shutdown().await;
    world.until_owned_by("b").await;
    apply(&mut b, vec![support::open(9)]).await;
    send_from_partition_2(&mut sender).await;
    tokio::time::sleep(SELDOM * 4).await;
    assert!(!world.is_posted().await, "an owner without the newest catalogue must not decide");
    let versions: Vec<u64> = log(world.db.as_ref()).await.iter().map(version_of).collect();
    assert!(versions.is_sorted(), "{versions:?}");
    line.is_cut.store(false, Ordering::SeqCst);
    for _ in 0..400 {
        if world.is_posted().await {
            return;
        }
        tokio::time::sleep(HEARTBEAT).await;
    }
    panic!("the posting was not taken");
}

fn version_of(row: &SegmentRow) -> u64 {
    Segment::decode(&row.body).unwrap().header().catalogue_version
}

/// Whether the plans were published before the offer is unknown: the client must send the offer
/// again, and with it the later commands for the same account.
#[tokio::test(start_paused = true)]
async fn p36_an_offer_of_an_unknown_plan_costs_no_owner_where_the_catalogue_cannot_be_read() {
    let world = World::at(MAY + DAY).await;
    let (mut node, line) = world.seldom("a", 0).await;
    apply(&mut node, vec![support::open(ACCOUNT)]).await;
    publish(world.db.as_ref(), &alternative("large", "5.00")).await;
    publish(world.db.as_ref(), &alternative("small", "2.00")).await;
    line.is_cut.store(true, Ordering::SeqCst);
    let epoch = world.db.observe().await.unwrap().partitions[0].epoch;
    let (option, plan_id) = ("best".to_owned(), "large".to_owned());
    let pick = Some(Command::Pick(Pick { option, plan_id, cycle: "2024-05-01".to_owned() }));
    let pick = AccountCommand { account_number: ACCOUNT, command: pick, identities: Vec::new() };
    let commands = vec![offer(), pick, support::open(8)];
    let before = line.reads.load(Ordering::SeqCst);
    let (retry, applied) = (AccountOutcome::Retry, AccountOutcome::Applied);
    let (already, asked) = (AccountOutcome::Already, Instant::now());
    assert_eq!(outcomes(&mut node, commands.clone()).await, [retry, retry, applied]);
    for _ in 0..20 {
        assert_eq!(outcomes(&mut node, commands.clone()).await, [retry, retry, already]);
    }
    let reads = line.reads.load(Ordering::SeqCst) - before;
    let pauses = asked.elapsed().as_millis() / (SELDOM / 10).as_millis();
    assert!(reads as u128 <= 2 * pauses + 2, "{reads} reads in {pauses} pauses");
    assert_eq!(world.db.observe().await.unwrap().partitions[0].epoch, epoch);
    line.is_cut.store(false, Ordering::SeqCst);
    tokio::time::sleep(SELDOM / 5).await;
    assert_eq!(outcomes(&mut node, commands).await, [applied, applied, already]);
}
