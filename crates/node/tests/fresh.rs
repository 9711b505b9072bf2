//! Who decides among plans knows them: an option is compared by what was published before it was
//! offered, whoever closes its cycles (PLANS section 6, P36).
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

// What only the other tests use.
#[allow(dead_code)]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use support::{HEARTBEAT, Running, checkpoints, config, create_partition, log, publish, start};
use turnpike_node::NodeConfig;
use turnpike_proto::account::v1::account_command::Command;
use turnpike_proto::account::v1::{AccountCommand, AccountOutcome, Offer};
use turnpike_proto::node::v1::NodeApplyRequest;
use turnpike_segment::Segment;
use turnpike_store::memory::MemoryDatabase;
use turnpike_store::{
    Call, Interpose, Interposed, SharedDatabase, StoreError, StoreIncarnation, StoreResult,
};
use turnpike_types::{Posting, Timestamp};

const ACCOUNT: u64 = 7;
const DAY: i64 = 86_400_000_000;
/// 2024-05-01 in UTC.
const MAY: i64 = 1_714_521_600_000_000;
const JULY: i64 = MAY + 61 * DAY;
/// So seldom do nodes look for what was published that a test is over before they do.
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

/// A node's line to the database, on which the catalogue can't be read while it is cut.
#[derive(Default)]
struct Line {
    is_cut: AtomicBool,
}

#[async_trait]
impl Interpose for Line {
    async fn before(&self, call: Call) -> StoreResult<()> {
        if call == Call::CatalogueSince && self.is_cut.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable { doing: "test", cause: "cut".to_owned() });
        }
        Ok(())
    }
    async fn after(&self, _: Call) -> StoreResult<()> {
        Ok(())
    }
}

/// A partition of members `a` and `b`, over a database whose clock the test moves.
struct World {
    db: Arc<dyn SharedDatabase>,
    now: Arc<AtomicI64>,
}

impl World {
    async fn at(now: i64) -> Self {
        let now = Arc::new(AtomicI64::new(now));
        let clock = Arc::clone(&now);
        let clock = Arc::new(move || Timestamp(clock.load(Ordering::SeqCst)));
        let db: Arc<dyn SharedDatabase> =
            Arc::new(MemoryDatabase::with_clock(clock, StoreIncarnation(1)));
        create_partition(db.as_ref()).await;
        Self { db, now }
    }

    /// What is billed for the option: when, and how much, the fee for choosing left away.
    async fn billed(&self) -> Vec<String> {
        let mut billed = Vec::new();
        for row in log(self.db.as_ref()).await {
            let segment = Segment::decode(&row.body).unwrap();
            let posted = segment.lines().filter(|line| line.posting != Posting::Trial);
            for line in posted.filter(|line| line.component.component == "sum") {
                let at = segment.record(line.record).unwrap().start;
                let at = jiff::Timestamp::from_microsecond(at.0).unwrap().strftime("%F");
                let plan = &line.component.plan_id;
                billed.push(format!("{at} {plan} {}", line.amount));
            }
        }
        billed
    }

    /// Waits until so much is billed, and then some, to see that no more is.
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

    async fn until_owned_by(&self, node: &str) {
        for _ in 0..400 {
            let seen = self.db.observe().await.unwrap();
            let owner = seen.partitions[0].owner.as_ref();
            if owner.is_some_and(|(owner, _)| owner.0 == node) {
                return;
            }
            tokio::time::sleep(HEARTBEAT).await;
        }
        panic!("{node} never came to own the partition");
    }

    /// Waits until a checkpoint holds the whole log, so that a cold start reads nothing after it.
    async fn until_checkpointed(&self) {
        for _ in 0..400 {
            let end = log(self.db.as_ref()).await.last().unwrap().segment;
            let states = checkpoints(self.db.as_ref()).await;
            if states.iter().any(|state| state.last().0 == end) {
                return;
            }
            tokio::time::sleep(HEARTBEAT).await;
        }
        panic!("no checkpoint of the whole log came to be");
    }
}

async fn apply(node: &mut Running, commands: Vec<AccountCommand>) {
    for _ in 0..400 {
        let request = NodeApplyRequest { partition: 1, commands: commands.clone() };
        let results = node.client.apply(request).await.unwrap().into_inner().results;
        if !results.is_empty() {
            let is_applied = results.iter().all(|r| r.outcome() == AccountOutcome::Applied);
            assert!(is_applied, "{results:?}");
            return;
        }
        tokio::time::sleep(HEARTBEAT).await;
    }
    panic!("the node never came to own the partition");
}

/// The dearer plan first, which a comparison of nothing would choose.
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

#[tokio::test]
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

/// `a` takes the offer; `b`, which does not know of one of the plans yet, takes over and closes.
async fn taken_over_by_one_who_has_not_heard_of_the_plan(warm_standbys: usize) {
    let world = World::at(MAY + DAY).await;
    publish(world.db.as_ref(), &alternative("large", "5.00")).await;
    let eager = NodeConfig { checkpoint_log_bytes: 1, ..config("a") };
    let mut a = start(eager, &world.db).await;
    apply(&mut a, vec![support::open(ACCOUNT)]).await;
    let line = Arc::new(Line::default());
    let through: Arc<dyn SharedDatabase> =
        Arc::new(Interposed::new(Arc::clone(&world.db), Arc::clone(&line)));
    let seldom = NodeConfig { heartbeat: SELDOM, warm_standbys, ..config("b") };
    let _b = start(seldom, &through).await;
    tokio::time::sleep(SELDOM * 2).await;
    line.is_cut.store(true, Ordering::SeqCst);
    publish(world.db.as_ref(), &alternative("small", "2.00")).await;
    apply(&mut a, vec![offer()]).await;
    world.until_checkpointed().await;
    a.node.shutdown().await;
    world.now.store(JULY + 5 * DAY, Ordering::SeqCst);
    world.until_owned_by("b").await;
    tokio::time::sleep(SELDOM * 4).await;
    assert_eq!(world.billed().await, Vec::<String>::new(), "it must not decide");
    line.is_cut.store(false, Ordering::SeqCst);
    assert_eq!(world.settled(2).await, SMALL);
}

#[tokio::test]
async fn p36_an_owner_that_took_over_knows_what_its_log_was_rated_by_from_a_warm_copy() {
    taken_over_by_one_who_has_not_heard_of_the_plan(1).await;
}

#[tokio::test]
async fn p36_an_owner_that_took_over_knows_what_its_log_was_rated_by_from_a_checkpoint() {
    taken_over_by_one_who_has_not_heard_of_the_plan(0).await;
}
