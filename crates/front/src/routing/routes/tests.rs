use super::*;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, SharedString, Unit};
use turnpike_mutants::all_caught;
use turnpike_store::memory::MemoryDatabase;
use turnpike_store::{
    Call, Following, IdentityStore as _, Interpose, Interposed, Member, NodeBeat, NodeRow,
    PartitionRow, PartitionSpec, SegmentPosition, StoreError, StoreIncarnation, StoreResult,
};
use turnpike_types::limits::GUIDED_MAX_US;
use turnpike_types::{
    AccountRange, ClaimId, Incarnation, NodeName, Priority, SegmentHash, SegmentNumber,
};

fn row(incarnation: u64, counter: u64) -> NodeRow {
    let beat = NodeBeat {
        node: NodeName("a".to_owned()),
        incarnation: Incarnation(incarnation),
        counter,
        address: "a:1".to_owned(),
        draining: false,
        serving: Vec::new(),
        following: Vec::new(),
    };
    NodeRow { beat, beat_at: Timestamp(0), drain_asked: false }
}

#[test]
fn silence_counts_only_between_successful_reads_of_the_same_front() {
    let gap = Duration::from_secs(1);
    let start = Instant::now();
    let at = |ms: u64| start + Duration::from_millis(ms);
    let mut liveness = HeartbeatAges::default();
    let mut read = |ms, row| liveness.read(at(ms), gap, &[row])[0].as_millis();
    assert_eq!(read(0, row(1, 1)), 0);
    assert_eq!(read(250, row(1, 1)), 250);
    assert_eq!(read(500, row(1, 1)), 500);
    // The counter advances. Then it does not advance while the reader can't read.
    assert_eq!(read(750, row(1, 2)), 0);
    assert_eq!(read(1_000, row(1, 2)), 250);
    assert_eq!(read(9_000, row(1, 2)), 0);
    assert_eq!(read(9_250, row(1, 2)), 250);
    // A new process does not continue the silence of the old one.
    assert_eq!(read(9_500, row(2, 2)), 0);
}

/// Regression: all complaints went to a dead member of high priority, never to the member that
/// could have taken over.
#[test]
fn p16_the_next_member_is_asked_when_the_one_before_it_is_silent_or_was_tried() {
    let id = PartitionId(1);
    let nodes = [("a", 30), ("b", 10), ("c", 20)].map(|(node, priority)| {
        let mut row = row(1, 1);
        row.beat.node = NodeName(node.to_owned());
        row.beat.address = format!("{node}:1");
        let (segment, hash) = (SegmentNumber(1), SegmentHash::default());
        row.beat.following = vec![Following { partition: id, segment, hash }];
        (row, Member { node: NodeName(node.to_owned()), priority: Priority(priority) })
    });
    let (nodes, members): (Vec<_>, Vec<_>) = nodes.into_iter().unzip();
    let partition = PartitionRow {
        spec: PartitionSpec {
            id,
            range: AccountRange::new(1, 9).unwrap(),
            horizon_us: 0,
            accept_since: None,
            members,
        },
        epoch: Epoch::stored(7),
        owner: Some((NodeName("a".to_owned()), Incarnation(1))),
        claim: ClaimId::default(),
        next: SegmentPosition { next: SegmentNumber(2), last_hash: SegmentHash::default() },
        released_to: None,
        last_posting: SegmentNumber(0),
        flaps: 0,
        pin: None,
    };
    let partitions = vec![partition];
    let observation = Observation { nodes, partitions, catalogue_version: 0, now: Timestamp(0) };
    let table = |silent: [u64; 3]| {
        let silent = silent.map(Duration::from_secs).to_vec();
        RouteTable::new(1, observation.clone(), silent, &mut BTreeMap::new())
    };
    let suspicion = Duration::from_secs(1);
    let [a, c] = ["a:1", "c:1"].map(str::to_owned);
    let tried = [a, c];
    let ask = |table: &RouteTable, tried: &[String]| {
        (table.stand_in(id, tried, suspicion), table.complaint(id, tried))
    };
    assert_eq!(ask(&table([0, 0, 0]), &tried[..1]), (Some("c:1".to_owned()), Some(7)));
    assert_eq!(ask(&table([0, 0, 0]), &tried), (Some("b:1".to_owned()), Some(7)));
    assert_eq!(ask(&table([0, 0, 2]), &tried[..1]), (Some("b:1".to_owned()), Some(7)));
    // The member that was tried may be out of reach, but the owner was not tried: no complaint.
    assert_eq!(ask(&table([0, 0, 0]), &tried[1..]).1, None);
    assert_eq!(ask(&table([0, 2, 2]), &tried), (None, Some(7)));
}

#[test]
fn an_epoch_below_the_highest_one_seen_is_ignored() {
    let highest = HighestEpoch::default();
    assert!(highest.admits(3));
    assert!(highest.admits(3));
    assert!(!highest.admits(2));
    assert!(highest.admits(4));
    assert!(!highest.admits(3));
}

/// A table of the database's time `now`, with a mark of look-ups of this age.
fn marked(now: i64, age: i64) -> Arc<RouteTable> {
    let observation = Observation {
        nodes: Vec::new(),
        partitions: Vec::new(),
        catalogue_version: 0,
        now: Timestamp(now),
    };
    let mut table = RouteTable::new(1, observation, Vec::new(), &mut BTreeMap::new());
    table.bindings.guided_through = Timestamp(now - age);
    table.bindings.asked_at = Some(Instant::now());
    Arc::new(table)
}

/// P28: a record that starts now must be covered by the mark with which its identity is looked up.
#[tokio::test(start_paused = true)]
async fn p28_identities_are_looked_up_only_with_a_recent_mark() {
    let (sender, table) = watch::channel(Arc::new(RouteTable::empty()));
    let routes = Routes { table, stale: Arc::default(), suspicion: Duration::from_secs(1) };
    let (now, most) = (1_714_521_600_000_000, GUIDED_MAX_US / 2);
    let look_up = async || {
        let deadline = Instant::now() + Duration::from_secs(5);
        let found = routes.for_look_ups(deadline).await;
        (found.map(|table| table.guided_through().micros()), Instant::now() < deadline)
    };
    assert_eq!(look_up().await, (None, false), "nothing was read yet");
    for age in [most + 1, 10 * most, now] {
        sender.send_replace(marked(now, age));
        assert_eq!(look_up().await, (None, false), "a mark of the age {age}");
    }
    for age in [most, 0, -most] {
        sender.send_replace(marked(now, age));
        assert_eq!(look_up().await, (Some(now - age), true), "a mark of the age {age}");
    }
    // It waits for the mark to move on.
    sender.send_replace(marked(now, most + 1));
    let moving_on = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        sender.send_replace(marked(now, 1));
    };
    let (found, ()) = tokio::join!(look_up(), moving_on);
    assert_eq!(found, (Some(now - 1), true));
}

/// A watcher of this database that has read nothing yet.
fn watcher(db: Arc<dyn SharedDatabase>) -> Watcher {
    Watcher {
        config: FrontConfig::default(),
        db,
        stale: Arc::default(),
        sender: watch::channel(Arc::new(RouteTable::empty())).0,
        highest: BTreeMap::new(),
        bindings: BindingsSeen::default(),
        advancing: None,
    }
}

/// P28: meanwhile the database may have been restored, and have counted up to the same version again
/// by other changes.
#[tokio::test(start_paused = true)]
async fn p28_after_a_gap_the_bindings_count_as_changed_although_their_version_is_the_same() {
    let db = Arc::new(MemoryDatabase::new());
    let mut watcher = watcher(Arc::clone(&db) as Arc<dyn SharedDatabase>);
    let gap = watcher.config.suspicion();
    let mut changes = async |after: Duration| {
        tokio::time::advance(after).await;
        watcher.read_bindings_version().await;
        watcher.bindings.changes
    };
    let first = changes(Duration::ZERO).await;
    assert_eq!(changes(gap / 4).await, first);
    assert_eq!(changes(gap).await, first, "no gap");
    assert_eq!(changes(gap + Duration::from_millis(1)).await, first + 1, "a gap");
    assert_eq!(changes(gap / 4).await, first + 1);
    assert_eq!(db.bindings_mark().await.unwrap().version, 0, "the version is the same");
}

/// Answers each call to advance the mark of look-ups as the test says.
#[derive(Default)]
struct Advances {
    calls: AtomicU32,
    fails: bool,
}

#[tonic::async_trait]
impl Interpose for Advances {
    async fn before(&self, call: Call) -> StoreResult<()> {
        if call != Call::AdvanceGuidedThrough {
            return Ok(());
        }
        self.calls.fetch_add(1, Ordering::SeqCst);
        match self.fails {
            true => {
                let cause = "the test says so".to_owned();
                Err(StoreError::Unavailable { doing: "advance", cause })
            }
            false => Ok(()),
        }
    }

    async fn after(&self, _: Call) -> StoreResult<()> {
        Ok(())
    }
}

/// Counts by name.
#[derive(Default)]
struct Counts(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Counts {
    fn of(&self, name: &str) -> u64 {
        self.0.lock().unwrap().get(name).map_or(0, |count| count.load(Ordering::SeqCst))
    }
}

impl metrics::Recorder for Counts {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let mut counts = self.0.lock().unwrap();
        Counter::from_arc(Arc::clone(counts.entry(key.name().to_owned()).or_default()))
    }
    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }
    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// P28: each failure is counted. It is none that the mark was moved on already, unless it is late.
#[tokio::test(start_paused = true)]
async fn p28_each_failure_to_advance_the_mark_of_look_ups_is_counted() {
    let minute = ADVANCE_AFTER_US;
    // Whether the database fails, the age of the mark, and the number of failures of two attempts.
    // The clock stands still, so that only the first attempt moves the mark on.
    for (fails, age, expected) in [(false, minute, 0), (false, 2 * minute, 1), (true, minute, 2)] {
        let counts = Counts::default();
        let _recording = metrics::set_default_local_recorder(&counts);
        let hook = Arc::new(Advances { fails, ..Advances::default() });
        let clock = Arc::new(move || Timestamp(age));
        let memory = MemoryDatabase::with_clock(clock, StoreIncarnation(1));
        let mut watcher = watcher(Arc::new(Interposed::new(Arc::new(memory), Arc::clone(&hook))));
        for _ in 0..2 {
            watcher.advance_guided_through(Timestamp(age));
            watcher.advancing.take().unwrap().await.unwrap();
        }
        assert_eq!(hook.calls.load(Ordering::SeqCst), 2);
        assert_eq!(counts.of("turnpike_front_mark_failures_total"), expected, "{fails}, {age}");
        watcher.advance_guided_through(Timestamp(minute - 1));
        assert!(watcher.advancing.is_none(), "the mark is recent");
    }
}

#[test]
fn the_age_of_the_mark_of_look_ups_is_by_the_clock_of_the_database() {
    let age = |table: &RouteTable| table.mark_age();
    assert_eq!(age(&RouteTable::empty()), Duration::ZERO, "nothing was read yet");
    let now = 1_714_521_600_000_000;
    assert_eq!(age(&marked(now, 90_000_000)), Duration::from_secs(90));
    assert_eq!(age(&marked(now, -5)), Duration::ZERO);
}

#[test]
fn mutants_are_caught() {
    let here = |test| format!("routing::routes::tests::{test}");
    all_caught(&[
        (
            Check::RecentMark,
            &here("p28_identities_are_looked_up_only_with_a_recent_mark"),
            "a mark of the age",
        ),
        (
            Check::GapIsChange,
            &here(
                "p28_after_a_gap_the_bindings_count_as_changed_although_their_version_is_the_same",
            ),
            "a gap",
        ),
    ]);
}
