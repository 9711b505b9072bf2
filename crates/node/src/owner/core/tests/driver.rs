//! A shell without I/O. It does for a core what `shell/` does: appends segments, loads them again,
//! reads the catalogue and senders' logs, and starts the next owner. The log is a list in memory.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use turnpike_account::PartitionState;
use turnpike_segment::head::PostingCursor;
use turnpike_segment::{SealContext, Segment};
use turnpike_tariff::{Catalogue, CodeCache, Tell};
use turnpike_types::{AccountRange, Epoch, PartitionId, SegmentHash, SegmentNumber, Timestamp};

use crate::owner::core::{
    CoreLimits, Fetched, Halt, Job, OwnerCore, Partition, PostingsPass, Pulse, Scope,
    SenderSegment, Surroundings, Wait, page,
};

pub(super) const MINUTE_US: i64 = 60_000_000;
pub(super) const HOUR_US: i64 = 60 * MINUTE_US;
pub(super) const OURS: PartitionId = PartitionId(1);
/// More waits than any step of a history needs.
const WAITS_MAX: usize = 20_000;
/// The most segments that one fetch of postings reads.
const FETCH_SEGMENTS: usize = 3;

static CODES: LazyLock<CodeCache> = LazyLock::new(|| CodeCache::new(100, Tell::new(|_| ())));

/// How a driver serves its core.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    pub(super) segment_bytes_max: usize,
    pub(super) keys_max: usize,
    /// How old a record may be.
    pub(super) horizon_us: i64,
    /// Whether loaded segments are dropped whenever a job waits for anything else.
    pub(super) drops_loaded: bool,
}

/// The clock of the database, and the local one: both show the same time.
#[derive(Debug)]
struct Clock {
    origin: Instant,
    start: i64,
    now: AtomicI64,
}

impl Clock {
    fn time(&self) -> Timestamp {
        Timestamp(self.now.load(Ordering::Relaxed))
    }
}

impl Pulse for Clock {
    fn alive(&self) {}

    fn now(&self) -> Instant {
        self.origin + Duration::from_micros((self.time().0 - self.start).unsigned_abs())
    }
}

/// A segment of the log.
#[derive(Clone, Debug)]
struct Logged {
    segment: Arc<Segment>,
    body: Bytes,
    prev: SegmentHash,
    hash: SegmentHash,
    has_postings: bool,
}

impl Logged {
    fn number(&self) -> SegmentNumber {
        self.segment.header().segment
    }
}

/// A segment whose append is in flight, and the steps that it answers.
struct InFlight {
    logged: Logged,
    bytes: u64,
    steps: Vec<usize>,
}

/// A checkpoint: the account state and all runs (groups) of keys.
struct Checkpoint {
    segment: SegmentNumber,
    snapshot: Vec<u8>,
    runs: Vec<KeptRun>,
}

/// A run of keys, up to and including a segment.
#[derive(Clone)]
struct KeptRun {
    through: SegmentNumber,
    parts: Vec<Vec<u8>>,
}

/// The owner ended while it performed a step.
#[derive(Debug)]
pub(super) struct OwnerEnded;

/// What happened, so that a test can show that it tried something.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) commits: usize,
    pub(super) compared: usize,
    pub(super) full: usize,
    pub(super) loads: usize,
    pub(super) catalogues: usize,
    pub(super) checkpoints: usize,
    pub(super) owners: usize,
    pub(super) from_checkpoint: usize,
    pub(super) lost_segments: usize,
    pub(super) pages: usize,
}

pub(super) struct Driver {
    setup: Setup,
    clock: Arc<Clock>,
    core: OwnerCore,
    epoch: u64,
    /// The published catalogue, and the one that the node has read.
    published: Catalogue,
    read: Arc<Catalogue>,
    confirmed_at: Instant,
    log: Vec<Logged>,
    /// The replay of the log.
    replica: PartitionState,
    catalogue_logged: u64,
    checkpoints: Vec<Checkpoint>,
    /// The runs of keys that are sealed, of the newest checkpoint's history.
    sealed: Vec<KeptRun>,
    in_flight: Option<InFlight>,
    /// The steps whose answers wait for the next append.
    steps: Vec<usize>,
    /// The steps whose answers were sent, since they were last taken.
    answered: Vec<usize>,
    waits: usize,
    /// The owner ends instead of the wait that has this number.
    ends_at: Option<usize>,
    pub(super) counts: Counts,
}

impl Driver {
    pub(super) fn new(setup: Setup, start: i64, catalogue: Catalogue) -> Self {
        let origin = tokio::time::Instant::now().into_std();
        let clock = Arc::new(Clock { origin, start, now: AtomicI64::new(start) });
        let read = Arc::new(catalogue.clone());
        let around = surroundings(&clock, &read, origin);
        Self {
            core: core(setup, 1, (around, &clock), (PartitionState::default(), 0)),
            setup,
            clock,
            epoch: 1,
            published: catalogue,
            read,
            confirmed_at: origin,
            log: Vec::new(),
            replica: PartitionState::default(),
            catalogue_logged: 0,
            checkpoints: Vec::new(),
            sealed: Vec::new(),
            in_flight: None,
            steps: Vec::new(),
            answered: Vec::new(),
            waits: 0,
            ends_at: None,
            counts: Counts::default(),
        }
    }

    pub(super) const fn core(&mut self) -> &mut OwnerCore {
        &mut self.core
    }

    pub(super) fn log(&self) -> impl Iterator<Item = &Segment> {
        self.log.iter().map(|logged| logged.segment.as_ref())
    }

    pub(super) const fn horizon_us(&self) -> i64 {
        self.setup.horizon_us
    }

    /// The database's time.
    pub(super) fn now(&self) -> i64 {
        self.clock.time().0
    }

    /// How often a job or a pass has waited so far.
    pub(super) const fn waits(&self) -> usize {
        self.waits
    }

    /// The owner ends instead of the wait after `more` further ones.
    pub(super) const fn end_after(&mut self, more: usize) {
        self.ends_at = Some(self.waits + more);
    }

    /// The steps that were answered since the last call.
    pub(super) fn take_answered(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.answered)
    }

    /// The step is answered once the open segment is committed.
    pub(super) fn answer(&mut self, step: usize) {
        self.steps.push(step);
    }

    fn around(&self) -> Surroundings {
        surroundings(&self.clock, &self.read, self.confirmed_at)
    }
}

fn surroundings(clock: &Clock, read: &Arc<Catalogue>, confirmed_at: Instant) -> Surroundings {
    let ranges = [(1, 1000), (1001, 2000)];
    let ranges = ranges.map(|(first, last)| AccountRange::new(first, last).unwrap());
    Surroundings {
        clock: clock.time(),
        now: clock.now(),
        catalogue: Arc::clone(read),
        confirmed_at,
        ranges: Arc::new(ranges.into()),
    }
}

fn core(
    setup: Setup,
    epoch: u64,
    (around, clock): (Surroundings, &Arc<Clock>),
    (state, catalogue_logged): (PartitionState, u64),
) -> OwnerCore {
    let partition = Partition {
        id: OURS,
        range: AccountRange::new(1, 1000).unwrap(),
        epoch: Epoch::stored(epoch),
        horizon_us: setup.horizon_us,
        accept_since: None,
    };
    let limits = CoreLimits {
        keys_max: setup.keys_max,
        suspended_max: usize::MAX,
        segment_bytes_max: setup.segment_bytes_max,
        suspicion: Duration::from_secs(4 * 3600),
        sweep_turn: Duration::from_secs(1),
        time_pause: Duration::ZERO,
        catalogue_pause: Duration::ZERO,
        fetch_pause: Duration::ZERO,
    };
    let pulse = Arc::clone(clock) as Arc<dyn Pulse>;
    OwnerCore::new(partition, limits, (around, pulse), CODES.clone(), (state, 0, catalogue_logged))
}

/// Requests and passes.
impl Driver {
    /// A request begins.
    pub(super) fn begin(&mut self, rates: bool) {
        let around = self.around();
        self.core.begin(around);
        if rates && self.core.is_stale() {
            self.read_catalogue();
        }
    }

    /// Runs a job to its end, and provides what it waits for.
    pub(super) fn carry_out<J: Job>(&mut self, mut job: J) -> Result<J::Answer, OwnerEnded> {
        loop {
            match job.run(&mut self.core) {
                Ok(answer) => return Ok(answer),
                Err(Halt::Wait(wait)) => self.provide(wait)?,
                Err(Halt::Damaged(what)) => panic!("the log is damaged: {what}"),
            }
        }
    }

    fn provide(&mut self, wait: Wait) -> Result<(), OwnerEnded> {
        self.waits += 1;
        assert!(self.waits < WAITS_MAX, "a job waits for ever, at last for {wait:?}");
        if self.ends_at.is_some_and(|at| self.waits > at) {
            self.ends_at = None;
            return Err(OwnerEnded);
        }
        if self.setup.drops_loaded && !matches!(wait, Wait::Load(_)) {
            self.core.log_mut().drop_loaded();
        }
        match wait {
            Wait::Full => self.cut(),
            Wait::Load(number) => self.load(number),
            Wait::Catalogue => self.read_catalogue_for_request(),
            Wait::Table(unread) => panic!("{unread:?} is in no catalogue of these tests"),
            Wait::Turn => {}
        }
        Ok(())
    }

    /// Sweeps until nothing is due.
    pub(super) fn sweep(&mut self) -> Result<(), OwnerEnded> {
        loop {
            let around = self.around();
            self.core.renew(around);
            if self.core.is_stale() {
                self.read_catalogue();
            }
            match self.core.sweep() {
                Ok(true) => {}
                Ok(false) if self.core.log().has_slack() => return Ok(()),
                Ok(false) => self.provide(Wait::Full)?,
                Err(wait) => self.provide(wait)?,
            }
        }
    }

    /// Takes all postings of the partition's own log.
    pub(super) fn take_postings(&mut self) -> Result<(), OwnerEnded> {
        loop {
            if !self.core.postings_mut().has_page() {
                if !self.fetch() {
                    return Ok(());
                }
                continue;
            }
            let around = self.around();
            self.core.renew(around);
            if self.core.is_stale() {
                self.read_catalogue();
            }
            self.core.begin_postings();
            self.carry_out(PostingsPass::default())?;
            if !self.core.log().has_slack() {
                self.provide(Wait::Full)?;
            }
        }
    }

    /// Fetches the next page of postings. Returns whether there may be more.
    fn fetch(&mut self) -> bool {
        let newest = self.log.iter().rfind(|logged| logged.has_postings);
        let outboxes: Vec<_> = newest.map(|logged| (OURS, logged.number())).into_iter().collect();
        let Some((scope, from)) = self.core.next_fetch(&outboxes) else { return false };
        let fetched = self.page_after(&scope, from);
        let is_page = matches!(fetched, Fetched::Page(_));
        self.counts.pages += usize::from(is_page);
        self.core.note_fetched(fetched);
        is_page
    }

    fn page_after(&self, scope: &Scope, from: PostingCursor) -> Fetched {
        let posting = self.log.iter().filter(|logged| logged.has_postings);
        let behind = posting.filter(|logged| logged.number().0 >= from.segment);
        let rows: Vec<&Logged> = behind.take(FETCH_SEGMENTS).collect();
        if from.segment != 0 {
            let at = rows.first().expect("the cursor is in the log");
            assert_eq!((at.number().0, &at.hash.0[..]), (from.segment, &from.hash[..]), "P18");
        }
        let rows = rows.into_iter().map(|logged| SenderSegment {
            number: logged.number(),
            hash: logged.hash,
            segment: Segment::decode(&logged.body).unwrap(),
        });
        page(scope, from, rows).map_or(Fetched::Nothing, Fetched::Page)
    }

    fn load(&mut self, number: SegmentNumber) {
        self.counts.loads += 1;
        let logged = self.log.iter().find(|logged| logged.number() == number);
        let logged = logged.unwrap_or_else(|| panic!("segment {number} is not in the log"));
        self.core.log_mut().keep_loaded(number, Arc::clone(&logged.segment));
    }
}

/// The catalogue and the clock.
impl Driver {
    /// Publishes more plans. The node does not know them until its next heartbeat.
    pub(super) fn publish(&mut self, with: impl FnOnce(&mut Catalogue)) {
        with(&mut self.published);
    }

    /// A heartbeat: the node knows the newest catalogue.
    pub(super) fn beat(&mut self) {
        self.read = Arc::new(self.published.clone());
        self.confirmed_at = self.clock.now();
    }

    pub(super) fn advance_clock(&self, by_us: i64) {
        self.clock.now.fetch_add(by_us, Ordering::Relaxed);
    }

    /// Commits a segment for its logged time alone.
    pub(super) fn log_time(&mut self) {
        self.flush();
        let around = self.around();
        self.core.renew(around);
        self.core.log_mut().log_time();
        self.start_append();
        self.finish_append();
    }

    fn read_catalogue(&mut self) {
        self.counts.catalogues += 1;
        let fresh = self.published.clone();
        if self.core.must_close_for(&fresh) {
            self.cut();
        }
        self.core.take_catalogue(fresh, self.clock.now());
    }

    fn read_catalogue_for_request(&mut self) {
        if self.core.asks_catalogue(self.clock.now()) {
            self.read_catalogue();
        }
    }
}

/// The log.
impl Driver {
    /// Starts to append the open segment, unless an append is in flight (P4).
    pub(super) fn start_append(&mut self) {
        if self.in_flight.is_some() {
            return;
        }
        let steps = std::mem::take(&mut self.steps);
        let Some(closed) = self.core.log_mut().close() else {
            // Nothing is uncommitted: a write barrier would answer these steps.
            self.answered.extend(steps);
            return;
        };
        let context = SealContext {
            partition: OURS,
            segment: closed.number,
            epoch: Epoch::stored(self.epoch),
            prev_hash: closed.prev_hash,
            now: closed.time.now,
            floor: closed.time.floor,
            catalogue_version: self.core.catalogue_known(),
        };
        let sealed = closed.builder.seal(&context).unwrap();
        let (prev, hash) = (closed.prev_hash, sealed.hash);
        let (body, bytes) = (sealed.body, closed.builder.bytes() as u64);
        let segment = Segment::decode_checked(&body, prev, hash).unwrap();
        let has_postings = closed.builder.has_postings();
        let logged = Logged { segment: Arc::new(segment), body, prev, hash, has_postings };
        self.in_flight = Some(InFlight { logged, bytes, steps });
    }

    /// The append in flight commits, if there is one.
    pub(super) fn finish_append(&mut self) {
        let Some(InFlight { logged, bytes, steps }) = self.in_flight.take() else { return };
        self.core.log_mut().commit(logged.hash, bytes);
        self.append_to_log(logged);
        self.answered.extend(steps);
        self.compare();
    }

    fn append_to_log(&mut self, logged: Logged) {
        self.counts.commits += 1;
        replay_one(&mut self.replica, &logged);
        self.catalogue_logged =
            self.catalogue_logged.max(logged.segment.header().catalogue_version);
        self.log.push(logged);
    }

    /// I4, if nothing is uncommitted.
    fn compare(&mut self) {
        if self.core.log().is_committed() {
            self.counts.compared += 1;
            let (live, replayed) = (self.core.log().state().encode(), self.replica.encode());
            assert!(live == replayed, "I4: the state differs from a replay of the log");
        }
    }

    fn cut(&mut self) {
        self.counts.full += 1;
        self.finish_append();
        if self.core.log().is_open_empty() {
            self.core.log_mut().clear_tables();
        }
        self.start_append();
        let around = self.around();
        self.core.renew(around);
    }

    /// Commits everything that was taken.
    pub(super) fn flush(&mut self) {
        self.finish_append();
        self.start_append();
        self.finish_append();
        assert!(self.core.log().is_committed() && self.steps.is_empty());
    }

    /// Writes a checkpoint, if everything is committed. `seals`: its keys need not be written again.
    pub(super) fn checkpoint(&mut self, seals: bool) {
        if !self.core.log().is_committed() {
            return;
        }
        self.counts.checkpoints += 1;
        let log = self.core.log_mut();
        log.forget_old_keys();
        let (segment, _) = log.last();
        let forgotten = log.state().keys().forgotten_through();
        let (snapshot, run) = log.checkpoint(&|| ());
        self.sealed.retain(|kept| kept.through > forgotten);
        let mut runs = self.sealed.clone();
        runs.push(KeptRun { through: segment, parts: run.parts });
        if seals {
            log.seal_keys(segment);
            self.sealed.clone_from(&runs);
        }
        let checkpoint = Checkpoint { segment, snapshot, runs };
        assert!(loaded(&checkpoint).encode() == self.replica.encode(), "I4: a checkpoint differs");
        self.checkpoints.push(checkpoint);
    }

    /// The owner ends, and the next one starts from the log. The append in flight commits or not.
    /// Returns the steps that were not answered.
    pub(super) fn replace(&mut self, commits: bool, from_checkpoint: bool) -> Vec<usize> {
        self.counts.owners += 1;
        self.ends_at = None;
        let mut steps = Vec::new();
        if let Some(in_flight) = self.in_flight.take() {
            steps.extend(in_flight.steps);
            match commits {
                true => self.append_to_log(in_flight.logged),
                false => self.counts.lost_segments += 1,
            }
        }
        steps.append(&mut self.steps);
        let newest = self.checkpoints.last();
        let mut state = match newest.filter(|_| from_checkpoint) {
            Some(checkpoint) => {
                self.counts.from_checkpoint += 1;
                loaded(checkpoint)
            }
            None => PartitionState::default(),
        };
        replay(&mut state, &self.log);
        self.sealed.clear();
        if let Some(checkpoint) = newest {
            state.seal_keys(checkpoint.segment);
            self.sealed.clone_from(&checkpoint.runs);
        }
        assert!(state.encode() == self.replica.encode(), "I4: two replays of the log differ");
        self.epoch += 1;
        let around = self.around();
        let logged = self.catalogue_logged;
        self.core = core(self.setup, self.epoch, (around, &self.clock), (state, logged));
        steps
    }

    /// I4 at rest: the state, the whole log, and each checkpoint with the tail of the log are the
    /// same bytes.
    pub(super) fn assert_replays(&mut self) {
        self.flush();
        let mut whole = PartitionState::default();
        replay(&mut whole, &self.log);
        let whole = whole.encode();
        assert!(self.core.log().state().encode() == whole, "I4: the state differs from the log");
        for checkpoint in &self.checkpoints {
            let mut state = loaded(checkpoint);
            replay(&mut state, &self.log);
            assert!(state.encode() == whole, "I4: a checkpoint and its tail differ from the log");
        }
    }
}

fn loaded(checkpoint: &Checkpoint) -> PartitionState {
    let parts: Vec<&[u8]> =
        checkpoint.runs.iter().flat_map(|run| &run.parts).map(Vec::as_slice).collect();
    PartitionState::decode(&checkpoint.snapshot, &parts, &|| ()).unwrap()
}

fn replay_one(state: &mut PartitionState, logged: &Logged) {
    state.replay(&logged.segment, logged.prev, logged.hash).unwrap();
}

/// Replays the segments of the log after those that the state includes.
fn replay(state: &mut PartitionState, log: &[Logged]) {
    let (last, _) = state.last();
    for logged in log.iter().filter(|logged| logged.number() > last) {
        replay_one(state, logged);
    }
}
