//! Checkpoints: the state as of a segment, so that loading reads little of the log (P22).
//!
//! Each checkpoint writes the whole account state, in parts. Deduplication keys are written in
//! groups, called runs. The last run is written again, with the keys added since, until it is large
//! enough to be sealed; then a new run starts. A run with no key inside the horizon is left out.

use std::sync::Arc;

use futures::FutureExt as _;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use turnpike_mutants::{Check, off};
use turnpike_store::failpoint::{self, Step};
use turnpike_store::{CheckpointManifest, CheckpointPart, StoreResult};

use crate::owner::core::OwnerCore;
use crate::owner::ended::Ended;
use crate::owner::request::Ownership;
use crate::owner::ticks::Ticks;
use crate::replica::{SealedKeyRun, stored_runs};
use crate::shared::Shared;

/// The size of a part of the account state, in bytes.
const PART_BYTES: usize = 8 << 20;

/// The outcome of writing a checkpoint.
struct CheckpointOutcome {
    /// The run of deduplication keys that the published checkpoint sealed.
    sealed: Option<SealedKeyRun>,
}

/// The stored runs of keys, and the tasks that list and write checkpoints.
pub(super) struct Checkpoints {
    shared: Arc<Shared>,
    ownership: Ownership,
    ticks: Arc<Ticks>,
    /// Sealed runs, which need not be written again.
    runs: Vec<SealedKeyRun>,
    /// The task that lists the retained checkpoints. The owner's state may come from a replica that
    /// was loaded from an older checkpoint, so the runs that these checkpoints name are known only
    /// when the task is done.
    listing: Option<JoinHandle<StoreResult<Vec<CheckpointManifest>>>>,
    writing: Option<JoinHandle<CheckpointOutcome>>,
}

impl Checkpoints {
    /// `runs`: the sealed runs of the checkpoint from which the state comes.
    pub(super) fn new(
        shared: &Arc<Shared>,
        ownership: &Ownership,
        ticks: &Arc<Ticks>,
        runs: Vec<SealedKeyRun>,
    ) -> Self {
        Self {
            shared: Arc::clone(shared),
            ownership: ownership.clone(),
            ticks: Arc::clone(ticks),
            runs,
            listing: None,
            writing: None,
        }
    }

    /// The sealed runs.
    pub(super) fn into_runs(self) -> Vec<SealedKeyRun> {
        self.runs
    }

    /// Whether a checkpoint is due after `log_bytes` of log, and none is being listed or written.
    pub(super) fn is_due(&self, log_bytes: u64) -> bool {
        self.writing.is_none()
            && (self.listing.is_none() || off(Check::ListedFirst))
            && log_bytes >= self.shared.config.checkpoint_log_bytes
    }

    /// Lists the retained checkpoints in a background task.
    pub(super) fn list(&mut self) {
        let (shared, partition) = (Arc::clone(&self.shared), self.ownership.spec.id);
        let list = async move { shared.db.checkpoints(partition).await };
        self.listing = Some(tokio::spawn(list));
    }

    /// Starts a checkpoint when one is due and the state holds only what is committed (P6).
    /// `is_idle`: no append and no write barrier is in flight, and no answer waits for one. The
    /// snapshot takes a while, and must not delay answers.
    pub(super) fn write_if_due(&mut self, core: &mut OwnerCore, is_idle: bool) {
        self.note_listed(core);
        self.note_written(core);
        let is_committed = core.log().is_committed() && is_idle;
        let is_due = self.is_due(core.log().log_bytes());
        if is_due && (is_committed || off(Check::CommittedState)) {
            self.start(core);
        }
    }

    fn note_listed(&mut self, core: &mut OwnerCore) {
        let Some(listing) = &mut self.listing else { return };
        let Some(listed) = listing.now_or_never() else { return };
        self.listing = None;
        match listed {
            Ok(Ok(manifests)) => {
                if let Some(runs) = stored_runs(core.log().last().0, &manifests) {
                    if let Some(run) = runs.last() {
                        core.log_mut().seal_keys(run.through());
                    }
                    self.runs = runs;
                }
            }
            // No checkpoint is written before the list is known. The log holds everything
            // meanwhile.
            Ok(Err(_)) | Err(_) => self.list(),
        }
    }

    fn note_written(&mut self, core: &mut OwnerCore) {
        let Some(task) = &mut self.writing else { return };
        let Some(done) = task.now_or_never() else { return };
        self.writing = None;
        if let Ok(CheckpointOutcome { sealed: Some(run) }) = done {
            core.log_mut().seal_keys(run.through());
            self.runs.push(run);
        }
    }

    fn start(&mut self, core: &mut OwnerCore) {
        let log = core.log_mut();
        log.forget_old_keys();
        let (segment, hash) = log.last();
        let forgotten = log.state().keys().forgotten_through();
        let tag = format!("{segment}-{}", self.ownership.claim);
        let ticks = Arc::clone(&self.ticks);
        let (snapshot, run) = log.checkpoint(&|| ticks.tick());
        let mut parts: Vec<CheckpointPart> = snapshot
            .chunks(PART_BYTES)
            .enumerate()
            .map(|(index, chunk)| CheckpointPart {
                name: format!("state-{tag}-{index}"),
                segment,
                body: chunk.to_vec().into(),
            })
            .collect();
        let mut names: Vec<String> = parts.iter().map(|part| part.name.clone()).collect();
        let runs = &mut self.runs;
        runs.retain(|run| run.through() > forgotten);
        names.extend(runs.iter().flat_map(|run| run.names().iter().cloned()));
        let mut run_names = Vec::new();
        for (index, body) in run.parts.into_iter().enumerate() {
            let name = format!("keys-{}-{segment}-{}-{index}", run.after, self.ownership.claim);
            run_names.push(name.clone());
            parts.push(CheckpointPart { name, segment, body: body.into() });
        }
        names.extend(run_names.iter().cloned());
        let sealed = (run.keys >= self.shared.config.run_keys)
            .then_some(SealedKeyRun::new(run_names, segment));
        let manifest = CheckpointManifest {
            partition: self.ownership.spec.id,
            segment,
            hash,
            parts: names,
            summary: bytes::Bytes::new(),
        };
        self.spawn(manifest, parts, sealed);
    }

    fn spawn(
        &mut self,
        manifest: CheckpointManifest,
        parts: Vec<CheckpointPart>,
        sealed: Option<SealedKeyRun>,
    ) {
        let shared = Arc::clone(&self.shared);
        let ownership = self.ownership.clone();
        let bytes: usize = parts.iter().map(|part| part.body.len()).sum();
        self.writing = Some(tokio::spawn(async move {
            let began = Instant::now();
            let written = async {
                failpoint::pass(Step::CheckpointBefore).await?;
                for part in &parts {
                    shared.db.put_checkpoint_part(manifest.partition, part).await?;
                }
                failpoint::pass(Step::CheckpointParts).await?;
                let (epoch, claim) = (ownership.epoch, ownership.claim);
                let published = shared.db.publish_checkpoint(&manifest, epoch, claim).await?;
                failpoint::pass(Step::CheckpointPublished).await?;
                Ok::<bool, Ended>(published)
            };
            let written = written.await;
            let result = match &written {
                Ok(true) => "published",
                Ok(false) => "superseded",
                Err(_) => "failed",
            };
            metrics::counter!("turnpike_checkpoints_total", "result" => result).increment(1);
            metrics::histogram!("turnpike_checkpoint_seconds")
                .record(began.elapsed().as_secs_f64());
            metrics::histogram!("turnpike_checkpoint_bytes").record(bytes as f64);
            // The next checkpoint tries again. A failure only makes loading slower.
            if let Err(error) = &written {
                let partition = manifest.partition;
                tracing::warn!(%partition, %error, "a checkpoint could not be written");
            }
            let is_published = written.is_ok_and(|published| published);
            let keeps_run = is_published || off(Check::RunPublished);
            CheckpointOutcome { sealed: sealed.filter(|_| keeps_run) }
        }));
    }
}
