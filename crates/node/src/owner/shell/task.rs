//! The owner's task: takes requests, runs them as jobs of the core, and provides what a job waits
//! for.

use std::sync::{Arc, PoisonError};

use tokio::task::JoinHandle;
use tokio::time::Instant;
use turnpike_mutants::{Check, off};
use turnpike_segment::Segment;
use turnpike_shares::queue::FairReceiver;
use turnpike_store::failpoint::{self, Step};
use turnpike_tariff::Catalogue;
use turnpike_types::{NodeName, SegmentNumber};

use super::append::{Appended, Appends};
use super::checkpoints::Checkpoints;
use super::fetch;
use super::turns::Turns;
use crate::catalogue::{earlier_table, refreshed};
use crate::gauges::Holdings;
use crate::owner::core::{
    Apply, Confirm, CoreLimits, Fetched, Halt, Job, ListSuspense, OwnerCore, Partition,
    PostingsPass, Pulse, RateSubBatch, ReadWaiting, Reassign, Recycle, Surroundings, Wait,
};
use crate::owner::ended::Ended;
use crate::owner::request::{Ownership, Queued, Reply, Request, StreamEnd};
use crate::owner::ticks::Ticks;
use crate::replica::Replica;
use crate::shared::Shared;

/// A segment with the records of several clients is closed at this part of the size limit.
const SHARED_PARTS: usize = 16;

/// The owner of one partition: its core, and the I/O that is in progress.
pub(crate) struct Owner {
    shared: Arc<Shared>,
    ownership: Ownership,
    ticks: Arc<Ticks>,
    core: OwnerCore,
    appends: Appends,
    checkpoints: Checkpoints,
    fetching: Option<JoinHandle<Fetched>>,
    holdings: Holdings,
    turns: Turns,
}

impl Owner {
    /// An owner that continues where `replica` ends: at the position that the claim found (P1).
    pub(crate) fn new(
        shared: Arc<Shared>,
        ownership: Ownership,
        ticks: Arc<Ticks>,
        replica: Replica,
    ) -> Self {
        let Replica { state, runs, log_bytes, catalogue_version, .. } = replica;
        let spec = &ownership.spec;
        let partition = Partition {
            id: spec.id,
            range: spec.range,
            epoch: ownership.epoch,
            horizon_us: spec.horizon_us,
            accept_since: spec.accept_since,
        };
        let pulse = Arc::clone(&ticks) as Arc<dyn Pulse>;
        let core = OwnerCore::new(
            partition,
            CoreLimits::of(&shared.config),
            (surroundings(&shared), pulse),
            shared.codes.clone(),
            (state, log_bytes, catalogue_version),
        );
        Self {
            appends: Appends::new(&shared, &ownership, &ticks),
            checkpoints: Checkpoints::new(&shared, &ownership, &ticks, runs),
            fetching: None,
            holdings: Holdings::new(ownership.spec.id),
            turns: Turns::new(),
            core,
            shared,
            ownership,
            ticks,
        }
    }

    /// Serves until the partition is lost or released.
    pub(crate) async fn serve(mut self, requests: &mut FairReceiver<Queued>) -> Ended {
        self.checkpoints.list();
        let mut tick = tokio::time::interval(self.shared.config.heartbeat / 2);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            if let Err(ended) = self.round(requests, &mut tick).await {
                return match ended {
                    RoundEnd::Ended(ended) => ended,
                    RoundEnd::Release { to } => self.release(to).await,
                };
            }
        }
    }

    async fn round(
        &mut self,
        requests: &mut FairReceiver<Queued>,
        tick: &mut tokio::time::Interval,
    ) -> Result<(), RoundEnd> {
        self.ticks.tick();
        let log = self.core.log();
        self.holdings.note(self.shared.config.heartbeat, log.state(), log.log_bytes());
        self.checkpoints.write_if_due(&mut self.core, self.appends.is_idle());
        if !self.appends.is_in_flight() {
            self.drain(requests).await?;
            // Waiting requests come before the sweep and postings.
            self.appends.start(&mut self.core);
        }
        let is_busy = self.sweep().await? | self.take_postings().await?;
        self.appends.start(&mut self.core);
        let room = self.has_room();
        tokio::select! {
            biased;
            done = self.appends.finished() => Ok(self.committed(done).await?),
            request = requests.recv(), if room => match request {
                Some(queued) => self.take(queued).await,
                None => Err(Ended::Stopped.into()),
            },
            fetched = fetched(&mut self.fetching) => {
                self.core.note_fetched(fetched);
                Ok(())
            }
            () = tokio::task::yield_now(), if is_busy => Ok(()),
            _ = tick.tick() => Ok(()),
        }
    }

    /// Takes the requests that are waiting already, so that one append commits them all.
    async fn drain(&mut self, requests: &mut FairReceiver<Queued>) -> Result<(), RoundEnd> {
        while self.has_room() {
            match requests.try_recv() {
                Some(queued) => self.take(queued).await?,
                None => break,
            }
        }
        Ok(())
    }

    async fn take(&mut self, queued: Queued) -> Result<(), RoundEnd> {
        if queued.request.is_abandoned() {
            return Ok(());
        }
        self.turns.note(queued.client);
        self.core.begin(surroundings(&self.shared));
        if rates(&queued.request) && self.core.is_stale() {
            self.read_catalogue().await?;
            self.core.look(surroundings(&self.shared));
        }
        match queued.request {
            Request::Records { frame, stream, reply } => {
                self.take_records(&frame, &stream, reply).await?;
            }
            Request::Apply { commands, reply } => {
                let results = self.carry_out(Apply::new(commands)).await?;
                self.appends.answer(reply, results);
            }
            Request::Show { account, reply } => {
                let shown = self.core.show(account);
                self.appends.answer(reply, shown);
            }
            Request::Suspense { filter, reply } => {
                let listed = self.carry_out(ListSuspense::new(filter)).await?;
                self.appends.answer(reply, listed);
            }
            Request::Recycle { keys, refusals, reply } => {
                let outcomes = self.carry_out(Recycle::new(keys, refusals)).await?;
                self.appends.answer(reply, outcomes);
            }
            Request::Confirm { records, reply } => {
                let found = self.carry_out(Confirm::new(records)).await?;
                self.appends.answer(reply, found);
            }
            Request::ReadWaiting { keys, reply } => {
                let found = self.carry_out(ReadWaiting::new(keys)).await?;
                self.appends.answer(reply, found);
            }
            Request::Reassign { records, recycled, reply } => {
                let outcomes = self.carry_out(Reassign::new(records, recycled)).await?;
                self.appends.answer(reply, outcomes);
            }
            Request::Release { to } => return Err(RoundEnd::Release { to }),
            Request::Superseded => return Err(Ended::Fenced.into()),
        }
        Ok(())
    }

    async fn take_records(
        &mut self,
        frame: &turnpike_proto::frame::SubBatchFrame,
        stream: &StreamEnd,
        reply: Reply<Result<turnpike_proto::node::v1::SubBatchAnswer, crate::owner::Refusal>>,
    ) -> Result<(), Ended> {
        if stream.is_ended() {
            // The service has ended this stream too, so no client waits for the answer.
            return Ok(());
        }
        let began = Instant::now();
        let answer = match RateSubBatch::admit(&self.core, frame) {
            Err(refusal) => Err(refusal),
            Ok(records) => self.carry_out(records).await?,
        };
        metrics::histogram!("turnpike_rating_seconds").record(began.elapsed().as_secs_f64());
        failpoint::pass(Step::Rated).await?;
        if answer.is_err() {
            stream.end();
        }
        self.appends.answer(reply, answer);
        Ok(())
    }

    /// Runs a job to its end, and provides what it waits for in between.
    async fn carry_out<J: Job>(&mut self, mut job: J) -> Result<J::Answer, Ended> {
        loop {
            match job.run(&mut self.core) {
                Ok(answer) => return Ok(answer),
                Err(Halt::Wait(wait)) => self.provide(wait).await?,
                Err(Halt::Damaged(what)) => return Err(Ended::Damaged(what)),
            }
        }
    }

    async fn provide(&mut self, wait: Wait) -> Result<(), Ended> {
        match wait {
            Wait::Full => self.cut().await?,
            Wait::Load(segment) => self.load(segment).await?,
            Wait::Catalogue => self.read_catalogue_for_request().await?,
            Wait::Table(unread) => {
                self.ticks.tick();
                let table = earlier_table(unread, self.shared.db.as_ref()).await?;
                self.core.lend(unread, table);
            }
            Wait::Turn => {
                self.ticks.tick();
                tokio::task::yield_now().await;
            }
        }
        self.core.look(surroundings(&self.shared));
        Ok(())
    }

    /// One pass of the sweep. Returns whether there is more to do now.
    async fn sweep(&mut self) -> Result<bool, Ended> {
        if !self.has_slack() {
            return Ok(false);
        }
        self.core.renew(surroundings(&self.shared));
        loop {
            match self.core.sweep() {
                Ok(is_busy) => return Ok(is_busy && self.has_slack()),
                // The next request gives lent tables back, so the charge is booked before it.
                Err(wait @ Wait::Table(_)) => self.provide(wait).await?,
                Err(wait) => return self.provide(wait).await.map(|()| true),
            }
        }
    }

    /// One pass over postings: starts a fetch, or takes fetched postings. Returns whether there is
    /// more to do now.
    async fn take_postings(&mut self) -> Result<bool, Ended> {
        if !self.core.postings_mut().has_page() {
            self.fetch_postings();
            return Ok(false);
        }
        self.core.renew(surroundings(&self.shared));
        // A plan that this owner does not know may have come into force (P36).
        if self.core.is_stale() || !self.has_slack() {
            return Ok(false);
        }
        self.core.begin_postings();
        let is_busy = self.carry_out(PostingsPass::default()).await?;
        if !self.core.postings_mut().has_page() {
            self.fetch_postings();
        }
        Ok(is_busy && self.has_slack())
    }

    /// Fetches from the next sender whose log holds unread postings.
    fn fetch_postings(&mut self) {
        if self.fetching.is_some() {
            return;
        }
        let outboxes = Arc::clone(&self.shared.outboxes.borrow());
        // The ranges must not be older than the outboxes.
        self.core.look(surroundings(&self.shared));
        if let Some((scope, from)) = self.core.next_fetch(&outboxes) {
            let db = Arc::clone(&self.shared.db);
            self.fetching = Some(tokio::spawn(fetch::fetch(db, scope, from)));
        }
    }

    /// Whether the open segment is below its size limit, and no checkpoint is due. While several
    /// clients send, the limit is a part of the usual one, so that a small request is answered soon.
    fn has_room(&self) -> bool {
        let log = self.core.log();
        let is_enough = self.turns.is_shared()
            && log.open_bytes() >= self.shared.config.segment_bytes_max / SHARED_PARTS;
        !self.checkpoints.is_due(log.log_bytes()) && !log.is_full() && !is_enough
    }

    /// Whether work that no client waits for may be added to the open segment.
    fn has_slack(&self) -> bool {
        self.has_room() && self.core.log().has_slack()
    }

    /// Closes the open segment in the middle of a job.
    async fn cut(&mut self) -> Result<(), Ended> {
        if self.appends.is_in_flight() {
            let done = self.appends.finished().await;
            self.committed(done).await?;
        }
        if self.core.log().is_open_empty() {
            // The segment holds no record, and its tables are full of components that no line uses:
            // clear them.
            self.core.log_mut().clear_tables();
        }
        self.appends.start(&mut self.core);
        self.core.renew(surroundings(&self.shared));
        Ok(())
    }

    /// Commits everything that was taken so far.
    async fn flush(&mut self) -> Result<(), Ended> {
        while self.appends.is_in_flight()
            || !self.core.log().is_open_empty()
            || self.appends.has_answers()
        {
            self.appends.start(&mut self.core);
            let done = self.appends.finished().await;
            self.committed(done).await?;
        }
        Ok(())
    }

    /// Processes the outcome of the append in flight.
    async fn committed(&mut self, done: Result<Appended, Ended>) -> Result<(), Ended> {
        self.appends.committed(&mut self.core, done).await
    }

    /// Loads a segment from the cache or the database.
    async fn load(&mut self, number: SegmentNumber) -> Result<(), Ended> {
        // A request that loads many segments makes progress, so the task counts as alive (P9).
        self.ticks.tick();
        let key = (self.ownership.claim, number);
        if let Some(known) = self.shared.segments.get(&key) {
            self.core.log_mut().keep_loaded(number, known);
            return Ok(());
        }
        let after = SegmentNumber(number.0.saturating_sub(1));
        let rows = self.shared.db.read_segments(self.ownership.spec.id, after, 1).await?;
        let row = rows.into_iter().find(|row| row.segment == number);
        let row =
            row.ok_or_else(|| Ended::Damaged(format!("segment {number} is not in the log")))?;
        let read = Segment::decode_checked(&row.body, row.prev_hash, row.hash)
            .map_err(|error| Ended::Damaged(format!("segment {number}: {error}")))?;
        let read = Arc::new(read);
        self.shared.segments.insert(key, Arc::clone(&read));
        self.core.log_mut().keep_loaded(number, read);
        Ok(())
    }

    /// Reads the newest catalogue. A failure ends the owner.
    async fn read_catalogue(&mut self) -> Result<(), Ended> {
        let began = Instant::now();
        let fresh = refreshed(self.core.catalogue(), self.shared.db.as_ref()).await?;
        self.take_catalogue(fresh, began).await
    }

    /// Reads the newest catalogue, once per request, so that usage sent after a plan was published
    /// is rated before a heartbeat has reported the plan. Without this read the record waits in
    /// suspense.
    async fn read_catalogue_for_request(&mut self) -> Result<(), Ended> {
        let began = Instant::now();
        if !self.core.asks_catalogue(began.into_std()) {
            return Ok(());
        }
        match refreshed(self.core.catalogue(), self.shared.db.as_ref()).await {
            Err(error) => {
                self.core.note_catalogue_failed(Instant::now().into_std());
                tracing::warn!(%error, "the catalogue could not be read");
                Ok(())
            }
            Ok(fresh) => self.take_catalogue(fresh, began).await,
        }
    }

    /// Takes the catalogue whose read began at `began`. A failed append ends the owner, even where a
    /// failed read does not, since the outcome of the append is unknown (P2).
    async fn take_catalogue(&mut self, fresh: Catalogue, began: Instant) -> Result<(), Ended> {
        if self.core.must_close_for(&fresh) {
            self.cut().await?;
        }
        self.core.take_catalogue(fresh, began.into_std());
        Ok(())
    }

    /// Finishes the requests that were taken, then releases the partition (P13).
    async fn release(mut self, to: Option<NodeName>) -> Ended {
        if !off(Check::ReleaseDrains)
            && let Err(ended) = self.flush().await
        {
            return ended;
        }
        let Ownership { spec, epoch, claim, .. } = &self.ownership;
        let released = async {
            failpoint::pass(Step::ReleaseBefore).await?;
            let released = self.shared.db.release(spec.id, *epoch, *claim, to.as_ref()).await?;
            failpoint::pass(Step::ReleaseDone).await?;
            Ok(released)
        };
        match released.await {
            Ok(true) => Ended::Released { replica: Box::new(self.into_replica()), to },
            Ok(false) => Ended::Fenced,
            Err(error) => Ended::Store(error),
        }
    }

    /// The owner's state as a replica of the log.
    fn into_replica(self) -> Replica {
        let log_bytes = self.core.log().log_bytes();
        let last = (self.ownership.epoch, self.core.catalogue_known());
        Replica::of(self.core.into_state(), self.checkpoints.into_runs(), log_bytes, last)
    }
}

/// Why the loop ends.
enum RoundEnd {
    Ended(Ended),
    /// The partition is to be released.
    Release {
        to: Option<NodeName>,
    },
}

impl From<Ended> for RoundEnd {
    fn from(ended: Ended) -> Self {
        Self::Ended(ended)
    }
}

/// Waits for the fetch in progress; never returns if there is none.
async fn fetched(fetching: &mut Option<JoinHandle<Fetched>>) -> Fetched {
    match fetching {
        Some(task) => {
            let fetched = task.await;
            *fetching = None;
            match fetched {
                Ok(fetched) => fetched,
                Err(error) => {
                    tracing::error!(%error, "the task that reads postings ended: reading again soon");
                    Fetched::Failed
                }
            }
        }
        None => std::future::pending().await,
    }
}

/// Whether the request may rate something, so that the catalogue must be fresh (P36). The command of
/// an offer reads the catalogue itself ([`Apply`]), where a failed read does not end the owner.
const fn rates(request: &Request) -> bool {
    match request {
        // A decision may rate a record that waits here.
        Request::Records { .. } | Request::Recycle { .. } | Request::Reassign { .. } => true,
        Request::Apply { .. }
        | Request::Show { .. }
        | Request::Suspense { .. }
        | Request::Confirm { .. }
        | Request::ReadWaiting { .. }
        | Request::Release { .. }
        | Request::Superseded => false,
    }
}

/// What the node knows now.
fn surroundings(shared: &Shared) -> Surroundings {
    let confirmed_at = *shared.fresh_at.lock().unwrap_or_else(PoisonError::into_inner);
    Surroundings {
        clock: shared.clock.now(),
        now: Instant::now().into_std(),
        catalogue: Arc::clone(&shared.catalogue.borrow()),
        confirmed_at: confirmed_at.into_std(),
        ranges: Arc::clone(&shared.ranges.borrow()),
    }
}
