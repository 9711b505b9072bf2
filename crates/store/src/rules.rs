//! What every implementation decides alike: pure functions of what was read under a lock (or is
//! compared again by the write that follows), so that no two databases differ in judgement.

use std::collections::HashSet;
use std::time::Duration;

use turnpike_mutants::{Line, off};
use turnpike_types::limits::IDENTITY_BYTES_MAX;
use turnpike_types::{ClaimId, Epoch, SegmentNumber, Timestamp};

use crate::{
    AppendOutcome, AppendSegment, Binding, CheckpointManifest, Claim, Consumer, PartitionSpec, Pin,
    PinOutcome, SegmentPosition, StoreError, StoreResult,
};

/// How many manifests a partition keeps (P22): the newest, and one to fall back on.
pub(crate) const MANIFESTS_KEPT: usize = 2;

/// How many bytes of bodies one answer to
/// [`posting_segments`](crate::SharedDatabase::posting_segments) holds, if more than one segment.
pub const POSTING_BYTES_MAX: usize = 16 << 20;

/// How many claims one call of [`claim_many`](crate::SharedDatabase::claim_many) may hold.
pub const CLAIMS_MAX: usize = 4096;

/// The count of flaps halves each time this much has passed (P14).
pub(crate) const FLAPS_HALVE_US: i64 = 10 * 60 * 1_000_000;

/// A node that beat within this time is not forgotten.
pub(crate) const FORGET_AFTER_US: i64 = 60 * 1_000_000;

/// What the fence compares (P1).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fence {
    pub(crate) epoch: Epoch,
    pub(crate) claim: ClaimId,
    pub(crate) position: SegmentPosition,
}

impl Fence {
    /// Why this append did not pass (P4); `None` when it would have.
    pub(crate) fn judge(&self, append: &AppendSegment) -> Option<AppendOutcome> {
        let SegmentPosition { next, last_hash } = self.position;
        let is_epoch = self.epoch == append.epoch || off(Line::FenceEpoch) || off(Line::FenceOwner);
        let is_claim = self.claim == append.claim || off(Line::FenceClaim) || off(Line::FenceOwner);
        let is_hash = last_hash == append.prev_hash || off(Line::FenceHash);
        if !is_epoch || !is_claim {
            Some(AppendOutcome::Fenced)
        } else if next > append.segment {
            Some(AppendOutcome::Ahead)
        } else if next < append.segment || !is_hash {
            // The same length with another hash is another history too (P18).
            Some(AppendOutcome::RolledBack)
        } else {
            None
        }
    }
}

/// A partition that nobody created.
pub(crate) fn no_partition(partition: turnpike_types::PartitionId) -> StoreError {
    StoreError::Refused(format!("there is no partition {partition}: create it first"))
}

/// Refuses claims that one call can't make together.
///
/// # Errors
/// `Refused` when there are too many, or two of them are for one partition.
pub(crate) fn check_claims(claims: &[Claim]) -> StoreResult<()> {
    if claims.len() > CLAIMS_MAX {
        return Err(StoreError::Refused(format!(
            "{} claims at once; {CLAIMS_MAX} are the most: claim in parts",
            claims.len()
        )));
    }
    let mut named = HashSet::new();
    match claims.iter().find(|claim| !named.insert(claim.partition)) {
        Some(Claim { partition, .. }) => {
            Err(StoreError::Refused(format!("partition {partition} is claimed twice in one call")))
        }
        None => Ok(()),
    }
}

/// What is left `now` of a count of flaps as of `flapped_at`: half of it for each
/// [`FLAPS_HALVE_US`]. Statements say the same by a shift.
pub(crate) fn decayed_flaps(flaps: u32, flapped_at: Timestamp, now: Timestamp) -> u32 {
    let passed = now.micros().saturating_sub(flapped_at.micros()).max(0);
    let halvings = u32::try_from(passed / FLAPS_HALVE_US).unwrap_or(u32::MAX);
    flaps.checked_shr(halvings).unwrap_or(0)
}

/// The pin, if it is in force.
pub(crate) fn pin_in_force(pin: Option<Pin>, now: Timestamp) -> Option<Pin> {
    pin.filter(|pin| now < pin.until)
}

/// Why a wish wrote nothing, given how many partitions of its number there are; a wish that takes
/// back what was not there has come true.
pub(crate) const fn not_pinned(partitions: i64, names_a_member: bool) -> PinOutcome {
    match (partitions, names_a_member) {
        (0, _) => PinOutcome::NoSuchPartition,
        (_, true) => PinOutcome::NotAMember,
        (_, false) => PinOutcome::Pinned,
    }
}

/// A duration in microseconds, short enough to be added to any instant of our time.
pub(crate) fn duration_us(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX).min(i64::MAX / 2)
}

/// The partitions of `asked` that are new, members sorted by falling priority.
///
/// # Errors
/// `Refused` when one collides with another, naming both, or is not well formed (P12).
pub(crate) fn new_partitions(
    existing: &[PartitionSpec],
    asked: &[PartitionSpec],
) -> StoreResult<Vec<PartitionSpec>> {
    let mut all = existing.to_vec();
    let mut new = Vec::new();
    for spec in asked {
        let mut spec = spec.clone();
        spec.members.sort_by_key(|member| std::cmp::Reverse(member.priority));
        check_members(&spec)?;
        match all.iter().find(|other| other.id == spec.id || other.range.overlaps(spec.range)) {
            Some(other) if *other == spec => {}
            Some(other) if other.id == spec.id => {
                return Err(StoreError::Refused(format!(
                    "partition {} is there already, with accounts {} and other settings or members; \
                     a partition does not change once it is created",
                    spec.id, other.range
                )));
            }
            Some(other) => {
                return Err(StoreError::Refused(format!(
                    "partition {} (accounts {}) overlaps partition {} (accounts {})",
                    spec.id, spec.range, other.id, other.range
                )));
            }
            None => {
                all.push(spec.clone());
                new.push(spec);
            }
        }
    }
    Ok(new)
}

fn check_members(spec: &PartitionSpec) -> StoreResult<()> {
    let refuse = |why: String| Err(StoreError::Refused(format!("partition {}: {why}", spec.id)));
    if spec.horizon_us < 0 {
        return refuse(format!("a horizon of {} us is negative", spec.horizon_us));
    }
    let mut names = HashSet::new();
    for member in &spec.members {
        if !names.insert(&member.node) {
            return refuse(format!("{} is named twice as its member", member.node));
        }
    }
    for pair in spec.members.windows(2) {
        if let [a, b] = pair
            && a.priority == b.priority
        {
            return refuse(format!(
                "{} and {} both have priority {}; priorities are unique within a partition",
                a.node, b.node, a.priority
            ));
        }
    }
    Ok(())
}

/// Refuses bindings that can never stand, before any of them is written.
///
/// # Errors
/// `Refused`, naming the first such binding.
pub(crate) fn check_bindings<'a>(
    bindings: impl IntoIterator<Item = &'a Binding>,
) -> StoreResult<()> {
    for binding in bindings {
        let length = binding.identity.len();
        let why = if length == 0 || length > IDENTITY_BYTES_MAX {
            format!("an identity has 1 to {IDENTITY_BYTES_MAX} bytes, not {length}")
        } else if binding.from >= binding.until {
            format!("its interval {}..{} is empty", binding.from.micros(), binding.until.micros())
        } else if binding.account.0 == 0 {
            "account 0 stands for no account".to_owned()
        } else {
            continue;
        };
        return Err(StoreError::Refused(format!("binding of {:?}: {why}", binding.identity)));
    }
    Ok(())
}

/// Parts of a partition: name, and the segment that they are as of.
pub(crate) type Parts = Vec<(String, SegmentNumber)>;

/// Why a manifest is wrong.
pub(crate) const NOT_APPENDED: &str = "no such segment was appended yet";
/// Why a manifest is wrong (P18).
pub(crate) const OTHER_HASH: &str = "the segment in the log has another hash";

/// Refuses a part's name that a manifest could not list.
///
/// # Errors
/// `Refused` when it is empty, longer than 256 bytes, or holds a line break.
pub(crate) fn check_part_name(name: &str) -> StoreResult<()> {
    if (1..=256).contains(&name.len()) && !name.contains(['\n', '\r', '\0']) {
        return Ok(());
    }
    Err(StoreError::Refused(format!(
        "{name:?}: the name of a checkpoint part has 1 to 256 bytes and no line break"
    )))
}

/// The refusal of a manifest that names a part which is not among `parts`.
pub(crate) fn missing_part(
    manifest: &CheckpointManifest,
    parts: &[(String, SegmentNumber)],
) -> Option<StoreError> {
    let there: HashSet<&str> = parts.iter().map(|(name, _)| name.as_str()).collect();
    let missing = manifest.parts.iter().find(|name| !there.contains(name.as_str()))?;
    Some(bad_manifest(manifest, &format!("part {missing} was not written")))
}

/// The parts that may be forgotten: no retained manifest names them, and they are not newer than
/// the oldest retained one, so that none of them waits for its own manifest (P22).
///
/// `retained` is newest first; nothing goes while fewer than [`MANIFESTS_KEPT`] are there.
pub(crate) fn prunable_parts(
    retained: &[CheckpointManifest],
    parts: impl IntoIterator<Item = (String, SegmentNumber)>,
) -> Vec<String> {
    let Some(oldest) = retained.get(MANIFESTS_KEPT - 1) else {
        return Vec::new();
    };
    let named: HashSet<&str> =
        retained.iter().flat_map(|manifest| manifest.parts.iter().map(String::as_str)).collect();
    parts
        .into_iter()
        .filter(|(name, segment)| *segment <= oldest.segment && !named.contains(name.as_str()))
        .map(|(name, _)| name)
        .collect()
}

/// Refuses an acknowledgement that is about two different cursors.
///
/// # Errors
/// `Refused`.
pub(crate) fn check_cursors(from: &Consumer, to: &Consumer) -> StoreResult<()> {
    if from.name == to.name && from.partition == to.partition {
        return Ok(());
    }
    Err(StoreError::Refused(format!(
        "a cursor moves within itself: {}/{} is not {}/{}",
        from.name, from.partition, to.name, to.partition
    )))
}

/// A part that is there with other bytes.
pub(crate) fn part_differs(name: &str) -> StoreError {
    StoreError::Refused(format!("checkpoint part {name} is there with other bytes"))
}

/// A manifest that names what was never written, or speaks of what was never appended.
pub(crate) fn bad_manifest(manifest: &CheckpointManifest, why: &str) -> StoreError {
    StoreError::Refused(format!(
        "checkpoint of partition {} at segment {}: {why}",
        manifest.partition, manifest.segment
    ))
}

/// An incarnation whose name another process has taken since (P11).
pub(crate) fn superseded(node: &turnpike_types::NodeName) -> StoreError {
    StoreError::Superseded(format!(
        "another process has started as node {node} since: this one is superseded and must stop"
    ))
}

/// A consumer's name that can't be.
///
/// # Errors
/// `Refused` when it is empty or longer than 128 bytes.
pub(crate) fn check_consumer_name(name: &str) -> StoreResult<()> {
    if (1..=128).contains(&name.len()) {
        return Ok(());
    }
    Err(StoreError::Refused("a consumer's name has 1 to 128 bytes".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60 * 1_000_000;

    fn after_minutes(flaps: u32, minutes: i64) -> u32 {
        let flapped_at = Timestamp(1_700_000_000_000_000);
        decayed_flaps(flaps, flapped_at, flapped_at.saturating_add(minutes * MINUTE))
    }

    #[test]
    fn a_count_of_flaps_halves_every_ten_minutes() {
        let of_eleven = [0, 9, 10, 19, 20, 30, 40, 1000].map(|minutes| after_minutes(11, minutes));
        assert_eq!(of_eleven, [11, 11, 5, 5, 2, 1, 0, 0]);
        assert_eq!(after_minutes(u32::MAX, 310), 1);
        assert_eq!(after_minutes(u32::MAX, 320), 0);
    }

    #[test]
    fn a_clock_that_was_set_back_neither_raises_nor_lowers_it() {
        assert_eq!(after_minutes(11, -60), 11);
        assert_eq!(decayed_flaps(11, Timestamp::MAX, Timestamp::MIN), 11);
        assert_eq!(decayed_flaps(11, Timestamp::MIN, Timestamp::MAX), 0);
    }

    #[test]
    fn a_pin_is_in_force_to_just_before_its_end() {
        let pin =
            || Some(Pin { member: turnpike_types::NodeName("a".to_owned()), until: Timestamp(5) });
        assert_eq!(pin_in_force(pin(), Timestamp(4)), pin());
        assert_eq!(pin_in_force(pin(), Timestamp(5)), None);
    }
}
