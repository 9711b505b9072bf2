//! The owner of a partition: one task that makes all changes.
//!
//! ```text
//!  requests --> take (records.rs, accounts.rs + commands.rs, suspense.rs)
//!  in between    (due.rs: the sweep; postings/: postings from other accounts)
//!                  |  logged by lines.rs
//!                  |  speculative state, open segment
//!                  |  answers wait with the open segment
//!                  v
//!               start_append (append.rs)  -- one in flight (P4), the next one filling -->
//!                  |
//!     committed: answers are sent       fenced, unknown: state and answers are dropped, and
//!                                       waiting clients are referred to the owner (P2, I6)
//! ```

mod accounts;
mod append;
mod checkpoint;
mod commands;
mod due;
mod fresh;
mod incoming;
mod lines;
mod postings;
mod reassign;
mod records;
mod standing;
mod subscribing;
mod suspense;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;
use turnpike_account::PartitionState;
use turnpike_mutants::{Check, off};
use turnpike_plan::Rater;
use turnpike_proto::account::v1::{AccountCommand, AccountResult, ShowResponse};
use turnpike_proto::frame::SubBatchFrame;
use turnpike_proto::node::v1::{
    NotedRefusal, ReassignOutcome, Reassignment, RecycleKey, RecycleOutcome, SubBatchAnswer,
};
use turnpike_proto::suspense::v1::{ListRequest, SuspendedRecord};
use turnpike_segment::Segment;
use turnpike_store::failpoint::{self, Step};
use turnpike_store::{PartitionSpec, StoreError};
use turnpike_tariff::{Dues, Tariffs};
use turnpike_types::{ClaimId, Epoch, NodeName, SegmentNumber};

use crate::NodeConfig;
use crate::gauges::Holdings;
use crate::replica::{Replica, ReplicaError};
use crate::shared::Shared;
use append::{InFlight, OpenSegment};

/// The sweep and postings stop filling the open segment at this many bytes.
const SLACK_BYTES: usize = 1 << 20;

/// The partition that is served, with the epoch and claim of the ownership.
#[derive(Clone, Debug)]
pub(crate) struct Ownership {
    pub(crate) spec: PartitionSpec,
    pub(crate) epoch: Epoch,
    pub(crate) claim: ClaimId,
}

/// Sends an answer with the epoch under which it was made. When the owner ends, the sender is
/// dropped without an answer: the outcome is then unknown to the receiver.
pub(crate) type Reply<T> = oneshot::Sender<(Epoch, T)>;

/// A request to an owner.
pub(crate) enum Request {
    /// Rate records.
    Records {
        frame: SubBatchFrame,
        stream: StreamEnd,
        reply: Reply<Result<SubBatchAnswer, Refusal>>,
    },
    /// Change accounts.
    Apply { commands: Vec<AccountCommand>, reply: Reply<Vec<AccountResult>> },
    /// Show an account.
    Show { account: u64, reply: Reply<Option<ShowResponse>> },
    /// List suspended records.
    Suspense { filter: ListRequest, reply: Reply<(Vec<SuspendedRecord>, bool)> },
    /// Rate suspended records again, and note refusals.
    Recycle {
        keys: Vec<RecycleKey>,
        refusals: Vec<NotedRefusal>,
        reply: Reply<Vec<RecycleOutcome>>,
    },
    /// Decide for which account to rate records whose identity has moved to another account.
    Reassign { records: Vec<Reassignment>, recycled: bool, reply: Reply<Vec<ReassignOutcome>> },
    /// Release the partition.
    Release { to: Option<NodeName> },
    /// Another claim of the partition was observed.
    Superseded,
}

/// Ends a stream of sub-batches at the first one that the owner refuses. Later ones of the stream
/// are already in the queue, and must not pass the refused one (P30).
#[derive(Clone, Debug, Default)]
pub(crate) struct StreamEnd(Arc<AtomicBool>);

impl StreamEnd {
    fn end(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_ended(&self) -> bool {
        self.0.load(Ordering::Relaxed) && !off(Check::OwnerEndsStream)
    }
}

/// Why a sub-batch was refused before rating.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The sub-batch holds an account of another partition: the front's route was stale (P32).
    WrongPartition,
    /// The sub-batch is malformed.
    Invalid(String),
    /// The partition holds the maximum number of keys.
    KeysFull,
    /// The accounts of its records were looked up too long ago (P28).
    GuidedLongAgo,
}

/// A request, and the room in bytes that it occupies in the queue.
pub(crate) struct Queued {
    pub(crate) request: Request,
    pub(crate) _room: Option<OwnedSemaphorePermit>,
}

/// Why an owner ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// Another node claimed the partition after this owner did.
    #[error("fenced: another node claimed the partition")]
    Fenced,
    /// The claim failed, because another node claimed the partition before.
    #[error("another node claimed the partition first")]
    Lost,
    /// The partition was released for another member. `replica` is the state, equal to the log.
    #[error("released")]
    Released { replica: Box<Replica>, to: Option<NodeName> },
    /// The log ends before the last segment that this owner knows (P18).
    #[error("the database's history was rolled back")]
    RolledBack,
    /// The outcome of an append is unknown (P2), or the database does not answer.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The log or a checkpoint can't be read.
    #[error("{0}")]
    Damaged(String),
    /// The node stops.
    #[error("the node stops")]
    Stopped,
}

impl Ended {
    /// The reason as one word, for counters and log fields.
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::Fenced => "fenced",
            Self::Lost => "lost",
            Self::Released { .. } => "released",
            Self::RolledBack => "rolled-back",
            Self::Store(_) => "database",
            Self::Damaged(_) => "damaged",
            Self::Stopped => "stopped",
        }
    }
}

impl From<ReplicaError> for Ended {
    fn from(error: ReplicaError) -> Self {
        match error {
            ReplicaError::Store(error) => Self::Store(error),
            ReplicaError::Damaged(what) => Self::Damaged(what),
            ReplicaError::RolledBack => Self::RolledBack,
        }
    }
}

/// When the owner task last ticked (P9), in milliseconds since the node started.
#[derive(Debug)]
pub(crate) struct Ticks {
    origin: Instant,
    last_ms: AtomicU64,
}

impl Ticks {
    pub(crate) fn new(origin: Instant) -> Self {
        let ticks = Self { origin, last_ms: AtomicU64::new(0) };
        ticks.tick();
        ticks
    }

    pub(crate) fn tick(&self) {
        self.last_ms.store(self.elapsed_ms(), Ordering::Relaxed);
    }

    /// The time since the last tick, in milliseconds.
    pub(crate) fn age_ms(&self) -> u64 {
        self.elapsed_ms().saturating_sub(self.last_ms.load(Ordering::Relaxed))
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// The state of the owner task.
pub(crate) struct Owner {
    shared: Arc<Shared>,
    ownership: Ownership,
    ticks: Arc<Ticks>,
    state: PartitionState,
    tariffs: Tariffs,
    rater: Rater,
    open: OpenSegment,
    in_flight: Option<InFlight>,
    /// Segments that were loaded for the present request.
    loaded: HashMap<SegmentNumber, Arc<Segment>>,
    /// Whether the owner has tried to read the catalogue for the present request, or for the
    /// present pass over postings.
    catalogue_asked: bool,
    /// When this owner last read the catalogue itself.
    catalogue_read_at: Option<Instant>,
    /// When reading the catalogue last failed.
    catalogue_failed_at: Option<Instant>,
    /// The newest catalogue that earlier owners rated by.
    catalogue_logged: u64,
    /// When a segment was last logged only for its time, so that old keys can be forgotten.
    time_logged_at: Option<Instant>,
    log_bytes: u64,
    checkpoints: checkpoint::Checkpoints,
    scratch: lines::LineScratch,
    dues: Dues,
    postings: postings::Postings,
    holdings: Holdings,
}

impl Owner {
    /// An owner that continues where `replica` ends: at the position that the claim found (P1).
    pub(crate) fn new(
        shared: Arc<Shared>,
        ownership: Ownership,
        ticks: Arc<Ticks>,
        replica: Replica,
    ) -> Self {
        let catalogue = Arc::clone(&shared.catalogue.borrow());
        let tariffs = Tariffs::new(catalogue, shared.codes.clone());
        let Replica { state, runs, log_bytes, catalogue_version, .. } = replica;
        let open = OpenSegment::new(state.last().0.next(), state.time());
        Self {
            tariffs,
            state,
            checkpoints: checkpoint::Checkpoints::new(runs),
            log_bytes,
            rater: Rater::new(),
            open,
            in_flight: None,
            loaded: HashMap::new(),
            catalogue_asked: false,
            catalogue_read_at: None,
            catalogue_failed_at: None,
            catalogue_logged: catalogue_version,
            time_logged_at: None,
            scratch: lines::LineScratch::default(),
            dues: Dues::default(),
            postings: postings::Postings::new(),
            holdings: Holdings::new(ownership.spec.id),
            shared,
            ownership,
            ticks,
        }
    }

    /// Serves until the partition is lost or released.
    pub(crate) async fn serve(mut self, requests: &mut mpsc::Receiver<Queued>) -> Ended {
        self.list_checkpoints();
        let mut tick = tokio::time::interval(self.shared.config.heartbeat / 2);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            if let Err(ended) = self.round(requests, &mut tick).await {
                return ended;
            }
        }
    }

    async fn round(
        &mut self,
        requests: &mut mpsc::Receiver<Queued>,
        tick: &mut tokio::time::Interval,
    ) -> Result<(), Ended> {
        self.tick();
        self.holdings.note(self.shared.config.heartbeat, &self.state, self.log_bytes);
        self.checkpoint_if_due();
        if self.in_flight.is_none() {
            self.drain(requests).await?;
            // Waiting requests come before the sweep and postings.
            self.start_append();
        }
        let busy = self.sweep().await? | self.take_postings().await?;
        if self.in_flight.is_none() {
            self.start_append();
        }
        let room = self.has_room();
        tokio::select! {
            biased;
            done = append::finished(&mut self.in_flight) => self.committed(done).await,
            request = requests.recv(), if room => match request {
                Some(queued) => self.take(queued).await,
                None => Err(Ended::Stopped),
            },
            fetched = self.postings.fetched() => {
                self.note_fetched(fetched);
                Ok(())
            }
            () = tokio::task::yield_now(), if busy => Ok(()),
            _ = tick.tick() => Ok(()),
        }
    }

    /// Takes the requests that are waiting already, so that one append commits them all.
    async fn drain(&mut self, requests: &mut mpsc::Receiver<Queued>) -> Result<(), Ended> {
        while self.has_room() {
            match requests.try_recv() {
                Ok(queued) => self.take(queued).await?,
                Err(_) => break,
            }
        }
        Ok(())
    }

    async fn take(&mut self, queued: Queued) -> Result<(), Ended> {
        self.open_anew();
        self.loaded.clear();
        self.catalogue_asked = false;
        if self.needs_catalogue(&queued.request) {
            self.read_catalogue().await?;
        }
        match queued.request {
            Request::Records { frame, stream, reply } => {
                self.take_records(&frame, &stream, reply).await
            }
            Request::Apply { commands, reply } => self.take_commands(&commands, reply).await,
            Request::Show { account, reply } => {
                let shown = self.show(account);
                self.answer(reply, shown);
                Ok(())
            }
            Request::Suspense { filter, reply } => {
                let listed = self.list_suspense(&filter).await?;
                self.answer(reply, listed);
                Ok(())
            }
            Request::Recycle { keys, refusals, reply } => {
                self.recycle(&keys, &refusals, reply).await
            }
            Request::Reassign { records, recycled, reply } => {
                self.reassign(&records, recycled, reply).await
            }
            Request::Release { to } => Err(self.release(to.as_ref()).await),
            Request::Superseded => Err(Ended::Fenced),
        }
    }

    /// Refreshes logged time and the catalogue, if nothing in the open segment depends on the old
    /// ones.
    fn open_anew(&mut self) {
        if self.open.builder.is_empty() && !self.open.logs_time {
            let clock = self.shared.clock.now();
            let spec = &self.ownership.spec;
            self.open.time = self.open.time.advance(clock, spec.horizon_us, spec.accept_since);
            let catalogue = Arc::clone(&self.shared.catalogue.borrow());
            if self.tariffs.update(&catalogue) {
                self.dues.forget();
            }
            if self.tariffs.trim() {
                self.open.clear_tables();
            }
        }
    }

    /// Sends the answer once the open segment, or a write barrier, is committed (P6, P17).
    fn answer<T: Send + 'static>(&mut self, reply: Reply<T>, answer: T) {
        self.open.answers.push(append::WaitingAnswer::new(move |epoch| {
            // If the receiver has ended, the answer is dropped, and a retry gets the same answer.
            let _ = reply.send((epoch, answer));
        }));
    }

    /// Marks this task as alive, unless its append is overdue (P9).
    fn tick(&self) {
        tick(&self.ticks, self.in_flight.as_ref(), &self.shared.config);
    }

    /// Whether the open segment is below its size limit, and no checkpoint is due.
    fn has_room(&self) -> bool {
        !self.checkpoint_due() && self.open.builder.bytes() < self.shared.config.segment_bytes_max
    }

    /// Whether work that no client waits for may be added to the open segment. The segment stays
    /// small, so that waiting clients are answered soon.
    fn has_slack(&self) -> bool {
        self.has_room() && self.open.builder.bytes() < SLACK_BYTES
    }

    /// Returns the owner's state as a replica of the log. Everything must be committed.
    fn as_replica(&mut self) -> Replica {
        let runs = self.checkpoints.runs();
        let last = (self.ownership.epoch, self.catalogue_known());
        Replica::of(std::mem::take(&mut self.state), runs, self.log_bytes, last)
    }

    /// Finishes the requests that were taken, then releases the partition (P13).
    async fn release(&mut self, to: Option<&NodeName>) -> Ended {
        if !off(Check::ReleaseDrains)
            && let Err(ended) = self.flush().await
        {
            return ended;
        }
        let Ownership { spec, epoch, claim, .. } = &self.ownership;
        let released = async {
            failpoint::pass(Step::ReleaseBefore).await?;
            let released = self.shared.db.release(spec.id, *epoch, *claim, to).await?;
            failpoint::pass(Step::ReleaseDone).await?;
            Ok(released)
        };
        match released.await {
            Ok(true) => Ended::Released { replica: Box::new(self.as_replica()), to: to.cloned() },
            Ok(false) => Ended::Fenced,
            Err(error) => Ended::Store(error),
        }
    }
}

fn tick(ticks: &Ticks, in_flight: Option<&InFlight>, config: &NodeConfig) {
    let limit = config.tick_max();
    let is_in_time = |append: &InFlight| append.started.elapsed() < limit;
    if in_flight.is_none_or(is_in_time) || off(Check::OverdueAppend) {
        ticks.tick();
    }
}
