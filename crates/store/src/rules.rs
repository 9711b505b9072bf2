//! Decisions that all implementations share. They are pure functions of rows that were read under a
//! lock, or that the following write compares again, so that all databases decide alike.

use std::collections::HashSet;
use std::time::Duration;

use turnpike_mutants::{Check, off};
use turnpike_types::limits::IDENTITY_BYTES_MAX;
use turnpike_types::{ClaimId, Epoch, SegmentNumber, Timestamp};

use crate::{
    AppendOutcome, AppendSegment, Binding, CheckpointManifest, Claim, Consumer, PartitionSpec, Pin,
    PinOutcome, SegmentPosition, StoreError, StoreResult,
};

/// The number of manifests that a partition keeps (P22): the newest, and one to fall back on.
pub(crate) const MANIFESTS_KEPT: usize = 2;

/// The most bytes of bodies in one answer to
/// [`posting_segments`](crate::SharedDatabase::posting_segments); a single segment may be larger.
pub const POSTING_BYTES_MAX: usize = 16 << 20;

/// The most claims in one call of [`claim_many`](crate::SharedDatabase::claim_many).
pub const CLAIMS_MAX: usize = 4096;

/// The time in which the count of flaps halves, in microseconds (P14).
pub(crate) const FLAPS_HALVE_US: i64 = 10 * 60 * 1_000_000;

/// A node whose last heartbeat is younger than this, in microseconds, is not forgotten.
pub(crate) const FORGET_AFTER_US: i64 = 60 * 1_000_000;

/// The values of a partition's row that the fence compares (P1).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fence {
    pub(crate) epoch: Epoch,
    pub(crate) claim: ClaimId,
    pub(crate) position: SegmentPosition,
}

impl Fence {
    /// Classifies an append that the fence refused (P4); `None` when the fence would admit it.
    pub(crate) fn judge(&self, append: &AppendSegment) -> Option<AppendOutcome> {
        let SegmentPosition { next, last_hash } = self.position;
        let is_epoch =
            self.epoch == append.epoch || off(Check::FenceEpoch) || off(Check::FenceOwner);
        let is_claim =
            self.claim == append.claim || off(Check::FenceClaim) || off(Check::FenceOwner);
        let is_hash = last_hash == append.prev_hash || off(Check::FenceHash);
        if !is_epoch || !is_claim {
            Some(AppendOutcome::Fenced)
        } else if next > append.segment {
            Some(AppendOutcome::Ahead)
        } else if next < append.segment || !is_hash {
            // A log of the same length with another last hash is another history too (P18).
            Some(AppendOutcome::RolledBack)
        } else {
            None
        }
    }
}

/// The error for a partition that does not exist.
pub(crate) fn no_partition(partition: turnpike_types::PartitionId) -> StoreError {
    StoreError::Refused(format!("there is no partition {partition}: create it first"))
}

/// Refuses a list of claims that one call can't make.
///
/// # Errors
/// `Refused` when there are more than [`CLAIMS_MAX`], or when two name the same partition.
pub(crate) fn check_claims(claims: &[Claim]) -> StoreResult<()> {
    if claims.len() > CLAIMS_MAX {
        return Err(StoreError::Refused(format!(
            "{} claims in one call; at most {CLAIMS_MAX} are taken: split them over several calls",
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

/// The count of flaps at `now`, given the count at `flapped_at`: it halves every
/// [`FLAPS_HALVE_US`]. The SQL of the claims computes the same with a shift.
pub(crate) fn decayed_flaps(flaps: u32, flapped_at: Timestamp, now: Timestamp) -> u32 {
    let passed = now.micros().saturating_sub(flapped_at.micros()).max(0);
    let halvings = u32::try_from(passed / FLAPS_HALVE_US).unwrap_or(u32::MAX);
    flaps.checked_shr(halvings).unwrap_or(0)
}

/// The pin, if it is in force at `now`.
pub(crate) fn pin_in_force(pin: Option<Pin>, now: Timestamp) -> Option<Pin> {
    pin.filter(|pin| now < pin.until)
}

/// The outcome of setting or clearing a pin when the statement changed no row. `partitions` counts
/// the partitions of that number, zero or one. Clearing a pin that does not exist succeeds.
pub(crate) const fn not_pinned(partitions: i64, names_a_member: bool) -> PinOutcome {
    match (partitions, names_a_member) {
        (0, _) => PinOutcome::NoSuchPartition,
        (_, true) => PinOutcome::NotAMember,
        (_, false) => PinOutcome::Pinned,
    }
}

/// A duration in microseconds, capped so that adding it to a present-day instant does not overflow.
pub(crate) fn duration_us(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX).min(i64::MAX / 2)
}

/// The partitions of `asked` that do not exist yet, members sorted by descending priority.
///
/// # Errors
/// `Refused`, naming both, when a partition differs from an existing one of its number or overlaps
/// one; `Refused` when it is malformed (P12).
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
                    "partition {} already exists, with accounts {} and other settings or members; \
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

/// Refuses bindings that are never valid, before any of them is written.
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

/// The checkpoint parts of a partition: name, and the last segment that the content covers.
pub(crate) type Parts = Vec<(String, SegmentNumber)>;

/// Why a manifest is refused: its segment was not appended.
pub(crate) const NOT_APPENDED: &str = "no such segment was appended yet";
/// Why a manifest is refused: it is of another history (P18).
pub(crate) const OTHER_HASH: &str = "the segment in the log has another hash";

/// Refuses a name that a manifest, which lists one name a line, could not hold.
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

/// The error for a manifest that names a part which is not among `parts`; `None` if all are there.
pub(crate) fn missing_part(
    manifest: &CheckpointManifest,
    parts: &[(String, SegmentNumber)],
) -> Option<StoreError> {
    let there: HashSet<&str> = parts.iter().map(|(name, _)| name.as_str()).collect();
    let missing = manifest.parts.iter().find(|name| !there.contains(name.as_str()))?;
    Some(bad_manifest(manifest, &format!("part {missing} was not written")))
}

/// The parts that may be deleted: no retained manifest names them, and they are not newer than the
/// oldest retained manifest. A newer part may belong to a manifest that is not published yet (P22).
///
/// `retained` is sorted newest first. No part may be deleted while fewer than [`MANIFESTS_KEPT`]
/// manifests exist.
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

/// Refuses an acknowledgement whose cursors differ in consumer or partition.
///
/// # Errors
/// `Refused`, with a message that names both cursors.
pub(crate) fn check_cursors(from: &Consumer, to: &Consumer) -> StoreResult<()> {
    if from.name == to.name && from.partition == to.partition {
        return Ok(());
    }
    Err(StoreError::Refused(format!(
        "a cursor keeps its consumer and partition: {}/{} is not {}/{}",
        from.name, from.partition, to.name, to.partition
    )))
}

/// The error for a part that was written before with other bytes.
pub(crate) fn part_differs(name: &str) -> StoreError {
    StoreError::Refused(format!("checkpoint part {name} already exists with other bytes"))
}

/// The error for a manifest that does not match the log or the written parts.
pub(crate) fn bad_manifest(manifest: &CheckpointManifest, why: &str) -> StoreError {
    StoreError::Refused(format!(
        "checkpoint of partition {} at segment {}: {why}",
        manifest.partition, manifest.segment
    ))
}

/// The error for an incarnation whose node name another process has taken since (P11).
pub(crate) fn superseded(node: &turnpike_types::NodeName) -> StoreError {
    StoreError::Superseded(format!(
        "another process has started as node {node} since: this one is superseded and must stop"
    ))
}

/// Refuses a malformed name of a consumer.
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
    fn a_clock_that_was_set_back_neither_raises_nor_lowers_the_count() {
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
