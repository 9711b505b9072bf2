//! A cluster whose first node can be cut off from the database, stopped and continued; and the
//! requests that are sent to it.

#![allow(unreachable_pub)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use chaos_tests::asked::{
    Answer, Node, Rpc, TestPartition, WAITING, apply, ask, forward, open, record, sub_batch,
    subscribe,
};
use chaos_tests::asked_front::{self, FrontAnswer};
use chaos_tests::cluster::Cluster;
use tokio::task::JoinSet;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use turnpike_harness::oracle::{check_chain, log};
use turnpike_harness::postgres::{PostgresServer, PostgresSettings};
use turnpike_harness::proxy::Proxy;
use turnpike_proto::node::v1::{NodeRecycleRequest, NodeSuspenseRequest, RecycleKey, Verdict};
use turnpike_segment::Segment;
use turnpike_store::{OpenOptions, SharedDatabase, open as open_database};
use turnpike_types::{Epoch, PartitionId};

/// The usage in octets that the test adds through node B, so that B's state differs from node A's.
pub const AT_B: i64 = 1_000_000;
/// There is a partition for each RPC, so that each RPC can have an append in flight.
const PARTITIONS: u64 = Rpc::ALL.len() as u64;
const ACCOUNTS: u64 = 2_000;

/// The epochs under which B owns the partitions.
pub type Epochs = BTreeMap<PartitionId, Epoch>;

/// The cluster: B uses the database directly, A through `proxy_of_a`.
pub struct World {
    cluster: Cluster,
    pub db: std::sync::Arc<dyn SharedDatabase>,
    pub proxy_of_a: Proxy,
    pub places: Vec<TestPartition>,
    pub a: Node,
    b: Node,
    front: Channel,
    _postgres: PostgresServer,
}

impl World {
    /// Starts the cluster: A owns every partition; in each, an account has used 100 octets, and a
    /// record is suspended.
    pub async fn start() -> Result<Self> {
        let settings = PostgresSettings { port: Some(0), ..PostgresSettings::default() };
        let postgres = PostgresServer::start_with(settings)?;
        let database = postgres.create_database()?;
        let name = database.trim_start_matches("postgres:///").split('?').next();
        let tcp = postgres.tcp_url(name.unwrap_or_default()).context("no port")?;
        let port = postgres.port().context("no port")?.to_string();
        let proxy_of_a = Proxy::start(format!("127.0.0.1:{port}")).await?;
        let proxied = tcp.replacen(&port, &proxy_of_a.address().port().to_string(), 1);
        let mut cluster = Cluster::new(database.clone())?;
        let (count, accounts) = (PARTITIONS.to_string(), format!("1-{}", PARTITIONS * ACCOUNTS));
        let init = ["partition", "init", "--count", &count, "--accounts", &accounts];
        let members = ["--member", "a=200", "--member", "b=100", "--accept-since", "2024-01-01"];
        cluster.run(&[&init[..], &members].concat())?;
        cluster.move_to(proxied);
        cluster.start_node("a")?;
        cluster.move_to(database.clone());
        cluster.start_front()?;
        cluster.wait_until_served().await?;
        cluster.start_node("b")?;
        let plan = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/octets.xml");
        cluster.run(&["plan", "publish", plan])?;
        let db = open_database(&database, &OpenOptions::default()).await?;
        let partitions = db.observe().await?.partitions;
        let place = |spec: &turnpike_store::PartitionSpec| TestPartition {
            partition: spec.id,
            first: spec.range.first().0,
        };
        let places: Vec<TestPartition> = partitions.iter().map(|row| place(&row.spec)).collect();
        let (a, b) = (node(db.as_ref(), "a").await?, node(db.as_ref(), "b").await?);
        let front = Endpoint::from_shared(cluster.front())?.connect().await?;
        let world = Self { cluster, db, proxy_of_a, places, a, b, front, _postgres: postgres };
        world.fill().await?;
        Ok(world)
    }
}

/// Waits until the node has written a heartbeat, and returns a client of it.
async fn node(db: &dyn SharedDatabase, name: &str) -> Result<Node> {
    for _ in 0..200 {
        let nodes = db.observe().await?.nodes;
        if let Some(row) = nodes.iter().find(|row| row.beat.node.0 == name) {
            let channel = Endpoint::from_shared(format!("http://{}", row.beat.address))?;
            return Ok(Node::new(channel.connect().await?));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("node {name} writes no heartbeat")
}

impl World {
    /// Opens the accounts, and sends their first records and the record that is suspended.
    async fn fill(&self) -> Result<()> {
        for &at in &self.places {
            let commands = vec![open(at.known()), subscribe(at.known())];
            done(|| apply(self.a.clone(), at, commands.clone(), "opened")).await?;
            let first = record(at.known(), "first", 100);
            let waits = record(at.unknown(), WAITING, 100);
            done(|| send(self.a.clone(), at, vec![first.clone(), waits.clone()])).await?;
        }
        Ok(())
    }

    /// Checks that node A answers every RPC, each in its own partition. These requests also make A
    /// open its connections to the database.
    pub async fn serves_everything(&self, when: &str) -> Result<()> {
        let mut asked = Asked::default();
        asked.of_node(self, when);
        for answer in asked.answers().await?.of_node {
            ensure!(answer.is_done() || answer.asked.starts_with("Watch"), "{answer:?}");
        }
        Ok(())
    }

    /// Stops (SIGSTOP) node A and the front. The routing table of the front names only A.
    pub fn freeze(&self) -> Result<()> {
        self.cluster.freeze("a")?;
        self.cluster.freeze("front")
    }

    /// Continues (SIGCONT) node A and the front.
    pub fn wake(&self) -> Result<()> {
        self.cluster.wake("a")?;
        self.cluster.wake("front")
    }

    /// Waits until B owns the partitions; then adds much usage in every partition, opens the
    /// account that was unknown, and recycles the suspended record.
    pub async fn b_takes_over_and_changes_everything(&self) -> Result<Epochs> {
        let mut epochs = Epochs::new();
        for &at in &self.places {
            let much = record(at.known(), "much", AT_B);
            let answer = done(|| send(self.b.clone(), at, vec![much.clone()])).await?;
            let epoch = answer.standing.map_err(anyhow::Error::msg)?.epoch;
            epochs.insert(at.partition, Epoch::stored(epoch));
            let commands = vec![open(at.unknown()), subscribe(at.unknown())];
            done(|| apply(self.b.clone(), at, commands.clone(), "opened")).await?;
            self.recycle_at_b(at).await?;
        }
        Ok(epochs)
    }

    async fn recycle_at_b(&self, at: TestPartition) -> Result<()> {
        let (partition, mut b) = (at.partition.0, self.b.clone());
        let listed = b.list_suspense(NodeSuspenseRequest { partition, filter: None }).await?;
        let keys = listed.into_inner().records.into_iter().map(|record| RecycleKey {
            account_number: record.account_number,
            record_id: record.record_id,
            revision: record.revision,
            ..RecycleKey::default()
        });
        let keys: Vec<RecycleKey> = keys.collect();
        let outcomes = b
            .recycle(NodeRecycleRequest { partition, keys, ..Default::default() })
            .await?
            .into_inner();
        ensure!(outcomes.outcomes.iter().all(|one| one.rated), "{outcomes:?}");
        Ok(())
    }

    /// Hands the partitions over to A. Returns the answers of A, as the owner, to every RPC.
    pub async fn a_owns_again(&self) -> Result<Vec<Answer>> {
        for at in &self.places {
            self.cluster.run(&["handover", &at.partition.to_string(), "--to", "a"])?;
        }
        let mut asked = Asked::default();
        asked.of_node(self, "as the owner again");
        let answers = asked.answers().await?.of_node;
        for answer in &answers {
            ensure!(answer.is_done() || answer.asked.starts_with("Watch"), "{answer:?}");
        }
        Ok(answers)
    }

    /// The incarnation of A's process, from its heartbeat.
    pub async fn process_of_a(&self) -> Result<u64> {
        let nodes = self.db.observe().await?.nodes;
        let row = nodes
            .iter()
            .find(|row| row.beat.node.0 == "a")
            .context("A has written no heartbeat")?;
        Ok(row.beat.incarnation.0)
    }

    /// Checks I1 to I3: no record is in the log twice, and all `accepted` records are in it.
    pub async fn check_logs(&self, accepted: &BTreeSet<String>) -> Result<()> {
        let mut logged = BTreeSet::new();
        for at in &self.places {
            let rows = log(self.db.as_ref(), at.partition).await?;
            check_chain(&rows)?;
            let mut keys = BTreeSet::new();
            for row in rows {
                for (_, record) in Segment::decode(&row.body)?.records() {
                    let is_recycled = record.record_id == WAITING;
                    let is_new = keys.insert((record.account, record.record_id.to_owned()));
                    ensure!(is_new || is_recycled, "{} is in the log twice", record.record_id);
                    logged.insert(format!("{} {}", at.partition, record.record_id));
                }
            }
        }
        let lost: Vec<_> = accepted.difference(&logged).collect();
        ensure!(lost.is_empty(), "acknowledged but not in the log: {lost:?}");
        Ok(())
    }
}

async fn send(
    mut node: Node,
    at: TestPartition,
    records: Vec<turnpike_types::UsageRecord>,
) -> Result<Answer, Status> {
    let frames = tokio_stream::once(sub_batch(at, 0, &records));
    let answer = node.forward(frames).await?.into_inner().message().await?;
    let answer = answer.ok_or_else(|| Status::aborted("the stream ended"))?;
    Ok(chaos_tests::asked::answer_to(answer, at, "sent"))
}

/// Repeats a request until the node answers it as the owner.
async fn done<F: Future<Output = Result<Answer, Status>>>(again: impl Fn() -> F) -> Result<Answer> {
    let mut last = None;
    for _ in 0..600 {
        last = Some(again().await);
        if let Some(Ok(answer)) = last.take_if(|last| last.as_ref().is_ok_and(Answer::is_done)) {
            return Ok(answer);
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    bail!("no answer after 600 attempts: {last:?}")
}

/// Requests in flight to node A and to the front.
#[derive(Default)]
pub struct Asked {
    of_node: JoinSet<Answer>,
    of_front: JoinSet<(TestPartition, String, Result<Option<FrontAnswer>, Status>)>,
}

impl Asked {
    /// Sends every RPC to A, and through the front. `Forward` goes to A twice: as from a front that
    /// follows its routing table, and as from one that another node referred to A.
    pub fn everywhere(&mut self, world: &World, when: &str) {
        self.of_node(world, when);
        let sent = format!("Forward {when}, sent");
        for (rpc, &at) in Rpc::ALL.into_iter().zip(&world.places) {
            let (front, id) = (world.front.clone(), format!("{rpc:?} {when}, through the front"));
            self.of_front.spawn(async move {
                let told = asked_front::ask(front, rpc, at, &id).await;
                (at, id, told)
            });
            let (a, id) = (world.a.clone(), sent.clone());
            self.of_node.spawn(async move {
                forward(a, at, &id, true).await.unwrap_or_else(|why| Answer::none(at, &id, &why))
            });
        }
    }

    fn of_node(&mut self, world: &World, when: &str) {
        for (rpc, &at) in Rpc::ALL.into_iter().zip(&world.places) {
            let (a, when) = (world.a.clone(), when.to_owned());
            self.of_node.spawn(async move { ask(a, rpc, at, &when).await });
        }
    }

    /// Waits for the answers.
    pub async fn answers(self) -> Result<Answers> {
        let (of_node, of_front) = (self.of_node.join_all().await, self.of_front.join_all().await);
        Ok(Answers { of_node, of_front })
    }
}

/// The answers to all requests.
pub struct Answers {
    pub of_node: Vec<Answer>,
    of_front: Vec<(TestPartition, String, Result<Option<FrontAnswer>, Status>)>,
}

impl Answers {
    /// The number of answers in which node A says that it does not own the partition.
    pub fn refused(&self) -> usize {
        let is_refused = |answer: &&Answer| {
            answer.standing.as_ref().is_ok_and(|standing| standing.verdict() == Verdict::NotOwner)
        };
        self.of_node.iter().filter(is_refused).count()
    }

    /// Checks the answers of A: each shows the state of B, because A relays the request to B, or
    /// owns the partition again. At least one shows the account, and at least one lists the
    /// suspended records.
    pub fn check_node(&self) -> Result<()> {
        let (mut shown, mut listed) = (0, 0);
        for answer in self.of_node.iter().filter(|answer| answer.is_done()) {
            let waits = answer.told.iter().any(|told| told.ends_with("waits"));
            let octets = answer.told.iter().filter_map(|told| told.strip_suffix(" octets"));
            let octets = octets.map(str::parse::<i64>).collect::<Result<Vec<i64>, _>>()?;
            let is_old = octets.iter().any(|&octets| octets < AT_B);
            ensure!(!waits && !is_old, "{answer:?}");
            shown += octets.len();
            listed += usize::from(answer.asked.starts_with("ListSuspense"));
        }
        ensure!(shown > 0 && listed > 0, "A showed {shown} accounts and {listed} lists");
        Ok(())
    }

    /// Checks the answers through the front: each shows the state of B, and each kind of request
    /// has an answer.
    pub fn check_front(&self, epochs: &Epochs) -> Result<()> {
        let mut seen = BTreeMap::from(
            ["octets", "waiting", "recycled", "taken", "opened"].map(|kind| (kind, 0)),
        );
        for (at, id, told) in &self.of_front {
            let (kind, is_new) = match told {
                Ok(Some(FrontAnswer::Octets(octets, epoch))) => {
                    ("octets", *octets > AT_B && *epoch >= epochs[&at.partition].number())
                }
                Ok(Some(FrontAnswer::Waiting(waiting))) => ("waiting", waiting.is_empty()),
                Ok(Some(FrontAnswer::Recycled(rated, stays))) => {
                    ("recycled", (*rated, *stays) == (0, 0))
                }
                Ok(Some(FrontAnswer::Taken(true))) => ("taken", true),
                Ok(Some(FrontAnswer::Opened(true))) => ("opened", true),
                Ok(Some(FrontAnswer::Taken(false) | FrontAnswer::Opened(false)) | None)
                | Err(_) => continue,
            };
            ensure!(is_new, "{id}: {told:?}");
            *seen.entry(kind).or_default() += 1;
        }
        ensure!(seen.values().all(|&answers| answers > 0), "answers through the front: {seen:?}");
        Ok(())
    }

    /// The records that were accepted according to an answer, with their partitions.
    pub fn accepted(&self) -> BTreeSet<String> {
        let of_node = self.of_node.iter().filter(|answer| answer.is_done());
        let of_node = of_node.map(|answer| (answer.partition, &answer.asked));
        let of_front = self.of_front.iter().filter_map(|(at, id, told)| match told {
            Ok(Some(FrontAnswer::Taken(true))) => Some((at.partition, id)),
            _ => None,
        });
        let all = of_node.filter(|(_, id)| id.starts_with("Forward")).chain(of_front);
        all.map(|(partition, id)| format!("{partition} {id}")).collect()
    }

    /// The number of answers, of A and through the front.
    pub fn summary(&self) -> String {
        let done = self.of_node.iter().filter(|answer| answer.is_done()).count();
        let through = self.of_front.iter().filter(|(_, _, told)| told.is_ok()).count();
        let (of_node, of_front) = (self.of_node.len(), self.of_front.len());
        format!("{done} of {of_node} were answered by A; {through} of {of_front} through the front")
    }
}
