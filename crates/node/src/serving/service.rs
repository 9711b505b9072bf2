//! The gRPC service for fronts and other nodes.

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::{ReceiverStream, WatchStream};
use tonic::{Request as Call, Response, Status, Streaming};
use turnpike_access::request_id;
use turnpike_mutants::{Check, off};
use turnpike_proto::bounds::{noted_refusal_fault, recycle_key_fault};
use turnpike_proto::frame::SubBatchFrame;
use turnpike_proto::node::v1::node_service_server::{NodeService, NodeServiceServer};
use turnpike_proto::node::v1::{
    NodeApplyRequest, NodeApplyResponse, NodeConfirmRequest, NodeConfirmResponse,
    NodeReassignRequest, NodeReassignResponse, NodeRecycleRequest, NodeRecycleResponse,
    NodeShowRequest, NodeShowResponse, NodeSuspenseRequest, NodeSuspenseResponse, Sign, Standing,
    SubBatchAnswer, Verdict, WatchRequest,
};
use turnpike_proto::record::FRONT_BYTES;
use turnpike_proto::{CLIENT, REFERRED, RELAYED, UNREACHABLE};
use turnpike_shares::{ClientKey, Holder, Share};
use turnpike_store::failpoint::{self, Step};
use turnpike_types::{Epoch, PartitionId, limits};

use super::gates::{Asker, Gates, OwnerQueue, RequestOrigin};
use super::refusals::invalid;
use super::relay::{OwnerClient, pass_on};
use crate::owner::{Queued, Refusal, Request, StreamEnd};

/// The most sub-batches of one stream in flight.
const STREAM_DEPTH: usize = 64;

/// The node's gRPC service.
pub struct Service {
    gates: Arc<Gates>,
}

impl Service {
    pub(crate) fn server(gates: Arc<Gates>) -> NodeServiceServer<Self> {
        NodeServiceServer::new(Self { gates })
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::MESSAGE_BYTES_MAX)
    }
}

/// The answer of an owner that is still pending.
type Pending = oneshot::Receiver<(Epoch, Result<SubBatchAnswer, Refusal>)>;

/// The state of one sub-batch of a stream.
enum SubBatchState {
    Refused {
        sequence: u64,
        standing: Standing,
    },
    Waiting {
        sequence: u64,
        partition: PartitionId,
        pending: Pending,
    },
    /// The rest of the stream is relayed to the owner; these are the owner's answers (P16).
    Relayed(Streaming<SubBatchAnswer>),
}

/// The asker, from the metadata of the call.
fn asker_of<T>(call: &Call<T>) -> Asker {
    let client = call.metadata().get(CLIENT).and_then(|key| key.to_str().ok()?.parse().ok());
    Asker { origin: origin_of(call), client: client.map_or(ClientKey::NONE, ClientKey) }
}

/// The path by which a request reached this node, from its metadata.
fn origin_of<T>(call: &Call<T>) -> RequestOrigin {
    let metadata = call.metadata();
    let complaint = metadata.get(UNREACHABLE).and_then(|epoch| epoch.to_str().ok()?.parse().ok());
    match (metadata.contains_key(RELAYED), complaint, metadata.contains_key(REFERRED)) {
        (true, _, _) => RequestOrigin::Relayed,
        (false, Some(epoch), _) => RequestOrigin::Complaining(epoch),
        (false, None, true) => RequestOrigin::Referred,
        (false, None, false) => RequestOrigin::ByRoute,
    }
}

#[tonic::async_trait]
impl NodeService for Service {
    type ForwardStream = Pin<Box<dyn Stream<Item = Result<SubBatchAnswer, Status>> + Send>>;
    type WatchStream = Pin<Box<dyn Stream<Item = Result<Sign, Status>> + Send>>;

    async fn forward(
        &self,
        call: Call<Streaming<SubBatchFrame>>,
    ) -> Result<Response<Self::ForwardStream>, Status> {
        let (states, waiting) = mpsc::channel(STREAM_DEPTH);
        let (answers, out) = mpsc::channel(STREAM_DEPTH);
        let origin = origin_of(&call);
        let take_in = take_in(Arc::clone(&self.gates), origin, call.into_inner(), states);
        tokio::spawn(request_id::carried(take_in));
        let give_out = give_out(Arc::clone(&self.gates), waiting, answers);
        tokio::spawn(request_id::carried(give_out));
        Ok(Response::new(Box::pin(ReceiverStream::new(out).map(Ok))))
    }

    async fn apply(
        &self,
        call: Call<NodeApplyRequest>,
    ) -> Result<Response<NodeApplyResponse>, Status> {
        let (asker, request) = (asker_of(&call), call.into_inner());
        let asked = |mut owner: OwnerClient, call| async move { owner.apply(call).await };
        if let Some(answer) = self.gates.relay_call(request.partition, asker, &request, asked).await
        {
            return Ok(answer);
        }
        let NodeApplyRequest { partition, commands } = request;
        if commands.len() > limits::ACCOUNT_COMMANDS_MAX {
            return Err(Status::invalid_argument(format!(
                "{} commands in one request: send at most {}",
                commands.len(),
                limits::ACCOUNT_COMMANDS_MAX
            )));
        }
        let room = commands.len() * 256;
        let asked = |reply| Request::Apply { commands, reply };
        let (standing, results) = self.gates.ask(partition, asker, room, asked).await;
        let results = results.unwrap_or_default();
        Ok(Response::new(NodeApplyResponse { standing: Some(standing), results }))
    }

    async fn show(
        &self,
        call: Call<NodeShowRequest>,
    ) -> Result<Response<NodeShowResponse>, Status> {
        let (asker, request) = (asker_of(&call), call.into_inner());
        let asked = |mut owner: OwnerClient, call| async move { owner.show(call).await };
        if let Some(answer) = self.gates.relay_call(request.partition, asker, &request, asked).await
        {
            return Ok(answer);
        }
        let NodeShowRequest { partition, account_number: account } = request;
        let asked = |reply| Request::Show { account, reply };
        let (standing, account) = self.gates.ask(partition, asker, 256, asked).await;
        let account = account.flatten();
        Ok(Response::new(NodeShowResponse { standing: Some(standing), account }))
    }

    async fn list_suspense(
        &self,
        call: Call<NodeSuspenseRequest>,
    ) -> Result<Response<NodeSuspenseResponse>, Status> {
        let (asker, request) = (asker_of(&call), call.into_inner());
        let asked = |mut owner: OwnerClient, call| async move { owner.list_suspense(call).await };
        if let Some(answer) = self.gates.relay_call(request.partition, asker, &request, asked).await
        {
            return Ok(answer);
        }
        let NodeSuspenseRequest { partition, filter } = request;
        let filter = filter.unwrap_or_default();
        Ok(Response::new(self.gates.list_suspense(partition, asker, filter).await))
    }

    async fn recycle(
        &self,
        call: Call<NodeRecycleRequest>,
    ) -> Result<Response<NodeRecycleResponse>, Status> {
        let (asker, request) = (asker_of(&call), call.into_inner());
        check_count("keys and refusals", request.keys.len() + request.refusals.len())?;
        let keys = request.keys.iter().find_map(recycle_key_fault);
        let fault = keys.or_else(|| request.refusals.iter().find_map(noted_refusal_fault));
        fault.map_or(Ok(()), |why| Err(Status::invalid_argument(why)))?;
        let asked = |mut owner: OwnerClient, call| async move { owner.recycle(call).await };
        if let Some(answer) = self.gates.relay_call(request.partition, asker, &request, asked).await
        {
            return Ok(answer);
        }
        let NodeRecycleRequest { partition, mut keys, refusals } = request;
        let mut stay = match self.gates.not_moved(partition, asker, &keys).await {
            Ok(stay) => stay,
            Err(standing) => {
                let standing = Some(standing);
                return Ok(Response::new(NodeRecycleResponse { standing, outcomes: Vec::new() }));
            }
        };
        let mut places = stay.iter();
        keys.retain(|_| places.next().is_some_and(Option::is_none));
        let room = (keys.len() + refusals.len()) * 256;
        let asked = |reply| Request::Recycle { keys, refusals, reply };
        let (standing, outcomes) = self.gates.ask(partition, asker, room, asked).await;
        let Some(outcomes) = outcomes else {
            let standing = Some(standing);
            return Ok(Response::new(NodeRecycleResponse { standing, outcomes: Vec::new() }));
        };
        let mut judged = outcomes.into_iter();
        let outcomes = stay.iter_mut().map_while(|stays| stays.take().or_else(|| judged.next()));
        let outcomes = outcomes.collect();
        Ok(Response::new(NodeRecycleResponse { standing: Some(standing), outcomes }))
    }

    async fn reassign(
        &self,
        call: Call<NodeReassignRequest>,
    ) -> Result<Response<NodeReassignResponse>, Status> {
        let (asker, request) = (asker_of(&call), call.into_inner());
        check_count("records to decide", request.records.len())?;
        check_sizes(&request)?;
        let asked = |mut owner: OwnerClient, call| async move { owner.reassign(call).await };
        if let Some(answer) = self.gates.relay_call(request.partition, asker, &request, asked).await
        {
            return Ok(answer);
        }
        let NodeReassignRequest { partition, records, recycled, recycled_from } = request;
        let recycled = match recycled {
            true => self.gates.recycled(asker, (recycled_from, partition), &records).await,
            false => Ok(false),
        };
        let recycled = match recycled {
            Ok(recycled) => recycled,
            Err(standing) => {
                let standing = Some(standing);
                return Ok(Response::new(NodeReassignResponse { standing, outcomes: Vec::new() }));
            }
        };
        let room = records.iter().map(|one| one.record.len() + 64).sum();
        let asked = |reply| Request::Reassign { records, recycled, reply };
        let (standing, outcomes) = self.gates.ask(partition, asker, room, asked).await;
        // Without an answer of the owner there are no outcomes; the standing gives the reason.
        let outcomes = outcomes.unwrap_or_default();
        Ok(Response::new(NodeReassignResponse { standing: Some(standing), outcomes }))
    }

    async fn confirm(
        &self,
        call: Call<NodeConfirmRequest>,
    ) -> Result<Response<NodeConfirmResponse>, Status> {
        let (asker, request) = (asker_of(&call), call.into_inner());
        check_count("records to confirm", request.records.len())?;
        Ok(Response::new(self.gates.confirm(asker, request).await))
    }

    async fn watch(&self, call: Call<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let incarnation = self.gates.incarnation;
        tracing::debug!(watcher = call.into_inner().watcher, "another node watches this one");
        // The stream ends in order when the node stops, and breaks when its process dies.
        let signs = WatchStream::new(self.gates.changes())
            .take_while(|count| std::future::ready(count.is_some()))
            .map(move |_| Ok(Sign { incarnation: incarnation.0 }));
        Ok(Response::new(Box::pin(signs)))
    }
}

/// Refuses a request with more than [`limits::DECIDED_MAX`] items, before it is relayed or queued.
fn check_count(items: &str, count: usize) -> Result<(), Status> {
    if count > limits::DECIDED_MAX {
        return Err(Status::invalid_argument(format!(
            "{count} {items} in one request: send at most {}",
            limits::DECIDED_MAX
        )));
    }
    Ok(())
}

/// Refuses a request to decide a record that no client can have sent, before it is relayed or queued.
fn check_sizes(request: &NodeReassignRequest) -> Result<(), Status> {
    let bytes_max = limits::RECORD_BYTES_MAX + FRONT_BYTES;
    let largest = request.records.iter().map(|one| one.record.len()).max().unwrap_or(0);
    if largest > bytes_max {
        return Err(Status::invalid_argument(format!(
            "a record to decide has {largest} bytes: a record has at most {bytes_max}"
        )));
    }
    Ok(())
}

/// Reads sub-batches and passes them to their owner, in order. The first refusal ends the stream
/// (P30).
async fn take_in(
    gates: Arc<Gates>,
    origin: RequestOrigin,
    mut stream: Streaming<SubBatchFrame>,
    states: mpsc::Sender<SubBatchState>,
) {
    // The queue of the first sub-batch is kept, so that all sub-batches of a stream go to one
    // ownership. Under the next ownership, later sub-batches would pass an earlier one that was
    // refused.
    let mut kept: Option<(PartitionId, OwnerQueue)> = None;
    let end = StreamEnd::default();
    while let Ok(Some(frame)) = stream.message().await {
        let may_relay = matches!(origin, RequestOrigin::Referred | RequestOrigin::Complaining(_))
            && !off(Check::Relay);
        let first = (kept.is_none() && may_relay).then(|| frame.clone());
        let mut state = gates.admit(&mut kept, &end, origin, frame).await;
        if matches!(state, SubBatchState::Refused { .. })
            && let Some(frame) = first
        {
            if let Some((onward, answers)) = gates.relay(&frame).await {
                if states.send(SubBatchState::Relayed(answers)).await.is_ok() {
                    pass_on(frame, stream, onward).await;
                }
                return;
            }
            if matches!(origin, RequestOrigin::Complaining(_)) {
                // This node may have found the owner unreachable in the meantime, and taken over.
                state = gates.admit(&mut kept, &end, origin, frame).await;
            }
        }
        let refused = matches!(state, SubBatchState::Refused { .. });
        if states.send(state).await.is_err() || (refused && !off(Check::StreamStops)) {
            return;
        }
    }
}

/// Sends answers in order. The first refusal ends the stream.
async fn give_out(
    gates: Arc<Gates>,
    mut waiting: mpsc::Receiver<SubBatchState>,
    answers: mpsc::Sender<SubBatchAnswer>,
) {
    while let Some(state) = waiting.recv().await {
        let (answer, goes_on) = match state {
            SubBatchState::Relayed(mut relayed) => {
                // Answers are passed on unchanged: each carries its owner and epoch.
                while let Ok(Some(answer)) = relayed.message().await {
                    if answers.send(answer).await.is_err() {
                        return;
                    }
                }
                return;
            }
            SubBatchState::Refused { sequence, standing } => (refusal(sequence, standing), false),
            SubBatchState::Waiting { sequence, partition, pending } => match pending.await {
                Ok((epoch, Ok(answer))) => {
                    let standing = Some(done(epoch));
                    (SubBatchAnswer { standing, ..answer }, true)
                }
                Ok((epoch, Err(why))) => {
                    (refusal(sequence, gates.refused(partition, epoch, &why)), false)
                }
                Err(_) => (refusal(sequence, gates.not_owner(partition)), false),
            },
        };
        if answers.send(answer).await.is_err() || !goes_on {
            return;
        }
    }
}

fn refusal(sequence: u64, standing: Standing) -> SubBatchAnswer {
    SubBatchAnswer { sequence, standing: Some(standing), ..SubBatchAnswer::default() }
}

fn done(epoch: Epoch) -> Standing {
    Standing { verdict: Verdict::Done.into(), epoch: epoch.number(), ..Standing::default() }
}

impl Gates {
    async fn admit(
        &self,
        kept: &mut Option<(PartitionId, OwnerQueue)>,
        end: &StreamEnd,
        origin: RequestOrigin,
        frame: SubBatchFrame,
    ) -> SubBatchState {
        let head = match frame.walk(|_| {}) {
            Ok(head) => head,
            Err(error) => {
                let standing = invalid(format!("not a sub-batch: {error}"));
                return SubBatchState::Refused { sequence: 0, standing };
            }
        };
        let (partition, sequence) = (PartitionId(head.partition), head.sequence);
        let refused = |standing| SubBatchState::Refused { sequence, standing };
        if kept.as_ref().is_some_and(|(known, _)| *known != partition) {
            return refused(invalid(
                "a stream carries sub-batches of one partition only".to_owned(),
            ));
        }
        let queue = match kept {
            Some((_, queue)) => queue.clone(),
            None => match self.owner_queue(partition, origin).await {
                Some(queue) => kept.insert((partition, queue)).1.clone(),
                None => return refused(self.not_owner(partition)),
            },
        };
        let frame = match head.recycled {
            true => self.checked(head, frame).await,
            false => Some(frame),
        };
        let Some(frame) = frame else { return refused(self.unconfirmed()) };
        let (client, bytes) = (ClientKey(head.client), frame.body().len());
        let Some(room) = self.room((client, partition).into(), bytes).await else {
            return refused(self.overloaded());
        };
        let (reply, pending) = oneshot::channel();
        let request = Request::Records { frame, stream: end.clone(), reply };
        match queue.send(client, bytes, Queued { client, request, _room: Some(room) }).await {
            Ok(()) => SubBatchState::Waiting { sequence, partition, pending },
            Err(_) => refused(self.not_owner(partition)),
        }
    }

    /// Passes a request to the owner, and waits for the durable answer.
    pub(super) async fn ask<T>(
        &self,
        partition: u32,
        Asker { origin, client }: Asker,
        bytes: usize,
        request: impl FnOnce(oneshot::Sender<(Epoch, T)>) -> Request,
    ) -> (Standing, Option<T>) {
        let partition = PartitionId(partition);
        let Some(queue) = self.owner_queue(partition, origin).await else {
            return (self.not_owner(partition), None);
        };
        let Some(room) = self.room((client, partition).into(), bytes).await else {
            return (self.overloaded(), None);
        };
        let (reply, pending) = oneshot::channel();
        let queued = Queued { client, request: request(reply), _room: Some(room) };
        if queue.send(client, bytes, queued).await.is_err() {
            return (self.not_owner(partition), None);
        }
        match pending.await {
            Ok((epoch, answer)) => (done(epoch), Some(answer)),
            Err(_) => (self.not_owner(partition), None),
        }
    }

    /// Acquires room in the queue within a bounded time. Returns `None` if too much is waiting.
    async fn room(&self, holder: Holder, bytes: usize) -> Option<Share> {
        let room = self.room.take(holder, bytes);
        let room = tokio::time::timeout(self.config.admission(), room).await.ok()?;
        failpoint::pass(Step::NodeAdmitted).await.ok()?;
        Some(room)
    }
}
