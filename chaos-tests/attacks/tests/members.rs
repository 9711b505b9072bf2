//! The port of a node, used as no front uses it.

use anyhow::{Context as _, Result, ensure};
use attacks::flood::WINDOW;
use attacks::raw::{RawClient, message};
use attacks::site::{ACCOUNTS, Effect, Site};
use chaos_tests::asked::{self, TestPartition, answer_to};
use tokio_stream::StreamExt as _;
use tonic::{Code, Request};
use turnpike_proto::frame::{SubBatchFrame, SubBatchHead, push_record};
use turnpike_proto::node::v1::node_service_client::NodeServiceClient;
use turnpike_proto::node::v1::{
    NodeRecycleRequest, NodeSuspenseRequest, RecycleKey, SubBatchAnswer,
};
use turnpike_proto::record::encode;
use turnpike_types::{AccountNumber, PartitionId, Timestamp, UsageRecord};

const AT: TestPartition = TestPartition { partition: PartitionId(1), first: 1 };
/// An account of the partition that was never opened.
const UNKNOWN: u64 = ACCOUNTS / 2;
const RECYCLE: &str = "/turnpike.node.v1.NodeService/Recycle";
const CONFIRM: &str = "/turnpike.node.v1.NodeService/Confirm";
const REASSIGN: &str = "/turnpike.node.v1.NodeService/Reassign";

fn record(id: &str, account: u64, start: i64) -> UsageRecord {
    UsageRecord {
        record_id: id.to_owned(),
        account: AccountNumber(account),
        usage_type: "octets".to_owned(),
        start: Timestamp(start),
        quantity: Some(1),
        ..UsageRecord::default()
    }
}

/// Sends one sub-batch, as a front would that says these things of it.
async fn forward(node: &str, record: &UsageRecord, head: SubBatchHead) -> Result<SubBatchAnswer> {
    let (mut bytes, mut run) = (Vec::new(), Vec::new());
    encode(record, &mut bytes);
    push_record(&mut run, &bytes);
    let frame = SubBatchFrame::build(head, &run);
    let mut client = NodeServiceClient::connect(format!("http://{node}")).await?;
    let call = Request::new(tokio_stream::once(frame).chain(tokio_stream::pending()));
    let mut answers = client.forward(call).await?.into_inner();
    answers.message().await?.context("no answer")
}

/// A record of 1970 that claims to come from a suspense.
async fn old_record(node: String) -> Result<Effect> {
    let head =
        SubBatchHead { partition: 1, recycled: true, recycled_from: 2, ..SubBatchHead::default() };
    let mut told = Vec::new();
    for from in [0, 1, 2] {
        let head = SubBatchHead { recycled_from: from, ..head };
        let record = record(&format!("old-{from}"), 30, 1_000_000);
        let answer = answer_to(forward(&node, &record, head).await?, AT, "old");
        ensure!(answer.is_done(), "{answer:?}");
        ensure!(answer.told.iter().any(|told| told.contains("too-old")), "{answer:?}");
        told.extend(answer.told);
    }
    Ok(Effect::of(format!("records of 1970: {told:?}")))
}

/// A suspended record that is said to be durable elsewhere.
async fn deleted(node: String) -> Result<Effect> {
    let mut client = NodeServiceClient::connect(format!("http://{node}")).await?;
    let head = SubBatchHead { partition: 1, ..SubBatchHead::default() };
    let waits =
        UsageRecord { usage_type: "unknown".to_owned(), ..record("waits", 30, asked_start()) };
    let answer = answer_to(forward(&node, &waits, head).await?, AT, "waits");
    ensure!(answer.is_done() && answer.told.len() == 1, "it is not suspended: {answer:?}");
    let mut outcomes = Vec::new();
    for moved_to_account in [31, ACCOUNTS, UNKNOWN, u64::MAX] {
        let key = RecycleKey {
            account_number: 30,
            record_id: "waits".to_owned(),
            moved_to_account,
            ..RecycleKey::default()
        };
        let request = NodeRecycleRequest { partition: 1, keys: vec![key], ..Default::default() };
        let answer = client.recycle(request).await;
        outcomes.push(answer.map_or_else(
            |s| format!("{:?}", s.code()),
            |a| {
                format!("{:?}", a.into_inner().outcomes.iter().map(|o| o.rated).collect::<Vec<_>>())
            },
        ));
        let request = NodeSuspenseRequest { partition: 1, filter: None };
        let listed = client.list_suspense(request).await?.into_inner().records;
        ensure!(
            listed.iter().any(|record| record.record_id == "waits"),
            "a suspended record was deleted, unrated: moved to {moved_to_account}, {outcomes:?}"
        );
    }
    Ok(Effect::of(format!("the suspended record still waits: {outcomes:?}")))
}

/// Keys and records of many megabytes.
async fn large(node: String, count: usize) -> Result<Effect> {
    let mut codes = Vec::new();
    for path in [RECYCLE, CONFIRM, REASSIGN] {
        for _ in 0..count {
            let mut call = RawClient::connect(&node, WINDOW).await?.open(path).await?;
            // The node may refuse the request before it has taken the whole message.
            let body = [&[8, 1][..], &[0x12, 0].repeat(30 << 20)].concat();
            drop(call.finish(message(&body)?).await);
            codes.push(call.code().await);
        }
    }
    ensure!(!codes.contains(&Code::Ok), "a node takes 60 MB of keys: {codes:?}");
    Ok(Effect::of(format!("messages of 60 MB: {codes:?}")))
}

fn asked_start() -> i64 {
    asked::record(1, "", 1).start.0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_believes_nothing_that_it_can_ask_the_owner_about() -> Result<()> {
    let _alone = crate::alone().await;
    let mut site = Site::start().await?;
    let (_, node) = site.owner(PartitionId(1)).await?;
    site.withstands("W5 old records", old_record(node.clone())).await?;
    site.withstands("W5 suspended records", deleted(node.clone())).await?;
    let attack = large(node, site.form.pick(1, 3));
    site.withstands("W5 large keys", attack).await?;
    site.finish().await
}
