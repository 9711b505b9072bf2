//! A partition sender sends the sub-batches of one client stream for one partition, in order, by
//! go-back-N (P30).
//!
//! ```text
//!  queue --> pending: [ sent on this session | not sent yet ]
//!                        | window                 one session = one Forward stream,
//!                        v                        numbered from 0
//!                  NodeService.Forward
//!                        |
//!   durable answer ------+--> the oldest is removed, its ticket is settled
//!   refusal, broken stream, lower epoch, new owner --> the session ends; after a pause, the next
//!                                                      one sends all pending, oldest first
//! ```
//!
//! Invariants: `pending` is in the order of the queue. A node's answer always concerns its head. A
//! sub-batch is sent on a session only after everything before it was sent on the same session. So
//! no sub-batch passes a refused one.
//!
//! When the head passes its deadline, the sender drops it together with everything behind it, and
//! ends the session. The batches are answered RETRY and must be sent again in their order
//! ([`crate::ingest::stall`]). If the node still commits some of them, deduplication answers the retries.
//! Within a session the node accepts a sub-batch only after all before it, so the order is kept.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::metadata::MetadataValue;
use turnpike_mutants::{Check, off};
use turnpike_proto::frame::{SubBatchFrame, SubBatchHead};
use turnpike_proto::node::v1::{Standing, SubBatchAnswer, Verdict};
use turnpike_proto::{REFERRED, UNREACHABLE};
use turnpike_types::{Epoch, PartitionId, Timestamp};

use crate::core::Core;
use crate::gauges::GaugeGuard;
use crate::ingest::batch::{Acks, Ticket};
use crate::ingest::split::TRAILER_BYTES;
use crate::ingest::stall::Stall;
use crate::routing::ask::words;
use crate::routing::routes::RouteTable;

/// Whether the records of a stream arrive for the first time (P35).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// From a client: the partition checks the age of the records.
    First,
    /// From the suspense of another partition. That partition checked the age of the records when
    /// they first arrived. `mark`: an instant, by the database's clock, before the look-up of their
    /// accounts; zero if a first holder's partition decided their accounts (P28).
    Recycled { mark: Timestamp },
}

/// The part of a batch that goes to one partition.
#[derive(Debug)]
pub(crate) struct PendingSubBatch {
    body: Body,
    records_bytes: usize,
    deadline: Instant,
    /// If an account was looked up by identity: an instant before the look-up, by the database's
    /// clock, in microseconds. Otherwise 0.
    guided_us: u64,
    ticket: Ticket,
    _counted: GaugeGuard,
}

/// The encoded records, followed by the head fields of the last sending. Protobuf accepts fields in
/// any order, so the first sending copies nothing.
#[derive(Debug)]
enum Body {
    Fresh(Vec<u8>),
    Sent(Bytes),
}

impl PendingSubBatch {
    pub(crate) fn new(records: Vec<u8>, deadline: Instant, guided_us: u64, ticket: Ticket) -> Self {
        Self {
            records_bytes: records.len(),
            body: Body::Fresh(records),
            deadline,
            guided_us,
            ticket,
            _counted: GaugeGuard::pending(),
        }
    }

    fn frame(&mut self, head: SubBatchHead) -> SubBatchFrame {
        let mut bytes = match std::mem::replace(&mut self.body, Body::Fresh(Vec::new())) {
            Body::Fresh(records) => records,
            Body::Sent(sent) => {
                let mut again = Vec::with_capacity(self.records_bytes + TRAILER_BYTES);
                again.extend_from_slice(sent.get(..self.records_bytes).unwrap_or_default());
                again
            }
        };
        head.put(&mut bytes);
        let frame = SubBatchFrame::from(bytes);
        self.body = Body::Sent(frame.body().clone());
        frame
    }
}

/// The sending end of a sender's queue. When it is dropped, the sender ends once everything is
/// answered.
#[derive(Clone, Debug)]
pub(crate) struct SenderQueue(mpsc::UnboundedSender<PendingSubBatch>);

impl SenderQueue {
    /// Adds a sub-batch at the end, under the stream's [`Stall`]. Returns the sub-batch if the
    /// sender has ended: the caller drops it after the lock is released, which answers RETRY. The
    /// limit of unanswered batches of the stream bounds the queue.
    pub(crate) fn push(&self, sub: PendingSubBatch) -> Option<PendingSubBatch> {
        self.0.send(sub).err().map(|gone| gone.0)
    }
}

/// Starts a partition sender for `partition`.
pub(crate) fn open(
    core: &Arc<Core>,
    partition: PartitionId,
    arrival: Arrival,
    acks: Acks,
    stall: Arc<Stall>,
) -> SenderQueue {
    let (pushed, queue) = mpsc::unbounded_channel();
    let sender = PartitionSender {
        core: Arc::clone(core),
        partition,
        arrival,
        queue,
        open: true,
        acks,
        stall,
        pending: VecDeque::new(),
        routes: core.routes.subscribe(),
        hint: None,
        unreachable: Vec::new(),
        complaint: None,
        failures: 0,
        last: "not sent yet".to_owned(),
        _counted: GaugeGuard::sender(),
    };
    core.tasks.spawn(sender.run());
    SenderQueue(pushed)
}

struct PartitionSender {
    core: Arc<Core>,
    partition: PartitionId,
    arrival: Arrival,
    queue: mpsc::UnboundedReceiver<PendingSubBatch>,
    /// Whether more sub-batches may arrive through the queue.
    open: bool,
    acks: Acks,
    stall: Arc<Stall>,
    pending: VecDeque<PendingSubBatch>,
    routes: watch::Receiver<Arc<RouteTable>>,
    /// The address to try next: from a refusal, or of a member that may relay.
    hint: Option<String>,
    /// The addresses that could not be reached since the last answer; hints to them are ignored.
    /// Bounded by the number of members.
    unreachable: Vec<String>,
    /// The epoch whose owner could not be reached, as a complaint to the next member (P16).
    complaint: Option<u64>,
    /// Consecutive attempts without an answer.
    failures: u32,
    /// The outcome of the last attempt, for messages.
    last: String,
    _counted: GaugeGuard,
}

/// One Forward stream to one node.
struct Session {
    address: String,
    /// The epoch of the route when the session was opened, or a later epoch at the same address.
    epoch: Epoch,
    requests: mpsc::Sender<SubBatchFrame>,
    /// How many of `pending`, from its head, were sent on this session, and their bytes.
    sent: usize,
    sent_bytes: usize,
    /// The sequence number of the oldest unanswered sub-batch.
    oldest: u64,
}

/// The next step of a sender.
enum Next {
    /// Open a session immediately.
    Now,
    /// Pause, then open a session.
    After(Duration),
    /// No sub-batch is pending.
    Idle,
    /// The client has disconnected, or the front is shutting down.
    Gone,
}

impl PartitionSender {
    async fn run(mut self) {
        loop {
            if self.pending.is_empty() && !self.wait_for_work().await {
                return;
            }
            let next = self.session().await;
            let pause = match next {
                Next::Now | Next::Idle => continue,
                Next::Gone => return,
                Next::After(pause) => pause,
            };
            metrics::counter!("turnpike_front_lane_retries_total").increment(1);
            tracing::debug!(partition = %self.partition, failures = self.failures, ?pause,
                last = %self.last, pending = self.pending.len(),
                "go-back-N: all pending sub-batches are sent again");
            if !self.pause(pause).await {
                return;
            }
        }
    }

    /// Waits until a sub-batch is pending. Returns `false` when the sender has no more work.
    async fn wait_for_work(&mut self) -> bool {
        if !self.open {
            return false;
        }
        let (acks, abort) = (self.acks.clone(), self.core.abort.clone());
        tokio::select! {
            biased;
            () = acks.closed() => false,
            () = abort.cancelled() => false,
            sub = self.queue.recv() => {
                self.take(sub);
                !self.pending.is_empty()
            }
        }
    }

    fn take(&mut self, sub: Option<PendingSubBatch>) {
        match sub {
            Some(sub) => self.pending.push_back(sub),
            None => self.open = false,
        }
    }

    /// Opens a stream to the owner and processes answers until the session ends.
    async fn session(&mut self) -> Next {
        let table = Arc::clone(&self.routes.borrow_and_update());
        let Some(route) = table.route(self.partition) else {
            return self.back("the partition is not in the routing table".to_owned());
        };
        let sent = self.hint.is_some();
        let address = self.hint.take().or_else(|| route.address.clone());
        let Some(address) = address else {
            self.core.routes.hint_stale();
            return self.back("the partition has no reachable owner".to_owned());
        };
        let mut client = match self.core.nodes.client(&address) {
            Ok(client) => client,
            Err(error) => return self.back(error.to_string()),
        };
        let (requests, outgoing) = mpsc::channel(self.core.config.sender_window_batches);
        let epoch = route.epoch;
        let mut session = Session { address, epoch, requests, sent: 0, sent_bytes: 0, oldest: 0 };
        self.fill(&mut session);
        let mut call = tonic::Request::new(ReceiverStream::new(outgoing));
        if sent {
            call.metadata_mut().insert(REFERRED, MetadataValue::from_static("1"));
        }
        if let Some(epoch) = self.complaint.take() {
            call.metadata_mut().insert(UNREACHABLE, MetadataValue::from(epoch));
        }
        let answers = futures::stream::once(async move {
            client.forward(call).await.map(tonic::Response::into_inner)
        })
        .try_flatten();
        self.work(session, std::pin::pin!(answers)).await
    }

    async fn work(
        &mut self,
        mut session: Session,
        mut answers: std::pin::Pin<&mut impl Stream<Item = Result<SubBatchAnswer, Status>>>,
    ) -> Next {
        let (acks, abort) = (self.acks.clone(), self.core.abort.clone());
        let mut routes = self.routes.clone();
        let mut idle_since = Instant::now();
        let mut look_at = idle_since;
        loop {
            self.fill(&mut session);
            let deadline = self.pending.front().map(|head| head.deadline);
            if deadline.is_none() && !self.open {
                return Next::Idle;
            }
            let timer = deadline.unwrap_or_else(|| idle_since + self.core.config.sender_idle());
            tokio::select! {
                biased;
                () = acks.closed() => return Next::Gone,
                () = abort.cancelled() => return Next::Gone,
                answer = answers.next() => {
                    if let Some(next) = self.on_answer(&mut session, answer) {
                        return next;
                    }
                    idle_since = Instant::now();
                    look_at = idle_since;
                }
                // The oldest sub-batch is unanswered for long: requests fresh routes, to find a new
                // owner as soon as it has claimed.
                () = sleep_until(look_at + self.core.config.unanswered()), if deadline.is_some() => {
                    self.core.routes.hint_stale();
                    look_at += self.core.config.look_gap();
                }
                sub = self.queue.recv(), if self.open => {
                    if self.pending.is_empty() {
                        look_at = Instant::now();
                    }
                    self.take(sub);
                }
                changed = routes.changed() => {
                    if changed.is_err() {
                        return Next::Gone;
                    }
                    if let Some(next) = self.on_routes(&mut session) {
                        return next;
                    }
                }
                () = sleep_until(timer) => {
                    if deadline.is_none() {
                        return Next::Idle;
                    }
                    let silent = format!("{} did not answer", session.address);
                    if self.failures == 0 {
                        // No attempt has failed since the last answer, so `last` is outdated. The
                        // outcome of a failed attempt would say more than this time-out.
                        self.last.clone_from(&silent);
                    }
                    self.expire();
                    self.core.routes.hint_stale();
                    return self.back(silent);
                }
            }
        }
    }

    /// Sends as many pending sub-batches as the window allows.
    fn fill(&mut self, session: &mut Session) {
        let config = &self.core.config;
        while let Some(sub) = self.pending.get_mut(session.sent) {
            let bytes = session.sent_bytes + sub.records_bytes;
            let is_full = session.sent >= config.sender_window_batches
                || (session.sent > 0 && bytes > config.sender_window_bytes);
            if is_full {
                return;
            }
            let Ok(place) = session.requests.try_reserve() else {
                // The stream has ended, or the transport applies backpressure. The answers will
                // show which.
                return;
            };
            let guided_us = match self.arrival {
                Arrival::First => sub.guided_us,
                Arrival::Recycled { mark } => u64::try_from(mark.micros()).unwrap_or(0),
            };
            place.send(sub.frame(SubBatchHead {
                partition: self.partition.0,
                sequence: session.oldest + session.sent as u64,
                recycled: matches!(self.arrival, Arrival::Recycled { .. }),
                guided_us,
            }));
            session.sent += 1;
            session.sent_bytes = bytes;
        }
    }

    /// Processes an answer. Returns `Some` when the session is over.
    fn on_answer(
        &mut self,
        session: &mut Session,
        answer: Option<Result<SubBatchAnswer, Status>>,
    ) -> Option<Next> {
        let mut answer = match answer {
            Some(Ok(answer)) => answer,
            Some(Err(status)) => {
                self.core.routes.hint_stale();
                let next = self.back(format!("{}: {}", session.address, status.message()));
                return Some(self.stand_in(&session.address).unwrap_or(next));
            }
            // A node ends the stream itself after it refused a sub-batch or rejected it as invalid.
            None if session.sent == 0 => return Some(Next::Now),
            None => return Some(self.back(format!("{} ended the stream", session.address))),
        };
        let standing = answer.standing.take().unwrap_or_default();
        let is_next = answer.sequence == session.oldest || off(Check::AnswersInOrder);
        if session.sent == 0 || !is_next {
            let told = answer.sequence;
            return Some(self.back(format!("{} answered out of order ({told})", session.address)));
        }
        match standing.verdict() {
            Verdict::Done => self.on_done(session, &standing, answer),
            Verdict::Invalid => {
                self.failures = 0;
                if let Some(sub) = self.pop(session) {
                    sub.ticket
                        .reject(&format!("partition {}: {}", self.partition, standing.message));
                }
                None
            }
            Verdict::NotOwner => Some(self.on_not_owner(session, standing)),
            Verdict::Overloaded => {
                let wait = Duration::from_millis(u64::from(standing.retry_after_ms));
                let wait = wait.min(self.core.config.answer_deadline());
                metrics::counter!("turnpike_front_overloaded_total").increment(1);
                match self.back(words(&session.address, &standing, "is overloaded")) {
                    Next::After(pause) => Some(Next::After(pause.max(wait))),
                    next => Some(next),
                }
            }
            Verdict::Unspecified => {
                Some(self.back(format!("{} sent an answer without a verdict", session.address)))
            }
        }
    }

    fn on_done(
        &mut self,
        session: &mut Session,
        standing: &Standing,
        answer: SubBatchAnswer,
    ) -> Option<Next> {
        let table = self.core.routes.table();
        if !table.route(self.partition).is_some_and(|route| route.admits(standing.epoch)) {
            metrics::counter!("turnpike_front_answers_dropped_total").increment(1);
            self.core.routes.hint_stale();
            let epoch = standing.epoch;
            return Some(self.back(format!("{} is superseded (epoch {epoch})", session.address)));
        }
        let fits = |head: &PendingSubBatch| head.ticket.fits(&answer) || off(Check::WholeAnswer);
        if !self.pending.front().is_some_and(fits) {
            tracing::error!(partition = %self.partition, address = %session.address,
                "the answer of a node does not cover every record of its sub-batch; it is ignored");
            return Some(self.back(format!("{} sent an incomplete answer", session.address)));
        }
        self.unreachable.clear();
        self.failures = 0;
        if let Some(sub) = self.pop(session) {
            sub.ticket.done(answer);
        }
        None
    }

    /// The connection to `address` failed: chooses another member, which may have taken over
    /// already, may do so soon, or can relay to the owner (P16).
    fn stand_in(&mut self, address: &str) -> Option<Next> {
        if !self.unreachable.iter().any(|known| known == address) {
            self.unreachable.push(address.to_owned());
        }
        let table = self.core.routes.table();
        let suspicion = self.core.config.suspicion();
        let stand_in = table.stand_in(self.partition, &self.unreachable, suspicion);
        self.hint = stand_in.filter(|_| !off(Check::StandIn));
        self.complaint = table.complaint(self.partition, &self.unreachable);
        if self.hint.is_none() {
            // All members were tried. The next attempt starts with the owner again.
            self.unreachable.clear();
        }
        (self.hint.is_some() && self.failures <= 1).then_some(Next::Now)
    }

    fn on_not_owner(&mut self, session: &Session, standing: Standing) -> Next {
        self.core.routes.hint_stale();
        let next = self.back(words(&session.address, &standing, "does not own the partition"));
        let hint = Some(standing.owner_address)
            .filter(|hint| !hint.is_empty() && *hint != session.address)
            .filter(|hint| !self.unreachable.contains(hint));
        match hint {
            // The first hint is followed at once. Later hints are not, since two nodes may refer to
            // each other.
            Some(hint) => {
                self.hint = Some(hint);
                if self.failures <= 1 { Next::Now } else { next }
            }
            None => next,
        }
    }

    /// Ends the session if another node owns the partition now: the old owner will not answer.
    fn on_routes(&mut self, session: &mut Session) -> Option<Next> {
        let table = self.core.routes.table();
        let route = table.route(self.partition)?;
        if route.epoch <= session.epoch {
            return None;
        }
        if route.address.as_ref() == Some(&session.address) {
            session.epoch = route.epoch;
            return None;
        }
        let address = route.address.as_ref()?;
        self.last = format!("the partition moved from {} to {address}", session.address);
        Some(Next::Now)
    }

    /// Removes the head, which was answered.
    fn pop(&mut self, session: &mut Session) -> Option<PendingSubBatch> {
        let sub = self.pending.pop_front()?;
        session.sent -= 1;
        session.sent_bytes -= sub.records_bytes;
        session.oldest += 1;
        Some(sub)
    }

    /// Records a failure. The pause grows with the number of consecutive failures.
    fn back(&mut self, last: String) -> Next {
        self.last = last;
        self.failures = self.failures.saturating_add(1);
        Next::After(self.core.backoff(self.failures))
    }

    /// The head has passed its deadline: answers RETRY for it and for everything behind it.
    fn expire(&mut self) {
        let why = format!(
            "partition {}: {} (no durable answer within {:?}); send the batch again",
            self.partition,
            self.last,
            self.core.config.answer_deadline()
        );
        // One step under the lock: a sub-batch pushed before it is drained here, and a batch pushed
        // after it finds the refused ones remembered.
        let mut order = self.stall.lock();
        while let Ok(sub) = self.queue.try_recv() {
            self.pending.push_back(sub);
        }
        let most = if off(Check::ExpireBehind) { 1 } else { self.pending.len() };
        for turn in self.pending.iter().take(most).filter_map(|sub| sub.ticket.turn()) {
            order.refuse_pushed(turn, &why);
        }
        drop(order);
        for sub in self.pending.drain(..most) {
            metrics::counter!("turnpike_front_expired_total").increment(1);
            sub.ticket.retry(&why);
        }
    }

    /// Waits, while it still receives from the queue and enforces deadlines. Ends early when the
    /// route changes. Returns `false` when the client has disconnected, or the front is shutting
    /// down.
    async fn pause(&mut self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        let (acks, abort) = (self.acks.clone(), self.core.abort.clone());
        let before = self.place();
        loop {
            let expiry = self.pending.front().map(|head| head.deadline);
            tokio::select! {
                biased;
                () = acks.closed() => return false,
                () = abort.cancelled() => return false,
                () = sleep_until(until) => return true,
                () = async {
                    match expiry {
                        Some(at) => sleep_until(at).await,
                        None => pending().await,
                    }
                } => self.expire(),
                sub = self.queue.recv(), if self.open => self.take(sub),
                changed = self.routes.changed() => {
                    if changed.is_err() {
                        return false;
                    }
                    if self.place() != before {
                        return true;
                    }
                }
            }
        }
    }

    /// The epoch and address of the owner according to the routes.
    fn place(&self) -> Option<(Epoch, Option<String>)> {
        let table = self.core.routes.table();
        table.route(self.partition).map(|route| (route.epoch, route.address.clone()))
    }
}
