//! Checkpoints: state as of a segment, so that a reload is short (P22).
//!
//! The state goes out in chunks, whole each time; keys in runs, each written once. Runs of like
//! size are merged, so that there are few of them and each key is rewritten a few times only.

use turnpike_store::{CheckpointManifest, CheckpointPart};
use turnpike_types::SegmentNumber;

use super::{Ended, Owner};

/// A part of a checkpoint, in bytes.
const PART_BYTES: usize = 8 << 20;

/// A published run of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    name: String,
    after: SegmentNumber,
    keys: u64,
}

/// What became of a checkpoint.
pub(crate) struct Outcome {
    /// The runs that the published manifest names; `None` when it was not published.
    runs: Option<Vec<Run>>,
}

/// A part's name, read.
pub(crate) struct Part<'a> {
    name: &'a str,
}

impl<'a> Part<'a> {
    pub(crate) const fn name(&self) -> &'a str {
        self.name
    }

    /// The run that this part is; `None` for a chunk of the state.
    pub(crate) fn run(&self) -> Option<Run> {
        let mut words = self.name.strip_prefix("keys-")?.split('-');
        let after = words.next()?.parse().ok()?;
        let keys = words.nth(1)?.parse().ok()?;
        Some(Run { name: self.name.to_owned(), after: SegmentNumber(after), keys })
    }
}

/// The parts of a checkpoint, in order.
pub(crate) fn parts_of(manifest: &CheckpointManifest) -> impl Iterator<Item = Part<'_>> {
    manifest.parts.iter().map(|name| Part { name })
}

impl Owner {
    /// Is it time, and is none under way?
    pub(super) fn checkpoint_due(&self) -> bool {
        self.checkpointing.is_none() && self.log_bytes >= self.shared.config.checkpoint_log_bytes
    }

    /// Makes a checkpoint when one is due and the state holds nothing but what is committed (P6).
    pub(super) fn checkpoint_if_due(&mut self) {
        self.note_checkpoint();
        if self.checkpoint_due()
            && self.in_flight.is_none()
            && self.open.builder.is_empty()
            && self.open.answers.is_empty()
        {
            self.start_checkpoint();
        }
    }

    fn note_checkpoint(&mut self) {
        use futures::FutureExt as _;
        let Some(task) = &mut self.checkpointing else { return };
        let Some(done) = task.now_or_never() else { return };
        self.checkpointing = None;
        if let Ok(Outcome { runs: Some(runs) }) = done {
            self.runs = runs;
        }
    }

    fn start_checkpoint(&mut self) {
        self.state.sweep();
        self.log_bytes = 0;
        let (segment, hash) = self.state.last();
        let tag = format!("{segment}-{}", self.ownership.claim);
        let snapshot = self.state.snapshot().bytes;
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
        let (kept, after) = self.runs_to_keep();
        let run = self.state.key_run(after);
        let name = format!("keys-{after}-{segment}-{}-{}", run.keys, self.ownership.claim);
        parts.push(CheckpointPart { name: name.clone(), segment, body: run.bytes.into() });
        let mut runs = kept;
        runs.push(Run { name, after, keys: run.keys as u64 });
        names.extend(runs.iter().map(|run| run.name.clone()));
        let manifest = CheckpointManifest {
            partition: self.ownership.spec.id,
            segment,
            hash,
            parts: names,
            summary: bytes::Bytes::new(),
        };
        self.spawn_checkpoint(manifest, parts, runs);
    }

    /// Which runs stay as they are, and after which segment the new one begins: it takes in runs
    /// from the end that are not twice as large as itself.
    fn runs_to_keep(&self) -> (Vec<Run>, SegmentNumber) {
        let mut kept = self.runs.clone();
        let written: u64 = kept.iter().map(|run| run.keys).sum();
        let mut fresh = (self.state.keys().len() as u64).saturating_sub(written);
        let mut after = kept.last().map_or(SegmentNumber(0), run_end);
        while let Some(last) = kept.pop_if(|last| last.keys < 2 * fresh) {
            fresh += last.keys;
            after = last.after;
        }
        (kept, after)
    }

    fn spawn_checkpoint(
        &mut self,
        manifest: CheckpointManifest,
        parts: Vec<CheckpointPart>,
        runs: Vec<Run>,
    ) {
        let shared = std::sync::Arc::clone(&self.shared);
        let ownership = self.ownership.clone();
        self.checkpointing = Some(tokio::spawn(async move {
            let written = async {
                for part in &parts {
                    shared.db.put_checkpoint_part(manifest.partition, part).await?;
                }
                let (epoch, claim) = (ownership.epoch, ownership.claim);
                shared.db.publish_checkpoint(&manifest, epoch, claim).await.map_err(Ended::from)
            };
            match written.await {
                Ok(published) => Outcome { runs: published.then_some(runs) },
                // The next one tries again; nothing rests on a checkpoint but time.
                Err(error) => {
                    let partition = manifest.partition;
                    tracing::warn!(%partition, %error, "a checkpoint could not be written");
                    Outcome { runs: None }
                }
            }
        }));
    }
}

/// The last segment whose keys a run holds.
fn run_end(run: &Run) -> SegmentNumber {
    let through = run.name.split('-').nth(2).and_then(|through| through.parse().ok());
    SegmentNumber(through.unwrap_or(run.after.0))
}
