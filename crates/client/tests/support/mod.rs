//! Fake fronts in a network within one process, in virtual time. They share a ledger of taken
//! records, refuse batches as P30 demands, and break streams.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use prost::Message as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use test_network::Network;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};
use turnpike_client::{Batch, BatchBuilder, Fronts};
use turnpike_proto::feed::v1::feed_service_server::{FeedService, FeedServiceServer};
use turnpike_proto::feed::v1::{
    AcknowledgeRequest, AcknowledgeResponse, ChargeLine, Cursor, FeedPage, ListConsumersRequest,
    ListConsumersResponse, PullRequest, RegisterRequest, RegisterResponse, RemoveConsumerRequest,
    RemoveConsumerResponse,
};
use turnpike_proto::frame::BatchFrame;
use turnpike_proto::ingest::v1::ingest_service_server::{IngestService, IngestServiceServer};
use turnpike_proto::ingest::v1::{BatchAck, BatchStatus, UsageRecord as WireRecord};
use turnpike_types::{AccountNumber, UsageRecord};

/// The rates of faults, for each thousand batches.
#[derive(Clone, Copy, Default)]
pub(crate) struct Faults {
    /// A batch is answered RETRY.
    pub(crate) retry: u32,
    /// The stream breaks before the batch is taken.
    pub(crate) cut_before: u32,
    /// The stream breaks after the batch was taken, before it is answered.
    pub(crate) cut_after: u32,
    /// The answer carries the number of no batch in flight.
    pub(crate) wrong_number: u32,
    /// The front neither takes nor answers anything more on the stream.
    pub(crate) silent: u32,
}

/// What all fronts have taken.
#[derive(Default)]
pub(crate) struct Ledger {
    /// The ids of the records of each account, in the order in which they were taken.
    pub(crate) taken: IdsByAccount,
    /// So many requests are refused for want of room, with a wait of [`ROOM_AFTER`].
    pub(crate) refuses: u32,
    /// The number of batches answered DONE.
    pub(crate) done: u64,
    /// The number of batches answered RETRY, and of broken streams.
    pub(crate) retries: u64,
    pub(crate) cuts: u64,
    /// The most batches that were on a stream without an answer.
    pub(crate) waiting_most: usize,
    /// The cursor of each consumer; the feed has one partition.
    pub(crate) cursors: BTreeMap<String, Cursor>,
}

#[derive(Clone)]
pub(crate) struct FakeFront {
    faults: Faults,
    ledger: Arc<Mutex<Ledger>>,
    chance: Arc<Mutex<StdRng>>,
}

/// The fronts and the network of a test.
pub(crate) struct World {
    network: Network,
    ledger: Arc<Mutex<Ledger>>,
    seed: u64,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self { network: Network::default(), ledger: Arc::default(), seed }
    }

    /// Starts a front at `address`.
    pub(crate) fn start(&self, address: &str, faults: Faults) {
        let chance = Arc::new(Mutex::new(StdRng::seed_from_u64(self.seed)));
        let front = FakeFront { faults, ledger: Arc::clone(&self.ledger), chance };
        let incoming = self.network.listen(address);
        tokio::spawn(
            Server::builder()
                .add_service(IngestServiceServer::new(front.clone()))
                .add_service(FeedServiceServer::new(front))
                .serve_with_incoming(incoming),
        );
    }

    pub(crate) async fn fronts(&self, addresses: &[&str], limit: Duration) -> Fronts {
        let addresses = addresses.iter().map(|&address| address.to_owned()).collect();
        Fronts::through(self.network.dial(), addresses, limit).await.unwrap()
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }
}

/// The ids of the records of each account, in their order.
pub(crate) type IdsByAccount = BTreeMap<u64, Vec<String>>;

/// `count` records of five accounts in batches of three, and the ids that each account must get.
pub(crate) fn batches(count: u64) -> (Vec<Batch<Vec<u64>>>, IdsByAccount) {
    let mut builder = BatchBuilder::new("test", 3).unwrap();
    let (mut batches, mut sent) = (Vec::new(), IdsByAccount::new());
    for number in 0..count {
        let (account, record_id) = (1 + number * 7 % 5, format!("r{number}"));
        sent.entry(account).or_default().push(record_id.clone());
        let record = UsageRecord {
            record_id,
            account: AccountNumber(account),
            usage_type: "octets".to_owned(),
            quantity: Some(1),
            ..UsageRecord::default()
        };
        batches.extend(builder.add(&record, number).unwrap());
    }
    batches.extend(builder.take());
    (batches, sent)
}

type Acks = Pin<Box<dyn Stream<Item = Result<BatchAck, Status>> + Send>>;

/// The state of one stream, as a front keeps it for P30.
#[derive(Default)]
struct StreamState {
    /// The numbers of the batches that must be sent again, in order.
    refused: Vec<u64>,
}

/// The wait that a front without room asks for.
pub(crate) const ROOM_AFTER: Duration = Duration::from_millis(1_500);

impl FakeFront {
    /// Refuses a request as a front without room does.
    fn has_room(&self) -> Result<(), Status> {
        let mut ledger = self.ledger.lock().unwrap();
        if ledger.refuses == 0 {
            return Ok(());
        }
        ledger.refuses -= 1;
        let mut status = Status::resource_exhausted("no room");
        let wait = ROOM_AFTER.as_millis().to_string().parse().unwrap();
        status.metadata_mut().insert("grpc-retry-pushback-ms", wait);
        Err(status)
    }

    fn happens(&self, rate: u32) -> bool {
        self.chance.lock().unwrap().random_range(0..1_000) < rate
    }

    /// Takes the records that were not taken before.
    fn take(&self, frame: &BatchFrame) -> BatchAck {
        let mut records = Vec::new();
        let head = frame.walk(|bytes| records.push(WireRecord::decode(bytes).unwrap())).unwrap();
        let mut ledger = self.ledger.lock().unwrap();
        let mut ack = BatchAck { batch_number: head.batch_number, ..BatchAck::default() };
        for (index, record) in (0..).zip(records) {
            let taken = ledger.taken.entry(record.account_number).or_default();
            if taken.contains(&record.record_id) {
                ack.duplicates.push(index);
            } else {
                taken.push(record.record_id);
                ack.accepted += 1;
            }
        }
        ack.set_status(BatchStatus::Done);
        ack
    }

    /// The answer to a batch; an error breaks the stream, `None` is silence.
    fn answer(
        &self,
        state: &mut StreamState,
        frame: &BatchFrame,
    ) -> Option<Result<BatchAck, Status>> {
        let number = frame.walk(drop).unwrap().batch_number;
        let cut = || {
            self.ledger.lock().unwrap().cuts += 1;
            Some(Err(Status::unavailable("the test breaks the stream")))
        };
        if self.happens(self.faults.silent) {
            return None;
        }
        if self.happens(self.faults.cut_before) {
            return cut();
        }
        let is_out_of_turn = state.refused.first().is_some_and(|first| *first != number);
        if is_out_of_turn || self.happens(self.faults.retry) {
            if !state.refused.contains(&number) {
                state.refused.push(number);
            }
            self.ledger.lock().unwrap().retries += 1;
            let message = "the test refuses the batch".to_owned();
            let mut ack = BatchAck { batch_number: number, message, ..BatchAck::default() };
            ack.set_status(BatchStatus::Retry);
            ack.retry_after_ms = 30;
            return Some(Ok(ack));
        }
        state.refused.retain(|one| *one != number);
        let mut ack = self.take(frame);
        if self.happens(self.faults.cut_after) {
            return cut();
        }
        if self.happens(self.faults.wrong_number) {
            ack.batch_number += 1_000;
        }
        self.ledger.lock().unwrap().done += 1;
        Some(Ok(ack))
    }
}

#[tonic::async_trait]
impl IngestService for FakeFront {
    type IngestStream = Acks;

    async fn ingest(
        &self,
        request: Request<Streaming<BatchFrame>>,
    ) -> Result<Response<Acks>, Status> {
        self.has_room()?;
        let (front, mut batches) = (self.clone(), request.into_inner());
        let (acks, answers) = mpsc::channel(64);
        let (queue, mut arrived) = mpsc::channel(64);
        tokio::spawn(async move {
            while let Some(Ok(batch)) = batches.next().await {
                if queue.send(batch).await.is_err() {
                    return;
                }
            }
        });
        tokio::spawn(async move {
            let mut state = StreamState::default();
            while let Some(batch) = arrived.recv().await {
                // Time in which further batches arrive.
                tokio::time::sleep(Duration::from_millis(5)).await;
                let waiting = 1 + arrived.len();
                {
                    let mut ledger = front.ledger.lock().unwrap();
                    ledger.waiting_most = ledger.waiting_most.max(waiting);
                }
                let Some(answer) = front.answer(&mut state, &batch) else {
                    acks.closed().await;
                    return;
                };
                let ends = answer.is_err();
                if acks.send(answer).await.is_err() || ends {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    async fn ingest_once(&self, _: Request<BatchFrame>) -> Result<Response<BatchAck>, Status> {
        Err(Status::unimplemented("not used"))
    }
}

/// The number of lines of the feed, and of a page.
pub(crate) const LINES: u64 = 7;
const PAGE: u64 = 3;

#[tonic::async_trait]
impl FeedService for FakeFront {
    type PullStream = Pin<Box<dyn Stream<Item = Result<FeedPage, Status>> + Send>>;

    async fn register(
        &self,
        request: Request<RegisterRequest>,
    ) -> Result<Response<RegisterResponse>, Status> {
        self.has_room()?;
        let begin = Cursor { partition: 1, ..Cursor::default() };
        let mut ledger = self.ledger.lock().unwrap();
        let cursor = ledger.cursors.entry(request.into_inner().consumer).or_insert(begin);
        Ok(Response::new(RegisterResponse { cursors: vec![cursor.clone()] }))
    }

    async fn pull(
        &self,
        request: Request<PullRequest>,
    ) -> Result<Response<Self::PullStream>, Status> {
        let cursor = self.ledger.lock().unwrap().cursors[&request.into_inner().consumer].clone();
        let rows: Vec<u64> = (cursor.row..LINES).collect();
        let pages: Vec<_> = rows
            .chunks(PAGE as usize)
            .map(|rows| {
                let line = |row: &u64| ChargeLine { partition: 1, row: *row, ..Default::default() };
                let row = rows.last().unwrap() + 1;
                let next = Some(Cursor { partition: 1, row, ..Cursor::default() });
                Ok(FeedPage { lines: rows.iter().map(line).collect(), next, totals: Vec::new() })
            })
            .collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(pages))))
    }

    async fn acknowledge(
        &self,
        request: Request<AcknowledgeRequest>,
    ) -> Result<Response<AcknowledgeResponse>, Status> {
        let AcknowledgeRequest { consumer, from, to } = request.into_inner();
        let mut ledger = self.ledger.lock().unwrap();
        let cursor = ledger.cursors.get_mut(&consumer).unwrap();
        let was_there = Some(&*cursor) == to.as_ref();
        if !was_there && Some(&*cursor) != from.as_ref() {
            return Err(Status::aborted("another process moved the cursor"));
        }
        *cursor = to.unwrap();
        Ok(Response::new(AcknowledgeResponse { cursor: Some(cursor.clone()), was_there }))
    }

    async fn list_consumers(
        &self,
        _: Request<ListConsumersRequest>,
    ) -> Result<Response<ListConsumersResponse>, Status> {
        Err(Status::unimplemented("the client lists no consumers"))
    }

    async fn remove_consumer(
        &self,
        _: Request<RemoveConsumerRequest>,
    ) -> Result<Response<RemoveConsumerResponse>, Status> {
        Err(Status::unimplemented("the client removes no consumers"))
    }
}
