//! The feed over the in-memory database: a cursor always gives the same lines.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use tonic::{Code, Request, Status};
use turnpike_access::Guarded;
use turnpike_access::audit::AuditLog;
use turnpike_feed::{FeedConfig, FeedService};
use turnpike_listen::{Budget, MemoryPart, RETRY_AFTER};
use turnpike_proto::feed::v1::feed_service_server::FeedService as _;
use turnpike_proto::feed::v1::{
    AcknowledgeRequest, ChargeLine, ControlTotals, Cursor, FeedPage, ListConsumersRequest,
    PullRequest, RegisterRequest, RemoveConsumerRequest,
};
use turnpike_segment::head::ComponentHead;
use turnpike_segment::{NewLine, NewRecord, SealContext, SegmentBuilder};
use turnpike_store::memory::MemoryDatabase;
use turnpike_store::{
    AppendOutcome, AppendSegment, AuditStore as _, Claim, Claimed, LogStore as _,
    OwnershipStore as _, PartitionSpec, TopologyStore as _,
};
use turnpike_types::{
    AccountNumber, AccountRange, ClaimId, Epoch, Incarnation, Money, NodeName, Outcome,
    PartitionId, SegmentHash, SegmentNumber, SuspenseReason, Timestamp, UsageView,
};

struct World {
    db: Arc<MemoryDatabase>,
    feed: FeedService,
}

impl World {
    async fn new(config: FeedConfig) -> Self {
        let db = Arc::new(MemoryDatabase::new());
        let config = FeedConfig { guarded: Guarded::No, ..config };
        let feed = FeedService::new(db.clone(), config, AuditLog::start(db.clone(), 1));
        let world = Self { db, feed };
        world.partition(1).await;
        world
    }

    async fn partition(&self, id: u32) {
        let first = u64::from(id) * 1000;
        let spec = PartitionSpec {
            id: PartitionId(id),
            range: AccountRange::new(first, first + 999).unwrap(),
            horizon_us: i64::MAX,
            accept_since: None,
            members: Vec::new(),
        };
        self.db.create_partitions(&[spec]).await.unwrap();
    }

    /// Appends one segment for each number in `lines`, with that number of lines. Different values
    /// of `salt` make different histories.
    async fn append(&self, partition: u32, lines: &[u32], salt: i64) {
        let partition = PartitionId(partition);
        let seen = self.db.observe().await.unwrap();
        let row = seen.partitions.iter().find(|row| row.spec.id == partition).unwrap();
        let claim = ClaimId([7; 16]);
        let asked = Claim {
            partition,
            seen: row.epoch,
            node: NodeName("a".to_owned()),
            incarnation: Incarnation(1),
            claim,
            forced: false,
        };
        let Claimed { epoch, position } = self.db.claim(&asked).await.unwrap().unwrap();
        let (mut segment, mut prev_hash) = (position.next, position.last_hash);
        for &count in lines {
            let (body, hash) = sealed(partition, segment, epoch, prev_hash, count, salt);
            let has_postings = false;
            let append = AppendSegment {
                partition,
                epoch,
                claim,
                segment,
                prev_hash,
                hash,
                has_postings,
                body,
            };
            assert_eq!(self.db.append(&append).await.unwrap(), AppendOutcome::Committed);
            (segment, prev_hash) = (segment.next(), hash);
        }
    }

    async fn register(&self) -> Vec<Cursor> {
        let request = RegisterRequest { consumer: "billing".to_owned() };
        self.feed.register(Request::new(request)).await.unwrap().into_inner().cursors
    }

    async fn pull(&self, request: PullRequest) -> Result<Vec<FeedPage>, Status> {
        let mut pages = self.feed.pull(Request::new(request)).await?.into_inner();
        let mut all = Vec::new();
        while let Some(page) = pages.next().await {
            all.push(page?);
        }
        Ok(all)
    }

    async fn acknowledge(&self, from: &Cursor, to: &Cursor) -> Result<bool, Status> {
        let (from, to) = (Some(from.clone()), Some(to.clone()));
        let request = AcknowledgeRequest { consumer: "billing".to_owned(), from, to };
        self.feed.acknowledge(Request::new(request)).await.map(|told| told.into_inner().was_there)
    }
}

fn sealed(
    partition: PartitionId,
    segment: SegmentNumber,
    epoch: Epoch,
    prev_hash: SegmentHash,
    lines: u32,
    salt: i64,
) -> (bytes::Bytes, SegmentHash) {
    let mut builder = SegmentBuilder::new();
    let currency = "USD".parse().unwrap();
    let head = ComponentHead {
        plan_id: "dial-up".to_owned(),
        plan_version: 2,
        primitive: "tiers".to_owned(),
        component: "first-10h".to_owned(),
        kind: 0,
        price: "0.05 per 1 h".to_owned(),
        unit: "us".to_owned(),
        currency: "USD".to_owned(),
        level: Some(9),
    };
    let component = builder.add_component(head, currency).unwrap();
    for number in 0..lines.max(1) {
        let id = format!("r-{segment}-{number}");
        let outcome = match lines {
            0 => Outcome::Suspended(SuspenseReason::NoPlan),
            _ => Outcome::Rated,
        };
        let view = UsageView {
            record_id: &id,
            account: AccountNumber(u64::from(partition.0) * 1000 + u64::from(number)),
            usage_type: "connect-time",
            start: Timestamp(1_000 + salt),
            duration_us: 60,
            quantity: None,
            measures: &[],
            attributes: &[("zone", "a")],
        };
        builder.push_record(&NewRecord { view, identity: "", outcome }).unwrap();
        if lines > 0 {
            builder.push_line(&NewLine {
                component,
                quantity: 60,
                first_unit: 0,
                period: 20_513,
                level_before: i128::from(number),
                level_after: i128::from(number) + 60,
                amount: Money::from_nanos(1_500_000_000).unwrap(),
                of: None,
                posting: turnpike_types::Posting::Account,
                row: None,
            });
        }
    }
    let context = SealContext {
        partition,
        segment,
        epoch,
        prev_hash,
        now: Timestamp(5_000),
        floor: Timestamp(0),
        catalogue_version: 1,
    };
    let sealed = builder.seal(&context).unwrap();
    (sealed.body, sealed.hash)
}

fn request() -> PullRequest {
    PullRequest { consumer: "billing".to_owned(), ..PullRequest::default() }
}

fn parts(pages: &[FeedPage]) -> (Vec<ChargeLine>, Vec<ControlTotals>) {
    let lines = pages.iter().flat_map(|page| page.lines.clone()).collect();
    let totals = pages.iter().flat_map(|page| page.totals.clone()).collect();
    (lines, totals)
}

#[tokio::test]
async fn pages_of_any_size_make_the_same_feed() {
    let world = World::new(FeedConfig { read_bytes: 1, ..FeedConfig::default() }).await;
    world.partition(2).await;
    world.append(1, &[3, 0, 0, 5, 1], 0).await;
    world.append(2, &[0, 4], 0).await;
    world.register().await;
    let whole = parts(&world.pull(request()).await.unwrap());
    assert_eq!(whole.0.len(), 13);
    assert_eq!(whole.1.len(), 7);
    assert_eq!(whole.1.iter().map(|totals| totals.lines).sum::<u64>(), 13);
    for page_lines in 1..=14 {
        let pages = world.pull(PullRequest { page_lines, ..request() }).await.unwrap();
        assert_eq!(parts(&pages), whole, "{page_lines} lines a page");
        for page in &pages {
            assert!(page.lines.len() <= page_lines as usize);
            let partition = page.next.as_ref().unwrap().partition;
            assert!(page.lines.iter().all(|line| line.partition == partition));
        }
    }
}

/// The place of a removed consumer becomes free; a consumer that returns begins with the first row.
#[tokio::test]
async fn a_removed_consumer_is_listed_no_more_and_its_removal_is_audited() {
    let world = World::new(FeedConfig::default()).await;
    world.append(1, &[2], 0).await;
    let from = world.register().await.remove(0);
    let listed = async || {
        let listed = world.feed.list_consumers(Request::new(ListConsumersRequest {})).await;
        listed.unwrap().into_inner()
    };
    assert_eq!(listed().await.consumers, ["billing"]);
    assert_eq!(listed().await.consumers_max, 1_000);
    let pages = world.pull(request()).await.unwrap();
    let to = pages[0].next.clone().unwrap();
    assert!(!world.acknowledge(&from, &to).await.unwrap());
    let remove = async |name: &str| {
        let request = RemoveConsumerRequest { consumer: name.to_owned() };
        world.feed.remove_consumer(Request::new(request)).await.map(drop)
    };
    assert_eq!(remove("nobody").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(remove("two words").await.unwrap_err().code(), Code::InvalidArgument);
    let before = world.db.audit_head().await.unwrap().next;
    remove("billing").await.unwrap();
    assert_eq!(world.db.audit_head().await.unwrap().next, before + 2, "intent and outcome");
    assert!(listed().await.consumers.is_empty());
    assert_eq!(remove("billing").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(world.db.audit_head().await.unwrap().next, before + 2);
    assert_eq!(world.acknowledge(&to, &to).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(world.pull(request()).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(world.register().await.first().map(|at| (at.segment, at.row)), Some((0, 0)));
    assert_eq!(world.pull(request()).await.unwrap(), pages, "everything again");
}

#[tokio::test]
async fn from_every_cursor_the_rest_is_the_same() {
    let world = World::new(FeedConfig::default()).await;
    world.append(1, &[2, 0, 3, 0], 0).await;
    world.register().await;
    let pages = world.pull(PullRequest { page_lines: 1, ..request() }).await.unwrap();
    let whole = parts(&pages);
    let (mut lines, mut totals) = (0, 0);
    for page in &pages {
        lines += page.lines.len();
        totals += page.totals.len();
        for page_lines in [1, 2, 0] {
            let from = vec![page.next.clone().unwrap()];
            let rest = world.pull(PullRequest { from, page_lines, ..request() }).await.unwrap();
            let rest = parts(&rest);
            assert_eq!(rest.0, whole.0[lines..]);
            assert_eq!(rest.1, whole.1[totals..]);
        }
    }
    assert_eq!((lines, totals), (5, 4));
}

#[tokio::test]
async fn a_line_carries_its_receipt() {
    let world = World::new(FeedConfig::default()).await;
    world.append(1, &[1], 0).await;
    world.register().await;
    let (lines, totals) = parts(&world.pull(request()).await.unwrap());
    let line = &lines[0];
    assert_eq!(line.amount, "1.500000000");
    assert_eq!((line.period.as_str(), line.level_before.as_str()), ("2026-03-01", "0"));
    assert_eq!((line.plan_id.as_str(), line.plan_version), ("dial-up", 2));
    assert_eq!((line.kind.as_str(), line.units.as_str()), ("usage", "60"));
    assert_eq!(line.rated_at_us, 5_000);
    assert_eq!(totals[0].amounts[0].amount, "1.500000000");
}

#[tokio::test]
async fn a_pull_stopped_by_lines_max_continues_at_its_cursor() {
    let world = World::new(FeedConfig::default()).await;
    world.append(1, &[3, 0, 3], 0).await;
    world.register().await;
    let whole = parts(&world.pull(request()).await.unwrap());
    for lines_max in 1..=6 {
        let first = world.pull(PullRequest { lines_max, ..request() }).await.unwrap();
        let from = vec![first.last().unwrap().next.clone().unwrap()];
        let rest = world.pull(PullRequest { from, ..request() }).await.unwrap();
        let both: Vec<FeedPage> = first.iter().chain(&rest).cloned().collect();
        assert_eq!(parts(&first).0.len() as u64, lines_max);
        assert_eq!(parts(&both), whole);
    }
}

#[tokio::test]
async fn an_acknowledgement_is_a_compare_and_set_to_a_real_place() {
    let world = World::new(FeedConfig::default()).await;
    world.append(1, &[2, 2], 0).await;
    let start = world.register().await.remove(0);
    let pages = world.pull(PullRequest { page_lines: 1, ..request() }).await.unwrap();
    let place = |at: usize| pages[at].next.clone().unwrap();
    assert!(!world.acknowledge(&start, &place(1)).await.unwrap());
    // The consumer sends the acknowledgement again because the answer was lost, or another puller
    // sends it. The answer says that the cursor was there.
    assert!(world.acknowledge(&start, &place(1)).await.unwrap());
    let moved = world.acknowledge(&start, &place(2)).await.unwrap_err();
    assert_eq!(moved.code(), Code::Aborted);
    assert!(moved.message().contains("segment 1, row 2"), "{}", moved.message());
    let past = Cursor { row: 3, ..place(1) };
    let past = world.acknowledge(&place(1), &past).await.unwrap_err();
    assert_eq!(past.code(), Code::InvalidArgument);
    let forged = Cursor { hash: vec![1; 32].into(), ..place(1) };
    let forged = world.acknowledge(&place(1), &forged).await.unwrap_err();
    assert_eq!(forged.code(), Code::DataLoss);
    let (rest, _) = parts(&world.pull(request()).await.unwrap());
    assert_eq!(rest.first().map(|line| (line.segment, line.row)), Some((2, 0)));
}

#[tokio::test]
async fn a_consumer_of_another_history_gets_an_error_and_no_line() {
    let one = World::new(FeedConfig::default()).await;
    let other = World::new(FeedConfig::default()).await;
    one.append(1, &[2, 2, 2], 0).await;
    other.append(1, &[2, 2], 1).await;
    one.register().await;
    other.register().await;
    let pages = one.pull(PullRequest { page_lines: 2, ..request() }).await.unwrap();
    assert!(!pages.is_empty());
    for page in &pages {
        let from = vec![page.next.clone().unwrap()];
        let told = other.pull(PullRequest { from, ..request() }).await.unwrap_err();
        assert_eq!(told.code(), Code::DataLoss);
        assert!(told.message().contains("history diverged"), "{}", told.message());
    }
}

#[tokio::test]
async fn invalid_requests_are_refused_with_the_reason() {
    let world = World::new(FeedConfig::default()).await;
    let unknown = world.pull(request()).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    world.register().await;
    let name = PullRequest { consumer: "no spaces".to_owned(), ..request() };
    assert_eq!(world.pull(name).await.unwrap_err().code(), Code::InvalidArgument);
    let large = PullRequest { page_lines: 100_001, ..request() };
    assert_eq!(world.pull(large).await.unwrap_err().code(), Code::InvalidArgument);
    let bare = Cursor { partition: 1, segment: 1, row: 0, hash: Vec::new().into() };
    let bare = PullRequest { from: vec![bare], ..request() };
    assert_eq!(world.pull(bare).await.unwrap_err().code(), Code::InvalidArgument);
    assert!(world.pull(request()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_partition_made_after_the_registration_is_not_missed() {
    let world = World::new(FeedConfig::default()).await;
    world.register().await;
    world.partition(2).await;
    world.append(2, &[1], 0).await;
    assert_eq!(parts(&world.pull(request()).await.unwrap()).0.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn w3_pulls_that_nobody_reads_stay_within_the_budget_and_further_ones_are_refused() {
    let mut world = World::new(FeedConfig::default()).await;
    world.append(1, &[3_000; 3], 0).await;
    world.register().await;
    let whole = PullRequest { page_lines: 100_000, ..request() };
    let all = parts(&world.pull(whole.clone()).await.unwrap());
    let budget = Budget::new(8 << 20);
    let config = FeedConfig { guarded: Guarded::No, ..FeedConfig::default() };
    let feed = FeedService::new(world.db.clone(), config, AuditLog::start(world.db.clone(), 1));
    world.feed = feed.with_budget(budget.clone());
    let (mut open, mut refused) = (Vec::new(), 0);
    for _ in 0..40 {
        match world.feed.pull(Request::new(whole.clone())).await {
            Ok(pages) => open.push(pages.into_inner()),
            Err(status) => {
                assert_eq!(status.code(), Code::ResourceExhausted);
                assert!(status.metadata().contains_key(RETRY_AFTER));
                refused += 1;
            }
        }
    }
    assert_eq!((open.len(), refused), (8, 32));
    tokio::time::sleep(Duration::from_secs(60)).await;
    let (used, max) = (budget.used(MemoryPart::Answers), budget.max(MemoryPart::Answers));
    // One client leaves half for another one.
    assert_eq!(used, max / 2, "{used} of {max}");
    drop(open);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(budget.used(MemoryPart::Answers), 0);
    // A consumer that reads gets every line, in smaller pages.
    let pages = world.pull(whole).await.unwrap();
    assert!(pages.len() > 3);
    assert_eq!(parts(&pages), all);
}
