//! A node over the memory store, with a gRPC client on an in-memory pipe.
#![allow(unreachable_pub)]

pub mod world;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use test_network::Network;
use tonic::transport::{Channel, Server};
use turnpike_account::PartitionState;
use turnpike_node::{Node, NodeConfig};
use turnpike_proto::account::v1::account_command::Command;
use turnpike_proto::account::v1::{AccountCommand, OpenAccount, Settings, Subscribe};
use turnpike_proto::dial::{Dial, DialError};
use turnpike_proto::frame::{SubBatchFrame, SubBatchHead, push_record};
use turnpike_proto::node::v1::node_service_client::NodeServiceClient;
use turnpike_proto::node::v1::{NodeApplyRequest, SubBatchAnswer, Verdict};
use turnpike_proto::record::encode;
use turnpike_segment::Segment;
use turnpike_store::memory::MemoryDatabase;
use turnpike_store::{
    CatalogueKind, Member, PartitionSpec, Publish, PublishOutcome, SegmentRow, SharedDatabase,
};
use turnpike_types::{
    AccountNumber, AccountRange, NodeName, PartitionId, Priority, SegmentNumber, Timestamp,
    UsageRecord,
};

/// A short heartbeat interval, so that takeovers in tests are fast.
pub const HEARTBEAT: Duration = Duration::from_millis(25);

pub fn database() -> Arc<dyn SharedDatabase> {
    Arc::new(MemoryDatabase::new())
}

/// Partition 1: accounts 1 to 1000, records of any age, members `a` before `b`.
pub async fn create_partition(db: &dyn SharedDatabase) {
    let members = [("a", 20), ("b", 10)];
    let members = members.map(|(node, priority)| Member {
        node: NodeName(node.to_owned()),
        priority: Priority(priority),
    });
    let spec = PartitionSpec {
        id: PartitionId(1),
        range: AccountRange::new(1, 1000).unwrap(),
        horizon_us: 1,
        accept_since: Some(Timestamp(0)),
        members: members.into(),
    };
    db.create_partitions(&[spec]).await.unwrap();
}

pub async fn publish(db: &dyn SharedDatabase, xml: &str) {
    let plan = turnpike_plan::parse(xml).unwrap();
    let publish = Publish {
        kind: CatalogueKind::Plan,
        id: plan.id().to_owned(),
        version: plan.version(),
        starts: plan.starts().to_string(),
        supersedes: plan.supersedes(),
        content_hash: plan.content_hash(),
        form: plan.currency().to_string(),
        rows: 0,
        body: xml.to_owned(),
        tz_database: None,
    };
    let outcome = db.publish(&publish).await.unwrap();
    let is_in = matches!(outcome, PublishOutcome::Published(_) | PublishOutcome::Already(_));
    assert!(is_in, "{outcome:?}");
}

pub const OCTETS: &str = include_str!("octets.xml");

/// A network without connections: the nodes of a test do not watch each other.
pub fn no_network() -> Dial {
    Dial::new(|address| {
        Err(DialError { address: address.to_owned(), cause: "there is no network".to_owned() })
    })
}

/// A node, and a client of it.
pub struct Running {
    pub node: Node,
    pub client: NodeServiceClient<Channel>,
}

pub fn config(name: &str) -> NodeConfig {
    NodeConfig {
        name: NodeName(name.to_owned()),
        address: format!("{name}:1"),
        heartbeat: HEARTBEAT,
        ..NodeConfig::default()
    }
}

pub async fn start(config: NodeConfig, db: &Arc<dyn SharedDatabase>) -> Running {
    start_with(config, db, no_network()).await
}

/// As [`start`], but the node reaches other nodes through `dial`.
#[allow(dead_code)]
pub async fn start_with(config: NodeConfig, db: &Arc<dyn SharedDatabase>, dial: Dial) -> Running {
    let node = Node::start(config, Arc::clone(db), dial).await.unwrap();
    let network = Network::default();
    let incoming = network.listen("node");
    tokio::spawn(Server::builder().add_service(node.service()).serve_with_incoming(incoming));
    let client = NodeServiceClient::new(network.channel("node").unwrap());
    Running { node, client }
}

impl Running {
    /// Sends one sub-batch on a stream of its own, repeatedly until this node owns the partition.
    pub async fn send(&mut self, records: &[UsageRecord]) -> SubBatchAnswer {
        for _ in 0..400 {
            if let Some(answer) = self.try_send(records).await
                && answer.standing.as_ref().unwrap().verdict() == Verdict::Done
            {
                return answer;
            }
            tokio::time::sleep(HEARTBEAT).await;
        }
        panic!("the node did not become the owner of the partition");
    }

    pub async fn try_send(&mut self, records: &[UsageRecord]) -> Option<SubBatchAnswer> {
        let frame = sub_batch(records);
        let stream = futures::stream::iter([frame]);
        let mut answers = self.client.forward(stream).await.ok()?.into_inner();
        answers.message().await.ok()?
    }

    /// Opens an account with a subscription to the octet plan.
    pub async fn open_account(&mut self, account: u64) {
        let commands = vec![open(account), subscribe(account, "octets")];
        for _ in 0..400 {
            let request = NodeApplyRequest { partition: 1, commands: commands.clone() };
            let response = self.client.apply(request).await.unwrap().into_inner();
            if response.standing.unwrap().verdict() == Verdict::Done {
                return;
            }
            tokio::time::sleep(HEARTBEAT).await;
        }
        panic!("the node did not become the owner of the partition");
    }
}

pub fn sub_batch(records: &[UsageRecord]) -> SubBatchFrame {
    let (mut run, mut bytes) = (Vec::new(), Vec::new());
    for record in records {
        bytes.clear();
        encode(record, &mut bytes);
        push_record(&mut run, &bytes);
    }
    SubBatchFrame::build(SubBatchHead { partition: 1, ..SubBatchHead::default() }, &run)
}

pub fn open(account: u64) -> AccountCommand {
    let settings = Settings {
        zone: "UTC".to_owned(),
        cycle_day: 1,
        currency: "USD".to_owned(),
        ..Settings::default()
    };
    AccountCommand {
        account_number: account,
        command: Some(Command::Open(OpenAccount {
            settings: Some(settings),
            ..OpenAccount::default()
        })),
        identities: Vec::new(),
    }
}

pub fn subscribe(account: u64, plan: &str) -> AccountCommand {
    let subscribe = Subscribe { plan_id: plan.to_owned(), priority: 1, ..Subscribe::default() };
    AccountCommand {
        account_number: account,
        command: Some(Command::Subscribe(subscribe)),
        identities: Vec::new(),
    }
}

/// `quantity` octets on 2024-05-01.
pub fn octets(account: u64, record_id: &str, quantity: i64) -> UsageRecord {
    UsageRecord {
        record_id: record_id.to_owned(),
        account: AccountNumber(account),
        usage_type: "octets".to_owned(),
        start: Timestamp(1_714_521_600_000_000),
        quantity: Some(quantity),
        ..UsageRecord::default()
    }
}

/// The whole log of partition 1.
pub async fn log(db: &dyn SharedDatabase) -> Vec<SegmentRow> {
    let mut rows: Vec<SegmentRow> = Vec::new();
    loop {
        let after = rows.last().map_or(SegmentNumber(0), |row| row.segment);
        let more = db.read_segments(PartitionId(1), after, 1 << 20).await.unwrap();
        if more.is_empty() {
            return rows;
        }
        rows.extend(more);
    }
}

/// Replays the log onto `state` (P25).
pub fn replay(mut state: PartitionState, rows: &[SegmentRow]) -> PartitionState {
    let (last, _) = state.last();
    for row in rows.iter().filter(|row| row.segment > last) {
        let segment = Segment::decode_checked(&row.body, row.prev_hash, row.hash).unwrap();
        state.replay(&segment, row.prev_hash, row.hash).unwrap();
    }
    state
}

/// The states of all retained checkpoints.
pub async fn checkpoints(db: &dyn SharedDatabase) -> Vec<PartitionState> {
    let mut states = Vec::new();
    for manifest in db.checkpoints(PartitionId(1)).await.unwrap() {
        let (mut snapshot, mut runs): (Vec<u8>, Vec<Bytes>) = (Vec::new(), Vec::new());
        for name in &manifest.parts {
            let body = db.checkpoint_part(PartitionId(1), name).await.unwrap().unwrap();
            if name.starts_with("keys-") {
                runs.push(body);
            } else {
                snapshot.extend_from_slice(&body);
            }
        }
        states.push(PartitionState::decode(&snapshot, &runs, &|| ()).unwrap());
    }
    states
}
