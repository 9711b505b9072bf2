//! The requests of [`crate::asked`] that clients can send through a front, with the answers that
//! clients see.

use std::time::Duration;

use anyhow::Result;
use tonic::Status;
use tonic::transport::Channel;
use turnpike_proto::account::v1::account_service_client::AccountServiceClient;
use turnpike_proto::account::v1::{AccountOutcome, ApplyRequest, ShowRequest};
use turnpike_proto::frame::BatchFrame;
use turnpike_proto::ingest::v1::BatchStatus;
use turnpike_proto::ingest::v1::ingest_service_client::IngestServiceClient;
use turnpike_proto::record::encode;
use turnpike_proto::suspense::v1::suspense_service_client::SuspenseServiceClient;
use turnpike_proto::suspense::v1::{ListRequest, RecycleRequest};

use crate::asked::{Rpc, TestPartition, octets, open, record};

const PATIENCE: Duration = Duration::from_secs(20);

/// The answer of a front.
#[derive(Debug)]
pub enum FrontAnswer {
    /// The record, whose id names the request, was accepted; `false` if the batch must be retried.
    Taken(bool),
    /// The account was opened; `false` if the command must be retried.
    Opened(bool),
    /// The octets of the account, and the epoch of the owner that answered.
    Octets(i64, u64),
    /// The ids of the suspended records.
    Waiting(Vec<String>),
    /// The number of records that left suspense, and of those that remain.
    Recycled(u64, u64),
}

/// Sends a front the client request that the front forwards to a node by this RPC. Returns `None`
/// if no client request leads to this RPC.
///
/// # Errors
/// The status from the front, or a time-out.
pub async fn ask(
    front: Channel,
    rpc: Rpc,
    at: TestPartition,
    id: &str,
) -> Result<Option<FrontAnswer>, Status> {
    let answer = async {
        Ok(Some(match rpc {
            Rpc::Forward => ingest(front, at, id).await?,
            Rpc::Apply => apply(front, at).await?,
            Rpc::Show => show(front, at).await?,
            Rpc::ListSuspense => list(front, at).await?,
            Rpc::Recycle => recycle(front, at).await?,
            // A front sends `Reassign` only for a record whose identity moved to another account;
            // clients send neither `Confirm` nor `Watch`.
            Rpc::Reassign | Rpc::Confirm | Rpc::Watch => return Ok(None),
        }))
    };
    let late = |_| Err(Status::deadline_exceeded("the time-out of the test"));
    tokio::time::timeout(PATIENCE, answer).await.unwrap_or_else(late)
}

async fn ingest(front: Channel, at: TestPartition, id: &str) -> Result<FrontAnswer, Status> {
    let mut bytes = Vec::new();
    encode(&record(at.known(), id, 1), &mut bytes);
    let batch = BatchFrame::build("frozen", 1, [bytes.as_slice()]);
    let ack = IngestServiceClient::new(front).ingest_once(batch).await?.into_inner();
    Ok(FrontAnswer::Taken(ack.status() == BatchStatus::Done))
}

async fn apply(front: Channel, at: TestPartition) -> Result<FrontAnswer, Status> {
    let request = ApplyRequest { commands: vec![open(at.fresh())] };
    let answer = AccountServiceClient::new(front).apply(request).await?.into_inner();
    Ok(FrontAnswer::Opened(
        answer.results.iter().all(|one| one.outcome() == AccountOutcome::Applied),
    ))
}

async fn show(front: Channel, at: TestPartition) -> Result<FrontAnswer, Status> {
    let request = ShowRequest { account_number: at.known() };
    let shown = AccountServiceClient::new(front).show(request).await?.into_inner();
    Ok(FrontAnswer::Octets(octets(&shown), shown.epoch))
}

async fn list(front: Channel, at: TestPartition) -> Result<FrontAnswer, Status> {
    let request = ListRequest { account_number: at.unknown(), ..ListRequest::default() };
    let mut listed = SuspenseServiceClient::new(front).list(request).await?.into_inner();
    let mut waiting = Vec::new();
    while let Some(record) = listed.message().await? {
        waiting.push(record.record_id);
    }
    Ok(FrontAnswer::Waiting(waiting))
}

async fn recycle(front: Channel, at: TestPartition) -> Result<FrontAnswer, Status> {
    let request = RecycleRequest { account_number: at.unknown(), ..RecycleRequest::default() };
    let done = SuspenseServiceClient::new(front).recycle(request).await?.into_inner();
    Ok(FrontAnswer::Recycled(done.rated, done.still_suspended))
}
