//! A request for each RPC of a node, and the check whether an answer comes from outdated state
//! (I6).

use std::time::Duration;

use rand::RngExt as _;
use tokio_stream::StreamExt as _;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Status};
use turnpike_proto::REFERRED;
use turnpike_proto::account::v1::account_command::Command;
use turnpike_proto::account::v1::{AccountCommand, OpenAccount, Settings, ShowResponse, Subscribe};
use turnpike_proto::frame::{SubBatchFrame, SubBatchHead, push_record};
use turnpike_proto::node::v1::node_service_client::NodeServiceClient;
use turnpike_proto::node::v1::{
    NodeApplyRequest, NodeConfirmRequest, NodeReassignRequest, NodeRecycleRequest, NodeShowRequest,
    NodeSuspenseRequest, Reassignment, RecycleKey, Standing, SubBatchAnswer, Verdict, WatchRequest,
};
use turnpike_proto::record::encode;
use turnpike_types::{AccountNumber, Epoch, PartitionId, Timestamp, UsageRecord};

use crate::dates::MAY;

/// A client of one node.
pub type Node = NodeServiceClient<Channel>;

/// The time-out of a request.
const PATIENCE: Duration = Duration::from_secs(20);

/// The RPCs of `turnpike.node.v1.NodeService`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Rpc {
    Forward,
    Apply,
    Show,
    ListSuspense,
    Recycle,
    Reassign,
    Confirm,
    Watch,
}

impl Rpc {
    /// All RPCs; a test compares their names with those of the service.
    pub const ALL: [Self; 8] = [
        Self::Forward,
        Self::Apply,
        Self::Show,
        Self::ListSuspense,
        Self::Recycle,
        Self::Reassign,
        Self::Confirm,
        Self::Watch,
    ];
}

/// A partition of the test, and the numbers of the accounts that the test uses in it.
#[derive(Clone, Copy, Debug)]
pub struct TestPartition {
    /// The partition.
    pub partition: PartitionId,
    /// The number of the first account of the partition.
    pub first: u64,
}

impl TestPartition {
    /// The account with usage.
    pub const fn known(self) -> u64 {
        self.first
    }

    /// An account that is not open at first, so that its records are suspended.
    pub const fn unknown(self) -> u64 {
        self.first + 1
    }

    /// A random account, for the test to open.
    pub fn fresh(self) -> u64 {
        self.first + rand::rng().random_range(10..1_000)
    }
}

/// The answer to a request.
#[derive(Debug)]
pub struct Answer {
    /// The partition.
    pub partition: PartitionId,
    /// The RPC and the moment of the request in words. If a record was sent, this text is its id.
    pub asked: String,
    /// The verdict and the epoch in the answer; `Err` if there is no answer, and for heartbeats,
    /// which have neither.
    pub standing: Result<Standing, String>,
    /// The state of the partition that the answer shows, as text.
    pub told: Vec<String>,
}

impl Answer {
    fn new(at: TestPartition, asked: &str, standing: Option<Standing>, told: Vec<String>) -> Self {
        let standing = Ok(standing.unwrap_or_default());
        Self { partition: at.partition, asked: asked.to_owned(), standing, told }
    }

    /// The result of a request without an answer; `why` is the reason.
    pub fn none(at: TestPartition, asked: &str, why: &Status) -> Self {
        let (partition, standing) = (at.partition, Err(why.to_string()));
        Self { partition, asked: asked.to_owned(), standing, told: Vec::new() }
    }

    /// Returns a description of the answer if it comes from state older than `epoch`, or if the
    /// node shows state although it says that it is not the owner.
    pub fn betrays_age(&self, epoch: Epoch) -> Option<String> {
        let standing = self.standing.as_ref().ok()?;
        let is_done = standing.verdict() == Verdict::Done;
        let is_old = is_done && standing.epoch < epoch.number();
        let leaks = !is_done && !self.told.is_empty();
        (is_old || leaks).then(|| format!("{self:?}"))
    }

    /// Whether the answer comes from a node that considers itself the owner.
    pub fn is_done(&self) -> bool {
        self.standing.as_ref().is_ok_and(|standing| standing.verdict() == Verdict::Done)
    }
}

/// Sends a request to a node and waits for the answer.
pub async fn ask(node: Node, rpc: Rpc, at: TestPartition, when: &str) -> Answer {
    let asked = format!("{rpc:?} {when}");
    let answer = async {
        match rpc {
            Rpc::Forward => forward(node, at, &asked, false).await,
            Rpc::Apply => apply(node, at, vec![open(at.fresh())], &asked).await,
            Rpc::Show => show(node, at, &asked).await,
            Rpc::ListSuspense => list(node, at, &asked).await,
            Rpc::Recycle => recycle(node, at, &asked).await,
            Rpc::Reassign => reassign(node, at, &asked).await,
            Rpc::Confirm => confirm(node, at, &asked).await,
            Rpc::Watch => watch(node, at, &asked).await,
        }
    };
    let answer = tokio::time::timeout(PATIENCE, answer).await;
    let answer =
        answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("the time-out of the test")));
    answer.unwrap_or_else(|status| Answer::none(at, &asked, &status))
}

/// Sends one sub-batch on a new stream: if `sent`, as a front that another node referred to this
/// node, otherwise as a front that follows its routing table.
///
/// # Errors
/// The node's status.
pub async fn forward(
    mut node: Node,
    at: TestPartition,
    id: &str,
    sent: bool,
) -> Result<Answer, Status> {
    let frame = sub_batch(at, 0, &[record(at.known(), id, 1)]);
    let mut call = Request::new(tokio_stream::once(frame).chain(tokio_stream::pending()));
    if sent {
        call.metadata_mut().insert(REFERRED, MetadataValue::from_static("1"));
    }
    let mut answers = node.forward(call).await?.into_inner();
    let answer = answers.message().await?;
    Ok(answer_to(answer.ok_or_else(|| Status::aborted("the stream ended"))?, at, id))
}

/// Converts the answer to a sub-batch.
pub fn answer_to(answer: SubBatchAnswer, at: TestPartition, id: &str) -> Answer {
    let SubBatchAnswer { standing, accepted, duplicates, exceptions, .. } = answer;
    let accepted = (accepted > 0).then(|| format!("{accepted} accepted"));
    let told = accepted
        .into_iter()
        .chain(duplicates.iter().map(|index| format!("{index} is a duplicate")))
        .chain(exceptions.iter().map(|result| format!("{} {}", result.index, result.reason)));
    Answer::new(at, id, standing, told.collect())
}

/// Sends account commands.
///
/// # Errors
/// The node's status.
pub async fn apply(
    mut node: Node,
    at: TestPartition,
    commands: Vec<AccountCommand>,
    asked: &str,
) -> Result<Answer, Status> {
    let request = NodeApplyRequest { partition: at.partition.0, commands };
    let answer = node.apply(request).await?.into_inner();
    let told = answer.results.iter().map(|result| format!("{:?}", result.outcome())).collect();
    Ok(Answer::new(at, asked, answer.standing, told))
}

async fn show(mut node: Node, at: TestPartition, asked: &str) -> Result<Answer, Status> {
    let request = NodeShowRequest { partition: at.partition.0, account_number: at.known() };
    let answer = node.show(request).await?.into_inner();
    let told = answer.account.iter().map(|account| format!("{} octets", octets(account)));
    Ok(Answer::new(at, asked, answer.standing, told.collect()))
}

/// The total of the account's only accumulator, in octets.
pub fn octets(account: &ShowResponse) -> i64 {
    account.variables.iter().filter_map(|variable| variable.value.parse::<i64>().ok()).sum()
}

async fn list(mut node: Node, at: TestPartition, asked: &str) -> Result<Answer, Status> {
    let request = NodeSuspenseRequest { partition: at.partition.0, filter: None };
    let answer = node.list_suspense(request).await?.into_inner();
    let told = answer.records.iter().map(|record| format!("{} waits", record.record_id));
    Ok(Answer::new(at, asked, answer.standing, told.collect()))
}

async fn recycle(mut node: Node, at: TestPartition, asked: &str) -> Result<Answer, Status> {
    let key = RecycleKey {
        account_number: at.unknown(),
        record_id: WAITING.to_owned(),
        ..RecycleKey::default()
    };
    let request =
        NodeRecycleRequest { partition: at.partition.0, keys: vec![key], ..Default::default() };
    let answer = node.recycle(request).await?.into_inner();
    let told = answer.outcomes.iter().map(|one| format!("rated: {}, {}", one.rated, one.reason));
    Ok(Answer::new(at, asked, answer.standing, told.collect()))
}

/// Asks the node which account pays for a record (P28). The record already belongs to the proposed
/// account, so that the decision changes nothing.
async fn reassign(mut node: Node, at: TestPartition, asked: &str) -> Result<Answer, Status> {
    let mut bytes = Vec::new();
    encode(&record(at.known(), asked, 1), &mut bytes);
    let records = vec![Reassignment { record: bytes.into(), to_account: at.known() }];
    let request = NodeReassignRequest {
        partition: at.partition.0,
        records,
        recycled: false,
        recycled_from: 0,
    };
    let answer = node.reassign(request).await?.into_inner();
    let told = answer.outcomes.iter().map(|one| format!("to account {}", one.to_account));
    Ok(Answer::new(at, asked, answer.standing, told.collect()))
}

/// Asks what the partition knows of the record that waits in it.
async fn confirm(mut node: Node, at: TestPartition, asked: &str) -> Result<Answer, Status> {
    let mut bytes = Vec::new();
    encode(&record(at.unknown(), WAITING, 1), &mut bytes);
    let request = NodeConfirmRequest { partition: at.partition.0, records: vec![bytes.into()] };
    let answer = node.confirm(request).await?.into_inner();
    let told = answer.confirmations.iter().map(|one| format!("waits: {}", one.waits));
    Ok(Answer::new(at, asked, answer.standing, told.collect()))
}

/// Reads one heartbeat from the stream of `Watch`. It describes the process, not a partition, so
/// the text of the answer is the id of the process.
async fn watch(mut node: Node, at: TestPartition, asked: &str) -> Result<Answer, Status> {
    let watcher = "test".to_owned();
    let mut signs = node.watch(WatchRequest { watcher }).await?.into_inner();
    let sign = signs.message().await?.ok_or_else(|| Status::aborted("the stream ended"))?;
    let told = vec![format!("process {:x}", sign.incarnation)];
    let standing = Err("signs have no standing".to_owned());
    Ok(Answer { partition: at.partition, asked: asked.to_owned(), standing, told })
}

/// The id of the record that is suspended in every partition, of the account that is not opened.
pub const WAITING: &str = "waits";

/// A record that starts at the first instant of May 2024 in UTC.
pub fn record(account: u64, id: &str, octets: i64) -> UsageRecord {
    UsageRecord {
        record_id: id.to_owned(),
        account: AccountNumber(account),
        usage_type: "octets".to_owned(),
        start: Timestamp(MAY),
        quantity: Some(octets),
        ..UsageRecord::default()
    }
}

/// A sub-batch as a front sends it to a node.
pub fn sub_batch(at: TestPartition, sequence: u64, records: &[UsageRecord]) -> SubBatchFrame {
    let mut run = Vec::new();
    for record in records {
        let mut bytes = Vec::new();
        encode(record, &mut bytes);
        push_record(&mut run, &bytes);
    }
    let partition = at.partition.0;
    SubBatchFrame::build(SubBatchHead { partition, sequence, ..SubBatchHead::default() }, &run)
}

/// A command that opens an account.
pub fn open(account: u64) -> AccountCommand {
    let settings = Settings {
        zone: "UTC".to_owned(),
        cycle_day: 1,
        currency: "USD".to_owned(),
        ..Settings::default()
    };
    command(
        account,
        Command::Open(OpenAccount { settings: Some(settings), ..OpenAccount::default() }),
    )
}

/// A command that subscribes an account to the plan of `tests/octets.xml`.
pub fn subscribe(account: u64) -> AccountCommand {
    let subscribe = Subscribe { plan_id: "octets".to_owned(), ..Subscribe::default() };
    command(account, Command::Subscribe(subscribe))
}

fn command(account: u64, command: Command) -> AccountCommand {
    AccountCommand { account_number: account, command: Some(command), identities: Vec::new() }
}
