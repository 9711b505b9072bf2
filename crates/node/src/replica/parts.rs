//! The parts of a checkpoint, and the runs (groups) of deduplication keys that they make up (P22).

use turnpike_store::CheckpointManifest;
use turnpike_types::SegmentNumber;

/// A sealed run (group) of deduplication keys: its parts, and the last segment whose keys it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SealedKeyRun {
    names: Vec<String>,
    through: SegmentNumber,
}

impl SealedKeyRun {
    pub(crate) const fn new(names: Vec<String>, through: SegmentNumber) -> Self {
        Self { names, through }
    }

    /// The names of its parts.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// The last segment whose keys are in the run.
    pub(crate) const fn through(&self) -> SegmentNumber {
        self.through
    }
}

/// A part of a checkpoint, by its name.
pub(crate) struct PartName<'a> {
    name: &'a str,
}

impl<'a> PartName<'a> {
    pub(crate) const fn name(&self) -> &'a str {
        self.name
    }

    /// The run (group) of deduplication keys to which the part belongs; `None` for a part of the
    /// account state.
    pub(crate) fn run(&self) -> Option<SealedKeyRun> {
        // The form of the name: keys-AFTER-THROUGH-CLAIM-INDEX.
        let through = self.name.strip_prefix("keys-")?.split('-').nth(1)?.parse().ok()?;
        Some(SealedKeyRun { names: vec![self.name.to_owned()], through: SegmentNumber(through) })
    }
}

/// The parts of a checkpoint, in order.
pub(crate) fn parts_of(manifest: &CheckpointManifest) -> impl Iterator<Item = PartName<'_>> {
    manifest.parts.iter().map(|name| PartName { name })
}
