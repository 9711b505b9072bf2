//! A front can't reach an owner whose connection to the database is intact (P16): the standby
//! relays the front's requests, or takes over.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, dead_code)]

use crate::support;

use std::sync::Arc;
use std::time::Duration;

use support::{HEARTBEAT, OCTETS, Running, config, create_partition, database, log, octets};
use tokio::net::TcpListener;
use tonic::Request;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use turnpike_account::PartitionState;
use turnpike_harness::proxy::{Flow, Proxy};
use turnpike_mutants::{Check, all_caught};
use turnpike_node::{Node, NodeConfig};
use turnpike_proto::UNREACHABLE;
use turnpike_proto::dial::Dial;
use turnpike_proto::node::v1::node_service_client::NodeServiceClient;
use turnpike_proto::node::v1::{NodeShowRequest, NodeShowResponse, SubBatchAnswer, Verdict};
use turnpike_store::SharedDatabase;

/// A limit for waiting. A connection without answers is given up after one second.
const PATIENCE: Duration = Duration::from_secs(20);

/// A node on a network, with the address `proxy` for other nodes.
async fn start(name: &str, listener: TcpListener, proxy: String, db: &Database) -> Running {
    let here = format!("http://{}", listener.local_addr().unwrap());
    let config = NodeConfig { address: proxy, ..config(name) };
    let node = Node::start(config, Arc::clone(db), Dial::default()).await.unwrap();
    let incoming = TcpIncoming::from(listener);
    tokio::spawn(Server::builder().add_service(node.service()).serve_with_incoming(incoming));
    Running { node, client: NodeServiceClient::connect(here).await.unwrap() }
}

type Database = Arc<dyn SharedDatabase>;

/// `a` owns the partition and `b` follows. Other nodes reach `a` through the proxy, clients
/// directly.
struct Cluster {
    db: Database,
    a: Running,
    b: Running,
    proxy: Proxy,
}

impl Cluster {
    async fn start() -> Self {
        let db = database();
        create_partition(db.as_ref()).await;
        support::publish(db.as_ref(), OCTETS).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::start(listener.local_addr().unwrap().to_string()).await.unwrap();
        let mut a = start("a", listener, proxy.address().to_string(), &db).await;
        a.open_account(7).await;
        a.send(&[octets(7, "r0", 1)]).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let b = start("b", listener, address, &db).await;
        let cluster = Self { db, a, b, proxy };
        cluster
            .until("b has a warm replica, and a connection to a", |seen| {
                seen.nodes.iter().any(|row| !row.beat.following.is_empty())
            })
            .await;
        tokio::time::sleep(HEARTBEAT * 20).await;
        cluster
    }

    async fn until(&self, what: &str, holds: impl Fn(&turnpike_store::Observation) -> bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !holds(&self.db.observe().await.unwrap()) {
            assert!(tokio::time::Instant::now() < deadline, "time-out: {what}");
            tokio::time::sleep(HEARTBEAT).await;
        }
    }

    async fn epoch(&self) -> u64 {
        self.db.observe().await.unwrap().partitions[0].epoch.number()
    }

    /// Sends one record to `b` as a front that can't reach the owner of `epoch`.
    async fn complain(&mut self, epoch: u64, record: &str) -> SubBatchAnswer {
        let frame = support::sub_batch(&[octets(7, record, 1)]);
        let mut call = Request::new(futures::stream::iter([frame]));
        call.metadata_mut().insert(UNREACHABLE, epoch.into());
        let mut answers = self.b.client.forward(call).await.unwrap().into_inner();
        answers.message().await.unwrap().unwrap()
    }

    /// Requests the account from `b` as a front that can't reach the owner of `epoch`, until there
    /// is an answer.
    async fn ask(&mut self, epoch: u64) -> NodeShowResponse {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let mut call = Request::new(NodeShowRequest { partition: 1, account_number: 7 });
            call.metadata_mut().insert(UNREACHABLE, epoch.into());
            let shown = self.b.client.show(call).await.unwrap().into_inner();
            if shown.standing.as_ref().unwrap().verdict() == Verdict::Done {
                return shown;
            }
            assert!(tokio::time::Instant::now() < deadline, "{shown:?}");
            tokio::time::sleep(HEARTBEAT).await;
        }
    }

    /// Sends one record like [`Self::complain`], until it is answered.
    async fn insist(&mut self, epoch: u64, record: &str) -> SubBatchAnswer {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let answer = self.complain(epoch, record).await;
            if answer.standing.as_ref().unwrap().verdict() == Verdict::Done {
                return answer;
            }
            assert!(tokio::time::Instant::now() < deadline, "{answer:?}");
            tokio::time::sleep(HEARTBEAT).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p16_a_standby_that_reaches_the_owner_relays_and_claims_nothing() {
    let mut cluster = Cluster::start().await;
    let epoch = cluster.epoch().await;
    for round in 0..5 {
        let answer = cluster.insist(epoch, &format!("relayed{round}")).await;
        assert_eq!(answer.standing.unwrap().epoch, epoch, "the owner answers");
        assert_eq!(answer.accepted, 1);
    }
    let shown = cluster.ask(epoch).await;
    assert_eq!(shown.standing.unwrap().epoch, epoch);
    assert!(shown.account.is_some());
    tokio::time::sleep(HEARTBEAT * 10).await;
    assert_eq!(cluster.epoch().await, epoch);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p16_a_standby_that_can_t_reach_the_owner_either_takes_over() {
    let mut cluster = Cluster::start().await;
    let epoch = cluster.epoch().await;
    cluster.proxy.set_both(Flow::Vanish);
    // The pause is longer than `b` needs to notice that the owner is unreachable. Without a
    // complaint of a front, no takeover follows.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(cluster.epoch().await, epoch, "the owner still writes heartbeats");
    let answer = cluster.insist(epoch, "r1").await;
    assert_eq!(answer.standing.unwrap().epoch, epoch + 1);
    // Control does not return while the standby can't reach the node: fronts could not reach it
    // either.
    tokio::time::sleep(HEARTBEAT * 40).await;
    assert_eq!(cluster.epoch().await, epoch + 1);
    cluster.proxy.set_both(Flow::Pass);
    cluster.proxy.reset_all();
    cluster
        .until("a has the partition again", |seen| {
            seen.partitions[0].owner.as_ref().is_some_and(|(owner, _)| owner.0 == "a")
        })
        .await;
    let answer = cluster.a.send(&[octets(7, "r0", 1), octets(7, "r1", 1)]).await;
    assert_eq!(answer.duplicates, [0, 1], "I1, I2");
    support::replay(PartitionState::default(), &log(cluster.db.as_ref()).await);
}

#[test]
fn mutants_are_caught() {
    let test = "p16_a_standby_that_can_t_reach_the_owner_either_takes_over";
    all_caught(&[(Check::Complaint, test, "does not serve partition 1")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p16_an_account_read_also_reports_an_unreachable_owner() {
    let mut cluster = Cluster::start().await;
    let epoch = cluster.epoch().await;
    cluster.proxy.set_both(Flow::Vanish);
    let shown = cluster.ask(epoch).await;
    assert_eq!(shown.standing.unwrap().epoch, epoch + 1);
    assert!(shown.account.is_some());
}
