//! The core of an owner: all that it decides, without I/O. It takes requests as jobs. A job runs
//! until it is done or until it needs something that only the shell can provide.

use std::sync::Arc;
use std::time::{Duration, Instant};

use turnpike_account::PartitionState;
use turnpike_plan::{Rater, Table};
use turnpike_tariff::{Catalogue, CodeCache, Dues, UnreadTable};

use super::partition::{Partition, Pulse, Surroundings};
use super::posting_progress::PostingProgress;
use super::state_log::StateLog;
use super::view::CatalogueView;
use super::wait::Halt;
use crate::NodeConfig;

/// The limits and pauses of the core.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CoreLimits {
    /// The maximum number of deduplication keys.
    pub(crate) keys_max: usize,
    /// The maximum number of suspended records.
    pub(crate) suspended_max: usize,
    /// The number of bytes before compression at which a segment is closed.
    pub(crate) segment_bytes_max: usize,
    /// How old the confirmation of the catalogue may be (P36).
    pub(crate) suspicion: Duration,
    /// How long a pass of the sweep may take.
    pub(crate) sweep_turn: Duration,
    /// The least time between two segments that are logged only for their time.
    pub(crate) time_pause: Duration,
    /// The least time between two reads of the catalogue for requests.
    pub(crate) catalogue_pause: Duration,
    /// The time between two fetches of postings, if the last one gave nothing.
    pub(crate) fetch_pause: Duration,
}

impl CoreLimits {
    /// The limits that follow from a node's settings.
    pub(crate) fn of(config: &NodeConfig) -> Self {
        Self {
            keys_max: config.keys_max,
            suspended_max: config.suspended_max,
            segment_bytes_max: config.segment_bytes_max,
            suspicion: config.suspicion(),
            sweep_turn: config.heartbeat / 50,
            time_pause: config.heartbeat * 20,
            catalogue_pause: config.heartbeat / 10,
            fetch_pause: config.heartbeat,
        }
    }
}

/// A request or a part of one. It keeps its progress, so that it can be run again.
pub(crate) trait Job {
    /// The answer.
    type Answer;

    /// Runs the job, or continues it.
    ///
    /// # Errors
    /// What the job waits for; or that the log does not fit the state. What the job has taken so far
    /// is logged, and is not taken again when it runs again.
    fn run(&mut self, core: &mut OwnerCore) -> Result<Self::Answer, Halt>;
}

/// The state of an owner, and everything that it decides by.
pub(crate) struct OwnerCore {
    pub(super) partition: Partition,
    pub(super) limits: CoreLimits,
    pub(super) around: Surroundings,
    pub(super) pulse: Arc<dyn Pulse>,
    pub(super) log: StateLog,
    pub(super) view: CatalogueView,
    pub(super) rater: Rater,
    pub(super) dues: Dues,
    pub(super) postings: PostingProgress,
    /// When a segment was last logged only for its time, so that old keys can be forgotten.
    pub(super) time_logged_at: Option<Instant>,
}

impl OwnerCore {
    /// The core of an owner that continues the log after `state`. `log_bytes`: the length of the
    /// log since the last checkpoint; `catalogue_logged`: the newest catalogue version in the log.
    pub(crate) fn new(
        partition: Partition,
        limits: CoreLimits,
        (around, pulse): (Surroundings, Arc<dyn Pulse>),
        codes: CodeCache,
        (state, log_bytes, catalogue_logged): (PartitionState, u64, u64),
    ) -> Self {
        Self {
            view: CatalogueView::new(Arc::clone(&around.catalogue), codes, catalogue_logged),
            log: StateLog::new(state, log_bytes, limits.segment_bytes_max),
            partition,
            limits,
            around,
            pulse,
            rater: Rater::new(),
            dues: Dues::default(),
            postings: PostingProgress::default(),
            time_logged_at: None,
        }
    }

    /// The state and the uncommitted segments.
    pub(crate) const fn log(&self) -> &StateLog {
        &self.log
    }

    /// The state and the uncommitted segments, for the shell's appends and checkpoints.
    pub(crate) const fn log_mut(&mut self) -> &mut StateLog {
        &mut self.log
    }

    /// The progress of the owner in taking postings.
    pub(crate) const fn postings_mut(&mut self) -> &mut PostingProgress {
        &mut self.postings
    }

    /// A request begins, in these surroundings.
    pub(crate) fn begin(&mut self, around: Surroundings) {
        self.renew(around);
        self.log.drop_loaded();
        self.view.tariffs.give_back();
        self.view.begin();
    }

    /// Takes a table that a job waits for; `None` if this program can't read it.
    pub(crate) fn lend(&mut self, unread: UnreadTable, table: Option<Arc<Table>>) {
        self.view.tariffs.lend(unread, table);
    }

    /// A pass over postings begins.
    pub(crate) const fn begin_postings(&mut self) {
        self.view.begin();
    }

    /// Renews the surroundings alone, after a wait within a request.
    pub(crate) fn look(&mut self, around: Surroundings) {
        self.around = around;
    }

    /// Renews the surroundings; and logged time and the catalogue, if nothing in the open segment
    /// depends on the old ones.
    pub(crate) fn renew(&mut self, around: Surroundings) {
        self.around = around;
        if self.log.renew(self.around.clock, &self.partition) {
            let catalogue = Arc::clone(&self.around.catalogue);
            self.use_catalogue(&catalogue);
            if self.view.tariffs.trim() {
                self.log.clear_tables();
            }
        }
    }

    /// Whether the catalogue must be read before anything is rated, see [`CatalogueView::is_stale`].
    pub(crate) fn is_stale(&self) -> bool {
        self.view.is_stale(&self.around, self.limits.suspicion)
    }

    /// The newest catalogue version that is known to have been used in this log.
    pub(crate) fn catalogue_known(&self) -> u64 {
        self.view.known()
    }

    /// The catalogue that the owner rates by.
    pub(crate) fn catalogue(&self) -> &Catalogue {
        self.view.tariffs.catalogue()
    }

    /// Whether to read the catalogue for the present request, see [`CatalogueView::ask`].
    pub(crate) fn asks_catalogue(&mut self, now: Instant) -> bool {
        self.view.ask(now, self.limits.catalogue_pause)
    }

    /// The catalogue could not be read.
    pub(crate) const fn note_catalogue_failed(&mut self, now: Instant) {
        self.view.note_failed(now);
    }

    /// Whether the open segment must be appended before this catalogue is taken: its records are
    /// logged with the version that rated them.
    pub(crate) fn must_close_for(&self, fresh: &Catalogue) -> bool {
        fresh.version() > self.view.tariffs.catalogue_version() && !self.log.is_open_empty()
    }

    /// Takes the catalogue whose read began at `began`.
    pub(crate) fn take_catalogue(&mut self, fresh: Catalogue, began: Instant) {
        assert!(!self.must_close_for(&fresh), "a segment is rated by one catalogue (P36)");
        self.use_catalogue(&Arc::new(fresh));
        self.view.note_read(began);
    }

    fn use_catalogue(&mut self, catalogue: &Arc<Catalogue>) {
        if self.view.tariffs.update(catalogue) {
            self.dues.forget();
        }
    }

    /// Makes room for keys by forgetting keys older than the horizon. If nothing advances logged
    /// time, a segment is logged for its time alone. Returns whether there is room now.
    pub(super) fn make_room_for_keys(&mut self) -> bool {
        self.log.forget_old_keys();
        if self.has_room_for_keys() {
            return true;
        }
        let (now, pause) = (self.pulse.now(), self.limits.time_pause);
        let is_due = |logged: Instant| now.saturating_duration_since(logged) >= pause;
        if self.time_logged_at.is_none_or(is_due) {
            self.time_logged_at = Some(now);
            self.log.log_time();
        }
        false
    }

    /// Whether the partition holds fewer keys than the maximum.
    pub(super) fn has_room_for_keys(&self) -> bool {
        self.log.state().keys().len() < self.limits.keys_max
    }

    /// The state, once everything is committed.
    pub(crate) fn into_state(self) -> PartitionState {
        self.log.into_state()
    }
}
