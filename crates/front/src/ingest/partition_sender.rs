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
//! ([`crate::ingest::stall`]). If the node still commits some of them, deduplication answers the
//! retries. Within a session the node accepts a sub-batch only after all before it, so the order is
//! kept.

use std::collections::VecDeque;
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt as _, TryStreamExt as _};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::metadata::MetadataValue;
use turnpike_access::request_id;
use turnpike_mutants::{Check, off};
use turnpike_proto::frame::{SubBatchFrame, SubBatchHead};
use turnpike_proto::node::v1::SubBatchAnswer;
use turnpike_proto::{REFERRED, UNREACHABLE};
use turnpike_shares::{ClientKey, Holder, Share, Shares};
use turnpike_types::{Epoch, PartitionId};

use crate::core::Core;
use crate::gauges::GaugeGuard;
use crate::ingest::batch::Acks;
use crate::ingest::stall::Stall;
use crate::ingest::sub_batch::{Arrival, PendingSubBatch};
use crate::routing::search::{NextTry, OwnerReply, OwnerSearch, OwnerTarget};
use crate::routing::table::{RouteTable, stated_mark};

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
    (client, arrival): (ClientKey, Arrival),
    acks: Acks,
    stall: Arc<Stall>,
) -> SenderQueue {
    let (pushed, queue) = mpsc::unbounded_channel();
    let sender = PartitionSender {
        core: Arc::clone(core),
        partition,
        client,
        arrival,
        queue,
        open: true,
        acks,
        stall,
        pending: VecDeque::new(),
        routes: core.routes.subscribe(),
        search: core.owners.search(partition),
        _counted: GaugeGuard::sender(),
    };
    core.tasks.spawn(request_id::carried(sender.run()));
    SenderQueue(pushed)
}

struct PartitionSender {
    core: Arc<Core>,
    partition: PartitionId,
    client: ClientKey,
    arrival: Arrival,
    queue: mpsc::UnboundedReceiver<PendingSubBatch>,
    /// Whether more sub-batches may arrive through the queue.
    open: bool,
    acks: Acks,
    stall: Arc<Stall>,
    pending: VecDeque<PendingSubBatch>,
    routes: watch::Receiver<Arc<RouteTable>>,
    search: OwnerSearch,
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
    room: NodeRoom,
}

/// The room of this session for sub-batches in flight to the node.
struct NodeRoom {
    holder: Holder,
    of_node: Arc<Shares>,
    /// The room of each sub-batch that was sent, oldest first.
    taken: VecDeque<Share>,
    /// The room for the next sub-batch, which the session waits for.
    wish: Option<Pin<Box<dyn Future<Output = Share> + Send>>>,
    /// The room for the next sub-batch, once it was granted.
    granted: Option<Share>,
}

impl NodeRoom {
    const fn new(holder: Holder, of_node: Arc<Shares>) -> Self {
        Self { holder, of_node, taken: VecDeque::new(), wish: None, granted: None }
    }

    /// Takes room for the next sub-batch, or begins to wait for it. Returns whether there is room.
    fn take(&mut self, bytes: usize) -> bool {
        if self.wish.is_some() {
            return false;
        }
        let granted = self.granted.take().or_else(|| self.of_node.try_take(self.holder, bytes));
        let Some(share) = granted else {
            let (room, holder) = (Arc::clone(&self.of_node), self.holder);
            self.wish = Some(Box::pin(async move { room.take(holder, bytes).await }));
            return false;
        };
        self.taken.push_back(share);
        true
    }

    /// Waits until the room for the next sub-batch is granted; for ever if none is wished for.
    async fn granted(&mut self) {
        match &mut self.wish {
            Some(wish) => {
                self.granted = Some(wish.await);
                self.wish = None;
            }
            None => pending().await,
        }
    }
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
            tracing::debug!(partition = %self.partition, failures = self.search.failures(),
                ?pause, last = self.search.last(), pending = self.pending.len(),
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
        let Some(target) = self.search.target(&table) else {
            self.core.routes.hint_stale();
            return self.back(NextTry::AfterPause);
        };
        let OwnerTarget { address, epoch, is_referred, complaint } = target;
        let mut client = match self.core.owners.client(&address) {
            Ok(client) => client,
            Err(error) => return self.failed(error.to_string()),
        };
        let room = match self.core.owners.room(&address) {
            Ok(room) => NodeRoom::new((self.client, self.partition).into(), room),
            Err(error) => return self.failed(error.to_string()),
        };
        let (requests, outgoing) = mpsc::channel(self.core.config.sender_window_batches);
        let (sent, sent_bytes, oldest) = (0, 0, 0);
        let mut session = Session { address, epoch, requests, sent, sent_bytes, oldest, room };
        self.fill(&mut session);
        let mut call = tonic::Request::new(ReceiverStream::new(outgoing));
        request_id::add_to(call.metadata_mut());
        if is_referred {
            call.metadata_mut().insert(REFERRED, MetadataValue::from_static("1"));
        }
        if let Some(epoch) = complaint {
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
                () = session.room.granted() => {}
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
                    if self.search.failures() == 0 {
                        // No attempt has failed since the last answer, so the last outcome is
                        // outdated. The outcome of a failed attempt would say more than this
                        // time-out.
                        self.search.ended(silent.clone());
                    }
                    self.expire();
                    self.core.routes.hint_stale();
                    return self.failed(silent);
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
            if !session.room.take(sub.records_bytes) {
                return;
            }
            let guided_us = match self.arrival {
                Arrival::First => sub.guided_us,
                Arrival::Recycled { mark, .. } => mark.map_or(0, stated_mark),
            };
            let recycled_from = match self.arrival {
                Arrival::First => None,
                Arrival::Recycled { from, .. } => Some(from.0),
            };
            place.send(sub.frame(SubBatchHead {
                partition: self.partition.0,
                sequence: session.oldest + session.sent as u64,
                recycled: recycled_from.is_some(),
                guided_us,
                client: self.client.0,
                recycled_from: recycled_from.unwrap_or(0),
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
                let table = self.core.routes.table();
                let next = self.search.unreachable(&table, &session.address, &status);
                return Some(self.back(next));
            }
            // A node ends the stream itself after it refused a sub-batch or rejected it as invalid.
            None if session.sent == 0 => return Some(Next::Now),
            None => return Some(self.failed(format!("{} ended the stream", session.address))),
        };
        // Without a standing, an answer can't be read: the default names no kind of standing.
        let standing = answer.standing.take().unwrap_or_default();
        let is_next = answer.sequence == session.oldest || off(Check::AnswersInOrder);
        if session.sent == 0 || !is_next {
            let told = answer.sequence;
            return Some(
                self.failed(format!("{} answered out of order ({told})", session.address)),
            );
        }
        let table = self.core.routes.table();
        match self.search.read(&table, &session.address, standing) {
            OwnerReply::Owner => self.on_done(session, answer),
            OwnerReply::Invalid(message) => {
                self.search.answered();
                if let Some(sub) = self.pop(session) {
                    sub.ticket.reject(&format!("partition {}: {message}", self.partition));
                }
                None
            }
            OwnerReply::Stale { why, fresh } => {
                self.core.routes.hint_stale();
                let next = self.search.stale(&session.address, why, fresh);
                Some(self.back(next))
            }
            OwnerReply::Overloaded { why, wait } => {
                let wait = wait.min(self.core.config.answer_deadline());
                metrics::counter!("turnpike_front_overloaded_total").increment(1);
                match self.failed(why) {
                    Next::After(pause) => Some(Next::After(pause.max(wait))),
                    next => Some(next),
                }
            }
            OwnerReply::Unreadable(why) => Some(self.failed(why)),
        }
    }

    fn on_done(&mut self, session: &mut Session, answer: SubBatchAnswer) -> Option<Next> {
        let fits = |head: &PendingSubBatch| head.ticket.fits(&answer) || off(Check::WholeAnswer);
        if !self.pending.front().is_some_and(fits) {
            tracing::error!(partition = %self.partition, address = %session.address,
                "the answer of a node does not cover every record of its sub-batch; it is ignored");
            return Some(self.failed(format!("{} sent an incomplete answer", session.address)));
        }
        self.search.answered();
        if let Some(sub) = self.pop(session) {
            sub.ticket.done(answer);
        }
        None
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
        self.search.ended(format!("the partition moved from {} to {address}", session.address));
        Some(Next::Now)
    }

    /// Removes the head, which was answered.
    fn pop(&mut self, session: &mut Session) -> Option<PendingSubBatch> {
        let sub = self.pending.pop_front()?;
        session.sent -= 1;
        session.sent_bytes -= sub.records_bytes;
        session.oldest += 1;
        // Gives back the room of the sub-batch.
        let room = session.room.taken.pop_front();
        assert!(room.is_some(), "each sub-batch in flight has room");
        Some(sub)
    }

    /// Records an attempt that failed, without saying where the owner is.
    fn failed(&mut self, why: String) -> Next {
        self.search.failed(why);
        self.back(NextTry::AfterPause)
    }

    /// The next step after a failed attempt. The pause grows with the number of consecutive
    /// failures.
    fn back(&mut self, next: NextTry) -> Next {
        let pause = self.core.owners.backoff(self.search.failures());
        match next {
            NextTry::AtOnce => Next::Now,
            NextTry::AfterPause => Next::After(pause),
        }
    }

    /// The head has passed its deadline: answers RETRY for it and for everything behind it.
    fn expire(&mut self) {
        let why = format!(
            "partition {}: {} (no durable answer within {:?}); send the batch again",
            self.partition,
            self.search.last(),
            self.core.config.answer_deadline()
        );
        // One step under the lock: a sub-batch pushed before it is drained here, and a batch pushed
        // after it finds the refused ones remembered.
        let mut order = self.stall.lock();
        while let Ok(sub) = self.queue.try_recv() {
            self.pending.push_back(sub);
        }
        for turn in self.pending.iter().filter_map(|sub| sub.ticket.turn()) {
            order.refuse_pushed(turn, &why);
        }
        drop(order);
        for sub in self.pending.drain(..) {
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
